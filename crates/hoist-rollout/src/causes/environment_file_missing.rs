//! An environment file could not be read from S3.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "environment-file-missing",
    sentence: "an environment file could not be read from S3",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["ResourceInitializationError"],
        &[
            "env file",
            "environment file",
            "environment variable files",
            "envfile",
        ],
    )?;
    Finding::new(
        "an environment file of the task definition could not be read from S3",
        "check the ARN in environmentFiles, that it ends in .env, and s3:GetObject and s3:GetBucketLocation of the execution role",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_download() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to download env files: file download command: non empty error stream: RequestCanceled: request context canceled").diagnose().id, "environment-file-missing");
    }
}
