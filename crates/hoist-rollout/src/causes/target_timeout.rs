//! The health check of the load balancer gets no answer in time.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "target-timeout",
    sentence: "the health check of the load balancer gets no answer in time",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.target("Target.Timeout").map(|_| ()).or_else(|| {
        facts
            .said_with(&["unhealthy in"], &["Request timed out", "timed out"])
            .map(|_| ())
    })?;
    let port = facts
        .serving_container()
        .and_then(|container| container.port)
        .map(|port| format!(" on port {port}"))
        .unwrap_or_default();
    Finding::new(
        format!(
            "the load balancer's health check gets no answer{port}: packets are lost, or the program is too slow"
        ),
        "let the load balancer's security group into the task's on the container port; answer within the health check's timeout; give a slow start a healthCheckGracePeriodSeconds",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn seen() {
        assert_eq!(
            Case::new()
                .target("unhealthy", "Target.Timeout", "Request timed out")
                .diagnose()
                .id,
            "target-timeout"
        );
    }

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) (task 0af1) (port 8080) is unhealthy in (target-group arn:tg) due to (reason Request timed out).").diagnose().id, "target-timeout");
    }
}
