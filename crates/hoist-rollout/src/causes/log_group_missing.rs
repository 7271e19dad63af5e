//! The log group does not exist.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "log-group-missing",
    sentence: "the log group does not exist",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said_with(
            &["logging driver"],
            &["log group does not exist", "ResourceNotFoundException"],
        )
        .or_else(|| facts.said(&["specified log group does not exist"]))?;
    Finding::new(
        "the log group that the containers log to does not exist",
        "create it (`aws logs create-log-group`), or set awslogs-create-group to true and allow logs:CreateLogGroup to the execution role",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn no_group() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: operation error CloudWatch Logs: CreateLogStream, https response error StatusCode: 400, RequestID: x, ResourceNotFoundException: The specified log group does not exist. : exit status 1").diagnose().id, "log-group-missing");
    }

    #[test]
    fn the_driver() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to initialize logging driver: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.").diagnose().id, "log-group-missing");
    }
}
