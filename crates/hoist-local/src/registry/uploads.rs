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

/// One upload.
struct Upload {
    region: String,
    repository: String,
    writer: BlobWriter,
    touched: Millis,
}

/// An upload that somebody has taken out of the table. Dropped, for whatever reason (the request may end with its connection at
/// any point), it goes back, so that the client can go on from there.
pub(crate) struct Taken {
    registry: Registry,
    id: String,
    upload: Option<Upload>,
}

impl Taken {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.upload
            .as_ref()
            .map_or(0, |upload| upload.writer.size())
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let failed = |source| StoreError::Io {
            doing: "write an upload in",
            path: self.registry.store().root().to_owned(),
            source,
        };
        if let Some(upload) = &mut self.upload {
            upload.writer.write_all(bytes).map_err(failed)?;
            upload.touched = clock::now();
        }
        Ok(())
    }

    /// Ends the upload without keeping anything.
    pub fn cancel(mut self) {
        self.upload = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.registry.uploads().insert(self.id.clone(), upload);
        }
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

    /// Takes an upload out of the table: to add to it, to finish it or to cancel it.
    pub(crate) fn take_upload(
        &self,
        region: &str,
        repository: &str,
        id: &str,
    ) -> Result<Taken, Refusal> {
        let mut uploads = self.uploads();
        let is_ours = uploads
            .get(id)
            .is_some_and(|upload| upload.region == region && upload.repository == repository);
        let found = if is_ours { uploads.remove(id) } else { None };
        drop(uploads);
        let upload = found.ok_or_else(|| Refusal::NoUpload {
            repository: repository.to_owned(),
            id: id.to_owned(),
        })?;
        Ok(Taken {
            registry: self.clone(),
            id: id.to_owned(),
            upload: Some(upload),
        })
    }

    /// Makes a blob of the repository out of an upload.
    ///
    /// # Errors
    /// [`Refusal::WrongDigest`]; the upload is gone then.
    pub(crate) fn finish_upload(
        &self,
        mut taken: Taken,
        expected: &str,
    ) -> Result<Digest, Refusal> {
        let Some(Upload {
            region,
            repository,
            writer,
            ..
        }) = taken.upload.take()
        else {
            return Err(Refusal::Interrupted);
        };
        let actual = writer.digest();
        if actual.to_string() != expected {
            return Err(Refusal::WrongDigest {
                expected: expected.to_owned(),
                actual,
            });
        }
        // The link comes first: from then on nobody drops the content, should the store have it already. It counts once the
        // content is there.
        self.link(&region, &repository, &actual, writer.size())?;
        if let Err(error) = writer.commit_as(&actual) {
            self.unlink(&region, &repository, &actual)?;
            return Err(error.into());
        }
        Ok(actual)
    }

    /// Whether the upload waits for its next piece.
    #[cfg(test)]
    pub(super) fn upload_waits(&self, id: &str) -> bool {
        self.uploads().contains_key(id)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Upload>> {
        self.inner()
            .uploads
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
