//! The life of a task, from PROVISIONING to STOPPED.

use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    Arn, Command, Condition, Container, ContainerStatus, Health, LoadBalancer, Members, Millis,
    StopCode, Target, Task, TaskStatus,
};
use serde_json::{Map, Value};

/// Members of a service that say nothing of its tasks.
pub(crate) const SERVICE_ONLY: &[&str] = &[
    "availabilityZoneRebalancing",
    "createdBy",
    "deploymentConfiguration",
    "deploymentController",
    "healthCheckGracePeriodSeconds",
    "loadBalancers",
    "schedulingStrategy",
];

/// What a new task is made from.
pub(crate) struct Birth<'a> {
    pub region: &'a str,
    pub cluster: &'a str,
    pub cluster_name: &'a str,
    pub definition: &'a str,
    pub group: String,
    pub started_by: Option<String>,
    pub service: Option<Arn>,
    pub revision: Option<Arn>,
    pub load_balancers: &'a [LoadBalancer],
    pub request: Members,
    pub provider: Option<String>,
    /// The Availability Zone that it is to be in.
    pub zone: Option<String>,
}

impl Turn<'_> {
    /// Makes a task and has its network made; returns its place and id.
    pub fn launch(&mut self, birth: Birth<'_>) -> (Key, String) {
        let mut ids = std::mem::take(&mut self.world.settings.ids);
        let id = ids.hex32();
        self.world.touch(Kind::Settings, "");
        let arn = self
            .world
            .arn_of(birth.region, "task", &[birth.cluster_name, &id]);
        let containers = self
            .world
            .task_definitions
            .get(birth.definition)
            .map_or(&[][..], |it| &it.containers)
            .iter()
            .map(|definition| {
                let uuid = ids.uuid();
                Container {
                    name: definition.name.clone(),
                    arn: self.world.arn_of(
                        birth.region,
                        "container",
                        &[birth.cluster_name, &id, &uuid],
                    ),
                    image: definition.image.clone(),
                    essential: definition.essential,
                    ..Container::default()
                }
            })
            .collect();
        self.world.settings.ids = ids;
        let targets = birth
            .load_balancers
            .iter()
            .map(|it| Target {
                target_group: it.target_group.clone(),
                container: it.container.clone(),
                port: it.port,
                ..Target::default()
            })
            .collect();
        let task = Task {
            arn: arn.clone(),
            id: id.clone(),
            region: birth.region.to_owned(),
            cluster: birth.cluster.to_owned(),
            task_definition: birth.definition.to_owned(),
            definition: self.world.task_definitions.key(birth.definition),
            group: birth.group,
            started_by: birth.started_by,
            service: birth.service.clone(),
            revision: birth.revision,
            status: TaskStatus::Provisioning,
            desired_status: TaskStatus::Running,
            containers,
            targets,
            created_at: self.now,
            status_since: self.now,
            version: 1,
            request: birth.request,
            capacity_provider: birth.provider,
            meant_for: birth.zone,
            ..Task::default()
        };
        let key = self.world.tasks.insert(&arn, task);
        if let Some(service) = birth.service {
            let crowd = self.world.crowds.entry(service).or_default();
            crowd.all.insert(key);
            crowd.live.push(key);
        }
        self.commands.push(Command::ProvisionTask { task: arn });
        (key, id)
    }

    /// Gives those of a service's or RunTask's members that shape a task the tags that `propagateTags` gives it.
    pub fn shape_request(&self, mut request: Map<String, Value>, definition: &str) -> Members {
        let own = match request.get("propagateTags").and_then(Value::as_str) {
            Some("TASK_DEFINITION") => self
                .world
                .task_definition(definition)
                .and_then(|it| it.document.get("tags")),
            _ => None,
        };
        if let Some(own) = own.and_then(Value::as_array) {
            let mut tags = own.clone();
            if let Some(Value::Array(given)) = request.get("tags") {
                tags.retain(|tag| !given.iter().any(|it| it.get("key") == tag.get("key")));
                tags.extend(given.iter().cloned());
            }
            request.insert("tags".to_owned(), Value::Array(tags));
        }
        request.into()
    }

    /// Decides that a task stops; the first decision gives code and reason.
    pub fn stop(&mut self, task: &mut Task, code: StopCode, reason: impl Into<String>) {
        if !task.is_wanted() {
            return;
        }
        task.desired_status = TaskStatus::Stopped;
        task.stop_code = Some(code);
        task.stopped_reason = Some(reason.into());
        task.stopping_at = Some(self.now);
        task.version += 1;
        task.healthy = false;
        self.world.touch(Kind::Task, &task.arn);
        self.queue_task(&task.arn);
        if let Some(service) = &task.service {
            self.queue_service(service);
        }
    }

    /// [`Turn::stop`] for a task in the world.
    pub fn stop_task(&mut self, arn: &str, code: StopCode, reason: &str) {
        if let Some((key, mut task)) = self.world.take_task(arn) {
            self.stop(&mut task, code, reason);
            self.world.tasks.put(key, task);
        }
    }

    /// A task could not start, for a reason in AWS's words.
    pub fn fail_to_start(&mut self, task: &mut Task, container: Option<&str>, reason: String) {
        if let Some(container) = container.and_then(|name| task.container_mut(name)) {
            container.reason.get_or_insert_with(|| reason.clone());
        }
        self.stop(task, StopCode::TaskFailedToStart, reason);
    }

    /// Moves a task on as far as it goes now.
    pub fn advance(&mut self, task: &mut Task) {
        loop {
            let next = if task.is_wanted() {
                self.upward(task)
            } else {
                self.downward(task)
            };
            let Some(next) = next else { break };
            task.status = next;
            task.status_since = self.now;
            task.version += 1;
            self.entered(task);
        }
        self.run_due_checks(task);
        self.judge(task);
    }

    fn held(&self, task: &Task, least: Millis) -> bool {
        self.now < task.status_since + least
    }

    fn upward(&mut self, task: &mut Task) -> Option<TaskStatus> {
        let pace = &self.world.settings.pace;
        match task.status {
            TaskStatus::Provisioning => {
                let least = pace.provisioning;
                (task.provisioned && !self.held(task, least)).then_some(TaskStatus::Pending)
            }
            TaskStatus::Pending => {
                let least = pace.pending;
                (!self.held(task, least)).then_some(TaskStatus::Activating)
            }
            TaskStatus::Activating => {
                if task.containers.iter().all(|it| it.pulled) {
                    task.pull_stopped_at.get_or_insert(self.now);
                    self.start_containers(task);
                    if !task.is_wanted() {
                        return self.downward(task);
                    }
                }
                task.containers
                    .iter()
                    .all(|it| it.started_at.is_some())
                    .then_some(TaskStatus::Running)
            }
            _ => None,
        }
    }

    fn downward(&mut self, task: &mut Task) -> Option<TaskStatus> {
        match task.status {
            TaskStatus::Provisioning => task.provisioned.then_some(TaskStatus::Deprovisioning),
            TaskStatus::Pending => Some(TaskStatus::Deprovisioning),
            TaskStatus::Activating | TaskStatus::Running => {
                if self.now < self.stops_at(task) {
                    return None;
                }
                if task.targets.iter().any(|it| it.registered_at.is_some()) {
                    Some(TaskStatus::Deactivating)
                } else {
                    Some(TaskStatus::Stopping)
                }
            }
            TaskStatus::Deactivating => {
                // There is nothing to spare a connection for when an essential container is gone.
                let pointless = task.stop_code == Some(StopCode::EssentialContainerExited)
                    || task.has_lost_an_essential_one();
                let drained = task
                    .targets
                    .iter()
                    .all(|it| it.drained || it.registered_at.is_none());
                (pointless || drained).then_some(TaskStatus::Stopping)
            }
            TaskStatus::Stopping => {
                self.stop_containers(task);
                let over = task
                    .containers
                    .iter()
                    .all(|it| !it.starting && it.status != ContainerStatus::Running);
                if over && task.started_or_tried() {
                    task.execution_stopped_at.get_or_insert(self.now);
                }
                over.then_some(TaskStatus::Deprovisioning)
            }
            TaskStatus::Deprovisioning => {
                let least = self.world.settings.pace.deprovisioning;
                (task.removed && !self.held(task, least)).then_some(TaskStatus::Stopped)
            }
            TaskStatus::Stopped => None,
        }
    }

    /// When a task that is to stop begins to: at once if there is nothing to spare, or for a user (StopTask answers DEACTIVATING).
    fn stops_at(&self, task: &Task) -> Millis {
        let decided = task.stopping_at.unwrap_or(self.now);
        let runs = task.status == TaskStatus::Running && !task.has_lost_an_essential_one();
        if runs && task.stop_code != Some(StopCode::UserInitiated) {
            decided + self.world.settings.pace.stopping
        } else {
            decided
        }
    }

    /// What a task does once when it comes into a state.
    fn entered(&mut self, task: &mut Task) {
        match task.status {
            TaskStatus::Activating => {
                task.pull_started_at = Some(self.now);
                let revision = task
                    .revision
                    .as_ref()
                    .and_then(|arn| self.world.service_revisions.get(arn));
                for container in &task.containers {
                    let digests = revision.map(|it| &it.image_digests);
                    self.commands.push(Command::PullImage {
                        task: task.arn.clone(),
                        container: container.name.clone(),
                        image: container.image.clone(),
                        digest: digests.and_then(|it| it.get(&container.name)).cloned(),
                    });
                }
            }
            TaskStatus::Running => {
                task.started_at = Some(self.now);
                for target in &mut task.targets {
                    target.registered_at = Some(self.now);
                    self.commands.push(Command::RegisterTarget {
                        task: task.arn.clone(),
                        target_group: target.target_group.clone(),
                        ip: task.ip.clone().unwrap_or_default(),
                        port: target.port,
                        availability_zone: task.availability_zone.clone().unwrap_or_default(),
                    });
                    if let Some(service) = &task.service {
                        self.registered.add(service, &target.target_group);
                    }
                }
            }
            TaskStatus::Deactivating => {
                for target in &mut task.targets {
                    if target.registered_at.is_none() || target.drained {
                        continue;
                    }
                    target.deregistered_at = Some(self.now);
                    target.state = crate::TargetState::Draining;
                    target.reason = Some("Target.DeregistrationInProgress".to_owned());
                    target.description = Some("Target deregistration is in progress".to_owned());
                    self.commands.push(Command::DeregisterTarget {
                        task: task.arn.clone(),
                        target_group: target.target_group.clone(),
                        ip: task.ip.clone().unwrap_or_default(),
                        port: target.port,
                    });
                    if let Some(service) = &task.service {
                        self.deregistered.add(service, &target.target_group);
                    }
                }
                if let (Some(service), Some(deployment)) = (&task.service, &task.started_by) {
                    self.draining.add(service, deployment);
                }
            }
            TaskStatus::Deprovisioning => {
                for container in &mut task.containers {
                    container.status = ContainerStatus::Stopped;
                }
                task.removing = true;
                self.commands.push(Command::RemoveTask {
                    task: task.arn.clone(),
                });
            }
            TaskStatus::Stopped => task.stopped_at = Some(self.now),
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Stopping => {}
        }
    }

    /// Starts what `dependsOn` allows; a dependency that can never be met any more fails the task.
    fn start_containers(&mut self, task: &mut Task) {
        let Some(definition) = self.world.definition_of(task) else {
            return;
        };
        let mut broken = None;
        let mut ready = Vec::new();
        for container in &task.containers {
            if container.starting || container.status != ContainerStatus::Pending {
                continue;
            }
            let Some(wanted) = definition.container(&container.name) else {
                continue;
            };
            let mut all = true;
            for dependency in &wanted.depends_on {
                let Some(other) = task.container(&dependency.container) else {
                    continue;
                };
                match readiness(other, dependency.condition) {
                    Readiness::Met => {}
                    Readiness::Waiting => all = false,
                    Readiness::Never(why) => {
                        all = false;
                        broken.get_or_insert_with(|| {
                            let reason = format!(
                                "dependency graph: failed to resolve container ordering dependency [{}] for target [{}] as dependency {why}",
                                other.name, container.name
                            );
                            (container.name.clone(), reason)
                        });
                    }
                }
                if let (false, Some(timeout), Some(started)) = (
                    all,
                    definition
                        .container(&other.name)
                        .and_then(|it| it.start_timeout),
                    other.started_at,
                ) && self.now >= started + timeout
                {
                    broken.get_or_insert_with(|| {
                        let reason = format!(
                            "dependency graph: container ordering dependency [{}] for target [{}] has timed out",
                            other.name, container.name
                        );
                        (container.name.clone(), reason)
                    });
                }
            }
            if all {
                ready.push(container.name.clone());
            }
        }
        if let Some((name, reason)) = broken {
            self.fail_to_start(task, Some(&name), reason);
            return;
        }
        for name in ready {
            if let Some(container) = task.container_mut(&name) {
                container.starting = true;
            }
            self.commands.push(Command::StartContainer {
                task: task.arn.clone(),
                container: name,
            });
        }
    }

    /// Stops what nothing that still runs depends on.
    fn stop_containers(&mut self, task: &mut Task) {
        let Some(definition) = self.world.definition_of(task) else {
            return;
        };
        let stoppable: Vec<(String, Millis)> = task
            .containers
            .iter()
            .filter(|it| it.status == ContainerStatus::Running && !it.stopping)
            .filter(|it| {
                !task.containers.iter().any(|other| {
                    (other.status == ContainerStatus::Running || other.starting)
                        && definition.container(&other.name).is_some_and(|wanted| {
                            wanted.depends_on.iter().any(|on| on.container == it.name)
                        })
                })
            })
            .map(|it| {
                let timeout = definition
                    .container(&it.name)
                    .map_or(30_000, |wanted| wanted.stop_timeout);
                (it.name.clone(), timeout)
            })
            .collect();
        for (name, timeout) in stoppable {
            if let Some(container) = task.container_mut(&name) {
                container.stopping = true;
                container.next_check_at = None;
            }
            self.commands.push(Command::StopContainer {
                task: task.arn.clone(),
                container: name,
                timeout,
            });
        }
    }

    pub fn image_pulled(&mut self, arn: &str, container: &str, digest: Option<String>) {
        let Some((key, mut task)) = self.world.take_task(arn) else {
            return;
        };
        if task.status == TaskStatus::Activating
            && let Some(it) = task.container_mut(container)
            && !it.pulled
        {
            it.pulled = true;
            it.image_digest = digest.clone();
            self.world.tasks.touch(key);
            self.queue_task(arn);
            self.pin(&task, container, digest);
        }
        self.world.tasks.put(key, task);
    }

    pub fn container_started(&mut self, task: &mut Task, name: &str, runtime_id: String) -> bool {
        let check = self
            .world
            .definition_of(task)
            .and_then(|it| it.container(name))
            .and_then(|it| it.health_check.as_ref())
            .map(|it| it.interval);
        let now = self.now;
        match task.container_mut(name) {
            Some(container) if container.starting => {
                container.starting = false;
                container.status = ContainerStatus::Running;
                container.runtime_id = Some(runtime_id);
                container.started_at = Some(now);
                container.next_check_at = check.map(|interval| now + interval);
                true
            }
            _ => false,
        }
    }

    pub fn container_exited(
        &mut self,
        task: &mut Task,
        name: &str,
        exit_code: i32,
        oom: bool,
    ) -> bool {
        let now = self.now;
        let essential = match task.container_mut(name) {
            Some(container) if container.status == ContainerStatus::Running => {
                container.status = ContainerStatus::Stopped;
                container.exit_code = Some(exit_code);
                container.stopped_at = Some(now);
                container.next_check_at = None;
                container.checking = false;
                if oom {
                    container.reason =
                        Some("OutOfMemoryError: Container killed due to memory usage".to_owned());
                }
                container.essential
            }
            _ => return false,
        };
        let last = task
            .containers
            .iter()
            .all(|it| it.status == ContainerStatus::Stopped);
        if essential || last {
            self.stop(
                task,
                StopCode::EssentialContainerExited,
                "Essential container in task exited",
            );
        }
        true
    }

    /// When a task has something to do by itself, after now.
    pub fn next_alarm(&self, task: &Task) -> Option<Millis> {
        let pace = &self.world.settings.pace;
        let mut times = Times(self.now, None);
        match task.status {
            TaskStatus::Provisioning => times.push(task.status_since + pace.provisioning),
            TaskStatus::Pending => times.push(task.status_since + pace.pending),
            TaskStatus::Deprovisioning => times.push(task.status_since + pace.deprovisioning),
            TaskStatus::Stopped => {
                if let Some(at) = task.stopped_at {
                    times.push(at + pace.keep_stopped);
                }
            }
            TaskStatus::Activating if task.is_wanted() => {
                if let Some(definition) = self.world.definition_of(task) {
                    for container in &task.containers {
                        let timeout = definition
                            .container(&container.name)
                            .and_then(|it| it.start_timeout);
                        if let (Some(at), Some(timeout)) = (container.started_at, timeout) {
                            times.push(at + timeout);
                        }
                    }
                }
            }
            TaskStatus::Running if task.is_wanted() => {
                if let (Some(at), None) = (task.started_at, task.healthy_at) {
                    times.push(at + pace.settle);
                }
                if let (Some(at), None, Some(service), true) = (
                    task.started_at,
                    task.unhealthy_at,
                    &task.service,
                    task.fails_checks(),
                ) {
                    let grace = self.grace_of(service);
                    times.push(at + grace);
                }
                if !task.healthy {
                    for target in &task.targets {
                        times.push(target.since + pace.notice);
                    }
                }
            }
            TaskStatus::Running => times.push(self.stops_at(task)),
            _ => {}
        }
        if task.is_wanted() {
            for at in task.containers.iter().filter_map(|it| it.next_check_at) {
                times.push(at);
            }
            if let Some(at) = task.protected_until {
                times.push(at);
            }
        }
        times.1
    }
}

