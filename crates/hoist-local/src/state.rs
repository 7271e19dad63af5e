//! What the embedded AWS keeps: typed tables in one crash-safe file, each divided by region.
//!
//! A write is on disk when it returns. Global services (IAM, STS) use the region `""`.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::layouts::{self, CURRENT, Rows as Migrating, STEPS, Step};
use crate::settings::write_whole;

type Rows = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be opened.
    #[error("failed to open the state in {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The file was written by another version of hoist.
    #[error(
        "the state in {path} has layout {found}, and this version of hoist reads layouts {} to {CURRENT}",
        STEPS.first().map_or(CURRENT, |(oldest, _)| *oldest)
    )]
    Layout {
        /// The database file.
        path: PathBuf,
        /// The layout in the file.
        found: u64,
    },
    /// No copy could be made of what another version wrote, and without one nothing is changed.
    #[error("failed to copy the state to {path} before it is brought to layout {CURRENT}")]
    Copy {
        /// Where the copy was to lie.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk is full. What was kept before is whole, and the next write is tried anew.
    #[error("failed to write the state: no space is left on its disk")]
    Full(#[source] Box<redb::Error>),
    /// Reading or writing failed.
    #[error("failed to access the state")]
    Access(#[source] Box<redb::Error>),
    /// A row cannot be decoded.
    #[error("the row {key} of table {table} cannot be read")]
    Decode {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A row cannot be encoded.
    #[error("a row of table {table} cannot be written")]
    Encode {
        /// The table.
        table: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl StateError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StateError::Layout { .. } => Some(
                "use the version of hoist that wrote it; or put back the copy that was made when a newer version took over \
                 (state.redb.layout-N beside it); or start afresh with `hoist local reset`: the next `hoist deploy --local` makes \
                 again what it needs, from the images that are built already",
            ),
            StateError::Open { .. } => {
                Some("is another hoist running on this home? see `hoist local status`")
            }
            StateError::Decode { .. } => Some("start afresh with `hoist local reset`"),
            StateError::Copy { .. } => Some("make room on the disk; nothing was changed"),
            StateError::Full(_) => Some("make room on the disk; nothing was lost"),
            StateError::Access(_) | StateError::Encode { .. } => None,
        }
    }
}

/// How long the database may still be held by what an ended daemon had begun: a program between its fork and its exec has the files of
/// its parent a moment longer.
const HELD: Duration = Duration::from_secs(3);

fn open(path: &Path) -> Result<Database, StateError> {
    let begun = Instant::now();
    loop {
        match Database::builder().set_cache_size(8 << 20).create(path) {
            Ok(database) => return Ok(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < HELD => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                return Err(StateError::Open {
                    path: path.to_owned(),
                    source: Box::new(error.into()),
                });
            }
        }
    }
}

/// Whether the database is of no use any more until it is opened again.
fn is_broken(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

pub(crate) fn access(error: impl Into<redb::Error>) -> StateError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            StateError::Full(Box::new(redb::Error::Io(error)))
        }
        error => StateError::Access(Box::new(error)),
    }
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// `None` only while, and after, it could not be opened again.
    database: RwLock<Option<Database>>,
}

impl State {
    /// Opens the state at `path` and makes it if it is not there. What an older version wrote is brought to the current layout; a
    /// copy of it stays beside it.
    ///
    /// # Errors
    /// When the file cannot be opened, or has a layout from which no way leads to the current one.
    pub fn open(path: &Path) -> Result<State, StateError> {
        State::open_with(path, CURRENT, STEPS)
    }

