//! AWS stopped the tasks for reasons of its own.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "infrastructure-failed",
    sentence: "AWS stopped the tasks for reasons of its own",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .stop_code("InfrastructureHealth")
        .or_else(|| facts.stop_code("TerminationNotice"))
        .map(|_| ())
        .or_else(|| facts.said(&["underlying infrastructure"]).map(|_| ()))?;
    Finding::new(
        "AWS stopped the tasks because of its own machines or their maintenance",
        "deploy again; it says nothing about the new revision",
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
                    "InfrastructureHealth",
                    "Task stopped because of an issue with the underlying infrastructure",
                    None,
                    ""
                )
                .diagnose()
                .id,
            "infrastructure-failed"
        );
    }
}
