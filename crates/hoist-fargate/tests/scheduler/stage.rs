//! A stage on which the scheduler plays: a virtual clock, and a driver whose containers are numbers.
//!
//! The image of a container names its part (`app:good`); what the part does is an [`App`].

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use hoist_fargate::*;
use serde_json::{Value, json};

#[path = "always.rs"]
mod always;

pub const REGION: &str = "eu-central-1";
pub const GROUP: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/web/0123456789abcdef";

/// A small seeded generator of the stage's own.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What the containers of an image do. Times in milliseconds, (least, most); chances in per cent.
#[derive(Clone, Debug)]
pub struct App {
    pub pull: (u64, u64),
    pub pull_fails: u64,
    pub start: (u64, u64),
    pub start_fails: u64,
    /// It exits by itself after this time, with this code.
    pub exits: Option<((u64, u64), i32)>,
    /// How often it exits so.
    pub exit_chance: u64,
    pub oom: bool,
    /// How often its health check fails.
    pub check_fails: u64,
    /// How long its target takes to its first health.
    pub target: (u64, u64),
    pub target_fails: u64,
    /// How often a target changes its mind later.
    pub target_flaps: u64,
    /// How long it takes to stop when asked.
    pub stop: (u64, u64),
    pub drain: (u64, u64),
}

/// What the functions behind lifecycle hooks answer, and what becomes of shifts of traffic; chances in per cent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neighbours {
    pub hook_fails: u64,
    pub hook_asks_again: u64,
    pub shift_refused: u64,
    /// A network interface that cannot be made.
    pub provision_fails: u64,
    /// A target group that takes nobody.
    pub target_refused: u64,
}

impl App {
    pub fn good() -> Self {
        App {
            pull: (100, 100),
            pull_fails: 0,
            start: (50, 50),
            start_fails: 0,
            exits: None,
            exit_chance: 0,
            oom: false,
            check_fails: 0,
            target: (200, 200),
            target_fails: 0,
            target_flaps: 0,
            stop: (100, 100),
            drain: (500, 500),
        }
    }

    pub fn exiting(after: u64, code: i32) -> Self {
        App {
            exits: Some(((after, after), code)),
            exit_chance: 100,
            ..App::good()
        }
    }
}

pub struct Stage {
    pub neighbours: Neighbours,
    /// The zones that tasks may be placed in, where the scheduler knows them: at random, unless one is meant for a zone.
    pub zones: &'static [&'static str],
    /// All of them come into the first zone.
    pub crowds: bool,
    /// What listener rules forward, as the load balancer has it.
    pub rules: BTreeMap<Arn, Vec<(Arn, u32)>>,
    pub world: World,
    pub now: Millis,
    pub apps: BTreeMap<String, App>,
    pub dice: Dice,
    /// Every command with its time, for assertions; [`Stage::trace`] for whole runs.
    pub commands: Vec<(Millis, Command)>,
    pub keep_commands: bool,
    /// Every event with its time, up to the first restart, to be replayed.
    pub recording: Vec<(Millis, Event)>,
    pub records: bool,
    /// Writes to standard error what is asked, and what of traffic and stages comes of it.
    pub tells: bool,
    pub trace: u64,
    pub steps: u64,
    /// Hold back the answers to `ResolveImages`.
    pub resolves: bool,
    /// What the tags point at.
    pub tags: BTreeMap<String, String>,
    queue: BTreeMap<(Millis, u64), Event>,
    number: u64,
    /// What was written to disk, and what a daemon would have written by now.
    disk: BTreeMap<(Kind, String), Vec<u8>>,
    unwritten: BTreeSet<(Kind, String)>,
    /// The tasks of services as they were after the last step, without the stopped ones.
    cast: BTreeMap<Arn, Seen>,
    /// Service deployments whose end was looked at.
    ended: BTreeSet<Arn>,
    running: BTreeSet<(Arn, String)>,
    started: BTreeSet<(Arn, String)>,
    asked_to_stop: BTreeSet<(Arn, String)>,
    removed: BTreeSet<Arn>,
    /// Tasks in target groups, until they are drained.
    registered: BTreeSet<(Arn, Arn)>,
    /// What the containers of a revision were pulled by.
    digests: BTreeMap<(Arn, String), String>,
}

