//! The execution role may not pull the image.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "pull-access-denied",
    sentence: "the execution role may not pull the image",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let forbidden = facts.said(&["CannotPullContainer", "403 Forbidden"]);
    let told = facts.said_with(
        &[],
        &[
            "pull access denied",
            "no basic auth credentials",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer",
            "repository does not exist or may require",
            "denied: User:",
        ],
    );
    told.or(forbidden)?;
    Finding::new(
        "the execution role may not pull the image",
        "give the execution role AmazonECSTaskExecutionRolePolicy (ecr:GetAuthorizationToken, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer); for another account, a repository policy too; in a VPC with endpoints, their policies (S3 holds the layers); for a private registry, repositoryCredentials",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn forbidden() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/web:1\": unexpected status code [manifests 1]: 403 Forbidden").diagnose().id, "pull-access-denied");
    }

    #[test]
    fn no_permission() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/0af1 is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the ecr:GetAuthorizationToken action status code: 400, request id: x").diagnose().id, "pull-access-denied");
    }

    #[test]
    fn denied_by_the_registry() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: Error response from daemon: pull access denied for shop/web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied").diagnose().id, "pull-access-denied");
    }
}
