//! The commands, one file each: parse, call, render.

mod bootstrap;
mod build;
mod check;
mod completions;
mod connect;
mod continue_it;
mod cost;
mod deploy;
mod dispatch;
mod doctor;
mod events;
mod exec;
mod explain;
mod history;
mod image;
mod init;
mod local;
mod logs;
mod plan;
mod project;
mod prune;
mod push;
mod refresh;
mod register;
mod render;
mod rollback;
mod run_task;
mod scale;
mod schema;
mod signals;
mod status;
mod tasks;
mod url;

pub use dispatch::run;
