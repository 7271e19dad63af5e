//! Tasks that only the scheduler knows: for load tests. They get an address, start at once, pass every check, and run until they
//! are stopped; there is no image, no network and no process behind them. Of faults they know those of pulls.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::future::{BoxFuture, ready};
use hoist_fargate::{Command, Event, TargetState};
use hoist_oci::{Image, Store};
use hoist_runtime::{
    PreparedImage, Runtime, RuntimeError, StartError, TaskContainer, TaskProcess, TaskSpec,
};
use tokio::net::TcpStream;

use super::crew::Crew;
use super::images::PullError;
use crate::ids;

/// Answers the commands about tasks; all others are carried out as ever.
#[derive(Debug, Default)]
pub struct Simulated {
    running: Mutex<HashMap<String, HashSet<String>>>,
    addresses: AtomicU32,
}

impl Simulated {
    /// Carries out one command, and returns at once.
    pub fn carry_out(&self, crew: &Crew, command: Command) {
        let tell = |event| crew.tell(event);
        match command {
            Command::ResolveImages { revision, .. } => tell(Event::ImagesResolved {
                revision,
                digests: Default::default(),
            }),
            Command::ProvisionTask { task } => {
                let number = self.addresses.fetch_add(1, Ordering::Relaxed);
                let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 4)) + number % (1 << 24));
                tell(Event::TaskProvisioned {
                    task,
                    ip: ip.to_string(),
                    availability_zone: "us-east-1a".to_owned(),
                    zones: Vec::new(),
                    attachments: Vec::new(),
                });
            }
            Command::PullImage {
                task, container, ..
            } if crew.ctx.faults.pull() => tell(Event::PullFailed {
                task,
                container,
                reason: format!("CannotPullContainerError: {}", PullError::Fault),
            }),
            Command::PullImage {
                task,
                container,
                digest,
                ..
            } => tell(Event::ImagePulled {
                task,
                container,
                digest,
            }),
            Command::StartContainer { task, container } => {
                let mut running = self.running();
                let of_task = running.entry(task.clone()).or_default();
                of_task.insert(container.clone());
                drop(running);
                tell(Event::ContainerStarted {
                    task,
                    container,
                    runtime_id: ids::hex(32),
                });
            }
            Command::RunHealthCheck {
                task, container, ..
            } => tell(Event::HealthChecked {
                task,
                container,
                passed: true,
            }),
            Command::StopContainer {
                task, container, ..
            } => {
                let ran = self
                    .running()
                    .get_mut(&task)
                    .is_some_and(|it| it.remove(&container));
                if ran {
                    tell(Event::ContainerExited {
                        task,
                        container,
                        exit_code: 143,
                        oom: false,
                    });
                }
            }
            Command::RemoveTask { task } => {
                self.running().remove(&task);
                tell(Event::TaskRemoved { task });
            }
            Command::RegisterTarget {
                task,
                target_group,
                port,
                ..
            } => tell(Event::TargetHealth {
                task,
                target_group,
                port,
                state: TargetState::Healthy,
                reason: None,
                description: None,
            }),
            Command::DeregisterTarget {
                task,
                target_group,
                port,
                ..
            } => tell(Event::TargetDrained {
                task,
                target_group,
                port,
            }),
            other => crew.carry_out(other),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime of an instance whose tasks are simulated: it runs nothing.
#[derive(Debug)]
pub struct NoRuntime;

fn refused() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "tasks are simulated; there is nothing behind them",
    )
}

fn unsupported(action: &str) -> RuntimeError {
    RuntimeError::System {
        action: action.to_owned(),
        source: refused(),
    }
}

impl Runtime for NoRuntime {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(ready(Ok(())))
    }

    fn prepare<'a>(
        &'a self,
        _: &'a Store,
        _: &'a Image,
    ) -> BoxFuture<'a, Result<PreparedImage, RuntimeError>> {
        Box::pin(ready(Err(unsupported("unpack an image"))))
    }

    fn create_task(&self, _: TaskSpec) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(ready(Err(unsupported("make the network of a task"))))
    }

    fn start<'a>(
        &'a self,
        _: &'a str,
        _: TaskContainer,
    ) -> BoxFuture<'a, Result<Box<dyn TaskProcess>, StartError>> {
        let error = StartError::Other {
            action: "start a container".to_owned(),
            reason: refused().to_string(),
        };
        Box::pin(ready(Err(error)))
    }

    fn remove_task<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(ready(Ok(())))
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        Box::pin(ready(Err(refused())))
    }
}
