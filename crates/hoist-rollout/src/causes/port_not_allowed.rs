//! The program may not listen on its port.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "port-not-allowed",
    sentence: "the program may not listen on its port",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let line = facts.printed(&[
        "bind: permission denied",
        "listen EACCES",
        "bind() to 0.0.0.0:80 failed (13",
        "could not bind to address",
    ])?;
    Finding::new(
        format!("the program may not listen on its port: {}", line.trim()),
        "ports below 1024 need root or CAP_NET_BIND_SERVICE: listen on 8080 and map that port",
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
                .printed(&["listen tcp :80: bind: permission denied"])
                .diagnose()
                .id,
            "port-not-allowed"
        );
    }
}
