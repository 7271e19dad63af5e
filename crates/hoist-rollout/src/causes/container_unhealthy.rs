//! The health check of the container fails.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "container-unhealthy",
    sentence: "the health check of the container fails",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let health = facts.tasks.iter().any(|task| {
        task.stopped_reason
            .contains("failed container health checks")
    });
    if !health && facts.said(&["failed container health checks"]).is_none() {
        return None;
    }
    Finding::new(
        "the container's own health check (healthCheck in the task definition) fails",
        "run its command in the image: curl or wget may be missing; give a slow start a startPeriod; check that it asks 127.0.0.1 and the right port",
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
                    "Task failed container health checks",
                    Some(143),
                    ""
                )
                .diagnose()
                .id,
            "container-unhealthy"
        );
    }

    #[test]
    fn in_an_event() {
        assert_eq!(
            Case::new()
                .event("(service web) (task 0af1) failed container health checks.")
                .diagnose()
                .id,
            "container-unhealthy"
        );
    }
}
