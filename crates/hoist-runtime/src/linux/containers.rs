//! Starting containers, and what one can do with a running one.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::linux::births::{Births, send_signal};
use crate::linux::cgroup::{Group, Hierarchies};
use crate::linux::overlay;
use crate::linux::stage::capabilities;
use crate::linux::wire::{Order, Program, Role, StartOrder};
use crate::terminal::{self, Terminal};
use crate::{
    Config, ContainerSpec, ExecSpec, Exit, Network, RuntimeError, StartError, Stats, Stdin,
    TerminalSize,
};

/// Starts containers. They all end when the last clone of it (and of what it started) is dropped, or when this process ends in whatever way.
#[derive(Debug, Clone)]
pub struct Containers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    hierarchies: Hierarchies,
    without_limits: Option<String>,
    births: Births,
    user_namespace: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.hierarchies.remove_empty(&self.config.cgroup_parent);
    }
}

/// A program that runs in a container: the container's own (process 1), or one added by [`Running::exec`].
///
/// Dropping it kills the program.
#[derive(Debug)]
pub struct Running {
    containers: Containers,
    shared: Arc<Shared>,
    pidfd: OwnedFd,
    pid: u32,
    exit: watch::Receiver<Option<Exit>>,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    terminal: Option<Terminal>,
}

/// The exit code of a program that SIGKILL ended, also where a process 1 of ours says so.
const KILLED: i32 = 128 + libc::SIGKILL;

/// What a program reads from and writes to.
enum Streams {
    /// Pipes, or nothing to read.
    Pipes { stdin: Stdin, merge_output: bool },
    /// A terminal, by its two sides: ours and the program's.
    Terminal(OwnedFd, OwnedFd),
}

/// What a container and the programs added to it have in common.
#[derive(Debug)]
struct Shared {
    id: String,
    program: Program,
    group: Option<Group>,
    /// The container's process 1, to enter its namespaces by.
    main: std::sync::OnceLock<OwnedFd>,
}

impl Containers {
    /// Starts nothing yet.
    pub fn new(config: Config) -> Containers {
        let hierarchies = Hierarchies::detect();
        Containers(Arc::new(Inner {
            without_limits: hierarchies.lacks(),
            hierarchies,
            births: Births::new(config.init_program.clone()),
            user_namespace: crate::privilege::in_user_namespace(),
            config,
        }))
    }

    /// Removes the control groups of containers that a killed process of the same home left, with whatever is still in them.
    /// Call it only when no other process uses this home.
    pub fn cleanup_orphans(&self) -> Result<(), RuntimeError> {
        self.0
            .hierarchies
            .remove_tree(&self.0.config.cgroup_parent)
            .map_err(RuntimeError::system(format!(
                "remove the control groups below {}",
                self.0.config.cgroup_parent
            )))
    }

    /// Why limits, or some of them, have no effect here, if so.
    pub fn without_limits(&self) -> Option<&str> {
        self.0.without_limits.as_deref()
    }

    /// Makes the group that [`ContainerSpec::cgroup`] names, with limits on all its containers together. Nothing where there are no groups.
    pub fn create_group(&self, name: &str, limits: &crate::Limits) -> Result<(), RuntimeError> {
        let path = format!("{}/{name}", self.0.config.cgroup_parent);
        self.0
            .hierarchies
            .create(&path, limits)
            .map(drop)
            .map_err(RuntimeError::system(format!(
                "make the control group {name}"
            )))
    }

    /// Removes a group that [`Containers::create_group`] made, and kills what is left in it.
    pub fn remove_group(&self, name: &str) -> Result<(), RuntimeError> {
        let path = format!("{}/{name}", self.0.config.cgroup_parent);
        self.0
            .hierarchies
            .remove_tree(&path)
            .map_err(RuntimeError::system(format!(
                "remove the control group {name}"
            )))
    }

