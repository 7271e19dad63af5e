//! What an error of AWS means for a run.

use hoist_aws::AwsError;

use crate::failure::{Failure, Kind};

/// The failure that `error` makes of doing `what`.
pub fn refused(what: impl Into<String>, error: &AwsError) -> Failure {
    let kind = match error {
        AwsError::Credentials { .. } => Kind::Credentials,
        error if error.is_access_denied() || error.is_expired_credentials() => Kind::Credentials,
        AwsError::Service { .. } => Kind::Rejected,
        _ => Kind::Unexpected,
    };
    let failure = Failure::because(kind, what, error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whether AWS answered with this error code.
pub fn has_code(error: &AwsError, code: &str) -> bool {
    error.code() == Some(code)
}
