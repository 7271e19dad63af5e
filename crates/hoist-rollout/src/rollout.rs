//! The state of one rollout: what was asked for, and the newest of everything that was seen.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::due::Timing;
use crate::observation::{
    DeploymentSeen, EventSeen, LogsSeen, Observation, ServiceSeen, TargetSeen, TaskSeen,
};
use crate::progress::{self, Progress};
use crate::status::DeploymentStatus;

/// What a deployment is to bring about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The service's name.
    pub service: String,
    /// The ARN of our revision of the task definition.
    pub task_definition: String,
    /// The ARN of the revision that ran before, if any.
    pub previous_task_definition: Option<String>,
    /// The ARN of our service deployment, once it is known.
    pub service_deployment: Option<String>,
    /// The id of our entry in the service's `deployments` (`ecs-svc/<n>`), once it is known.
    pub deployment_id: Option<String>,
    /// When our deployment was made, by the clock of ECS. Without [`Intent::service_deployment`], one of our revision made from then on is ours.
    pub made_at: Option<Timestamp>,
    /// Per container, the digests of which one must run: of the pushed image, and of its manifest for the platform.
    pub digests: BTreeMap<String, Vec<String>>,
    /// When the rollout began, by our clock.
    pub started: Timestamp,
    /// How long it may take.
    pub timeout: SignedDuration,
    /// When it is hopeless.
    pub budget: Budget,
    /// What else is known of the containers, for the diagnosis.
    pub containers: Vec<ContainerFacts>,
}

impl Intent {
    /// The least that must be known; everything else is empty, the timeout is half an hour.
    pub fn new(service: &str, task_definition: &str, started: Timestamp) -> Intent {
        Intent {
            service: service.to_owned(),
            task_definition: task_definition.to_owned(),
            previous_task_definition: None,
            service_deployment: None,
            deployment_id: None,
            made_at: None,
            digests: BTreeMap::new(),
            started,
            timeout: SignedDuration::from_mins(30),
            budget: Budget::default(),
            containers: Vec::new(),
        }
    }
}

/// What the task definition says of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The port that the load balancer sends to.
    pub port: Option<u16>,
    /// The path of the load balancer's health check.
    pub health_path: Option<String>,
    /// Its memory in MiB: the container's limit, else the task's.
    pub memory: Option<i64>,
    /// Its log group.
    pub log_group: Option<String>,
}

/// A rollout and what was seen of it. Observations may come late, twice, or in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// What was asked for.
    pub intent: Intent,
    /// How long parts of it take at least, once that is known.
    pub timing: Option<Timing>,
    pub(crate) service: Option<ServiceSeen>,
    pub(crate) missing_at: Option<Timestamp>,
    pub(crate) deployments: BTreeMap<String, DeploymentSeen>,
    pub(crate) no_service_deployments: bool,
    pub(crate) tasks: BTreeMap<String, TaskSeen>,
    pub(crate) targets: BTreeMap<(String, String, u16), TargetSeen>,
    pub(crate) events: BTreeMap<(Timestamp, String), String>,
    pub(crate) logs: BTreeMap<(String, String), LogsSeen>,
    /// Addresses of tasks of our revision that were once healthy, and the tasks themselves by ARN.
    pub(crate) once_healthy: BTreeSet<String>,
    /// Targets that drain, and the last moment at which they were not seen to.
    pub(crate) draining: BTreeMap<(String, String, u16), Timestamp>,
    /// The last moment at which our deployment was not seen in its stage.
    pub(crate) stage_since: Option<Timestamp>,
    /// When a deployment was first seen to wait in a PAUSE hook: ARN and id.
    pub(crate) paused: BTreeMap<(String, String), Timestamp>,
    /// The last moment at which our deployment was not seen on its way back.
    pub(crate) back_since: Option<Timestamp>,
    /// The last moment at which not every task was seen in its place.
    pub(crate) unsettled_at: Option<Timestamp>,
}

impl Rollout {
    /// Begins to watch.
    pub fn new(intent: Intent) -> Rollout {
        Rollout {
            intent,
            timing: None,
            service: None,
            missing_at: None,
            deployments: BTreeMap::new(),
            no_service_deployments: false,
            tasks: BTreeMap::new(),
            targets: BTreeMap::new(),
            events: BTreeMap::new(),
            logs: BTreeMap::new(),
            once_healthy: BTreeSet::new(),
            draining: BTreeMap::new(),
            stage_since: None,
            paused: BTreeMap::new(),
            back_since: None,
            unsettled_at: None,
        }
    }

