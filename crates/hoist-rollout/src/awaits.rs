//! What of a rollout has yet to be seen: which reads are worth a call.

use jiff::Timestamp;

use crate::observation::{Observation, TaskSeen};
use crate::rollout::Rollout;
use crate::status::DeploymentStatus;

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

    /// Whether one of these observations may be an end of our service deployment that is no success.
    pub fn would_fail(&self, seen: &[Observation]) -> bool {
        seen.iter().any(|seen| match seen {
            Observation::Deployment(one) => {
                let status = DeploymentStatus::of(&one.status);
                one.task_definition == self.intent.task_definition
                    && status.is_final()
                    && status != DeploymentStatus::Successful
            }
            _ => false,
        })
    }

    /// Whether a task of our revision is on its way to run, or unhealthy.
    pub fn awaits_tasks(&self) -> bool {
        self.our_tasks()
            .any(|task| !task.is_stopped() && (!task.is_running() || task.health == "UNHEALTHY"))
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

    /// Whether a task that was told to stop has not ended as far as is known, and may have: it does not drain any more.
    pub fn awaits_ends(&self, now: Timestamp) -> bool {
        let delay = self.timing.unwrap_or_default().drain;
        let drains = self.drained(delay, None).is_some_and(|at| at > now);
        let is_ending = |task: &TaskSeen| {
            task.started.is_some()
                && task.desired_status == "STOPPED"
                && !task.is_stopped()
                && task.ended.is_none()
        };
        !drains && self.tasks.values().any(is_ending)
    }
}
