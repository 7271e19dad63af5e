//! What a container is to be: its root, its program, its limits and its surroundings.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::NetNs;

/// A container to start.
///
/// `Default` gives a container named `""` with an empty root, no network and no limits: set at least `id`, `rootfs` and `args`.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Names the control group and appears in errors. Unique among the running containers of one `Containers`; letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// The root file system, mounted inside the container's own mount namespace, so that it vanishes with the container.
    pub rootfs: RootFs,
    /// Mounts the root read-only. `/dev`, `/proc` and [`ContainerSpec::mounts`] are not affected.
    pub read_only: bool,
    /// The program and its arguments. A program without `/` is looked for in `PATH` of [`ContainerSpec::env`].
    pub args: Vec<String>,
    /// The whole environment. `PATH`, `HOME` and `HOSTNAME` are added when absent, as Docker does.
    pub env: Vec<(String, String)>,
    /// The working directory, created when absent, as Docker does for `WORKDIR`. Empty means `/`.
    pub cwd: String,
    /// `""` (root), `name`, `uid`, `name:group`, `uid:gid`; names are looked up in the image's own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// Supplementary groups by name or number, besides those that `/etc/group` gives to the user.
    pub groups: Vec<String>,
    /// Empty means the id.
    pub hostname: String,
    /// Mounted over the root in this order.
    pub mounts: Vec<Mount>,
    /// The network the container sees.
    pub network: Network,
    /// What it may use. Skipped where control groups are not writable; `detect` says so.
    pub limits: Limits,
    /// Resource limits of the first process. Soft and hard values above the host's own hard limit are cut to it.
    pub ulimits: Vec<Ulimit>,
    /// Lines added to `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Nameservers for `/etc/resolv.conf`. Empty: the host's file with [`Network::Host`], none otherwise.
    pub dns: Vec<IpAddr>,
    /// Domains that `/etc/resolv.conf` searches.
    pub dns_search: Vec<String>,
    /// Kernel parameters of the container's own namespaces, such as `net.core.somaxconn`.
    pub sysctls: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shm_bytes: Option<u64>,
    /// Capabilities added to Docker's default set, with or without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities taken away from it; `ALL` takes every one.
    pub cap_drop: Vec<String>,
    /// A control group between the home's and the container's own, for a task of several containers.
    pub cgroup: Option<String>,
    /// Where standard input comes from.
    pub stdin: Stdin,
    /// Allows set-user-id programs and file capabilities (`sudo`, `ping`) to take effect. Off: `no_new_privs` is set.
    pub allow_new_privileges: bool,
    /// Makes process 1 a small one of ours, which passes signals on and reaps orphans, and the program its child (Docker's `--init`).
    pub init: bool,
    /// Sends standard error into the same pipe as standard output, which keeps their order.
    pub merge_output: bool,
}

/// Directories that an overlay mount makes the root of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Read-only layers in overlay form, topmost first. May be empty.
    pub lower: Vec<PathBuf>,
    /// Receives what the container writes.
    pub upper: PathBuf,
    /// Scratch of the overlay, empty, on the same file system as `upper`.
    pub work: PathBuf,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; created when absent, and never followed out of the root.
    pub target: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Refuses writes through this mount.
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// Memory, of at most so many bytes (half of the machine's when absent), with this mode (`0o1777` when absent).
    Tmpfs {
        /// Size in bytes.
        size_bytes: Option<u64>,
        /// Permission bits of its top directory.
        mode: Option<u32>,
    },
}

/// The network a container sees.
#[derive(Debug, Clone, Default)]
pub enum Network {
    /// A namespace of its own with nothing but `lo`.
    #[default]
    None,
    /// The network of this process.
    Host,
    /// A namespace made by `Hub::add`, possibly shared with other containers.
    Namespace(NetNs),
}

/// What a container may use; absent means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes; beyond it the kernel kills the container ([`Exit::oom_killed`]).
    pub memory_bytes: Option<u64>,
    /// Processor time at most, 1024 units being one core (ECS's `cpu` of a task).
    pub cpu_units: Option<u64>,
    /// Weight against other containers when cores are short, 1024 being ordinary (ECS's `cpu` of a container).
    pub cpu_shares: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// A resource limit, by its Docker name (`nofile`, `nproc`, `core`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// The limit that applies.
    pub soft: u64,
    /// The limit up to which the process may raise it.
    pub hard: u64,
}

/// Where standard input comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe that `Running::take_stdin` hands out.
    Pipe,
}

/// A further program to start in a running container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Added to (and overriding) the container's environment.
    pub env: Vec<(String, String)>,
    /// Working directory; empty means the container's.
    pub cwd: String,
    /// As in [`ContainerSpec::user`]; empty means the container's.
    pub user: String,
    /// Where standard input comes from. With [`ExecSpec::terminal`] it is always the terminal.
    pub stdin: Stdin,
    /// Gives the program a terminal of this size for all three streams, as `docker exec -it` does; `TERM` is `xterm` unless set.
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its width.
    pub columns: u16,
    /// Its height.
    pub rows: u16,
}

/// 80 columns of 24 rows.
impl Default for TerminalSize {
    fn default() -> TerminalSize {
        TerminalSize {
            columns: 80,
            rows: 24,
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + the signal's number for a program that a signal ended, as Docker and ECS report it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed something in the container because its memory limit was reached, and the program ended by SIGKILL.
    pub oom_killed: bool,
}

/// What a container has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Memory in use now, in bytes, without page cache that could be dropped at once.
    pub memory_bytes: u64,
    /// Processor time used since the start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Processes and threads now.
    pub pids: u64,
}
