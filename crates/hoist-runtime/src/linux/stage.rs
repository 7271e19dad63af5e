//! What a new process does between its birth in the nursery and the program it becomes.

pub(crate) mod capabilities;
mod identity;
mod init;
mod program;
mod root;
pub(crate) mod seccomp;
mod user;

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

use crate::StartError;
use crate::linux::wire::{Order, Role, StartOrder};
use seccomp::Filters;

/// The open files that came with a request, by role.
pub(crate) struct Files(pub(crate) Vec<(Role, OwnedFd)>);

impl Files {
    pub(crate) fn get(&self, role: Role) -> Option<&OwnedFd> {
        self.all(role).next()
    }

    pub(crate) fn all(&self, role: Role) -> impl Iterator<Item = &OwnedFd> {
        self.0
            .iter()
            .filter(move |(has, _)| *has == role)
            .map(|(_, file)| file)
    }
}

/// Becomes the ordered program, or reports why not and ends.
pub(crate) fn run(files: &Files, filters: Option<&Filters>) -> ! {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(files, filters)));
    let error = match result {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error,
        Err(_) => StartError::other("start the container", "the start-up code panicked"),
    };
    if let (Some(report), Ok(bytes)) = (files.get(Role::Report), serde_json::to_vec(&error))
        && let Ok(report) = report.try_clone()
    {
        let _ = File::from(report).write_all(&bytes);
    }
    // SAFETY: ends this process at once, which has no threads and nothing to clean up.
    unsafe { libc::_exit(127) }
}

fn attempt(files: &Files, filters: Option<&Filters>) -> Result<Infallible, StartError> {
    let order = read_order(files)?;
    let _ = nix::unistd::setsid();
    streams(files)?;
    // SAFETY: both take the number of standard input, which `streams` has just set.
    if unsafe { libc::isatty(0) } == 1 {
        nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })
            .map_err(|error| StartError::other("take the terminal", error))?;
    }
    for cgroup in files.all(Role::Cgroup) {
        // "0" is the process that writes.
        let joined = cgroup
            .try_clone()
            .and_then(|file| File::from(file).write_all(b"0"));
        joined.map_err(|error| StartError::other("join the control group", error))?;
    }
    match order {
        Order::Start(order) => {
            surroundings(files, &order)?;
            root::enter(&order)?;
            Err(program::run(&order.program, filters))
        }
        Order::Exec(order) => {
            let target = files.get(Role::Target).ok_or_else(|| {
                StartError::other("enter the container", "no container was given")
            })?;
            // The process id namespace was chosen at birth; a control group namespace exists only where groups are used.
            let flags = CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWNET;
            setns(target, flags).map_err(|error| match error {
                nix::errno::Errno::ESRCH => StartError::NotRunning {
                    id: order.hostname.clone(),
                },
                error => StartError::other("enter the container's namespaces", error),
            })?;
            if files.get(Role::Cgroup).is_some() {
                setns(target, CloneFlags::CLONE_NEWCGROUP).map_err(|error| {
                    StartError::other("enter the container's control group namespace", error)
                })?;
            }
            Err(program::run(&order, filters))
        }
    }
}

fn read_order(files: &Files) -> Result<Order, StartError> {
    let failed =
        |error: std::io::Error| StartError::other("read the container's specification", error);
    let memory = files
        .get(Role::Order)
        .ok_or_else(|| StartError::other("read the container's specification", "none was given"))?;
    let mut file = File::from(memory.try_clone().map_err(failed)?);
    file.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

fn streams(files: &Files) -> Result<(), StartError> {
    let failed =
        |error: &dyn std::fmt::Display| StartError::other("connect the standard streams", error);
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| failed(&error))?;
    for (number, role) in [(0, Role::Stdin), (1, Role::Stdout), (2, Role::Stderr)] {
        let fallback = if number == 2 {
            files.get(Role::Stdout)
        } else {
            None
        };
        let source = files
            .get(role)
            .or(fallback)
            .map_or(null.as_fd(), AsFd::as_fd);
        // SAFETY: both are descriptor numbers of this process; the received ones are above 2, so none is overwritten before its turn.
        let result = unsafe { libc::dup2(source.as_raw_fd(), number) };
        nix::errno::Errno::result(result).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn surroundings(files: &Files, order: &StartOrder) -> Result<(), StartError> {
    if let Some(network) = files.get(Role::Network) {
        setns(network, CloneFlags::CLONE_NEWNET)
            .map_err(|error| StartError::other("enter the network namespace", error))?;
    }
    if order.cgroup_namespace {
        unshare(CloneFlags::CLONE_NEWCGROUP)
            .map_err(|error| StartError::other("make a control group namespace", error))?;
    }
    nix::unistd::sethostname(&order.hostname).map_err(|error| {
        StartError::other(format!("set the host name {:?}", order.hostname), error)
    })
}
