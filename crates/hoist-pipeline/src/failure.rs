//! The ends of a run that are no success, each with its own name.

use std::fmt;

/// Why a run did not end well. The binary maps each kind to one published exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A bug or a fault of the machine.
    Unexpected,
    /// hoist.yaml or a definition is wrong.
    Configuration,
    /// No credentials, expired ones, or a permission is missing.
    Credentials,
    /// The build hook or the image build failed.
    Build,
    /// The image's tests failed.
    Test,
    /// The registry did not take the image.
    Push,
    /// AWS refused a request.
    Rejected,
    /// A check found what would fail.
    Check,
    /// The deployment failed, and the previous revision serves again.
    RolledBack,
    /// The deployment failed, and nothing was rolled back.
    NotRolledBack,
    /// Another deployment replaced ours.
    Superseded,
    /// The time ran out while the deployment was still moving.
    TimedOut,
    /// Deployed, but the URL does not answer as expected.
    NoAnswer,
    /// A task that was waited for failed.
    TaskFailed,
    /// Another deployment of this service is in flight; ours was not started.
    InFlight,
    /// SIGINT asked for the end.
    Interrupted,
    /// SIGTERM asked for the end.
    Terminated,
}

/// An end that is no success: what was being done, why it failed, what to do next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which end this is.
    pub kind: Kind,
    /// What was being done to what; a lower-case fragment.
    pub message: String,
    /// The reasons, outermost first.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
    /// Whole lines shown as they are (a rendered source excerpt, the end of a build's output).
    pub detail: Option<String>,
    /// The places in files that are at fault, where there are any; `detail` shows them too.
    pub places: Box<[Place]>,
}

/// A place in a file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub message: String,
}

impl Failure {
    /// A failure of `kind`, with no reason beyond its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            detail: None,
            places: Box::default(),
        }
    }

    /// A failure whose reasons are those of `error`.
    pub fn because(
        kind: Kind,
        message: impl Into<String>,
        error: &dyn std::error::Error,
    ) -> Failure {
        let mut failure = Failure::new(kind, message);
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if failure
                .causes
                .last()
                .is_none_or(|last| !last.contains(&text))
            {
                failure.causes.push(text);
            }
            next = error.source();
        }
        failure
    }

    /// Whether a signal asked for this end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Interrupted | Kind::Terminated)
    }

    /// With the next step for the reader.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// With whole lines to show.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        for cause in &self.causes {
            write!(out, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading the answer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_reasons_are_listed_from_the_outermost_in() {
        let outer = Outer(std::io::Error::other("connection reset"));
        let failure = Failure::because(Kind::Push, "failed to push web", &outer);
        assert_eq!(
            failure.to_string(),
            "failed to push web: reading the answer: connection reset"
        );
    }
}
