//! The step: one event in, commands out.

use std::hash::Hasher as _;

use crate::announce::Tally;
use crate::table::{Key, Quick};
use crate::world::{Kind, Queues, Sleeper};
use crate::{
    Answer, Arn, Call, Command, ContainerStatus, Course, Deployment, Event, Millis, Refusal,
    Service, StopCode, Task, TaskStatus, Traffic, World,
};

/// Lets `event` happen at `now` (milliseconds since the Unix epoch; never less than before) and returns what is to be done.
///
/// Everything that is due by `now` is done, too, whatever the event.
pub fn step(world: &mut World, event: Event, now: Millis) -> Vec<Command> {
    let mut turn = Turn::new(world, now);
    turn.happen(event);
    turn.finish()
}

/// [`step`] for an API call: its answer apart from the commands.
///
/// # Errors
/// The call was refused and changed nothing.
pub fn call(world: &mut World, call: Call, now: Millis) -> (Result<Answer, Refusal>, Vec<Command>) {
    let mut turn = Turn::new(world, now);
    let answer = turn.call(call);
    (answer, turn.finish())
}

/// One step in the making.
pub(crate) struct Turn<'w> {
    pub world: &'w mut World,
    pub now: Millis,
    pub commands: Vec<Command>,
    /// Tasks that may go on, and services to look after.
    pub queues: Queues,
    /// Targets registered in this step and not announced yet, by service and target group.
    pub registered: Tally,
    /// Targets deregistered in this step, by service and target group.
    pub deregistered: Tally,
    /// Tasks whose connections began to drain in this step, by service and deployment.
    pub draining: Tally,
}

impl<'w> Turn<'w> {
    fn new(world: &'w mut World, now: Millis) -> Self {
        let queues = std::mem::take(&mut world.queues);
        Turn {
            world,
            now,
            commands: Vec::new(),
            queues,
            registered: Tally::default(),
            deregistered: Tally::default(),
            draining: Tally::default(),
        }
    }

    /// Has the task go on, and its service look at it, before the step ends.
    pub fn queue_task(&mut self, task: &str) {
        if let Some(key) = self.world.tasks.key(task) {
            self.queues.tasks.insert(key);
        }
    }

    /// Has the service looked after before the step ends.
    pub fn queue_service(&mut self, service: &str) {
        if let Some(key) = self.world.services.key(service) {
            self.queues.services.insert(key);
        }
    }

    /// Does what is due and what follows from it, and gives out the commands.
    fn finish(mut self) -> Vec<Command> {
        self.wake_the_due();
        self.work();
        self.world.queues = self.queues;
        self.commands
    }

    fn wake_the_due(&mut self) {
        while let Some(due) = self.world.take_due(self.now) {
            match due {
                Sleeper::Task(key) => self.queues.tasks.insert(key),
                Sleeper::Service(key) => self.queues.services.insert(key),
            };
        }
    }

    fn work(&mut self) {
        loop {
            if let Some(key) = self.queues.tasks.pop_first() {
                self.go_on(key);
            } else if let Some(key) = self.queues.services.pop_first() {
                self.look_after(key);
            } else {
                return;
            }
        }
    }

    fn go_on(&mut self, key: Key) {
        let Some(mut task) = self.world.tasks.take(key) else {
            return;
        };
        if task.status == TaskStatus::Stopped && self.is_forgotten(task.stopped_at) {
            self.forget_task(&task);
            return;
        }
        let before = facets(&task);
        let kept = what_lasts(&task);
        self.advance(&mut task);
        let alarm = self.next_alarm(&task);
        self.world.wake(Sleeper::Task(key), alarm);
        if kept != what_lasts(&task) {
            self.world.tasks.touch(key);
        }
        if let Some(service) = &task.service
            && before != facets(&task)
        {
            self.queue_service(service);
        }
        self.world.tasks.put(key, task);
    }

