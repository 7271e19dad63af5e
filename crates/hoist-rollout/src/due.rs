//! When to look again: the earliest moment at which something of weight can have happened.

use std::cmp::max;

use jiff::{SignedDuration, Timestamp};

use crate::observation::{DeploymentSeen, RolloutSeen, ServiceSeen, TaskSeen};
use crate::rollout::Rollout;
use crate::status::DeploymentStatus;

/// The settings that decide how long parts of a rollout take at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// The longest deregistration delay of the service's target groups: old tasks end no sooner.
    pub drain: SignedDuration,
    /// The bake time of the deployment strategy.
    pub bake: SignedDuration,
    /// How long a task without any health check runs before ECS takes it for healthy.
    pub settle: SignedDuration,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The end may come at any moment.
    Near,
    /// Things are on their way, and the end is not near.
    Soon,
    /// The end cannot come sooner than this, whatever happens.
    After(SignedDuration),
}

/// Says when to look again. Pure, like the judge; `now` is the observer's clock.
pub fn due(rollout: &Rollout, now: Timestamp) -> Due {
    let Some(course) = Course::of(rollout) else {
        return Due::Near;
    };
    match course.end() {
        Some(end) if now.duration_until(end) > A_MOMENT => Due::After(now.duration_until(end)),
        _ if course.is_far() => Due::Soon,
        _ => Due::Near,
    }
}

/// A deregistration delay that is longer than this is waited for before it has begun.
const SHORT: SignedDuration = SignedDuration::from_secs(5);
/// What is nearer than this is near.
const A_MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// A task that does not run yet is not the last step: it is registered with the target group then, and checked.
const CHECKED: SignedDuration = SignedDuration::from_millis(1_750);
/// The same on Fargate. Measured there: 40 to 60 s from the start of a task to its place in the target group.
const REGISTERED: SignedDuration = SignedDuration::from_secs(15);
/// A task of Fargate is made so much before it pulls its image, at least. Of eight tasks in public logs: 10.0 to 24 s.
const PLACED: SignedDuration = SignedDuration::from_secs(8);
/// What tells Fargate from whoever makes tasks at once: the time between `createdAt` and `pullStartedAt`.
const MADE_BY_FARGATE: SignedDuration = SignedDuration::from_secs(5);
/// A task of Fargate is STOPPED no sooner than this after its containers ended: its network interface goes first. Of seven tasks in
/// public logs: 22.6 to 25.3 s between `executionStoppedAt` and `stoppedAt`.
const FREED: SignedDuration = SignedDuration::from_secs(20);
/// The least time that the way back takes which the circuit breaker begins. Measured on the real service: 106 s, with every task of the
/// revision before still there.
const ROLLBACK: SignedDuration = SignedDuration::from_secs(30);

/// A rollout whose course can be foreseen.
struct Course<'a> {
    rollout: &'a Rollout,
    timing: Timing,
    service: &'a ServiceSeen,
    ours: &'a DeploymentSeen,
    primary: &'a RolloutSeen,
    /// Whether it is on its way back to the revision before.
    comes_back: bool,
    /// Whether it is on a way whose end is not known.
    is_lost: bool,
    /// Whether the times are relied on that Fargate takes for itself: another endpoint may take none.
    is_fargate: bool,
}