    /// Takes in what was seen, and says what is new in it, each fact once.
    pub fn see(&mut self, seen: &[Observation]) -> Vec<Progress> {
        let mut news = Vec::new();
        for observation in seen {
            self.see_one(observation, &mut news);
        }
        news
    }

    fn see_one(&mut self, observation: &Observation, news: &mut Vec<Progress>) {
        match observation {
            Observation::Service(service) => {
                let began = self.intent.made_at.unwrap_or(self.intent.started);
                let mut fresh: Vec<&EventSeen> = service
                    .events
                    .iter()
                    .rev()
                    .filter(|event| self.is_new_event(event))
                    .collect();
                // ECS lists the newest first; of one moment, its order is kept.
                fresh.sort_by_key(|event| event.at);
                for event in fresh {
                    // Older events are another deployment's; they are kept out of news and diagnosis.
                    if event.at >= began {
                        news.push(Progress::Event {
                            at: event.at,
                            message: event.message.clone(),
                        });
                        self.events
                            .insert((event.at, event.id.clone()), event.message.clone());
                    }
                }
                if self
                    .service
                    .as_ref()
                    .is_none_or(|old| newer(old.at, service.at, old, service))
                {
                    progress::of_service(self.service.as_ref(), service, &self.intent, news);
                    if !service.is_in_place() {
                        self.unsettled_at = self.unsettled_at.max(Some(service.at));
                    }
                    self.service = Some(service.clone());
                }
            }
            Observation::ServiceMissing { at } => self.missing_at = self.missing_at.max(Some(*at)),
            Observation::Deployment(deployment) => {
                if let Some(pause) = &deployment.pause {
                    let key = (deployment.arn.clone(), pause.hook.clone());
                    let at = self.paused.entry(key).or_insert(deployment.at);
                    *at = deployment.at.min(*at);
                }
                let old = self.deployments.get(&deployment.arn);
                if old.is_none_or(|old| supersedes(old, deployment)) {
                    let old = self
                        .deployments
                        .insert(deployment.arn.clone(), deployment.clone());
                    if self
                        .our_deployment()
                        .is_some_and(|ours| ours.arn == deployment.arn)
                    {
                        if old.as_ref().is_none_or(|old| old.stage != deployment.stage) {
                            self.stage_since =
                                Some(old.as_ref().map_or(deployment.at, |old| old.at));
                        }
                        let is_back = |one: &DeploymentSeen| one.status == "ROLLBACK_IN_PROGRESS";
                        let was_back = old.as_ref().is_some_and(is_back);
                        if is_back(deployment) && !was_back {
                            self.back_since =
                                Some(old.as_ref().map_or(deployment.at, |old| old.at));
                        }
                        progress::of_deployment(old.as_ref(), deployment, news);
                    }
                }
            }
            Observation::NoServiceDeployments => self.no_service_deployments = true,
            Observation::Task(task) => self.see_task(task, news),
            Observation::Target(target) => {
                let key = (target.group.clone(), target.address.clone(), target.port);
                if target.state == "healthy" {
                    self.once_healthy.insert(target.address.clone());
                }
                let old = self.targets.get(&key);
                if old.is_none_or(|old| newer(old.at, target.at, old, target)) {
                    let old = self.targets.insert(key.clone(), target.clone());
                    if !target.state.starts_with("draining") {
                        self.draining.remove(&key);
                    } else if old.as_ref().is_none_or(|old| old.state != target.state) {
                        let since = old.as_ref().map_or(self.intent.started, |old| old.at);
                        let since = self.drains_since(since, target.at);
                        self.draining.insert(key, since);
                    }
                    if self.is_ours_by_address(&target.address) {
                        progress::of_target(old.as_ref(), target, news);
                    }
                }
            }
            Observation::Logs(logs) => {
                let key = (logs.task.clone(), logs.container.clone());
                if self
                    .logs
                    .get(&key)
                    .is_none_or(|old| newer(old.at, logs.at, old, logs))
                {
                    self.logs.insert(key, logs.clone());
                }
            }
        }
    }

    fn see_task(&mut self, task: &TaskSeen, news: &mut Vec<Progress>) {
        if self.is_ours(task) && was_healthy(task) {
            self.once_healthy.insert(task.arn.clone());
        }
        let old = self.tasks.get(&task.arn);
        let takes_over = old.is_none_or(|old| match (old.is_stopped(), task.is_stopped()) {
            (true, false) => false,
            (false, true) => true,
            _ => newer(old.at, task.at, old, task),
        });
        if takes_over {
            let old = self.tasks.insert(task.arn.clone(), task.clone());
            progress::of_task(old.as_ref(), task, self.is_ours(task), news);
        }
    }

