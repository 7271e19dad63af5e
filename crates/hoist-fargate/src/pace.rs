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
    /// The pause before the launch that follows the second failure in a row; it doubles with each further one.
    pub backoff_base: Millis,
    /// The longest pause between launches of tasks that keep failing.
    pub backoff_cap: Millis,
    /// The least time that a task spends in PROVISIONING.
    pub provisioning: Millis,
    /// The least time that a task spends in PENDING.
    pub pending: Millis,
    /// The least time that a task spends in DEPROVISIONING.
    pub deprovisioning: Millis,
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
            backoff_base: 500,
            backoff_cap: 2_000,
            provisioning: 0,
            pending: 0,
            deprovisioning: 0,
            keep_stopped: 3_600_000,
        }
    }

    /// `--pace fargate`: about the times measured on the real service. Facts: created to pull start 12 to 24 s, containers stopped
    /// to STOPPED 23 to 25 s, registered to old task stopped 50 s with a first check after up to 30 s, then 10 s to draining; with a
    /// bad tag failures at 154, 286 and 660 s, rollback at 704 s, its end at 810 s. `tests/scheduler/pace.rs` plays both.
    pub fn fargate() -> Self {
        Pace {
            settle: 40_000,
            begin: 22_000,
            notice: 25_000,
            stopping: 10_000,
            verdict: 44_000,
            rollback: 105_000,
            backoff_base: 240_000,
            backoff_cap: 27 * 60_000,
            provisioning: 12_000,
            pending: 5_000,
            deprovisioning: 24_000,
            keep_stopped: 3_600_000,
        }
    }

    /// The pause before the next launch after `failures` failures in a row: none after the first, then doubling up to the cap.
    pub fn backoff(&self, failures: u32) -> Millis {
        match failures {
            0 | 1 => 0,
            n => self
                .backoff_base
                .saturating_mul(1u64 << (n - 2).min(20))
                .min(self.backoff_cap),
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
    fn back_off_starts_after_the_second_failure_and_is_capped() {
        let pace = Pace::fast();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 60].map(|n| pace.backoff(n)),
            [0, 0, 500, 1_000, 2_000, 2_000, 2_000]
        );
    }
}
