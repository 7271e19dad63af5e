//! A container could not be made from its definition.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "container-not-created",
    sentence: "a container could not be made from its definition",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "CannotCreateContainerError",
            "CannotCreateVolumeError",
            "CannotInspectContainerError",
        ],
    )?;
    Finding::new(
        "a container could not be made from its definition",
        "the message names the setting that the runtime refuses: mounts, user, working directory or linuxParameters",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_mount() {
        assert_eq!(Case::new().not_started("CannotCreateContainerError: API error (400): invalid mount config for type \"bind\": bind source path does not exist").diagnose().id, "container-not-created");
    }
}
