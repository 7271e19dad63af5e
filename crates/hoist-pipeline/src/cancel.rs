//! Being told to stop: the first SIGINT or SIGTERM, seen by every step.

use std::time::Duration;

use tokio::sync::watch;

use crate::failure::{Failure, Kind};

/// Which signal asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: a terminal's Ctrl-C, or GitHub's first signal.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The end that this signal makes of a run.
    pub fn failure(self) -> Failure {
        match self {
            Signal::Interrupt => Failure::new(Kind::Interrupted, "cancelled by SIGINT"),
            Signal::Terminate => Failure::new(Kind::Terminated, "cancelled by SIGTERM"),
        }
    }
}

/// The sending end: told once, remembered.
#[derive(Clone)]
pub struct Canceller(watch::Sender<Option<Signal>>);

/// The receiving end, cheap to clone.
#[derive(Clone)]
pub struct Cancel(watch::Receiver<Option<Signal>>);

/// A pair of ends.
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// Tells every holder to stop. Only the first signal counts; returns whether this was it.
    pub fn cancel(&self, signal: Signal) -> bool {
        self.0.send_if_modified(|seen| {
            let first = seen.is_none();
            if first {
                *seen = Some(signal);
            }
            first
        })
    }
}

impl Cancel {
    /// The signal, if one came.
    pub fn signal(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits for the signal. Never returns if the sending end is gone.
    pub async fn wait(&self) -> Signal {
        let mut receiver = self.0.clone();
        match receiver
            .wait_for(Option::is_some)
            .await
            .map(|signal| *signal)
        {
            Ok(Some(signal)) => signal,
            _ => std::future::pending().await,
        }
    }

    /// Runs `work` unless the signal comes first.
    pub async fn or<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.wait() => Err(signal.failure()),
            done = work => done,
        }
    }
}

impl Cancel {
    /// Runs `work` that must not be dropped in the middle: once the signal comes, it gets `grace` more.
    ///
    /// # Errors
    /// The signal, where the grace was not enough.
    pub async fn grant<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Signal> {
        let over = async {
            let signal = self.wait().await;
            tokio::time::sleep(grace).await;
            signal
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            signal = over => Err(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_wins_over_work_and_over_later_signals() {
        let (canceller, cancel) = cancellation();
        assert!(canceller.cancel(Signal::Terminate));
        assert!(!canceller.cancel(Signal::Interrupt));
        let end = cancel.or(async { Ok::<_, Failure>(()) }).await.unwrap_err();
        assert_eq!(end.kind, Kind::Terminated);
    }

    #[tokio::test]
    async fn a_call_on_its_way_gets_its_grace_and_no_more() {
        let (canceller, cancel) = cancellation();
        canceller.cancel(Signal::Interrupt);
        let soon = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(cancel.grant(Duration::from_secs(60), soon).await, Ok(7));
        let never = std::future::pending::<u8>();
        assert_eq!(
            cancel.grant(Duration::ZERO, never).await,
            Err(Signal::Interrupt)
        );
    }
}
