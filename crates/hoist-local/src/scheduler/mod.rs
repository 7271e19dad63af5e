//! EventBridge Scheduler: schedules that run tasks of ECS, once, at a rate, or by cron, in any time zone.

mod groups;
mod handle;
mod model;
mod rest;
mod schedules;
mod work;
mod zone;

pub use handle::handle;
pub use model::Scheduler;
pub(crate) use rest::{answer, read};
pub(crate) use work::once;
