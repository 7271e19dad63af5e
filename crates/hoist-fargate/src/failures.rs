//! What became of a deployment's tasks: successes and failures are counted, and the circuit breaker trips.

use crate::given_up::GivenUp;
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{Breaker, RolloutState, Service, StopCode, Task, ThresholdKind};

impl Breaker {
    /// How many failures trip it: per cent of the desired count rounded up (bounded: 3 to 200), or the count itself.
    pub fn threshold(&self, desired: u32) -> u32 {
        let percent = (u64::from(desired) * u64::from(self.threshold_value)).div_ceil(100) as u32;
        match self.threshold_kind {
            ThresholdKind::BoundedPercent => percent.clamp(3, 200),
            // A percentage of nothing would trip without a failure.
            ThresholdKind::UnboundedPercent => percent.max(1),
            ThresholdKind::Count => self.threshold_value.max(1),
        }
    }
}

impl Turn<'_> {
    /// Counts what became of the tasks since the last time: successes, failures, and what follows from them.
    pub fn account(&mut self, service: &mut Service) {
        let news: Vec<Key> = self
            .world
            .live_tasks_of(&service.arn)
            .filter(|(_, it)| {
                (it.healthy_at.is_some() && !it.counted_healthy)
                    || (has_failed(it) && !it.counted_failed)
            })
            .map(|(key, _)| key)
            .collect();
        for key in news {
            let Some(mut task) = self.world.tasks.take(key) else {
                continue;
            };
            self.account_for(service, &mut task);
            self.world.tasks.put(key, task);
        }
    }

    fn account_for(&mut self, service: &mut Service, task: &mut Task) {
        let Some(index) = service
            .deployments
            .iter()
            .position(|it| task.revision.as_deref() == Some(&it.revision))
        else {
            return;
        };
        self.world.touch(Kind::Task, &task.arn);
        if task.healthy_at.is_some() && !task.counted_healthy {
            task.counted_healthy = true;
            self.count_success(service, index);
        }
        if has_failed(task) && !task.counted_failed {
            task.counted_failed = true;
            self.count_failure(service, index, task);
        }
    }

    fn count_success(&mut self, service: &mut Service, index: usize) {
        let reset = service.configuration.breaker.reset_on_healthy_task;
        let deployment = &mut service.deployments[index];
        deployment.failures_in_a_row = 0;
        deployment.launch_after = None;
        if reset && deployment.rollout_state == RolloutState::InProgress {
            deployment.failed_tasks = 0;
            deployment.uncounted = 0;
            deployment.trips_at = None;
        }
        if index == 0 {
            Self::resolve(service, "place");
            Self::resolve(service, "inconsistent");
        }
        self.record_failures(service, index);
    }

    fn count_failure(&mut self, service: &mut Service, index: usize, task: &Task) {
        let deployment = &mut service.deployments[index];
        deployment.failures_in_a_row += 1;
        let pace = &self.world.settings.pace;
        let pause = pace.backoff(deployment.failures_in_a_row);
        let pause = match (task.unhealthy_at, task.started_at) {
            (Some(_), _) => 0,
            (None, Some(_)) => pause.min(pace.exit_cap),
            (None, None) => pause,
        };
        if pause > 0 {
            let until = self.now + pause;
            deployment.launch_after =
                Some(deployment.launch_after.map_or(until, |at| at.max(until)));
        }
        deployment.updated_at = self.now;
        deployment.unreplaced += u32::from(task.unhealthy_at.is_some());
        // Three in a row do not bring the message yet, a public log shows.
        let many = deployment.failures_in_a_row > 3;
        if deployment.rollout_state == RolloutState::InProgress {
            deployment.uncounted += 1;
        }
        let never_ran = task.stop_code == Some(StopCode::TaskFailedToStart);
        if never_ran {
            // Of each task, however often: the same public log.
            let reason = task.stopped_reason.as_deref().unwrap_or_default();
            self.announce(
                service,
                &format!("was unable to place a task. Reason: {reason}"),
            );
        }
        if many && never_ran {
            self.announce_condition(
                service,
                "inconsistent",
                "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
            );
        }
    }

    /// Counts the failures after which no pause is running any more, and has the breaker trip where that is too many.
    pub fn count_what_waited(&mut self, service: &mut Service) {
        for index in 0..service.deployments.len() {
            let deployment = &mut service.deployments[index];
            let pauses = deployment.launch_after.is_some_and(|at| at > self.now);
            if deployment.uncounted > 0 && !pauses {
                deployment.failed_tasks += std::mem::take(&mut deployment.uncounted);
                deployment.updated_at = self.now;
                self.record_failures(service, index);
                if index == 0 && is_over_the_threshold(service) {
                    let at = self.now + self.world.settings.pace.verdict;
                    service.deployments[0].trips_at.get_or_insert(at);
                }
            }
        }
    }

    /// Gives the PRIMARY up if the breaker's time has come and it is still to trip: its settings and the desired count may have changed
    /// since the failures were counted. Returns whether it did.
    pub fn trip(&mut self, service: &mut Service) -> bool {
        let is_over = is_over_the_threshold(service);
        let Some(primary) = service.deployments.first_mut() else {
            return false;
        };
        if !is_over {
            primary.trips_at = None;
        }
        let due = primary.trips_at.is_some_and(|at| at <= self.now);
        if due {
            self.give_up(service, GivenUp::Breaker);
        }
        due
    }

    fn record_failures(&mut self, service: &Service, index: usize) {
        let deployment = &service.deployments[index];
        if index != 0 || deployment.is_rollback {
            return;
        }
        if let Some(record) = self
            .world
            .service_deployments
            .get_mut(&deployment.service_deployment)
            && !record.status.is_final()
        {
            record.failure_count = deployment.failed_tasks;
            record.threshold = service
                .configuration
                .breaker
                .threshold(service.desired_count);
            record.updated_at = self.now;
            let arn = deployment.service_deployment.clone();
            self.world.touch(Kind::ServiceDeployment, &arn);
        }
    }
}

