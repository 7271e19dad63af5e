//! The commands, one file each: parse, call, render.

mod build;
mod check;
mod completions;
mod connect;
mod deploy;
mod dispatch;
mod image;
mod init;
mod local;
mod project;
mod render;
mod schema;
mod signals;
mod url;

pub use dispatch::run;
