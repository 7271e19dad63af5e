//! How containers and native tasks are started.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How containers are started.
#[derive(Debug, Clone)]
pub struct Config {
    /// A program whose `main` begins with [`crate::init`]; usually `/proc/self/exe`.
    pub init_program: PathBuf,
    /// The control group that holds those of the containers; one per home, so that leftovers can be told apart. One name without `/`.
    pub cgroup_parent: String,
}

/// How [`crate::native`] runs tasks.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// As [`Config::init_program`].
    pub init_program: PathBuf,
    /// As [`Config::cgroup_parent`].
    pub cgroup_parent: String,
    /// Where layers are unpacked and containers write.
    pub snapshots: PathBuf,
    /// The router of each subnet and the length of its prefix.
    pub subnets: Vec<(Ipv4Addr, u8)>,
    /// Where tasks ask for names, an address of no task's; see [`Runtime::set_names`](crate::Runtime::set_names). None answers when absent.
    pub resolver: Option<Ipv4Addr>,
    /// Gives tasks a way to what is outside of this machine, where it has the means; see [`Runtime::lacks`](crate::Runtime::lacks).
    pub way_out: bool,
}
