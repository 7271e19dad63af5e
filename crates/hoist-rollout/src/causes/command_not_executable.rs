//! The command of the container may not be executed.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "command-not-executable",
    sentence: "the command of the container may not be executed",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let told = facts.said(&["CannotStartContainer", "permission denied"]);
    let code = facts.exited(|code| code == 126);
    if told.is_none() && code.is_none() {
        return None;
    }
    Finding::new(
        "the command of the container may not be executed",
        "set its mode in the image (`COPY --chmod=755`, or `chmod +x` before the commit), and check that the container's user may read it",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_126() {
        assert_eq!(
            Case::new()
                .exited(126)
                .printed(&["/bin/sh: 1: ./start.sh: Permission denied"])
                .diagnose()
                .id,
            "command-not-executable"
        );
    }

    #[test]
    fn the_runtime_says_so() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: Error response from daemon: OCI runtime create failed: exec: \"/start.sh\": permission denied: unknown").diagnose().id, "command-not-executable");
    }
}
