//! The program misses a part of itself.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "module-missing",
    sentence: "the program misses a part of itself",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.exited(|code| code != 0)?;
    let line = facts.printed(&[
        "Cannot find module",
        "ModuleNotFoundError",
        "No module named",
        "cannot open shared object file",
        "ClassNotFoundException",
        "NoClassDefFoundError",
        "Could not find or load main class",
        "cannot load such file",
        "Error loading shared library",
    ])?;
    Finding::new(
        format!("the image misses a part of the program: {}", line.trim()),
        "install it in the image: check .dockerignore, the lock file, and what the last stage copies from the earlier ones",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn node() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["Error: Cannot find module '/app/dist/server.js'"])
                .diagnose()
                .id,
            "module-missing"
        );
    }

    #[test]
    fn python() {
        assert_eq!(
            Case::new()
                .exited(1)
                .printed(&["ModuleNotFoundError: No module named 'flask'"])
                .diagnose()
                .id,
            "module-missing"
        );
    }

    #[test]
    fn a_library() {
        assert_eq!(Case::new().exited(127).printed(&["/app/server: error while loading shared libraries: libssl.so.1.1: cannot open shared object file: No such file or directory"]).diagnose().id, "module-missing");
    }
}