    /// Starts a container and returns when its program runs.
    ///
    /// # Errors
    ///
    /// Every reason why the program could not be executed; nothing is left of the container then.
    pub async fn start(&self, spec: ContainerSpec) -> Result<Running, StartError> {
        check(&spec)?;
        let hostname = if spec.hostname.is_empty() {
            spec.id.clone()
        } else {
            spec.hostname.clone()
        };
        let group = self.group(&spec)?;
        let program = Program {
            args: spec.args.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            user: spec.user.clone(),
            groups: spec.groups.clone(),
            ulimits: spec.ulimits.clone(),
            capabilities: capabilities::resolve(&spec.cap_add, &spec.cap_drop)
                .map_err(StartError::Invalid)?,
            allow_new_privileges: spec.allow_new_privileges,
            init: spec.init,
            hostname: hostname.clone(),
        };
        let order = Order::Start(Box::new(StartOrder {
            lower: spec.rootfs.lower.clone(),
            upper: spec.rootfs.upper.clone(),
            work: spec.rootfs.work.clone(),
            read_only: spec.read_only,
            mounts: spec.mounts.clone(),
            sysctls: sysctls(&spec),
            shm_bytes: spec.shm_bytes.unwrap_or(64 << 20),
            hosts: hosts(&spec, &hostname),
            resolv_conf: resolv_conf(&spec),
            hostname,
            cgroup_namespace: group.is_some(),
            cgroup_v1: self.0.hierarchies.v1_names(),
            user_namespace: self.0.user_namespace,
            program: program.clone(),
        }));
        let shared = Arc::new(Shared {
            id: spec.id.clone(),
            program,
            group,
            main: std::sync::OnceLock::new(),
        });
        let network = match &spec.network {
            Network::Namespace(network) => Some(network.as_fd()),
            _ => None,
        };
        let new_network = matches!(spec.network, Network::None);
        let running = self
            .launch(
                &order,
                shared.clone(),
                network,
                new_network,
                Streams::Pipes {
                    stdin: spec.stdin,
                    merge_output: spec.merge_output,
                },
                true,
            )
            .await?;
        if let Ok(main) = running.pidfd.try_clone() {
            let _ = shared.main.set(main);
        }
        Ok(running)
    }

    fn group(&self, spec: &ContainerSpec) -> Result<Option<Group>, StartError> {
        let parent = &self.0.config.cgroup_parent;
        let path = match &spec.cgroup {
            Some(between) => format!("{parent}/{between}/{}", spec.id),
            None => format!("{parent}/{}", spec.id),
        };
        let made = self.0.hierarchies.create(&path, &spec.limits);
        made.map_err(|error| {
            StartError::other(format!("make the control group of {}", spec.id), error)
        })
    }

