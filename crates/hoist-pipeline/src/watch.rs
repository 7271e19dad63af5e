//! Watches a rollout until the judge says what it has come to; then explains it.

use std::collections::BTreeMap;
use std::time::Duration;

use hoist_aws::{AwsError, Client, Service, read};
use hoist_rollout::{
    ContainerFacts, Intent, Observation, Progress, Rollout, Verdict, diagnose, judge,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cancel::{Cancel, Signal};
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{Journal, What};
use crate::observe::Observer;
use crate::refusal::{has_code, refused};
use crate::service;

/// Time between two looks at the embedded AWS, which has no limits to keep.
const EMBEDDED_PAUSE: Duration = Duration::from_millis(150);
/// Time between two looks at a real endpoint: some five reads a look stay far below the refill of 20 reads a second.
/// Source: Amazon ECS API request throttling, <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a cancelled run may take to ask for the rollback: the runner kills it 10 s after the first signal.
const FAREWELL: Duration = Duration::from_secs(4);
/// How long a call that changes the service may still take once the signal has come. With the farewell it stays below 7 s.
pub const GRACE: Duration = Duration::from_secs(2);
/// Time between two looks for the deployment that a cancelled run has just asked for.
const FAREWELL_PAUSE: Duration = Duration::from_millis(200);
/// How long a service that was just created or updated may be missing from what ECS describes, which is only eventually consistent.
const SETTLING: Duration = Duration::from_secs(30);
/// How long looking may fail before the run gives up watching.
const BLIND: Duration = Duration::from_secs(120);
/// A line that says that nothing moved, so that a long wait does not look like a hang.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One rollout to watch.
pub struct Watched<'a> {
    pub aws: &'a Client,
    pub embedded: bool,
    pub cluster: &'a str,
    pub service: &'a str,
    /// ARN of our task definition.
    pub revision: &'a str,
    /// Our task definition.
    pub definition: &'a Value,
    /// Container that runs our image; the only one if not named.
    pub container: Option<&'a str>,
    /// Digest of our image; empty where the definition names it by tag.
    pub digest: String,
    /// Path of the target group's health check.
    pub health_path: Option<String>,
    /// ARN of our service deployment, where it was in flight before.
    pub known_deployment: Option<String>,
    /// Task definition that ran before.
    pub previous: Option<&'a str>,
    /// What CreateService or UpdateService answered.
    pub answer: Option<&'a Value>,
    /// When the deployment was asked for.
    pub asked_at: Timestamp,
    pub timeout: Duration,
    pub journal: &'a Journal,
}

