//! Containers by the kernel's own means: namespaces, control groups, overlay, a bridge.

mod births;
pub(crate) mod cgroup;
mod containers;
pub(crate) mod egress;
mod guards;
mod hub;
pub(crate) mod inside;
mod intercept;
mod native;
mod netns;
mod nursery;
mod overlay;
mod procfs;
pub(crate) mod rights;
mod seed;
mod snapshots;
mod stage;
mod unpack;
mod wire;

pub use containers::{Containers, Running};
pub use hub::{Hub, HubConfig, TaskNet};
pub use native::{Native, native};
pub use netns::NetNs;
pub use nursery::init;
pub use overlay::Overlay;
pub use snapshots::{Scratch, Snapshots};
