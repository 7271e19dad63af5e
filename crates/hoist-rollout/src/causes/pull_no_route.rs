//! The task cannot reach the registry.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "pull-no-route",
    sentence: "the task cannot reach the registry",
    finds,
};

/// What Go's network errors say when packets get lost.
const NO_ROUTE: &[&str] = &[
    "i/o timeout",
    "context deadline exceeded",
    "request canceled while waiting for connection",
    "connection issue",
    "no route to host",
    "network is unreachable",
    "no such host",
    "Could not reach any registry endpoint",
    "Client.Timeout exceeded",
];

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said_with(&["CannotPullContainer"], NO_ROUTE)
        .or_else(|| facts.said_with(&["from Amazon ECR"], NO_ROUTE))
        .or_else(|| facts.said_with(&["retrieve ecr registry auth"], NO_ROUTE))?;
    Finding::new(
        "the task cannot reach the image registry from its subnet",
        "give the task a way out: assignPublicIp ENABLED in a public subnet, a NAT gateway in a private one, or VPC endpoints for ecr.api, ecr.dkr and S3; and allow port 443 out in the security group",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_timeout() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: inspect image has been retried 5 time(s): failed to resolve ref \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/web@sha256:aa\": failed to do request: Head \"https://123456789012.dkr.ecr.eu-central-1.amazonaws.com/v2/web/manifests/sha256:aa\": dial tcp 52.29.0.1:443: i/o timeout").diagnose().id, "pull-no-route");
    }

    #[test]
    fn the_registry_sign_in() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration. RequestError: send request failed caused by: Post \"https://api.ecr.eu-central-1.amazonaws.com/\": dial tcp 3.65.0.1:443: i/o timeout").diagnose().id, "pull-no-route");
    }

    #[test]
    fn a_connection_that_never_came() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: API error (500): Get https://registry-1.docker.io/v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)").diagnose().id, "pull-no-route");
    }
}