    /// The same with a layout and steps to it.
    pub(crate) fn open_with(
        path: &Path,
        current: u64,
        steps: &'static [(u64, Step)],
    ) -> Result<State, StateError> {
        let opened = || {
            Ok::<_, StateError>(State(Arc::new(Inner {
                path: Some(path.to_owned()),
                database: RwLock::new(Some(open(path)?)),
            })))
        };
        let state = opened()?;
        let layout = state.table::<u64>("meta");
        let found = match layout.get("", "schema")? {
            Some(found) if found == current => return Ok(state),
            None => {
                layout.put("", "schema", &current)?;
                return Ok(state);
            }
            Some(found) => found,
        };
        let way = layouts::way(steps, found).ok_or_else(|| StateError::Layout {
            path: path.to_owned(),
            found,
        })?;
        // Closed, so that the copy is whole.
        drop((layout, state));
        let copy = path.with_extension(format!("redb.layout-{found}"));
        std::fs::read(path)
            .and_then(|bytes| write_whole(&copy, &bytes))
            .map_err(|source| StateError::Copy { path: copy, source })?;
        let state = opened()?;
        state.with(|database| {
            let writing = database.begin_write().map_err(access)?;
            for (_, step) in way {
                step(&Migrating(&writing))?;
            }
            {
                let mut meta = writing
                    .open_table::<(&str, &str), &[u8]>(TableDefinition::new("meta"))
                    .map_err(access)?;
                let number = current.to_string();
                meta.insert(("", "schema"), number.as_bytes())
                    .map_err(access)?;
            }
            writing.commit().map_err(access)
        })?;
        tracing::info!(
            from = found,
            to = current,
            "the state was brought to the current layout"
        );
        Ok(state)
    }

    /// A state in memory, for tests.
    ///
    /// # Errors
    /// Never in practice; the memory backend cannot fail to open.
    pub fn in_memory() -> Result<State, StateError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder()
            .create_with_backend(backend)
            .map_err(access)?;
        Ok(State(Arc::new(Inner {
            path: None,
            database: RwLock::new(Some(database)),
        })))
    }

    fn with<R>(
        &self,
        work: impl FnOnce(&Database) -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        let result = {
            let open = self
                .0
                .database
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            open.as_ref().map(work)
        };
        match result {
            Some(Err(StateError::Full(error) | StateError::Access(error))) if is_broken(&error) => {
                self.open_again()?;
                Err(access(*error))
            }
            Some(result) => result,
            None => {
                self.open_again()?;
                Err(access(redb::Error::PreviousIo))
            }
        }
    }

    /// After a disk has failed or was full, redb refuses everything until the file is opened anew.
    fn open_again(&self) -> Result<(), StateError> {
        let Some(path) = &self.0.path else {
            return Ok(());
        };
        let mut database = self
            .0
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // The old one holds the lock of the file.
        drop(database.take());
        *database = Some(open(path)?);
        Ok(())
    }

    /// The table of that name. One name has one type of row, always.
    pub fn table<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<T> {
        Table {
            state: self.clone(),
            name,
            rows: PhantomData,
        }
    }

    /// Writes several rows at once: all of them or, when `fill` or the disk fails, none.
    ///
    /// # Errors
    /// What `fill` returns, or when the disk cannot be written.
    pub fn write<E: From<StateError>>(
        &self,
        fill: impl FnOnce(&mut Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut batch = Batch { rows: Vec::new() };
        fill(&mut batch)?;
        if batch.rows.is_empty() {
            return Ok(());
        }
        self.apply(batch).map_err(E::from)
    }

    /// Reads a table; `None` where it has never been written.
    fn read<R>(
        &self,
        table: &'static str,
        read: impl FnOnce(
            redb::ReadOnlyTable<(&'static str, &'static str), &'static [u8]>,
        ) -> Result<R, StateError>,
    ) -> Result<Option<R>, StateError> {
        self.with(|database| {
            let reading = database.begin_read().map_err(access)?;
            let rows: Rows = TableDefinition::new(table);
            match reading.open_table(rows) {
                Ok(rows) => read(rows).map(Some),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(access(error)),
            }
        })
    }

    /// The row of that key as it lies on the disk.
    fn row(
        &self,
        table: &'static str,
        region: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let row = self.read(table, |rows| {
            let row = rows.get((region, key)).map_err(access)?;
            Ok(row.map(|bytes| bytes.value().to_vec()))
        })?;
        Ok(row.flatten())
    }

    /// All rows of a region of a table as they lie on the disk: key, bytes.
    fn region(
        &self,
        table: &'static str,
        region: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let rows = self.read(table, |rows| {
            let mut found = Vec::new();
            for row in rows.range((region, "")..).map_err(access)? {
                let (key, bytes) = row.map_err(access)?;
                let (of, key) = key.value();
                if of != region {
                    break;
                }
                found.push((key.to_owned(), bytes.value().to_vec()));
            }
            Ok(found)
        })?;
        Ok(rows.unwrap_or_default())
    }

    /// All rows of a table as they lie on the disk: region, key, bytes.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn raw(&self, table: &'static str) -> Result<Vec<(String, String, Vec<u8>)>, StateError> {
        let rows = self.read(table, |rows| {
            let mut found = Vec::new();
            for row in rows.iter().map_err(access)? {
                let (key, bytes) = row.map_err(access)?;
                let (region, key) = key.value();
                found.push((region.to_owned(), key.to_owned(), bytes.value().to_vec()));
            }
            Ok(found)
        })?;
        Ok(rows.unwrap_or_default())
    }

    fn apply(&self, batch: Batch) -> Result<(), StateError> {
        self.with(|database| {
            let writing = database.begin_write().map_err(access)?;
            for (table, region, key, value) in batch.rows {
                let rows: Rows = TableDefinition::new(table);
                let mut open = writing.open_table(rows).map_err(access)?;
                let key = (region.as_str(), key.as_str());
                match value {
                    Some(bytes) => drop(open.insert(key, bytes.as_slice()).map_err(access)?),
                    None => drop(open.remove(key).map_err(access)?),
                }
            }
            writing.commit().map_err(access)
        })
    }
}

