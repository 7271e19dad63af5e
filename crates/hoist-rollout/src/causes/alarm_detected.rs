//! A CloudWatch alarm stopped the deployment.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "alarm-detected",
    sentence: "a CloudWatch alarm stopped the deployment",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    // The event says the first, the service deployment the second (public logs).
    facts.said_with(&[], &["alarm detected", "one or more active alarms"])?;
    Finding::new(
        "a CloudWatch alarm of the deployment went off",
        "look at the alarm and what it measures; an alarm that is in ALARM before the deployment is ignored",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(
            Case::new()
                .event("(service web) (deployment ecs-svc/2) deployment failed: alarm detected.")
                .diagnose()
                .id,
            "alarm-detected"
        );
    }
}
