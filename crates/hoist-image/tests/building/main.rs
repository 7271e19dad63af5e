//! Builds from the Dockerfile to the image, on disk and in real containers.
//!
//! The tests that run commands need root or user namespaces, and Debian's busybox-static.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod copy;
mod image;
mod killed;
mod registry;
mod run;
mod support;

hoist_runtime::init_in_tests!();
