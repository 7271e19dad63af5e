//! The rights that containers need: root's, or those of root in a user namespace.

use std::io;

#[cfg(not(target_os = "linux"))]
use crate::elsewhere as here;
#[cfg(target_os = "linux")]
use crate::linux::rights as here;

/// What this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It is root.
    Root,
    /// It is root in a user namespace of its own.
    UserNamespace {
        /// Many users and groups are mapped, so that images with several work. Otherwise root is the only one.
        full_range: bool,
    },
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Privilege::Root => "as root",
            Privilege::UserNamespace { full_range: true } => "in a user namespace",
            Privilege::UserNamespace { full_range: false } => {
                "in a user namespace that has one user"
            }
        })
    }
}

/// Why there are no rights to run containers.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel or its settings refuse user namespaces.
    #[error("cannot make a user namespace for containers: {reason}")]
    NoUserNamespace {
        /// What stands in the way.
        reason: String,
        /// What would change it.
        hint: String,
    },
    /// There is a namespace, but it could not be set up.
    #[error("cannot {action} in the user namespace")]
    Setup {
        /// What was being done.
        action: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Called too late.
    #[error("cannot enter a user namespace after threads were started")]
    Threads,
    /// Containers need Linux.
    #[error("the native runtime needs Linux with namespaces and control groups")]
    Unsupported,
}

impl PrivilegeError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            PrivilegeError::NoUserNamespace { hint, .. } => hint.clone(),
            _ => "run as root, or use a Docker Engine with --runtime docker".to_owned(),
        }
    }
}

/// Whether this process lives in a user namespace that does not map every id, where devices and some mounts are out of reach.
pub fn in_user_namespace() -> bool {
    here::in_user_namespace()
}

/// Makes sure that this process can run containers, entering a user namespace when it is not root.
///
/// Call it before there are threads. Calling it again changes nothing.
///
/// # Errors
///
/// Where the machine does not allow user namespaces, with what would have to change.
pub fn acquire() -> Result<Privilege, PrivilegeError> {
    here::acquire()
}
