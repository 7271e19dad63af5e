//! One service: what it takes to move it, the move, and what comes when the revision serves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hoist_aws::Client;
use hoist_project::Project;
use serde_json::Value;

use crate::cancel::Cancel;
use crate::deploy::record;
use crate::event::{Events, ServiceOutcome, Step, StepTimer};
use crate::failure::{Failure, Kind};
use crate::image::Published;
use crate::journal::{Journal, What};
use crate::killed::Killed;
use crate::ready::{Ready, digest_in, token};
use crate::refusal::refused;
use crate::register;
use crate::resume::{Came, Fate};
use crate::table::tail;
use crate::target_group::Retarget;
use crate::together::Together;
use crate::work::Work;
use crate::{
    back, codedeploy, express, gate, provision, resolve, scaling, select, service, target_group,
    url, watch,
};

/// Moves services, one or several at once.
pub struct Mover<'a> {
    pub aws: &'a Client,
    /// The same client for all that watch at the same time.
    pub together: Together,
    pub embedded: bool,
    pub project: &'a Project,
    /// Number of tasks, if it is to be set.
    pub count: Option<u32>,
    pub force: bool,
    pub timeout: Duration,
    pub journal: &'a Journal,
    pub cancel: &'a Cancel,
    /// The newest run before this one, where it was killed.
    pub killed: Option<&'a Killed>,
    /// Whether this run goes on with that one.
    pub resumes: bool,
}

