//! Security Token Service: who calls, and session keys for roles. A key that is issued here is good for the signature check.

mod handle;
mod token;

pub use handle::{handle, is_anonymous};
