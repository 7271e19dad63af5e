//! Pushing an image.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;

use super::transport::{Action, Endpoint, Scope};
use super::{Registry, RegistryError};
use crate::spec::{Descriptor, Index, Manifest, media_type};
use crate::{Digest, How, ImageRef, Progress, ProgressEvent, Store};

/// What to do about a tag that another image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExistingTag {
    /// End with [`RegistryError::TagExists`]; nothing is uploaded.
    #[default]
    Refuse,
    /// Let the tag go over to ours.
    Move,
}

/// How to push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Tags for the image, besides the one of the reference.
    pub tags: Vec<String>,
    /// Repositories of the same registry that may hold the layers already.
    pub mount_from: Vec<String>,
    /// What to do about a tag that another image has.
    pub existing_tag: ExistingTag,
    /// Blobs that the repository got before ([`EarlyUploads`](crate::EarlyUploads)): it is not asked for them again.
    pub sent_early: BTreeSet<Digest>,
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushReport {
    /// The image by its digest: what a task definition should name.
    pub image: ImageRef,
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// Whether the registry had the image before, so that nothing was sent (tags aside).
    pub existed: bool,
    /// Blobs that were uploaded.
    pub sent: usize,
    /// Bytes that were uploaded.
    pub sent_bytes: u64,
    /// Blobs that the registry took from other repositories.
    pub mounted: usize,
    /// Blobs that the repository had.
    pub present: usize,
}

/// Finds out whether a manifest's content is to be sent at all.
type Needed<'a> = Pin<Box<dyn Future<Output = Result<bool, RegistryError>> + Send + 'a>>;

/// What is known of a blob before the registry is asked.
pub(super) struct Plan<'a> {
    /// Repositories that may have it.
    pub mount_from: &'a [String],
    /// Whether an upload is begun while it is asked for.
    pub likely_new: bool,
    /// Whether it is to be sent at all, as soon as that is known.
    pub needed: watch::Receiver<Option<bool>>,
}

/// Where blobs go, and who hears of it.
pub(super) struct Target<'a> {
    pub endpoint: Endpoint,
    pub scope: Scope,
    pub store: &'a Store,
    pub progress: &'a dyn Progress,
}

impl Registry {
    /// Pushes the image (or index of images) `image` out of `store` to the repository of `to`, and gives it the tag of
    /// `to` and those of `options`.
    ///
    /// An image that is there is not sent again: the first request asks for it, and if the tag has our digest that was the only one.
    ///
    /// # Errors
    /// [`RegistryError::TagExists`] before anything is sent; else when the registry cannot be asked or refuses, or the store lacks content.
    pub async fn push(
        &self,
        store: &Store,
        image: &Descriptor,
        to: &ImageRef,
        options: &PushOptions,
        progress: &dyn Progress,
    ) -> Result<PushReport, RegistryError> {
        let endpoint = self.endpoint(to, Action::Push);
        let scope = Scope::push(&endpoint, &options.mount_from);
        let target = &Target {
            endpoint,
            scope,
            store,
            progress,
        };
        let mut report = PushReport {
            image: to.with_digest(image.digest),
            digest: image.digest,
            existed: false,
            sent: 0,
            sent_bytes: 0,
            mounted: 0,
            present: 0,
        };

        // The first request goes alone: if the tag has our digest it is the only one, and those that follow find its authorisation.
        let tags: BTreeSet<&String> = to.tag.iter().chain(&options.tags).collect();
        let mut tags = tags.into_iter();
        let mut missing_tags = Vec::new();
        if let Some(first) = tags.next() {
            report.existed = self.has_tag(target, first, image, options).await?;
            if !report.existed {
                missing_tags.push(first);
            }
        }
        let ask_tags = async {
            let asked = tags.map(|tag| async move {
                let ours = self.has_tag(target, tag, image, options).await?;
                Ok::<_, RegistryError>((tag, ours))
            });
            try_join_all(asked).await
        };
        let others = if report.existed {
            ask_tags.await?
        } else if missing_tags.is_empty() {
            // There is no tag, and the manifest itself is what is asked for first.
            let known = self.has_manifest(target, image).await?;
            report.existed = known || {
                let needed = Box::pin(async { Ok(true) });
                !self
                    .push_content(target, image, options, &mut report, needed)
                    .await?
            };
            Vec::new()
        } else {
            let mut others = Vec::new();
            let needed = Box::pin(async {
                let known = self.has_manifest(target, image);
                let (known, asked) = futures_util::try_join!(known, ask_tags)?;
                let ours = asked.iter().any(|(_, ours)| *ours);
                others = asked;
                Ok(!known && !ours)
            });
            let sent = self
                .push_content(target, image, options, &mut report, needed)
                .await?;
            report.existed = !sent;
            others
        };
        missing_tags.extend(others.iter().filter(|(_, ours)| !ours).map(|(tag, _)| *tag));
        if report.existed && missing_tags.is_empty() {
            return Ok(report);
        }
        let content = store.read(&image.digest)?;
        if missing_tags.is_empty() {
            let by_digest = to.with_digest(image.digest);
            self.put_manifest(
                &target.endpoint,
                &target.scope,
                &by_digest,
                image,
                &content,
                options.existing_tag,
            )
            .await?;
        }
        for tag in missing_tags {
            let tagged = to.with_tag(tag);
            self.put_manifest(
                &target.endpoint,
                &target.scope,
                &tagged,
                image,
                &content,
                options.existing_tag,
            )
            .await?;
        }
        Ok(report)
    }

