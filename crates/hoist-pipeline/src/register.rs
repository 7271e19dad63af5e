//! The task definition revision: an existing one if it says the same, else a new one.

use hoist_aws::{AwsError, Client, Service};
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
        let same = same_revision(aws, candidate, definition)
            .await
            .map_err(|error| {
                refused(
                    format!("failed to describe the task definition {candidate}"),
                    &error,
                )
            })?;
        if let Some(arn) = same {
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
    // Every registration makes a revision: one whose answer was lost is looked for before it is asked for again.
    let find = || async {
        let arn = same_revision(aws, family, definition).await?;
        Ok(arn.map(|arn| json!({ "taskDefinition": { "taskDefinitionArn": arn } })))
    };
    let answer = aws
        .json_or_find(Service::Ecs, "RegisterTaskDefinition", request, find)
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
) -> Result<Option<String>, AwsError> {
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
        Err(error) if has_code(&error, "ClientException") && !error.is_throttling() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endpoint, refusal};

    #[tokio::test]
    async fn a_registration_whose_answer_was_lost_is_found_and_not_made_twice() {
        let definition = json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "i", "essential": true }] });
        let registered = definition.clone();
        let endpoint = Endpoint::answering(move |operation, _, nth| match (operation, nth) {
            ("DescribeTaskDefinition", 0) => refusal(
                400,
                "ClientException",
                "Unable to describe task definition.",
            ),
            ("DescribeTaskDefinition", _) => {
                let mut live = registered.clone();
                live["taskDefinitionArn"] =
                    json!("arn:aws:ecs:eu-central-1:1:task-definition/web:7");
                live["status"] = json!("ACTIVE");
                (200, json!({ "taskDefinition": live }))
            }
            _ => refusal(500, "ServerException", "try later"),
        })
        .await;
        let events = Events::new(Vec::new());
        let revision = register(&endpoint.client, &definition, None, &[], &events)
            .await
            .unwrap();
        assert_eq!((revision.name(), revision.fresh), ("web:7", true));
        assert_eq!(endpoint.asked("RegisterTaskDefinition").len(), 1);
    }
}