impl Task {
    fn has_lost_an_essential_one(&self) -> bool {
        self.containers
            .iter()
            .any(|it| it.essential && it.status == ContainerStatus::Stopped)
    }

    fn started_or_tried(&self) -> bool {
        self.containers.iter().any(|it| it.started_at.is_some())
    }
}

/// The earliest time after a given one.
struct Times(Millis, Option<Millis>);

impl Times {
    fn push(&mut self, at: Millis) {
        if at > self.0 {
            self.1 = Some(self.1.map_or(at, |first| first.min(at)));
        }
    }
}

enum Readiness {
    Met,
    Waiting,
    Never(&'static str),
}

fn readiness(other: &Container, condition: Condition) -> Readiness {
    let stopped = other.status == ContainerStatus::Stopped;
    match condition {
        Condition::Start if other.started_at.is_some() => Readiness::Met,
        Condition::Complete if stopped => Readiness::Met,
        Condition::Success if stopped && other.exit_code == Some(0) => Readiness::Met,
        Condition::Success if stopped => Readiness::Never("did not exit successfully."),
        Condition::Healthy if stopped => Readiness::Never("is not healthy."),
        Condition::Healthy if other.health == Health::Healthy => Readiness::Met,
        Condition::Healthy if other.health == Health::Unhealthy => {
            Readiness::Never("is not healthy.")
        }
        _ => Readiness::Waiting,
    }
}

impl Turn<'_> {
    /// A target group would not take a task: the service says so, and the task is replaced as one that cannot start.
    pub fn target_refused(&mut self, arn: &str, target_group: &str, port: u16, reason: &str) {
        let Some((key, mut task)) = self.world.take_task(arn) else {
            return;
        };
        let refused = task.targets.iter_mut().find(|it| {
            it.target_group == target_group && it.port == port && it.registered_at.is_some()
        });
        if let Some(target) = refused
            && task.desired_status == TaskStatus::Running
        {
            target.registered_at = None;
            target.drained = true;
            let what = format!(
                "failed to register targets in (target-group {target_group}) with (error {reason})"
            );
            self.stop(
                &mut task,
                StopCode::TaskFailedToStart,
                format!("ResourceInitializationError: {what}"),
            );
            if let Some(service) = task.service.clone()
                && let Some(at) = self.world.services.key(&service)
                && let Some(mut service) = self.world.services.take(at)
            {
                self.announce_condition(&mut service, "place target", &what);
                self.world.touch(Kind::Service, &service.arn);
                self.world.services.put(at, service);
            }
        }
        self.world.tasks.put(key, task);
    }
}
