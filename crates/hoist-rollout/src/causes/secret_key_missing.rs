//! A secret does not hold the JSON key that the task definition names.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-key-missing",
    sentence: "a secret does not hold the JSON key that the task definition names",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said(&["did not contain json key"])?;
    Finding::new(
        "a secret does not hold the JSON key that the task definition names",
        "check the part after the last colons in valueFrom (secret-arn:json-key:version-stage:version-id) against the secret",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_json_key() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not contain json key DB_PASSWORD").diagnose().id, "secret-key-missing");
    }
}
