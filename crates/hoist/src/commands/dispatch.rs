//! From a parsed command line to the command.

use std::pin::{Pin, pin};

use hoist_pipeline::{Failure, Kind};

use super::{
    bootstrap, build, check, completions, continue_it, cost, deploy, doctor, events, exec, explain,
    history, image, init, local, logs, plan, prune, push, refresh, register, render, rollback,
    run_task, scale, schema, status, tasks, url,
};
use crate::arguments::{Cli, Command, Local};
use crate::exit;

/// Runs the command that `cli` names. Returns the exit code.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    let done = match cli.command {
        Command::Run(options) => return run_task::run(&options),
        Command::Plan(options) => return plan::run(&options),
        Command::Exec(options) => return exec::run(&options),
        Command::Cost(options) => cost::run(&options),
        // The daemon makes its own runtime, after it has become what containers need it to be.
        Command::Local(Local::Serve(options)) => local::serve(&options),
        Command::Local(command) => local::run(command),
        Command::Init(options) => init::run(&options),
        Command::Bootstrap(options) => bootstrap::run(&options),
        Command::Deploy(options) => deploy::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Render(options) => render::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Push(options) => push::run(&options),
        Command::Register(options) => register::run(&options),
        Command::Rollback(options) => rollback::run(&options),
        Command::Refresh(options) => refresh::run(&options),
        Command::Prune(options) => prune::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Events(options) => events::run(&options),
        Command::Tasks(options) => tasks::run(&options),
        Command::Logs(options) => logs::run(&options),
        Command::History(options) => history::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Continue(options) => continue_it::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Url(options) => url::run(&options),
        Command::Image(command) => image::run(&command),
        Command::Schema => schema::run(),
        Command::Completions { shell } => completions::run(shell),
    };
    done.map(|()| exit::OK)
}

/// Runs `work` on an async runtime; no thread exists before this.
pub fn async_run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut done = None;
    drive(pin!(async { done = Some(work.await) }))?;
    done.expect("the runtime drives it to its end")
}

/// Apart from [`async_run`], so that the runtime is compiled once and not once for each command.
fn drive(work: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::because(
                Kind::Unexpected,
                "failed to start the async runtime",
                &error,
            )
        })?;
    runtime.block_on(work);
    Ok(())
}

/// Writes a line of the result to standard output; a closed pipe is no failure.
pub fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