#[derive(Clone)]
struct Seen {
    service: Arn,
    revision: Option<Arn>,
    status: TaskStatus,
    wanted: bool,
    was_healthy: bool,
}

impl Stage {
    pub fn new(seed: u64) -> Self {
        Stage::at_pace(seed, Pace::fast())
    }

    pub fn at_pace(seed: u64, pace: Pace) -> Self {
        let mut stage = Stage {
            neighbours: Neighbours::default(),
            zones: &[],
            crowds: false,
            rules: BTreeMap::new(),
            world: World::new("000000000000", seed, pace),
            now: 1_800_000_000_000,
            apps: BTreeMap::new(),
            dice: Dice::new(seed),
            commands: Vec::new(),
            keep_commands: true,
            recording: Vec::new(),
            records: true,
            tells: false,
            trace: seed,
            steps: 0,
            resolves: true,
            tags: BTreeMap::new(),
            queue: BTreeMap::new(),
            number: 0,
            disk: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            cast: BTreeMap::new(),
            ended: BTreeSet::new(),
            running: BTreeSet::new(),
            started: BTreeSet::new(),
            asked_to_stop: BTreeSet::new(),
            removed: BTreeSet::new(),
            registered: BTreeSet::new(),
            digests: BTreeMap::new(),
        };
        stage.unwritten.extend(stage.world.take_changed());
        stage.ask(Action::CreateCluster, json!({})).unwrap();
        stage
    }

    pub fn app(&mut self, image: &str, app: App) {
        self.apps.insert(image.to_owned(), app);
    }

    // Asking.

    pub fn ask(&mut self, action: Action, request: Value) -> Result<Answer, Refusal> {
        let Value::Object(request) = request else {
            panic!("a request is an object")
        };
        let call = Call {
            region: REGION.to_owned(),
            action,
            request,
        };
        if self.records {
            self.recording.push((self.now, Event::Call(call.clone())));
        }
        if self.tells {
            self.tell(&format!(
                "{action:?} {}",
                Value::Object(call.request.clone())
            ));
        }
        let (answer, commands) = hoist_fargate::call(&mut self.world, call, self.now);
        self.finish(commands);
        answer
    }

    /// Registers a task definition with one container `web` of that image.
    pub fn register(&mut self, family: &str, image: &str) -> Arn {
        self.register_with(family, json!([{ "name": "web", "image": image }]))
    }

    pub fn register_with(&mut self, family: &str, containers: Value) -> Arn {
        let answer = self.ask(
            Action::RegisterTaskDefinition,
            json!({ "family": family, "containerDefinitions": containers }),
        );
        match answer {
            Ok(Answer::TaskDefinition(arn)) => arn,
            other => panic!("registered {other:?}"),
        }
    }

    /// Creates service `web` with what `more` says.
    pub fn create(&mut self, definition: &str, count: u32, more: Value) -> Arn {
        let mut request = json!({
            "serviceName": "web", "taskDefinition": definition, "desiredCount": count,
        });
        merge(&mut request, more);
        match self.ask(Action::CreateService, request) {
            Ok(Answer::Service(arn)) => arn,
            other => panic!("created {other:?}"),
        }
    }

    pub fn update(&mut self, more: Value) {
        let mut request = json!({ "service": "web" });
        merge(&mut request, more);
        self.ask(Action::UpdateService, request).unwrap();
    }

    // Time.

    /// Lets time pass up to `until`, doing all that is due.
    pub fn run_until(&mut self, until: Millis) {
        while let Some(at) = self.next_time().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.one();
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, time: Millis) {
        self.run_until(self.now + time);
    }

    /// Lets time pass until `done`, at most ten minutes.
    #[track_caller]
    pub fn run_to(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let limit = self.now + 600_000;
        while !done(&self.world) {
            match self.next_time() {
                Some(at) if at <= limit => {
                    self.now = self.now.max(at);
                    self.one();
                }
                _ => panic!("never came to {what}:\n{}", self.picture()),
            }
        }
    }

    fn next_time(&self) -> Option<Millis> {
        let event = self.queue.keys().next().map(|(at, _)| *at);
        let alarm = self.world.next_wakeup();
        event.into_iter().chain(alarm).min()
    }

    fn one(&mut self) {
        match self.queue.first_entry() {
            Some(entry) if entry.key().0 <= self.now => {
                let event = entry.remove();
                self.happen(event);
            }
            _ => self.happen(Event::Tick),
        }
    }

