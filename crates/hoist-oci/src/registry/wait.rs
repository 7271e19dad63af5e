//! Waiting for a registry that is busy or stumbles, and telling who waits with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;

use super::{Registry, RegistryError};

/// A trouble that lasts is told once in so long.
const QUIET: Duration = Duration::from_secs(5);

/// A first pause that is shorter is over before anybody wonders.
const NOTABLE: Duration = Duration::from_secs(1);

/// A pause before something is asked of a registry again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The registry.
    pub host: String,
    /// What it does, such as `answers 503 Service Unavailable`.
    pub trouble: String,
    /// How long until the next attempt.
    pub pause: Duration,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wait { host, trouble, .. } = self;
        match self.pause.as_secs_f64() {
            seconds if seconds < 1.0 => write!(f, "{host} {trouble}; trying again"),
            seconds => write!(f, "{host} {trouble}; trying again in {seconds:.0} s"),
        }
    }
}

/// Hears of waits.
type Listener = Arc<dyn Fn(&Wait) + Send + Sync>;

/// Who hears of waits, and what was told when.
#[derive(Clone, Default)]
pub(super) struct Waits {
    listener: Option<Listener>,
    told: Arc<Mutex<HashMap<(String, String), Instant>>>,
}

impl Waits {
    /// Tells a wait if it takes somebody's attention, and that trouble was not told just now.
    fn tell(&self, wait: Wait, attempt: u32, now: Instant) {
        let Some(listener) = &self.listener else {
            return;
        };
        if attempt < 2 && wait.pause < NOTABLE {
            return;
        }
        let trouble = (wait.host.clone(), wait.trouble.clone());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = told
            .get(&trouble)
            .is_some_and(|last| now.saturating_duration_since(*last) < QUIET);
        if !recent {
            told.insert(trouble, now);
            drop(told);
            listener(&wait);
        }
    }
}

/// What a registry does that answers so.
pub(super) fn answers(status: StatusCode) -> String {
    format!("answers {status}")
}

/// What a registry does that cannot be heard.
pub(super) const SILENT: &str = "gives no answer";

/// What a registry does to an attempt that failed.
pub(super) fn trouble(error: &RegistryError) -> String {
    match error {
        RegistryError::Answer { status, .. } | RegistryError::Denied { status, .. } => {
            match StatusCode::from_u16(*status) {
                Ok(status) => answers(status),
                Err(_) => format!("answers {status}"),
            }
        }
        RegistryError::Unreachable { .. } => SILENT.to_owned(),
        _ => "does not keep to the protocol".to_owned(),
    }
}

impl Registry {
    /// A client that tells `listener` when it waits for a registry that is busy, stumbles or does not answer: each trouble once in a few seconds, and not
    /// what is over at once. It is called from the task that waits, so it must not block.
    #[must_use]
    pub fn telling(mut self, listener: impl Fn(&Wait) + Send + Sync + 'static) -> Self {
        self.waits.listener = Some(Arc::new(listener));
        self
    }

    /// Waits before the attempt after `attempt` (counted from 1).
    pub(super) async fn wait(
        &self,
        host: &str,
        trouble: impl Into<String>,
        attempt: u32,
        pause: Duration,
    ) {
        let wait = Wait {
            host: host.to_owned(),
            trouble: trouble.into(),
            pause,
        };
        self.waits.tell(wait, attempt, Instant::now());
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_in_a_few_seconds_and_one_that_passes_at_once_is_not() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        let waits = Waits {
            listener: Some(Arc::new(move |wait| {
                ears.lock().unwrap().push(wait.to_string());
            })),
            ..Waits::default()
        };
        let began = Instant::now();
        let busy = answers(StatusCode::TOO_MANY_REQUESTS);
        for (trouble, attempt, pause, after) in [
            (busy.as_str(), 1, 0.2, 0),
            (busy.as_str(), 2, 0.4, 1),
            (busy.as_str(), 3, 4.0, 3),
            (SILENT, 1, 2.0, 4),
            (busy.as_str(), 4, 9.6, 7),
        ] {
            let wait = Wait {
                host: "registry.example".to_owned(),
                trouble: trouble.to_owned(),
                pause: Duration::from_secs_f64(pause),
            };
            waits.tell(wait, attempt, began + Duration::from_secs(after));
        }
        assert_eq!(
            *heard.lock().unwrap(),
            [
                "registry.example answers 429 Too Many Requests; trying again",
                "registry.example gives no answer; trying again in 2 s",
                "registry.example answers 429 Too Many Requests; trying again in 10 s",
            ]
        );
    }
}
