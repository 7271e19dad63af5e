//! The execution role may not read a secret.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-access-denied",
    sentence: "the execution role may not read a secret",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .said_with(
            &["ResourceInitializationError", "not authorized to perform"],
            &["secretsmanager:", "ssm:", "kms:"],
        )
        .or_else(|| {
            facts.said_with(
                &["ResourceInitializationError", "AccessDenied"],
                &["from asm", "from ssm"],
            )
        })?;
    Finding::new(
        "the execution role may not read a secret or parameter of the task definition",
        "allow secretsmanager:GetSecretValue or ssm:GetParameters (and kms:Decrypt for a key of your own) on it to the execution role, not to the task role",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn secrets_manager() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-central-1:123456789012:secret:db from secrets manager: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/0af1 is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-central-1:123456789012:secret:db").diagnose().id, "secret-access-denied");
    }

    #[test]
    fn parameter_store() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/0af1 is not authorized to perform: ssm:GetParameters on resource: arn:aws:ssm:eu-central-1:123456789012:parameter/db").diagnose().id, "secret-access-denied");
    }
}
