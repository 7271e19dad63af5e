//! The circuit breaker acted.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "breaker-acted",
    sentence: "the circuit breaker acted",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "circuit breaker",
            "deployment failed: tasks failed to start",
            "rolling back to deployment",
        ],
    )?;
    Finding::new(
        "the tasks of the new revision kept failing, and the circuit breaker of ECS acted; the reason of the tasks is no longer to be seen",
        "stopped tasks stay visible for an hour: deploy again and look then, or look at the log group",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(
            Case::new()
                .previous()
                .event(
                    "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start."
                )
                .diagnose()
                .id,
            "breaker-acted"
        );
    }
}
