//! Watches a rollout until the judge says what it has come to; then explains it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hoist_aws::{AwsError, Client, Service as AwsService, read};
use hoist_project::{FailureBudget, Unlimited};
use hoist_rollout::{
    Budget, ContainerFacts, Hopeless, Intent, Progress, Rollout, Verdict, diagnose,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cancel::Cancel;
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::farewell::{CONFLICT, ask_for_rollback, farewell, nothing_earlier};
use crate::journal::{Journal, What};
use crate::lookout::{Lookout, note_answer};
use crate::refusal::{has_code, refused};
use crate::service;
use crate::target_group::Retarget;
use crate::together::Together;

/// How long a call that changes the service may still take once the signal has come. With the farewell it stays below 7 s.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long looking may fail before the run gives up watching.
const BLIND: Duration = Duration::from_secs(120);
/// A line that says that nothing moved, so that a long wait does not look like a hang.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One rollout to watch.
pub struct Watched<'a> {
    pub aws: &'a Client,
    /// The same client, as those share it who watch at the same time.
    pub together: &'a Together,
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
    /// When the rollout is called hopeless.
    pub budget: Budget,
    pub journal: &'a Journal,
    /// Whether this deployment created the service.
    pub created: bool,
    /// What was changed of the target group with it.
    pub retarget: Option<&'a Retarget>,
}

impl Watched<'_> {
    /// Puts the target group's settings back, by which the revision before is checked as well.
    pub async fn put_back(&self, events: &Events) {
        if let Some(retarget) = self.retarget {
            retarget.put_back(self.aws, events).await;
        }
    }
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
    let _watcher = watched.together.watch();
    // With the limits of AWS, the embedded one is looked at like any.
    let is_unlimited = watched.embedded && !watched.aws.config().keeps_to_limits(AwsService::Ecs);
    let mut lookout = Lookout::new(
        watched.together,
        watched.cluster,
        watched.service,
        watched.definition,
        intent(watched),
        is_unlimited,
    );
    if watched.embedded {
        lookout = lookout.without_settling();
    }
    let mut blind_since: Option<Instant> = None;
    let mut last_news = Instant::now();
    let mut rollback_asked = false;
    loop {
        let looked = tokio::select! {
            biased;
            signal = cancel.wait() => Err(signal),
            looked = lookout.look() => Ok(looked),
        };
        let look = match looked {
            Ok(look) => look,
            Err(signal) => return Err(farewell(signal, lookout.rollout(), watched, events).await),
        };
        match look.error {
            None => blind_since = None,
            Some(error) => {
                let since = *blind_since.get_or_insert_with(Instant::now);
                // Credentials that expired may be renewed by whoever renews them; those that are refused stay refused.
                let is_hopeless = (error.is_credentials() && !error.is_expired_credentials())
                    || error.is_access_denied();
                if since.elapsed() > BLIND || is_hopeless {
                    return Err(gave_up(watched, &error));
                }
                events.warn(
                    Step::Deploy,
                    format!("cannot look at the deployment, trying again: {error}"),
                );
            }
        }
        tell(&look.news, watched, events);
        if !look.news.is_empty() {
            last_news = Instant::now();
        }
        match look.verdict {
            Verdict::InProgress {
                waiting_for,
                hopeless,
                rolling_back,
            } => {
                if rolling_back {
                    watched.put_back(events).await;
                }
                if last_news.elapsed() >= HEARTBEAT {
                    last_news = Instant::now();
                    let missing = waiting_for.join(", ");
                    events.note(Step::Deploy, format!("waiting for {missing}"));
                }
                if let Some(hopeless) = hopeless.filter(|_| !rollback_asked) {
                    rollback_asked = true;
                    give_up(&hopeless, &mut lookout, watched, cancel, events).await?;
                }
            }
            Verdict::Succeeded => {
                let running = lookout
                    .rollout()
                    .service()
                    .map_or(0, |service| service.running);
                return Ok(format!(
                    "{} serves with {running} tasks",
                    name_of(watched.revision)
                ));
            }
            end => {
                learn_health_path(&mut lookout).await;
                let is_stuck = matches!(end, Verdict::Failed { .. } | Verdict::Stopped { .. });
                if is_stuck || matches!(end, Verdict::RolledBack { .. }) {
                    watched.put_back(events).await;
                }
                let failure = ended(end, lookout.rollout(), watched, events);
                let is_first = watched.created && watched.previous.is_none();
                return Err(if is_stuck && is_first {
                    left_or_scaled_down(failure, &lookout, watched, cancel, events).await
                } else {
                    failure
                });
            }
        }
        tokio::select! {
            biased;
            signal = cancel.wait() => return Err(farewell(signal, lookout.rollout(), watched, events).await),
            () = tokio::time::sleep(lookout.pause()) => {}
        }
    }
}

