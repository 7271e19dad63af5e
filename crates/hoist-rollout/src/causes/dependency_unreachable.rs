//! The program cannot reach something that it needs.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "dependency-unreachable",
    sentence: "the program cannot reach something that it needs",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.exited(|code| code != 0)?;
    let line = facts.printed(&[
        "connection refused",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "could not connect to server",
        "could not translate host name",
        "getaddrinfo ENOTFOUND",
        "ENOTFOUND",
        "Name or service not known",
        "no such host",
        "Temporary failure in name resolution",
        "password authentication failed",
        "Access denied for user",
        "i/o timeout",
        "Connection timed out",
    ])?;
    Finding::new(
        format!(
            "the program ended because it cannot reach something that it needs: {}",
            line.trim()
        ),
        "check the address and the keys it is given, and that the other side's security group lets the task's in; better, let the program retry instead of ending",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_database() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["connect: dial tcp 10.0.3.4:5432: connection refused"])
                .diagnose()
                .id,
            "dependency-unreachable"
        );
    }

    #[test]
    fn a_name() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["Error: getaddrinfo ENOTFOUND db.internal"])
                .diagnose()
                .id,
            "dependency-unreachable"
        );
    }
}
