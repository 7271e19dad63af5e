//! What the tests of the registry client share.

pub mod proxy;
pub mod server;

use std::sync::Mutex;

use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use hoist_oci::{
    Digest, How, ImageRef, Progress, ProgressEvent, PushOptions, PushReport, Registry,
    RegistryError, RegistryOptions, Silent, Store,
};

/// Pushes with the options that are the default, in silence.
pub async fn push(
    registry: &Registry,
    store: &Store,
    image: &Descriptor,
    to: &ImageRef,
) -> Result<PushReport, RegistryError> {
    let options = PushOptions::default();
    registry.push(store, image, to, &options, &Silent).await
}

/// A store in a folder of its own.
pub fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

/// A client that does not wait long between attempts.
pub fn client() -> Registry {
    client_with(|_| {})
}

pub fn client_with(change: impl FnOnce(&mut RegistryOptions)) -> Registry {
    let mut options = RegistryOptions {
        pause_millis: 1,
        ..RegistryOptions::default()
    };
    change(&mut options);
    Registry::new(options)
}

/// Content that no compression or deduplication makes small: the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// An image whose layers have these contents.
pub fn image(store: &Store, platform: &str, layers: &[&[u8]]) -> Descriptor {
    let platform: Platform = platform.parse().unwrap();
    let mut config = ImageConfig::empty(&platform);
    let mut descriptors = Vec::new();
    for layer in layers {
        let digest = store.put(layer).unwrap();
        config.rootfs.diff_ids.push(digest);
        descriptors.push(Descriptor::of(media_type::LAYER, layer));
    }
    let config = serde_json::to_vec(&config).unwrap();
    store.put(&config).unwrap();
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), descriptors);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    store.put(&manifest).unwrap();
    Descriptor {
        platform: Some(platform),
        ..Descriptor::of(media_type::MANIFEST, &manifest)
    }
}

/// Keeps what it hears.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<ProgressEvent>>);

impl Progress for Heard {
    fn event(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    /// How the blob came to its place.
    pub fn how(&self, wanted: &Digest) -> Option<How> {
        self.0.lock().unwrap().iter().find_map(|event| match event {
            ProgressEvent::Finished { digest, how } if digest == wanted => Some(*how),
            _ => None,
        })
    }

    /// The furthest byte that was reported of the blob.
    pub fn furthest(&self, wanted: &Digest) -> u64 {
        let events = self.0.lock().unwrap();
        let bytes = events.iter().filter_map(|event| match event {
            ProgressEvent::Advanced { digest, bytes } if digest == wanted => Some(*bytes),
            _ => None,
        });
        bytes.max().unwrap_or(0)
    }
}
