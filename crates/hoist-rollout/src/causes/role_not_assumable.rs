//! ECS may not assume a role of the task definition.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "role-not-assumable",
    sentence: "ECS may not assume a role of the task definition",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["unable to assume the role"])?;
    Finding::new(
        "ECS may not assume the execution or task role of the task definition",
        "the role must exist, and its trust policy must allow sts:AssumeRole to ecs-tasks.amazonaws.com",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::123456789012:role/exec' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.).").diagnose().id, "role-not-assumable");
    }
}
