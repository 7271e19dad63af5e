//! The service-linked role of ECS is missing.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "service-linked-role-missing",
    sentence: "the service-linked role of ECS is missing",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["service linked role"])?;
    Finding::new(
        "the service-linked role of ECS is missing in this account",
        "create it once: `aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com`",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) failed to launch a task with (error Unable to assume the service linked role. Please verify that the ECS service linked role exists.).").diagnose().id, "service-linked-role-missing");
    }
}
