//! Uploads that begin before anyone knows what an image will be: layers travel while they are compressed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::{BlobWriter, Digest, ImageRef, Registry, Store};

/// Uploads blobs to one repository while they are written. Cheap to clone.
///
/// It is only ever ahead: what fails here is left to the push, which sends what the repository lacks and reports what is wrong.
#[derive(Clone)]
pub struct EarlyUploads {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    store: Store,
    to: ImageRef,
    runtime: Handle,
    running: Mutex<Vec<JoinHandle<Option<Digest>>>>,
}

impl fmt::Debug for EarlyUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyUploads")
            .field("to", &self.inner.to)
            .finish_non_exhaustive()
    }
}

impl EarlyUploads {
    /// To the repository of `to`, on the runtime that this is called on.
    pub fn new(registry: Registry, store: Store, to: ImageRef) -> Self {
        Self {
            inner: Arc::new(Inner {
                registry,
                store,
                to,
                runtime: Handle::current(),
                running: Mutex::default(),
            }),
        }
    }

    /// Begins to upload what is written.
    pub fn begin(&self, blob: &mut BlobWriter) {
        let Ok(growing) = blob.grow() else {
            // The disk will say why when the blob is written.
            return;
        };
        let inner = Arc::clone(&self.inner);
        let task = self.inner.runtime.spawn(async move {
            let uploading = inner
                .registry
                .upload_growing(&inner.store, &inner.to, growing);
            uploading.await.unwrap_or_else(|error| {
                tracing::debug!(%error, "an early upload failed; the push will send it");
                None
            })
        });
        self.inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Waits for all uploads that began, and tells what the repository has got.
    pub async fn ended(&self) -> BTreeSet<Digest> {
        let running = std::mem::take(
            &mut *self
                .inner
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut sent = BTreeSet::new();
        for task in running {
            sent.extend(task.await.ok().flatten());
        }
        sent
    }
}
