//! The cache of steps: what a step made, by everything that it depends on.
//!
//! A record is written after its layer is in the store, by renaming a finished file, so that a process killed at any moment leaves either
//! nothing or the truth. Whoever runs a step holds its lock; a second build of the same waits and then finds the record.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hoist_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::error::{BuildError, Result};
use crate::prune;

/// Changes whenever the same inputs would give another result than before.
const VERSION: &[u8] = b"hoist step 1";

/// Collects what a step depends on. Every field is delimited, so that no two different lists look alike.
pub(crate) struct KeyBuilder(Hasher);

impl KeyBuilder {
    pub(crate) fn new(kind: &str) -> KeyBuilder {
        let mut key = KeyBuilder(Hasher::new());
        key.field(VERSION);
        key.field(kind.as_bytes());
        key
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) -> &mut KeyBuilder {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn list<T: AsRef<[u8]>>(
        &mut self,
        items: impl IntoIterator<Item = T>,
    ) -> &mut KeyBuilder {
        let mut count = 0u64;
        for item in items {
            self.field(item.as_ref());
            count += 1;
        }
        self.0.update(&count.to_le_bytes());
        self
    }

    pub(crate) fn key(self) -> Digest {
        self.0.finish()
    }
}

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its layer; none if nothing changed.
    pub diff_id: Option<Digest>,
}

/// Small files by digest, in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(crate) fn new(folder: PathBuf) -> Records {
        Records { folder }
    }

    /// The record of a key. A damaged one counts as absent: the step runs again.
    pub(crate) fn get<T: for<'de> Deserialize<'de>>(&self, key: &Digest) -> Option<T> {
        serde_json::from_slice(&fs::read(self.folder.join(key.hex())).ok()?).ok()
    }

    /// Says that a record was used now.
    pub(crate) fn touch(&self, key: &Digest) {
        prune::touch(&self.folder.join(key.hex()));
    }

    pub(crate) fn put<T: Serialize>(&self, key: &Digest, record: &T) -> Result<()> {
        let path = self.folder.join(key.hex());
        let failed =
            |error| BuildError::io(format!("write the cache record {}", path.display()), error);
        let json = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".new-")
                .tempfile_in(&self.folder)?;
            file.write_all(&json)?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(failed)
    }
}

/// Held by whoever does what a key stands for; freed when the process ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of a name. `waiting` is called once if somebody else has it.
    pub(crate) fn take(folder: &Path, name: &str, waiting: impl FnOnce()) -> Result<Lock> {
        let path = folder.join(name);
        let failed = |error| BuildError::io(format!("lock {}", path.display()), error);
        let file = File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                waiting();
                file.lock().map_err(failed)?;
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Lock { _file: file })
    }

    /// Takes the lock of a name if nobody has it.
    pub(crate) fn attempt(folder: &Path, name: &str) -> Result<Option<Lock>> {
        let path = folder.join(name);
        let failed = |error| BuildError::io(format!("lock {}", path.display()), error);
        let file = File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_lists_have_different_keys() {
        let key = |items: &[&str]| {
            let mut key = KeyBuilder::new("test");
            key.list(items);
            key.key()
        };
        let keys = [
            key(&[]),
            key(&[""]),
            key(&["a", "b"]),
            key(&["ab"]),
            key(&["ab", ""]),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn records_come_back_and_damaged_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().into());
        let key = Digest::of(b"key");
        assert_eq!(records.get::<Record>(&key), None);
        let record = Record {
            diff_id: Some(Digest::of(b"layer")),
        };
        records.put(&key, &record).unwrap();
        assert_eq!(records.get::<Record>(&key), Some(record));
        fs::write(dir.path().join(key.hex()), "{").unwrap();
        assert_eq!(records.get::<Record>(&key), None);
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), "x", || panic!("nobody has it")).unwrap();
        let (waits, waited) = std::sync::mpsc::channel();
        let folder = dir.path().to_owned();
        let second = std::thread::spawn(move || {
            Lock::take(&folder, "x", || waits.send(()).unwrap()).is_ok()
        });
        waited.recv().unwrap();
        assert!(!second.is_finished());
        drop(first);
        assert!(second.join().unwrap());
    }
}
