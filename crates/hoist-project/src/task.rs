//! Tasks of a project that run to their end: migrations, clean-ups.

use hoist_ecs::suggest;

use crate::checks::check_range;
use crate::config::TaskConfig;
use crate::project::{Faults, escape};
use crate::values::Ordered;

/// Seconds after which a task is stopped where nothing is said.
const TIMEOUT: u32 = 3600;

/// One task that runs to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Key in `hoist.yaml`.
    pub key: String,
    /// Key of the service whose task definition and network it has.
    pub service: String,
    /// Container that runs the command; that of the service if not named.
    pub container: Option<String>,
    /// What it runs instead of the container's command.
    pub command: Option<Vec<String>>,
    /// Environment variables over those of the container.
    pub environment: Vec<(String, String)>,
    /// CPU units, if they are not the service's.
    pub cpu: Option<u32>,
    /// MiB, if they are not the service's.
    pub memory: Option<u32>,
    /// Seconds after which it is stopped.
    pub timeout: u32,
}

impl Task {
    /// A task of a service that is not in the file: `hoist run -- COMMAND`.
    pub fn of_service(service: &str, command: Option<Vec<String>>) -> Task {
        Task {
            key: service.to_owned(),
            service: service.to_owned(),
            container: None,
            command,
            environment: Vec::new(),
            cpu: None,
            memory: None,
            timeout: TIMEOUT,
        }
    }
}

/// The tasks of the file, checked.
pub(crate) fn tasks(
    faults: &mut Faults<'_>,
    services: &[&str],
    config: &Ordered<TaskConfig>,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (key, task) in config.iter() {
        let at = format!("/tasks/{}", escape(key));
        if let Some(timeout) = task.timeout {
            check_range(
                faults,
                &format!("{at}/timeout"),
                "timeout",
                timeout,
                1,
                86_400,
            );
        }
        let service = match (&task.service, services) {
            (Some(service), _) => {
                known_service(faults, &format!("{at}/service"), service, services);
                service.clone()
            }
            (None, [only]) => (*only).to_owned(),
            (None, _) => {
                let span = faults.key_span(&at);
                faults.error(
                    span,
                    format!("`{key}` does not say which service it belongs to"),
                    "",
                    format!("add `service:`, one of {}", services.join(", ")),
                );
                continue;
            }
        };
        tasks.push(Task {
            key: key.to_owned(),
            service,
            container: task.container.clone(),
            command: task.command.as_ref().map(crate::values::Command::to_args),
            environment: task
                .environment
                .iter()
                .map(|(name, value)| (name.to_owned(), value.0.clone()))
                .collect(),
            cpu: task.cpu,
            memory: task.memory,
            timeout: task.timeout.unwrap_or(TIMEOUT),
        });
    }
    tasks
}

/// Reports a service that is not in the file.
pub(crate) fn known_service(faults: &mut Faults<'_>, pointer: &str, name: &str, services: &[&str]) {
    if services.contains(&name) {
        return;
    }
    let span = faults.span(pointer);
    let help = match suggest::nearest(name, services.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the services are {}", services.join(", ")),
    };
    faults.error(span, format!("there is no service `{name}`"), "", help);
}