/// Rows to write together; see [`State::write`].
pub struct Batch {
    rows: Vec<(&'static str, String, String, Option<Vec<u8>>)>,
}

impl Batch {
    /// Writes a row.
    ///
    /// # Errors
    /// When the row cannot be encoded.
    pub fn put<T: Serialize>(
        &mut self,
        table: &Table<T>,
        region: &str,
        key: &str,
        row: &T,
    ) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(row).map_err(|source| StateError::Encode {
            table: table.name,
            source,
        })?;
        self.rows
            .push((table.name, region.to_owned(), key.to_owned(), Some(bytes)));
        Ok(())
    }

    /// Writes or (without bytes) removes a row that somebody else encoded.
    pub fn raw(&mut self, table: &'static str, region: &str, key: &str, bytes: Option<Vec<u8>>) {
        self.rows
            .push((table, region.to_owned(), key.to_owned(), bytes));
    }

    /// Removes a row if it is there.
    pub fn delete<T>(&mut self, table: &Table<T>, region: &str, key: &str) {
        self.rows
            .push((table.name, region.to_owned(), key.to_owned(), None));
    }
}

/// One kind of row, keyed by region and a name that is unique within it.
pub struct Table<T> {
    state: State,
    name: &'static str,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Table {
            state: self.state.clone(),
            name: self.name,
            rows: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    fn decode(&self, key: &str, bytes: &[u8]) -> Result<T, StateError> {
        serde_json::from_slice(bytes).map_err(|source| StateError::Decode {
            table: self.name,
            key: key.to_owned(),
            source,
        })
    }

    /// The row of that key.
    ///
    /// # Errors
    /// When the disk or the row cannot be read. The same holds for every method here.
    pub fn get(&self, region: &str, key: &str) -> Result<Option<T>, StateError> {
        let row = self.state.row(self.name, region, key)?;
        row.map(|bytes| self.decode(key, &bytes)).transpose()
    }

    /// Writes a row.
    pub fn put(&self, region: &str, key: &str, row: &T) -> Result<(), StateError> {
        self.state.write(|batch| batch.put(self, region, key, row))
    }

