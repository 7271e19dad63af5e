//! The proxies of Service Connect: in the network of each client task, a listener for each endpoint of its namespace.
//!
//! Real tasks have an Envoy for it. What a task sends to an alias and its port goes to the containers behind it in turn; one that takes no
//! connection is passed over for the next.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hoist_fargate::Task;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::crew::{Crew, Run};
use crate::elb::splice;
use crate::names::{Endpoint, addressed, endpoints};

/// How long a task may take to accept a connection before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many more are tried: Service Connect's proxies do it twice ("Service Connect proxy", developer guide).
const RETRIES: usize = 2;
/// What nobody uses for an hour ends, as Envoy's TCP proxy has it.
const IDLE: Duration = Duration::from_secs(3600);
/// What Envoy answers a client of HTTP when nobody is there.
const NOBODY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\nserver: envoy\r\n\
connection: close\r\n\r\nno healthy upstream";

/// Opens the proxies of a task, and keeps the names that its containers call them by. Where the runtime has no way to do it, the task
/// does without.
pub async fn open(crew: &Crew, run: &Run, task: &Task) {
    let endpoints = endpoints(&crew.ctx, task);
    if endpoints.is_empty() {
        return;
    }
    let (hosts, addresses) = addressed(&endpoints);
    let listeners = match crew.ctx.runtime.intercept(&task.id, addresses).await {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::warn!(task = task.id, %error, "the task has no Service Connect");
            return;
        }
    };
    run.keep_hosts(hosts);
    for (endpoint, listener) in endpoints.into_iter().zip(listeners) {
        let proxy = Proxy {
            crew: crew.clone(),
            task: task.id.clone(),
            endpoint,
            turn: AtomicUsize::new(fastrand::usize(..1024)),
            gone: run.gone.clone(),
        };
        tokio::spawn(proxy.serve(listener));
    }
}

struct Proxy {
    crew: Crew,
    task: String,
    endpoint: Endpoint,
    /// Counts connections, so that each goes to the next target.
    turn: AtomicUsize,
    gone: CancellationToken,
}

impl Proxy {
    async fn serve(self, listener: TcpListener) {
        let proxy = std::sync::Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = proxy.gone.cancelled() => return,
            };
            match accepted {
                Ok((client, _)) => {
                    let proxy = proxy.clone();
                    tokio::spawn(async move { proxy.carry(client).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection to a proxy");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn carry(&self, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        match self.reach().await {
            Some(target) => splice(client, target, Some(IDLE), &self.gone).await,
            None if self.endpoint.http => {
                // A client that is still writing would lose the answer.
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(NOBODY).await;
                let _ = client.shutdown().await;
            }
            None => {}
        }
    }

    /// A connection to one of the targets.
    async fn reach(&self) -> Option<TcpStream> {
        let targets = self.endpoint.targets(&self.crew.ctx);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for address in in_turn(&targets, first) {
            let runtime = &self.crew.ctx.runtime;
            let dial = runtime.connect_from(&self.task, address);
            match tokio::time::timeout(PATIENCE, dial).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Some(stream);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "a target of Service Connect takes no connection");
                }
                Err(_) => tracing::debug!(%address, "a target of Service Connect is silent"),
            }
        }
        None
    }
}

/// The targets that one connection tries, beginning with the one whose turn it is.
fn in_turn(targets: &[SocketAddr], first: usize) -> impl Iterator<Item = SocketAddr> {
    let count = targets.len();
    (0..count.min(1 + RETRIES)).map(move |step| targets[first.wrapping_add(step) % count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_the_targets_in_turn_and_try_two_more() {
        let targets: Vec<SocketAddr> = (1..=4)
            .map(|port| SocketAddr::from(([10, 0, 0, 1], port)))
            .collect();
        let ports = |first| -> Vec<u16> { in_turn(&targets, first).map(|it| it.port()).collect() };
        assert_eq!(ports(0), [1, 2, 3]);
        assert_eq!(ports(3), [4, 1, 2]);
        assert_eq!(in_turn(&targets[..1], 7).count(), 1);
        assert_eq!(in_turn(&[], 7).count(), 0);
    }
}
