//! Fargate has no capacity.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "no-capacity",
    sentence: "Fargate has no capacity",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "Capacity is unavailable",
            "capacity provider does not have",
            "not enough capacity",
            "RESOURCE:FARGATE",
        ],
    )?;
    Finding::new(
        "Fargate has no capacity for the task in these zones at the moment",
        "add subnets in other zones, mix FARGATE with FARGATE_SPOT in the capacity provider strategy, or deploy again later",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.").diagnose().id, "no-capacity");
    }
}
