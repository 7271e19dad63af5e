//! Shells in containers: the data channel of AWS Systems Manager that `ExecuteCommand` opens, as `session-manager-plugin` speaks it.
//!
//! [`Sessions`] keeps what ExecuteCommand promised until somebody comes for it; [`channel`] talks to whoever came, in the
//! [`message`]s of the agent, within the [`websocket`].

mod channel;
mod message;
mod sessions;
mod sha1;
mod websocket;

pub use channel::{PATH, handle};
pub use sessions::{Session, Sessions};
