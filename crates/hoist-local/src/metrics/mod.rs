//! CloudWatch, as far as scaling and deployment alarms need it: what services use, what is put by hand, and alarms on it.
//!
//! Under `--pace fast` a minute of CloudWatch lasts one second: every period of an alarm is a sixtieth of what it says, and counts
//! are told as they would be of a whole minute.

mod alarm;
mod answers;
mod handle;
mod sampler;
mod store;

pub use alarm::{Alarm, AlarmState};
pub use handle::handle;
pub use sampler::Sampler;
pub use store::{Metrics, Point, Series, Window};
