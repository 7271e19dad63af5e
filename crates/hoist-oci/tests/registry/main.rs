//! The registry client, against a small registry of our own and against Debian's.
#![allow(clippy::unwrap_used)]

mod debian;
mod slow;
mod support;
mod transfer;