fn tell(news: &[Progress], watched: &Watched<'_>, events: &Events) {
    for item in news {
        let seen = What::Seen {
            service: watched.service.to_owned(),
            progress: item.clone(),
        };
        // It only serves to explain where the time went: a rollout is watched without it as well.
        if let Err(error) = watched.journal.note(seen) {
            tracing::debug!(%error, "the journal did not take what was seen");
        }
        if matches!(item, Progress::TaskStopped { .. }) {
            events.warn(Step::Deploy, item.to_string());
        } else {
            events.note(Step::Deploy, item.to_string());
        }
    }
}

/// The failure budget is used up: back to the earlier revision, where there is one that ever completed. Goes on if ECS takes the
/// rollback, whose end is then watched.
async fn give_up(
    hopeless: &Hopeless,
    lookout: &mut Lookout<'_, Together>,
    watched: &Watched<'_>,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    events.warn(Step::Deploy, hopeless.to_string());
    let ours = lookout
        .rollout()
        .our_deployment()
        .map(|deployment| deployment.arn.clone());
    let mut refused = None;
    if let (Some(arn), Some(_)) = (ours, watched.previous) {
        let asked = ask_for_rollback(&arn, watched, events);
        match cancel.grant(GRACE, asked).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if has_code(&error, CONFLICT) && !nothing_earlier(&error, watched) => {
                // It ended meanwhile, as when the circuit breaker was faster: the next look says how.
                events.note(
                    Step::Deploy,
                    format!("ECS does not take the rollback: {error}"),
                );
                return Ok(());
            }
            Ok(Err(error)) if has_code(&error, CONFLICT) => {}
            Ok(Err(error)) => refused = Some(error),
            Err(signal) => {
                return Err(signal
                    .failure()
                    .hint("the rollback was asked for, but ECS had not answered yet"));
            }
        }
    }
    learn_health_path(lookout).await;
    let failure = explained(
        lookout.rollout(),
        watched,
        events,
        Kind::NotRolledBack,
        &hopeless.to_string(),
    );
    if let Some(error) = refused {
        return Err(failure.detail(format!("the rollback was refused: {error}")));
    }
    Err(left_or_scaled_down(failure, lookout, watched, cancel, events).await)
}

/// Without an earlier revision that ever completed, there is nothing to go back to: a service that this deployment created gets no more
/// tasks; any other is left as it is.
async fn left_or_scaled_down(
    failure: Failure,
    lookout: &Lookout<'_, Together>,
    watched: &Watched<'_>,
    cancel: &Cancel,
    events: &Events,
) -> Failure {
    let service = watched.service;
    if !watched.created {
        return failure.hint(format!(
            "no earlier revision of {service} ever completed, so there is nothing to go back to; hoist did not create the service, and left it as it is"
        ));
    }
    let desired = lookout
        .rollout()
        .service()
        .map_or(0, |service| service.desired);
    let asked = service::scale_to_nothing(watched.aws, watched.cluster, service, desired);
    match cancel.grant(GRACE, asked).await {
        Ok(Ok(())) => {
            events.note(Step::Deploy, format!("scaled {service} to 0 tasks"));
            failure.hint(format!(
                "there is no earlier revision to go back to; {service} was created by this deployment, so it was scaled to 0 tasks; the next deployment gives it {desired} again"
            ))
        }
        Ok(Err(error)) => failure.hint(format!(
            "there is no earlier revision to go back to, and {service} could not be scaled to 0 tasks: {error}"
        )),
        Err(_) => failure.hint(format!(
            "there is no earlier revision to go back to; {service} was to be scaled to 0 tasks, and ECS had not answered yet"
        )),
    }
}

async fn learn_health_path(lookout: &mut Lookout<'_, Together>) {
    // A diagnosis without the path is better than none in time.
    let _ = tokio::time::timeout(GRACE, lookout.learn_health_path()).await;
}

fn intent(watched: &Watched<'_>) -> Intent {
    let mut intent = Intent::new(watched.service, watched.revision, watched.asked_at);
    intent.previous_task_definition = watched.previous.map(str::to_owned);
    intent.budget = watched.budget;
    intent
        .service_deployment
        .clone_from(&watched.known_deployment);
    intent.timeout =
        SignedDuration::try_from(watched.timeout).unwrap_or(SignedDuration::from_mins(30));
    if let Some(answer) = watched.answer {
        note_answer(&mut intent, answer);
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

/// The failure budget that hoist.yaml asks for.
pub fn budget(configured: Option<FailureBudget>) -> Budget {
    match configured {
        None => Budget::Default,
        Some(FailureBudget::Tasks(tasks)) => Budget::Tasks(tasks),
        Some(FailureBudget::Word(Unlimited::Unlimited)) => Budget::Unlimited,
    }
}

/// The last part of an ARN.
fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
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
    // What only takes longer than it was given has no cause that could be known.
    if kind == Kind::TimedOut && diagnosis.id == "unknown" && diagnosis.evidence.tasks.is_empty() {
        events.note(
            Step::Deploy,
            "nothing has failed so far: it is slower than the time that it was given",
        );
        return Failure::new(kind, format!("{}: {what}", watched.service));
    }
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
