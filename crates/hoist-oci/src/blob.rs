//! Writing one blob into the store.

use std::fs::File;
use std::io::{self, Write};

use tempfile::NamedTempFile;
use tokio::sync::watch;

use crate::digest::Hasher;
use crate::growing::{Growing, Growth};
use crate::store::{StoreError, make_readable};
use crate::{Digest, Store};

/// A blob that is being written. Nothing is seen of it before it is committed; dropped, it leaves nothing.
pub struct BlobWriter {
    store: Store,
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
    growth: Option<watch::Sender<Growth>>,
}

impl BlobWriter {
    pub(crate) fn new(store: Store) -> Result<Self, StoreError> {
        let folder = store.temporary();
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(&folder)
            .map_err(|source| StoreError::io("create a temporary file in", &folder, source))?;
        Ok(Self {
            store,
            file,
            hasher: Hasher::new(),
            size: 0,
            growth: None,
        })
    }

    /// Lets others read the blob while it is being written.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn grow(&mut self) -> Result<Growing, StoreError> {
        let file = self
            .file
            .reopen()
            .map_err(|source| StoreError::io("open", self.file.path(), source))?;
        let growth = self.growth.get_or_insert_with(|| {
            watch::Sender::new(Growth {
                size: self.size,
                whole: None,
            })
        });
        Ok(Growing::new(file, growth.subscribe()))
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Puts the blob into the store; into one that is no cache for good: it is on disk when this returns.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn commit(self) -> Result<(Digest, u64), StoreError> {
        let digest = self.digest();
        if let Some(growth) = &self.growth {
            growth.send_modify(|growth| growth.whole = Some(digest));
        }
        let path = self.store.blob_path(&digest);
        if self.store.has_all(&digest, self.size) {
            return Ok((digest, self.size));
        }
        let folder = path.parent().expect("a blob lies in a folder");
        self.store
            .sync(self.as_file())
            .map_err(|source| StoreError::io("write", self.file.path(), source))?;
        make_readable(self.as_file())
            .map_err(|source| StoreError::io("set the mode of", &path, source))?;
        self.file
            .persist(&path)
            .map_err(|failed| StoreError::io("write", &path, failed.error))?;
        self.store.sync_folder(folder)?;
        Ok((digest, self.size))
    }

    /// As [`commit`](Self::commit), but only if the content has this digest.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] when it has another one; the store is as before.
    pub fn commit_as(self, expected: &Digest) -> Result<u64, StoreError> {
        let actual = self.digest();
        if actual != *expected {
            return Err(StoreError::WrongDigest {
                expected: *expected,
                actual,
                size: self.size,
            });
        }
        self.commit().map(|(_, size)| size)
    }

    fn as_file(&self) -> &File {
        self.file.as_file()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.as_file().write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        if let Some(growth) = &self.growth {
            growth.send_modify(|growth| growth.size = self.size);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.as_file().flush()
    }
}
