//! Task sets: the deployments of a service whose deployment controller is EXTERNAL. Whoever deploys says how many of the service's
//! tasks each set has and which set is the primary one; ECS only keeps the sets as they should be.
//!
//! A set is an entry of the service's inner `deployments`, which such a service does not show: its tasks belong to that entry's
//! revision, as ever, and are counted and launched in the same way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::crew::{Crew, Seen};
use crate::request::{self, flag, required, text};
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    Answer, Arn, Deployment, DeploymentStatus, Members, Millis, Refusal, RolloutState, Service,
    ServiceRevision, ServiceStatus, TaskDefinition, TaskStatus,
};

type Request = Map<String, Value>;
type Answered = Result<Answer, Refusal>;

/// `status` of a task set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskSetStatus {
    /// It serves production traffic, says whoever deploys.
    Primary,
    #[default]
    Active,
    /// Deleted, with tasks that still stop.
    Draining,
}

impl TaskSetStatus {
    /// The word of the API, such as `PRIMARY`.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskSetStatus::Primary => "PRIMARY",
            TaskSetStatus::Active => "ACTIVE",
            TaskSetStatus::Draining => "DRAINING",
        }
    }
}

/// A task set, beside the inner deployment of the same id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSet {
    /// `ecs-svc/<19 digits>`.
    pub id: String,
    /// `arn:aws:ecs:R:A:task-set/CLUSTER/SERVICE/ecs-svc/<19 digits>`.
    pub arn: Arn,
    pub status: TaskSetStatus,
    /// `scale.value`: per cent of the service's desired count, 0 to 100.
    pub scale: f64,
    pub updated_at: Millis,
    /// `stabilityStatus` is STEADY_STATE: everything asked for runs and is healthy.
    pub steady: bool,
    pub stability_at: Millis,
    /// The members of CreateTaskSet, verbatim.
    pub request: Members,
}

impl TaskSet {
    /// `computedDesiredCount`: its share of the service's tasks, rounded up.
    pub fn computed_desired_count(&self, service: &Service) -> u32 {
        match self.status {
            TaskSetStatus::Draining => 0,
            // What a share in binary is too much by must not cost a task.
            _ => (f64::from(service.desired_count) * self.scale / 100.0 - 1e-9).ceil() as u32,
        }
    }
}

impl Service {
    /// Whether it deploys by task sets.
    pub fn is_external(&self) -> bool {
        let is_external = || {
            let controller = self.request.get("deploymentController");
            controller.is_some_and(|it| it["type"] == "EXTERNAL")
        };
        // Asked in every step: one of ECS's own has deployments, and no sets.
        !self.task_sets.is_empty() || (self.deployments.is_empty() && is_external())
    }

    /// The task set of that id or ARN.
    pub fn task_set(&self, name: &str) -> Option<&TaskSet> {
        self.task_sets
            .iter()
            .find(|it| it.id == name || it.arn == name)
    }

    fn place_of_set(&self, name: &str) -> Result<usize, Refusal> {
        let place = self
            .task_sets
            .iter()
            .position(|it| it.id == name || it.arn == name);
        place.ok_or_else(|| {
            Refusal::new(
                "TaskSetNotFoundException",
                "The specified task set does not exist.",
            )
        })
    }
}

fn percent(request: &Request) -> Option<f64> {
    request.get("scale")?.get("value")?.as_f64()
}

