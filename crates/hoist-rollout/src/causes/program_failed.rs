//! The program ended with an error.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "program-failed",
    sentence: "the program ended with an error",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (task, container) = facts.exited(|code| code != 0)?;
    let code = container.exit_code.unwrap_or_default();
    let last = facts
        .lines(task, &container.name)
        .map(|line| line.trim())
        .rfind(|line| !line.is_empty());
    let last = last
        .map(|line| format!("; its last words: {line}"))
        .unwrap_or_default();
    Finding::new(
        format!(
            "the program of container {} ended with exit code {code}{last}",
            container.name
        ),
        "its last lines say why; run the same image on this machine (`hoist deploy --local`) to see all of them",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_1() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["panic: boom"])
                .diagnose()
                .id,
            "program-failed"
        );
    }
}
