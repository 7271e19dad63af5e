//! Containers on this machine, with root's rights or without, by one code path.
//!
//! A program calls [`init`] first in `main`, because containers are born from a second execution of it, and [`privilege::acquire`]
//! before it starts threads. [`Containers`] starts single containers, for builds; a [`Runtime`] runs tasks, which are groups of
//! containers with one network address: [`Native`] by the kernel's own means, [`Docker`] through a Docker Engine. [`Snapshots`] holds
//! the unpacked layers that containers start from. Whatever happens to the program, its containers end with it. How and why:
//! `docs/design/runtime.md`.
//!
//! ```no_run
//! use hoist_runtime::{Config, ContainerSpec, Containers, RootFs, privilege};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     hoist_runtime::init();
//!     privilege::acquire()?;
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let containers = Containers::new(Config {
//!             init_program: "/proc/self/exe".into(),
//!             cgroup_parent: "example".into(),
//!         });
//!         let hello = containers
//!             .start(ContainerSpec {
//!                 id: "hello".into(),
//!                 rootfs: RootFs {
//!                     lower: vec!["/srv/busybox".into()],
//!                     upper: "/srv/hello/upper".into(),
//!                     work: "/srv/hello/work".into(),
//!                 },
//!                 args: vec!["/bin/echo".into(), "hello".into()],
//!                 ..ContainerSpec::default()
//!             })
//!             .await?;
//!         assert_eq!(hello.wait().await.code, 0);
//!         Ok(())
//!     })
//! }
//! ```
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod births;
mod cgroup;
mod containers;
mod detect;
mod docker;
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
pub use detect::{Detection, detect};
pub use docker::{Docker, DockerConfig};
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

#[cfg(test)]
crate::init_in_tests!();