    pub fn happen(&mut self, event: Event) {
        match &event {
            // A container exits once, whoever asked for it.
            Event::ContainerExited {
                task, container, ..
            } if !self.running.remove(&(task.clone(), container.clone())) => return,
            Event::HealthChecked {
                task, container, ..
            } if !self.running.contains(&(task.clone(), container.clone())) => return,
            Event::TargetDrained {
                task, target_group, ..
            }
            | Event::TargetRefused {
                task, target_group, ..
            } => {
                self.registered
                    .remove(&(task.clone(), target_group.clone()));
            }
            // It is not the scheduler's own doing that this one is not healthy any more.
            Event::TargetHealth { task, state, .. } if *state != TargetState::Healthy => {
                if let Some(seen) = self.cast.get_mut(task) {
                    seen.was_healthy = false;
                }
            }
            _ => {}
        }
        if self.records {
            self.recording.push((self.now, event.clone()));
        }
        let commands = step(&mut self.world, event, self.now);
        self.finish(commands);
    }

    /// The daemon is killed and comes back with what was on disk.
    pub fn restart(&mut self) {
        if self.tells {
            self.tell("restart");
        }
        self.queue.clear();
        self.running.clear();
        self.registered.clear();
        for (kind, key) in std::mem::take(&mut self.unwritten) {
            match self.world.record(kind, &key) {
                Some(record) => self.disk.insert((kind, key), record),
                None => self.disk.remove(&(kind, key)),
            };
        }
        let records: Vec<_> = self
            .disk
            .iter()
            .map(|((kind, key), record)| (*kind, key.clone(), record.clone()))
            .collect();
        self.check_the_disk();
        self.world = World::restore(records).unwrap();
        self.records = false;
        self.happen(Event::Restarted);
    }

    fn finish(&mut self, commands: Vec<Command>) {
        self.steps += 1;
        self.check();
        for command in commands {
            if let (true, Command::ShiftTraffic { .. } | Command::CallHook { .. }) =
                (self.tells, &command)
            {
                self.tell(&format!("{command:?}\n{}", self.picture()));
            }
            let mut hasher = DefaultHasher::new();
            (self.trace, self.now, &command).hash(&mut hasher);
            self.trace = hasher.finish();
            if self.keep_commands {
                self.commands.push((self.now, command.clone()));
            }
            self.play(command);
        }
        assert!(
            self.world.next_wakeup().is_none_or(|at| at > self.now),
            "an alarm is left in the past"
        );
    }

