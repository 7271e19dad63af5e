//! The program ended without an error.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "ended-by-itself",
    sentence: "the program ended without an error",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (_, container) = facts.exited(|code| code == 0)?;
    Finding::new(
        format!(
            "the program of container {} ended by itself, without an error (exit code 0); a service must keep running",
            container.name
        ),
        "start the server in the foreground (not as a daemon); run a job as a task, not as a service; a helper container needs `essential: false`",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_0() {
        assert_eq!(
            Case::new().exited(0).printed(&["done"]).diagnose().id,
            "ended-by-itself"
        );
    }
}
