//! Application Auto Scaling for services of ECS: target tracking, steps, and schedules.
//!
//! Everything acts through alarms of CloudWatch, as on the real service: target tracking makes its own (three minutes above the
//! target, fifteen below nine tenths of it). Cooldowns last as long as they say; the minutes of alarms are shorter under
//! `--pace fast` (see [`crate::metrics`]).

mod cron;
mod engine;
mod handle;
mod model;
mod policies;
mod targets;

pub(crate) use cron::Schedule;
pub use engine::run;
pub use handle::handle;
pub use model::Scaling;
