//! The first signal: the rollback is asked for, if the deployment in flight is ours, and what became of that is said.

use std::time::Duration;

use hoist_aws::AwsError;
use hoist_rollout::Rollout;

use crate::cancel::Signal;
use crate::event::{Events, Step};
use crate::failure::Failure;
use crate::journal::What;
use crate::refusal::has_code;
use crate::service;
use crate::watch::Watched;

/// How long a cancelled run may take to ask for the rollback: the runner kills it 10 s after the first signal.
const FAREWELL: Duration = Duration::from_secs(4);
/// Time between two looks for the deployment that a cancelled run has just asked for.
const FAREWELL_PAUSE: Duration = Duration::from_millis(200);

/// Asks ECS for the rollback, once, and records that it was asked.
///
/// # Errors
/// AWS refused the call.
pub async fn ask_for_rollback(
    arn: &str,
    watched: &Watched<'_>,
    events: &Events,
) -> Result<(), AwsError> {
    service::roll_back(watched.aws, arn).await?;
    events.note(Step::Deploy, "asked ECS for the rollback");
    let asked = What::RollbackAsked {
        deployment: arn.to_owned(),
    };
    // It is asked for all the same: a journal that cannot be written changes nothing about that.
    if let Err(error) = watched.journal.record(asked) {
        events.warn(
            Step::Deploy,
            format!("failed to write the journal: {error}"),
        );
    }
    watched.put_back(events).await;
    Ok(())
}

/// What became of the wish to roll back.
enum Farewell {
    Asked,
    /// ECS was at it already.
    UnderWay,
    /// ECS refused: there is no earlier deployment to go back to.
    NothingToGoBackTo,
    /// Another deployment took the place of ours.
    NotOurs,
    /// Ours was seen, and has ended.
    Ended,
    /// Ours was asked for, and has not appeared.
    NotSeen,
}

/// The first signal: one call, if the deployment in flight is ours; then the end.
pub async fn farewell(
    signal: Signal,
    rollout: &Rollout,
    watched: &Watched<'_>,
    events: &Events,
) -> Failure {
    let failure = signal.failure();
    let said = tokio::time::timeout(FAREWELL, take_back(rollout, watched, events)).await;
    match said {
        Ok(Ok(Farewell::Asked)) => {
            failure.hint("the rollback was asked for; ECS carries it out without hoist")
        }
        Ok(Ok(Farewell::UnderWay)) => {
            failure.hint("ECS is rolling the deployment back already, and goes on without hoist")
        }
        Ok(Ok(Farewell::NothingToGoBackTo)) => failure.hint(format!(
            "there is no earlier deployment of {} to go back to: this one goes on; deploy again, or delete the service",
            watched.service
        )),
        Ok(Ok(Farewell::NotOurs)) => {
            failure.hint("another deployment has taken the place of ours, and was left alone")
        }
        Ok(Ok(Farewell::Ended)) => {
            failure.hint("our deployment had ended, so there was nothing to roll back")
        }
        Ok(Ok(Farewell::NotSeen)) | Err(_) => failure.hint(
            "AWS did not say in time which deployment is ours, so no rollback was asked for: it may go on",
        ),
        Ok(Err(error)) => failure
            .detail(error)
            .hint("the rollback could not be asked for: the deployment may go on"),
    }
}

async fn take_back(
    rollout: &Rollout,
    watched: &Watched<'_>,
    events: &Events,
) -> Result<Farewell, String> {
    let known = rollout
        .our_deployment()
        .map(|deployment| deployment.arn.as_str())
        .or(watched.known_deployment.as_deref());
    loop {
        let flying = service::in_flight(watched.aws, watched.cluster, watched.service)
            .await
            .map_err(|failure| failure.to_string())?;
        let Some(flying) = flying else {
            if known.is_some() {
                return Ok(Farewell::Ended);
            }
            if watched.answer.is_none() {
                return Ok(Farewell::NotSeen);
            }
            // Asked for a moment ago; ECS lists it a little later.
            tokio::time::sleep(FAREWELL_PAUSE).await;
            continue;
        };
        // Where ours was never seen, the one in flight with our revision is ours.
        let ours = known.map_or(
            flying.task_definition.as_deref() == Some(watched.revision),
            |known| known == flying.arn,
        );
        if !ours {
            return Ok(Farewell::NotOurs);
        }
        if flying.status.starts_with("ROLLBACK") {
            watched.put_back(events).await;
            return Ok(Farewell::UnderWay);
        }
        return match ask_for_rollback(&flying.arn, watched, events).await {
            Ok(()) => Ok(Farewell::Asked),
            // A first deployment, or none before it that completed.
            Err(error) if has_code(&error, CONFLICT) && nothing_earlier(&error, watched) => {
                Ok(Farewell::NothingToGoBackTo)
            }
            Err(error) if has_code(&error, CONFLICT) => Ok(Farewell::Ended),
            Err(error) => Err(error.to_string()),
        };
    }
}

/// How ECS refuses to stop a deployment that has ended, or that has none before it.
pub const CONFLICT: &str = "ConflictException";

