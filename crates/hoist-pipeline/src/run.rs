//! A task of hoist.yaml, or a command in a service's container, with the revision that runs now.

use std::time::Duration;

use hoist_aws::Client;
use hoist_project::{Project, Task};

use crate::cancel::Cancel;
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::one_off::OneOff;
use crate::{back, select};

/// What is asked to run.
pub struct Asked {
    /// Task of hoist.yaml; none for a command.
    pub task: Option<String>,
    /// Service whose task definition is run, where no task is named.
    pub service: Option<String>,
    /// Command, instead of the task's or the container's.
    pub command: Option<Vec<String>>,
    /// Environment variables over all others.
    pub environment: Vec<(String, String)>,
    /// Seconds after which it is stopped, instead of the task's.
    pub timeout: Option<u32>,
}

/// Runs it to its end, and returns the exit code of its container.
///
/// # Errors
/// No such task or service, AWS refused a call, or it never ran.
pub async fn run(
    aws: &Client,
    project: &Project,
    asked: &Asked,
    pause: Duration,
    cancel: &Cancel,
    events: &Events,
) -> Result<i64, Failure> {
    let mut task = match &asked.task {
        Some(name) => project.task(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = project.tasks.iter().map(|task| task.key.as_str()).collect();
            let failure = Failure::new(
                Kind::Configuration,
                format!("{} has no task `{name}`", project.file.display()),
            );
            match known.as_slice() {
                [] => failure
                    .hint("describe it under `tasks:`, or give a command: hoist run -- COMMAND"),
                known => failure.hint(format!("its tasks are: {}", known.join(", "))),
            }
        })?,
        None => {
            let service = select::one(project, asked.service.as_deref())?;
            Task::of_service(&service.key, None)
        }
    };
    if let Some(command) = &asked.command {
        task.command = Some(command.clone());
    }
    task.environment.extend(asked.environment.iter().cloned());
    task.timeout = asked.timeout.unwrap_or(task.timeout);
    let service = select::one(project, Some(&task.service))?;
    let live = cancel.or(select::live(aws, service)).await?;
    let revision = live["taskDefinition"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let definition = cancel.or(back::describe(aws, &revision)).await?;
    let one = OneOff {
        aws,
        app: &project.app,
        cluster: &service.cluster,
        service: &live,
        revision: &revision,
        definition: &definition,
        container: service.container.as_deref(),
        task: &task,
        token: crate::ready::token(),
        pause,
    };
    one.run(cancel, events).await
}
