//! The command line.

use clap::{Parser, Subcommand};

use crate::render::Output;

mod common;
mod deploying;
mod image;
mod local;
mod looking;
mod values;

pub use common::*;
pub use deploying::*;
pub use image::*;
pub use local::*;
pub use looking::*;

/// From a Dockerfile to healthy on AWS Fargate, in one binary
#[derive(Debug, Parser)]
#[command(
    name = "hoist",
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:\n  hoist deploy --local examples/hello   deploy to the embedded AWS, no account needed\n  hoist deploy -e production            deploy to AWS\n  hoist local env                       lines for a shell, so that the AWS CLI speaks to the embedded AWS\n\nExit codes: docs/exit-codes.md"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write hoist.yaml and a GitHub workflow for a folder with a Dockerfile
    Init(Init),
    /// Make what an account needs before the first deployment
    Bootstrap(Bootstrap),
    /// Build, test, push, register, deploy, verify
    Deploy(Deploy),
    /// Build and test the image; print its digest
    Build(Build),
    /// Build, test and push the image; print its reference
    Push(Step),
    /// Show what a deployment would change, cost and take
    Plan(Plan),
    /// Show what the services cost in a month
    Cost(Cost),
    /// Build, test, push and register the task definitions; print their ARNs
    Register(Step),
    /// Let a deployment go on that waits in a PAUSE hook, or roll it back
    Continue(Continue),
    /// Go back to the last good revision, or to one that is named
    Rollback(Rollback),
    /// Replace all tasks by new ones of the same revision
    Refresh(Refresh),
    /// Remove old revisions and images that nothing needs
    Prune(Prune),
    /// Run a task of hoist.yaml, or a command, to its end on a service's network
    Run(Run),
    /// Run a program in a running container
    Exec(Exec),
    /// Set the number of tasks of a service, or the bounds of its auto scaling
    Scale(Scale),
    /// Show counts, revisions, targets and URL of the services
    Status(Look),
    /// Show what ECS says has happened to the services
    Events(EventLog),
    /// Show the tasks of the services
    Tasks(TaskList),
    /// Show what the containers print
    Logs(Logs),
    /// Show what was deployed, by whom, and what became of it
    History(Past),
    /// Show where the minutes of a deployment went, and which settings cost them
    Explain(Explain),
    /// Say what this machine can do
    Doctor(Doctor),
    /// Print the definitions that would be registered
    Render(Render),
    /// Say what would make a deployment fail, before anything is built
    Check(Check),
    /// Print the URL of a service
    Url(Url),
    /// The embedded AWS on this machine
    #[command(subcommand)]
    Local(Local),
    /// Images of the build engine on this machine
    #[command(subcommand)]
    Image(Image),
    /// Print the JSON schema of hoist.yaml
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// How progress and failures are shown.
    pub fn output(&self) -> Output {
        match self {
            Command::Deploy(options) => options.output,
            Command::Build(options) => options.output,
            Command::Push(options) | Command::Register(options) => options.output,
            Command::Rollback(options) => options.output,
            Command::Run(options) => options.output,
            Command::Refresh(options) => options.output,
            Command::Scale(options) => options.output,
            _ => Output::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
