//! The way in to a task with a public address: TCP on a loopback address, carried to the task.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::elb::{Dialer, bind, splice};

/// One forwarded port. Dropped, it takes no new connection and ends those it has.
pub struct Forward {
    /// Where it really listens.
    pub address: SocketAddr,
    closing: CancellationToken,
}

impl Forward {
    /// Listens on `public` and the port of `task` (a free one where that cannot be had).
    pub async fn open(
        public: Ipv4Addr,
        task: SocketAddr,
        dialer: Arc<dyn Dialer>,
    ) -> io::Result<Self> {
        let socket = bind(public.into(), task.port()).await?;
        let address = socket.local_addr()?;
        let closing = CancellationToken::new();
        tokio::spawn(accept(socket, task, dialer, closing.clone()));
        Ok(Self { address, closing })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

async fn accept(
    socket: TcpListener,
    task: SocketAddr,
    dialer: Arc<dyn Dialer>,
    closing: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.cancelled() => return,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (dialer, closing) = (dialer.clone(), closing.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(Duration::from_secs(10), dialer.dial(task)).await {
                Ok(Ok(server)) => {
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    splice(client, server, None, &closing).await;
                }
                // Nobody listens there: the client's connection is reset, as it would be by the task itself.
                Ok(Err(error)) => {
                    tracing::debug!(%task, %error, "failed to connect to task");
                    let _ = client.set_zero_linger();
                }
                Err(_) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elb::Direct;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn bytes_reach_the_task_and_come_back_until_the_forward_is_dropped() {
        let task = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = task.local_addr().unwrap();
        let forward = Forward::open(Ipv4Addr::new(127, 99, 1, 7), address, Arc::new(Direct))
            .await
            .unwrap();
        assert_eq!(
            forward.address.port(),
            address.port(),
            "its own address leaves the port free"
        );
        let mut client = TcpStream::connect(forward.address).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let (mut served, _) = task.accept().await.unwrap();
        let mut ping = [0; 4];
        served.read_exact(&mut ping).await.unwrap();
        served.write_all(b"pong").await.unwrap();
        let mut pong = [0; 4];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!((&ping, &pong), (b"ping", b"pong"));
        drop(forward);
        assert_eq!(client.read(&mut pong).await.unwrap_or(0), 0);
    }
}
