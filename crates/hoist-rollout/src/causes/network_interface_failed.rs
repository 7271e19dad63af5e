//! The network interface of the task could not be made.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "network-interface-failed",
    sentence: "the network interface of the task could not be made",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "network interface provisioning",
            "Create Network Interface",
            "failed to configure ENI",
            "network interface limit",
            "Timeout waiting for EC2",
            "network interface could not",
        ],
    )?;
    Finding::new(
        "the network interface of the task could not be made or attached",
        "check that subnets and security groups of the service exist, and the quota of network interfaces; a passing fault of EC2 goes away with another deploy",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_timeout() {
        assert_eq!(
            Case::new()
                .not_started("Timeout waiting for network interface provisioning to complete.")
                .diagnose()
                .id,
            "network-interface-failed"
        );
    }
}
