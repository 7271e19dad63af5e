//! The circuit breaker had nothing to go back to.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "no-earlier-revision",
    sentence: "the circuit breaker had nothing to go back to",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said(&["deployment failed: tasks failed to start"])
        .or_else(|| facts.said(&["circuit breaker: tasks failed to start"]))
        .or_else(|| facts.said(&["no rollback candidate was found"]))?;
    if facts.has_previous() || facts.said(&["rolling back"]).is_some() {
        return None;
    }
    Finding::new(
        "the tasks failed to start, and there is no earlier completed deployment that ECS could go back to",
        "mend the revision and deploy again; until then the service launches nothing",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::{Case, time};
    use crate::observation::{DeploymentSeen, Observation};

    #[test]
    fn in_an_event() {
        assert_eq!(
            Case::new()
                .event(
                    "(service web) (deployment ecs-svc/1) deployment failed: tasks failed to start."
                )
                .diagnose()
                .id,
            "no-earlier-revision"
        );
    }

    /// `statusReason` of the service deployment, from public logs.
    #[test]
    fn in_what_ecs_says_of_the_deployment() {
        let mut case = Case::new();
        case.0.intent.service_deployment = Some("arn:ours".into());
        let case = case.see(Observation::Deployment(DeploymentSeen {
            at: time(90),
            arn: "arn:ours".into(),
            status: "ROLLBACK_FAILED".into(),
            reason: "No rollback candidate was found to run the rollback.".into(),
            ..DeploymentSeen::default()
        }));
        assert_eq!(case.diagnose().id, "no-earlier-revision");
    }
}
