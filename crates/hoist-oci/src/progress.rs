//! What a transfer tells while it runs.

use crate::Digest;

/// Hears of the progress of transfers. Called from the task that transfers, so it must not block.
pub trait Progress: Send + Sync {
    /// One step was made.
    fn event(&self, event: ProgressEvent);
}

/// A step of the transfer of one blob or manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressEvent {
    /// The blob is looked at.
    Started {
        /// Which blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes were transferred.
    Advanced {
        /// Which blob.
        digest: Digest,
        /// Bytes transferred so far, counted from the blob's beginning; it falls when a transfer starts anew.
        bytes: u64,
    },
    /// The blob is where it should be.
    Finished {
        /// Which blob.
        digest: Digest,
        /// How it came there.
        how: How,
    },
}

/// How a blob came to where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was uploaded.
    Sent,
    /// It was downloaded.
    Received,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was there before.
    Exists,
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
}

impl<F: Fn(ProgressEvent) + Send + Sync> Progress for F {
    fn event(&self, event: ProgressEvent) {
        self(event);
    }
}
