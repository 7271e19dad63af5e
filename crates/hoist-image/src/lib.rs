//! From a Dockerfile to an OCI image.
//!
//! [`build`] reads a Dockerfile and a context, runs what must run in real containers, and leaves an image in the [`Workspace`]'s store. There
//! is no daemon: what was done before is found again on disk, by content. Where a Docker Engine is at hand, it can build instead
//! ([`Engine::Buildkit`]); the options mean the same.
//!
//! ```
//! use hoist_image::{BuildRequest, Engine, Workspace, build};
//!
//! # let folder = tempfile::tempdir()?;
//! # let (home, context) = (folder.path().join("home"), folder.path().join("context"));
//! # std::fs::create_dir(&context)?;
//! std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n")?;
//! std::fs::write(context.join("hello"), "a program")?;
//!
//! let workspace = Workspace::open(&home)?;
//! let request = BuildRequest { engine: Engine::Embedded, ..BuildRequest::new(&context) };
//! let runtime = tokio::runtime::Runtime::new()?;
//! let image = runtime.block_on(build(&workspace, &request, &|event| drop(event)))?;
//!
//! let stored = workspace.store.image(&image.manifest, &image.platform)?;
//! assert_eq!(stored.config.config.cmd, Some(vec!["/hello".to_owned()]));
//! assert_eq!(stored.manifest.layers.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod archive;
mod attest;
mod bases;
mod build;
mod builder;
mod buildkit;
mod bunzip;
mod cache;
mod chmod;
mod compress;
mod config;
mod container;
mod contents;
mod context;
mod copy;
mod copying;
#[cfg(target_os = "linux")]
mod debug;
mod device;
mod dockerfile;
mod embedded;
mod engine;
mod error;
mod event;
mod flatbuffer;
mod forms;
#[doc(hidden)]
pub mod fuzzing;
mod ignore;
mod images;
mod inputs;
mod kit_cache;
mod layer;
mod layouts;
mod lent;
mod listed;
mod mounts;
mod pattern;
mod platforms;
mod prune;
mod remote;
mod remote_cache;
mod report;
mod request;
mod resolved;
mod running;
mod scope;
mod select;
mod soci;
mod spool;
mod stages;
mod stat_cache;
mod steps;
mod stored;
mod syft;
mod tarball;
mod tree;
mod upper;
mod users;
mod walk;
mod why;
mod workspace;
mod ztoc;

pub use attest::{provenance, sbom};
pub use build::{build, inputs_digest, run};
pub use contents::{Change, Difference, HistoryLine, diff, history, readable};
pub use error::{BuildError, BuildErrorKind, Location, Result};
pub use event::{BuildEvent, OutputStream, Step};
pub use forms::compressed;
pub use images::{LocalImage, export, find, import, inspect, list, name, remove};
pub use prune::{PruneOptions, Pruned, prune};
pub use request::{
    BuildRequest, Builder, BuiltImage, Engine, NamedContext, RegistryCache, Secret, SecretSource,
};
pub use why::{Advice, Why, why};
pub use workspace::Workspace;