    async fn launch(
        &self,
        order: &Order,
        shared: Arc<Shared>,
        network: Option<BorrowedFd<'_>>,
        new_network: bool,
        streams: Streams,
        owns_group: bool,
    ) -> Result<Running, StartError> {
        let owned_group = if owns_group {
            shared.group.clone()
        } else {
            None
        };
        let removed_on_failure = RemoveOnDrop(owned_group.clone());
        let failed =
            |action: &'static str| move |error: io::Error| StartError::other(action, error);
        let order =
            memory_file(order).map_err(failed("hand over the container's specification"))?;
        let pipe = || {
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
                .map_err(|error| failed("make a pipe")(error.into()))
        };
        let (report_read, report) = pipe()?;
        let (mut stdin, mut stdout, mut stderr, mut terminal) = (None, None, None, None);
        match streams {
            Streams::Terminal(ours, theirs) => terminal = Some((ours, theirs)),
            Streams::Pipes {
                stdin: wanted,
                merge_output,
            } => {
                if wanted == Stdin::Pipe {
                    stdin = Some(pipe()?);
                }
                stdout = Some(pipe()?);
                if !merge_output {
                    stderr = Some(pipe()?);
                }
            }
        }
        let procs = match &shared.group {
            Some(group) => group.open_procs().map_err(|error| match error.kind() {
                // The group goes with its last process.
                std::io::ErrorKind::NotFound => StartError::NotRunning {
                    id: shared.id.clone(),
                },
                _ => failed("open the control group")(error),
            })?,
            None => Vec::new(),
        };
        let mut files = vec![(Role::Order, order.as_fd()), (Role::Report, report.as_fd())];
        for (role, pipe) in [(Role::Stdout, &stdout), (Role::Stderr, &stderr)] {
            files.extend(pipe.as_ref().map(|(_, write)| (role, write.as_fd())));
        }
        files.extend(stdin.as_ref().map(|(read, _)| (Role::Stdin, read.as_fd())));
        if let Some((_, theirs)) = &terminal {
            let roles = [Role::Stdin, Role::Stdout, Role::Stderr];
            files.extend(roles.map(|role| (role, theirs.as_fd())));
        }
        files.extend(network.map(|network| (Role::Network, network)));
        files.extend(procs.iter().map(|file| (Role::Cgroup, file.as_fd())));
        if !owns_group {
            let id = shared.id.clone();
            let main = shared.main.get().ok_or(StartError::NotRunning { id })?;
            files.push((Role::Target, main.as_fd()));
        }

        let (publish, exit) = watch::channel(None);
        let group = shared.group.clone();
        let kills_before = if owns_group {
            0
        } else {
            group.as_ref().map_or(0, Group::oom_kills)
        };
        let on_end = Box::new(move |status: i32| {
            let mut exit = exit_of(status);
            if let Some(group) = &group {
                exit.oom_killed = exit.code == KILLED && group.oom_kills() > kills_before;
            }
            if let Some(group) = &owned_group
                && let Err(error) = group.remove()
            {
                tracing::warn!(%error, "cannot remove a control group");
            }
            publish.send_replace(Some(exit));
        });
        let born = self.0.births.request(&files, new_network, on_end)?;
        // From here on the group is removed by `on_end`, or stays ours if there is no process.
        drop(files);
        drop((report, order));
        let lost = |_| {
            StartError::other(
                "start a container",
                "the process that containers are born from has ended",
            )
        };
        let pidfd = born.await.map_err(lost)??;
        removed_on_failure.disarm();
        let pid = pid_of(&pidfd).unwrap_or(0);
        let receiver = |fd: OwnedFd| {
            pipe::Receiver::from_owned_fd(fd).map_err(failed("read the container's output"))
        };
        let mut running = Running {
            containers: self.clone(),
            shared: shared.clone(),
            pidfd,
            pid,
            exit,
            stdin: None,
            stdout: None,
            stderr: None,
            terminal: None,
        };
        // The program's side of each is closed here: only then does its end show.
        if let Some((read, _)) = stdout {
            running.stdout = Some(receiver(read)?);
        }
        if let Some((read, _)) = stderr {
            running.stderr = Some(receiver(read)?);
        }
        if let Some((_, write)) = stdin {
            running.stdin = Some(
                pipe::Sender::from_owned_fd(write)
                    .map_err(failed("write the container's input"))?,
            );
        }
        if let Some((ours, _)) = terminal {
            running.terminal = Some(Terminal::new(ours).map_err(failed("open a terminal"))?);
        }
        let mut said = Vec::new();
        let mut report = receiver(report_read)?;
        report
            .read_to_end(&mut said)
            .await
            .map_err(failed("wait for the container to start"))?;
        if said.is_empty() {
            return Ok(running);
        }
        running.wait().await;
        let error = serde_json::from_slice(&said).unwrap_or_else(|_| {
            StartError::other("start a container", String::from_utf8_lossy(&said))
        });
        Err(match error {
            StartError::NotRunning { .. } => StartError::NotRunning {
                id: shared.id.clone(),
            },
            error => error,
        })
    }
}

/// Removes a control group unless its container has come to life.
struct RemoveOnDrop(Option<Group>);

impl RemoveOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = group.remove();
        }
    }
}

