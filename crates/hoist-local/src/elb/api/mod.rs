//! The ELBv2 API, version 2015-12-01. Error texts as the real service words them where they are known.

mod account;
mod ask;
mod certificates;
mod handle;
mod health;
mod listeners;
mod load_balancers;
mod rules;
mod tags;
mod target_groups;

pub use handle::handle;
pub(super) use listeners::uses;
