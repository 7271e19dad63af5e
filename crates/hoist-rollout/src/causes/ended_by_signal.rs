//! The program ended by SIGTERM or SIGINT of its own.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "ended-by-signal",
    sentence: "the program ended by SIGTERM or SIGINT of its own",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let (_, container) = facts.exited(|code| code == 143 || code == 130)?;
    let code = container.exit_code.unwrap_or_default();
    Finding::new(
        format!(
            "container {} ended with exit code {code}: something in the task sent it a signal to end",
            container.name
        ),
        "look for a supervisor, or another essential container that ended first: that one is the cause",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn exit_143() {
        assert_eq!(Case::new().exited(143).diagnose().id, "ended-by-signal");
    }
}
