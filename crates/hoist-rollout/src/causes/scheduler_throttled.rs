//! ECS itself is throttled.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "scheduler-throttled",
    sentence: "ECS itself is throttled",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["operations are being throttled"])?;
    Finding::new(
        "the calls that ECS makes for the service (to load balancers, Cloud Map or EC2) are throttled, and it waits",
        "deploy fewer services at a time (`release: { parallel: ... }`), and look who else calls these APIs in the account (CloudTrail: ThrottlingException, RequestLimitExceeded)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(
            Case::new()
                .event("(service web) operations are being throttled. Will try again later.")
                .diagnose()
                .id,
            "scheduler-throttled"
        );
    }
}
