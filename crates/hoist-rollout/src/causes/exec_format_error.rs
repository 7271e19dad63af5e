//! The program is for another processor architecture.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "exec-format-error",
    sentence: "the program is for another processor architecture",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said(&["exec format error"])
        .or_else(|| facts.printed(&["exec format error"]))?;
    let image = facts
        .serving_container()
        .map(|container| format!(" {}", container.image))
        .unwrap_or_default();
    Finding::new(
        format!(
            "the program in the image{image} is for another processor architecture than the task's"
        ),
        "build with `--platform linux/amd64`, or set runtimePlatform.cpuArchitecture to ARM64 if that is what was built; a script needs its `#!` line",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn at_start() {
        assert_eq!(
            Case::new()
                .stopped(
                    "EssentialContainerExited",
                    "Essential container in task exited",
                    Some(255),
                    "CannotStartContainerError: exec /app: exec format error"
                )
                .diagnose()
                .id,
            "exec-format-error"
        );
    }

    #[test]
    fn in_the_log() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["exec /usr/local/bin/docker-entrypoint.sh: exec format error"])
                .diagnose()
                .id,
            "exec-format-error"
        );
    }

    #[test]
    fn as_a_reason() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: Error response from daemon: failed to create task for container: OCI runtime create failed: exec: \"/app\": exec format error").diagnose().id, "exec-format-error");
    }
}
