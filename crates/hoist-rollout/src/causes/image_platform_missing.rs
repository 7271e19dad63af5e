//! The image does not exist for the platform of the task.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "image-platform-missing",
    sentence: "the image does not exist for the platform of the task",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "does not contain descriptor matching platform",
            "no matching manifest for",
            "image operating system",
        ],
    )?;
    Finding::new(
        "the image has no variant for the architecture that the task definition asks for",
        "build with `--platform linux/amd64` (or arm64), or set runtimePlatform.cpuArchitecture in the task definition to what the image is",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn no_descriptor() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: pull image manifest has been retried 5 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'").diagnose().id, "image-platform-missing");
    }
}
