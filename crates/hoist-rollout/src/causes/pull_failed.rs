//! The image could not be pulled.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "pull-failed",
    sentence: "the image could not be pulled",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    let words = facts.said(&["CannotPullContainer"])?;
    Finding::new(
        format!("the image could not be pulled: {}", tail(words)),
        "read the message; try the pull from another machine with the same address and digest",
    )
}

/// The message without its class.
fn tail(words: &str) -> &str {
    words.split_once("Error: ").map_or(words, |(_, tail)| tail)
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn something_new() {
        assert_eq!(Case::new().not_started("CannotPullContainerError: httpReadSeeker: failed open: could not fetch content descriptor sha256:aa: unexpected EOF").diagnose().id, "pull-failed");
    }
}
