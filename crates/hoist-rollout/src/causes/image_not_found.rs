//! The image does not exist in its repository.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "image-not-found",
    sentence: "the image does not exist in its repository",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["CannotPullContainer"],
        &[
            ": not found",
            "manifest unknown",
            "manifest for",
            "no such manifest",
            "ImageNotFoundException",
        ],
    )?;
    Finding::new(
        "the image that the task definition names does not exist in its repository",
        "check the tag or digest; a lifecycle policy may have deleted it; `hoist deploy` pushes before it registers",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_missing_tag() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref 123456789012.dkr.ecr.eu-central-1.amazonaws.com/web:nope: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/web:nope: not found").diagnose().id, "image-not-found");
    }

    #[test]
    fn an_unknown_manifest() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: Error response from daemon: manifest for 123456789012.dkr.ecr.eu-central-1.amazonaws.com/web:nope not found: manifest unknown: Requested image not found").diagnose().id, "image-not-found");
    }

    #[test]
    fn told_by_an_event() {
        assert_eq!(Case::new().event("(service web) was unable to place a task. Reason: CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref 123456789012.dkr.ecr.eu-central-1.amazonaws.com/web@sha256:00: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/web@sha256:00: not found.").diagnose().id, "image-not-found");
    }
}