impl Running {
    /// The container's id.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The process id on this machine; 0 if it ended before it could be learnt.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Standard input, if it was asked for; `None` the second time.
    pub fn take_stdin(&mut self) -> Option<pipe::Sender> {
        self.stdin.take()
    }

    /// Standard output; `None` the second time.
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        self.stdout.take()
    }

    /// Standard error; `None` the second time, and when it is merged into standard output.
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        self.stderr.take()
    }

    /// The terminal of a program that was added with one: its input and output, and its size.
    pub fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// Waits until the program has ended and its control group is gone. May be called any number of times, at once too.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // Without a sender the nursery is gone, and with it the program.
        ended
            .ok()
            .and_then(|exit| *exit)
            .unwrap_or(exit_of(libc::SIGKILL))
    }

    /// How the program ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Sends a signal to the program. As process 1 it ignores those it has no handler for, except SIGKILL and SIGSTOP, as in Docker.
    pub fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        send_signal(&self.pidfd, signal).map_err(RuntimeError::system(format!(
            "send signal {signal} to {}",
            self.shared.id
        )))
    }

    /// Kills the program, and with process 1 everything in the container.
    pub fn kill(&self) -> Result<(), RuntimeError> {
        self.signal(libc::SIGKILL)
    }

    /// Starts a further program in this container.
    pub async fn exec(&self, exec: ExecSpec) -> Result<Running, StartError> {
        let mut program = self.shared.program.clone();
        program.args = exec.args;
        program.init = false;
        for (name, value) in exec.env {
            program.env.retain(|(known, _)| *known != name);
            program.env.push((name, value));
        }
        if !exec.cwd.is_empty() {
            program.cwd = exec.cwd;
        }
        if !exec.user.is_empty() {
            program.user = exec.user;
        }
        let streams = match exec.terminal {
            None => Streams::Pipes {
                stdin: exec.stdin,
                merge_output: false,
            },
            Some(size) => {
                if !program.env.iter().any(|(name, _)| name == "TERM") {
                    program.env.push(("TERM".to_owned(), "xterm".to_owned()));
                }
                let id = self.shared.id.clone();
                let main = self
                    .shared
                    .main
                    .get()
                    .ok_or(StartError::NotRunning { id })?;
                let opened = terminal_of(main, size);
                let (ours, theirs) = opened.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => StartError::NotRunning {
                        id: self.shared.id.clone(),
                    },
                    _ => StartError::other("open a terminal in the container", error),
                })?;
                Streams::Terminal(ours, theirs)
            }
        };
        let order = Order::Exec(program);
        self.containers
            .launch(&order, self.shared.clone(), None, false, streams, false)
            .await
    }

    /// What the container uses, from its control group, or summed over its processes where there is none.
    pub fn stats(&self) -> Result<Stats, RuntimeError> {
        let stats = match &self.shared.group {
            Some(group) => group.stats(),
            None => crate::linux::procfs::stats_of_namespace(self.pid),
        };
        stats.map_err(RuntimeError::system(format!(
            "read the usage of {}",
            self.shared.id
        )))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            let _ = send_signal(&self.pidfd, libc::SIGKILL);
        }
    }
}

fn exit_of(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        Exit {
            code: 128 + signal,
            signal: Some(signal),
            oom_killed: false,
        }
    } else {
        Exit {
            code: libc::WEXITSTATUS(status),
            signal: None,
            oom_killed: false,
        }
    }
}

