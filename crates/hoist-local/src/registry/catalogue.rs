use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use hoist_oci::spec::Descriptor;
use hoist_oci::{Digest, ImageRef, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifests::ImageRecord;
use super::repositories::Repository;
use super::uploads::Uploads;
use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::home::Home;
use crate::state::{State, StateError, Table};

/// How long content that no image refers to is kept: a push sends the layers first and the manifest last.
const GRACE: Millis = 60 * 60 * 1000;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

pub(super) struct Inner {
    pub state: State,
    pub host: String,
    pub store: Store,
    /// By name.
    pub repositories: Table<Repository>,
    /// By `name@digest`.
    pub images: Table<ImageRecord>,
    /// By `name:tag`.
    pub tags: Table<Digest>,
    /// By `name@digest`.
    pub blobs: Table<Blob>,
    /// When images were scanned by request. By `name@digest`.
    pub scans: Table<Millis>,
    /// What scans find.
    pub findings: PathBuf,
    pub uploads: Uploads,
    /// Signs the tokens of `GetAuthorizationToken`.
    pub secret: String,
    /// Held by whoever reads and then writes.
    changing: Mutex<()>,
}

/// That a repository has a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// When it came.
    pub pushed: Millis,
}

/// Why the registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RegistryOpenError {
    /// The blob store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The random source.
    #[error("failed to make the secret of the registry's tokens")]
    Random(#[from] std::io::Error),
}

impl Registry {
    /// Opens the registry of a home, which clients reach at `host` (with its port), and drops content that nothing refers to any more.
    ///
    /// # Errors
    /// When the blob store or the state cannot be used.
    pub fn open(home: &Home, state: &State, host: &str) -> Result<Self, RegistryOpenError> {
        let secrets = state.table::<String>("ecr-secret");
        let secret = match secrets.get("", "token")? {
            Some(secret) => secret,
            None => {
                let secret = crate::ids::secret(43)?;
                secrets.put("", "token", &secret)?;
                secret
            }
        };
        let registry = Self(Arc::new(Inner {
            state: state.clone(),
            host: host.to_owned(),
            store: Store::open(&home.file("registry"))?,
            repositories: state.table("ecr-repositories"),
            images: state.table("ecr-images"),
            tags: state.table("ecr-tags"),
            blobs: state.table("ecr-blobs"),
            scans: state.table("ecr-scans"),
            findings: home.file(crate::ecr::FINDINGS),
            uploads: Uploads::default(),
            secret,
            changing: Mutex::new(()),
        }));
        registry.sweep()?;
        Ok(registry)
    }

    /// Host and port: the first part of every `repositoryUri`.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// What is set for the whole registry of an account and a region, by its name.
    pub(crate) fn account(&self) -> Table<Value> {
        self.0.state.table("ecr-account")
    }

    /// The file that says what scans find.
    pub(crate) fn findings(&self) -> &Path {
        &self.0.findings
    }

    /// Where the content of all repositories lies.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What an image reference stands for in the repositories of `region`; its host is not looked at. The content is in
    /// [`store`](Self::store).
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn resolve(&self, region: &str, image: &ImageRef) -> Result<Option<Descriptor>, ApiError> {
        let found = match (&image.digest, &image.tag) {
            (Some(digest), _) => self.image(region, &image.repository, digest)?,
            (None, tag) => self.tagged(
                region,
                &image.repository,
                tag.as_deref().unwrap_or("latest"),
            )?,
        };
        Ok(found.map(|found| found.descriptor()))
    }

