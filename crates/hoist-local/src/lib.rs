//! The embedded AWS: one process on one loopback port that speaks the AWS protocols, hosts the image registry, runs tasks
//! as real containers and balances traffic to them.
//!
//! [`control`] starts and stops the daemon of a [`Home`]; [`serve`] is the daemon itself. Inside, [`api`] turns requests of
//! every AWS protocol into a [`api::Call`] and hands it to the service it is for; what is kept lies in [`state`].
//!
//! ```no_run
//! use hoist_local::{Home, control};
//!
//! let home = Home::from_env()?;
//! let status = control::start(&home, &control::StartOptions::default())?;
//! println!("the embedded AWS answers at {}", status.endpoint());
//! for (name, value) in control::env(&home)? {
//!     println!("export {name}={value}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod acm;
pub mod api;
pub mod clock;
mod console;
pub mod control;
mod ctx;
mod dials;
pub mod driver;
pub mod ec2;
pub mod ecr;
pub mod ecs;
pub mod elb;
mod engine;
pub mod events;
pub mod faults;
mod home;
pub mod iam;
pub mod ids;
pub mod keys;
mod layouts;
pub mod limits;
pub mod logs;
mod metadata;
pub mod metrics;
pub mod names;
pub mod registry;
pub mod s3;
pub mod scaling;
pub mod scheduler;
pub mod secrets;
mod serve;
pub mod session;
mod settings;
pub mod sigv4;
pub mod ssm;
pub mod state;
pub mod sts;
mod vault;

pub use ctx::{ACCOUNT, Ctx};
pub use faults::FaultSpec;
pub use home::{Home, HomeError};
pub use limits::Limiting;
pub use serve::{ServeError, ServeOptions, serve};
pub use settings::{Pace, Settings};
