//! Tasks of the revision before are protected from being stopped.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "tasks-protected",
    sentence: "tasks of the revision before are protected from being stopped",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said(&["protected tasks"])
        .or_else(|| facts.said(&["DEPLOYMENT_BLOCKED"]))?;
    Finding::new(
        "tasks of the revision before have scale-in protection, and ECS may not stop them",
        "wait until they have done their work or their protection ends (two hours by default), or end it: `aws ecs update-task-protection --no-protection-enabled`",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) was unable to reach steady state because (task set ecs-svc/1) was unable to scale in. Reason: The number of protected tasks are more than the desired count of tasks.").diagnose().id, "tasks-protected");
    }
}
