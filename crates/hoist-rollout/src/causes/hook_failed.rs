//! A lifecycle hook failed, or somebody had the deployment rolled back while it waited.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "hook-failed",
    sentence: "a lifecycle hook failed, or its pause was answered with a rollback",
    finds,
};

/// What ECS says: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html>.
const SAID: &[&str] = &[
    "lifecycle hook(s) failed",
    "lifecycle hook failed",
    "pause hook",
];

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let said = facts.said_with(&[], SAID)?;
    let holds = |words: &str| crate::diagnosis::holds_all(said, &[words]);
    if holds("pause hook timed out") {
        return Finding::new(
            "a pause of the deployment ran out before anybody answered it",
            "answer in time with `hoist continue`, or raise `timeoutInMinutes` of the hook (at most 20160); \"action\": \"CONTINUE\" lets it go on by itself",
        );
    }
    if holds("is not authorized to perform") || holds("unable to assume role") {
        return Finding::new(
            "ECS may not do what a stage of the deployment asks for: call a hook's function, or change the load balancer",
            "the hook's `roleArn` needs lambda:InvokeFunction, that of `advancedConfiguration` the policy AmazonECSInfrastructureRolePolicyForLoadBalancers; both trust ecs.amazonaws.com",
        );
    }
    Finding::new(
        "a lifecycle hook of the deployment failed, or its pause was answered with a rollback",
        "look at what the hook's function printed and returned; of a PAUSE hook, ask who ran `hoist continue --roll-back` (CloudTrail: ContinueServiceDeployment)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    fn fix(message: &str) -> String {
        let found = Case::new()
            .event("(service web) rolling back to deployment ecs-svc/1.")
            .event(message)
            .diagnose();
        assert_eq!(found.id, "hook-failed");
        found.fix
    }

    #[test]
    fn in_an_event_beside_the_way_back() {
        assert!(fix("(service web) (deployment ecs-svc/2) deployment failed: Service deployment rolled back because PRE_SCALE_UP lifecycle hook(s) failed. ECS was unable to parse the response from arn:aws:lambda:us-east-1:123456789012:function:check due to: HookStatus must not be null.").contains("printed and returned"));
    }

    #[test]
    fn in_a_pause_that_ran_out() {
        assert!(fix("(service web) (deployment ecs-svc/2) deployment failed: Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT pause hook timed out.").contains("hoist continue"));
    }

    #[test]
    fn in_a_missing_permission() {
        assert!(fix("(service web) (deployment ecs-svc/2) deployment failed: Service deployment rolled back because TEST_TRAFFIC_SHIFT lifecycle hook(s) failed. User: arn:aws:sts::123456789012:assumed-role/myELBRole/ECSNetworkingWithELB is not authorized to perform: elasticloadbalancing:ModifyListener on resource: arn:aws:elasticloadbalancing:us-west-2:123456789012:listener/app/my-alb/abc123/def456 because no identity-based policy allows the elasticloadbalancing:ModifyListener action").contains("InfrastructureRolePolicy"));
    }
}