/// Watches to the end. Returns a sentence on success.
///
/// # Errors
/// Each end that is no success, by its kind; before that, the diagnosis is told as an event.
pub async fn to_the_end(
    watched: &Watched<'_>,
    cancel: &Cancel,
    events: &Events,
) -> Result<String, Failure> {
    let mut rollout = Rollout::new(intent(watched));
    let mut observer = Observer::new(
        watched.aws,
        watched.cluster,
        watched.service,
        watched.definition,
    );
    let pause = if watched.embedded {
        EMBEDDED_PAUSE
    } else {
        PAUSE
    };
    let mut blind_since: Option<std::time::Instant> = None;
    let mut last_news = std::time::Instant::now();
    let mut rollback_asked = false;
    let mut missing = vec!["the first answer".to_owned()];
    let began = std::time::Instant::now();
    loop {
        let looked = tokio::select! {
            biased;
            signal = cancel.wait() => return Err(farewell(signal, &rollout, watched, events).await),
            looked = observer.look() => looked,
        };
        let seen = match looked {
            Ok(mut seen) => {
                blind_since = None;
                if rollout.service().is_none() && began.elapsed() < SETTLING {
                    seen.retain(|seen| !matches!(seen, Observation::ServiceMissing { .. }));
                }
                seen
            }
            Err(error) => {
                let since = *blind_since.get_or_insert_with(std::time::Instant::now);
                if since.elapsed() > BLIND || error.is_credentials() || error.is_access_denied() {
                    return Err(gave_up(watched, &error));
                }
                events.warn(
                    Step::Deploy,
                    format!("cannot look at the deployment, trying again: {error}"),
                );
                Vec::new()
            }
        };
        let mut news = rollout.see(&seen);
        let wanted = rollout.wants_logs();
        for (task, containers) in &wanted {
            let logs = tokio::select! {
                biased;
                signal = cancel.wait() => return Err(farewell(signal, &rollout, watched, events).await),
                logs = observer.logs(task, containers) => logs,
            };
            news.extend(rollout.see(&logs));
        }
        if !news.is_empty() {
            last_news = std::time::Instant::now();
        } else if last_news.elapsed() >= HEARTBEAT {
            last_news = std::time::Instant::now();
            events.note(Step::Deploy, format!("waiting for {}", missing.join(", ")));
        }
        for item in &news {
            if matches!(item, Progress::TaskStopped { .. }) {
                events.warn(Step::Deploy, item.to_string());
            } else {
                events.note(Step::Deploy, item.to_string());
            }
        }
        match judge(&rollout, Timestamp::now()) {
            Verdict::InProgress {
                waiting_for,
                hopeless,
                ..
            } => {
                missing = waiting_for;
                if let Some(hopeless) = hopeless.filter(|_| !rollback_asked) {
                    rollback_asked = true;
                    events.warn(Step::Deploy, hopeless.to_string());
                    match rollout
                        .our_deployment()
                        .map(|deployment| deployment.arn.clone())
                    {
                        Some(arn) if watched.previous.is_some() => {
                            let asked = ask_for_rollback(&arn, watched, events);
                            match cancel.grant(GRACE, asked).await {
                                Ok(Ok(())) => {}
                                // It ended meanwhile, as when the circuit breaker was faster: the next look says how.
                                Ok(Err(error)) if has_code(&error, CONFLICT) => events.note(
                                    Step::Deploy,
                                    format!("ECS does not take the rollback: {error}"),
                                ),
                                Ok(Err(error)) => {
                                    learn_health_path(&mut rollout, watched).await;
                                    let failure = explained(
                                        &rollout,
                                        watched,
                                        events,
                                        Kind::NotRolledBack,
                                        &hopeless.to_string(),
                                    );
                                    return Err(failure
                                        .detail(format!("the rollback was refused: {error}")));
                                }
                                Err(signal) => {
                                    return Err(signal.failure().hint(
                                        "the rollback was asked for, but ECS had not answered yet",
                                    ));
                                }
                            }
                        }
                        _ => {
                            learn_health_path(&mut rollout, watched).await;
                            return Err(explained(
                                &rollout,
                                watched,
                                events,
                                Kind::NotRolledBack,
                                &hopeless.to_string(),
                            ));
                        }
                    }
                }
            }
            Verdict::Succeeded => {
                let running = rollout.service().map_or(0, |service| service.running);
                return Ok(format!(
                    "{} serves with {running} tasks",
                    name_of(watched.revision)
                ));
            }
            end => {
                learn_health_path(&mut rollout, watched).await;
                return Err(ended(end, &rollout, watched, events));
            }
        }
        tokio::select! {
            biased;
            signal = cancel.wait() => return Err(farewell(signal, &rollout, watched, events).await),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn intent(watched: &Watched<'_>) -> Intent {
    let mut intent = Intent::new(watched.service, watched.revision, watched.asked_at);
    intent.previous_task_definition = watched.previous.map(str::to_owned);
    intent
        .service_deployment
        .clone_from(&watched.known_deployment);
    intent.timeout =
        SignedDuration::try_from(watched.timeout).unwrap_or(SignedDuration::from_mins(30));
    if let Some(answer) = watched.answer {
        let primary =
            read::list(answer, "deployments").find(|deployment| deployment["status"] == "PRIMARY");
        if let Some(primary) = primary {
            intent.deployment_id = primary["id"].as_str().map(str::to_owned);
            // By the clock of ECS: ours may be wrong.
            intent.made_at = read::moment(primary, "createdAt");
        }
    }
    let containers: Vec<&Value> = read::list(watched.definition, "containerDefinitions").collect();
    let ours = watched.container.or_else(|| match containers.as_slice() {
        [one] => one["name"].as_str(),
        _ => None,
    });
    if let Some(ours) = ours.filter(|_| !watched.digest.is_empty()) {
        intent.digests = BTreeMap::from([(ours.to_owned(), vec![watched.digest.clone()])]);
    }
    intent.containers = containers
        .iter()
        .map(|container| ContainerFacts {
            name: read::text(container, "name").to_owned(),
            image: read::text(container, "image").to_owned(),
            port: read::list(container, "portMappings")
                .find_map(|mapping| u16::try_from(read::number(mapping, "containerPort")?).ok()),
            health_path: watched.health_path.clone(),
            memory: read::number(container, "memory")
                .or_else(|| read::number(watched.definition, "memory")),
            log_group: container["logConfiguration"]["options"]["awslogs-group"]
                .as_str()
                .map(str::to_owned),
        })
        .collect();
    intent
}

/// The last part of an ARN.
fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

async fn ask_for_rollback(
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
async fn farewell(
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
const CONFLICT: &str = "ConflictException";

fn nothing_earlier(error: &AwsError, watched: &Watched<'_>) -> bool {
    watched.previous.is_none()
        || error
            .message()
            .is_some_and(|message| message.contains("no completed service deployment"))
}

/// Asks for the path of the health check, which a diagnosis may name; without an answer it does without.
async fn learn_health_path(rollout: &mut Rollout, watched: &Watched<'_>) {
    let group = rollout
        .service()
        .and_then(|service| service.target_groups.first())
        .map(|group| group.arn.clone());
    let Some(group) = group.filter(|_| watched.health_path.is_none()) else {
        return;
    };
    let params = json!({ "TargetGroupArns": [group] });
    let asked = watched
        .aws
        .query(Service::Elbv2, "DescribeTargetGroups", &params);
    let Ok(Ok(answer)) = tokio::time::timeout(GRACE, asked).await else {
        return;
    };
    let path = read::target_groups(&answer)
        .next()
        .map(|group| group.health_path().to_owned())
        .filter(|path| !path.is_empty());
    for container in &mut rollout.intent.containers {
        container.health_path.clone_from(&path);
    }
}

fn gave_up(watched: &Watched<'_>, error: &AwsError) -> Failure {
    let mut failure = refused(
        format!("failed to look at the deployment of {}", watched.service),
        error,
    );
    if failure.kind == Kind::Unexpected || failure.kind == Kind::Rejected {
        failure.kind = Kind::TimedOut;
    }
    failure.detail("the deployment goes on; its end was not seen")
}

/// Tells the diagnosis, and makes the failure.
fn explained(
    rollout: &Rollout,
    watched: &Watched<'_>,
    events: &Events,
    kind: Kind,
    what: &str,
) -> Failure {
    let diagnosis = diagnose(rollout);
    events.emit(Event::Diagnosis {
        service: watched.service.to_owned(),
        cause: diagnosis.cause.clone(),
        evidence: diagnosis
            .evidence
            .to_string()
            .lines()
            .map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned())
            .collect(),
        fix: Some(diagnosis.fix).filter(|fix| !fix.is_empty()),
        docs: Some(diagnosis.anchor).filter(|anchor| !anchor.is_empty()),
    });
    Failure::new(kind, format!("{}: {what}", watched.service))
}

fn ended(verdict: Verdict, rollout: &Rollout, watched: &Watched<'_>, events: &Events) -> Failure {
    let name = name_of(watched.revision);
    match verdict {
        Verdict::RolledBack { .. } => {
            let what = format!("{name} failed, and the previous revision serves again");
            explained(rollout, watched, events, Kind::RolledBack, &what)
        }
        Verdict::Failed { reason } => {
            let what = format!("{name} failed, and was not rolled back ({reason})");
            explained(rollout, watched, events, Kind::NotRolledBack, &what)
        }
        Verdict::Superseded { .. } => Failure::new(
            Kind::Superseded,
            format!("{}: another deployment replaced {name}", watched.service),
        ),
        Verdict::InProgress { .. } | Verdict::Succeeded => {
            Failure::new(Kind::Unexpected, "the rollout has not failed")
        }
        Verdict::Stopped { .. } => explained(
            rollout,
            watched,
            events,
            Kind::NotRolledBack,
            &format!("the deployment of {name} was stopped"),
        ),
        Verdict::TimedOut { waiting_for } => {
            let what = format!(
                "{name} was still being deployed after {} s",
                watched.timeout.as_secs()
            );
            explained(rollout, watched, events, Kind::TimedOut, &what)
                .detail(format!("still missing: {}", waiting_for.join(", ")))
                .hint("the deployment goes on; `--timeout` gives it longer")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::cancellation;
    use crate::testing::{Endpoint, refusal};

    /// Cancels a deployment that was asked for a moment ago, before the first look at it.
    async fn cancelled(
        previous: Option<&str>,
        answers: impl Fn(&str, &Value, usize) -> (u16, Value) + Send + Sync + 'static,
    ) -> (Failure, Endpoint) {
        let endpoint = Endpoint::answering(answers).await;
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(&home.path().join("journal")).unwrap();
        let (definition, answer) = (json!({}), json!({}));
        let watched = Watched {
            aws: &endpoint.client,
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
        };
        let (canceller, cancel) = cancellation();
        canceller.cancel(Signal::Terminate);
        let failure = to_the_end(&watched, &cancel, &Events::new(Vec::new()))
            .await
            .unwrap_err();
        (failure, endpoint)
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
    }

    #[tokio::test]
    async fn a_first_deployment_has_nothing_to_go_back_to_and_that_is_said() {
        let (failure, _) = cancelled(None, |operation, _, _| match operation {
            "ListServiceDeployments" => (200, flying("IN_PROGRESS")),
            "DescribeServiceRevisions" => (200, revisions()),
            _ => refusal(400, "ConflictException", "no"),
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
    }
}
