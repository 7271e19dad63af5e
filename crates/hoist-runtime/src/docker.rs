//! Tasks in a Docker Engine, by way of the `docker` command: for machines that are not Linux, or by choice.
//!
//! A task is a container that only sleeps and holds the network address, and the task's containers share its network. The engine keeps
//! containers when this process ends, so they carry a label by which [`Runtime::clean_up`] of the next one finds them.

mod archive;
mod command;
mod network;
mod process;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use hoist_oci::{Image, Store};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Child;

use crate::names::Resolver;
use crate::task::Prepared;
use crate::{
    Limits, Mount, MountSource, Names, NetNs, PreparedImage, Runtime, RuntimeError, StartError,
    TaskContainer, TaskProcess, TaskSpec, Ulimit, inside,
};
use command::Cli;
use network::published_port;
use process::Process;

/// How [`Docker`] runs tasks.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The command; usually `docker`.
    pub program: PathBuf,
    /// The engine to talk to, as `docker --host` takes it; the command's own choice when absent.
    pub host: Option<String>,
    /// Tells the containers of one home from those of another; letters, digits, `-` and `_`.
    pub home: String,
    /// Holds small files that containers see, such as `/etc/hosts`. The engine must be able to read it.
    pub files: PathBuf,
    /// The router of each subnet and the length of its prefix. One Docker network spans them all.
    pub subnets: Vec<(Ipv4Addr, u8)>,
    /// Publishes the ports of tasks on 127.0.0.1 and connects there, because task addresses cannot be reached: true but on Linux.
    pub publish: bool,
}

/// The Docker runtime.
#[derive(Debug)]
pub struct Docker {
    cli: Cli,
    config: DockerConfig,
    tasks: Mutex<HashMap<String, Task>>,
    /// Resource limits that the engine was seen to refuse.
    refused: Mutex<Vec<Ulimit>>,
    resolver: Resolver,
    /// Whether the resolver answers at the tasks' router; if not, why.
    answers: Result<(), String>,
    /// Whether the networks of tasks can be entered; if not, why.
    enters: Result<(), String>,
    /// What every task reaches under another address than its own.
    led: OnceLock<(SocketAddr, SocketAddr)>,
}

#[derive(Debug)]
struct Task {
    ip: Ipv4Addr,
    limits: Limits,
    /// Names of its containers, without the sleeping one.
    containers: Vec<String>,
    /// Where container ports are published.
    published: HashMap<u16, SocketAddr>,
    /// Its network, where it can be entered.
    network: Option<NetNs>,
}

/// The label that all containers of hoist carry; its value is the home.
const LABEL: &str = "io.hoist.home";
/// The image of the sleeping container.
const PAUSE: &str = "hoist.local/pause:1";

impl Docker {
    /// Makes sure that an engine answers, that the tasks' network exists and that there is an image for the sleeping container.
    ///
    /// # Errors
    ///
    /// When the command is missing, the engine does not answer, or the network's addresses are used by another network.
    pub async fn new(config: DockerConfig) -> Result<Docker, RuntimeError> {
        std::fs::create_dir_all(&config.files)
            .map_err(RuntimeError::path("make", &config.files))?;
        let cli = Cli::new(
            config.program.clone(),
            config.host.clone(),
            config.files.join("making"),
        );
        let architecture = cli
            .run(&["version", "--format", "{{.Server.Arch}}"])
            .await?;
        let mut docker = Docker {
            cli,
            config,
            tasks: Mutex::default(),
            refused: Mutex::default(),
            resolver: Resolver::default(),
            answers: Ok(()),
            enters: Ok(()),
            led: OnceLock::new(),
        };
        if docker.cli.run(&["image", "inspect", PAUSE]).await.is_err() {
            let pause = archive::pause(architecture.trim())?;
            docker
                .cli
                .feed(
                    &["import", "--change", r#"CMD ["/pause"]"#, "-", PAUSE],
                    pause,
                )
                .await?;
        }
        docker.make_network().await?;
        docker.answers = docker.answer().await;
        docker.enters = match docker.at_router(0).await {
            Ok(_) => inside::may_enter(),
            Err(why) => Err(why),
        };
        Ok(docker)
    }

    fn network(&self) -> String {
        format!("hoist-{}", self.config.home)
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.config.home)
    }

