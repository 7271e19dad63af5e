//! The log driver could not start.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "log-driver-failed",
    sentence: "the log driver could not start",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["ResourceInitializationError"],
        &[
            "logging driver",
            "logger args",
            "log stream",
            "fluentd",
            "firelens",
        ],
    )?;
    Finding::new(
        "the log driver of a container could not start",
        "check logConfiguration: the region and group exist, and the subnet has a way to CloudWatch Logs (NAT, or a VPC endpoint for logs)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_timeout() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: create stream has been retried 3 times: failed to create Cloudwatch log stream: RequestError: send request failed caused by: Post \"https://logs.eu-central-1.amazonaws.com/\": dial tcp 1.2.3.4:443: i/o timeout").diagnose().id, "log-driver-failed");
    }
}
