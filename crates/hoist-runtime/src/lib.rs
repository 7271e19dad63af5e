//! Containers on this machine: namespaces, control groups, overlay and network.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod births;
mod cgroup;
mod containers;
mod error;
mod hub;
mod native;
mod netns;
mod nursery;
mod overlay;
pub mod privilege;
mod procfs;
mod snapshots;
mod spec;
mod stage;
mod task;
mod testing;
mod unpack;
mod wire;

pub use containers::{Config, Containers, Running};
pub use error::{RuntimeError, StartError};
pub use hub::{Hub, HubConfig, TaskNet};
pub use native::{Native, NativeConfig};
pub use netns::NetNs;
pub use nursery::init;
pub use overlay::Overlay;
pub use snapshots::{Scratch, Snapshots};
pub use spec::{
    ContainerSpec, ExecSpec, Exit, Limits, Mount, MountSource, Network, RootFs, Stats, Stdin,
    Ulimit,
};
pub use task::{OutputStream, PreparedImage, Runtime, TaskContainer, TaskProcess, TaskSpec};
#[doc(hidden)]
pub use testing::before_tests;
