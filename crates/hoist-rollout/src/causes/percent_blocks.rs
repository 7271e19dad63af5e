//! Minimum and maximum percent leave no room to move.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "percent-blocks",
    sentence: "minimum and maximum percent leave no room to move",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["minimumHealthyPercent or maximumPercent"])?;
    Finding::new(
        "minimumHealthyPercent and maximumPercent leave no room: ECS may neither stop an old task nor start a new one",
        "raise maximumPercent (200) or lower minimumHealthyPercent; the first rounds down and the second up, so one task at 100/150 cannot move",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.").diagnose().id, "percent-blocks");
    }
}
