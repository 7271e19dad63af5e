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
            backoff_base: 500,
            backoff_cap: 2_000,
            provisioning: 0,
            pending: 0,
            deprovisioning: 0,
            keep_stopped: 3_600_000,
        }
    }

    /// `--pace fargate`: about the times measured on the real service (facts: created to pull start 12 to 24 s, containers
    /// stopped to STOPPED 23 to 25 s, second to third failure 374 s).
    pub fn fargate() -> Self {
        Pace {
            settle: 40_000,
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
