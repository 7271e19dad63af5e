//! The repository of the image does not exist.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "repository-not-found",
    sentence: "the repository of the image does not exist",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["CannotPullContainer"],
        &[
            "The repository with name",
            "RepositoryNotFoundException",
            "name unknown",
            "does not exist or no pull access",
        ],
    )?;
    Finding::new(
        "the repository of the image does not exist in this account and region",
        "create it (`aws ecr create-repository`), or let hoist create it; check account and region in the image's address",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_missing_repository() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref 123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:1: pulling from host 123456789012.dkr.ecr.eu-central-1.amazonaws.com failed with status code [manifests 1]: name unknown: The repository with name 'shop' does not exist in the registry with id '123456789012'").diagnose().id, "repository-not-found");
    }

    #[test]
    fn an_older_agent() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: API error (404): repository serverless-batch not found: does not exist or no pull access").diagnose().id, "repository-not-found");
    }
}