/// A task that never was healthy and stopped by itself or could not start, or that failed its checks.
pub(crate) fn has_failed(task: &Task) -> bool {
    task.unhealthy_at.is_some()
        || (task.healthy_at.is_none()
            && matches!(
                task.stop_code,
                Some(StopCode::EssentialContainerExited | StopCode::TaskFailedToStart)
            ))
}

/// Whether the failures of the PRIMARY are too many, by what the service says now. While traffic is shifted, too: "both methods only
/// support rolling update deployment and blue/green deployment types" (developer guide, deployment failure detection); the acceptance
/// tests of Terraform's provider have the breaker end a BLUE_GREEN deployment, and a public log a CANARY.
fn is_over_the_threshold(service: &Service) -> bool {
    let breaker = &service.configuration.breaker;
    service.primary().is_some_and(|it| {
        breaker.enable
            && it.rollout_state == RolloutState::InProgress
            && !it.is_rollback
            && it.failed_tasks >= breaker.threshold(service.desired_count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_threshold_is_as_documented() {
        let bounded = Breaker::default();
        assert_eq!(
            [1, 25, 400, 800].map(|n| bounded.threshold(n)),
            [3, 13, 200, 200]
        );
        let unbounded = Breaker {
            threshold_kind: ThresholdKind::UnboundedPercent,
            ..Breaker::default()
        };
        assert_eq!(
            [0, 1, 25, 800].map(|n| unbounded.threshold(n)),
            [1, 1, 13, 400]
        );
        let count = Breaker {
            threshold_kind: ThresholdKind::Count,
            threshold_value: 7,
            ..Breaker::default()
        };
        assert_eq!([1, 800].map(|n| count.threshold(n)), [7, 7]);
    }
}
