//! The task cannot reach Secrets Manager or the parameter store.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-no-route",
    sentence: "the task cannot reach Secrets Manager or the parameter store",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["ResourceInitializationError", "secret"],
        &[
            "context deadline exceeded",
            "i/o timeout",
            "connection issue",
            "Check your network connection",
            "request canceled while waiting",
        ],
    )?;
    Finding::new(
        "the task cannot reach Secrets Manager or Systems Manager from its subnet",
        "give the task a way out: a public address, a NAT gateway, or VPC endpoints for secretsmanager and ssm",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_timeout() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 5 time(s): failed to fetch secret arn:aws:secretsmanager:eu-central-1:123456789012:secret:db from secrets manager: RequestCanceled: request context canceled caused by: context deadline exceeded").diagnose().id, "secret-no-route");
    }
}
