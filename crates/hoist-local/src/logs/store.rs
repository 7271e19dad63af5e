use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use super::group::{Group, Settings};
use super::live::Kept;
use super::stream::Event;
use crate::api::ApiError;
use crate::clock::{self, Millis};

/// All logs of an instance together; beyond that the oldest go, whatever their group's retention.
const LIMIT: u64 = 1 << 30;
/// Bytes written between two looks at age and size.
const SWEEP: u64 = 16 << 20;

/// The logs of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

/// The groups that were opened, by region and name.
type Groups = HashMap<(String, String), Arc<Mutex<Group>>>;

struct Inner {
    root: PathBuf,
    limit: u64,
    groups: Mutex<Groups>,
    /// The number of the newest event.
    number: AtomicU64,
    /// Bytes since the last sweep.
    written: AtomicU64,
    /// Whoever looks on.
    kept: broadcast::Sender<Arc<Kept>>,
}

/// Batches of events that wait for whoever looks on too slowly; beyond, the oldest are left out.
const WAITING: usize = 1024;

/// Why events could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// There is no such group; it is made by the user, not by who writes to it.
    #[error("The specified log group does not exist.")]
    NoGroup,
    /// There is no such stream.
    #[error("The specified log stream does not exist.")]
    NoStream,
    /// The disk.
    #[error("failed to write the logs in {path}")]
    Disk {
        /// Where they lie.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<LogsError> for ApiError {
    fn from(error: LogsError) -> Self {
        match error {
            LogsError::NoGroup | LogsError::NoStream => {
                Self::new("ResourceNotFoundException", error.to_string())
            }
            LogsError::Disk { ref source, .. } => {
                Self::new("ServiceUnavailableException", format!("{error}: {source}"))
                    .with_status(500)
            }
        }
    }
}

impl Logs {
    /// The logs under `root`, a directory that is made with the first group.
    pub fn open(root: PathBuf) -> Self {
        Self::limited(root, LIMIT)
    }

    pub(super) fn limited(root: PathBuf, limit: u64) -> Self {
        Self(Arc::new(Inner {
            root,
            limit,
            groups: Mutex::default(),
            number: AtomicU64::new(0),
            written: AtomicU64::new(SWEEP),
            kept: broadcast::Sender::new(WAITING),
        }))
    }

