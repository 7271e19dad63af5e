//! The container was killed.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "killed",
    sentence: "the container was killed",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (_, container) = facts.exited(|code| code == 137)?;
    Finding::new(
        format!(
            "container {} was killed (exit code 137, SIGKILL)",
            container.name
        ),
        "mostly memory: raise it and see; or the program did not end within stopTimeout (30 s) after another container of the task had ended",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_137() {
        assert_eq!(Case::new().exited(137).diagnose().id, "killed");
    }
}
