//! Dockerfiles: their lines, their words and their meaning.

mod commands;
pub(crate) mod expand;
mod files;
pub(crate) mod flags;
pub(crate) mod instruction;
pub(crate) mod lines;
pub(crate) mod lint;
pub(crate) mod parser;
mod usage;
