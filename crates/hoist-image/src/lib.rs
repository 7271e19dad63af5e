//! From a Dockerfile to an OCI image
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod chmod;
mod context;
mod copy;
mod dockerfile;
mod error;
mod event;
mod ignore;
mod layer;
mod pattern;
mod request;
mod tree;

pub use error::{BuildError, BuildErrorKind, Location, Result};
pub use event::{BuildEvent, OutputStream, Step};
pub use request::{BuildRequest, BuiltImage, Engine, Secret, SecretSource};
