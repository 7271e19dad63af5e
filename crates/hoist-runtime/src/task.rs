//! The task level: what a daemon needs of a way to run containers, whichever it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hoist_oci::{Image, Store};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::{ExecSpec, Exit, Limits, Mount, RuntimeError, StartError, Stats, TerminalSize, Ulimit};

/// A way to run tasks: groups of containers that share one network address.
///
/// Everything a runtime holds dies with this process; after a restart nothing of the former one is left but what [`Runtime::clean_up`] removes.
pub trait Runtime: Send + Sync + std::fmt::Debug {
    /// `native` or `docker`.
    fn name(&self) -> &'static str;

    /// Removes what a killed process of the same home left behind: control groups, scratch directories, Docker containers.
    fn clean_up(&self) -> BoxFuture<'_, Result<(), RuntimeError>>;

    /// Makes an image of the store ready to start from. Quick when it is ready already.
    fn prepare<'a>(
        &'a self,
        store: &'a Store,
        image: &'a Image,
    ) -> BoxFuture<'a, Result<PreparedImage, RuntimeError>>;

    /// Copies what an image has in a directory into another that is there and empty, with owners and modes. False if the image has no
    /// such directory. Not every runtime can; nothing is copied then. The caller calls it again only when it has returned.
    fn seed<'a>(
        &'a self,
        _image: &'a PreparedImage,
        _path: &'a str,
        _to: &'a Path,
    ) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Makes a task's network and its control group. Fails if the id is in use.
    fn create_task(&self, task: TaskSpec) -> BoxFuture<'_, Result<(), RuntimeError>>;

    /// Starts a container in a task.
    fn start<'a>(
        &'a self,
        task: &'a str,
        container: TaskContainer,
    ) -> BoxFuture<'a, Result<Box<dyn TaskProcess>, StartError>>;

    /// Kills what still runs in a task and removes its network, its control group and what its containers wrote. Nothing if there is no such task.
    fn remove_task<'a>(&'a self, task: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// What is left to do before this process ends: [`Runtime::clean_up`], and giving back what is of no use to the next.
    fn close(&self) -> BoxFuture<'_, Result<(), RuntimeError>> {
        self.clean_up()
    }

    /// What tasks lack on this machine, each in a sentence's worth of words: limits, a way out.
    fn lacks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Gives the tasks' resolver names besides those of this machine's own resolvers. The first call counts. [`Runtime::lacks`]
    /// says where none answers.
    fn set_names(&self, _names: Arc<dyn Names>) {}

    /// Lets pass between tasks, and out from them, only what these allow, in place of what was set before. What was let pass goes on,
    /// and so do answers to it. An address that is not named may be reached and reach others as it likes. Connections of this
    /// process are not affected, nor is what listens for tasks ([`Runtime::listen`]). A Docker Engine does none of it.
    fn guard(&self, _guards: Vec<Guard>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Opens a connection to a task's address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;

    /// A socket for datagrams to and from an address, usually a task's. Not every runtime can.
    fn datagrams(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(std::future::ready(Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this runtime sends no datagrams to {address}"),
        ))))
    }

    /// Takes what the containers of a task send to these addresses of their own loopback network, such as 127.255.0.1 and port 80,
    /// which are nobody's: one listener for each, in their order. They end with the task's network. Not every runtime can.
    fn intercept<'a>(
        &'a self,
        task: &'a str,
        _addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        Box::pin(std::future::ready(Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this runtime cannot listen within the task {task}"),
        ))))
    }

    /// Opens a connection as a container of a task would: from the task's address, as far as its guard lets it. Not every runtime can.
    fn connect_from<'a>(
        &'a self,
        task: &'a str,
        address: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(std::future::ready(Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this runtime cannot connect from the task {task} to {address}"),
        ))))
    }

    /// Listens at an address of the tasks' network, for tasks to connect to. Not every runtime can.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(std::future::ready(Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this runtime cannot listen at {address} for tasks"),
        ))))
    }
}

/// What may pass to and from one task: its security groups, worked out to addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The task's address.
    pub ip: Ipv4Addr,
    /// What may reach it.
    pub ingress: Vec<Passage>,
    /// What it may reach.
    pub egress: Vec<Passage>,
}

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The number of the IP protocol; any when absent.
    pub protocol: Option<u8>,
    /// The first and the last destination port, for TCP and UDP; all when absent.
    pub ports: Option<(u16, u16)>,
    /// Who is at the other end: addresses and lengths of prefixes. Nobody when empty.
    pub peers: Vec<(Ipv4Addr, u8)>,
}

/// Names that tasks can look up, and that no other resolver knows.
pub trait Names: Send + Sync {
    /// The addresses of a name, given in lower case without a dot at its end. `None` if it is none of ours, so that others are
    /// asked; empty if it is ours and has none now. Called for every question, so it must be quick.
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>>;

