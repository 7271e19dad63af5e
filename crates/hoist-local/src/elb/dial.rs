use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::BoxFuture;
use tokio::net::{TcpStream, UdpSocket};

/// Opens connections to tasks. Their addresses live in a network of their own, so a plain connect from this process does not reach them.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to `to`; the caller sets the time limit.
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;

    /// A socket for datagrams to and from `to`.
    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(direct(to))
    }
}

/// A socket of this process's own network.
async fn direct(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Connects from this process's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Dialer for Direct {
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(to))
    }
}
