//! The region of the log configuration is none.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "log-region-wrong",
    sentence: "the region of the log configuration is none",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(&["log stream"], &["MissingEndpoint", "no such host"])?;
    Finding::new(
        "the log driver knows no endpoint for the region that the log configuration names",
        "set awslogs-region to the name of a region, such as `eu-central-1`; mostly the one of the service",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn an_endpoint_that_is_missing() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: MissingEndpoint: 'Endpoint' configuration is required for this service : exit status 1").diagnose().id, "log-region-wrong");
    }
}
