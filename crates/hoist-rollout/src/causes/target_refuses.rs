//! Nothing listens on the port that the load balancer checks.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "target-refuses",
    sentence: "nothing listens on the port that the load balancer checks",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let refused = facts.target("Target.FailedHealthChecks").is_some();
    let told = facts
        .said(&["due to (reason Health checks failed)"])
        .is_some();
    if !refused && !told {
        return None;
    }
    let port = facts
        .serving_container()
        .and_then(|container| container.port)
        .map_or_else(
            || "the container port".to_owned(),
            |port| format!("port {port}"),
        );
    Finding::new(
        format!(
            "the load balancer's health check is refused: nothing listens on {port} at the task's address"
        ),
        "listen on 0.0.0.0 and not on 127.0.0.1, on the same port as containerPort and the target group",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn seen() {
        assert_eq!(
            Case::new()
                .target(
                    "unhealthy",
                    "Target.FailedHealthChecks",
                    "Health checks failed"
                )
                .diagnose()
                .id,
            "target-refuses"
        );
    }

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) (task 0af1) (port 8080) is unhealthy in (target-group arn:tg) due to (reason Health checks failed).").diagnose().id, "target-refuses");
    }
}
