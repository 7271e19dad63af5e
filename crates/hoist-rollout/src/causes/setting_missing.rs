//! The program misses a setting.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "setting-missing",
    sentence: "the program misses a setting",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.exited(|code| code != 0)?;
    let line = facts.printed(&[
        "environment variable",
        "env var",
        "KeyError: \'",
        "is not set",
        "missing required",
        "must be set",
        "is required",
        "not configured",
    ])?;
    Finding::new(
        format!("the program seems to miss a setting: {}", line.trim()),
        "add it to `environment` or `secrets` of the container in the task definition (or to those of the service in hoist.yaml)",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn in_the_log() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["panic: required environment variable DATABASE_URL is not set"])
                .diagnose()
                .id,
            "setting-missing"
        );
    }
}
