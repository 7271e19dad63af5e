//! Fargate Spot took the tasks back.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "spot-interruption",
    sentence: "Fargate Spot took the tasks back",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .stop_code("SpotInterruption")
        .map(|_| ())
        .or_else(|| facts.said(&["Your Spot Task was interrupted"]).map(|_| ()))?;
    Finding::new(
        "Fargate Spot took the capacity of the tasks back",
        "give the capacity provider strategy a base of FARGATE, or deploy again; it says nothing about the new revision",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_stop_code() {
        assert_eq!(
            Case::new()
                .stopped(
                    "SpotInterruption",
                    "Your Spot Task was interrupted.",
                    Some(143),
                    ""
                )
                .diagnose()
                .id,
            "spot-interruption"
        );
    }
}