    fn tell(&self, what: &str) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{} {what}", self.now);
    }

    fn later(&mut self, after: u64, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), event);
    }

    fn app_of(&self, task: &str, container: &str) -> App {
        self.world
            .task(task)
            .and_then(|it| it.container(container))
            .and_then(|it| self.apps.get(&it.image))
            .cloned()
            .unwrap_or_else(App::good)
    }

    fn digest_of(&self, image: &str) -> String {
        self.tags
            .get(image)
            .cloned()
            .unwrap_or_else(|| format!("sha256:{image}"))
    }

    /// Carries a command out, and holds the scheduler to the rules of the driver.
    fn play(&mut self, command: Command) {
        match command {
            Command::Answer(_) => {}
            Command::ResolveImages {
                revision, images, ..
            } => {
                if self.resolves {
                    let digests = images
                        .into_iter()
                        .map(|(name, image)| (name, self.digest_of(&image)))
                        .collect();
                    self.later(10, Event::ImagesResolved { revision, digests });
                }
            }
            Command::ProvisionTask { task }
                if self.neighbours.provision_fails > 0
                    && self.dice.percent(self.neighbours.provision_fails) =>
            {
                let reason = "ResourceInitializationError: no address is left".to_owned();
                self.later(20, Event::ProvisionFailed { task, reason });
            }
            Command::ProvisionTask { task } => {
                let number = self.number;
                let meant_for = self.world.task(&task).and_then(|it| it.meant_for.clone());
                let availability_zone = match (meant_for, self.zones) {
                    (Some(zone), _) => zone,
                    (None, []) => format!("{REGION}{}", ["a", "b"][number as usize % 2]),
                    (None, zones) if self.crowds => zones[0].to_owned(),
                    (None, zones) => zones[self.dice.next() as usize % zones.len()].to_owned(),
                };
                self.later(
                    20,
                    Event::TaskProvisioned {
                        task,
                        ip: format!("10.0.{}.{}", number / 256 % 256, number % 256),
                        availability_zone,
                        zones: self.zones.iter().map(|it| it.to_string()).collect(),
                        attachments: Vec::new(),
                    },
                );
            }
            Command::PullImage {
                task,
                container,
                image,
                digest,
            } => {
                let revision = self.world.task(&task).and_then(|it| it.revision.clone());
                if let (Some(revision), Some(digest)) = (revision, &digest) {
                    let known = self.digests.entry((revision, container.clone()));
                    let known = known.or_insert_with(|| digest.clone());
                    assert_eq!(known, digest, "one revision, two images");
                }
                let app = self.app_of(&task, &container);
                let after = self.dice.between(app.pull);
                if self.dice.percent(app.pull_fails) {
                    let reason = format!("CannotPullContainerError: {image}: not found");
                    self.later(
                        after,
                        Event::PullFailed {
                            task,
                            container,
                            reason,
                        },
                    );
                } else {
                    let digest = Some(digest.unwrap_or_else(|| self.digest_of(&image)));
                    self.later(
                        after,
                        Event::ImagePulled {
                            task,
                            container,
                            digest,
                        },
                    );
                }
            }
            Command::StartContainer { task, container } => {
                let key = (task.clone(), container.clone());
                assert!(self.started.insert(key.clone()), "{key:?} started twice");
                let app = self.app_of(&task, &container);
                let after = self.dice.between(app.start);
                if self.dice.percent(app.start_fails) {
                    let reason = "CannotStartContainerError: exec format error".to_owned();
                    self.later(
                        after,
                        Event::StartFailed {
                            task,
                            container,
                            reason,
                        },
                    );
                } else {
                    self.running.insert(key);
                    let runtime_id = format!("run-{}", self.number);
                    self.later(
                        after,
                        Event::ContainerStarted {
                            task: task.clone(),
                            container: container.clone(),
                            runtime_id,
                        },
                    );
                    if let Some((time, exit_code)) = app.exits
                        && self.dice.percent(app.exit_chance)
                    {
                        let time = self.dice.between(time);
                        let oom = app.oom;
                        self.later(
                            after + time,
                            Event::ContainerExited {
                                task,
                                container,
                                exit_code,
                                oom,
                            },
                        );
                    }
                }
            }
            Command::RunHealthCheck {
                task, container, ..
            } => {
                let app = self.app_of(&task, &container);
                let passed = !self.dice.percent(app.check_fails);
                self.later(
                    20,
                    Event::HealthChecked {
                        task,
                        container,
                        passed,
                    },
                );
            }
            Command::StopContainer {
                task, container, ..
            } => {
                let key = (task.clone(), container.clone());
                assert!(self.started.contains(&key), "{key:?} was never started");
                let lost = self.world.task(&task).is_none_or(|it| {
                    let mut essential = it.containers.iter().filter(|it| it.essential);
                    essential.any(|it| it.status == ContainerStatus::Stopped)
                });
                assert!(
                    lost || !self.registered.iter().any(|it| it.0 == task),
                    "{task} gets its stop signal before its targets are drained"
                );
                assert!(
                    self.asked_to_stop.insert(key.clone()),
                    "{key:?} stopped twice"
                );
                let app = self.app_of(&task, &container);
                let after = self.dice.between(app.stop);
                self.later(
                    after,
                    Event::ContainerExited {
                        task,
                        container,
                        exit_code: 143,
                        oom: false,
                    },
                );
            }
            Command::RemoveTask { task } => {
                assert!(
                    !self.running.iter().any(|(it, _)| *it == task),
                    "{task} removed while it runs"
                );
                let left = self
                    .world
                    .task(&task)
                    .into_iter()
                    .flat_map(|it| &it.targets);
                for target in left {
                    assert!(
                        target.registered_at.is_none() || target.deregistered_at.is_some(),
                        "{task} is removed and still in a target group"
                    );
                }
                self.removed.insert(task.clone());
                self.later(20, Event::TaskRemoved { task });
            }
            Command::RegisterTarget {
                task,
                target_group,
                port,
                ..
            } => {
                assert!(!self.removed.contains(&task), "{task} registered when gone");
                let refused = self.neighbours.target_refused;
                if refused > 0 && self.dice.percent(refused) {
                    let reason = "The target group is full".to_owned();
                    return self.later(
                        30,
                        Event::TargetRefused {
                            task,
                            target_group,
                            port,
                            reason,
                        },
                    );
                }
                self.registered.insert((task.clone(), target_group.clone()));
                let container = self.world.task(&task).unwrap().containers[0].name.clone();
                let app = self.app_of(&task, &container);
                let mut after = self.dice.between(app.target);
                let fails = self.dice.percent(app.target_fails);
                self.later(
                    after,
                    target_health(task.clone(), target_group.clone(), port, !fails),
                );
                let mut healthy = !fails;
                while self.dice.percent(app.target_flaps) {
                    after += self.dice.between((500, 20_000));
                    healthy = !healthy;
                    self.later(
                        after,
                        target_health(task.clone(), target_group.clone(), port, healthy),
                    );
                }
            }
            Command::ShiftTraffic {
                service,
                number,
                rules,
                ..
            } => {
                if self.dice.percent(self.neighbours.shift_refused) {
                    let reason = "One or more rules not found".to_owned();
                    return self.later(
                        30,
                        Event::TrafficRefused {
                            service,
                            number,
                            reason,
                        },
                    );
                }
                for RuleWeights { rule, weights } in rules {
                    let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
                    assert!(sum == 100 || sum == 1_000, "{weights:?}");
                    assert!(weights.iter().all(|(_, weight)| *weight <= 999));
                    self.rules.insert(rule, weights);
                }
                self.later(30, Event::TrafficShifted { service, number });
            }
            Command::CallHook { service, hook, .. } => {
                let answer = if self.dice.percent(self.neighbours.hook_fails) {
                    HookAnswer::Failed
                } else if self.dice.percent(self.neighbours.hook_asks_again) {
                    HookAnswer::InProgress(5_000)
                } else {
                    HookAnswer::Succeeded
                };
                self.later(
                    40,
                    Event::HookAnswered {
                        service,
                        hook,
                        answer,
                    },
                );
            }
            Command::DeregisterTarget {
                task,
                target_group,
                port,
                ..
            } => {
                let app = self
                    .world
                    .task(&task)
                    .map(|it| it.containers[0].name.clone())
                    .map_or_else(App::good, |name| self.app_of(&task, &name));
                let after = self.dice.between(app.drain);
                self.later(
                    after,
                    Event::TargetDrained {
                        task,
                        target_group,
                        port,
                    },
                );
            }
        }
    }

    // Looking.

    pub fn service(&self) -> &Service {
        let cluster = self.world.find_cluster(REGION, None).unwrap();
        self.world.find_service(cluster, "web").unwrap()
    }

    pub fn tasks(&self) -> Vec<&Task> {
        let mut tasks: Vec<_> = self.world.tasks_of(&self.service().arn).collect();
        tasks.sort_by(|a, b| (a.created_at, &a.arn).cmp(&(b.created_at, &b.arn)));
        tasks
    }

    pub fn primary(&self) -> &Deployment {
        self.service().primary().unwrap()
    }

    /// The service deployment that the PRIMARY belongs to.
    pub fn record(&self) -> &ServiceDeployment {
        self.world
            .service_deployment(&self.primary().service_deployment)
            .unwrap()
    }

    /// The events of the service, oldest first, with its ids replaced by letters in the order of their appearance.
    pub fn story(&self) -> Vec<String> {
        let mut names = BTreeMap::new();
        self.service()
            .events
            .iter()
            .rev()
            .map(|event| {
                let mut said = event.message.replace(GROUP, "GROUP");
                for (mark, kind) in [("(task ", "T"), ("ecs-svc/", "D")] {
                    let mut from = 0;
                    while let Some(at) = said[from..].find(mark) {
                        let start = from + at + mark.len();
                        let end = said[start..]
                            .find([')', '.', ' '])
                            .map_or(said.len(), |it| start + it);
                        let id = said[start..end].to_owned();
                        let count = names
                            .keys()
                            .filter(|(it, _): &&(&str, String)| *it == kind)
                            .count();
                        let name = names
                            .entry((kind, id))
                            .or_insert_with(|| format!("{kind}{}", count + 1))
                            .clone();
                        said.replace_range(start..end, &name);
                        from = start + name.len();
                    }
                }
                said
            })
            .collect()
    }

    pub fn picture(&self) -> String {
        let mut said = format!("at {}\n", self.now);
        for cluster in self.world.clusters(REGION) {
            for service in self.world.services(&cluster.arn) {
                said += &format!(
                    "{} {:?} desired {} last completed {:?}\n",
                    service.name,
                    service.status,
                    service.desired_count,
                    service.last_completed.as_ref().map(|it| &it.revision)
                );
                said += &format!("  {:?} {:?}\n", service.course, service.traffic);
                for it in &service.deployments {
                    said += &format!(
                        "  {} {:?} {:?} desired {} running {} pending {} failed {} after {:?} rev {}\n",
                        it.id,
                        it.status,
                        it.rollout_state,
                        it.desired_count,
                        it.running_count,
                        it.pending_count,
                        it.failed_tasks,
                        it.launch_after,
                        it.revision
                    );
                }
                for it in self.world.tasks_of(&service.arn) {
                    if it.status != TaskStatus::Stopped {
                        said += &format!(
                            "  task {} {:?} wanted {} healthy {:?} unhealthy {:?} rev {:?} targets {:?} containers {:?}\n",
                            &it.id[..8],
                            it.status,
                            it.is_wanted(),
                            it.healthy_at,
                            it.unhealthy_at,
                            it.revision,
                            it.targets.iter().map(|it| it.state).collect::<Vec<_>>(),
                            it.containers
                                .iter()
                                .map(|it| (it.status, it.health))
                                .collect::<Vec<_>>()
                        );
                    }
                }
                for event in service.events.iter().take(30) {
                    said += &format!("  {} {}\n", event.created_at, event.message);
                }
            }
        }
        said
    }
}