    fn look_after(&mut self, key: Key) {
        let Some(mut service) = self.world.services.take(key) else {
            return;
        };
        if self.is_forgotten(service.deleted_at) {
            self.forget_service(&service);
            return;
        }
        let before = Fingerprint::of(&service);
        self.reconcile(&mut service);
        let alarm = self.service_alarm(&service);
        self.world.wake(Sleeper::Service(key), alarm);
        if Fingerprint::of(&service) != before {
            self.world.services.touch(key);
        }
        self.forget_the_dead(&service.arn);
        self.world.services.put(key, service);
    }

    /// Takes stopped tasks, which are accounted for now, off the list of those to look after.
    fn forget_the_dead(&mut self, service: &str) {
        let world = &mut *self.world;
        if let Some(crowd) = world.crowds.get_mut(service) {
            crowd.live.retain(|key| {
                let task = world.tasks.at(*key);
                task.is_some_and(|it| it.status != TaskStatus::Stopped)
            });
        }
    }

    fn is_forgotten(&self, ended_at: Option<Millis>) -> bool {
        ended_at.is_some_and(|at| self.now >= at + self.world.settings.pace.keep_stopped)
    }

    fn forget_task(&mut self, task: &Task) {
        let Some(key) = self.world.tasks.remove(&task.arn) else {
            return;
        };
        self.world.wake(Sleeper::Task(key), None);
        if let Some(service) = &task.service
            && let Some(crowd) = self.world.crowds.get_mut(service)
        {
            crowd.all.remove(&key);
            crowd.live.retain(|it| *it != key);
            if crowd.all.is_empty() {
                self.world.crowds.remove(service);
            }
        }
    }

    fn forget_service(&mut self, service: &Service) {
        if let Some(key) = self.world.services.remove(&service.arn) {
            self.world.wake(Sleeper::Service(key), None);
        }
    }