    /// Sends all that the manifest or index refers to, but not the thing itself, if `needed` says so; tells what it said. It is asked while the blobs are
    /// asked for, and nothing of them is sent before.
    async fn push_content(
        &self,
        target: &Target<'_>,
        image: &Descriptor,
        options: &PushOptions,
        report: &mut PushReport,
        needed: Needed<'_>,
    ) -> Result<bool, RegistryError> {
        if media_type::is_index(&image.media_type) {
            if !needed.await? {
                return Ok(false);
            }
            let index: Index = target.store.read_json(&image.digest)?;
            for manifest in &index.manifests {
                let needed = Box::pin(async {
                    let known = self.has_manifest(target, manifest).await?;
                    Ok(!known)
                });
                if !Box::pin(self.push_content(target, manifest, options, report, needed)).await? {
                    continue;
                }
                let content = target.store.read(&manifest.digest)?;
                let by_digest = target.endpoint.image.with_digest(manifest.digest);
                self.put_manifest(
                    &target.endpoint,
                    &target.scope,
                    &by_digest,
                    manifest,
                    &content,
                    ExistingTag::Move,
                )
                .await?;
            }
            return Ok(true);
        }
        let manifest: Manifest = target.store.read_json(&image.digest)?;
        let mut seen = BTreeSet::new();
        let mut blobs: Vec<&Descriptor> = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .filter(|blob| !blob.is_foreign() && seen.insert(blob.digest))
            .collect();
        // The biggest first: the last upload to end is then a short one.
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        // What differs from the last image is its configuration, and most often the topmost layer.
        let likely_new = |blob: &Descriptor| {
            blob.digest == manifest.config.digest
                || manifest.layers.last().map(|last| last.digest) == Some(blob.digest)
        };
        let (decide, decided) = watch::channel(None);
        let asked = async {
            let needed = needed.await;
            // Where nobody listens there is no blob.
            let _ = decide.send(Some(matches!(needed, Ok(true))));
            needed
        };
        let sending = stream::iter(blobs)
            .map(|blob| {
                let plan = Plan {
                    mount_from: &options.mount_from,
                    likely_new: likely_new(blob),
                    needed: decided.clone(),
                };
                async move {
                    target.progress.event(ProgressEvent::Started {
                        digest: blob.digest,
                        size: blob.size,
                    });
                    let how = if options.sent_early.contains(&blob.digest) {
                        How::Sent
                    } else {
                        self.upload(target, blob, plan).await?
                    };
                    target.progress.event(ProgressEvent::Finished {
                        digest: blob.digest,
                        how,
                    });
                    Ok::<_, RegistryError>((blob.size, how))
                }
            })
            .buffer_unordered(self.options.parallel.max(1))
            .try_collect::<Vec<_>>();
        // Whether it is needed counts first: where it is not, it does not matter what became of the blobs.
        let (needed, outcomes) = futures_util::join!(asked, sending);
        if !needed? {
            return Ok(false);
        }
        for (size, how) in outcomes? {
            match how {
                How::Mounted => report.mounted += 1,
                How::Exists => report.present += 1,
                How::Sent | How::Received => {
                    report.sent += 1;
                    report.sent_bytes += size;
                }
            }
        }
        Ok(true)
    }

    async fn has_manifest(
        &self,
        target: &Target<'_>,
        manifest: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let reference = manifest.digest.to_string();
        let found = self.head_at(&target.endpoint, &target.scope, &reference);
        Ok(found.await?.is_some())
    }

    async fn has_tag(
        &self,
        target: &Target<'_>,
        tag: &str,
        image: &Descriptor,
        options: &PushOptions,
    ) -> Result<bool, RegistryError> {
        let tagged = target.endpoint.image.with_tag(tag);
        let existing = options.existing_tag;
        self.tag_is_ours(&target.endpoint, &target.scope, &tagged, image, existing)
            .await
    }

    /// Whether the tag of `tagged` has our digest already.
    pub(super) async fn tag_is_ours(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        tagged: &ImageRef,
        ours: &Descriptor,
        existing: ExistingTag,
    ) -> Result<bool, RegistryError> {
        match self.head_at(endpoint, scope, &tagged.reference()).await? {
            Some(theirs) if theirs.digest == ours.digest => Ok(true),
            Some(theirs) if existing == ExistingTag::Refuse => Err(RegistryError::TagExists {
                repository: tagged.bare().to_string(),
                tag: tagged.reference(),
                theirs: theirs.digest,
                ours: ours.digest,
            }),
            _ => Ok(false),
        }
    }

    /// Puts the manifest under the tag or digest of `place`.
    pub(super) async fn put_manifest(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        place: &ImageRef,
        manifest: &Descriptor,
        content: &[u8],
        existing: ExistingTag,
    ) -> Result<(), RegistryError> {
        let doing = format!("put the manifest of {place}");
        let url = endpoint.url(&format!("manifests/{}", place.reference()));
        let content = bytes::Bytes::copy_from_slice(content);
        let response = self
            .send(endpoint, scope, &doing, |client| {
                client
                    .put(&url)
                    .header("content-type", &manifest.media_type)
                    .body(content.clone())
            })
            .await?;
        let response = match super::error::accept(response, &doing, endpoint).await {
            Ok(response) => response,
            Err(error) => {
                // An immutable tag that someone else took in the meantime: the registry refuses in its own words.
                let refused = matches!(
                    error,
                    RegistryError::Answer {
                        status: 400..=499,
                        ..
                    }
                );
                if refused
                    && place.tag.is_some()
                    && self
                        .tag_is_ours(endpoint, scope, place, manifest, existing)
                        .await?
                {
                    return Ok(());
                }
                return Err(error);
            }
        };
        let stored = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok());
        match stored.map(str::parse::<Digest>) {
            Some(Ok(stored)) if stored != manifest.digest => Err(RegistryError::Protocol {
                doing,
                what: format!(
                    "the registry stored {stored} instead of {}",
                    manifest.digest
                ),
            }),
            _ => Ok(()),
        }
    }
}
