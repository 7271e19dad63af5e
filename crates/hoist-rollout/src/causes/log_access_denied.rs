//! The execution role may not write logs.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "log-access-denied",
    sentence: "the execution role may not write logs",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "logs:CreateLogStream",
            "logs:CreateLogGroup",
            "logs:PutLogEvents",
        ],
    )?;
    Finding::new(
        "the execution role may not write to the log group",
        "allow logs:CreateLogStream and logs:PutLogEvents (with awslogs-create-group also logs:CreateLogGroup) to the execution role",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn create_stream() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/0af1 is not authorized to perform: logs:CreateLogStream on resource: arn:aws:logs:eu-central-1:123456789012:log-group:/ecs/web:log-stream:web/web/0af1").diagnose().id, "log-access-denied");
    }
}
