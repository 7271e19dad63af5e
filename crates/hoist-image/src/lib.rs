//! From a Dockerfile to an OCI image
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dockerfile;
mod error;
mod event;
mod request;

pub use error::{BuildError, BuildErrorKind, Location, Result};
pub use event::{BuildEvent, OutputStream, Step};
pub use request::{BuildRequest, BuiltImage, Engine, Secret, SecretSource};
