//! Projects as people write them, read from real folders and real repositories.
#![allow(clippy::unwrap_used)]

mod definitions;
mod finding;
mod mistakes;
mod source;
