//! The user of the container does not exist in the image.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "user-missing",
    sentence: "the user of the container does not exist in the image",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["CannotStartContainer"],
        &["unable to find user", "/etc/passwd", "unable to find group"],
    )?;
    Finding::new(
        "the user that the container is to run as does not exist in the image, or the image has no /etc/passwd to look it up in",
        "add the user in the Dockerfile (`RUN adduser ...`), or name it by number (`USER 10001`, `\"user\": \"10001\"`), which needs no entry",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn no_entry() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: Error response from daemon: OCI runtime create failed: unable to find user app: no matching entries in passwd file").diagnose().id, "user-missing");
    }

    #[test]
    fn no_file() {
        assert_eq!(Case::new().not_started("CannotStartContainerError: ResourceInitializationError: unable to create new container: mount callback failed on /tmp/containerd-mount916692511: open /tmp/containerd-mount916692511/etc/passwd: no such file or directory").diagnose().id, "user-missing");
    }
}
