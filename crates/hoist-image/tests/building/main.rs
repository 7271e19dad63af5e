//! Builds from the Dockerfile to the image, on disk and in real containers.
//!
//! The tests that run commands need root or user namespaces, and Debian's busybox-static.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod buildkit;
mod cases;
mod copy;
mod differential;
mod engines;
mod fuzz;
mod hostile;
mod image;
mod killed;
mod layer_reader;
mod mistakes;
mod other_readers;
mod pruning;
mod registry;
mod remote;
mod run;
mod shared;
mod snapshot;
mod soci;
mod support;

hoist_runtime::init_in_tests!();
