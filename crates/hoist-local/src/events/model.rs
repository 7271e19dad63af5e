use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hoist_fargate::{Change, Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::clock::{self, Millis};
use crate::state::{State, StateError, Table};

/// The bus that every account has, and that AWS's own events go over.
pub const BUS: &str = "default";

/// A bus that somebody made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bus {
    pub name: String,
    pub description: Option<String>,
    pub tags: Vec<Value>,
    /// What is kept as it was sent: `DeadLetterConfig`, `KmsKeyIdentifier`, `LogConfig`.
    pub settings: Value,
    pub created: Millis,
    pub changed: Millis,
}

/// A rule, with its targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    /// The name of its bus.
    pub bus: String,
    pub arn: String,
    /// JSON, as it was sent.
    pub pattern: Option<String>,
    /// `rate(...)` or `cron(...)`.
    pub schedule: Option<String>,
    pub enabled: bool,
    pub description: Option<String>,
    pub role: Option<String>,
    pub tags: Vec<Value>,
    /// As they were sent, by `Id`.
    pub targets: Vec<Value>,
    pub created: Millis,
    /// When its schedule was followed last.
    pub done: Option<Millis>,
}

/// A record of the scheduler that has just been written.
pub(super) struct Written {
    pub kind: Kind,
    pub record: Vec<u8>,
}

/// EventBridge of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    /// By `BUS/NAME`.
    pub(super) rules: Table<Rule>,
    pub(super) buses: Table<Bus>,
    /// Since when any rule has a pattern; 0 while none has, and nothing is looked at then.
    since: Arc<AtomicI64>,
    written: mpsc::UnboundedSender<Written>,
    inbox: Arc<Mutex<Option<mpsc::UnboundedReceiver<Written>>>>,
    /// Rung when rules or schedules change.
    pub(crate) changed: Arc<Notify>,
    /// The log stream that each log group gets its events in.
    pub(super) streams: Arc<Mutex<HashMap<String, String>>>,
}

impl Rule {
    /// What it is kept by.
    pub fn key(&self) -> String {
        key(&self.bus, &self.name)
    }
}

/// What a rule is kept by. Neither name has a slash in it.
pub fn key(bus: &str, name: &str) -> String {
    format!("{bus}/{name}")
}

impl Events {
    /// What `state` keeps of it.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub fn open(state: &State) -> Result<Events, StateError> {
        let (written, inbox) = mpsc::unbounded_channel();
        let events = Events {
            rules: state.table("events-rules"),
            buses: state.table("events-buses"),
            since: Arc::default(),
            written,
            inbox: Arc::new(Mutex::new(Some(inbox))),
            changed: Arc::default(),
            streams: Arc::default(),
        };
        events.look()?;
        Ok(events)
    }

    /// Looks whether any rule listens.
    pub(super) fn look(&self) -> Result<(), StateError> {
        let all = self.rules.all()?;
        let listening = all.iter().any(|(_, _, rule)| rule.pattern.is_some());
        if !listening {
            self.since.store(0, Ordering::Relaxed);
        } else if self.since() == 0 {
            self.since.store(clock::now(), Ordering::Relaxed);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Since when anybody listens; 0 if nobody does.
    pub(super) fn since(&self) -> Millis {
        self.since.load(Ordering::Relaxed)
    }

    /// Takes note of what the scheduler has written.
    pub(crate) fn note(&self, changes: impl Iterator<Item = Change>) {
        if self.since() == 0 {
            return;
        }
        for change in changes {
            if let (Kind::Task | Kind::Service, Some(record)) = (change.kind, change.record) {
                let kind = change.kind;
                // Nobody reads any more only when the daemon stops.
                let _ = self.written.send(Written { kind, record });
            }
        }
    }

    /// The other end of [`Events::note`]; there once.
    pub(super) fn inbox(&self) -> Option<mpsc::UnboundedReceiver<Written>> {
        self.inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