impl Turn<'_> {
    fn take_external(
        &mut self,
        region: &str,
        request: &Request,
    ) -> Result<(Key, Box<Service>), Refusal> {
        let arn = self.find_active_service(region, request)?;
        if self.world.service(&arn).is_some_and(|it| !it.is_external()) {
            return Err(Refusal::invalid(
                "Amazon ECS only supports task set management on services configured to use external deployment controllers.",
            ));
        }
        self.take_service(&arn)
    }

    /// Runs `change` on a service with task sets, and has it looked after.
    fn with_sets(
        &mut self,
        region: &str,
        request: &Request,
        change: impl FnOnce(&mut Self, &mut Service) -> Result<String, Refusal>,
    ) -> Answered {
        let (key, mut service) = self.take_external(region, request)?;
        let changed = change(self, &mut service);
        let arn = service.arn.clone();
        self.world.services.put(key, service);
        let id = changed?;
        self.world.services.touch(key);
        self.queue_service(&arn);
        Ok(Answer::TaskSet { service: arn, id })
    }

    /// CreateTaskSet. The same `clientToken` again gets the same set.
    pub fn create_task_set(&mut self, region: &str, request: &Request) -> Answered {
        let definition = self
            .usable_definition(region, required(request, "taskDefinition")?)?
            .clone();
        self.with_sets(region, request, |turn, service| {
            let token = text(request, "clientToken");
            let same =
                |it: &&crate::TaskSet| token.is_some() && text(&it.request, "clientToken") == token;
            if let Some(set) = service.task_sets.iter().find(same) {
                return Ok(set.id.clone());
            }
            // "Task sets for each service" is 5 (quotas of ECS).
            if service.task_sets.len() >= 5 {
                return Err(Refusal::invalid(
                    "5 deployments exist on the service. Unable to create new TaskSet since this exceeds the maximum limit.",
                ));
            }
            for balancer in request::load_balancers(request) {
                if definition.container(&balancer.container).is_none() {
                    return Err(Refusal::invalid(format!(
                        "The container {} does not exist in the task definition.",
                        balancer.container
                    )));
                }
            }
            Ok(turn.add_set(service, &definition, request))
        })
    }

    fn add_set(
        &mut self,
        service: &mut Service,
        definition: &TaskDefinition,
        request: &Request,
    ) -> String {
        let ids = &mut self.world.settings.ids;
        let (number, revision_number) = (ids.digits19(), ids.digits19());
        self.world.touch(Kind::Settings, "");
        let cluster_name = service.cluster.rsplit('/').next().unwrap_or_default();
        let path = format!("{cluster_name}/{}", service.name);
        let id = format!("ecs-svc/{number}");
        let arn_of = |kind: &str, rest: &str| {
            self.world
                .arn(&service.region, kind, &format!("{path}/{rest}"))
        };
        let (arn, revision) = (
            arn_of("task-set", &id),
            arn_of("service-revision", &revision_number),
        );
        let mut members = service.request.clone();
        request::keep(members.change(), request.clone());
        self.world.service_revisions.insert(
            &revision,
            ServiceRevision {
                arn: revision.clone(),
                service: service.arn.clone(),
                cluster: service.cluster.clone(),
                task_definition: definition.arn.clone(),
                created_at: self.now,
                image_digests: BTreeMap::new(),
                resolved: false,
                load_balancers: request::load_balancers(request),
                zones: Vec::new(),
                request: members,
                shaped: None,
            },
        );
        service.deployments.push(Deployment {
            id: id.clone(),
            status: DeploymentStatus::Active,
            task_definition: definition.arn.clone(),
            revision: revision.clone(),
            created_at: self.now,
            updated_at: self.now,
            // There is nothing about it that could be rolled back.
            rollout_state: RolloutState::Completed,
            ..Deployment::default()
        });
        service.task_sets.push(TaskSet {
            id: id.clone(),
            arn,
            status: TaskSetStatus::Active,
            scale: percent(request).unwrap_or(0.0),
            updated_at: self.now,
            steady: false,
            stability_at: self.now,
            request: request.clone().into(),
        });
        self.resolve_images(&revision);
        id
    }

    /// UpdateTaskSet: its share of the tasks.
    pub fn update_task_set(&mut self, region: &str, request: &Request) -> Answered {
        self.with_sets(region, request, |turn, service| {
            let place = service.place_of_set(required(request, "taskSet")?)?;
            let set = &mut service.task_sets[place];
            set.scale = percent(request).unwrap_or(set.scale);
            set.updated_at = turn.now;
            set.steady = false;
            set.stability_at = turn.now;
            Ok(set.id.clone())
        })
    }

    /// DeleteTaskSet: its tasks are stopped, and then it is gone.
    pub fn delete_task_set(&mut self, region: &str, request: &Request) -> Answered {
        self.with_sets(region, request, |turn, service| {
            let place = service.place_of_set(required(request, "taskSet")?)?;
            let set = &mut service.task_sets[place];
            if set.scale > 0.0 && !flag(request, "force") {
                return Err(Refusal::invalid(
                    "The task set cannot be deleted while it is scaled above 0.",
                ));
            }
            set.status = TaskSetStatus::Draining;
            set.updated_at = turn.now;
            Ok(set.id.clone())
        })
    }

    /// UpdateServicePrimaryTaskSet: the service is from now on what that set is.
    pub fn update_primary_task_set(&mut self, region: &str, request: &Request) -> Answered {
        self.with_sets(region, request, |turn, service| {
            let place = service.place_of_set(required(request, "primaryTaskSet")?)?;
            if service.task_sets[place].status == TaskSetStatus::Draining {
                return Err(Refusal::invalid("The specified task set is draining."));
            }
            for set in &mut service.task_sets {
                if set.status == TaskSetStatus::Primary {
                    set.status = TaskSetStatus::Active;
                    set.updated_at = turn.now;
                }
            }
            let set = &mut service.task_sets[place];
            set.status = TaskSetStatus::Primary;
            set.updated_at = turn.now;
            let id = set.id.clone();
            let definition = service.deployments.iter().find(|it| it.id == id);
            service.task_definition = definition
                .map(|it| it.task_definition.clone())
                .unwrap_or_default();
            Ok(id)
        })
    }

    /// What an update may change of a service with task sets: its desired count, its grace period and what does not shape tasks.
    pub fn refuse_reshaping(&self, service: &Service, request: &Request) -> Result<(), Refusal> {
        let shaping = [
            ("taskDefinition", "task definition"),
            ("loadBalancers", "load balancers"),
            ("networkConfiguration", "network configuration"),
            ("platformVersion", "platform version"),
            ("capacityProviderStrategy", "capacity provider strategy"),
            ("serviceRegistries", "service registries"),
        ];
        let asked = |name: &str| request.get(name).is_some_and(|it| !it.is_null());
        match shaping.iter().find(|(name, _)| asked(name)) {
            Some((_, what)) if service.is_external() => Err(Refusal::invalid(format!(
                "Unable to update {what} on services with an EXTERNAL deployment controller."
            ))),
            _ if service.is_external() && flag(request, "forceNewDeployment") => {
                Err(Refusal::invalid(
                    "Cannot force a new deployment on services with an EXTERNAL deployment controller.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Brings every set to what it should be. The percentages of `deploymentConfiguration` say nothing here.
    pub fn keep_sets(&mut self, service: &mut Service, crew: &mut Crew) {
        if crew.has_news {
            self.account(service);
            *crew = self.crew(service);
        }
        for place in 0..service.task_sets.len() {
            let wanted = service.task_sets[place].computed_desired_count(service);
            service.deployments[place].desired_count = wanted;
            self.stop_beyond_set(service, crew, place, wanted);
            let deployment = &service.deployments[place];
            let sound = crew.count(|it| it.deployment == place && !it.unhealthy);
            let may = deployment.launch_after.is_none_or(|at| at <= self.now)
                && self.is_resolved(&deployment.revision);
            if may {
                self.launch_for(service, place, wanted.saturating_sub(sound), crew);
            }
        }
        if crew.has_unhealthy_news {
            self.announce_unhealthy_tasks(service);
        }
        self.announce_stopped(service, &crew.stopped_running, crew.stopped_pending);
        let mut place = 0;
        while place < service.task_sets.len() {
            let left = crew
                .statuses()
                .any(|(of, status)| of == place && status != TaskStatus::Stopped);
            if service.task_sets[place].status == TaskSetStatus::Draining && !left {
                service.task_sets.remove(place);
                service.deployments.remove(place);
                crew.forget_deployment(place);
                self.world.touch(Kind::Service, &service.arn);
            } else {
                self.conclude_set(service, crew, place);
                place += 1;
            }
        }
    }

    /// Stops what a set has too much: what does not run yet first, then the newest; and what is unhealthy once the others are enough.
    fn stop_beyond_set(&mut self, service: &Service, crew: &mut Crew, place: usize, wanted: u32) {
        let drains = service.task_sets[place].status == TaskSetStatus::Draining;
        let ours = |it: &Seen| it.deployment == place;
        let healthy = crew.count(|it| ours(it) && it.healthy);
        let sound = crew.count(|it| ours(it) && !it.unhealthy);
        let mut excess = sound.saturating_sub(wanted);
        while excess > 0 {
            let victim = (0..crew.tasks.len())
                .filter(|index| {
                    let it = &crew.tasks[*index];
                    ours(it) && !it.unhealthy && (drains || !it.protected)
                })
                .max_by_key(|index| {
                    let it = &crew.tasks[*index];
                    (it.status < TaskStatus::Running, it.created_at, it.key)
                });
            let Some(index) = victim else { break };
            self.stop_one(crew, index, service);
            excess -= 1;
        }
        let mut index = 0;
        while index < crew.tasks.len() {
            let it = &crew.tasks[index];
            if ours(it) && it.unhealthy && healthy >= wanted {
                self.stop_one(crew, index, service);
            } else {
                index += 1;
            }
        }
    }

    fn conclude_set(&mut self, service: &mut Service, crew: &Crew, place: usize) {
        let ours = |it: &Seen| it.deployment == place;
        let wanted = service.deployments[place].desired_count;
        let stopping = crew
            .others
            .iter()
            .any(|(of, status)| *of == place && *status != TaskStatus::Stopped);
        let steady = crew.count(ours) == wanted
            && crew.count(|it| ours(it) && it.healthy) == wanted
            && !stopping;
        let set = &mut service.task_sets[place];
        if set.steady == steady {
            return;
        }
        set.steady = steady;
        set.stability_at = self.now;
        let id = set.id.clone();
        self.world.touch(Kind::Service, &service.arn);
        if steady {
            self.announce_set(service, &id, "has reached a steady state.");
        }
    }

    /// A service is deleted with its sets.
    pub fn drop_sets(&mut self, service: &mut Service) {
        if service.status == ServiceStatus::Inactive {
            service.task_sets.clear();
        }
        for set in &mut service.task_sets {
            set.status = TaskSetStatus::Draining;
        }
    }
}
