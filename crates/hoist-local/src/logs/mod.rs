//! CloudWatch Logs: groups, streams and events in append-only files.
//!
//! What was acknowledged is with the kernel before the answer goes out, so it survives the death of this process at any moment;
//! a torn frame at a file's end, left by a crash of the machine, is cut off when the stream is next opened.

mod events;
mod group;
mod groups;
mod handle;
mod live;
mod pattern;
mod store;
mod stream;
mod streams;
mod tags;

pub use handle::handle;
pub(crate) use live::session;
pub use store::{Logs, LogsError};
