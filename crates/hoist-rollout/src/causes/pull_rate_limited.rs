//! The registry limits how often images may be pulled.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "pull-rate-limited",
    sentence: "the registry limits how often images may be pulled",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &[],
        &[
            "toomanyrequests",
            "You have reached your pull rate limit",
            "429 Too Many Requests",
            // Docker Hub, where ECS cut the message off before the code.
            "unexpected status code https://registry-1.docker.io",
        ],
    )?;
    Finding::new(
        "the registry refuses further pulls for a while (its rate limit)",
        "copy the base image to ECR (a pull-through cache rule does it), or sign in to the registry with repositoryCredentials",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn docker_hub() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: inspect image has been retried 5 time(s): httpReaderSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/nginx/manifests/sha256:aa: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit").diagnose().id, "pull-rate-limited");
    }

    #[test]
    fn docker_hub_in_a_message_that_was_cut_off() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: inspect image has been retried 5 time(s): httpReaderSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/amazon/aws-for-fluent-bit/manifests/sha256:330a24bcd4e0058d70e70a0bb1ff805065161ffe3aa96296f09b555...").diagnose().id, "pull-rate-limited");
    }
}