    fn name(&self, task: &str) -> String {
        format!("hoist-{}-{task}", self.config.home)
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Vec<Ulimit>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, task: TaskSpec) -> Result<(), RuntimeError> {
        if self.tasks().contains_key(&task.id) {
            return Err(RuntimeError::System {
                action: format!("make the task {}", task.id),
                source: io::ErrorKind::AlreadyExists.into(),
            });
        }
        let (name, network, label, ip) = (
            self.name(&task.id),
            self.network(),
            self.label(),
            task.ip.to_string(),
        );
        let ports: Vec<String> = task
            .ports
            .iter()
            .map(|port| format!("127.0.0.1::{port}"))
            .collect();
        let mut args = vec!["run", "--detach", "--name", &name, "--label", &label];
        args.extend([
            "--network",
            &network,
            "--ip",
            &ip,
            "--hostname",
            &task.hostname,
        ]);
        if self.config.publish {
            for port in &ports {
                args.extend(["--publish", port]);
            }
        }
        let router = self
            .config
            .subnets
            .first()
            .map(|(router, _)| router.to_string());
        if let (Some(router), Ok(())) = (&router, &self.answers) {
            args.extend(["--dns", router]);
        }
        args.push(PAUSE);
        let mut made = self.cli.make(&args).await;
        if let Err(RuntimeError::Docker { problem, .. }) = &made
            && problem.contains(&format!("network {network} not found"))
        {
            // Taken away by whoever wanted its addresses while no task was in it.
            let _ = self.cli.run(&["rm", "--force", &name]).await;
            self.make_network().await?;
            made = self.cli.make(&args).await;
        }
        if let Err(error) = made {
            // `run` leaves the container when only starting it failed.
            let _ = self.cli.run(&["rm", "--force", &name]).await;
            return Err(error);
        }
        let mut published = HashMap::new();
        if self.config.publish {
            let lines = self.cli.run(&["port", &name]).await?;
            published = lines.lines().filter_map(published_port).collect();
        }
        let mut network = None;
        if self.enters.is_ok() {
            match self.enter(&name, task.ip).await {
                Ok(entered) => network = Some(entered),
                Err(error) => {
                    let _ = self.cli.run(&["rm", "--force", &name]).await;
                    return Err(error);
                }
            }
        }
        let made = Task {
            ip: task.ip,
            limits: task.limits,
            containers: Vec::new(),
            published,
            network,
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
        let name = format!("{}-{}", self.name(task), container.name);
        let within = {
            let mut tasks = self.tasks();
            let task = tasks.get_mut(task).ok_or_else(gone)?;
            task.containers.push(name.clone());
            task.limits
        };
        let mut container = container;
        {
            let refused = self.refused();
            container.ulimits.retain(|limit| !refused.contains(limit));
        }
        let mut started = self.make_and_start(task, &name, within, &container).await;
        if let Err(StartError::Other { reason, .. }) = &started
            && reason.contains("error setting rlimit")
            && !container.ulimits.is_empty()
        {
            // Natively they are cut to the machine's own hard limits; what those are for the engine cannot be known.
            tracing::warn!(%reason, "the Docker Engine cannot set these resource limits; its own apply");
            let refused = std::mem::take(&mut container.ulimits);
            self.refused().extend(refused);
            started = self.make_and_start(task, &name, within, &container).await;
        }
        let attached = started?;
        if !self.tasks().contains_key(task) {
            // Removed meanwhile, perhaps before there was anything to remove.
            let _ = self.cli.run(&["rm", "--force", &name]).await;
            return Err(gone());
        }
        Ok(Box::new(Process::follow(self.cli.clone(), name, attached)))
    }

    /// The command that carries what the container prints, from its first word on. Nothing is left of one that did not start.
    async fn make_and_start(
        &self,
        task: &str,
        name: &str,
        within: Limits,
        container: &TaskContainer,
    ) -> Result<Child, StartError> {
        let args = self.arguments(task, name, within, container)?;
        self.cli
            .create(&args, &container.env)
            .await
            .map_err(|error| process::make_error(error, &container.cwd))?;
        match self.cli.start(name).await {
            Ok(attached) => Ok(attached),
            Err(error) => {
                let problem = error.to_string();
                let _ = self.cli.run(&["rm", "--force", name]).await;
                let program = container.args.first().map_or("", String::as_str);
                Err(process::start_error(
                    &problem,
                    program,
                    &container.user,
                    &container.cwd,
                ))
            }
        }
    }

    /// What `docker create` is told, but for the environment, which may hold secrets.
    fn arguments(
        &self,
        task: &str,
        name: &str,
        within: Limits,
        container: &TaskContainer,
    ) -> Result<Vec<String>, StartError> {
        let Prepared::Docker(image) = &container.image.0 else {
            return Err(StartError::Invalid(
                "the image was prepared for another runtime".to_owned(),
            ));
        };
        let Some((program, rest)) = container.args.split_first() else {
            return Err(StartError::Invalid("no command".to_owned()));
        };
        let mut args: Vec<String> = Vec::new();
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--name", name.to_owned());
        flag("--label", self.label());
        flag("--network", format!("container:{}", self.name(task)));
        // Its output is read as it comes, and kept elsewhere.
        flag("--log-driver", "none".to_owned());
        flag("--entrypoint", program.clone());
        if !container.cwd.is_empty() {
            flag("--workdir", container.cwd.clone());
        }
        if !container.user.is_empty() {
            flag("--user", container.user.clone());
        }
        // The engine knows no limits of several containers together, so each gets those of the task at most.
        let limits = &container.limits;
        if let Some(bytes) = limits.memory_bytes.or(within.memory_bytes) {
            flag("--memory", bytes.to_string());
            flag("--memory-swap", bytes.to_string());
        }
        if let Some(units) = limits.cpu_units.or(within.cpu_units) {
            flag("--cpu-period", "100000".to_owned());
            flag(
                "--cpu-quota",
                (units.saturating_mul(100_000) / 1024).max(1000).to_string(),
            );
        }
        if let Some(shares) = limits.cpu_shares {
            flag("--cpu-shares", shares.max(2).to_string());
        }
        if let Some(pids) = limits.pids.or(within.pids) {
            flag("--pids-limit", pids.to_string());
        }
        for limit in &container.ulimits {
            flag(
                "--ulimit",
                format!("{}={}:{}", limit.name, limit.soft, limit.hard),
            );
        }
        for (key, value) in &container.sysctls {
            flag("--sysctl", format!("{key}={value}"));
        }
        for capability in &container.cap_add {
            flag("--cap-add", capability.clone());
        }
        for capability in &container.cap_drop {
            flag("--cap-drop", capability.clone());
        }
        if let Some(bytes) = container.shm_bytes {
            flag("--shm-size", bytes.to_string());
        }
        for mount in &container.mounts {
            flag("--mount", mount_option(mount));
        }
        // With another container's network, the engine refuses --add-host and --dns.
        for (target, content) in etc_files(container) {
            let file = self
                .config
                .files
                .join(format!("{name}.{}", target.replace('/', "-")));
            std::fs::write(&file, content)
                .map_err(|error| StartError::other(format!("write {}", file.display()), error))?;
            flag(
                "--mount",
                mount_option(&Mount {
                    target: format!("/etc/{target}"),
                    source: MountSource::Bind(file),
                    read_only: false,
                }),
            );
        }
        args.push("--security-opt=no-new-privileges".to_owned());
        if container.init {
            args.push("--init".to_owned());
        }
        if container.read_only {
            args.push("--read-only".to_owned());
        }
        args.push(image.clone());
        args.extend(rest.iter().cloned());
        Ok(args)
    }

    /// Copies a directory out of a container that is made for it and never started. One at a time: it has one name.
    async fn copy_out(&self, image: &PreparedImage, path: &str, to: &Path) -> io::Result<bool> {
        let Prepared::Docker(image) = &image.0 else {
            return Ok(false);
        };
        let (name, label) = (format!("hoist-{}-seed", self.config.home), self.label());
        let remove = || self.remove_containers(vec![name.clone()]);
        remove().await.map_err(io::Error::other)?;
        let args = ["create", "--name", &name, "--label", &label, image, "none"];
        self.cli.make(&args).await.map_err(io::Error::other)?;
        let from = format!("{name}:{}/.", path.trim_end_matches('/'));
        let to = to.to_string_lossy();
        let copied = self.cli.run(&["cp", "--archive", &from, &to]).await;
        remove().await.map_err(io::Error::other)?;
        match copied {
            Ok(_) => Ok(true),
            Err(RuntimeError::Docker { problem, .. })
                if problem.contains("Could not find the file") =>
            {
                Ok(false)
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(task) = self.tasks().remove(id) else {
            return Ok(());
        };
        let mut names = task.containers;
        names.push(self.name(id));
        self.remove_containers(names).await
    }

    async fn remove_containers(&self, names: Vec<String>) -> Result<(), RuntimeError> {
        if !names.is_empty() {
            let mut args = vec!["rm", "--force", "--volumes"];
            args.extend(names.iter().map(String::as_str));
            match self.cli.run(&args).await {
                // A container that was never made.
                Err(RuntimeError::Docker { problem, .. })
                    if problem.contains("No such container") => {}
                result => result.map(drop)?,
            }
        }
        let entries = std::fs::read_dir(&self.config.files)
            .map_err(RuntimeError::path("read", &self.config.files))?;
        for entry in entries.flatten() {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            if names.iter().any(|name| {
                file.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            }) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn seed<'a>(
        &'a self,
        image: &'a PreparedImage,
        path: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(self.copy_out(image, path, to))
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async {
            // A killed process leaves commands that go on, and what they make would come after the list below.
            self.cli.nothing_is_being_made().await?;
            self.tasks().clear();
            let filter = format!("label={}", self.label());
            let listed = self
                .cli
                .run(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])
                .await?;
            self.remove_containers(listed.lines().map(str::to_owned).collect())
                .await
        })
    }

    fn prepare<'a>(
        &'a self,
        store: &'a Store,
        image: &'a Image,
    ) -> BoxFuture<'a, Result<PreparedImage, RuntimeError>> {
        Box::pin(async move {
            let tag = format!("hoist.local/image:{}", image.config_digest.hex());
            if self.cli.run(&["image", "inspect", &tag]).await.is_err() {
                let archive = archive::of_image(store, image, &tag)?;
                self.cli.load(archive).await?;
            }
            Ok(PreparedImage(Prepared::Docker(tag)))
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

    fn close(&self) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async {
            self.clean_up().await?;
            // So that another home can have its addresses.
            let network = self.network();
            self.cli.run(&["network", "rm", &network]).await.map(drop)
        })
    }

    fn lacks(&self) -> Vec<String> {
        let mut lacks = vec![
            "security groups: the network of a Docker Engine lets tasks reach each other as they like".to_owned(),
            "limits of all containers together: in a Docker Engine each container may use what its task may".to_owned(),
        ];
        if let Err(why) = &self.answers {
            lacks.push(format!("the names of Cloud Map: {why}"));
        }
        if let Err(why) = &self.enters {
            lacks.push(format!("the proxies of Service Connect: {why}"));
            lacks.push(format!(
                "the keys of their roles, which SDKs ask 169.254.170.2 for: {why}"
            ));
        }
        if self.config.publish {
            lacks.push(
                "the metadata endpoint: the Docker Engine runs on a machine of its own".to_owned(),
            );
        }
        lacks
    }

    fn set_names(&self, names: Arc<dyn Names>) {
        self.resolver.set(names);
    }

    /// At the tasks' router or, where tasks' networks can be entered, at one address outside of them, which is led to the router.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move {
            let routers = &self.config.subnets;
            let is_router = routers.first().map(|(router, _)| IpAddr::V4(*router));
            if is_router == Some(address.ip()) {
                let bound = self.at_router(address.port()).await;
                return bound.map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why));
            }
            let unsupported = |why: &str| {
                let text = format!("a Docker Engine's tasks cannot reach {address}: {why}");
                io::Error::new(io::ErrorKind::Unsupported, text)
            };
            self.enters.as_ref().map_err(|why| unsupported(why))?;
            let listener = self.at_router(0).await.map_err(|why| unsupported(&why))?;
            let led = self.led.set((address, listener.local_addr()?));
            led.map_err(|_| unsupported("only one address is led to their router"))?;
            Ok(listener)
        })
    }

    fn intercept<'a>(
        &'a self,
        task: &'a str,
        addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        Box::pin(async move {
            let network = self.network_of(task)?;
            inside::intercept(&network, addresses).await
        })
    }

    fn connect_from<'a>(
        &'a self,
        task: &'a str,
        address: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(async move { self.network_of(task)?.connect(address).await })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        let published = self
            .tasks()
            .values()
            .find(|task| address.ip() == task.ip)
            .and_then(|task| task.published.get(&address.port()).copied());
        Box::pin(TcpStream::connect(published.unwrap_or(address)))
    }

    fn datagrams(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        let publish = self.config.publish;
        Box::pin(async move {
            if publish {
                // Where addresses of tasks cannot be reached, ports of TCP are published, and no others.
                return Err(io::ErrorKind::Unsupported.into());
            }
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
            socket.connect(address).await?;
            Ok(socket)
        })
    }
}

