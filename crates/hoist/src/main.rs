//! From a Dockerfile to healthy on AWS Fargate, in one binary.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod commands;
mod exit;
mod render;

fn main() -> ExitCode {
    // A container's first process is this binary again: that must be found out before anything else happens.
    hoist_runtime::init();
    let cli = match arguments::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and go to standard output; anything else is a mistake.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            });
        }
    };
    hoist_oci::install_tls();
    let output = cli.command.output();
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let (code, _) = exit::of(failure.kind);
            render::failure(&failure, output);
            ExitCode::from(code)
        }
    }
}
