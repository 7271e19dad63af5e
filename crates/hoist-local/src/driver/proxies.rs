//! The proxies of Service Connect: in the network of each client task, a listener for each endpoint of its namespace.
//!
//! Real tasks have an Envoy for it. What a task sends to an alias and its port goes to the containers behind it in turn: each request
//! where the port speaks HTTP/1, else each connection. One that takes no connection is passed over for the next, and left out for a while
//! if that happens often.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use hoist_fargate::Task;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::crew::{Crew, Run};
use crate::elb::{Upstream, serve_requests, splice};
use crate::names::{Endpoint, addressed, endpoints};

/// How long a task may take to accept a connection before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many more are tried: Service Connect's proxies do it twice ("Service Connect proxy", developer guide).
const RETRIES: usize = 2;
/// So many connections that failed within so long leave a task out, for 30 to 300 s (the same page).
const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(30);
const OUT: Duration = Duration::from_secs(30);
const LONGEST_OUT: u32 = 10;

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
            outliers: Mutex::default(),
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
    outliers: Mutex<Outliers>,
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

    async fn carry(&self, client: TcpStream) {
        let _ = client.set_nodelay(true);
        let patience = self.endpoint.patience;
        if self.endpoint.http {
            return serve_requests(client, self, patience, &self.gone).await;
        }
        for address in self.turn() {
            match self.dial(address).await {
                Ok(target) => {
                    let _ = target.set_nodelay(true);
                    return splice(client, target, Some(patience.idle), &self.gone).await;
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "a target of Service Connect takes no connection");
                }
            }
        }
    }
}

impl Upstream for Proxy {
    fn turn(&self) -> Vec<SocketAddr> {
        let targets = self.endpoint.targets(&self.crew.ctx);
        let mut outliers = self.outliers.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = outliers.leave_out(targets, Instant::now());
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        in_turn(&targets, first).collect()
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let dial = self.crew.ctx.runtime.connect_from(&self.task, to);
            let dialled = tokio::time::timeout(PATIENCE, dial).await;
            let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if dialled.is_err() {
                let mut outliers = self.outliers.lock().unwrap_or_else(PoisonError::into_inner);
                outliers.failed(to, Instant::now());
            }
            dialled
        })
    }
}

/// The targets that often take no connection.
#[derive(Default)]
struct Outliers(HashMap<SocketAddr, Outlier>);

#[derive(Default)]
struct Outlier {
    /// When its last connections failed.
    failures: Vec<Instant>,
    /// Until when it is left out, and how often it has been.
    until: Option<Instant>,
    times: u32,
}

impl Outliers {
    fn failed(&mut self, target: SocketAddr, now: Instant) {
        let outlier = self.0.entry(target).or_default();
        outlier
            .failures
            .retain(|at| now.duration_since(*at) < WITHIN);
        outlier.failures.push(now);
        if outlier.failures.len() >= FAILURES {
            outlier.failures.clear();
            outlier.times = (outlier.times + 1).min(LONGEST_OUT);
            outlier.until = Some(now + OUT * outlier.times);
        }
    }

    /// These without those that are left out now; all of them, if that would be all.
    fn leave_out(&mut self, targets: Vec<SocketAddr>, now: Instant) -> Vec<SocketAddr> {
        self.0.retain(|at, _| targets.contains(at));
        let is_in = |at: &SocketAddr| {
            let until = self.0.get(at).and_then(|it| it.until);
            until.is_none_or(|until| until <= now)
        };
        if targets.iter().any(is_in) {
            return targets.into_iter().filter(is_in).collect();
        }
        targets
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

    #[test]
    fn a_target_that_fails_often_is_left_out_longer_every_time_but_never_the_last() {
        let [one, two] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 80)));
        let (mut outliers, start) = (Outliers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // Four in half a minute are not enough, and an old one does not count.
        for second in [0, 31, 32, 33, 34] {
            outliers.failed(one, at(second));
        }
        assert_eq!(outliers.leave_out(vec![one, two], at(34)), [one, two]);
        outliers.failed(one, at(35));
        assert_eq!(outliers.leave_out(vec![one, two], at(64)), [two]);
        assert_eq!(outliers.leave_out(vec![one], at(64)), [one]);
        assert_eq!(outliers.leave_out(vec![one, two], at(65)), [one, two]);
        for _ in 0..FAILURES {
            outliers.failed(one, at(70));
        }
        assert_eq!(outliers.leave_out(vec![one, two], at(129)), [two]);
        assert_eq!(outliers.leave_out(vec![one, two], at(130)), [one, two]);
    }
}
