//! The task cannot reach CloudWatch Logs.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "log-no-route",
    sentence: "the task cannot reach CloudWatch Logs",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said_with(
            &["logger args"],
            &["connection issue", "i/o timeout", "signal: killed"],
        )
        .or_else(|| {
            facts.said_with(
                &["log stream"],
                &["i/o timeout", "context deadline exceeded"],
            )
        })?;
    Finding::new(
        "the task cannot reach CloudWatch Logs from its subnet",
        "give the task a way out: a public address, a NAT gateway, or a VPC endpoint for logs whose security group lets the task in on port 443",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn the_words_of_today() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon CloudWatch log group defined in the task definition. There is a connection issue between the task and Amazon CloudWatch. Check your network configuration. : signal: killed").diagnose().id, "log-no-route");
    }

    #[test]
    fn a_timeout() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: create stream has been retried 3 times: failed to create Cloudwatch log stream: RequestError: send request failed caused by: Post \"https://logs.eu-central-1.amazonaws.com/\": dial tcp 1.2.3.4:443: i/o timeout").diagnose().id, "log-no-route");
    }
}
