//! Watches a rollout until the judge says what it has come to; then explains it.

use std::collections::BTreeMap;
use std::time::Duration;

use hoist_aws::{AwsError, Client};
use hoist_rollout::{ContainerFacts, Intent, Progress, Rollout, Verdict, diagnose, judge};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cancel::{Cancel, Signal};
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{Journal, What};
use crate::observe::Observer;
use crate::refusal::refused;
use crate::service;

/// Time between two looks at the embedded AWS, which has no limits to keep.
const EMBEDDED_PAUSE: Duration = Duration::from_millis(150);
/// Time between two looks at a real endpoint: some five reads a look stay far below the refill of 20 reads a second.
/// Source: Amazon ECS API request throttling, <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a cancelled run may take to ask for the rollback: the runner kills it 10 s after the first signal.
const FAREWELL: Duration = Duration::from_secs(5);
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
    /// Digest of our image.
    pub digest: String,
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
    loop {
        let looked = tokio::select! {
            biased;
            signal = cancel.wait() => return Err(farewell(signal, &rollout, watched, events).await),
            looked = observer.look() => looked,
        };
        let seen = match looked {
            Ok(seen) => {
                blind_since = None;
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
            let logs = observer.logs(task, containers).await;
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
                            ask_for_rollback(&arn, watched, events).await?
                        }
                        _ => {
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
            end => return Err(ended(end, &rollout, watched, events)),
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
        let primary = hoist_aws::read::list(answer, "deployments")
            .find(|deployment| deployment["status"] == "PRIMARY");
        if let Some(primary) = primary {
            intent.deployment_id = primary["id"].as_str().map(str::to_owned);
            // By the clock of ECS: ours may be wrong.
            intent.made_at = hoist_aws::read::moment(primary, "createdAt");
        }
    }
    let containers: Vec<&Value> =
        hoist_aws::read::list(watched.definition, "containerDefinitions").collect();
    let ours = watched.container.or_else(|| match containers.as_slice() {
        [one] => one["name"].as_str(),
        _ => None,
    });
    if let Some(ours) = ours {
        intent.digests = BTreeMap::from([(ours.to_owned(), vec![watched.digest.clone()])]);
    }
    intent.containers = containers
        .iter()
        .map(|container| ContainerFacts {
            name: hoist_aws::read::text(container, "name").to_owned(),
            image: hoist_aws::read::text(container, "image").to_owned(),
            port: hoist_aws::read::list(container, "portMappings").find_map(|mapping| {
                u16::try_from(hoist_aws::read::number(mapping, "containerPort")?).ok()
            }),
            health_path: None,
            memory: hoist_aws::read::number(container, "memory")
                .or_else(|| hoist_aws::read::number(watched.definition, "memory")),
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
) -> Result<(), Failure> {
    service::roll_back(watched.aws, arn).await?;
    events.note(Step::Deploy, "asked ECS for the rollback");
    watched
        .journal
        .record(What::RollbackAsked {
            deployment: arn.to_owned(),
        })
        .map_err(|error| Failure::because(Kind::Unexpected, "failed to write the journal", &error))
}

/// The first signal: one call, if the deployment in flight is ours; then the end.
async fn farewell(
    signal: Signal,
    rollout: &Rollout,
    watched: &Watched<'_>,
    events: &Events,
) -> Failure {
    let work = async {
        let flying = service::in_flight(watched.aws, watched.cluster, watched.service).await?;
        let known = rollout
            .our_deployment()
            .map(|deployment| deployment.arn.as_str())
            .or(watched.known_deployment.as_deref());
        match flying {
            // Where ours was never seen, the one in flight with our revision is ours.
            Some(flying)
                if known.map_or(
                    flying.task_definition.as_deref() == Some(watched.revision),
                    |known| known == flying.arn,
                ) =>
            {
                ask_for_rollback(&flying.arn, watched, events)
                    .await
                    .map(|()| true)
            }
            _ => Ok(false),
        }
    };
    let failure = signal.failure();
    match tokio::time::timeout(FAREWELL, work).await {
        Ok(Ok(true)) => {
            failure.hint("the rollback was asked for; ECS carries it out without hoist")
        }
        Ok(Ok(false)) => {
            failure.hint("no deployment of ours was in flight, so there was nothing to roll back")
        }
        Ok(Err(error)) => failure
            .detail(error.to_string())
            .hint("the rollback could not be asked for: the deployment may go on"),
        Err(_) => failure.hint("AWS did not answer in time: the deployment may go on"),
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