    fn is_new_event(&self, event: &EventSeen) -> bool {
        !self.events.contains_key(&(event.at, event.id.clone()))
    }

    /// When a target began to drain that was seen to at `until` and not at `since`: as soon as the service said so of any, if it did.
    fn drains_since(&self, since: Timestamp, until: Timestamp) -> Timestamp {
        let told = self.events.iter().filter(|(_, message)| {
            message.contains("begun draining") || message.contains("deregistered")
        });
        let at = told.map(|((at, _), _)| self.by_our_clock(*at));
        at.filter(|at| *at > since && *at <= until)
            .min()
            .unwrap_or(since)
    }

    /// Whether a task runs our revision.
    pub(crate) fn is_ours(&self, task: &TaskSeen) -> bool {
        task.task_definition == self.intent.task_definition
    }

    fn is_ours_by_address(&self, address: &str) -> bool {
        self.tasks
            .values()
            .any(|task| task.address == address && self.is_ours(task))
    }

    /// Our service deployment, as last seen.
    pub fn our_deployment(&self) -> Option<&DeploymentSeen> {
        match (&self.intent.service_deployment, self.intent.made_at) {
            (Some(arn), _) => self.deployments.get(arn),
            // Of several (a repeated call), the newest is ours.
            (None, Some(made_at)) => self
                .deployments
                .values()
                .filter(|deployment| {
                    deployment.task_definition == self.intent.task_definition
                        && deployment
                            .created
                            .is_some_and(|at| at.duration_until(made_at) <= CLOCKS_OF_ECS)
                })
                .max_by_key(|deployment| deployment.created),
            (None, None) => None,
        }
    }

    /// The service, as last seen.
    pub fn service(&self) -> Option<&ServiceSeen> {
        self.service.as_ref()
    }

    /// The tasks of our revision, as last seen.
    pub fn our_tasks(&self) -> impl Iterator<Item = &TaskSeen> {
        self.tasks.values().filter(|task| self.is_ours(task))
    }

    /// Whether a task of our revision was ever healthy.
    pub fn was_ever_healthy(&self) -> bool {
        self.our_tasks().any(|task| {
            self.once_healthy.contains(&task.arn)
                || (!task.address.is_empty() && self.once_healthy.contains(&task.address))
        })
    }

    /// Tasks of ours that have ended and whose last lines have not been seen: ARN and container names.
    pub fn wants_logs(&self) -> Vec<(String, Vec<String>)> {
        let unseen = |task: &&TaskSeen| {
            task.containers.iter().all(|container| {
                !self
                    .logs
                    .contains_key(&(task.arn.clone(), container.name.clone()))
            })
        };
        self.our_tasks()
            .filter(|task| task.is_stopped())
            .filter(unseen)
            .map(|task| {
                (
                    task.arn.clone(),
                    task.containers
                        .iter()
                        .map(|container| container.name.clone())
                        .collect(),
                )
            })
            .collect()
    }
}

/// ECS notes the making of a service deployment and of its entry in `deployments` at moments that may differ by this much.
const CLOCKS_OF_ECS: SignedDuration = SignedDuration::from_secs(2);

/// How long a task without any health check must run to count as healthy (ECS: 40 s).
const HEALTHY_WITHOUT_CHECKS: SignedDuration = SignedDuration::from_secs(40);

fn was_healthy(task: &TaskSeen) -> bool {
    let ran = |until: Timestamp| {
        task.started
            .is_some_and(|started| started.duration_until(until) >= HEALTHY_WITHOUT_CHECKS)
    };
    match task.health.as_str() {
        "HEALTHY" => true,
        "UNHEALTHY" => false,
        _ => ran(task.stopped.unwrap_or(task.at)) && !task.stopped_reason.contains("health checks"),
    }
}

/// Whether the second is the newer view; of two views of one moment the same one wins in whatever order they come.
fn newer<T: std::fmt::Debug>(old_at: Timestamp, new_at: Timestamp, old: &T, new: &T) -> bool {
    match new_at.cmp(&old_at) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => format!("{new:?}") > format!("{old:?}"),
    }
}

/// A final status is never taken back; of two final ones, the worse is believed.
fn supersedes(old: &DeploymentSeen, new: &DeploymentSeen) -> bool {
    let rank = |deployment: &DeploymentSeen| DeploymentStatus::of(&deployment.status).finality();
    match rank(new).cmp(&rank(old)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => newer(old.at, new.at, old, new),
    }
}