/// Whether ECS refused because there is no earlier deployment to go back to.
pub fn nothing_earlier(error: &AwsError, watched: &Watched<'_>) -> bool {
    watched.previous.is_none()
        || error
            .message()
            .is_some_and(|message| message.contains("no completed service deployment"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::cancellation;
    use crate::failure::Kind;
    use crate::journal::Journal;
    use crate::target_group::Retarget;
    use crate::testing::{Endpoint, refusal};
    use crate::together::Together;
    use crate::watch::to_the_end;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    /// Cancels a deployment that was asked for a moment ago, before the first look at it.
    async fn cancelled(
        previous: Option<&str>,
        answers: impl Fn(&str, &Value, usize) -> (u16, Value) + Send + Sync + 'static,
    ) -> (Failure, Endpoint) {
        let endpoint = Endpoint::answering(answers).await;
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(&home.path().join("journal")).unwrap();
        let (definition, answer) = (json!({}), json!({}));
        let together = Together::new(endpoint.client.clone());
        let (was, wanted) = (
            json!({ "TargetGroupArn": "arn:tg", "HealthCheckPath": "/healthz" }),
            json!({ "HealthCheckPath": "/ready" }),
        );
        let retarget = Retarget::of(&was, &wanted).unwrap();
        let events = Events::new(Vec::new());
        retarget.change(&endpoint.client, &events).await.unwrap();
        let watched = Watched {
            aws: &endpoint.client,
            together: &together,
            embedded: false,
            cluster: "c",
            service: "web",
            revision: "web:2",
            definition: &definition,
            container: None,
            digest: String::new(),
            health_path: None,
            known_deployment: None,
            previous,
            answer: Some(&answer),
            asked_at: Timestamp::now(),
            timeout: Duration::from_secs(60),
            journal: &journal,
            created: false,
            budget: hoist_rollout::Budget::default(),
            retarget: Some(&retarget),
        };
        let (canceller, cancel) = cancellation();
        canceller.cancel(Signal::Terminate);
        let failure = to_the_end(&watched, &cancel, &events).await.unwrap_err();
        (failure, endpoint)
    }

    /// What the path of the health check was set to, one after the other.
    fn paths(endpoint: &Endpoint) -> Vec<Value> {
        let asked = endpoint.asked("ModifyTargetGroup");
        asked
            .iter()
            .map(|one| one["HealthCheckPath"].clone())
            .collect()
    }

    fn flying(status: &str) -> Value {
        json!({ "serviceDeployments": [
            { "serviceDeploymentArn": "d", "status": status, "targetServiceRevisionArn": "r" }] })
    }

    fn revisions() -> Value {
        json!({ "serviceRevisions": [{ "serviceRevisionArn": "r", "taskDefinition": "web:2" }] })
    }

    #[tokio::test]
    async fn a_deployment_that_ecs_lists_late_is_rolled_back_on_cancel() {
        let (failure, endpoint) = cancelled(Some("web:1"), |operation, _, nth| {
            let answer = match (operation, nth) {
                ("ListServiceDeployments", 0) => json!({ "serviceDeployments": [] }),
                ("ListServiceDeployments", _) => flying("PENDING"),
                ("DescribeServiceRevisions", _) => revisions(),
                _ => json!({}),
            };
            (200, answer)
        })
        .await;
        assert_eq!(failure.kind, Kind::Terminated);
        assert!(failure.hint.unwrap().contains("the rollback was asked for"));
        let stops = endpoint.asked("StopServiceDeployment");
        assert_eq!(stops.len(), 1);
        assert_eq!(stops[0]["serviceDeploymentArn"], "d");
        // The revision before is checked as it was.
        assert_eq!(paths(&endpoint), ["/ready", "/healthz"]);
    }

    #[tokio::test]
    async fn a_first_deployment_has_nothing_to_go_back_to_and_that_is_said() {
        let (failure, _) = cancelled(None, |operation, _, _| match operation {
            "ListServiceDeployments" => (200, flying("IN_PROGRESS")),
            "DescribeServiceRevisions" => (200, revisions()),
            "StopServiceDeployment" => refusal(400, "ConflictException", "no"),
            _ => (200, json!({})),
        })
        .await;
        assert_eq!(failure.kind, Kind::Terminated);
        assert_eq!(failure.detail, None);
        assert!(
            failure
                .hint
                .unwrap()
                .starts_with("there is no earlier deployment of web to go back to")
        );
    }

    #[tokio::test]
    async fn a_rollback_under_way_and_the_deployment_of_another_are_left_alone() {
        let (failure, endpoint) = cancelled(Some("web:1"), |operation, _, _| match operation {
            "ListServiceDeployments" => (200, flying("ROLLBACK_IN_PROGRESS")),
            _ => (200, revisions()),
        })
        .await;
        assert!(failure.hint.unwrap().contains("already"));
        assert!(endpoint.asked("StopServiceDeployment").is_empty());
        assert_eq!(paths(&endpoint), ["/ready", "/healthz"]);

        let (failure, endpoint) = cancelled(Some("web:1"), |operation, _, _| match operation {
            "ListServiceDeployments" => (200, flying("IN_PROGRESS")),
            _ => (
                200,
                json!({ "serviceRevisions": [{ "taskDefinition": "web:9" }] }),
            ),
        })
        .await;
        assert!(failure.hint.unwrap().contains("left alone"));
        assert!(endpoint.asked("StopServiceDeployment").is_empty());
        assert_eq!(paths(&endpoint), ["/ready"]);
    }
}
