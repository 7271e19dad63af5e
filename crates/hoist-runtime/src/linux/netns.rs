//! A handle on a network namespace.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// A network namespace that lives as long as a handle or a process in it does.
#[derive(Debug, Clone)]
pub struct NetNs(Arc<OwnedFd>);

impl NetNs {
    /// Runs something short on a thread of its own that lives in the namespace, to make sockets or programs there.
    ///
    /// # Errors
    ///
    /// What `make` returns, or when the namespace cannot be entered.
    pub async fn within<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let space = self.clone();
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || {
                let made = setns(&space.0, CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| make());
                let _ = answer.send(made);
            })?;
        answered
            .await
            .map_err(|_| io::Error::other("the thread in the task's network is gone"))?
    }

    /// Opens a connection as something in the namespace would.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .within(move || match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            })
            .await?;
        socket.connect(address).await
    }
}

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
