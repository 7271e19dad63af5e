//! SIGINT and SIGTERM.

use hoist_pipeline::{Canceller, Failure, Kind, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// Tells `canceller` of the first SIGINT or SIGTERM; later ones are ignored, as the end is under way.
pub fn listen(canceller: Canceller) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::because(Kind::Unexpected, "failed to listen for signals", &error)
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => canceller.cancel(Signal::Interrupt),
                _ = terminate.recv() => canceller.cancel(Signal::Terminate),
            };
        }
    });
    Ok(())
}