    /// Appends events, in the order given, to a stream that exists. They are kept when this returns.
    ///
    /// # Errors
    /// When the group or the stream does not exist, or the disk cannot be written.
    pub async fn append(
        &self,
        region: &str,
        group: &str,
        stream: &str,
        events: impl IntoIterator<Item = (Millis, String)>,
    ) -> Result<(), LogsError> {
        let names = (region, group, stream);
        let group = self.group(region, group)?.ok_or(LogsError::NoGroup)?;
        let ingestion = clock::now();
        let events: Vec<Event> = events
            .into_iter()
            .map(|(timestamp, message)| Event {
                timestamp,
                ingestion,
                number: self.next_number(),
                message,
            })
            .collect();
        let size: usize = events.iter().map(|event| event.message.len()).sum();
        {
            let mut group = lock(&group);
            if group.gone {
                return Err(LogsError::NoGroup);
            }
            let stream = group.streams.get_mut(stream).ok_or(LogsError::NoStream)?;
            stream.append(&events).map_err(|source| self.disk(source))?;
        }
        if self.0.kept.receiver_count() > 0 {
            // Whoever looked on may have gone at this very moment.
            let _ = self.0.kept.send(Arc::new(Kept {
                region: names.0.to_owned(),
                group: names.1.to_owned(),
                stream: names.2.to_owned(),
                events,
            }));
        }
        if self.0.written.fetch_add(size as u64, Ordering::Relaxed) >= SWEEP {
            self.0.written.store(0, Ordering::Relaxed);
            let logs = self.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = logs.sweep() {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to remove old logs"
                    );
                }
            });
        }
        Ok(())
    }

    /// Every event that is kept from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Kept>> {
        self.0.kept.subscribe()
    }

    /// Makes sure that a stream is there, and its group too if `create_group` says so: what the `awslogs` driver does before a
    /// container starts.
    ///
    /// # Errors
    /// When the group does not exist and is not to be made, or the disk cannot be written.
    pub async fn open_stream(
        &self,
        region: &str,
        group: &str,
        stream: &str,
        create_group: bool,
    ) -> Result<(), LogsError> {
        if create_group {
            self.create_group(region, group, Default::default(), "STANDARD")?;
        }
        let found = self.group(region, group)?.ok_or(LogsError::NoGroup)?;
        let mut found = lock(&found);
        if found.gone {
            return Err(LogsError::NoGroup);
        }
        found
            .create_stream(stream, clock::now())
            .map_err(|source| self.disk(source))?;
        Ok(())
    }

    /// Makes a group; false if it is there.
    pub(super) fn create_group(
        &self,
        region: &str,
        name: &str,
        tags: std::collections::BTreeMap<String, String>,
        class: &str,
    ) -> Result<bool, LogsError> {
        let mut groups = self.groups();
        if self.find(&mut groups, region, name)?.is_some() {
            return Ok(false);
        }
        let settings = Settings {
            name: name.to_owned(),
            created: clock::now(),
            retention_days: None,
            tags,
            class: class.to_owned(),
        };
        let folder = Group::folder(&self.0.root.join(region), name);
        let group = Group::create(folder, settings).map_err(|source| self.disk(source))?;
        groups.insert(
            (region.to_owned(), name.to_owned()),
            Arc::new(Mutex::new(group)),
        );
        Ok(true)
    }

    /// The group of that name.
    pub(super) fn group(
        &self,
        region: &str,
        name: &str,
    ) -> Result<Option<Arc<Mutex<Group>>>, LogsError> {
        self.find(&mut self.groups(), region, name)
    }

    fn find(
        &self,
        groups: &mut Groups,
        region: &str,
        name: &str,
    ) -> Result<Option<Arc<Mutex<Group>>>, LogsError> {
        let key = (region.to_owned(), name.to_owned());
        if let Some(group) = groups.get(&key) {
            return Ok(Some(group.clone()));
        }
        let folder = Group::folder(&self.0.root.join(region), name);
        let Some(group) = Group::open(folder).map_err(|source| self.disk(source))? else {
            return Ok(None);
        };
        let group = Arc::new(Mutex::new(group));
        groups.insert(key, group.clone());
        Ok(Some(group))
    }

    /// All groups of a region, by name.
    pub(super) fn all(&self, region: &str) -> Result<Vec<Arc<Mutex<Group>>>, LogsError> {
        let folder = self.0.root.join(region);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.disk(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|source| self.disk(source))?
                .path()
                .join("group.json");
            match fs::read(&path) {
                Ok(bytes) => {
                    let settings: Settings =
                        serde_json::from_slice(&bytes).map_err(|error| self.disk(error.into()))?;
                    names.push(settings.name);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(source) => return Err(self.disk(source)),
            }
        }
        names.sort();
        let mut found = Vec::new();
        for name in names {
            found.extend(self.group(region, &name)?);
        }
        Ok(found)
    }

    /// Removes a group; false if there is none.
    pub(super) fn delete_group(&self, region: &str, name: &str) -> Result<bool, LogsError> {
        let mut groups = self.groups();
        let Some(group) = self.find(&mut groups, region, name)? else {
            return Ok(false);
        };
        groups.remove(&(region.to_owned(), name.to_owned()));
        lock(&group).delete().map_err(|source| self.disk(source))?;
        Ok(true)
    }

    /// Removes what is older than its group's retention, and the oldest of all while there is too much.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn sweep(&self) -> Result<(), LogsError> {
        let regions = match fs::read_dir(&self.0.root) {
            Ok(regions) => regions,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.disk(source)),
        };
        let mut ages = Vec::new();
        let mut total = 0;
        for region in regions {
            let region = region.map_err(|source| self.disk(source))?.file_name();
            for group in self.all(&region.to_string_lossy())? {
                let mut locked = lock(&group);
                let keep = locked
                    .settings
                    .retention_days
                    .and_then(|days| u64::try_from(days).ok());
                let oldest = keep.and_then(|days| {
                    SystemTime::now().checked_sub(Duration::from_secs(days * 86_400))
                });
                for (name, stream) in &mut locked.streams {
                    let mut segments = stream.ages().map_err(|source| self.disk(source))?;
                    while segments
                        .first()
                        .is_some_and(|(age, _)| oldest.is_some_and(|oldest| *age < oldest))
                    {
                        stream.drop_oldest().map_err(|source| self.disk(source))?;
                        segments.remove(0);
                    }
                    total += segments.iter().map(|(_, size)| size).sum::<u64>();
                    ages.extend(
                        segments
                            .into_iter()
                            .map(|(age, size)| (age, size, group.clone(), name.clone())),
                    );
                }
            }
        }
        ages.sort_by_key(|(age, ..)| *age);
        for (_, size, group, name) in ages {
            if total <= self.0.limit {
                break;
            }
            if let Some(stream) = lock(&group).streams.get_mut(&name) {
                stream.drop_oldest().map_err(|source| self.disk(source))?;
                total -= size;
            }
        }
        Ok(())
    }

    /// Grows, over restarts too: it is never behind the clock's microseconds.
    fn next_number(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(now.max(last + 1));
        self.0
            .number
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next)
            .map_or(now, |last| now.max(last + 1))
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn disk(&self, source: io::Error) -> LogsError {
        LogsError::Disk {
            path: self.0.root.clone(),
            source,
        }
    }
}

pub(super) fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_container_driver_makes_streams_but_groups_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().join("logs"));
        let missing = logs
            .open_stream("us-east-1", "/app", "web/app/1", false)
            .await;
        assert!(matches!(missing, Err(LogsError::NoGroup)));
        logs.open_stream("us-east-1", "/app", "web/app/1", true)
            .await
            .unwrap();
        logs.open_stream("us-east-1", "/app", "web/app/1", false)
            .await
            .unwrap();
        logs.append(
            "us-east-1",
            "/app",
            "web/app/1",
            [(1, "a".to_owned()), (1, "b".to_owned())],
        )
        .await
        .unwrap();
        let other = logs
            .append("us-east-2", "/app", "web/app/1", [(1, "a".to_owned())])
            .await;
        assert!(matches!(other, Err(LogsError::NoGroup)));

        let again = Logs::open(folder.path().join("logs"));
        let group = again.group("us-east-1", "/app").unwrap().unwrap();
        let lines: Vec<String> = lock(&group).streams["web/app/1"]
            .read()
            .unwrap()
            .into_iter()
            .map(|e| e.message)
            .collect();
        assert_eq!(lines, ["a", "b"]);
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::limited(folder.path().join("logs"), 3 << 20);
        for stream in ["one", "two", "three"] {
            logs.open_stream("r", "g", stream, true).await.unwrap();
            for _ in 0..3 {
                logs.append(
                    "r",
                    "g",
                    stream,
                    [(1, "x".repeat(600 << 10)), (2, "y".repeat(600 << 10))],
                )
                .await
                .unwrap();
            }
        }
        logs.sweep().unwrap();
        let group = logs.group("r", "g").unwrap().unwrap();
        assert!(lock(&group).bytes() <= 3 << 20);
        assert!(lock(&group).streams["three"].bytes() > 0, "the newest stay");
    }
}
