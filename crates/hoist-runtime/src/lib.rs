//! Containers on this machine, with root's rights or without, by one code path.
//!
//! A program calls [`init`] first in `main`, because containers are born from a second execution of it, and [`privilege::acquire`]
//! before it starts threads. [`Containers`] starts single containers, for builds; a [`Runtime`] runs tasks, which are groups of
//! containers with one network address: [`native`] by the kernel's own means, [`Docker`] through a Docker Engine. [`Snapshots`] holds
//! the unpacked layers that containers start from. Native containers need Linux; elsewhere the same types are there and say so. Whatever happens to the program, its containers end with it. How and why:
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

mod config;
mod detect;
mod docker;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod error;
#[cfg(target_os = "linux")]
mod linux;
mod names;
pub mod privilege;
mod spec;
mod task;
mod terminal;
#[cfg(target_os = "linux")]
mod testing;

pub use config::{Config, NativeConfig};
pub use detect::{Detection, detect};
pub use docker::{Docker, DockerConfig};
#[cfg(not(target_os = "linux"))]
use elsewhere::inside;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Containers, NetNs, Running, Scratch, Snapshots, init, native};
pub use error::{RuntimeError, StartError};
#[cfg(target_os = "linux")]
use linux::inside;
#[cfg(target_os = "linux")]
pub use linux::{
    Containers, Hub, HubConfig, Native, NetNs, Overlay, Running, Scratch, Snapshots, TaskNet, init,
    native,
};
pub use spec::{
    ContainerSpec, ExecSpec, Exit, Limits, Mount, MountSource, Network, RootFs, Stats, Stdin,
    TerminalSize, Ulimit,
};
pub use task::{
    Guard, InputStream, Names, OutputStream, Passage, PreparedImage, Runtime, ServiceRecord,
    TaskContainer, TaskProcess, TaskSpec,
};
pub use terminal::Terminal;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use testing::before_tests;

#[cfg(all(test, target_os = "linux"))]
crate::init_in_tests!();
