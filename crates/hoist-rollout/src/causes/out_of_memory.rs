//! The container used more memory than it may.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "out-of-memory",
    sentence: "the container used more memory than it may",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let by_reason = facts.said(&["OutOfMemory"]).is_some();
    let by_log = facts
        .exited(|code| code == 137 || code == 134 || code == 1)
        .is_some()
        && facts
            .printed(&[
                "JavaScript heap out of memory",
                "java.lang.OutOfMemoryError",
                "Cannot allocate memory",
                "MemoryError",
            ])
            .is_some();
    if !by_reason && !by_log {
        return None;
    }
    let limit = facts
        .tasks
        .iter()
        .flat_map(|task| &task.containers)
        .find(|container| container.reason.contains("OutOfMemory"));
    let limit = limit
        .and_then(|container| facts.container(&container.name)?.memory)
        .map(|memory| format!(" ({memory} MiB)"))
        .unwrap_or_default();
    Finding::new(
        format!("the container was killed because it used more memory than it may{limit}"),
        "raise `memory` of the task (and of the container, where it has a limit of its own), or make the program use less: runtimes size their heap by what they see",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn the_kernel() {
        assert_eq!(
            Case::new()
                .stopped(
                    "EssentialContainerExited",
                    "Essential container in task exited",
                    Some(137),
                    "OutOfMemoryError: Container killed due to memory usage"
                )
                .diagnose()
                .id,
            "out-of-memory"
        );
    }

    #[test]
    fn the_runtime_of_the_language() {
        assert_eq!(Case::new().exited(134).printed(&["FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"]).diagnose().id, "out-of-memory");
    }
}
