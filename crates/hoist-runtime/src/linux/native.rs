//! Tasks on this machine's own namespaces, control groups and overlay mounts.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use hoist_oci::{Image, Store};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::task::Prepared;
use crate::{
    Config, ContainerSpec, Containers, ExecSpec, Exit, Guard, Hub, HubConfig, InputStream, Names,
    NativeConfig, NetNs, Network, OutputStream, PreparedImage, RootFs, Running, Runtime,
    RuntimeError, Scratch, Snapshots, StartError, Stats, TaskContainer, TaskNet, TaskProcess,
    TaskSpec, TerminalSize,
};

/// The native runtime. Everything it started ends with this process.
#[derive(Debug)]
pub struct Native {
    containers: Containers,
    snapshots: Snapshots,
    hub: Hub,
    resolver: Option<Ipv4Addr>,
    tasks: Mutex<HashMap<String, Task>>,
}

/// What there is of one task.
#[derive(Debug)]
struct Task {
    ip: Ipv4Addr,
    network: NetNs,
    hostname: String,
    containers: Vec<Container>,
}

/// A container that was started, and where it writes: removed only when it has ended.
#[derive(Debug)]
struct Container {
    running: Arc<Running>,
    _scratch: Scratch,
}

/// The runtime that needs nothing but this machine's kernel.
///
/// # Errors
///
/// As [`Native::new`]; always on machines that are not Linux.
pub async fn native(config: NativeConfig) -> Result<Arc<dyn Runtime>, RuntimeError> {
    Ok(Arc::new(Native::new(config).await?))
}

impl Native {
    /// Makes the tasks' network; starts nothing yet.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the network, or the directories cannot be made.
    pub async fn new(config: NativeConfig) -> Result<Native, RuntimeError> {
        let snapshots = Snapshots::open(&config.snapshots)?;
        let outside = config.way_out.then(|| config.cgroup_parent.clone());
        let resolver = config.resolver;
        let containers = Containers::new(Config {
            init_program: config.init_program,
            cgroup_parent: config.cgroup_parent,
        });
        let hub = Hub::create(HubConfig {
            subnets: config.subnets,
            resolver: config.resolver,
            outside,
        })
        .await?;
        Ok(Native {
            containers,
            snapshots,
            hub,
            resolver,
            tasks: Mutex::default(),
        })
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network_of(&self, task: &str) -> io::Result<NetNs> {
        let tasks = self.tasks();
        let found = tasks.get(task).map(|it| it.network.clone());
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the task is gone"))
    }

    async fn create(&self, task: TaskSpec) -> Result<(), RuntimeError> {
        if self.tasks().contains_key(&task.id) {
            return Err(RuntimeError::System {
                action: format!("make the task {}", task.id),
                source: io::ErrorKind::AlreadyExists.into(),
            });
        }
        let network = self
            .hub
            .add(TaskNet {
                ip: task.ip,
                prefix: task.prefix,
                gateway: task.gateway,
                mac: None,
            })
            .await?;
        if let Err(error) = self.containers.create_group(&task.id, &task.limits) {
            self.hub.remove(task.ip).await?;
            return Err(error);
        }
        let made = Task {
            ip: task.ip,
            network,
            hostname: task.hostname,
            containers: Vec::new(),
        };
        self.tasks().insert(task.id, made);
        Ok(())
    }

    async fn launch(
        &self,
        task: &str,
        container: TaskContainer,
    ) -> Result<Box<dyn TaskProcess>, StartError> {
        let gone = || StartError::NotRunning {
            id: task.to_owned(),
        };
        let (network, hostname) = {
            let tasks = self.tasks();
            let task = tasks.get(task).ok_or_else(gone)?;
            (task.network.clone(), task.hostname.clone())
        };
        let Prepared::Layers(lower) = container.image.0 else {
            return Err(StartError::Invalid(
                "the image was prepared for another runtime".to_owned(),
            ));
        };
        let scratch = self
            .snapshots
            .scratch()
            .map_err(|error| StartError::other("make room for what the container writes", error))?;
        let dns = match self.resolver {
            Some(resolver) if container.dns.is_empty() => vec![resolver.into()],
            _ => container.dns,
        };
        let spec = ContainerSpec {
            id: format!("{task}-{}", container.name),
            rootfs: RootFs {
                lower,
                upper: scratch.upper(),
                work: scratch.work(),
            },
            read_only: container.read_only,
            args: container.args,
            env: container.env,
            cwd: container.cwd,
            user: container.user,
            hostname,
            mounts: container.mounts,
            network: Network::Namespace(network),
            limits: container.limits,
            ulimits: container.ulimits,
            extra_hosts: container.extra_hosts,
            dns,
            sysctls: container.sysctls,
            shm_bytes: container.shm_bytes,
            cap_add: container.cap_add,
            cap_drop: container.cap_drop,
            cgroup: Some(task.to_owned()),
            init: container.init,
            ..ContainerSpec::default()
        };
        let mut running = self.containers.start(spec).await?;
        let streams = Streams::take(&mut running);
        let running = Arc::new(running);
        let mut tasks = self.tasks();
        // Removed meanwhile: dropping the container kills it.
        let task = tasks.get_mut(task).ok_or_else(gone)?;
        task.containers.push(Container {
            running: running.clone(),
            _scratch: scratch,
        });
        Ok(Box::new(Process { running, streams }))
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(task) = self.tasks().remove(id) else {
            return Ok(());
        };
        for container in &task.containers {
            // An error says that it has ended already.
            let _ = container.running.kill();
            container.running.wait().await;
        }
        drop(task.containers);
        let group = self.containers.remove_group(id);
        self.hub.remove(task.ip).await?;
        group
    }
}

impl Runtime for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async {
            let tasks: Vec<String> = self.tasks().keys().cloned().collect();
            for task in tasks {
                self.remove(&task).await?;
            }
            self.containers.cleanup_orphans()?;
            self.snapshots.clean_up()
        })
    }

    fn prepare<'a>(
        &'a self,
        store: &'a Store,
        image: &'a Image,
    ) -> BoxFuture<'a, Result<PreparedImage, RuntimeError>> {
        let (snapshots, store, image) = (self.snapshots.clone(), store.clone(), image.clone());
        Box::pin(async move {
            let unpacking =
                tokio::task::spawn_blocking(move || snapshots.lower_dirs(&store, &image));
            let layers = unpacking.await.map_err(|error| RuntimeError::System {
                action: "unpack the layers".to_owned(),
                source: io::Error::other(error),
            })??;
            Ok(PreparedImage(Prepared::Layers(layers)))
        })
    }

    fn seed<'a>(
        &'a self,
        image: &'a PreparedImage,
        path: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, io::Result<bool>> {
        let Prepared::Layers(layers) = &image.0 else {
            return Box::pin(std::future::ready(Ok(false)));
        };
        let (layers, path, to) = (layers.clone(), PathBuf::from(path), to.to_owned());
        Box::pin(async move {
            let copying =
                tokio::task::spawn_blocking(move || super::seed::seed(&layers, &path, &to));
            copying.await.map_err(io::Error::other)?
        })
    }

    fn create_task(&self, task: TaskSpec) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(self.create(task))
    }

    fn start<'a>(
        &'a self,
        task: &'a str,
        container: TaskContainer,
    ) -> BoxFuture<'a, Result<Box<dyn TaskProcess>, StartError>> {
        Box::pin(self.launch(task, container))
    }

    fn remove_task<'a>(&'a self, task: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(self.remove(task))
    }

    fn guard(&self, guards: Vec<Guard>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async move { self.hub.guard(&guards).await })
    }

    fn lacks(&self) -> Vec<String> {
        let limits = self.containers.without_limits();
        let limits =
            limits.map(|why| format!("limits of memory, processor time and processes: {why}"));
        let rights = crate::privilege::acquire().ok();
        let users = rights.as_ref().and_then(crate::detect::without_users);
        let users = users.map(|why| format!("users besides root: {why}"));
        let way_out = self.hub.without_way_out();
        let way_out = way_out.map(|why| format!("a way out of this machine: {why}"));
        let groups = crate::detect::find("nft")
            .is_none()
            .then(|| "security groups: nft is not installed (nftables)".to_owned());
        let lacks = [limits, users, way_out, groups];
        lacks.into_iter().flatten().collect()
    }

    fn set_names(&self, names: Arc<dyn Names>) {
        self.hub.set_names(names);
    }

    fn intercept<'a>(
        &'a self,
        task: &'a str,
        addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        Box::pin(async move {
            let network = self.network_of(task)?;
            super::intercept::intercept(&network, addresses).await
        })
    }

    fn connect_from<'a>(
        &'a self,
        task: &'a str,
        address: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(async move {
            let network = self.network_of(task)?;
            network.connect(address).await
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(self.hub.connect(address))
    }

    fn datagrams(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(self.hub.datagrams(address))
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(self.hub.listen(address))
    }
}

