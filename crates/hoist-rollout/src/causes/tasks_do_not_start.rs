//! The service cannot start tasks consistently.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "tasks-do-not-start",
    sentence: "the service cannot start tasks consistently",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["unable to consistently start tasks successfully"])?;
    Finding::new(
        "the service is unable to start tasks consistently, and ECS waits longer and longer between its attempts",
        "look at the stopped tasks and the log group for why they end",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.").diagnose().id, "tasks-do-not-start");
    }
}
