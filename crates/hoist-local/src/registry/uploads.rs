use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;

use hoist_oci::{BlobWriter, Digest, StoreError};

use super::catalogue::Registry;
use super::refusal::Refusal;
use crate::clock::{self, Millis};
use crate::ids;

/// An upload that nobody continues for so long is dropped.
const IDLE: Millis = 60 * 60 * 1000;

/// The uploads under way. They do not outlive the daemon: a client that finds its upload unknown begins anew.
#[derive(Default)]
pub(super) struct Uploads(Mutex<BTreeMap<String, Upload>>);

/// One upload. Whoever adds to it takes it out of the table for the time.
pub(crate) struct Upload {
    region: String,
    repository: String,
    writer: BlobWriter,
    touched: Millis,
}

impl Upload {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.writer.size()
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let failed = |source| StoreError::Io {
            doing: "write an upload in",
            path: std::path::PathBuf::from("the registry"),
            source,
        };
        self.writer.write_all(bytes).map_err(failed)?;
        self.touched = clock::now();
        Ok(())
    }
}

impl Registry {
    /// Begins an upload and gives its id.
    pub(crate) fn begin_upload(&self, region: &str, repository: &str) -> Result<String, Refusal> {
        self.repository(region, repository)?;
        let upload = Upload {
            region: region.to_owned(),
            repository: repository.to_owned(),
            writer: self.store().writer()?,
            touched: clock::now(),
        };
        let id = ids::uuid();
        let mut uploads = self.uploads();
        let old = clock::now() - IDLE;
        uploads.retain(|_, upload| upload.touched > old);
        uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Takes an upload out of the table: to add to it, to finish it or to drop it.
    pub(crate) fn take_upload(
        &self,
        region: &str,
        repository: &str,
        id: &str,
    ) -> Result<Upload, Refusal> {
        let mut uploads = self.uploads();
        let is_ours = uploads
            .get(id)
            .is_some_and(|upload| upload.region == region && upload.repository == repository);
        let found = if is_ours { uploads.remove(id) } else { None };
        found.ok_or_else(|| Refusal::NoUpload {
            repository: repository.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Puts an upload back.
    pub(crate) fn keep_upload(&self, id: &str, upload: Upload) {
        self.uploads().insert(id.to_owned(), upload);
    }

    /// Bytes that an upload has so far.
    pub(crate) fn upload_size(
        &self,
        region: &str,
        repository: &str,
        id: &str,
    ) -> Result<u64, Refusal> {
        let upload = self.take_upload(region, repository, id)?;
        let size = upload.size();
        self.keep_upload(id, upload);
        Ok(size)
    }

    /// Makes a blob of the repository out of an upload.
    ///
    /// # Errors
    /// [`Refusal::WrongDigest`]; the upload is gone then.
    pub(crate) fn finish_upload(&self, upload: Upload, expected: &str) -> Result<Digest, Refusal> {
        let actual = upload.writer.digest();
        if actual.to_string() != expected {
            return Err(Refusal::WrongDigest {
                expected: expected.to_owned(),
                actual,
            });
        }
        // The link comes first: from then on nobody drops the content, should the store have it already. It counts once the
        // content is there.
        let Upload {
            region,
            repository,
            writer,
            ..
        } = upload;
        self.link(&region, &repository, &actual, writer.size())?;
        if let Err(error) = writer.commit_as(&actual) {
            self.unlink(&region, &repository, &actual)?;
            return Err(error.into());
        }
        Ok(actual)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Upload>> {
        self.inner()
            .uploads
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