pub fn target_health(task: Arn, target_group: Arn, port: u16, healthy: bool) -> Event {
    Event::TargetHealth {
        task,
        target_group,
        port,
        state: if healthy {
            TargetState::Healthy
        } else {
            TargetState::Unhealthy
        },
        reason: (!healthy).then(|| "Target.ResponseCodeMismatch".to_owned()),
        description: (!healthy).then(|| "Health checks failed with these codes: [404]".to_owned()),
    }
}

pub fn alarm(alarming: bool) -> Event {
    Event::AlarmChanged {
        region: REGION.to_owned(),
        alarm: "errors".to_owned(),
        alarming,
    }
}

/// The members of a service behind a load balancer.
pub fn balanced() -> Value {
    json!({ "loadBalancers": [
        { "targetGroupArn": GROUP, "containerName": "web", "containerPort": 8080 }
    ]})
}

pub const OTHER_GROUP: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/web-2/fedcba9876543210";
pub const PRODUCTION_RULE: &str = "production-rule";
pub const TEST_RULE: &str = "test-rule";

/// The members of a service between two target groups.
pub fn two_groups() -> Value {
    json!({ "loadBalancers": [{
        "targetGroupArn": GROUP, "containerName": "web", "containerPort": 8080,
        "advancedConfiguration": {
            "alternateTargetGroupArn": OTHER_GROUP,
            "productionListenerRule": PRODUCTION_RULE,
            "testListenerRule": TEST_RULE,
            "roleArn": "arn:aws:iam::000000000000:role/ecs",
        },
    }]})
}

/// The members of a service with the circuit breaker on.
pub fn breaker(rollback: bool) -> Value {
    json!({ "deploymentConfiguration": {
        "deploymentCircuitBreaker": { "enable": true, "rollback": rollback }
    }})
}

pub fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else {
        panic!("only objects are merged")
    };
    for (name, value) in more {
        match (into.get_mut(&name), value) {
            (Some(old @ Value::Object(_)), value @ Value::Object(_)) => merge(old, value),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

pub fn with(mut one: Value, other: Value) -> Value {
    merge(&mut one, other);
    one
}

/// Every service has completed its deployment.
pub fn completed(world: &World) -> bool {
    in_state(world, RolloutState::Completed)
}

/// Every service's deployment was given up.
pub fn failed(world: &World) -> bool {
    in_state(world, RolloutState::Failed)
}

fn in_state(world: &World, state: RolloutState) -> bool {
    world
        .clusters(REGION)
        .flat_map(|it| world.services(&it.arn))
        .all(|it| it.primary().is_some_and(|it| it.rollout_state == state))
}
