//! Why deployments are given up, in the words of ECS.

use std::borrow::Cow;

/// `statusReason` of what failed and cannot be rolled back, from public logs
/// (the developer guide shows it among the action logs, too).
pub(crate) const NO_CANDIDATE: &str = "No rollback candidate was found to run the rollback.";

/// Why a running deployment is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    Breaker,
    Request,
    /// StopServiceDeployment with `ABORT`: nothing is rolled back.
    Abort,
    Alarm,
    /// A lifecycle hook failed or timed out: what AWS says of it after `because `.
    Hook(String),
    /// A listener rule could not be changed: what the load balancer said.
    Traffic(String),
    /// A stage, or the whole deployment, took too long.
    Timeout,
}

impl GivenUp {
    /// `rolloutStateReason`. Those that no public log shows are worded like the others.
    pub fn rollout_reason(&self, id: &str) -> String {
        match self {
            GivenUp::Breaker => "ECS deployment circuit breaker: tasks failed to start.".to_owned(),
            GivenUp::Request | GivenUp::Abort => {
                format!("ECS deployment {id} stopped by a user.")
            }
            GivenUp::Alarm => "ECS deployment failed: alarm detected.".to_owned(),
            GivenUp::Hook(_) => format!("ECS deployment {id} failed: lifecycle hook failed."),
            GivenUp::Traffic(_) => format!("ECS deployment {id} failed: traffic shift failed."),
            GivenUp::Timeout => format!("ECS deployment {id} failed: timed out."),
        }
    }

    /// What the service's event says after `deployment failed: `. A public log of a failed hook has the whole sentence of
    /// `statusReason` there.
    pub fn event(&self) -> Option<String> {
        match self {
            GivenUp::Breaker => Some("tasks failed to start.".to_owned()),
            GivenUp::Alarm => Some("alarm detected.".to_owned()),
            GivenUp::Hook(_) | GivenUp::Traffic(_) | GivenUp::Timeout => Some(self.rolled_back()),
            GivenUp::Request | GivenUp::Abort => None,
        }
    }

    /// `statusReason` and `rollback.reason` of what is rolled back. Of the breaker, alarms and hooks as public logs have it; of rules
    /// as <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html>; the others like them.
    pub fn rolled_back(&self) -> String {
        format!("Service deployment rolled back because {}", self.why())
    }

    /// What follows `because `.
    pub fn why(&self) -> Cow<'static, str> {
        match self {
            GivenUp::Breaker => "the circuit breaker threshold was exceeded.".into(),
            GivenUp::Request | GivenUp::Abort => "of a request to stop it.".into(),
            GivenUp::Alarm => "of one or more active alarms.".into(),
            GivenUp::Hook(what) => what.clone().into(),
            GivenUp::Traffic(said) => format!("of invalid networking configuration. {said}").into(),
            GivenUp::Timeout => "it took too long.".into(),
        }
    }
}
