//! ECS cannot place a task.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "not-placed",
    sentence: "ECS cannot place a task",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let event = facts.said(&["was unable to place a task"])?;
    let reason = event
        .split_once("Reason: ")
        .map_or(event, |(_, reason)| reason)
        .trim_end_matches('.');
    Finding::new(
        format!("ECS cannot place a task: {reason}"),
        "the reason is in the words of ECS; `hoist check` looks for the usual ones",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn something_new() {
        assert_eq!(Case::new().event("(service web) was unable to place a task. Reason: No Container Instances were found in your cluster.").diagnose().id, "not-placed");
    }
}
