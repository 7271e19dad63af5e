//! A secret of Secrets Manager does not exist.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-missing-asm",
    sentence: "a secret of Secrets Manager does not exist",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["from asm"],
        &[
            "ResourceNotFoundException",
            "can't find the specified secret",
            "marked for deletion",
            "marked deleted",
        ],
    )?;
    Finding::new(
        "a secret of the task definition does not exist in Secrets Manager in this region",
        "create it, or correct valueFrom: the full ARN with its six random characters, and the region of the service",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn not_found() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-central-1:123456789012:secret:db from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret. status code: 400, request id: x").diagnose().id, "secret-missing-asm");
    }
}
