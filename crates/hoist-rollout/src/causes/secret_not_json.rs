//! A secret of which a key is named is no JSON.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "secret-not-json",
    sentence: "a secret of which a key is named is no JSON",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts.said_with(
        &["from asm"],
        &[
            "looking for beginning of",
            "cannot unmarshal",
            "invalid character",
        ],
    )?;
    Finding::new(
        "a secret is no JSON text, and the task definition names a key of it",
        "store it as JSON (`{\"KEY\":\"value\"}`, with double quotes), or name the whole secret in valueFrom, without `:key::`",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn quotes_that_are_none() {
        assert_eq!(Case::new().not_started("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): invalid character '\\'' looking for beginning of value").diagnose().id, "secret-not-json");
    }
}
