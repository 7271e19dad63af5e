//! What must always hold, looked at after every step.

use std::collections::{BTreeMap, BTreeSet};

use hoist_fargate::*;
use serde_json::Value;

use super::{Seen, Stage};

impl Stage {
    pub(super) fn check(&mut self) {
        let changed = self.world.take_changed();
        let mut services = BTreeSet::new();
        // By service: launched, and healthy ones stopped by the scheduler.
        let mut launched = BTreeMap::<Arn, u32>::new();
        let mut stopped = BTreeMap::<Arn, Vec<Arn>>::new();
        for (kind, key) in &changed {
            if *kind == Kind::Service {
                services.insert(key.clone());
            }
            if *kind == Kind::ServiceDeployment
                && let Some(record) = self.world.service_deployment(key)
            {
                self.check_record(record);
                if record.status.is_final() && self.ended.insert(key.clone()) {
                    self.check_ended(record);
                }
            }
            let (Kind::Task, Some(task)) = (kind, self.world.task(key)) else {
                continue;
            };
            let Some(service) = &task.service else {
                continue;
            };
            services.insert(service.clone());
            let old = self.cast.get(key);
            match old {
                Some(old) => {
                    assert!(old.status <= task.status, "a task went back");
                    assert!(
                        old.wanted || !task.is_wanted(),
                        "a stopped task was wanted again"
                    );
                    let scheduled =
                        old.wanted && task.stop_code == Some(StopCode::ServiceSchedulerInitiated);
                    let spared = task.protected_until.is_some_and(|at| self.now < at);
                    let deleted = self
                        .world
                        .service(service)
                        .is_none_or(|it| it.status != ServiceStatus::Active);
                    assert!(
                        !scheduled || !spared || task.unhealthy_at.is_some() || deleted,
                        "a protected task was stopped\n{}",
                        self.picture()
                    );
                    if scheduled && old.was_healthy && task.health != Health::Unhealthy {
                        stopped
                            .entry(service.clone())
                            .or_default()
                            .extend(task.revision.clone());
                    }
                }
                None if task.status == TaskStatus::Stopped => {}
                None => {
                    self.check_launch(task);
                    *launched.entry(service.clone()).or_default() += 1;
                }
            }
            if task.status == TaskStatus::Stopped {
                assert!(task.stop_code.is_some() && task.stopped_reason.is_some());
                assert!(task.stopped_at >= task.stopping_at && task.stopping_at.is_some());
                self.cast.remove(key);
            } else {
                self.cast.insert(
                    key.clone(),
                    Seen {
                        service: service.clone(),
                        revision: task.revision.clone(),
                        status: task.status,
                        wanted: task.is_wanted(),
                        was_healthy: self.is_healthy(task),
                    },
                );
            }
        }
        for arn in services {
            let launched = launched.get(&arn).copied().unwrap_or_default();
            self.check_service(&arn, launched, stopped.get(&arn).map_or(&[], |it| it));
        }
        self.unwritten.extend(changed);
    }

