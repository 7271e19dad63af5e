//! What the end-to-end tests share: a home and a project of their own, and the binary as a user runs it.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod eyes;
pub mod issuer;
pub mod load;
pub mod project;
pub mod proxy;
pub mod sandbox;
