//! OCI content: digests, image references, manifests, the image store and the registry client.
//!
//! An image is a manifest that names a configuration and layers, each by its digest. [`Store`] keeps such content in an
//! OCI layout on disk, [`Registry`] brings it from and to registries. Nothing here knows of ECS or AWS.
//!
//! ```
//! use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
//! use hoist_oci::{Digest, Store};
//!
//! let folder = tempfile::tempdir()?;
//! let store = Store::open(folder.path())?;
//!
//! // An image with no layers: a configuration, and a manifest that points at it.
//! let platform: Platform = "linux/amd64".parse()?;
//! let config = serde_json::to_vec(&ImageConfig::empty(&platform))?;
//! store.put(&config)?;
//! let manifest = serde_json::to_vec(&Manifest::new(Descriptor::of(media_type::CONFIG, &config), vec![]))?;
//! assert_eq!(store.put(&manifest)?, Digest::of(&manifest));
//!
//! let descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
//! store.tag("hello:v1", &descriptor)?;
//! let image = store.image(&store.resolve("hello:v1")?.expect("it was tagged"), &platform)?;
//! assert_eq!(image.config.architecture, "amd64");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blob;
mod compression;
mod digest;
mod download;
mod early;
mod growing;
mod layers;
mod progress;
mod reference;
pub mod registry;
mod sealed;
pub mod signing;
pub mod spec;
mod store;
mod tls;

pub use blob::BlobWriter;
pub use compression::{Compression, Encoder, UnknownCompression};
pub use digest::{Digest, DigestError, Hasher};
pub use download::{DownloadError, Downloaded, download};
pub use early::EarlyUploads;
pub use growing::Growing;
pub use progress::{How, Progress, ProgressEvent, Silent};
pub use reference::{DOCKER_HUB, ImageRef, ReferenceError, is_component, is_tag};
pub use registry::{
    Artifact, ExistingTag, PushOptions, PushReport, Registry, RegistryError, RegistryOptions,
    SignError, Wait,
};
pub use store::{Image, Store, StoreError};
pub use tls::{http_client, install_tls, tls};