impl<'a> Course<'a> {
    /// Nothing where the end may come at any moment.
    fn of(rollout: &'a Rollout) -> Option<Course<'a>> {
        let service = rollout.service.as_ref()?;
        let ours = rollout.our_deployment()?;
        let primary = service.primary()?;
        let status = DeploymentStatus::of(&ours.status);
        if status.is_final() {
            return None;
        }
        let comes_back = status == DeploymentStatus::RollbackInProgress
            && rollout.intent.previous_task_definition.as_ref() == Some(&primary.task_definition);
        let is_back =
            status.finality() > 0 || primary.task_definition != rollout.intent.task_definition;
        let course = Course {
            rollout,
            timing: rollout.timing.unwrap_or_default(),
            service,
            ours,
            primary,
            comes_back,
            is_lost: is_back && !comes_back,
            is_fargate: rollout.is_made_by_fargate(),
        };
        (!course.may_fail()).then_some(course)
    }

    fn breaker(&self) -> (i64, i64) {
        self.ours.breaker.unwrap_or_default()
    }

    /// One more failure ends it, where it does not begin the way back; without a task there is none that could fail.
    fn may_fail(&self) -> bool {
        let (failures, threshold) = self.breaker();
        !self.comes_back
            && threshold > 0
            && failures + 1 >= threshold
            && !self.service.rolls_back
            && self.rollout.our_tasks().any(|task| !task.is_stopped())
    }

    /// When the last target is drained that drains now.
    fn drained(&self) -> Option<Timestamp> {
        let delay = self.timing.drain;
        let last = self.rollout.drained(delay, None);
        last.filter(|_| !delay.is_zero())
    }

    fn is_balanced(&self) -> bool {
        !self.service.target_groups.is_empty()
    }

    /// The moment before which it cannot end, as far as one is known.
    fn end(&self) -> Option<Timestamp> {
        if self.is_lost {
            return self.drained();
        }
        let settled = max(max(self.came(), self.went()), self.came_back());
        let bake = self.timing.bake;
        if self.comes_back || bake.is_zero() {
            return settled;
        }
        let bakes_from = match self.ours.stage.as_str() {
            "BAKE_TIME" => return self.rollout.stage_since.map(|at| at + bake),
            "CLEAN_UP" => return settled,
            // A bake that is no stage of its own begins when everything is in its place.
            "" => max(settled, self.rollout.unsettled_at),
            _ => max(settled, Some(self.ours.at)),
        };
        bakes_from.map(|at| at + bake)
    }

    /// The way back that the circuit breaker began.
    fn came_back(&self) -> Option<Timestamp> {
        let (failures, threshold) = self.breaker();
        let is_by_breaker = self.comes_back && threshold > 0 && failures >= threshold;
        let since = self.rollout.back_since.filter(|_| is_by_breaker)?;
        Some(since + ROLLBACK)
    }

    /// The tasks that are wanted, and alive.
    fn coming(&self) -> impl Iterator<Item = &TaskSeen> {
        let of = |task: &&TaskSeen| {
            task.task_definition == self.primary.task_definition
                && !task.is_stopped()
                && task.desired_status != "STOPPED"
        };
        self.rollout.tasks.values().filter(of)
    }

    /// The tasks of other revisions and deployments, which go.
    fn going(&self) -> impl Iterator<Item = &TaskSeen> {
        self.rollout.tasks.values().filter(|task| {
            let of_other = !self.comes_back
                && task.deployment.starts_with("ecs-svc/")
                && task.deployment != self.primary.id;
            (of_other || task.task_definition != self.primary.task_definition)
                && !task.is_stopped()
                && task.started.is_some()
        })
    }

    /// No sooner is every task that is wanted in its place.
    fn came(&self) -> Option<Timestamp> {
        let is_unchecked = || self.coming().all(|task| task.health == "UNKNOWN");
        let checked = match self.is_balanced() {
            true if self.is_fargate => REGISTERED,
            true => CHECKED,
            false if is_unchecked() => self.timing.settle,
            false => SignedDuration::ZERO,
        };
        if checked.is_zero() {
            return None;
        }
        let (wanted, running) = (self.service.desired, self.primary.running);
        let made = running + self.primary.pending;
        let seen_at = self.service.at;
        let missing = (made < wanted && self.is_fargate).then(|| seen_at + PLACED + checked);
        let starting = (running < wanted && made > 0).then(|| seen_at + checked);
        let started = self.coming().map(|task| {
            let since = task.started.filter(|_| task.is_running());
            self.seen_by(task, since) + checked
        });
        started.chain(missing).chain(starting).max()
    }

    /// No sooner has every task gone that is to go.
    fn went(&self) -> Option<Timestamp> {
        if self.service.ends_early || self.comes_back && !self.ours.stage.is_empty() {
            return self.drained().filter(|_| !self.service.ends_early);
        }
        let (drain, zero) = (self.timing.drain, SignedDuration::ZERO);
        let freed = if self.is_fargate { FREED } else { zero };
        // Tasks that leave a load balancer keep their connections for the whole delay.
        let is_yet_to_drain = self.is_balanced()
            && !self.comes_back
            && self.rollout.draining.is_empty()
            && drain > SHORT;
        let to_drain = if is_yet_to_drain { drain } else { zero };
        let mut others = self.service.deployments.iter();
        let has_old = others.any(|one| one.id != self.primary.id && one.running > 0);
        let to_go = has_old.then(|| self.service.at + to_drain + freed);
        let going = self.going().filter(|_| self.is_fargate).map(|task| {
            let drained = self.rollout.drained(drain, Some(&task.address));
            let ended = self.seen_by(task, task.ended);
            drained.map_or(ended, |at| at.max(ended)) + freed
        });
        going.chain(to_go).chain(self.drained()).max()
    }

    /// When something happened to a task by the clock of ECS, or else was not seen to have happened yet; by our clock, and never later
    /// than it was seen.
    fn seen_by(&self, task: &TaskSeen, happened: Option<Timestamp>) -> Timestamp {
        happened.map_or(task.at, |at| self.rollout.by_our_clock(at).min(task.at))
    }

    /// Whether tasks are still to be made.
    fn is_far(&self) -> bool {
        let is_made = |task: &TaskSeen| task.last_status != "PROVISIONING";
        let to_make = self.coming().count() == 0 && self.service.desired > 0;
        self.ours.stage != "BAKE_TIME" && (to_make || self.coming().any(|task| !is_made(task)))
    }
}

impl Rollout {
    /// Whether a task shows by its own times that Fargate made it.
    fn is_made_by_fargate(&self) -> bool {
        self.tasks.values().any(|task| {
            let times = task.created.zip(task.pulling);
            times.is_some_and(|(made, pulls)| made.duration_until(pulls) >= MADE_BY_FARGATE)
        })
    }