/// The number by which this machine knows the process of a pidfd.
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let path = format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(pidfd)
    );
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// Makes a terminal of a container's own `/dev/pts`, where its programs find it by name: our side and theirs.
fn terminal_of(container: &OwnedFd, size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let pid = || pid_of(container).ok_or(io::Error::from(io::ErrorKind::NotFound));
    let root = overlay::open_path(format!("/proc/{}/root", pid()?).as_ref())?;
    // If it has ended meanwhile, the number may be another process's by now.
    pid()?;
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let ours: OwnedFd = overlay::open_in_root(&root, "/dev/pts/ptmx", flags, 0)?.into();
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    let result = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    Errno::result(result)?;
    // SAFETY: takes flags and returns a new descriptor, which nothing else knows.
    let theirs = unsafe {
        let fd = libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags | libc::O_CLOEXEC);
        OwnedFd::from_raw_fd(Errno::result(fd)?)
    };
    terminal::set_size(&ours, size)?;
    Ok((ours, theirs))
}

fn memory_file(order: &Order) -> io::Result<OwnedFd> {
    use std::io::Write;
    let fd = nix::sys::memfd::memfd_create(c"container", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = fs::File::from(fd);
    file.write_all(&serde_json::to_vec(order)?)?;
    Ok(file.into())
}

fn check(spec: &ContainerSpec) -> Result<(), StartError> {
    let invalid = |text: String| Err(StartError::Invalid(text));
    let named = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !named(&spec.id) {
        return invalid(format!("invalid container id {:?}", spec.id));
    }
    if let Some(group) = spec.cgroup.as_ref().filter(|group| !named(group)) {
        return invalid(format!("invalid control group name {group:?}"));
    }
    if spec.hostname.len() > 64 {
        return invalid(format!(
            "the host name {:?} is longer than 64 bytes",
            spec.hostname
        ));
    }
    if let Some(mount) = spec
        .mounts
        .iter()
        .find(|mount| !mount.target.starts_with('/'))
    {
        return invalid(format!(
            "invalid mount path {:?}: it must be absolute",
            mount.target
        ));
    }
    if !spec.cwd.is_empty() && !spec.cwd.starts_with('/') {
        return invalid(format!(
            "the working directory {:?} is invalid: it must be an absolute path",
            spec.cwd
        ));
    }
    if let Some((name, _)) = spec
        .env
        .iter()
        .find(|(name, _)| name.is_empty() || name.contains('='))
    {
        return invalid(format!("invalid environment name {name:?}"));
    }
    if let Some((key, _)) = spec
        .sysctls
        .iter()
        .find(|(key, _)| key.contains('/') || key.contains(".."))
    {
        return invalid(format!("invalid kernel parameter {key:?}"));
    }
    Ok(())
}

/// What was asked for, and what Docker sets in every network namespace of its own, so that no root is needed for port 80 or ping.
fn sysctls(spec: &ContainerSpec) -> Vec<(String, String)> {
    let mut sysctls = Vec::new();
    if !matches!(spec.network, Network::Host) {
        sysctls.push((
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        ));
        let groups = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
        let mapped: u64 = groups
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
            .sum();
        let last = mapped.saturating_sub(1).min(2_147_483_647);
        sysctls.push(("net.ipv4.ping_group_range".to_owned(), format!("0 {last}")));
    }
    sysctls.extend(spec.sysctls.iter().cloned());
    sysctls
}

fn hosts(spec: &ContainerSpec, hostname: &str) -> String {
    let mut text = match spec.network {
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n\
              ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    if !text.ends_with('\n') && !text.is_empty() {
        text.push('\n');
    }
    for (name, address) in &spec.extra_hosts {
        text += &format!("{address}\t{name}\n");
    }
    if matches!(spec.network, Network::Host | Network::None)
        && !spec.extra_hosts.iter().any(|(name, _)| name == hostname)
    {
        text += &format!("127.0.1.1\t{hostname}\n");
    }
    text
}

fn resolv_conf(spec: &ContainerSpec) -> String {
    if spec.dns.is_empty() && spec.dns_search.is_empty() && matches!(spec.network, Network::Host) {
        return fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    }
    let mut text = String::new();
    if !spec.dns_search.is_empty() {
        text += &format!("search {}\n", spec.dns_search.join(" "));
    }
    for server in &spec.dns {
        let server: &IpAddr = server;
        text += &format!("nameserver {server}\n");
    }
    text
}
