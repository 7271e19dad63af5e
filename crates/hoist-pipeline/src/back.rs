//! The way back: which revision was good before, and a deployment in flight that is asked to go back.

use std::time::{Duration, Instant};

use hoist_aws::{Client, Service, read};
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{Journal, What};
use crate::refusal::refused;
use crate::service::{self, InFlight};
use crate::table::tail;

/// Service deployments that are looked at, newest first.
const LOOK_BACK: u32 = 100;
/// Those that one describe call takes.
const A_CALL: usize = 20;

/// The task definition of the newest deployment that succeeded with another revision than the one that `live` wants, if it can still be
/// deployed.
///
/// # Errors
/// `Check` where there is none; AWS refused a call.
pub async fn last_good(
    aws: &Client,
    cluster: &str,
    name: &str,
    live: &Value,
) -> Result<String, Failure> {
    let wanted = read::text(live, "taskDefinition");
    let request = json!({ "cluster": cluster, "service": name, "status": ["SUCCESSFUL"], "maxResults": LOOK_BACK });
    let listed = aws
        .json(Service::Ecs, "ListServiceDeployments", request)
        .await
        .map_err(|error| refused(format!("failed to list the deployments of {name}"), &error))?;
    let revisions: Vec<&str> = read::list(&listed, "serviceDeployments")
        .filter_map(|brief| brief["targetServiceRevisionArn"].as_str())
        .collect();
    for some in revisions.chunks(A_CALL) {
        let described = aws
            .json(
                Service::Ecs,
                "DescribeServiceRevisions",
                json!({ "serviceRevisionArns": some }),
            )
            .await
            .map_err(|error| refused("failed to describe the service revisions", &error))?;
        for arn in some {
            let definition = read::service_revisions(&described)
                .find(|revision| revision.arn() == *arn)
                .map(|revision| revision.task_definition())
                .unwrap_or_default();
            if definition.is_empty() || definition == wanted {
                continue;
            }
            if is_active(&describe(aws, definition).await?) {
                return Ok(definition.to_owned());
            }
        }
    }
    Err(Failure::new(
        Kind::Check,
        format!(
            "no deployment of {name} succeeded with another revision than {}",
            tail(wanted)
        ),
    )
    .hint("`hoist history` lists what was deployed; name a revision with --revision N"))
}

/// The revision `number` of the family that runs.
///
/// # Errors
/// `Check` where there is none that can be deployed; AWS refused a call.
pub async fn numbered(aws: &Client, live: &Value, number: u32) -> Result<String, Failure> {
    let wanted = read::text(live, "taskDefinition");
    let family = wanted.rsplit_once(':').map_or(wanted, |(family, _)| family);
    let arn = format!("{family}:{number}");
    let described = describe(aws, &arn).await?;
    if is_active(&described) {
        return Ok(arn);
    }
    Err(Failure::new(
        Kind::Check,
        format!("the revision {} cannot be deployed", tail(&arn)),
    )
    .hint("it does not exist, or was deregistered; `hoist history` lists what was deployed"))
}

/// A task definition as it is registered; null where there is none.
///
/// # Errors
/// AWS refused the call for another reason.
pub async fn describe(aws: &Client, name: &str) -> Result<Value, Failure> {
    let request = json!({ "taskDefinition": name });
    match aws
        .json(Service::Ecs, "DescribeTaskDefinition", request)
        .await
    {
        Ok(mut answer) => Ok(answer["taskDefinition"].take()),
        // "Unable to describe task definition." is how ECS says that there is none.
        Err(error) if error.code() == Some("ClientException") && !error.is_throttling() => {
            Ok(Value::Null)
        }
        Err(error) => Err(refused(
            format!("failed to describe {}", tail(name)),
            &error,
        )),
    }
}

/// The settings of the target group that went with a revision when it was last deployed, as the journal of this machine knows it.
pub fn checked_by(
    journal: &Journal,
    cluster: &str,
    service: &str,
    revision: &str,
) -> Option<Value> {
    let entries = journal.entries().unwrap_or_default();
    entries
        .into_iter()
        .rev()
        .find_map(|entry| match entry.what {
            What::Checking {
                cluster: its_cluster,
                service: its_service,
                task_definition,
                group,
            } if its_cluster == cluster
                && its_service == service
                && task_definition == revision =>
            {
                Some(group)
            }
            _ => None,
        })
}

fn is_active(definition: &Value) -> bool {
    definition["status"] == "ACTIVE"
}

/// Asks ECS to take back the deployment in flight, and waits until it has.
///
/// # Errors
/// `NotRolledBack` where ECS refuses or fails; the time ran out; cancellation.
pub async fn take_back(
    aws: &Client,
    name: &str,
    flying: &InFlight,
    pause: Duration,
    timeout: Duration,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let step = events.start(
        Step::Deploy,
        format!("take back the deployment of {name} in flight"),
    );
    if !flying.status.starts_with("ROLLBACK") {
        let asked = async {
            service::roll_back(aws, &flying.arn).await.map_err(|error| {
                let mut failure = refused(
                    format!("failed to take back the deployment of {name}"),
                    &error,
                );
                if failure.kind == Kind::Rejected {
                    failure.kind = Kind::NotRolledBack;
                }
                failure
            })
        };
        cancel.or(asked).await?;
        events.note(Step::Deploy, "asked ECS for the rollback");
    }
    let began = Instant::now();
    loop {
        let look = async {
            tokio::time::sleep(pause).await;
            let request = json!({ "serviceDeploymentArns": [flying.arn] });
            aws.json(Service::Ecs, "DescribeServiceDeployments", request)
                .await
                .map_err(|error| refused("failed to look at the rollback", &error))
        };
        let answer = cancel.or(look).await?;
        let status = read::service_deployments(&answer)
            .next()
            .map(|deployment| deployment.status().to_owned())
            .unwrap_or_default();
        match status.as_str() {
            "ROLLBACK_SUCCESSFUL" => {
                step.finish("the revision before serves again");
                return Ok(());
            }
            "ROLLBACK_FAILED" | "STOPPED" | "SUCCESSFUL" => {
                return Err(Failure::new(
                    Kind::NotRolledBack,
                    format!("the deployment of {name} ended {status}"),
                ));
            }
            _ if began.elapsed() > timeout => {
                return Err(Failure::new(
                    Kind::TimedOut,
                    format!("the rollback of {name} is still {status}"),
                ));
            }
            _ => {}
        }
    }
}
