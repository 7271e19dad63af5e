//! `hoist completions`.

use clap::CommandFactory;
use hoist_pipeline::Failure;

use crate::arguments::Cli;

/// Prints the completion script of a shell.
pub fn run(shell: clap_complete::Shell) -> Result<(), Failure> {
    clap_complete::generate(shell, &mut Cli::command(), "hoist", &mut std::io::stdout());
    Ok(())
}
