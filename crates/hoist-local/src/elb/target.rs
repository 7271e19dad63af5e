use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// State of one target, in the words of `DescribeTargetHealth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    Unused,
    Draining,
}

impl TargetState {
    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A target's condition: the state, and why, as `DescribeTargetHealth` words it. A healthy target has no reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub state: TargetState,
    /// Such as `Target.Timeout`.
    pub reason: Option<&'static str>,
    /// Such as `Request timed out`.
    pub description: Option<String>,
}

impl Condition {
    fn new(state: TargetState, reason: &'static str, description: &str) -> Self {
        Self {
            state,
            reason: Some(reason),
            description: Some(description.to_owned()),
        }
    }

    pub(crate) fn registering() -> Self {
        Self::new(
            TargetState::Initial,
            "Elb.RegistrationInProgress",
            "Target registration is in progress",
        )
    }

    pub(crate) fn checking() -> Self {
        Self::new(
            TargetState::Initial,
            "Elb.InitialHealthChecking",
            "Initial health checks in progress",
        )
    }

    pub(crate) fn healthy() -> Self {
        Self {
            state: TargetState::Healthy,
            reason: None,
            description: None,
        }
    }

    pub(crate) fn unhealthy(outcome: &super::check::Outcome) -> Self {
        use super::check::Outcome;
        match outcome {
            Outcome::Passed => Self::healthy(),
            Outcome::Code(code) => Self::new(
                TargetState::Unhealthy,
                "Target.ResponseCodeMismatch",
                &format!("Health checks failed with these codes: [{code}]"),
            ),
            Outcome::TimedOut => Self::new(
                TargetState::Unhealthy,
                "Target.Timeout",
                "Request timed out",
            ),
            Outcome::Failed => Self::new(
                TargetState::Unhealthy,
                "Target.FailedHealthChecks",
                "Health checks failed",
            ),
        }
    }

    pub(crate) fn draining() -> Self {
        Self::new(
            TargetState::Draining,
            "Target.DeregistrationInProgress",
            "Target deregistration is in progress",
        )
    }

    pub(crate) fn not_in_use() -> Self {
        Self::new(
            TargetState::Unused,
            "Target.NotInUse",
            "Target group is not configured to receive traffic from the load balancer",
        )
    }

    pub(crate) fn not_registered() -> Self {
        Self::new(
            TargetState::Unused,
            "Target.NotRegistered",
            "Target is not registered to the target group",
        )
    }
}

/// What the load balancer tells the scheduler about the targets it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetMessage {
    /// The state, reason or description of a target changed.
    Health(TargetHealth),
    /// A deregistered target left its group: the deregistration delay is over, and what was still in flight has been cut.
    ///
    /// A target without connections leaves as late: ECS waits for the state `unused`, and that comes only after the delay
    /// ("the status of the target is displayed as `draining` until the deregistration delay timeout expires", Application Load
    /// Balancers user guide, Deregistration delay).
    Drained { group: String, target: SocketAddr },
}

/// One target's new condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// The target group's ARN.
    pub group: String,
    pub target: SocketAddr,
    pub condition: Condition,
}
