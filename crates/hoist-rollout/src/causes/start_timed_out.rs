//! A container did not start in time.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "start-timed-out",
    sentence: "a container did not start in time",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "ContainerRuntimeTimeoutError",
            "DockerTimeoutError",
            "Could not transition to",
        ],
    )?;
    Finding::new(
        "a container could not be started within its time",
        "check startTimeout and dependsOn of the containers; otherwise deploy again: the machine was slow",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_timeout() {
        assert_eq!(Case::new().not_started("ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 3m0s").diagnose().id, "start-timed-out");
    }
}
