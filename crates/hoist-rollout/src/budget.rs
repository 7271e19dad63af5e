//! The failure budget: when a rollout is hopeless, before ECS's own circuit breaker says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observation::TaskSeen;
use crate::rollout::Rollout;

/// How many tasks of the new revision may fail in the same way before the rollout is called hopeless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// max(2, 10 % of the desired count, rounded up).
    #[default]
    Default,
    /// This many (at least 1).
    Tasks(u32),
    /// Never hopeless: ECS decides.
    Unlimited,
}

impl Budget {
    /// The number of equal failures at which it is used up.
    pub fn tasks(self, desired: i64) -> Option<u32> {
        match self {
            Budget::Default => Some(
                u32::try_from(desired.max(0).unsigned_abs().div_ceil(10))
                    .unwrap_or(u32::MAX)
                    .max(2),
            ),
            Budget::Tasks(tasks) => Some(tasks.max(1)),
            Budget::Unlimited => None,
        }
    }
}

/// A way in which tasks fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FailureKind {
    /// The stop code.
    pub stop_code: String,
    /// The reason without what differs from task to task.
    pub reason: String,
    /// The exit code of the container that ended first with one.
    pub exit_code: Option<i64>,
}

/// A rollout that will not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hopeless {
    /// How the tasks fail.
    pub kind: FailureKind,
    /// How many did.
    pub tasks: u32,
    /// How many were allowed.
    pub budget: u32,
}

impl std::fmt::Display for Hopeless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} tasks of the new revision ended in the same way ({}",
            self.tasks, self.kind.stop_code
        )?;
        if let Some(code) = self.kind.exit_code {
            write!(f, ", exit code {code}")?;
        }
        write!(
            f,
            ", {}), none was ever healthy; the failure budget is {}",
            self.kind.reason, self.budget
        )
    }
}

/// Whether the budget is used up. Void once a task of the revision was healthy.
pub(crate) fn hopeless(rollout: &Rollout) -> Option<Hopeless> {
    let desired = rollout.service()?.desired;
    let budget = rollout.intent.budget.tasks(desired)?;
    if rollout.was_ever_healthy() {
        return None;
    }
    let mut kinds: BTreeMap<FailureKind, u32> = BTreeMap::new();
    for task in rollout.our_tasks().filter(|task| counts(task)) {
        *kinds.entry(kind(task)).or_default() += 1;
    }
    let (kind, tasks) = kinds.into_iter().max_by_key(|(_, tasks)| *tasks)?;
    (tasks >= budget).then_some(Hopeless {
        kind,
        tasks,
        budget,
    })
}

/// Failed to start, or exited: never Spot, a user, the infrastructure, or the scheduler.
fn counts(task: &TaskSeen) -> bool {
    task.is_stopped()
        && matches!(
            task.stop_code.as_str(),
            "TaskFailedToStart" | "EssentialContainerExited"
        )
}

fn kind(task: &TaskSeen) -> FailureKind {
    let exit_code = task
        .containers
        .iter()
        .filter_map(|container| container.exit_code)
        .find(|code| *code != 0)
        .or_else(|| {
            task.containers
                .iter()
                .find_map(|container| container.exit_code)
        });
    FailureKind {
        stop_code: task.stop_code.clone(),
        reason: class(&task.stopped_reason),
        exit_code,
    }
}

/// The words before the first colon: `CannotPullContainerError`, `Essential container in task exited`.
fn class(reason: &str) -> String {
    reason
        .split(':')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_tenth_of_the_desired_count_and_at_least_two() {
        let of = |desired| Budget::Default.tasks(desired).unwrap();
        assert_eq!((of(0), of(1), of(20), of(21), of(100)), (2, 2, 2, 3, 10));
        assert_eq!(Budget::Tasks(0).tasks(5), Some(1));
        assert_eq!(Budget::Unlimited.tasks(5), None);
    }

    #[test]
    fn the_class_of_a_reason_leaves_out_what_differs_between_tasks() {
        assert_eq!(
            class("CannotPullContainerError: pull image manifest has been retried 5 time(s)"),
            "CannotPullContainerError"
        );
        assert_eq!(
            class("Essential container in task exited"),
            "Essential container in task exited"
        );
    }
}
