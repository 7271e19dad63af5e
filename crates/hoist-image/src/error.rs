//! What can go wrong in a build, said so that the reader knows where it happened and what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The class of a [`BuildError`]; callers map it to exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The Dockerfile (or an ignore file) is wrong: nothing was run.
    Dockerfile,
    /// The build context lacks something: no Dockerfile, a missing `COPY` source, a path outside the context.
    Context,
    /// A base image is unknown, unreachable or broken.
    Image,
    /// A `RUN` command, or the command given to [`run`](crate::run), failed.
    Command,
    /// The Dockerfile asks for something this engine does not do.
    Unsupported,
    /// This machine lacks what the build needs: privileges, an engine, a file system feature.
    Machine,
    /// The disk is full.
    DiskFull,
    /// The caller asked to stop.
    Cancelled,
    /// Any other failure of the machine or of the store.
    Io,
}

/// A place in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that the problem covers; 1 where only its start is known.
    pub width: usize,
    /// The whole source line.
    pub text: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why a build did not yield an image.
///
/// `Display` is one line: the place, where there is one, and what was being done to what. The hint, the last lines of output and the source
/// are separate, so that a terminal, a log and a GitHub annotation can each show them in their own way.
#[derive(Debug)]
pub struct BuildError {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: BuildErrorKind,
    message: String,
    location: Option<Location>,
    hint: Option<String>,
    output: Vec<String>,
    exit_code: Option<i32>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BuildError {
    /// Makes an error of a kind, with a lower-case sentence that has no full stop.
    pub fn new(kind: BuildErrorKind, message: impl Into<String>) -> Self {
        BuildError {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                location: None,
                hint: None,
                output: Vec::new(),
                exit_code: None,
                source: None,
            }),
        }
    }

    /// Makes an error of a failed file operation; a full disk is named as such.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        if is_disk_full(&source) {
            return BuildError::disk_full(doing).caused_by(source);
        }
        BuildError::new(BuildErrorKind::Io, format!("failed to {doing}")).caused_by(source)
    }

    fn disk_full(doing: String) -> Self {
        BuildError::new(BuildErrorKind::DiskFull, format!("failed to {doing}: the disk is full")).with_hint(
            "free some space (`hoist image ls` shows what is stored, `hoist image rm` removes it), or set HOIST_HOME to another disk; nothing half-written was kept",
        )
    }

    /// Makes an error of a failure below this crate; a full disk anywhere in its causes is named as such.
    pub fn from_source(
        kind: BuildErrorKind,
        doing: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let doing = doing.into();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&source);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(is_disk_full) {
                return BuildError::disk_full(doing).caused_by(source);
            }
            cause = error.source();
        }
        BuildError::new(kind, format!("failed to {doing}")).caused_by(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Box::new(source));
        self
    }

    /// Adds what to do next; the first hint stays.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds a further step to the hint.
    #[must_use]
    pub(crate) fn and_hint(mut self, hint: &str) -> Self {
        self.inner.hint = Some(match self.inner.hint.take() {
            Some(first) => format!("{first}; {hint}"),
            None => hint.into(),
        });
        self
    }

    /// Adds the place; the first place stays, because it is the most exact.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.inner.location.get_or_insert(location);
        self
    }

    /// Adds how a command ended: its code and what it printed last.
    #[must_use]
    pub fn with_output(mut self, exit_code: i32, output: Vec<String>) -> Self {
        self.inner.exit_code = Some(exit_code);
        self.inner.output = output;
        self
    }

    /// The class of this error.
    pub fn kind(&self) -> BuildErrorKind {
        self.inner.kind
    }

    /// What went wrong, without the place.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where it went wrong, if a Dockerfile is to blame.
    pub fn location(&self) -> Option<&Location> {
        self.inner.location.as_ref()
    }

    /// The file to blame.
    pub fn file(&self) -> Option<&Path> {
        self.inner.location.as_ref().map(|at| at.file.as_path())
    }

    /// The line to blame, from 1.
    pub fn line(&self) -> Option<usize> {
        self.inner.location.as_ref().map(|at| at.line)
    }

    /// The column to blame, from 1.
    pub fn column(&self) -> Option<usize> {
        self.inner.location.as_ref().map(|at| at.column)
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The last lines that the failing command printed, oldest first.
    pub fn output(&self) -> &[String] {
        &self.inner.output
    }

    /// How the failing command ended: its code, or 128 and the signal's number.
    pub fn exit_code(&self) -> Option<i32> {
        self.inner.exit_code
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.location {
            Some(at) => write!(f, "{at}: {}", self.inner.message),
            None => f.write_str(&self.inner.message),
        }
    }
}

impl StdError for BuildError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// What most functions of this crate return.
pub type Result<T> = std::result::Result<T, BuildError>;

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The closest of some known words to a misspelt one, if one is close enough to be what was meant.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (edit_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_wherever_it_hides() {
        #[derive(Debug)]
        struct Wrapped(io::Error);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("failed to write a blob")
            }
        }
        impl StdError for Wrapped {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let full = || io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(
            BuildError::io("write a layer", full()).kind(),
            BuildErrorKind::DiskFull
        );
        let error = BuildError::from_source(BuildErrorKind::Io, "store a layer", Wrapped(full()));
        assert_eq!(error.kind(), BuildErrorKind::DiskFull);
        assert_eq!(
            error.to_string(),
            "failed to store a layer: the disk is full"
        );
        assert!(error.hint().unwrap().contains("free some space"));
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_stranger_is_not() {
        assert_eq!(did_you_mean("RNU", ["RUN", "USER", "COPY"]), Some("RUN"));
        assert_eq!(did_you_mean("COPPY", ["RUN", "USER", "COPY"]), Some("COPY"));
        assert_eq!(did_you_mean("banana", ["RUN", "USER", "COPY"]), None);
    }
}
