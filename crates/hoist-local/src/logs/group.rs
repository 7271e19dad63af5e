//! One log group on disk, and the streams in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::stream::{Described, Stream};
use crate::clock::Millis;

/// A group's settings, in `group.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub name: String,
    pub created: Millis,
    #[serde(default)]
    pub retention_days: Option<i64>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub class: String,
}

/// A group.
pub struct Group {
    pub settings: Settings,
    folder: PathBuf,
    pub streams: BTreeMap<String, Stream>,
    /// It was deleted while somebody waited for it.
    pub gone: bool,
}

impl Group {
    /// Where the group of that name lies. Names hold slashes and may be longer than a file name.
    pub fn folder(region: &Path, name: &str) -> PathBuf {
        region.join(short(name))
    }

    pub fn create(folder: PathBuf, settings: Settings) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let group = Self {
            settings,
            folder,
            streams: BTreeMap::new(),
            gone: false,
        };
        group.save()?;
        Ok(group)
    }

    /// Opens the group in `folder`; `None` if it has none.
    pub fn open(folder: PathBuf) -> io::Result<Option<Self>> {
        let settings: Settings = match fs::read(folder.join("group.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut streams = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Some(stream) = Stream::open(entry.path())?
            {
                streams.insert(stream.described.name.clone(), stream);
            }
        }
        Ok(Some(Self {
            settings,
            folder,
            streams,
            gone: false,
        }))
    }

    /// Writes the settings.
    pub fn save(&self) -> io::Result<()> {
        crate::settings::write_whole(
            &self.folder.join("group.json"),
            &serde_json::to_vec(&self.settings)?,
        )
    }

    /// Makes a stream; false if it is there.
    pub fn create_stream(&mut self, name: &str, now: Millis) -> io::Result<bool> {
        if self.streams.contains_key(name) {
            return Ok(false);
        }
        let described = Described {
            name: name.to_owned(),
            created: now,
        };
        let stream = Stream::create(self.folder.join(short(name)), described)?;
        self.streams.insert(name.to_owned(), stream);
        Ok(true)
    }

    /// Removes a stream; false if there is none.
    pub fn delete_stream(&mut self, name: &str) -> io::Result<bool> {
        let Some(stream) = self.streams.remove(name) else {
            return Ok(false);
        };
        stream.delete()?;
        Ok(true)
    }

    /// Removes the group and everything in it.
    pub fn delete(&mut self) -> io::Result<()> {
        self.gone = true;
        // Without its settings it is gone, whatever happens before the rest is.
        fs::remove_file(self.folder.join("group.json"))?;
        fs::remove_dir_all(&self.folder)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.streams.values().map(Stream::bytes).sum()
    }
}

fn short(name: &str) -> String {
    hex::encode(&Sha256::digest(name)[..16])
}
