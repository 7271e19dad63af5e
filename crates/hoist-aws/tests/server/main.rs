//! The client against a server on this machine that answers by script: failures, throttles, resets, clocks, and every source of keys.
#![allow(clippy::unwrap_used)]

mod calls;
mod credentials;
mod script;