    /// Runs `change` on a task that has not stopped, and lets it go on if `change` says that it changed something.
    fn with_task(&mut self, arn: &str, change: impl FnOnce(&mut Self, &mut Task) -> bool) {
        let Some((key, mut task)) = self.world.take_task(arn) else {
            return;
        };
        if task.status != TaskStatus::Stopped && change(self, &mut task) {
            self.queues.tasks.insert(key);
            self.world.tasks.touch(key);
        }
        self.world.tasks.put(key, task);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Call(call) => {
                let answer = self.call(call);
                self.commands.insert(0, Command::Answer(answer));
            }
            Event::ImagesResolved { revision, digests } => self.images_resolved(&revision, digests),
            Event::TaskProvisioned {
                task,
                ip,
                availability_zone,
                zones,
                attachments,
            } => self.with_task(&task, |turn, task| {
                let first = !task.provisioned;
                if first {
                    task.provisioned = true;
                    task.ip = Some(ip);
                    task.availability_zone = Some(availability_zone);
                    task.attachments = attachments;
                    task.connectivity_at = Some(now);
                    turn.note_zones(task, zones);
                }
                first
            }),
            Event::ProvisionFailed { task, reason } => self.with_task(&task, |turn, task| {
                task.provisioned = true;
                turn.fail_to_start(task, None, reason);
                true
            }),
            Event::ImagePulled {
                task,
                container,
                digest,
            } => self.image_pulled(&task, &container, digest),
            Event::PullFailed {
                task,
                container,
                reason,
            } => self.with_task(&task, |turn, task| {
                let waited = task.status == TaskStatus::Activating
                    && task.container(&container).is_some_and(|it| !it.pulled);
                if waited {
                    turn.fail_to_start(task, Some(&container), reason);
                }
                waited
            }),
            Event::ContainerStarted {
                task,
                container,
                runtime_id,
            } => self.with_task(&task, |turn, task| {
                turn.container_started(task, &container, runtime_id)
            }),
            Event::StartFailed {
                task,
                container,
                reason,
            } => self.with_task(&task, |turn, task| {
                let waited = task.container(&container).is_some_and(|it| it.starting);
                if waited {
                    if let Some(container) = task.container_mut(&container) {
                        container.starting = false;
                        container.status = ContainerStatus::Stopped;
                        container.stopped_at = Some(now);
                    }
                    turn.fail_to_start(task, Some(&container), reason);
                }
                waited
            }),
            Event::ContainerExited {
                task,
                container,
                exit_code,
                oom,
            } => self.with_task(&task, |turn, task| {
                turn.container_exited(task, &container, exit_code, oom)
            }),
            Event::HealthChecked {
                task,
                container,
                passed,
            } => self.health_checked(&task, &container, passed),
            Event::TaskRemoved { task } => self.with_task(&task, |_, task| {
                let waited = task.removing && !task.removed;
                task.removed |= waited;
                waited
            }),
            Event::TargetHealth {
                task,
                target_group,
                port,
                state,
                reason,
                description,
            } => self.with_task(&task, |_, task| {
                let Some(target) = task
                    .targets
                    .iter_mut()
                    .find(|it| it.target_group == target_group && it.port == port)
                    .filter(|it| it.registered_at.is_some() && it.deregistered_at.is_none())
                else {
                    return false;
                };
                let changed = target.state != state
                    || target.reason != reason
                    || target.description != description;
                if target.state != state {
                    target.since = now;
                }
                target.state = state;
                target.reason = reason;
                target.description = description;
                changed
            }),
            Event::TargetRefused {
                task,
                target_group,
                port,
                reason,
            } => self.target_refused(&task, &target_group, port, &reason),
            Event::TargetDrained {
                task,
                target_group,
                port,
            } => self.with_task(&task, |_, task| {
                let target = task
                    .targets
                    .iter_mut()
                    .find(|it| it.target_group == target_group && it.port == port && !it.drained);
                match target {
                    Some(target) if target.deregistered_at.is_some() => {
                        target.drained = true;
                        true
                    }
                    _ => false,
                }
            }),
            Event::TrafficShifted { service, number } => {
                self.traffic_shifted(&service, number, None);
            }
            Event::TrafficRefused {
                service,
                number,
                reason,
            } => self.traffic_shifted(&service, number, Some(reason)),
            Event::HookAnswered {
                service,
                hook,
                answer,
            } => self.hook_answered(&service, &hook, answer),
            Event::AlarmChanged {
                region,
                alarm,
                alarming,
            } => self.alarm_changed(&region, &alarm, alarming),
            Event::SpotInterrupted { task } => self.spot_interrupted(&task),
            Event::Tick => {}
            Event::Restarted => self.restarted(),
        }
    }

    /// Keeps the zones that the tasks of a revision may be in.
    fn note_zones(&mut self, task: &Task, zones: Vec<String>) {
        let revisions = &mut self.world.service_revisions;
        let key = task.revision.as_ref().and_then(|arn| revisions.key(arn));
        if let Some(key) = key
            && let Some(revision) = revisions.at_mut(key)
            && revision.zones != zones
        {
            revision.zones = zones;
            revisions.touch(key);
        }
    }

    /// Nothing of what ran before runs any more: every task that had not stopped is stopped, truthfully and without counting as
    /// a failure, and everything is looked at again.
    fn restarted(&mut self) {
        let arns: Vec<Arn> = self.world.tasks.values().map(|it| it.arn.clone()).collect();
        for arn in arns {
            let now = self.now;
            let mut commands = Vec::new();
            self.with_task(&arn, |_, task| {
                for target in &mut task.targets {
                    if target.registered_at.is_some() && !target.drained {
                        target.deregistered_at.get_or_insert(now);
                        target.drained = true;
                        commands.push(Command::DeregisterTarget {
                            task: task.arn.clone(),
                            target_group: target.target_group.clone(),
                            ip: task.ip.clone().unwrap_or_default(),
                            port: target.port,
                        });
                    }
                }
                for container in &mut task.containers {
                    if container.status == ContainerStatus::Running {
                        container.reason.get_or_insert_with(|| RESTARTED.to_owned());
                    }
                    if container.status != ContainerStatus::Stopped {
                        container.status = ContainerStatus::Stopped;
                        container.stopped_at = container.started_at.map(|_| now);
                    }
                    container.starting = false;
                    container.next_check_at = None;
                }
                task.desired_status = TaskStatus::Stopped;
                task.stop_code.get_or_insert(StopCode::InfrastructureHealth);
                task.stopped_reason
                    .get_or_insert_with(|| RESTARTED.to_owned());
                task.stopping_at.get_or_insert(now);
                if task.started_at.is_some() {
                    task.execution_stopped_at.get_or_insert(now);
                }
                task.status = TaskStatus::Stopped;
                task.status_since = now;
                task.stopped_at = Some(now);
                task.version += 1;
                commands.push(Command::RemoveTask {
                    task: task.arn.clone(),
                });
                true
            });
            self.commands.extend(commands);
            self.queue_task(&arn);
        }
        let services: Vec<Arn> = self
            .world
            .services
            .values()
            .map(|it| it.arn.clone())
            .collect();
        for service in services {
            let record = self.world.services.get(&service);
            let revisions: Vec<Arn> = match record {
                Some(it) if it.is_external() => it
                    .deployments
                    .iter()
                    .map(|it| it.revision.clone())
                    .collect(),
                other => other
                    .and_then(|it| it.primary())
                    .map(|it| it.revision.clone())
                    .into_iter()
                    .collect(),
            };
            for revision in revisions {
                if !self.is_resolved(&revision) {
                    self.resolve_images(&revision);
                }
            }
            if let Some(key) = self.world.services.key(&service)
                && let Some(mut record) = self.world.services.take(key)
            {
                self.resume(&mut record);
                self.world.touch(Kind::Service, &service);
                self.world.services.put(key, record);
            }
            self.queue_service(&service);
        }
    }
}

