//! The program crashed with a memory fault.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "segmentation-fault",
    sentence: "the program crashed with a memory fault",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (_, container) = facts.exited(|code| code == 139)?;
    Finding::new(
        format!(
            "the program of container {} crashed: segmentation fault (exit code 139, SIGSEGV)",
            container.name
        ),
        "run the image on the same architecture; a binary linked against another C library (musl and glibc mixed) often ends so",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_139() {
        assert_eq!(
            Case::new()
                .exited(139)
                .printed(&["Segmentation fault (core dumped)"])
                .diagnose()
                .id,
            "segmentation-fault"
        );
    }
}