    /// Removes a row; true if it was there.
    pub fn delete(&self, region: &str, key: &str) -> Result<bool, StateError> {
        let there = self.state.row(self.name, region, key)?.is_some();
        if there {
            self.state.write::<StateError>(|batch| {
                batch.delete(self, region, key);
                Ok(())
            })?;
        }
        Ok(there)
    }

    /// All rows of a region with their keys, in the order of the keys.
    pub fn list(&self, region: &str) -> Result<Vec<(String, T)>, StateError> {
        let rows = self.state.region(self.name, region)?;
        rows.into_iter()
            .map(|(key, bytes)| {
                let row = self.decode(&key, &bytes)?;
                Ok((key, row))
            })
            .collect()
    }

    /// All rows of all regions: region, key, row.
    pub fn all(&self) -> Result<Vec<(String, String, T)>, StateError> {
        let rows = self.state.raw(self.name)?;
        rows.into_iter()
            .map(|(region, key, bytes)| {
                let row = self.decode(&key, &bytes)?;
                Ok((region, key, row))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_kept_apart_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        {
            let state = State::open(&path).unwrap();
            let names = state.table::<String>("names");
            names.put("us-east-1", "a", &"one".to_owned()).unwrap();
            names.put("us-east-1", "b", &"two".to_owned()).unwrap();
            names.put("us-east-2", "a", &"three".to_owned()).unwrap();
        }
        let names = State::open(&path).unwrap().table::<String>("names");
        let east: Vec<_> = names.list("us-east-1").unwrap();
        assert_eq!(
            east,
            [("a".into(), "one".into()), ("b".into(), "two".into())]
        );
        assert_eq!(
            names.get("us-east-2", "a").unwrap().as_deref(),
            Some("three")
        );
        assert!(names.delete("us-east-1", "a").unwrap());
        assert!(!names.delete("us-east-1", "a").unwrap());
        assert_eq!(names.all().unwrap().len(), 2);
    }

    #[test]
    fn a_batch_that_fails_writes_nothing() {
        let state = State::in_memory().unwrap();
        let names = state.table::<String>("names");
        let result = state.write(|batch| {
            batch.put(&names, "", "a", &"one".to_owned())?;
            Err(StateError::Layout {
                path: PathBuf::new(),
                found: 9,
            })
        });
        assert!(result.is_err());
        assert_eq!(names.get("", "a").unwrap(), None);
    }

    /// A small file system of its own, gone when the test ends.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn new(size: &str) -> SmallDisk {
            let folder = tempfile::tempdir().unwrap();
            let flags = nix::mount::MsFlags::empty();
            let options = format!("size={size}");
            nix::mount::mount(
                Some("tmpfs"),
                folder.path(),
                Some("tmpfs"),
                flags,
                Some(options.as_str()),
            )
            .unwrap();
            SmallDisk(folder)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
        }
    }

    #[test]
    fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room() {
        let disk = SmallDisk::new("4m");
        let path = disk.0.path().join("state.redb");
        let state = State::open(&path).unwrap();
        let rows = state.table::<String>("rows");
        rows.put("", "kept", &"before".to_owned()).unwrap();
        let filler = disk.0.path().join("filler");
        // Whatever is free goes to the filler.
        let mut file = std::fs::File::create(&filler).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|count| count > 0) {}
        let big = "x".repeat(3 << 20);
        let error = rows.put("", "big", &big).unwrap_err();
        assert!(matches!(error, StateError::Full(_)), "{error}");
        assert_eq!(rows.get("", "kept").unwrap().as_deref(), Some("before"));
        assert_eq!(rows.get("", "big").unwrap(), None);
        drop(file);
        std::fs::remove_file(&filler).unwrap();
        rows.put("", "kept", &"after".to_owned()).unwrap();
        drop((rows, state));
        let rows = State::open(&path).unwrap().table::<String>("rows");
        assert_eq!(rows.get("", "kept").unwrap().as_deref(), Some("after"));
    }
}
