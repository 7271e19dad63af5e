//! The driver: it owns the world of the scheduler, keeps it on disk, and carries out what the scheduler wants done.
//!
//! One actor takes every event (API calls, reports of containers and load balancers, time), lets it happen with
//! [`hoist_fargate::step`], writes what changed, and only then answers the calls and starts carrying out the commands. So nothing
//! is ever done, or answered, that a restart does not know of.

mod actor;
mod compose;
mod containers;
mod crew;
mod dial;
mod health;
mod hooks;
mod images;
mod injected;
mod network;
mod output;
mod proxies;
mod shift;
mod simulated;
mod targets;
mod usage;

pub use actor::{Driver, RestoreError};
pub(crate) use compose::task_limits;
pub(crate) use crew::Crew;
pub use dial::RuntimeDialer;
pub(crate) use network::{guard, sweep};
pub(crate) use simulated::{NoRuntime, Simulated};
pub(crate) use targets::listen;
pub(crate) use usage::Sample;
