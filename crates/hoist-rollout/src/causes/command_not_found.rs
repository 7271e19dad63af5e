//! The command of the container does not exist in the image.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "command-not-found",
    sentence: "the command of the container does not exist in the image",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let told = facts
        .said_with(&[], &["executable file not found", "stat /"])
        .filter(|text| text.contains("not found") || text.contains("no such file"));
    let path = facts.said(&["CannotStartContainer", "no such file or directory"]);
    let code = facts
        .exited(|code| code == 127)
        .map(|(_, container)| container.name.as_str());
    if told.is_none() && path.is_none() && code.is_none() {
        return None;
    }
    Finding::new(
        format!(
            "the command of container {} does not exist in the image",
            code.or(facts
                .serving_container()
                .map(|container| container.name.as_str()))
                .unwrap_or("?")
        ),
        "check command and entryPoint of the task definition and CMD and ENTRYPOINT of the Dockerfile; a shell form needs /bin/sh, a dynamic binary its loader (ldd), a script with \\r line ends its interpreter",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_127() {
        assert_eq!(
            Case::new()
                .exited(127)
                .printed(&["/bin/sh: 1: gunicorn: not found"])
                .diagnose()
                .id,
            "command-not-found"
        );
    }

    #[test]
    fn the_runtime_says_so() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"server\": executable file not found in $PATH: unknown").diagnose().id, "command-not-found");
    }

    #[test]
    fn a_path() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"/app/server\": stat /app/server: no such file or directory: unknown").diagnose().id, "command-not-found");
    }
}
