//! The cache of steps in a registry: what an empty machine needs to go on where another one was.
//!
//! It is an artifact beside the images: its configuration lists keys of steps with what they made, its layers are the layers themselves,
//! which the registry holds once for images and cache alike. A machine that takes it over reads the list only; a layer is fetched when
//! its files are needed, and one that only goes into the next image not at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hoist_oci::spec::{Descriptor, Manifest};
use hoist_oci::{Digest, ImageRef, Registry, RegistryError, Silent};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::cache::Record;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::RegistryCache;
use crate::workspace::Workspace;

/// The media type of the list.
const LIST: &str = "application/vnd.hoist.cache.v1+json";
/// The form of the list; another one is ignored.
const VERSION: u32 = 1;

/// What steps made, and in which blobs that is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct List {
    version: u32,
    /// Keys of steps, with the diff ids of their layers.
    steps: BTreeMap<String, Record>,
    /// Digests of selections of files in stages and images, by their keys.
    #[serde(default)]
    selections: BTreeMap<String, Digest>,
    /// Blobs by the diff ids of their content.
    layers: BTreeMap<String, Descriptor>,
}

/// The cache of a registry during one build: what it offers, and what this build will add.
#[derive(Default)]
pub(crate) struct RemoteCache {
    offered: List,
    from: Option<(Registry, ImageRef)>,
    used: Mutex<List>,
}

impl RemoteCache {
    /// Reads what a registry offers. A registry that has nothing, or cannot be reached, offers nothing.
    pub(crate) fn open(
        workspace: &Workspace,
        runtime: &Handle,
        at: &RegistryCache,
    ) -> std::result::Result<RemoteCache, String> {
        let (registry, reference) = (Registry::new(at.registry.clone()), &at.reference);
        let read = async {
            let (_, manifest) = registry.manifest(reference).await?;
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else {
                return Ok::<_, RegistryError>(None);
            };
            if manifest.config.media_type != LIST {
                return Ok(None);
            }
            registry
                .fetch_blob(reference, &workspace.store, &manifest.config, &Silent)
                .await?;
            Ok(Some(workspace.store.read(&manifest.config.digest)?))
        };
        let mut cache = RemoteCache {
            from: Some((registry.clone(), reference.clone())),
            ..RemoteCache::default()
        };
        match runtime.block_on(read) {
            Ok(Some(json)) => {
                cache.offered = serde_json::from_slice(&json)
                    .ok()
                    .filter(|list: &List| list.version == VERSION)
                    .unwrap_or_default();
                Ok(cache)
            }
            Ok(None) => Ok(cache),
            Err(error) if error.is_not_found() => Ok(cache),
            Err(error) => Err(format!("failed to read the cache {reference}: {error}")),
        }
    }

    /// What a step made, if the registry knows.
    pub(crate) fn step(&self, key: &Digest) -> Option<Record> {
        self.offered.steps.get(&key.hex()).cloned()
    }

    pub(crate) fn selection(&self, key: &Digest) -> Option<Digest> {
        self.offered.selections.get(&key.hex()).copied()
    }

    /// The blob of a layer in the registry. It is not on this machine yet.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<Descriptor> {
        self.offered.layers.get(&diff_id.hex()).cloned()
    }

    /// Brings a layer to this machine, if the registry has it.
    pub(crate) fn fetch(
        &self,
        runtime: &Handle,
        workspace: &Workspace,
        blob: &Descriptor,
    ) -> Result<()> {
        let Some((registry, reference)) = &self.from else {
            return Ok(());
        };
        let fetched =
            runtime.block_on(registry.fetch_blob(reference, &workspace.store, blob, &Silent));
        fetched.map(drop).map_err(|error| {
            BuildError::from_source(
                BuildErrorKind::Image,
                format!("fetch the layer {} from the cache {reference}", blob.digest),
                error,
            )
        })
    }

    /// Notes what a step of this build made, so that it can be offered to others.
    pub(crate) fn note_step(&self, key: &Digest, layer: Option<(&Digest, &Descriptor)>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let diff_id = layer.map(|(diff_id, _)| *diff_id);
        used.steps.insert(key.hex(), Record { diff_id });
        if let Some((diff_id, blob)) = layer {
            used.layers.insert(diff_id.hex(), blob.clone());
        }
    }

    pub(crate) fn note_selection(&self, key: &Digest, digest: &Digest) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.selections.insert(key.hex(), *digest);
    }

    /// Puts what this build used into the store as an artifact, to be pushed beside the image.
    pub(crate) fn store(&self, workspace: &Workspace) -> Result<Descriptor> {
        let used = self
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        used.store(workspace)
    }
}

/// One artifact of those of two builds.
pub(crate) fn joined(
    workspace: &Workspace,
    one: &Descriptor,
    other: &Descriptor,
) -> Result<Descriptor> {
    let failed =
        |error| BuildError::from_source(BuildErrorKind::Io, "read the list of the cache", error);
    let store = &workspace.store;
    let mut all = List::default();
    for cache in [one, other] {
        let manifest: Manifest = store.read_json(&cache.digest).map_err(failed)?;
        let list: List = store.read_json(&manifest.config.digest).map_err(failed)?;
        all.steps.extend(list.steps);
        all.selections.extend(list.selections);
        all.layers.extend(list.layers);
    }
    all.store(workspace)
}

impl List {
    fn store(self, workspace: &Workspace) -> Result<Descriptor> {
        let used = List {
            version: VERSION,
            ..self
        };
        let failed = |error| {
            BuildError::from_source(BuildErrorKind::Io, "store the list of the cache", error)
        };
        let json =
            |error: serde_json::Error| BuildError::io("write the list of the cache", error.into());
        let list = serde_json::to_vec(&used).map_err(json)?;
        workspace.store.put(&list).map_err(failed)?;
        let layers = used.layers.into_values().collect();
        let manifest = Manifest::new(Descriptor::of(LIST, &list), layers);
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        workspace.store.put(&manifest).map_err(failed)?;
        Ok(Descriptor::of(
            hoist_oci::spec::media_type::MANIFEST,
            &manifest,
        ))
    }
}
