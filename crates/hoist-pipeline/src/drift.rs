//! What others changed: the revision that hoist registered last, what runs now, and what the family's newest revision says.
//!
//! Together with the differences of the plan that makes three: what hoist left behind, what is there, what is wanted.

use hoist_aws::{Client, Service, read};
use hoist_ecs::Change;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::refusal::refused;
use crate::status::{describe_definition, tag};
use crate::table::tail;

/// How many revisions are looked at, newest first.
const LOOK_BACK: usize = 5;

/// What others changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The revision that hoist registered last.
    pub since: String,
    /// What runs now against that revision.
    pub changes: Vec<Change>,
    /// The family's newest revision, where it does not run and hoist did not register it.
    pub newer: Option<String>,
}

impl Drift {
    /// In words, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .changes
            .iter()
            .map(|change| format!("since hoist registered {}: {change}", self.since))
            .collect();
        lines.extend(
            self.newer.iter().map(|newer| {
                format!("{newer} is newer than what runs, and was registered by others")
            }),
        );
        lines
    }
}

/// Looks for what others changed of the service `live`, which runs the task definition `running`. `None` where there is nothing, or
/// where hoist never registered a revision.
///
/// # Errors
/// AWS refused a call.
pub async fn find(aws: &Client, live: &Value, running: &Value) -> Result<Option<Drift>, Failure> {
    let arn = read::text(live, "taskDefinition");
    let family = read::text(running, "family");
    let request = json!({ "familyPrefix": family, "sort": "DESC", "maxResults": LOOK_BACK });
    let listed = aws
        .json(Service::Ecs, "ListTaskDefinitions", request)
        .await
        .map_err(|error| refused(format!("failed to list the revisions of {family}"), &error))?;
    let mut arns: Vec<&str> = read::list(&listed, "taskDefinitionArns")
        .filter_map(Value::as_str)
        // The prefix finds other families too.
        .filter(|arn| {
            tail(arn)
                .rsplit_once(':')
                .is_some_and(|(name, _)| name == family)
        })
        .take(LOOK_BACK)
        .collect();
    let newest = arns.first().copied();
    if !arns.contains(&arn) {
        arns.push(arn);
    }
    let (mut newer, mut ours) = (None, None);
    for candidate in arns {
        let described = describe_definition(aws, candidate).await?;
        let by_hoist = tag(&described, "hoist:app").is_some();
        if Some(candidate) == newest && candidate != arn && !by_hoist {
            newer = Some(tail(candidate).to_owned());
        }
        if by_hoist {
            ours = Some((tail(candidate).to_owned(), described));
            break;
        }
    }
    let Some((since, described)) = ours else {
        return Ok(None);
    };
    let changes = match since == tail(arn) {
        true => Vec::new(),
        false => hoist_ecs::diff(
            &hoist_ecs::normalise_task_definition(&described["taskDefinition"]),
            &hoist_ecs::normalise_task_definition(running),
        ),
    };
    // An older revision of hoist's own that runs again was rolled back, not changed by others.
    let rolled_back = describe_definition(aws, arn)
        .await
        .is_ok_and(|described| tag(&described, "hoist:app").is_some());
    let changes = if rolled_back { Vec::new() } else { changes };
    Ok(Some(Drift {
        since,
        changes,
        newer,
    })
    .filter(|drift| !drift.lines().is_empty()))
}