    /// What ECS calls this moment, by a clock that is never ahead of ours.
    pub(crate) fn by_our_clock(&self, at: Timestamp) -> Timestamp {
        let ahead = self
            .intent
            .made_at
            .map(|made| self.intent.started.duration_until(made));
        at - ahead.unwrap_or_default().max(SignedDuration::ZERO)
    }

    /// When the last of the targets is drained that drains now, or the last of those with this address.
    pub(crate) fn drained(&self, delay: SignedDuration, of: Option<&str>) -> Option<Timestamp> {
        self.draining
            .iter()
            .filter(|((_, address, _), _)| of.is_none_or(|of| of == address))
            .filter(|((_, address, _), _)| self.leaves(address))
            .map(|(_, since)| *since + delay)
            .max()
    }

    /// Whether the task with this address leaves its load balancer, and has not ended.
    fn leaves(&self, address: &str) -> bool {
        self.tasks.values().any(|task| {
            task.address == address
                && !task.is_stopped()
                && matches!(task.stop_code.as_str(), "" | "ServiceSchedulerInitiated")
                && task.ended.is_none()
                && task.containers.iter().all(|one| one.exit_code.is_none())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Observation, TargetGroups, TargetSeen};
    use crate::rollout::Intent;

    const OURS: &str = "arn:td/web:8";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    fn timing() -> Timing {
        Timing {
            drain: SignedDuration::from_secs(300),
            bake: SignedDuration::from_mins(10),
            settle: SignedDuration::from_secs(40),
        }
    }

    fn rollout(stage: &str, groups: bool) -> Rollout {
        let mut intent = Intent::new("web", OURS, at(0));
        intent.service_deployment = Some("d".into());
        let mut rollout = Rollout::new(intent);
        rollout.timing = Some(timing());
        rollout.see(&[service(1, 1, groups), deployment(1, "IN_PROGRESS", stage)]);
        rollout
    }

    fn without_bake(groups: bool) -> Rollout {
        let mut rollout = rollout("", groups);
        rollout.timing = Some(Timing {
            bake: SignedDuration::ZERO,
            ..timing()
        });
        rollout
    }

    /// The service, where so many tasks of the deployment before still run.
    fn service(seconds: i64, old: i64, groups: bool) -> Observation {
        let one = |id: &str, status: &str, definition: &str, running| RolloutSeen {
            id: id.into(),
            status: status.into(),
            task_definition: definition.into(),
            desired: 1,
            running,
            ..RolloutSeen::default()
        };
        let group = TargetGroups {
            arn: "tg".into(),
            alternate: None,
        };
        Observation::Service(ServiceSeen {
            at: at(seconds),
            status: "ACTIVE".into(),
            desired: 1,
            running: 1 + old,
            deployments: vec![
                one("ecs-svc/2", "PRIMARY", OURS, 1),
                one("ecs-svc/1", "ACTIVE", "arn:td/web:7", old),
            ],
            target_groups: groups.then_some(group).into_iter().collect(),
            rolls_back: true,
            ..ServiceSeen::default()
        })
    }

    fn deployment(seconds: i64, status: &str, stage: &str) -> Observation {
        Observation::Deployment(DeploymentSeen {
            at: at(seconds),
            arn: "d".into(),
            status: status.into(),
            task_definition: OURS.into(),
            stage: stage.into(),
            ..DeploymentSeen::default()
        })
    }

    fn task(status: &str, started: Option<i64>) -> Observation {
        Observation::Task(TaskSeen {
            at: at(2),
            arn: "arn:task/t1".into(),
            task_definition: OURS.into(),
            last_status: status.into(),
            desired_status: "RUNNING".into(),
            health: "UNKNOWN".into(),
            address: "10.0.0.1".into(),
            started: started.map(at),
            ..TaskSeen::default()
        })
    }

    fn old_task() -> Observation {
        let mut old = task("DEACTIVATING", Some(-60));
        if let Observation::Task(old) = &mut old {
            old.arn = "arn:task/t0".into();
            old.task_definition = "arn:td/web:7".into();
            old.address = "10.0.0.9".into();
        }
        old
    }

    fn target(address: &str, state: &str, seconds: i64) -> Observation {
        Observation::Target(TargetSeen {
            at: at(seconds),
            group: "tg".into(),
            address: address.into(),
            port: 80,
            state: state.into(),
            ..TargetSeen::default()
        })
    }

    #[test]
    fn a_bake_is_waited_for_until_its_end() {
        let rollout = rollout("BAKE_TIME", false);
        let left = SignedDuration::from_mins(10) - SignedDuration::from_secs(59);
        assert_eq!(due(&rollout, at(60)), Due::After(left));
        assert_eq!(due(&rollout, at(601)), Due::Near);
    }

    #[test]
    fn a_drain_is_waited_for_from_the_last_moment_at_which_it_had_not_begun() {
        let mut rollout = without_bake(true);
        rollout.see(&[task("RUNNING", Some(2)), target("10.0.0.9", "healthy", 3)]);
        // It drained not yet when the service was last seen.
        let whole = Due::After(SignedDuration::from_secs(296));
        assert_eq!(due(&rollout, at(5)), whole);
        rollout.see(&[old_task(), target("10.0.0.9", "draining", 7)]);
        let left = Due::After(SignedDuration::from_secs(293));
        assert_eq!(due(&rollout, at(10)), left);
        // When the last task of the revision before ends, so may the deployment.
        assert_eq!(due(&rollout, at(307)), Due::Near);
    }

    #[test]
    fn a_task_without_checks_is_waited_for_until_it_counts_as_healthy() {
        let mut rollout = without_bake(false);
        assert_eq!(due(&rollout, at(5)), Due::Soon);
        rollout.see(&[task("RUNNING", Some(2)), service(5, 0, false)]);
        let left = Due::After(SignedDuration::from_secs(37));
        assert_eq!(due(&rollout, at(5)), left);
        assert_eq!(due(&rollout, at(42)), Due::Near);
    }

    #[test]
    fn a_bake_without_a_stage_begins_when_all_is_in_place() {
        let mut rollout = rollout("", true);
        rollout.see(&[
            task("RUNNING", Some(2)),
            target("10.0.0.1", "healthy", 9),
            target("10.0.0.9", "draining", 9),
            service(10, 1, true),
            service(14, 0, true),
        ]);
        let left = SignedDuration::from_mins(10) - SignedDuration::from_secs(10);
        assert_eq!(due(&rollout, at(20)), Due::After(left));
        assert_eq!(due(&rollout, at(611)), Due::Near);
    }

    #[test]
    fn the_way_back_that_the_breaker_begins_takes_its_time_and_another_may_not() {
        let mut rollout = without_bake(false);
        rollout.intent.previous_task_definition = Some("arn:td/web:7".into());
        let back = |seconds: i64, breaker: (i64, i64)| {
            let mut seen = deployment(seconds, "ROLLBACK_IN_PROGRESS", "");
            if let Observation::Deployment(one) = &mut seen {
                one.breaker = Some(breaker);
            }
            let mut live = service(seconds, 0, false);
            if let Observation::Service(live) = &mut live {
                live.deployments[0].task_definition = "arn:td/web:7".into();
            }
            let mut old = old_task();
            if let Observation::Task(old) = &mut old {
                old.last_status = "RUNNING".into();
            }
            [seen, live, old]
        };
        let mut asked_for = rollout.clone();
        asked_for.see(&back(9, (1, 3)));
        assert_eq!(due(&asked_for, at(10)), Due::Near);
        rollout.see(&back(9, (3, 3)));
        // It was last seen going forward at 1.
        let left = Due::After(SignedDuration::from_secs(21));
        assert_eq!(due(&rollout, at(10)), left);
        assert_eq!(due(&rollout, at(31)), Due::Near);
    }

    #[test]
    fn the_last_failure_is_near_only_where_it_does_not_begin_a_way_back() {
        let mut rollout = without_bake(false);
        let mut seen = deployment(3, "IN_PROGRESS", "");
        if let Observation::Deployment(one) = &mut seen {
            one.breaker = Some((2, 3));
        }
        rollout.see(&[seen, task("RUNNING", Some(2))]);
        let settled = Due::After(SignedDuration::from_secs(37));
        assert_eq!(due(&rollout, at(5)), settled);
        let mut live = service(6, 1, false);
        if let Observation::Service(live) = &mut live {
            live.rolls_back = false;
        }
        rollout.see(&[live]);
        assert_eq!(due(&rollout, at(6)), Due::Near);
    }

    /// A task whose times are those of Fargate.
    fn of_fargate(mut task: Observation, ended: Option<i64>) -> Observation {
        if let Observation::Task(task) = &mut task {
            task.created = Some(at(-80));
            task.pulling = Some(at(-68));
            task.ended = ended.map(at);
        }
        task
    }

    #[test]
    fn a_task_of_fargate_is_not_gone_before_its_interface_is() {
        let mut rollout = without_bake(true);
        let ours = of_fargate(task("RUNNING", Some(2)), None);
        let mut leaving = of_fargate(old_task(), None);
        if let Observation::Task(task) = &mut leaving {
            task.desired_status = "STOPPED".into();
        }
        rollout.see(&[ours.clone(), leaving, service(5, 0, true)]);
        rollout.see(&[target("10.0.0.9", "healthy", 3)]);
        rollout.see(&[target("10.0.0.9", "draining", 5)]);
        // Drained 300 s after it was last seen healthy, and gone 20 s later.
        let left = Due::After(SignedDuration::from_secs(313));
        assert_eq!(due(&rollout, at(10)), left);
        assert!(!rollout.awaits_ends(at(300)) && rollout.awaits_ends(at(304)));
        let mut ended = of_fargate(old_task(), Some(306));
        if let Observation::Task(task) = &mut ended {
            task.at = at(310);
            task.desired_status = "STOPPED".into();
        }
        rollout.see(&[ended]);
        assert!(!rollout.awaits_ends(at(311)));
        let left = Due::After(SignedDuration::from_secs(16));
        assert_eq!(due(&rollout, at(310)), left);
        assert_eq!(due(&rollout, at(325)), Due::Near);
    }

    #[test]
    fn a_deployment_that_may_end_before_its_old_tasks_is_not_waited_for_with_them() {
        let mut rollout = without_bake(true);
        let mut live = service(6, 1, true);
        if let Observation::Service(live) = &mut live {
            live.ends_early = true;
        }
        let ours = of_fargate(task("RUNNING", Some(-40)), None);
        rollout.see(&[ours, of_fargate(old_task(), None), live]);
        assert_eq!(due(&rollout, at(6)), Due::Near);
    }
}
