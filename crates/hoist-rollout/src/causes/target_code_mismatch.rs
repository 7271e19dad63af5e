//! The health check path answers with another status code.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "target-code-mismatch",
    sentence: "the health check path answers with another status code",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let seen = facts
        .target("Target.ResponseCodeMismatch")
        .map(|target| target.description.clone());
    let told = facts
        .said(&["Health checks failed with these codes"])
        .map(codes);
    let codes = seen.or(told)?;
    let path = facts
        .serving_container()
        .and_then(|container| container.health_path.as_deref())
        .map(|path| format!(" of {path}"))
        .unwrap_or_default();
    Finding::new(
        format!(
            "the load balancer's health check{path} gets another answer than it expects: {codes}"
        ),
        "make the path answer 200 without a sign-in or redirect, or set the health check's path and matcher to what the program answers",
    )
}

/// The part of an event from the description on.
fn codes(event: &str) -> String {
    let from = event.find("Health checks failed").unwrap_or_default();
    event[from..].trim_end_matches(['.', ')']).to_owned()
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn seen() {
        assert_eq!(
            Case::new()
                .target(
                    "unhealthy",
                    "Target.ResponseCodeMismatch",
                    "Health checks failed with these codes: [404]"
                )
                .diagnose()
                .id,
            "target-code-mismatch"
        );
    }

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) (task 0af1) (port 8080) is unhealthy in (target-group arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/1) due to (reason Health checks failed with these codes: [503]).").diagnose().id, "target-code-mismatch");
    }
}
