//! Security Token Service: who calls, and session keys for roles. A key that is issued here is good for the signature check.

mod handle;
mod issuer;
mod token;

pub use handle::{handle, is_anonymous};
pub use issuer::is_loopback;
