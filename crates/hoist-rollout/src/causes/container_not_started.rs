//! A container could not be started.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "container-not-started",
    sentence: "a container could not be started",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(&[], &["CannotStartContainer"])?;
    Finding::new(
        "a container could not be started",
        "the message says what the runtime refuses; try the same image and command on this machine (`hoist deploy --local`)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn something_new() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: OCI runtime create failed: container_linux.go:349: starting container process caused \"process_linux.go:449: container init caused \\\"rootfs_linux.go:58").diagnose().id, "container-not-started");
    }
}
