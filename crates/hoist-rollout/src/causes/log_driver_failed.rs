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
    fn a_socket_that_is_missing() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to initialize logging driver: dial unix /var/run/fluent.sock: connect: no such file or directory").diagnose().id, "log-driver-failed");
    }
}
