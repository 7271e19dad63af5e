//! Containers on this machine: namespaces, control groups, overlay and network.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod netns;
mod spec;

pub use error::{RuntimeError, StartError};
pub use netns::NetNs;
pub use spec::{
    ContainerSpec, ExecSpec, Exit, Limits, Mount, MountSource, Network, RootFs, Stats, Stdin,
    Ulimit,
};
