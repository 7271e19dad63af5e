//! The program cannot listen on its port: it is taken.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "port-in-use",
    sentence: "the program cannot listen on its port: it is taken",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let line = facts.printed(&["address already in use", "EADDRINUSE"])?;
    Finding::new(
        format!(
            "the program cannot listen on its port because it is taken: {}",
            line.trim()
        ),
        "containers of one task share their ports: let each listen on one of its own",
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
                .printed(&["Error: listen EADDRINUSE: address already in use :::8080"])
                .diagnose()
                .id,
            "port-in-use"
        );
    }
}
