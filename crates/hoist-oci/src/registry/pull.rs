//! Pulling an image.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use reqwest::header::RANGE;

use super::transport::{Action, Endpoint, Lost, Scope, Silent, lost};
use super::wait::SILENT;
use super::{Registry, RegistryError, error, media_type_of};
use crate::spec::{Descriptor, Index, Manifest, Platform, media_type};
use crate::store::no_such_platform;
use crate::{BlobWriter, How, Image, ImageRef, Progress, ProgressEvent, Store, StoreError};

impl Registry {
    /// Pulls the image for `platform` that `image` names into `store`; what is there is not fetched again. Every blob is
    /// verified before it is stored.
    ///
    /// A reference with a digest whose content is all in the store needs no request. Of an index, only the image for the
    /// platform is fetched. The pulled layers do not enter the store's layer table: whoever unpacks them and finds that
    /// the diff ids are true may do that.
    ///
    /// # Errors
    /// [`RegistryError::is_not_found`] if it is not there; fails when the registry cannot be asked, refuses, sends
    /// something else than the digests say, or has nothing for the platform.
    pub async fn pull(
        &self,
        image: &ImageRef,
        platform: &Platform,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Image, RegistryError> {
        if let Some(found) = already_here(image, platform, store) {
            return Ok(found);
        }
        let endpoint = self.endpoint(image, Action::Pull);
        let scope = Scope::pull(&endpoint);
        let (mut descriptor, mut content) = self.manifest(image).await?;
        store.put(&content)?;
        if media_type::is_index(&descriptor.media_type) {
            let index: Index = parse(&content, store, &descriptor)?;
            let chosen = index
                .for_platform(platform)
                .ok_or_else(|| no_such_platform(&descriptor.digest, &index, platform))?
                .clone();
            content = match store.read(&chosen.digest) {
                Ok(content) => content,
                Err(_) => self.manifest(&image.with_digest(chosen.digest)).await?.1,
            };
            store.put(&content)?;
            descriptor = chosen;
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            return Err(StoreError::NotAnImage {
                digest: descriptor.digest,
                media_type: descriptor.media_type,
            }
            .into());
        }
        let manifest: Manifest = parse(&content, store, &descriptor)?;
        let mut seen = BTreeSet::new();
        let all = std::iter::once(&manifest.config).chain(&manifest.layers);
        // Owned, so that the future is `Send` (rust-lang/rust#102211).
        let blobs: Vec<Descriptor> = all
            .filter(|blob| seen.insert(blob.digest))
            .cloned()
            .collect();
        let (endpoint, scope) = (&endpoint, &scope);
        stream::iter(blobs)
            .map(|blob| async move {
                progress.event(ProgressEvent::Started {
                    digest: blob.digest,
                    size: blob.size,
                });
                let how = self
                    .download(endpoint, scope, store, &blob, progress)
                    .await?;
                progress.event(ProgressEvent::Finished {
                    digest: blob.digest,
                    how,
                });
                Ok::<_, RegistryError>(())
            })
            .buffer_unordered(self.options.parallel.max(1))
            .try_collect::<Vec<()>>()
            .await?;
        Ok(store.image(&descriptor, platform)?)
    }

    /// Brings one blob of the repository of `image` into `store`, verified; what is there is not fetched again.
    ///
    /// # Errors
    /// [`RegistryError::is_not_found`] if it is not there; fails when the registry cannot be asked, refuses, or sends something else.
    pub async fn fetch_blob(
        &self,
        image: &ImageRef,
        store: &Store,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<How, RegistryError> {
        let endpoint = self.endpoint(image, Action::Pull);
        let scope = Scope::pull(&endpoint);
        self.download(&endpoint, &scope, store, blob, progress)
            .await
    }

    /// Brings one blob into the store. After a drop it goes on where it was.
    async fn download(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        store: &Store,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<How, RegistryError> {
        if store.has_all(&blob.digest, blob.size) {
            return Ok(How::Exists);
        }
        let doing = format!("fetch the blob {} from {}", blob.digest, endpoint.name());
        let url = endpoint.url(&format!("blobs/{}", blob.digest));
        let mut writer = store.writer()?;
        let mut attempt = 1;
        loop {
            let before = writer.size();
            let response = self
                .send(endpoint, scope, &doing, |client| {
                    let request = client.get(&url);
                    if before > 0 {
                        request.header(RANGE, format!("bytes={before}-"))
                    } else {
                        request
                    }
                })
                .await?;
            let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
                && response
                    .headers()
                    .get("content-range")
                    .and_then(|range| range.to_str().ok())
                    .is_none_or(|range| range.starts_with(&format!("bytes {before}-")));
            let response = error::accept(response, &doing, endpoint).await?;
            if before > 0 && !goes_on {
                writer = store.writer()?;
            }
            let silence = self.options.silence;
            match receive(response, store, blob, &mut writer, progress, silence).await? {
                Ok(()) => break,
                Err(lost) => {
                    attempt = if writer.size() > before {
                        1
                    } else {
                        attempt + 1
                    };
                    if attempt > self.options.retries {
                        return Err(RegistryError::Unreachable {
                            doing,
                            host: endpoint.host.clone(),
                            attempts: attempt,
                            source: lost,
                        });
                    }
                    let pause = self.pause(attempt, None);
                    self.wait(&endpoint.host, SILENT, attempt, pause).await;
                }
            }
        }
        let digest = blob.digest;
        // Syncing a big file takes a while.
        let committed = tokio::task::spawn_blocking(move || writer.commit_as(&digest)).await;
        committed.expect("committing a blob does not panic")?;
        Ok(How::Received)
    }
}

/// Writes the body as it comes; the inner error is a lost connection, the outer one a lasting failure.
async fn receive(
    response: reqwest::Response,
    store: &Store,
    blob: &Descriptor,
    writer: &mut BlobWriter,
    progress: &dyn Progress,
    silence: Duration,
) -> Result<Result<(), Lost>, RegistryError> {
    let mut body = response.bytes_stream();
    loop {
        match tokio::time::timeout(silence, body.next()).await {
            Ok(Some(Ok(piece))) => {
                let path = store.blob_path(&blob.digest);
                writer
                    .write_all(&piece)
                    .map_err(|source| StoreError::io("write", &path, source))?;
                progress.event(ProgressEvent::Advanced {
                    digest: blob.digest,
                    bytes: writer.size(),
                });
                if writer.size() > blob.size {
                    let (expected, actual) = (blob.digest, writer.digest());
                    return Err(StoreError::WrongDigest {
                        expected,
                        actual,
                        size: writer.size(),
                    }
                    .into());
                }
            }
            Ok(Some(Err(error))) => return Ok(Err(lost(error))),
            Ok(None) => return Ok(Ok(())),
            Err(_) => return Ok(Err(Silent(silence).into())),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    content: &[u8],
    store: &Store,
    descriptor: &Descriptor,
) -> Result<T, StoreError> {
    serde_json::from_slice(content).map_err(|source| StoreError::Json {
        path: store.blob_path(&descriptor.digest),
        source,
    })
}

/// The image, if the reference says which one by digest and nothing of it is missing.
fn already_here(image: &ImageRef, platform: &Platform, store: &Store) -> Option<Image> {
    let digest = image.digest?;
    let content = store.read(&digest).ok()?;
    let found = store
        .image(&Descriptor::of(media_type_of(&content), &content), platform)
        .ok()?;
    found
        .manifest
        .layers
        .iter()
        .all(|layer| store.has_all(&layer.digest, layer.size))
        .then_some(found)
}
