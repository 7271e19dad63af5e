//! What a build tells while it runs. Nothing here is printed; a renderer decides what people see.

use hoist_oci::Digest;

/// Which stream of a command a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One step of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The stage's name, or its number where it has none.
    pub stage: String,
    /// The step's place among those of all needed stages, from 1.
    pub index: usize,
    /// How many steps the needed stages have.
    pub total: usize,
    /// The instruction as the user wrote it, on one line.
    pub text: String,
}

/// Something that happened in a build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildEvent {
    /// The engine that builds, and why it was chosen.
    Engine {
        /// `embedded` or `buildkit`.
        name: &'static str,
        /// The reason, as a fragment.
        why: String,
    },
    /// A step is about to run.
    StepStarted(Step),
    /// A step's result was in the cache; nothing ran.
    StepCached(Step),
    /// A command printed a line.
    Output {
        /// The stream.
        stream: OutputStream,
        /// The line without its end; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// A step is done.
    StepFinished {
        /// The step.
        step: Step,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A layer of a base image arrives from a registry.
    Pulling {
        /// The layer.
        digest: Digest,
        /// Bytes received so far.
        received: u64,
        /// The layer's size in bytes.
        size: u64,
    },
    /// A layer was compressed and stored.
    LayerStored {
        /// Digest of the compressed blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Something that does not stop the build, but that the user should know.
    Warning {
        /// What it is.
        message: String,
        /// Where in the Dockerfile, if it is there.
        location: Option<crate::Location>,
    },
}
