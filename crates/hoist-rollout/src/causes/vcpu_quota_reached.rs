//! The account may not run more Fargate vCPUs.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "vcpu-quota-reached",
    sentence: "the account may not run more Fargate vCPUs",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["limit on the number of vCPU"])?;
    Finding::new(
        "the account's quota of Fargate vCPUs is reached",
        "raise `Fargate On-Demand vCPU resource count` in Service Quotas, or run fewer or smaller tasks",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_an_event() {
        assert_eq!(Case::new().event("(service web) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently.").diagnose().id, "vcpu-quota-reached");
    }
}
