//! A subnet has no free address.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "subnet-full",
    sentence: "a subnet has no free address",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "InsufficientFreeAddresses",
            "not enough free addresses",
            "has no free addresses",
            "insufficient free addresses",
        ],
    )?;
    Finding::new(
        "a subnet of the service has no free address left for the task",
        "free addresses or add a larger subnet to the service; a rolling deployment needs room for old and new tasks at once",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_a_reason() {
        assert_eq!(Case::new().not_started("Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-1': InsufficientFreeAddressesInSubnet").diagnose().id, "subnet-full");
    }
}
