//! A lifecycle hook failed, or somebody had the deployment rolled back while it waited.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "hook-failed",
    sentence: "a lifecycle hook failed, or its pause was answered with a rollback",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["lifecycle hook failed"])?;
    Finding::new(
        "a lifecycle hook of the deployment failed, or its pause was answered with a rollback",
        "look at what the hook's function printed and returned; of a PAUSE hook, ask who ran `hoist continue --roll-back` (CloudTrail: ContinueServiceDeployment)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event_beside_the_way_back() {
        assert_eq!(
            Case::new()
                .event("(service web) rolling back to deployment ecs-svc/1.")
                .event(
                    "(service web) (deployment ecs-svc/2) deployment failed: lifecycle hook failed."
                )
                .diagnose()
                .id,
            "hook-failed"
        );
    }
}
