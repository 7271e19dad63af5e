use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hoist_runtime::Runtime;
use tokio::net::{TcpStream, UdpSocket};

use crate::elb::{Dialer, Direct};

/// Opens connections to tasks by way of the runtime, which knows where their addresses are. A loopback address is this machine's own.
#[derive(Clone)]
pub struct RuntimeDialer(pub Arc<dyn Runtime>);

impl Dialer for RuntimeDialer {
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        if to.ip().is_loopback() {
            return Box::pin(TcpStream::connect(to));
        }
        self.0.connect(to)
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        if to.ip().is_loopback() {
            return Direct.datagrams(to);
        }
        self.0.datagrams(to)
    }
}