    /// The record of an image.
    pub fn image(
        &self,
        region: &str,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<ImageRecord>, StateError> {
        self.0.images.get(region, &format!("{repository}@{digest}"))
    }

    /// The image that has a tag.
    pub fn tagged(
        &self,
        region: &str,
        repository: &str,
        tag: &str,
    ) -> Result<Option<ImageRecord>, StateError> {
        match self.0.tags.get(region, &format!("{repository}:{tag}"))? {
            Some(digest) => self.image(region, repository, &digest),
            None => Ok(None),
        }
    }

    /// All images of a repository, by digest.
    pub fn images(&self, region: &str, repository: &str) -> Result<Vec<ImageRecord>, StateError> {
        let images = self.0.images.list(region)?;
        Ok(images
            .into_iter()
            .filter(|(key, _)| belongs(key, repository, '@'))
            .map(|(_, image)| image)
            .collect())
    }

    /// All tags of a repository with what they stand for, in their order.
    pub fn tags(
        &self,
        region: &str,
        repository: &str,
    ) -> Result<Vec<(String, Digest)>, StateError> {
        let tags = self.0.tags.list(region)?.into_iter();
        Ok(tags
            .filter(|(key, _)| belongs(key, repository, ':'))
            .map(|(key, digest)| (key[repository.len() + 1..].to_owned(), digest))
            .collect())
    }

    /// A blob that a repository has. Manifests are not among them.
    pub fn blob(
        &self,
        region: &str,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Blob>, StateError> {
        let blob = self
            .0
            .blobs
            .get(region, &format!("{repository}@{digest}"))?;
        Ok(blob.filter(|_| self.0.store.has(digest)))
    }

    /// Gives a repository a blob that is in the store, or will be in a moment.
    pub(crate) fn link(
        &self,
        region: &str,
        repository: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StateError> {
        let _changing = self.changing();
        self.link_unlocked(region, repository, digest, size)
    }

    fn link_unlocked(
        &self,
        region: &str,
        repository: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StateError> {
        let pushed = clock::now();
        let blob = Blob { size, pushed };
        self.0
            .blobs
            .put(region, &format!("{repository}@{digest}"), &blob)
    }

    /// Takes a blob away from a repository.
    pub(super) fn unlink(
        &self,
        region: &str,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, StateError> {
        self.0
            .blobs
            .delete(region, &format!("{repository}@{digest}"))
    }

    /// Mounts: gives `repository` the blob of another one.
    pub(super) fn mount(
        &self,
        region: &str,
        repository: &str,
        from: &str,
        digest: &Digest,
    ) -> Result<bool, StateError> {
        let setting = self.account().get(region, "BLOB_MOUNTING")?;
        if setting.is_some_and(|value| value == "DISABLED") {
            return Ok(false);
        }
        let _changing = self.changing();
        let Some(blob) = self.blob(region, from, digest)? else {
            return Ok(false);
        };
        self.link_unlocked(region, repository, digest, blob.size)?;
        Ok(true)
    }

    /// Removes links and content that no image refers to and that are not of a push under way.
    pub(super) fn sweep(&self) -> Result<(), RegistryOpenError> {
        let _changing = self.changing();
        let (old, mut used, mut linked) = (clock::now() - GRACE, BTreeSet::new(), BTreeSet::new());
        for (region, key, image) in self.0.images.all()? {
            let repository = key.split('@').next().unwrap_or_default().to_owned();
            linked.insert(image.digest);
            for digest in &image.refers_to {
                used.insert((region.clone(), repository.clone(), *digest));
            }
        }
        let mut unused = Vec::new();
        let mut candidates = BTreeSet::new();
        for (region, key, blob) in self.0.blobs.all()? {
            let Some((repository, digest)) = key.split_once('@') else {
                continue;
            };
            let Ok(digest) = digest.parse::<Digest>() else {
                continue;
            };
            if blob.pushed > old || used.contains(&(region.clone(), repository.to_owned(), digest))
            {
                linked.insert(digest);
            } else {
                candidates.insert(digest);
                unused.push((region, key));
            }
        }
        self.0.state.write::<StateError>(|batch| {
            for (region, key) in &unused {
                batch.delete(&self.0.blobs, region, key);
            }
            Ok(())
        })?;
        for digest in candidates.difference(&linked) {
            self.0.store.remove(digest)?;
        }
        Ok(())
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.0
            .changing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether a key is of that repository: names hold neither `@` nor `:`.
fn belongs(key: &str, repository: &str, separator: char) -> bool {
    key.strip_prefix(repository)
        .is_some_and(|rest| rest.starts_with(separator))
}

#[cfg(test)]
mod tests {
    use hoist_oci::spec::media_type;

    use super::super::testing::{manifest, registry, repository};
    use super::*;

    #[test]
    fn content_that_no_image_refers_to_goes_after_a_while() {
        let (_folder, registry) = registry();
        registry
            .create_repository("eu-west-1", &repository("shop"))
            .unwrap();
        let content = manifest(&registry, "eu-west-1", "shop", b"used");
        registry
            .put_manifest(
                "eu-west-1",
                "shop",
                &content,
                Some(media_type::MANIFEST),
                Some("v1"),
                None,
            )
            .unwrap();
        for layer in [b"old".as_slice(), b"new"] {
            let digest = registry.store().put(layer).unwrap();
            registry.link("eu-west-1", "shop", &digest, 3).unwrap();
        }
        for layer in [b"used".as_slice(), b"old"] {
            let long_ago = Blob {
                size: 4,
                pushed: clock::now() - 2 * GRACE,
            };
            let key = format!("shop@{}", Digest::of(layer));
            registry
                .inner()
                .blobs
                .put("eu-west-1", &key, &long_ago)
                .unwrap();
        }
        registry.sweep().unwrap();
        let has = |layer: &[u8]| {
            let digest = Digest::of(layer);
            (
                registry
                    .blob("eu-west-1", "shop", &digest)
                    .unwrap()
                    .is_some(),
                registry.store().has(&digest),
            )
        };
        assert_eq!(has(b"used"), (true, true));
        assert_eq!(has(b"new"), (true, true), "a push may be under way");
        assert_eq!(has(b"old"), (false, false));
    }
}
