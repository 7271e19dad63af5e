//! The load balancer calls the tasks unhealthy.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "target-unhealthy",
    sentence: "the load balancer calls the tasks unhealthy",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let told = facts
        .said(&["failed ELB health checks"])
        .or_else(|| facts.said(&["is unhealthy in"]));
    if told.is_none() {
        facts
            .targets
            .iter()
            .find(|target| target.state.starts_with("unhealthy"))?;
    }
    Finding::new(
        "the load balancer calls the tasks unhealthy",
        "check the health check's path, port and matcher against the program, the security groups, and healthCheckGracePeriodSeconds for a slow start",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn stopped() {
        assert_eq!(
            Case::new()
                .stopped(
                    "ServiceSchedulerInitiated",
                    "Task failed ELB health checks in (target-group arn:tg)",
                    Some(143),
                    ""
                )
                .diagnose()
                .id,
            "target-unhealthy"
        );
    }
}
