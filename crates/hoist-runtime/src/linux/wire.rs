//! What passes between this process and its nursery: small messages with open files, over a local socket that keeps their bounds.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::{Mount, StartError, Ulimit};

/// Most files in one message; the kernel's own limit is 253.
const MAX_FILES: usize = 32;
/// Longest message in bytes; specifications travel in a memory file instead.
const MAX_MESSAGE: usize = 4096;

/// Asks the nursery for a new process. The files that come along have these roles, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub seq: u64,
    pub roles: Vec<Role>,
    /// A network namespace of its own.
    pub new_network: bool,
}

/// What an open file that comes with a [`Request`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A memory file that holds an [`Order`].
    Order,
    Stdin,
    Stdout,
    Stderr,
    /// The pipe that takes a [`StartError`]; closing it by exec means success.
    Report,
    /// The network namespace to enter.
    Network,
    /// A pidfd: the container to enter.
    Target,
    /// A `cgroup.procs` to write to.
    Cgroup,
}

/// What the nursery answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub seq: u64,
    pub what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// The process exists; its pidfd comes along.
    Forked,
    /// It could not be made.
    Refused(StartError),
    /// It ended, with this wait status.
    Ended(i32),
}

/// What the new process is to do. It can hold secrets, so it travels in a memory file and never in arguments or the environment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Start(Box<StartOrder>),
    Exec(Program),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartOrder {
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub read_only: bool,
    pub hostname: String,
    pub mounts: Vec<Mount>,
    pub sysctls: Vec<(String, String)>,
    pub shm_bytes: u64,
    pub hosts: String,
    pub resolv_conf: String,
    /// Control groups were joined, and a namespace for them is wanted.
    pub cgroup_namespace: bool,
    /// Which version 1 hierarchies to show; empty with version 2.
    pub cgroup_v1: Vec<String>,
    /// This process lives in a user namespace.
    pub user_namespace: bool,
    pub program: Program,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: String,
    pub groups: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    /// Numbers of the capabilities to keep.
    pub capabilities: Vec<u8>,
    pub allow_new_privileges: bool,
    /// Process 1 is one of ours, and the program its child.
    pub init: bool,
    pub hostname: String,
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE || files.len() > MAX_FILES {
        return Err(io::Error::other(
            "message to the container nursery is too long",
        ));
    }
    let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0u8; MAX_MESSAGE];
    let mut control = cmsg_space!([RawFd; MAX_FILES]);
    let mut files = Vec::new();
    let length = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(message) => {
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        // SAFETY: the kernel has just made these descriptors for this process, and nothing else knows them.
                        files.extend(
                            raw.into_iter()
                                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                        );
                    }
                }
                break message.bytes;
            }
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..length])?, files)))
}
