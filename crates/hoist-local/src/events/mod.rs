//! EventBridge: what ECS says of its tasks and services, and what is put onto a bus, goes to the targets of the rules that
//! match it; rules with a schedule, and the schedules of EventBridge Scheduler, act when they are due.
//!
//! Targets that something comes of here: a log group of CloudWatch Logs, RunTask on a cluster, and
//! another bus. Others are refused when they are put.

mod buses;
mod due;
mod emit;
mod handle;
mod model;
mod pattern;
mod rules;
mod send;
mod targets;
mod transform;

pub use due::run;
pub use handle::handle;
pub use model::Events;
pub(crate) use send::{Order, run_task};
