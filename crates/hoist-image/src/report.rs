//! What a build tells while it runs, and how it hears that nobody waits for it any more.

use tokio::sync::{mpsc, watch};

use crate::error::{BuildError, BuildErrorKind, Location, Result};
use crate::event::BuildEvent;

/// Tells the caller what happens, and hears whether it still wants the result.
#[derive(Clone)]
pub(crate) struct Reporter {
    events: mpsc::UnboundedSender<BuildEvent>,
    cancelled: watch::Receiver<()>,
}

impl Reporter {
    pub(crate) fn new(
        events: mpsc::UnboundedSender<BuildEvent>,
        cancelled: watch::Receiver<()>,
    ) -> Reporter {
        Reporter { events, cancelled }
    }

    pub(crate) fn send(&self, event: BuildEvent) {
        // Nobody listens any more once the caller has given up; the build notices by itself.
        let _ = self.events.send(event);
    }

    pub(crate) fn warn(&self, message: impl Into<String>, location: Option<Location>) {
        self.send(BuildEvent::Warning {
            message: message.into(),
            location,
        });
    }

    /// Fails if the caller dropped the build.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancelled.has_changed().is_err() {
            Err(cancelled())
        } else {
            Ok(())
        }
    }

    /// Returns when the caller drops the build.
    pub(crate) async fn gone(&self) {
        let mut cancelled = self.cancelled.clone();
        while cancelled.changed().await.is_ok() {}
    }
}

pub(crate) fn cancelled() -> BuildError {
    BuildError::new(BuildErrorKind::Cancelled, "the build was cancelled")
}
