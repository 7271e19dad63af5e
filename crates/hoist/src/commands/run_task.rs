//! `hoist run`.

use hoist_pipeline::{Asked, Event, Events, Failure, Kind, Step, cancellation};

use super::dispatch::{async_run, say};
use super::{connect, project, signals};
use crate::arguments::Run;
use crate::{exit, render};

/// Runs a task to its end; what it prints goes to standard output. Returns the exit code.
pub fn run(options: &Run) -> Result<u8, Failure> {
    let project = project::load(&(&options.at).into())?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let reader = render::reader(options.output);
    let events = Events::new(vec![Box::new(move |event| match event {
        Event::Output {
            step: Step::Run,
            line,
        } => say(line),
        other => reader(other),
    })]);
    let asked = Asked {
        task: options.task.clone(),
        service: options.service.clone(),
        command: Some(options.command.clone()).filter(|command| !command.is_empty()),
        environment: options.environment_variables.clone(),
        timeout: options
            .timeout
            .map(|limit| u32::try_from(limit.as_secs()).unwrap_or(u32::MAX)),
    };
    let code = async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        let pause = connect::pause(&options.aws);
        hoist_pipeline::run(&aws, &project, &asked, pause, &cancel, &events).await
    })?;
    match code {
        0 => Ok(exit::OK),
        code if options.passthrough => Ok(u8::try_from(code).unwrap_or(exit::TASK_FAILED)),
        code => Err(Failure::new(
            Kind::TaskFailed,
            format!("the task exited with {code}"),
        )),
    }
}