/// What a service must look at again when it changes in one of its tasks. Where exactly a task is before or after RUNNING is its own
/// business.
fn facets(task: &Task) -> (u8, bool, bool, bool, bool) {
    let part = match task.status {
        TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => 0,
        TaskStatus::Running => 1,
        TaskStatus::Deactivating | TaskStatus::Stopping | TaskStatus::Deprovisioning => 2,
        TaskStatus::Stopped => 3,
    };
    (
        part,
        task.is_wanted(),
        task.healthy,
        task.unhealthy_at.is_some(),
        task.protected_until.is_some(),
    )
}

/// What shows that going on changed a task in a way that is to be kept. When a check is due, and whether one runs, nobody asks after
/// a restart; what else an event changes, it touches.
fn what_lasts(task: &Task) -> (u64, bool, bool, bool, bool) {
    (
        task.version,
        task.healthy,
        task.healthy_at.is_some(),
        task.unhealthy_at.is_some(),
        task.protected_until.is_some(),
    )
}

/// What shows that reconciling changed a service. Whatever else it changes, it announces.
#[derive(PartialEq)]
struct Fingerprint {
    /// A hash of the numbers of the service and its deployments: what they were before is not kept.
    numbers: u64,
    course: Option<Box<(Course, Traffic)>>,
}

impl Fingerprint {
    fn of(service: &Service) -> Self {
        let mut hash = Quick::default();
        for number in [
            service.status as u64,
            service.announcements,
            u64::from(service.running_count) << 32 | u64::from(service.pending_count),
            u64::from(service.steady) * 2 + u64::from(service.current_service_deployment.is_some()),
            ((service.announced.len() as u64) << 32) + service.deployments.len() as u64,
            service.balance.due_at.unwrap_or(0) * 64 + u64::from(service.balance.extra()),
        ] {
            hash.write_u64(number);
        }
        for deployment in &service.deployments {
            add_numbers_of(deployment, &mut hash);
        }
        let course = service.course.as_ref();
        Fingerprint {
            numbers: hash.finish(),
            course: course.map(|it| Box::new((it.clone(), service.traffic.clone()))),
        }
    }
}

fn add_numbers_of(it: &Deployment, hash: &mut Quick) {
    let time = |at: Option<Millis>| at.unwrap_or(0);
    let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
    for number in [
        (it.status as u64) << 8 | (it.rollout_state as u64) << 1 | u64::from(it.is_rollback),
        pair(it.desired_count, it.running_count),
        pair(it.pending_count, it.failed_tasks),
        pair(it.failures_in_a_row, it.unreplaced),
        time(it.launch_after),
        time(it.settled_at),
        it.updated_at,
    ] {
        hash.write_u64(number);
    }
}

const RESTARTED: &str = "The host that ran this task was restarted";
