//! What can go wrong, in words that name what was being done to what.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a container, or a program in it, did not start.
///
/// The first five are the image's or the definition's fault, the rest this machine's. Wording of the first ones follows what
/// Docker's runtime prints, because that is what people search for.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
pub enum StartError {
    /// The program is not in the image, or not in `PATH`.
    #[error("exec: {program:?}: {}", if program.contains('/') { "no such file or directory" } else { "executable file not found in $PATH" })]
    NoSuchExecutable {
        /// As given in `args[0]`.
        program: String,
    },
    /// The kernel cannot run the file: another architecture, or a script without `#!`.
    #[error("exec: {program:?}: exec format error")]
    ExecFormat {
        /// As given in `args[0]`.
        program: String,
    },
    /// The file exists but may not be executed by the user.
    #[error("exec: {program:?}: permission denied")]
    PermissionDenied {
        /// As given in `args[0]`.
        program: String,
    },
    /// The user or group is not in the image's `/etc/passwd` or `/etc/group`.
    #[error("unable to find {what} {name}: no matching entries in {file}")]
    NoSuchUser {
        /// `user` or `group`.
        what: String,
        /// As given.
        name: String,
        /// `/etc/passwd` or `/etc/group` of the image.
        file: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory {path:?}: {reason}")]
    WorkingDirectory {
        /// As given.
        path: String,
        /// What the kernel answered.
        reason: String,
    },
    /// The user exists in the image, but this process has no such id to give, nor can it make a user namespace where it has.
    #[error("user {user:?} needs the id {id}, which is not mapped in this user namespace")]
    UserNotMapped {
        /// As given.
        user: String,
        /// The id that it stands for in the image.
        id: u32,
    },
    /// The container to start a program in has ended.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container's id.
        id: String,
    },
    /// Something that the definition asks for is invalid.
    #[error("{0}")]
    Invalid(String),
    /// Anything else, with what was being done.
    #[error("cannot {action}: {reason}")]
    Other {
        /// What was being done to what.
        action: String,
        /// What the kernel answered.
        reason: String,
    },
}

impl StartError {
    pub(crate) fn other(action: impl Into<String>, reason: impl ToString) -> StartError {
        StartError::Other {
            action: action.into(),
            reason: reason.to_string(),
        }
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StartError::ExecFormat { .. } => Some(
                "build the image for this machine's architecture; a script needs a first line such as #!/bin/sh",
            ),
            StartError::NoSuchExecutable { .. } => Some(
                "check the command and the entry point; the file must be executable (chmod +x), and a dynamically linked program needs its loader in the image",
            ),
            StartError::PermissionDenied { .. } => {
                Some("make the file executable in the image (chmod +x, or COPY --chmod=755)")
            }
            StartError::UserNotMapped { .. } => Some(
                "install uidmap (newuidmap, newgidmap) and give this user a range in /etc/subuid and /etc/subgid",
            ),
            _ => None,
        }
    }
}

/// What can go wrong besides starting a program.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file or directory could not be used.
    #[error("cannot {action} {path}")]
    Path {
        /// The verb.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Something that is not a file.
    #[error("cannot {action}")]
    System {
        /// What was being done to what.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A layer holds something that cannot be unpacked.
    #[error("layer {layer}: {problem}")]
    Layer {
        /// The layer's diff id.
        layer: String,
        /// What is wrong with which entry.
        problem: String,
    },
    /// The image store failed.
    #[error("cannot {action}: {problem}")]
    Store {
        /// What was being done.
        action: String,
        /// The store's own words.
        problem: String,
    },
    /// The kernel refused a change of the network.
    #[error("cannot {action}: {problem}")]
    Network {
        /// What was being done.
        action: String,
        /// The kernel's answer.
        problem: String,
    },
    /// The docker command failed.
    #[error("`docker {command}` failed: {problem}")]
    Docker {
        /// Its arguments, without secrets.
        command: String,
        /// The last lines of its standard error.
        problem: String,
    },
    /// Nothing of that name is known.
    #[error("no {what} {name}")]
    NotFound {
        /// `task` or `container`.
        what: &'static str,
        /// Its id.
        name: String,
    },
    /// This machine is not Linux.
    #[error(
        "cannot {action}: that needs Linux; tasks can run in a Docker Engine (--runtime docker), images can be built by one (--engine buildkit)"
    )]
    NeedsLinux {
        /// What was being done.
        action: &'static str,
    },
    /// A container could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl RuntimeError {
    pub(crate) fn path(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> RuntimeError {
        let path = path.into();
        move |source| RuntimeError::Path {
            action,
            path,
            source,
        }
    }

    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeError {
        let action = action.into();
        move |source| RuntimeError::System { action, source }
    }
}
