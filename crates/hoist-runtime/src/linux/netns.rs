//! A handle on a network namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A network namespace that lives as long as a handle or a process in it does.
#[derive(Debug, Clone)]
pub struct NetNs(Arc<OwnedFd>);

impl From<OwnedFd> for NetNs {
    fn from(fd: OwnedFd) -> NetNs {
        NetNs(Arc::new(fd))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
