//! Dockerfiles: their lines, their words and their meaning.

pub(crate) mod expand;
pub(crate) mod flags;
pub(crate) mod instruction;
pub(crate) mod lines;
pub(crate) mod parser;
