//! The listener rules do not fit a deployment that shifts traffic.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "rules-do-not-fit",
    sentence: "the listener rules do not fit the deployment",
    finds,
};

/// What ECS says: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html>.
fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let said = facts.said(&["invalid networking configuration"])?;
    let why = said
        .split_once("networking configuration")
        .map(|(_, why)| {
            why.trim_start_matches(['.', ':', ' '])
                .trim_end_matches('.')
        })
        .filter(|why| !why.is_empty());
    Finding::new(
        match why {
            Some(why) => format!("ECS cannot shift traffic with these listener rules: {why}"),
            None => "ECS cannot shift traffic with these listener rules".to_owned(),
        },
        "the rules of `advancedConfiguration` must exist and forward to `targetGroupArn` and `alternateTargetGroupArn` alone, one of them with all the weight, and the infrastructure role must be trusted by ecs.amazonaws.com",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event_that_says_what_does_not_fit() {
        let found = Case::new()
            .event("(service web) (deployment ecs-svc/2) deployment failed: Service deployment rolled back because of invalid networking configuration. One or more rules not found")
            .diagnose();
        assert_eq!(found.id, "rules-do-not-fit");
        assert!(found.cause.ends_with(": One or more rules not found"));
    }
}