    /// Where the service of a name of ours is to be had, as its SRV records say.
    fn services(&self, _name: &str) -> Vec<ServiceRecord> {
        Vec::new()
    }
}

/// One place where a service is to be had; all have the same priority and weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The name of who offers it.
    pub target: String,
    /// Its port there.
    pub port: u16,
}

/// A task to create.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Unique; letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// The address of its network interface.
    pub ip: Ipv4Addr,
    /// Length of its subnet's prefix in bits.
    pub prefix: u8,
    /// The subnet's router.
    pub gateway: Ipv4Addr,
    /// Host name that all its containers see.
    pub hostname: String,
    /// Limits of all its containers together.
    pub limits: Limits,
    /// Container ports that something will connect to. Needed only where task addresses cannot be reached (Docker on macOS).
    pub ports: Vec<u16>,
}

/// An image that is ready to start from.
#[derive(Debug, Clone)]
pub struct PreparedImage(pub(crate) Prepared);

#[derive(Debug, Clone)]
pub(crate) enum Prepared {
    /// Unpacked layers, topmost first.
    Layers(Vec<PathBuf>),
    /// What the Docker Engine calls it.
    Docker(String),
}

/// A container to start in a task. Entry point, command, environment and user of the image are merged in already.
#[derive(Debug, Clone)]
pub struct TaskContainer {
    /// Unique in the task.
    pub name: String,
    /// What it starts from.
    pub image: PreparedImage,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory; empty means `/`.
    pub cwd: String,
    /// As in [`crate::ContainerSpec::user`].
    pub user: String,
    /// Refuses writes to the root file system.
    pub read_only: bool,
    /// Mounted over the root in this order.
    pub mounts: Vec<Mount>,
    /// Its own limits, within those of the task.
    pub limits: Limits,
    /// Resource limits of the first process.
    pub ulimits: Vec<Ulimit>,
    /// Lines added to `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Nameservers for `/etc/resolv.conf`; those of the runtime when empty.
    pub dns: Vec<IpAddr>,
    /// Kernel parameters of the network namespace.
    pub sysctls: Vec<(String, String)>,
    /// Capabilities added to Docker's default set.
    pub cap_add: Vec<String>,
    /// Capabilities taken away from it.
    pub cap_drop: Vec<String>,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shm_bytes: Option<u64>,
    /// As in [`crate::ContainerSpec::init`].
    pub init: bool,
}

impl TaskContainer {
    /// A container with everything but these left at its default.
    pub fn new(name: impl Into<String>, image: PreparedImage, args: Vec<String>) -> TaskContainer {
        TaskContainer {
            name: name.into(),
            image,
            args,
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            read_only: false,
            mounts: Vec::new(),
            limits: Limits::default(),
            ulimits: Vec::new(),
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            sysctls: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            shm_bytes: None,
            init: false,
        }
    }
}

/// One stream of what a program prints.
pub type OutputStream = Pin<Box<dyn AsyncRead + Send + Sync>>;

/// What a program reads.
pub type InputStream = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// A program of a task: a container's own, or one that was added by [`TaskProcess::exec`].
pub trait TaskProcess: Send + Sync + std::fmt::Debug {
    /// Its process id on this machine, where that is known.
    fn pid(&self) -> Option<u32>;

    /// Standard input of a program that was added with [`crate::Stdin::Pipe`] or with a terminal; `None` otherwise, and the second
    /// time. Dropping a pipe ends the program's input; a terminal knows no end, only the character 4 (`^D`) at the start of a line.
    fn take_stdin(&mut self) -> Option<InputStream>;

    /// Standard output, or all that a program prints in a terminal; `None` the second time.
    fn take_stdout(&mut self) -> Option<OutputStream>;

    /// Standard error; `None` the second time, and with a terminal.
    fn take_stderr(&mut self) -> Option<OutputStream>;

    /// Waits for its end. May be called any number of times, at once too.
    fn wait(&self) -> BoxFuture<'_, Exit>;

    /// Sends a signal to the program. Nothing happens if it has ended.
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<(), RuntimeError>>;

    /// Tells the program that its terminal has another size now. Nothing happens if it has none.
    fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError>;

    /// Starts a further program in the container, beside this one: in the same namespaces and control group, under the same
    /// system call filter, with the container's capabilities, and with its environment, user and working directory unless
    /// [`ExecSpec`] says otherwise. With [`ExecSpec::terminal`] it can be used like `docker exec -it`: take its input and output, and
    /// [`TaskProcess::wait`] for its exit code. Dropping it kills the program.
    ///
    /// # Errors
    ///
    /// As for a container's own program, and [`StartError::NotRunning`] when the container has ended. A Docker Engine says only by
    /// the exit codes 126 and 127 that there is no such program.
    fn exec(&self, exec: ExecSpec) -> BoxFuture<'_, Result<Box<dyn TaskProcess>, StartError>>;

    /// What the container uses.
    fn stats(&self) -> BoxFuture<'_, Result<Stats, RuntimeError>>;
}