    fn check_service(&self, arn: &str, launched: u32, stopped: &[Arn]) {
        let Some(service) = self.world.service(arn) else {
            return;
        };
        let crew: Vec<&Seen> = self.cast.values().filter(|it| it.service == arn).collect();
        let count =
            |which: &dyn Fn(&Seen) -> bool| crew.iter().filter(|it| which(it)).count() as u32;
        assert_eq!(
            (service.running_count, service.pending_count),
            (
                count(&|it| it.status == TaskStatus::Running),
                count(&|it| it.status < TaskStatus::Running)
            ),
            "the counts do not equal the tasks\n{}",
            self.picture()
        );
        for deployment in &service.deployments {
            let ours = |it: &Seen| it.revision.as_ref() == Some(&deployment.revision);
            assert_eq!(
                (deployment.running_count, deployment.pending_count),
                (
                    count(&|it| ours(it) && it.status == TaskStatus::Running),
                    count(&|it| ours(it) && it.status < TaskStatus::Running)
                ),
                "the counts of {} do not equal its tasks\n{}",
                deployment.id,
                self.picture()
            );
        }
        let mut newest = service.events.iter();
        if let (Some(last), Some(before)) = (newest.next(), newest.next()) {
            assert!(last.created_at >= before.created_at && last.id != before.id);
        }
        assert!(service.events.len() <= 100);
        if service.status != ServiceStatus::Active {
            assert_eq!(count(&|it| it.wanted), 0, "a deleted service wants tasks");
            return;
        }
        let primaries = service
            .deployments
            .iter()
            .filter(|it| it.status == DeploymentStatus::Primary);
        assert_eq!(primaries.count(), usize::from(!service.is_external()));
        if service.is_external() {
            return;
        }
        let desired = u64::from(service.desired_count);
        let percent = &service.configuration;
        let lower = (desired * u64::from(percent.minimum_healthy_percent)).div_ceil(100) as u32;
        let mut upper = (desired * u64::from(percent.maximum_percent) / 100) as u32;
        if service.course.is_some() {
            upper = upper.max((1 + service.serving_beside()).max(2) * service.desired_count);
        }
        self.check_traffic(service, &crew, stopped, lower);
        let wanted = count(&|it| it.wanted);
        assert!(
            launched == 0 || wanted <= upper,
            "{wanted} tasks, at most {upper} allowed\n{}",
            self.picture()
        );
        let healthy = count(&|it| it.was_healthy);
        if service.steady {
            assert_eq!(
                (wanted, healthy, service.deployments.len()),
                (service.desired_count, service.desired_count, 1),
                "it is not steady\n{}",
                self.picture()
            );
        }
        assert!(
            stopped.is_empty() || healthy >= lower,
            "{healthy} healthy tasks, at least {lower} asked for, and {} were stopped\n{}",
            stopped.len(),
            self.picture()
        );
    }

    /// Whether a task of a service is healthy, in the stage's own reckoning: RUNNING and wanted, what has checks passes them, what has
    /// targets is healthy there, and what has neither has run for a while.
    fn is_healthy(&self, task: &Task) -> bool {
        let pace = self.world.pace();
        let definition = self.world.task_definition(&task.task_definition);
        let is_checked = |name: &str| {
            let container = definition.and_then(|it| it.container(name));
            container.is_some_and(|it| it.essential && it.health_check.is_some())
        };
        let mut checked = task.containers.iter().filter(|it| is_checked(&it.name));
        let fit = checked.clone().all(|it| it.health == Health::Healthy);
        let in_place =
            |it: &Target| it.state == TargetState::Healthy && self.now >= it.since + pace.notice;
        let settled = checked.next().is_some()
            || !task.targets.is_empty()
            || task
                .started_at
                .is_some_and(|at| self.now >= at + pace.settle);
        task.status == TaskStatus::Running
            && task.is_wanted()
            && task.unhealthy_at.is_none()
            && fit
            && settled
            && task.targets.iter().all(in_place)
    }

    /// What is launched belongs to a deployment that was not given up, or that serves.
    fn check_launch(&self, task: &Task) {
        let service = task.service.as_ref().and_then(|it| self.world.service(it));
        let mut deployments = service.into_iter().flat_map(|it| &it.deployments);
        let its = deployments.find(|it| Some(&it.revision) == task.revision.as_ref());
        let state = its.map(|it| it.rollout_state);
        // What serves is kept up while the next one comes, whatever became of it.
        let course = service.and_then(|it| it.course.as_ref());
        let stands = course.is_some_and(|it| it.standing == task.revision);
        assert!(
            stands || state.is_some_and(|it| it != RolloutState::Failed),
            "{} was launched for a deployment that is {state:?}\n{}",
            task.id,
            self.picture()
        );
    }

    /// One service deployment is in flight at most, and a breaker trips for a reason.
    fn check_record(&self, record: &ServiceDeployment) {
        let all = self.world.service_deployments(&record.service);
        let open: Vec<&Arn> = all
            .filter(|it| !it.status.is_final())
            .map(|it| &it.arn)
            .collect();
        let service = self.world.service(&record.service);
        let current = service.and_then(|it| it.current_service_deployment.as_ref());
        assert!(
            open.iter().all(|it| Some(*it) == current),
            "{open:?} are in flight\n{}",
            self.picture()
        );
        assert!(
            record.breaker_status != BreakerStatus::Triggered
                || record.failure_count >= record.threshold,
            "the breaker tripped after {} failures of {}\n{}",
            record.failure_count,
            record.threshold,
            self.picture()
        );
    }

