//! A volume could not be mounted.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "volume-failed",
    sentence: "a volume could not be mounted",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["ResourceInitializationError"],
        &["EFS utils", "volume", "mount.nfs", "failed to invoke EFS"],
    )?;
    Finding::new(
        "a volume of the task could not be mounted",
        "for EFS: a mount target in the subnet's zone, port 2049 open between the security groups, the access point exists, and elasticfilesystem:ClientMount for the task role with IAM",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn efs() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve \"fs-1.efs.eu-central-1.amazonaws.com\" - check that your file system ID is correct").diagnose().id, "volume-failed");
    }
}
