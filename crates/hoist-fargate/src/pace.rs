//! How long the things take that nobody can set.

use serde::{Deserialize, Serialize};

/// A point in time in milliseconds since the Unix epoch, or a length of time in milliseconds.
pub type Millis = u64;

/// The times that the real service takes by itself and that no API member sets.
///
/// What a user sets, or what has an API default (health intervals, grace period, deregistration delay, `stopTimeout`),
/// is not here: it always runs in real time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// How long a task without any health check must run before it counts as healthy (the real service: 40 s).
    pub settle: Millis,
    /// How long a new deployment waits before its first launch.
    pub begin: Millis,
    /// How long it takes until the scheduler takes note that a target is healthy.
    pub notice: Millis,
    /// How long it takes from the decision to stop a task to the deregistration of its targets, or else to its stop signal.
    pub stopping: Millis,
    /// How long it takes until the circuit breaker trips, its threshold being reached.
    pub verdict: Millis,
    /// The least time that a rollback takes.
    pub rollback: Millis,
    /// The pause before a launch that follows a failure. A failure counts once the pause after it is over.
    pub retry: Millis,
    /// The pause after the third failure in a row; it doubles with each further one.
    pub backoff_base: Millis,
    /// The longest pause between launches of tasks that keep failing.
    pub backoff_cap: Millis,
    /// The longest pause after tasks that ran and exited: "Tasks that are stopped after they reach the RUNNING state don't start the
    /// throttle logic" (developer guide, service throttle logic).
    pub exit_cap: Millis,
    /// The least time that a task spends in PROVISIONING.
    pub provisioning: Millis,
    /// The least time that a task spends in PENDING.
    pub pending: Millis,
    /// The least time that a task spends in DEPROVISIONING.
    pub deprovisioning: Millis,
    /// How long a service is steady before its tasks are moved to other Availability Zones.
    pub rebalance: Millis,
    /// How long a stopped task and an inactive service stay visible (the real service: about an hour).
    pub keep_stopped: Millis,
}

impl Pace {
    /// `--pace fast`: nothing of what AWS takes for itself; settle 1 s, back-off at most 2 s.
    pub fn fast() -> Self {
        Pace {
            settle: 1_000,
            begin: 0,
            notice: 0,
            stopping: 0,
            verdict: 0,
            rollback: 0,
            retry: 0,
            backoff_base: 500,
            backoff_cap: 2_000,
            exit_cap: 2_000,
            provisioning: 0,
            pending: 0,
            deprovisioning: 0,
            rebalance: 1_000,
            keep_stopped: 3_600_000,
        }
    }

    /// `--pace fargate`: about the times measured on the real service. Facts: created to pull start 12 to 24 s, containers stopped
    /// to STOPPED 23 to 25 s, registered to old task stopped 50 s with a first check after up to 30 s, then 10 s to draining; with a
    /// bad tag failures counted at 154, 286 and 660 s, rollback at 704 s, its end at 810 s (53 s in another log). Public logs show the pauses:
    /// the next task starts 30 to 41 s after the first and the second failure, and 297 s after the third; ten failures without a
    /// breaker came every 6.5 minutes to the end, so that pause grows no further (the documentation's longest is 27 minutes).
    /// `tests/scheduler/pace.rs` plays all of it.
    pub fn fargate() -> Self {
        Pace {
            settle: 40_000,
            begin: 22_000,
            notice: 25_000,
            stopping: 10_000,
            verdict: 44_000,
            rollback: 80_000,
            retry: 30_000,
            backoff_base: 300_000,
            backoff_cap: 300_000,
            exit_cap: 30_000,
            provisioning: 12_000,
            pending: 5_000,
            deprovisioning: 24_000,
            rebalance: 60_000,
            keep_stopped: 3_600_000,
        }
    }

    /// The pause before the next launch after `failures` failures in a row: the shortest twice, then doubling up to the cap.
    pub fn backoff(&self, failures: u32) -> Millis {
        match failures {
            0..=2 => self.retry,
            n => self
                .backoff_base
                .saturating_mul(1u64 << (n - 3).min(20))
                .min(self.backoff_cap)
                .max(self.retry),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace::fast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_starts_with_the_third_failure_and_is_capped() {
        let pauses = |pace: Pace| [1, 2, 3, 4, 5, 6, 60].map(|n| pace.backoff(n));
        assert_eq!(
            pauses(Pace::fast()),
            [0, 0, 500, 1_000, 2_000, 2_000, 2_000]
        );
        assert_eq!(
            pauses(Pace::fargate()).map(|it| it / 1_000),
            [30, 30, 300, 300, 300, 300, 300]
        );
    }
}
