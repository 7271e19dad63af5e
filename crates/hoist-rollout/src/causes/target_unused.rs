//! The load balancer does not send to the target group.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "target-unused",
    sentence: "the load balancer does not send to the target group",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.target("Target.NotInUse").or_else(|| {
        facts
            .targets
            .iter()
            .copied()
            .find(|target| target.state == "unused")
    })?;
    Finding::new(
        "the target group is not in use: no listener sends to it, or the targets' zone is not enabled in the load balancer",
        "give the load balancer a listener that forwards to it, and enable the zones of the service's subnets",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn no_listener() {
        assert_eq!(
            Case::new()
                .target(
                    "unused",
                    "Target.NotInUse",
                    "Target group is not configured to receive traffic from the load balancer"
                )
                .diagnose()
                .id,
            "target-unused"
        );
    }
}
