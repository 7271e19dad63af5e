//! What a build tells while it runs, and how it hears that nobody waits for it any more.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::error::{BuildError, BuildErrorKind, Location, Result};
use crate::event::BuildEvent;

/// Tells the caller what happens, and hears whether it still wants the result.
#[derive(Clone)]
pub(crate) struct Reporter {
    events: mpsc::UnboundedSender<BuildEvent>,
    cancelled: watch::Receiver<()>,
    /// Set when a part of the build failed, so that the others end.
    stopped: Arc<watch::Sender<bool>>,
}

impl Reporter {
    pub(crate) fn new(
        events: mpsc::UnboundedSender<BuildEvent>,
        cancelled: watch::Receiver<()>,
    ) -> Reporter {
        Reporter {
            events,
            cancelled,
            stopped: Arc::new(watch::Sender::new(false)),
        }
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

    /// Ends everything that still runs.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Fails if the caller dropped the build, or a part of it failed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancelled.has_changed().is_err() || *self.stopped.borrow() {
            Err(cancelled())
        } else {
            Ok(())
        }
    }

    /// Returns when the caller drops the build, or a part of it failed.
    pub(crate) async fn gone(&self) {
        let (mut cancelled, mut stopped) = (self.cancelled.clone(), self.stopped.subscribe());
        tokio::select! {
            () = async { while cancelled.changed().await.is_ok() {} } => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

pub(crate) fn cancelled() -> BuildError {
    BuildError::new(BuildErrorKind::Cancelled, "the build was cancelled")
}