/// A mount as `--mount` takes it: comma-separated values, quoted where they hold a comma or a quote.
fn mount_option(mount: &Mount) -> String {
    let mut fields = vec![format!("dst={}", mount.target)];
    match &mount.source {
        MountSource::Bind(source) => {
            fields.push("type=bind".to_owned());
            fields.push(format!("src={}", source.display()));
            if mount.read_only {
                fields.push("readonly".to_owned());
            }
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            fields.push("type=tmpfs".to_owned());
            fields.extend(size_bytes.map(|size| format!("tmpfs-size={size}")));
            fields.push(format!("tmpfs-mode={:o}", mode.unwrap_or(0o1777)));
        }
    }
    let quoted = fields.iter().map(|field| {
        if field.contains([',', '"']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

/// The files of `/etc` that the container asks for, by name.
fn etc_files(container: &TaskContainer) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    if !container.extra_hosts.is_empty() {
        let mut text =
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for (name, address) in &container.extra_hosts {
            text += &format!("{address}\t{name}\n");
        }
        files.push(("hosts", text));
    }
    if !container.dns.is_empty() {
        let lines = container
            .dns
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        files.push(("resolv.conf", lines.collect()));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_in_comma_separated_values() {
        let mount = Mount {
            target: "/data".into(),
            source: MountSource::Bind("/a,b/c".into()),
            read_only: true,
        };
        assert_eq!(
            mount_option(&mount),
            r#"dst=/data,type=bind,"src=/a,b/c",readonly"#
        );
    }
}
