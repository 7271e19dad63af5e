//! What the native runtime is on machines that are not Linux: the same names, which say what to use instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_oci::spec::Descriptor;
use hoist_oci::{Digest, Image, Store};
use tokio::io::Empty;

use crate::privilege::{Privilege, PrivilegeError};
use crate::{Config, ContainerSpec, Exit, NativeConfig, Runtime, RuntimeError, StartError};

/// Nothing has to happen at the start of a program here.
pub fn init() {}

pub(crate) fn in_user_namespace() -> bool {
    false
}

pub(crate) fn acquire() -> Result<Privilege, PrivilegeError> {
    Err(PrivilegeError::Unsupported)
}

/// There is no such runtime here.
///
/// # Errors
///
/// Always.
pub async fn native(_: NativeConfig) -> Result<Arc<dyn Runtime>, RuntimeError> {
    Err(RuntimeError::NeedsLinux {
        action: "run tasks natively",
    })
}

/// A handle on a network namespace, of which there are none.
#[derive(Debug, Clone)]
pub enum NetNs {}

/// The networks of an engine's containers, which nobody enters here.
pub(crate) mod inside {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::NetNs;

    pub(crate) fn may_enter() -> Result<(), String> {
        Err("the networks of an engine's containers can be entered on Linux only".to_owned())
    }

    pub(crate) async fn of_process(_: u32, _: Ipv4Addr) -> io::Result<NetNs> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn intercept(
        network: &NetNs,
        _: Vec<SocketAddr>,
    ) -> io::Result<Vec<TcpListener>> {
        match *network {}
    }

    pub(crate) async fn lead(network: &NetNs, _: SocketAddr, _: SocketAddr) -> io::Result<()> {
        match *network {}
    }
}

impl NetNs {
    pub(crate) async fn connect(
        &self,
        _: std::net::SocketAddr,
    ) -> std::io::Result<tokio::net::TcpStream> {
        match *self {}
    }
}

/// Starts no containers.
#[derive(Debug, Clone)]
pub struct Containers(());

impl Containers {
    /// Starts nothing.
    pub fn new(_: Config) -> Containers {
        Containers(())
    }

    /// There is nothing to remove.
    pub fn cleanup_orphans(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// Always.
    pub async fn start(&self, _: ContainerSpec) -> Result<Running, StartError> {
        let error = RuntimeError::NeedsLinux {
            action: "run a container",
        };
        Err(StartError::Invalid(error.to_string()))
    }
}

/// A program that runs in a container, of which there are none.
#[derive(Debug)]
pub enum Running {}

impl Running {
    /// Never called.
    pub fn take_stdout(&mut self) -> Option<Empty> {
        match *self {}
    }

    /// Never called.
    pub fn take_stderr(&mut self) -> Option<Empty> {
        match *self {}
    }

    /// Never called.
    pub fn kill(&self) -> Result<(), RuntimeError> {
        match *self {}
    }

    /// Never called.
    pub async fn wait(&self) -> Exit {
        match *self {}
    }
}

/// Unpacked layers, of which there are none.
#[derive(Debug, Clone)]
pub struct Snapshots(());

/// Where a container writes; there is none.
#[derive(Debug)]
pub enum Scratch {}

impl Scratch {
    /// Never called.
    pub fn upper(&self) -> PathBuf {
        match *self {}
    }

    /// Never called.
    pub fn work(&self) -> PathBuf {
        match *self {}
    }
}

impl Snapshots {
    /// Makes nothing.
    pub fn open(_: &Path) -> Result<Snapshots, RuntimeError> {
        Ok(Snapshots(()))
    }

    /// No layer is unpacked.
    pub fn existing(&self, _: &Digest) -> Option<PathBuf> {
        None
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn layer_dir(
        &self,
        _: &Store,
        _: &Descriptor,
        _: &Digest,
    ) -> Result<PathBuf, RuntimeError> {
        Err(RuntimeError::NeedsLinux {
            action: "unpack a layer",
        })
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn lower_dirs(&self, _: &Store, _: &Image) -> Result<Vec<PathBuf>, RuntimeError> {
        Err(RuntimeError::NeedsLinux {
            action: "unpack the layers of an image",
        })
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn scratch(&self) -> Result<Scratch, RuntimeError> {
        Err(RuntimeError::NeedsLinux {
            action: "make room for a container",
        })
    }

    /// Never called.
    pub fn commit(&self, scratch: Scratch, _: &Digest) -> Result<PathBuf, RuntimeError> {
        match scratch {}
    }

    /// There is nothing to remove.
    pub fn remove(&self, _: &Digest) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// There is nothing to remove.
    pub fn clean_up(&self) -> Result<(), RuntimeError> {
        Ok(())
    }
}
