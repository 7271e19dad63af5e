//! What runs: for each task its network, its images, its processes; and the one step that starts each command.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hoist_fargate::{Arn, Command, Event, Task};
use hoist_oci::spec::ContainerConfig;
use hoist_runtime::{PreparedImage, TaskProcess};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::usage::Sample;
use super::{containers, health, hooks, network, shift, targets};
use crate::ctx::Ctx;
use crate::metadata::Held;

/// Carries out commands. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    pub ctx: Ctx,
    work: Arc<Mutex<Work>>,
    targets_in_order: Arc<OnceLock<mpsc::UnboundedSender<Command>>>,
    /// Where tasks have the metadata endpoint: an address, and a port unless that is 80.
    metadata: Arc<OnceLock<String>>,
}

#[derive(Default)]
struct Work {
    runs: HashMap<Arn, Arc<Run>>,
    targets: HashMap<(Arn, SocketAddr), Arn>,
}

/// What there is of one task on this machine.
#[derive(Default)]
pub struct Run {
    /// Cancelled when the task is removed: pulls and waits end.
    pub gone: CancellationToken,
    /// The subnet that was chosen for it.
    subnet: OnceLock<String>,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    images: HashMap<String, (PreparedImage, ContainerConfig)>,
    processes: HashMap<String, Arc<dyn TaskProcess>>,
    /// Environment variables from secrets, by container.
    secrets: HashMap<String, Vec<(String, String)>>,
    /// Environment variables from files, by container.
    files: HashMap<String, Vec<(String, String)>>,
    /// User and password for the registry of an image, by container.
    registries: HashMap<String, (String, String)>,
    /// The runtime's ids of containers.
    ids: HashMap<String, String>,
    samples: HashMap<String, Sample>,
    credentials: Option<Held>,
    /// The names that the proxies of Service Connect go by.
    hosts: Vec<(String, IpAddr)>,
}

impl Run {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the image that a container will be started from.
    pub fn keep_image(&self, container: &str, image: PreparedImage, config: ContainerConfig) {
        self.parts()
            .images
            .insert(container.to_owned(), (image, config));
    }

    /// The image that a container is started from.
    pub fn image(&self, container: &str) -> Option<(PreparedImage, ContainerConfig)> {
        self.parts().images.get(container).cloned()
    }

    /// Keeps a container's process, to signal it and to run health checks beside it.
    pub fn keep_process(&self, container: &str, process: Arc<dyn TaskProcess>) {
        self.parts().processes.insert(container.to_owned(), process);
    }

    /// Keeps what the secrets of a container are.
    pub fn keep_secrets(&self, container: &str, secrets: Vec<(String, String)>) {
        self.parts().secrets.insert(container.to_owned(), secrets);
    }

    /// Keeps what the environment files of a container say, and what its registry wants to hear.
    pub fn keep_files(
        &self,
        container: &str,
        files: Vec<(String, String)>,
        registry: Option<(String, String)>,
    ) {
        let mut parts = self.parts();
        parts.files.insert(container.to_owned(), files);
        if let Some(registry) = registry {
            parts.registries.insert(container.to_owned(), registry);
        }
    }

    /// Environment variables from files.
    pub fn files(&self, container: &str) -> Vec<(String, String)> {
        self.parts()
            .files
            .get(container)
            .cloned()
            .unwrap_or_default()
    }

    /// User and password for the registry of a container's image.
    pub fn registry(&self, container: &str) -> Option<(String, String)> {
        self.parts().registries.get(container).cloned()
    }

    /// Environment variables from secrets.
    pub fn secrets(&self, container: &str) -> Vec<(String, String)> {
        self.parts()
            .secrets
            .get(container)
            .cloned()
            .unwrap_or_default()
    }

    /// Keeps the id that a container is known by from now on.
    pub fn keep_id(&self, container: &str, id: &str) {
        self.parts().ids.insert(container.to_owned(), id.to_owned());
    }

