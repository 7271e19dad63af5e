//! A parameter of the parameter store does not exist.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-missing-ssm",
    sentence: "a parameter of the parameter store does not exist",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["from ssm"],
        &[
            "invalid parameters",
            "ParameterNotFound",
            "invalid ssm parameters",
        ],
    )?;
    Finding::new(
        "a parameter of the task definition does not exist in the parameter store in this region",
        "create it with `aws ssm put-parameter --type SecureString`, or correct its name in secrets[].valueFrom",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn invalid_parameters() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: /shop/db-password").diagnose().id, "secret-missing-ssm");
    }
}