    /// What was written is what is there, but for what a restart makes up for: the health checks of tasks that it stops.
    pub(super) fn check_the_disk(&self) {
        let strip = |kind: Kind, record: &[u8]| {
            let mut record: Value = serde_json::from_slice(record).unwrap();
            if kind == Kind::Task
                && let Some(containers) = record["containers"].as_array_mut()
            {
                for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                    for inner in ["next_check_at", "checking", "failing_checks"] {
                        container.remove(inner);
                    }
                }
            }
            record
        };
        for ((kind, key), written) in &self.disk {
            let there = self.world.record(*kind, key);
            assert_eq!(
                there.map(|it| strip(*kind, &it)),
                Some(strip(*kind, written)),
                "{kind:?} {key} is not what was written"
            );
        }
        for task in self.world.all_tasks() {
            assert!(self.disk.contains_key(&(Kind::Task, task.arn.clone())));
        }
        for service in self.world.every_service() {
            assert!(
                self.disk
                    .contains_key(&(Kind::Service, service.arn.clone()))
            );
        }
    }

    /// Weights always sum, and nothing that has traffic is taken below the minimum.
    fn check_traffic(&self, service: &Service, crew: &[&Seen], stopped: &[Arn], lower: u32) {
        for shares in [&service.traffic.production, &service.traffic.test] {
            let sum: u32 = shares.iter().map(|it| it.tenths).sum();
            assert!(shares.is_empty() || sum == ALL_TRAFFIC, "{shares:?}");
        }
        if service.course.is_none() {
            return;
        }
        for revision in stopped {
            let share = Traffic::of(&service.traffic.production, revision);
            let healthy = crew
                .iter()
                .filter(|it| it.was_healthy && it.revision.as_ref() == Some(revision))
                .count() as u32;
            assert!(
                share == 0 || healthy >= lower,
                "{healthy} healthy tasks of a revision with {share} of the traffic\n{}",
                self.picture()
            );
        }
    }

    /// A success means that the new revision serves, a rollback that the old one does; in both cases alone and healthy.
    fn check_ended(&self, record: &ServiceDeployment) {
        use ServiceDeploymentStatus::{RollbackSuccessful, Successful};
        assert!(record.finished_at.is_some());
        let rollback = record.rollback.as_ref().map(|it| &it.revision);
        let serves = match (record.status, rollback) {
            (Successful, None) => &record.target_revision.arn,
            (RollbackSuccessful, Some(old)) if *old != record.target_revision.arn => old,
            (Successful | RollbackSuccessful, _) => {
                panic!("{:?} with {rollback:?}\n{}", record.status, self.picture())
            }
            _ => return,
        };
        let service = self.world.service(&record.service).unwrap();
        let primary = service.primary().unwrap();
        assert_eq!(&primary.revision, serves);
        assert_eq!(primary.rollout_state, RolloutState::Completed);
        self.check_weights(service, serves);
        // A call in the middle may have asked for an early end: what the service says now counts.
        let early = record.configuration.get("earlySuccessCriteria");
        if early.is_some_and(|it| it["enable"] == true)
            || service.configuration.early_success.is_some()
        {
            return;
        }
        let mut wanted = 0;
        for task in self
            .world
            .tasks_of(&service.arn)
            .filter(|it| it.is_wanted())
        {
            assert_eq!(task.revision.as_ref(), Some(serves));
            assert!(
                self.is_healthy(task),
                "{} is not healthy, {:?}\n{}",
                task.arn,
                record.status,
                self.picture()
            );
            wanted += 1;
        }
        assert_eq!(wanted, service.desired_count);
    }

    /// All traffic goes to this revision, by the scheduler's books and at the load balancer.
    fn check_weights(&self, service: &Service, serves: &str) {
        let traffic = &service.traffic;
        if traffic.production.is_empty() {
            return;
        }
        for shares in [&traffic.production, &traffic.test] {
            assert_eq!(Traffic::of(shares, serves), ALL_TRAFFIC, "{traffic:?}");
        }
        let revision = self.world.service_revision(serves).unwrap();
        for balancer in &revision.load_balancers {
            for rule in [&balancer.production_rule, &balancer.test_rule] {
                let Some(weights) = rule.as_ref().and_then(|it| self.rules.get(it)) else {
                    continue;
                };
                for (group, weight) in weights {
                    let full = *group == balancer.target_group;
                    assert_eq!(*weight, if full { 100 } else { 0 }, "{}", self.picture());
                }
            }
        }
    }
}
