//! The program aborted itself.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "aborted",
    sentence: "the program aborted itself",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (_, container) = facts.exited(|code| code == 134)?;
    Finding::new(
        format!(
            "the program of container {} aborted itself (exit code 134, SIGABRT)",
            container.name
        ),
        "a failed assertion or an unhandled exception: its last lines say which",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_134() {
        assert_eq!(
            Case::new()
                .exited(134)
                .printed(&["terminate called after throwing an instance of 'std::runtime_error'"])
                .diagnose()
                .id,
            "aborted"
        );
    }
}
