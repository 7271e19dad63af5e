//! When to look again: the earliest moment at which something of weight can have happened.

use jiff::{SignedDuration, Timestamp};

use crate::observation::{Observation, ServiceSeen, TaskSeen};
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
pub fn due(rollout: &Rollout, timing: &Timing, now: Timestamp) -> Due {
    let Some(service) = &rollout.service else {
        return Due::Near;
    };
    let Some(ours) = rollout.our_deployment() else {
        return Due::Near;
    };
    let status = DeploymentStatus::of(&ours.status);
    let Some(primary) = service.primary() else {
        return Due::Near;
    };
    if status.is_final() {
        return Due::Near;
    }
    let is_back =
        status.finality() > 0 || primary.task_definition != rollout.intent.task_definition;
    if ours.stage == "BAKE_TIME" {
        let end = rollout.stage_since.map(|since| since + timing.bake);
        return until(end, now).unwrap_or(Due::Near);
    }
    // Tasks that leave a load balancer keep their connections for the whole delay.
    let leaves = |address: &str| {
        rollout.tasks.values().any(|task| {
            task.address == address
                && !task.is_stopped()
                && matches!(task.stop_code.as_str(), "" | "ServiceSchedulerInitiated")
                && task.containers.iter().all(|one| one.exit_code.is_none())
        })
    };
    let drains = rollout
        .draining
        .iter()
        .filter(|((_, address, _), _)| leaves(address))
        .map(|(_, since)| *since + timing.drain)
        .max();
    if let Some(due) = until(drains, now).filter(|_| !timing.drain.is_zero()) {
        return due;
    }
    // On the way back, what is waited for is the revision before.
    let comes_back = status == DeploymentStatus::RollbackInProgress
        && rollout.intent.previous_task_definition.as_ref() == Some(&primary.task_definition);
    let (failures, threshold) = ours.breaker.unwrap_or_default();
    if comes_back && threshold > 0 && failures >= threshold {
        let end = rollout.back_since.map(|since| since + ROLLBACK);
        if let Some(due) = until(end, now) {
            return due;
        }
    }
    if is_back && !comes_back {
        return Due::Near;
    }
    let is_alive = |task: &&TaskSeen| !task.is_stopped();
    // One more failure ends it, where it does not begin the way back; without a task there is none that could fail.
    let is_last = !comes_back && threshold > 0 && failures + 1 >= threshold && !service.rolls_back;
    if is_last && rollout.our_tasks().any(|task| is_alive(&task)) {
        return Due::Near;
    }
    let has_old = service
        .deployments
        .iter()
        .any(|one| one.id != primary.id && one.running > 0);
    let is_balanced = !service.target_groups.is_empty();
    if has_old && is_balanced && !comes_back && rollout.draining.is_empty() && timing.drain > SOON {
        return Due::After(timing.drain);
    }
    let tasks = || {
        let of = |task: &&TaskSeen| task.task_definition == primary.task_definition;
        rollout.tasks.values().filter(of).filter(is_alive)
    };
    let missing = tasks().any(|task| task.last_status == "PROVISIONING");
    if missing || tasks().count() == 0 && service.desired > 0 {
        return Due::Soon;
    }
    if is_balanced && tasks().any(|task| !task.is_running()) && primary.running < service.desired {
        return Due::After(CHECKED);
    }
    if !is_balanced && tasks().all(|task| task.health == "UNKNOWN") {
        let settled = tasks()
            .map(|task| task.started.unwrap_or(now) + timing.settle)
            .max();
        if let Some(due) = until(settled, now) {
            return due;
        }
    }
    // A bake that is no stage of its own begins when everything is in its place.
    if !comes_back && ours.stage.is_empty() && service.is_in_place() && !timing.bake.is_zero() {
        let end = rollout.unsettled_at.map(|at| at + timing.bake);
        return until(end, now).unwrap_or(Due::Near);
    }
    Due::Near
}

/// A task that does not run yet is not the last step: it is registered with the target group then, and checked.
const CHECKED: SignedDuration = SignedDuration::from_millis(1_750);
/// The least time that the way back takes which the circuit breaker begins. Measured on the real service: 106 s, with every task of the
/// revision before still there.
const ROLLBACK: SignedDuration = SignedDuration::from_secs(30);
/// What is further away than this is not near.
const SOON: SignedDuration = SignedDuration::from_secs(5);

fn until(end: Option<Timestamp>, now: Timestamp) -> Option<Due> {
    let left = now.duration_until(end?);
    (left > SignedDuration::from_secs(1)).then_some(Due::After(left))
}

impl Rollout {
    /// Whether our service deployment was seen to end.
    pub fn has_ended(&self) -> bool {
        self.our_deployment()
            .is_some_and(|ours| DeploymentStatus::of(&ours.status).is_final())
    }