/// The standard streams, until somebody takes them.
struct Streams {
    stdin: Option<InputStream>,
    stdout: Option<OutputStream>,
    stderr: Option<OutputStream>,
}

impl Streams {
    fn take(running: &mut Running) -> Streams {
        if let Some(terminal) = running.terminal() {
            return Streams {
                stdin: Some(Box::pin(terminal.clone())),
                stdout: Some(Box::pin(terminal.clone())),
                stderr: None,
            };
        }
        Streams {
            stdin: running.take_stdin().map(|it| Box::pin(it) as InputStream),
            stdout: running.take_stdout().map(|it| Box::pin(it) as OutputStream),
            stderr: running.take_stderr().map(|it| Box::pin(it) as OutputStream),
        }
    }
}

/// A program of a task.
struct Process {
    running: Arc<Running>,
    streams: Streams,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.running.fmt(formatter)
    }
}

impl TaskProcess for Process {
    fn pid(&self) -> Option<u32> {
        Some(self.running.pid())
    }

    fn take_stdin(&mut self) -> Option<InputStream> {
        self.streams.stdin.take()
    }

    fn take_stdout(&mut self) -> Option<OutputStream> {
        self.streams.stdout.take()
    }

    fn take_stderr(&mut self) -> Option<OutputStream> {
        self.streams.stderr.take()
    }

    fn wait(&self) -> BoxFuture<'_, Exit> {
        Box::pin(self.running.wait())
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(self.running.signal(signal)))
    }

    fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        match self.running.terminal() {
            Some(terminal) => terminal
                .resize(size)
                .map_err(RuntimeError::system("change the size of a terminal")),
            None => Ok(()),
        }
    }

    fn exec(&self, exec: ExecSpec) -> BoxFuture<'_, Result<Box<dyn TaskProcess>, StartError>> {
        Box::pin(async move {
            let mut running = self.running.exec(exec).await?;
            let streams = Streams::take(&mut running);
            let running = Arc::new(running);
            Ok(Box::new(Process { running, streams }) as Box<dyn TaskProcess>)
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, RuntimeError>> {
        Box::pin(std::future::ready(self.running.stats()))
    }
}