impl Mover<'_> {
    /// Time between two looks at what goes on.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(if self.embedded { 150 } else { 2_000 })
    }

    /// Puts the image in, makes or finds what the definitions refer to, and registers the revision.
    pub async fn prepare(
        &self,
        mut work: Work,
        image: Option<&Published>,
        tags: &[(String, String)],
        events: &Events,
    ) -> Result<Ready, Failure> {
        let (aws, cancel) = (self.aws, self.cancel);
        let live = if self.embedded {
            let seen = service::describe_if_cluster(aws, work.cluster(), work.name());
            cancel.or(seen).await?
        } else {
            let seen = service::describe(aws, work.cluster(), work.name());
            cancel.or(seen).await?
        };
        if self.embedded && hoist_ecs::is_express(&work.service_definition) {
            return Err(Failure::new(
                Kind::Check,
                format!("{} is an Express service, which the embedded AWS does not play", work.name()),
            )
            .hint("leave it out with --service, or give it another service definition in an environment of hoist.yaml"));
        }
        let reference = image.map(|image| image.reference.as_str());
        work.overlay(aws, live.as_ref(), reference).await?;
        if self.embedded {
            let step = events.start(Step::Provision, format!("what {} needs", work.name()));
            let wanted = work.wanted(&self.project.app);
            let made = cancel.or(provision::provision(aws, wanted, events)).await?;
            // Without a definition of its own a service that exists stays where it is.
            if live.is_some() && !work.can_create {
                work.service_definition = Value::Null;
            }
            if made == 0 {
                step.skip("everything is there")
            } else {
                step.finish(format!("{made} created"))
            }
        } else {
            cancel
                .or(resolve::resolve(aws, &mut work, live.as_ref(), events))
                .await?;
        }
        if live.is_none() && !work.can_create {
            return Err(Failure::new(
                Kind::Check,
                format!("the service {} does not exist in the cluster {}", work.name(), work.cluster()),
            )
            .hint(format!("give `services: {{ {}: {{ service-definition: ... }} }}`, from which it is created", work.key())));
        }
        let running = live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str());
        let step = events.start(
            Step::Register,
            work.task_definition["family"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        let registered = register::register(aws, &work.task_definition, running, tags, events);
        let revision = cancel.or(registered).await?;
        if revision.fresh {
            step.finish(revision.name().to_owned());
        } else {
            step.skip(format!("{} says the same", revision.name()));
        }
        let named = digest_in(&work.task_definition, work.service.container.as_deref());
        Ok(Ready {
            created: live.is_none(),
            work,
            live,
            revision,
            digest: image.map(|image| image.digest.to_string()).or(named),
            before: None,
            token: token(),
            came: Came::Nowhere,
            asked: AtomicBool::new(false),
            retarget: OnceLock::new(),
        })
    }

    /// Moves one service to its revision, to the end.
    pub async fn carry(&self, ready: &Ready, events: &Events) -> Result<ServiceOutcome, Failure> {
        let mut outcome = ready.outcome();
        match ready.came {
            Came::Moved { changed } => {
                let live = self.still_serves(ready)?;
                events.note(
                    Step::Deploy,
                    format!(
                        "{} serves in {} already",
                        ready.revision.name(),
                        ready.work.name()
                    ),
                );
                outcome.changed = changed;
                let found = self.cancel.or(url::find(self.aws, live)).await?;
                outcome.url = found.map(|found| found.url);
                return Ok(outcome);
            }
            Came::GoingBack => return Err(self.gone_back(ready, events).await),
            Came::Nowhere | Came::Asked(_) => {}
        }
        outcome.changed = self.roll_out(ready, events).await?;
        outcome.url = self
            .after(&ready.work, outcome.changed, events)
            .await
            .map_err(|failure| match failure.kind {
                Kind::Interrupted | Kind::Terminated => failure.hint(format!(
                    "{} serves in {} already, and nothing was rolled back",
                    ready.revision.name(),
                    ready.work.name()
                )),
                _ => failure,
            })?;
        if outcome.changed {
            self.gates(ready, outcome.url.as_deref(), events).await?;
        }
        Ok(outcome)
    }

    /// What the killed run left serving, unless something else has taken its place.
    fn still_serves<'b>(&self, ready: &'b Ready) -> Result<&'b Value, Failure> {
        let live = ready.live.as_ref();
        live.filter(|live| codedeploy::owns(live) || live["taskDefinition"] == *ready.revision.arn)
            .ok_or_else(|| {
                let (name, revision) = (ready.work.name(), ready.revision.name());
                Failure::new(
                    Kind::Superseded,
                    format!("{name}: another deployment has taken the place of {revision} since"),
                )
            })
    }

    /// Brings a service back that the killed run was about to take back.
    async fn gone_back(&self, ready: &Ready, events: &Events) -> Failure {
        let (name, revision) = (ready.work.name(), ready.revision.name());
        let previous = ready.previous().unwrap_or_default();
        let before = tail(previous);
        match Box::pin(self.go_back(ready, previous, events)).await {
            Ok(()) => Failure::new(
                Kind::RolledBack,
                format!("{name}: {revision} was to be taken back, and {before} serves again"),
            ),
            Err(mut failure) => {
                failure.message = format!("{name} did not go back to {before}: {failure}");
                failure.causes.clear();
                if failure.kind == Kind::RolledBack {
                    failure.kind = Kind::NotRolledBack;
                }
                failure
            }
        }
    }

    /// What must hold now that it serves; where it does not, the revision before serves again.
    async fn gates(
        &self,
        ready: &Ready,
        url: Option<&str>,
        events: &Events,
    ) -> Result<(), Failure> {
        let (folder, gates) = (&self.project.root, &self.project.gates);
        let service = ready.work.name();
        let held = gate::serving(self.aws, folder, service, url, gates, self.cancel, events).await;
        let Err(mut failure) = held else {
            return Ok(());
        };
        if failure.kind != Kind::NotRolledBack {
            return Err(failure);
        }
        let Some(previous) = ready
            .previous()
            .filter(|previous| *previous != ready.revision.arn)
        else {
            return Err(failure
                .hint("there is no revision before this one to go back to: it goes on serving"));
        };
        let name = tail(previous).to_owned();
        events.warn(
            Step::Deploy,
            format!("{}: going back to {name}", failure.message),
        );
        match Box::pin(self.go_back(ready, previous, events)).await {
            Ok(()) => {
                failure.kind = Kind::RolledBack;
                Err(failure.hint(format!("{name} serves again")))
            }
            Err(back) => Err(failure.hint(format!("{service} did not go back to {name}: {back}"))),
        }
    }

    /// Moves a service to the revision that ran before, to the end. The gates were for the new one.
    pub async fn go_back(
        &self,
        ready: &Ready,
        previous: &str,
        events: &Events,
    ) -> Result<(), Failure> {
        ready.put_back(self.aws, events).await;
        let live = select::live(self.aws, &ready.work.service).await?;
        let definition = back::describe(self.aws, previous).await?;
        let back = Ready::existing(ready.work.clone(), live, previous.to_owned(), definition);
        self.roll_out(&back, events).await?;
        self.after(&back.work, true, events).await.map(drop)
    }

    /// What comes when the revision serves: auto scaling, and the URL.
    pub async fn after(
        &self,
        work: &Work,
        changed: bool,
        events: &Events,
    ) -> Result<Option<String>, Failure> {
        let (aws, cancel) = (self.aws, self.cancel);
        let live = cancel
            .or(service::describe(aws, work.cluster(), work.name()))
            .await?
            .ok_or_else(|| {
                Failure::new(
                    Kind::Superseded,
                    format!("the service {} was deleted meanwhile", work.name()),
                )
            })?;
        if let Some(scaling) = &work.service.scaling {
            let applied = scaling::apply(aws, work.cluster(), &live, scaling, events);
            cancel.or(applied).await?;
        }
        self.access(work, &live, changed, events).await
    }

    async fn roll_out(&self, ready: &Ready, events: &Events) -> Result<bool, Failure> {
        let Ready {
            work,
            live,
            revision,
            ..
        } = ready;
        let aws = self.aws;
        let step = events.start(
            Step::Deploy,
            format!("{} to {}", revision.name(), work.name()),
        );
        if let Some(live) = live
            && codedeploy::owns(live)
        {
            return self.by_codedeploy(ready, live, step, events).await;
        }
        let mut began_with = None;
        let mut answer = None;
        let asked_at = jiff::Timestamp::now();
        if let Came::Asked(fate) = &ready.came {
            let what = format!("{}: {fate}", work.name());
            match fate {
                Fate::GoesOn(deployment) => {
                    events.note(Step::Deploy, "it is still in flight; watching it");
                    began_with = Some(deployment.clone());
                }
                Fate::NeverBegun => {
                    events.note(Step::Deploy, format!("{fate}; asking for it now"));
                }
                Fate::Serves => {
                    step.finish(format!("{} serves", revision.name()));
                    return Ok(true);
                }
                Fate::RolledBack | Fate::Ended(_) => {
                    ready.put_back(aws, events).await;
                    return Err(Failure::new(
                        match fate {
                            Fate::RolledBack => Kind::RolledBack,
                            _ => Kind::NotRolledBack,
                        },
                        what,
                    ));
                }
                Fate::Replaced => return Err(Failure::new(Kind::Superseded, what)),
            }
        }
        if began_with.is_none()
            && live.is_some()
            && let Some(flying) = self
                .cancel
                .or(service::in_flight(aws, work.cluster(), work.name()))
                .await?
        {
            // Our own revision on its way, as a killed run leaves it, is watched to its end and not deployed a second time.
            let ours = flying.task_definition.as_deref() == Some(&revision.arn)
                && matches!(flying.status.as_str(), "PENDING" | "IN_PROGRESS");
            if !ours {
                return Err(Failure::new(
                    Kind::InFlight,
                    format!(
                        "another deployment of {} is in flight ({}, {})",
                        work.name(),
                        flying.status,
                        flying.arn
                    ),
                )
                .hint(match flying.status.starts_with("ROLLBACK") {
                    true => "it is being rolled back: wait for its end, and deploy again",
                    false => {
                        "wait for its end, or take it back with `hoist rollback`, and deploy again"
                    }
                }));
            }
            events.note(
                Step::Deploy,
                "this revision is being deployed already; watching it",
            );
            if let Some(count) = self.count.filter(|count| {
                live.as_ref()
                    .is_none_or(|live| live["desiredCount"] != *count)
            }) {
                events.warn(
                    Step::Deploy,
                    format!("--count {count} was not applied to it; deploy again for that"),
                );
            }
            let killed = self.killed.filter(|_| self.embedded);
            let left = killed.and_then(|killed| killed.retargeted(work.cluster(), work.name()));
            if let Some(left) = left {
                let _ = ready.retarget.set(left);
            }
            ready.asked.store(true, Ordering::Relaxed);
            began_with = Some(flying.arn);
        }
        if began_with.is_none() {
            let moved = match live {
                None => None,
                Some(live) => {
                    let changes = self.cancel.or(self.changes(ready, live)).await?;
                    let same = live["taskDefinition"] == *revision.arn;
                    let failed = last_failed(live);
                    let serves = same && !failed;
                    let count = self
                        .count
                        .or_else(|| service::parked(live))
                        .filter(|count| live["desiredCount"] != *count);
                    let retarget = ready.retarget.get();
                    let is_checked_anew = retarget.is_some_and(Retarget::is_about_health);
                    let stays = changes.is_empty() && count.is_none() && !self.force;
                    if serves && stays && !is_checked_anew {
                        if let Some(retarget) = retarget {
                            self.cancel.or(retarget.change(aws, events)).await?;
                        }
                        step.skip(format!("{} serves already", revision.name()));
                        return Ok(false);
                    }
                    // A new health check is judged as a new revision is: by tasks that pass it.
                    let wanted = service::Move {
                        task_definition: revision.arn.clone(),
                        changes,
                        count,
                        force: self.force || same && (failed || is_checked_anew),
                    };
                    Some((live, wanted))
                }
            };
            self.cancel.or(async { Ok(()) }).await?;
            let (cluster, service) = (work.cluster().to_owned(), work.name().to_owned());
            if let Some(group) = &work.target_group {
                let checking = What::Checking {
                    cluster: cluster.clone(),
                    service: service.clone(),
                    task_definition: revision.arn.clone(),
                    group: group.clone(),
                };
                record(self.journal, checking)?;
            }
            if let Some(retarget) = ready.retarget.get() {
                let retargeting = What::Retargeting {
                    cluster: cluster.clone(),
                    service: service.clone(),
                    change: retarget.noted(),
                };
                record(self.journal, retargeting)?;
            }
            let deploying = What::Deploying {
                cluster,
                service,
                task_definition: revision.arn.clone(),
                created: live.is_none(),
            };
            record(self.journal, deploying)?;
            ready.asked.store(true, Ordering::Relaxed);
            let call = async {
                match moved {
                    Some((live, wanted)) => {
                        if let Some(retarget) = ready.retarget.get() {
                            retarget.change(aws, events).await?;
                        }
                        service::update(aws, work.cluster(), live, wanted).await
                    }
                    None => {
                        let made = service::create(
                            aws,
                            work.cluster(),
                            work.name(),
                            &work.service_definition,
                            &revision.arn,
                            self.count,
                            &ready.token,
                        )
                        .await?;
                        events.note(Step::Deploy, format!("created the service {}", work.name()));
                        Ok(made)
                    }
                }
            };
            // Not cancelled in the middle: a call whose answer is not awaited is a deployment that nobody watches.
            match self.cancel.grant(watch::GRACE, call).await {
                Ok(Ok(done)) => answer = Some(done),
                Ok(Err(failure)) => {
                    ready.put_back(aws, events).await;
                    return Err(failure);
                }
                Err(signal) => {
                    return Err(signal.failure().hint(
                        "ECS had been asked for the deployment and had not answered: it may go on; deploy again, which looks first",
                    ));
                }
            }
        }
        let health_path = work
            .target_group
            .as_ref()
            .and_then(|group| group["HealthCheckPath"].as_str())
            .map(str::to_owned);
        let watched = watch::Watched {
            aws,
            together: &self.together,
            embedded: self.embedded,
            cluster: work.cluster(),
            service: work.name(),
            revision: &revision.arn,
            definition: &work.task_definition,
            answer: answer.as_ref(),
            asked_at,
            container: work.service.container.as_deref(),
            digest: ready.digest.clone().unwrap_or_default(),
            health_path,
            known_deployment: began_with,
            previous: ready.previous(),
            timeout: self.timeout,
            budget: watch::budget(work.service.failure_budget),
            created: ready.created
                || self
                    .killed
                    .is_some_and(|killed| killed.created(work.cluster(), work.name())),
            journal: self.journal,
            retarget: ready.retarget.get(),
        };
        let summary = watch::to_the_end(&watched, self.cancel, events).await?;
        step.finish(summary);
        Ok(true)
    }

    /// What of a service that is live is to change besides its revision; what of its target group is, is kept in `ready`.
    async fn changes(
        &self,
        ready: &Ready,
        live: &Value,
    ) -> Result<Vec<(&'static str, Value)>, Failure> {
        let definition = &ready.work.service_definition;
        if express::is(live) && hoist_ecs::is_express(definition) {
            let runs = express::configuration(self.aws, live).await?;
            return Ok(express::changes(&runs, definition));
        }
        // On a real account the group is its owner's.
        if let (true, Some(wanted)) = (self.embedded, &ready.work.target_group)
            && let Some(differing) = target_group::differing(self.aws, live, wanted)
                .await
                .map_err(|error| refused("failed to describe the target group", &error))?
        {
            let _ = ready.retarget.set(differing);
        }
        Ok(service::changes(live, definition))
    }

    /// A service that CodeDeploy owns: the task set that has the traffic tells what serves.
    async fn by_codedeploy(
        &self,
        ready: &Ready,
        live: &Value,
        step: StepTimer,
        events: &Events,
    ) -> Result<bool, Failure> {
        let (work, revision) = (&ready.work, &ready.revision);
        let serves = hoist_aws::read::list(live, "taskSets")
            .any(|set| set["status"] == "PRIMARY" && set["taskDefinition"] == *revision.arn);
        if serves && !self.force {
            step.skip(format!("{} serves already", revision.name()));
            return Ok(false);
        }
        self.cancel.or(async { Ok(()) }).await?;
        let deploying = What::Deploying {
            cluster: work.cluster().to_owned(),
            service: work.name().to_owned(),
            task_definition: revision.arn.clone(),
            created: false,
        };
        record(self.journal, deploying)?;
        ready.asked.store(true, Ordering::Relaxed);
        let blue = codedeploy::Blue {
            aws: self.aws,
            cluster: work.cluster(),
            live,
            revision: &revision.arn,
            config: work.service.codedeploy.as_ref(),
            mark: &ready.token,
            is_asked: ready.came != Came::Nowhere,
            pause: self.pause(),
            timeout: self.timeout,
        };
        step.finish(blue.carry(self.cancel, events).await?);
        Ok(true)
    }

    async fn access(
        &self,
        work: &Work,
        live: &Value,
        changed: bool,
        events: &Events,
    ) -> Result<Option<String>, Failure> {
        if live["desiredCount"] == 0 {
            let why = format!("{} wants no task, so no URL is asked", work.name());
            events.note(Step::Verify, why);
            return Ok(None);
        }
        let Some(found) = self.cancel.or(url::find(self.aws, live)).await? else {
            if !hoist_aws::read::list(live, "loadBalancers")
                .as_slice()
                .is_empty()
            {
                events.warn(
                    Step::Verify,
                    format!(
                        "{} has a load balancer that no listener leads to, so no URL was asked",
                        work.name()
                    ),
                );
            }
            return Ok(None);
        };
        url::verify(&found, &work.service.url, changed, self.cancel, events).await?;
        Ok(Some(found.url))
    }
}

/// Whether the newest deployment of the service failed, so that its revision is named but does not serve.
fn last_failed(live: &Value) -> bool {
    live["deployments"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|deployment| {
            deployment["status"] == "PRIMARY" && deployment["rolloutState"] == "FAILED"
        })
}