    /// Whether one of these observations may be the end of our service deployment.
    pub fn would_end(&self, seen: &[Observation]) -> bool {
        seen.iter().any(|seen| match seen {
            Observation::Deployment(one) => {
                one.task_definition == self.intent.task_definition
                    && DeploymentStatus::of(&one.status).is_final()
            }
            _ => false,
        })
    }

    /// Whether tasks of our revision are on their way to run, or leave.
    pub fn awaits_tasks(&self) -> bool {
        let short = |service: &ServiceSeen| {
            service
                .primary()
                .is_some_and(|primary| primary.running < service.desired)
        };
        self.service.as_ref().is_none_or(short)
            || self.our_tasks().any(|task| {
                !task.is_stopped() && (!task.is_running() || task.health == "UNHEALTHY")
            })
    }

    /// Whether a task of our revision runs whose targets are not all healthy.
    pub fn awaits_targets(&self) -> bool {
        let Some(service) = self.service.as_ref() else {
            return true;
        };
        let is_healthy = |task: &TaskSeen, group: &str| {
            self.targets.values().any(|target| {
                target.group == group && target.address == task.address && target.state == "healthy"
            })
        };
        self.our_tasks()
            .filter(|task| task.is_running())
            .any(|task| {
                service.target_groups.iter().any(|groups| {
                    !is_healthy(task, &groups.arn)
                        && !groups
                            .alternate
                            .as_ref()
                            .is_some_and(|alternate| is_healthy(task, alternate))
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{DeploymentSeen, RolloutSeen, TargetGroups, TargetSeen};
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
        rollout.see(&[service(1, 1, groups), deployment(1, "IN_PROGRESS", stage)]);
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
        assert_eq!(due(&rollout, &timing(), at(60)), Due::After(left));
        assert_eq!(due(&rollout, &timing(), at(601)), Due::Near);
    }

    #[test]
    fn a_drain_is_waited_for_from_the_last_moment_at_which_it_had_not_begun() {
        let mut rollout = rollout("", true);
        rollout.see(&[task("RUNNING", Some(2)), target("10.0.0.9", "healthy", 3)]);
        let timing = Timing {
            bake: SignedDuration::ZERO,
            ..timing()
        };
        let whole = Due::After(SignedDuration::from_secs(300));
        assert_eq!(due(&rollout, &timing, at(5)), whole);
        rollout.see(&[old_task(), target("10.0.0.9", "draining", 7)]);
        let left = Due::After(SignedDuration::from_secs(293));
        assert_eq!(due(&rollout, &timing, at(10)), left);
        // When the last task of the revision before ends, so may the deployment.
        assert_eq!(due(&rollout, &timing, at(307)), Due::Near);
    }

    #[test]
    fn a_task_without_checks_is_waited_for_until_it_counts_as_healthy() {
        let mut rollout = rollout("", false);
        let timing = Timing {
            bake: SignedDuration::ZERO,
            ..timing()
        };
        assert_eq!(due(&rollout, &timing, at(5)), Due::Soon);
        rollout.see(&[task("RUNNING", Some(2)), service(5, 0, false)]);
        let left = Due::After(SignedDuration::from_secs(37));
        assert_eq!(due(&rollout, &timing, at(5)), left);
        assert_eq!(due(&rollout, &timing, at(42)), Due::Near);
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
        assert_eq!(due(&rollout, &timing(), at(20)), Due::After(left));
        assert_eq!(due(&rollout, &timing(), at(611)), Due::Near);
    }

    #[test]
    fn the_way_back_that_the_breaker_begins_takes_its_time_and_another_may_not() {
        let mut rollout = rollout("", false);
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
        assert_eq!(due(&asked_for, &timing(), at(10)), Due::Near);
        rollout.see(&back(9, (3, 3)));
        // It was last seen going forward at 1.
        let left = Due::After(SignedDuration::from_secs(21));
        assert_eq!(due(&rollout, &timing(), at(10)), left);
        assert_eq!(due(&rollout, &timing(), at(31)), Due::Near);
    }

    #[test]
    fn the_last_failure_is_near_only_where_it_does_not_begin_a_way_back() {
        let mut rollout = rollout("", false);
        let mut seen = deployment(3, "IN_PROGRESS", "");
        if let Observation::Deployment(one) = &mut seen {
            one.breaker = Some((2, 3));
        }
        rollout.see(&[seen, task("RUNNING", Some(2))]);
        let settled = Due::After(SignedDuration::from_secs(37));
        assert_eq!(due(&rollout, &timing(), at(5)), settled);
        let mut live = service(6, 1, false);
        if let Observation::Service(live) = &mut live {
            live.rolls_back = false;
        }
        rollout.see(&[live]);
        assert_eq!(due(&rollout, &timing(), at(6)), Due::Near);
    }
}
