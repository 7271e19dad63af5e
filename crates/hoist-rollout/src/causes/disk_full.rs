//! The task has no space left on its disk.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "disk-full",
    sentence: "the task has no space left on its disk",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said(&["no space left on device"])
        .or_else(|| facts.printed(&["no space left on device", "ENOSPC"]))?;
    Finding::new(
        "the task's disk is full: the image and what the containers write do not fit into its ephemeral storage",
        "raise ephemeralStorage.sizeInGiB in the task definition (21 to 200; 20 without asking), or make the image smaller",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn while_pulling() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: failed to register layer: write /opt/model.bin: no space left on device").diagnose().id, "disk-full");
    }

    #[test]
    fn while_running() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["Error: ENOSPC: no space left on device, write"])
                .diagnose()
                .id,
            "disk-full"
        );
    }
}
