//! The task definition revision: an existing one if it says the same, else a new one.

use hoist_aws::{Client, Service};
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};

/// A revision that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its ARN.
    pub arn: String,
    /// Whether this run registered it.
    pub fresh: bool,
}

impl Revision {
    /// `family:number`, as people name it.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

/// Registers `definition` unless `running` (a revision in use) or the newest revision of its family says the same.
///
/// # Errors
/// AWS refused a call.
pub async fn register(
    aws: &Client,
    definition: &Value,
    running: Option<&str>,
    tags: &[(String, String)],
    events: &Events,
) -> Result<Revision, Failure> {
    let family = definition["family"].as_str().unwrap_or_default();
    for candidate in running.into_iter().chain([family]) {
        if let Some(arn) = same_revision(aws, candidate, definition).await? {
            return Ok(Revision { arn, fresh: false });
        }
    }
    let mut request = hoist_ecs::strip_describe_only(definition);
    let held: Vec<String> = request["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| tag["key"].as_str().map(str::to_owned))
        .collect();
    let ours = tags
        .iter()
        .filter(|(key, _)| !held.contains(key))
        .map(|(key, value)| json!({ "key": key, "value": value }));
    match request["tags"].as_array_mut() {
        Some(existing) => existing.extend(ours),
        None => request["tags"] = ours.collect(),
    }
    let answer = aws
        .json(Service::Ecs, "RegisterTaskDefinition", request)
        .await
        .map_err(|error| {
            refused(
                format!("failed to register the task definition {family}"),
                &error,
            )
        })?;
    let arn = answer["taskDefinition"]["taskDefinitionArn"]
        .as_str()
        .ok_or_else(|| {
            Failure::new(
                Kind::Unexpected,
                format!("ECS registered {family} without saying its ARN"),
            )
        })?;
    let revision = Revision {
        arn: arn.to_owned(),
        fresh: true,
    };
    events.note(Step::Register, format!("registered {}", revision.name()));
    Ok(revision)
}

async fn same_revision(
    aws: &Client,
    name: &str,
    definition: &Value,
) -> Result<Option<String>, Failure> {
    let live = match aws
        .json(
            Service::Ecs,
            "DescribeTaskDefinition",
            json!({ "taskDefinition": name }),
        )
        .await
    {
        Ok(answer) => answer,
        // "Unable to describe task definition." is how ECS says that there is none.
        Err(error) if has_code(&error, "ClientException") => return Ok(None),
        Err(error) => {
            return Err(refused(
                format!("failed to describe the task definition {name}"),
                &error,
            ));
        }
    };
    let live = &live["taskDefinition"];
    let same = live["status"] == "ACTIVE"
        && live["family"] == definition["family"]
        && hoist_ecs::same_task_definition(live, definition);
    Ok(live["taskDefinitionArn"]
        .as_str()
        .filter(|_| same)
        .map(str::to_owned))
}