    /// Keeps the names of the task's proxies.
    pub fn keep_hosts(&self, hosts: Vec<(String, IpAddr)>) {
        self.parts().hosts = hosts;
    }

    /// The names of the task's proxies, as they stand in `/etc/hosts`.
    pub fn hosts(&self) -> Vec<(String, IpAddr)> {
        self.parts().hosts.clone()
    }

    /// Keeps the role of the task and its keys.
    pub fn keep_credentials(&self, held: Held) {
        self.parts().credentials = Some(held);
    }

    /// The role of the task and its keys.
    pub fn credentials(&self) -> Option<Held> {
        self.parts().credentials.clone()
    }

    /// Keeps what a container used, and returns what was kept before.
    pub fn keep_sample(&self, container: &str, sample: Sample) -> Option<Sample> {
        self.parts().samples.insert(container.to_owned(), sample)
    }

    /// Every process, with the name of its container.
    pub fn processes(&self) -> Vec<(String, Arc<dyn TaskProcess>)> {
        let parts = self.parts();
        let mut all: Vec<_> = parts
            .processes
            .iter()
            .map(|(name, process)| (name.clone(), process.clone()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The process of a container that was started.
    pub fn process(&self, container: &str) -> Option<Arc<dyn TaskProcess>> {
        self.parts().processes.get(container).cloned()
    }
}

impl Crew {
    /// A crew that has nothing to do yet.
    pub fn new(ctx: Ctx) -> Crew {
        Crew {
            ctx,
            work: Arc::default(),
            targets_in_order: Arc::default(),
            metadata: Arc::default(),
        }
    }

    /// From now on tasks have the metadata endpoint there.
    pub fn open_metadata(&self, host: String) {
        // It is opened once.
        let _ = self.metadata.set(host);
    }

    /// Where tasks have the metadata endpoint, if anywhere.
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.get().map(String::as_str)
    }

    /// The id that a container of a task is known by, once it is to start.
    pub fn runtime_id(&self, task: &str, container: &str) -> Option<String> {
        self.run(task)?.parts().ids.get(container).cloned()
    }

    /// Every task that there is something of.
    pub fn arns(&self) -> Vec<Arn> {
        self.work().runs.keys().cloned().collect()
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with a task.
    pub fn begin(&self, task: &str) -> Arc<Run> {
        self.work().runs.entry(task.to_owned()).or_default().clone()
    }

    /// Chooses the subnet of a task, of subnets with their zones: one in the zone that it is meant for, or with the fewest siblings, so
    /// that they spread over the zones, also when many begin at once; there the one with the fewest of them. `None` if there is none to
    /// choose from.
    pub fn place(
        &self,
        task: &Task,
        siblings: &[Arn],
        subnets: &[(String, String)],
    ) -> Option<String> {
        let work = self.work();
        let placed: Vec<&(String, String)> = siblings
            .iter()
            .filter_map(|arn| work.runs.get(arn)?.subnet.get())
            .filter_map(|subnet| subnets.iter().find(|it| it.0 == *subnet))
            .collect();
        // Of equally used ones any will do, but not always the same.
        let start = task.id.bytes().map(usize::from).sum::<usize>();
        let in_turn = (0..subnets.len()).map(|step| &subnets[(start + step) % subnets.len()]);
        let (chosen, _) = in_turn.min_by_key(|(subnet, zone)| {
            let beside = placed.iter().filter(|it| it.1 == *zone).count();
            let here = placed.iter().filter(|it| it.0 == *subnet).count();
            let is_elsewhere = task.meant_for.as_ref().is_some_and(|it| it != zone);
            (is_elsewhere, beside, here)
        })?;
        let chosen = chosen.clone();
        if let Some(run) = work.runs.get(&task.arn) {
            let _ = run.subnet.set(chosen.clone());
        }
        Some(chosen)
    }

    /// What there is of a task; nothing before it is begun and after it is forgotten.
    pub fn run(&self, task: &str) -> Option<Arc<Run>> {
        self.work().runs.get(task).cloned()
    }

    /// Forgets a task and returns what there was of it.
    pub fn forget(&self, task: &str) -> Option<Arc<Run>> {
        self.work().runs.remove(task)
    }

    /// Remembers whose target this is.
    pub fn keep_target(&self, group: &str, address: SocketAddr, task: &str) {
        self.work()
            .targets
            .insert((group.to_owned(), address), task.to_owned());
    }

    /// Whose target this is.
    pub fn target(&self, group: &str, address: SocketAddr) -> Option<Arn> {
        self.work()
            .targets
            .get(&(group.to_owned(), address))
            .cloned()
    }

    /// Forgets a target and returns whose it was.
    pub fn forget_target(&self, group: &str, address: SocketAddr) -> Option<Arn> {
        self.work().targets.remove(&(group.to_owned(), address))
    }

    /// Reports to the scheduler.
    pub fn tell(&self, event: Event) {
        self.ctx.driver.tell(event);
    }

    /// Starts one command and returns at once. Commands run beside each other, but those about targets and traffic run one after the other:
    /// a target that is taken out must have been put in before.
    pub fn carry_out(&self, command: Command) {
        if matches!(
            command,
            Command::RegisterTarget { .. }
                | Command::DeregisterTarget { .. }
                | Command::ShiftTraffic { .. }
        ) {
            // The queue lives as long as the crew, which lives as long as the daemon.
            let _ = self.target_queue().send(command);
        } else {
            let crew = self.clone();
            tokio::spawn(async move { crew.carry(command).await });
        }
    }

    fn target_queue(&self) -> &mpsc::UnboundedSender<Command> {
        self.targets_in_order.get_or_init(|| {
            let (sender, mut commands) = mpsc::unbounded_channel();
            let crew = self.clone();
            tokio::spawn(async move {
                while let Some(command) = commands.recv().await {
                    crew.carry(command).await;
                }
            });
            sender
        })
    }

    async fn carry(&self, command: Command) {
        let crew = self.clone();
        match command {
            // The actor answers calls itself; an answer here is to a call that nobody made.
            Command::Answer(_) => {}
            Command::ResolveImages {
                revision,
                region,
                images,
            } => {
                containers::resolve(&crew, revision, &region, images).await;
            }
            Command::ProvisionTask { task } => network::provision(&crew, &task).await,
            Command::PullImage {
                task,
                container,
                image,
                digest,
            } => {
                containers::pull(&crew, task, container, &image, digest).await;
            }
            Command::StartContainer { task, container } => {
                containers::start(&crew, task, container).await
            }
            Command::RunHealthCheck {
                task,
                container,
                command,
                timeout,
            } => {
                health::check(&crew, task, container, command, timeout).await;
            }
            Command::StopContainer {
                task,
                container,
                timeout,
            } => {
                containers::stop(&crew, &task, &container, timeout).await;
            }
            Command::RemoveTask { task } => network::remove(&crew, task).await,
            Command::RegisterTarget {
                task,
                target_group,
                ip,
                port,
                availability_zone,
            } => {
                targets::register(&crew, task, target_group, &ip, port, &availability_zone).await;
            }
            Command::ShiftTraffic {
                service,
                region,
                number,
                rules,
            } => shift::shift(&crew, service, &region, number, &rules).await,
            Command::CallHook {
                service,
                service_deployment,
                revision,
                hook,
                target,
                stage,
                details,
            } => {
                let due = hooks::Due {
                    service,
                    service_deployment,
                    revision,
                    hook,
                    target,
                    stage: stage.as_str(),
                    details,
                };
                hooks::call(&crew, due).await;
            }
            Command::DeregisterTarget {
                task,
                target_group,
                ip,
                port,
            } => {
                targets::deregister(&crew, task, target_group, &ip, port).await;
            }
        }
    }
}
