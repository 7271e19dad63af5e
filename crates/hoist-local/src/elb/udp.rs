//! A UDP listener of a Network Load Balancer: what a client sends goes to one target, and what that sends comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pool::InFlight;
use super::proxy::Front;
use super::rule::{Action, draw};

/// A flow without datagrams ends after 120 s (Network Load Balancers user guide, "Connection idle timeout").
const IDLE: Duration = Duration::from_secs(120);
/// No datagram is longer.
const LONGEST: usize = 1 << 16;
/// More clients than these at a time are not served.
const MOST: usize = 4096;

/// What one client sends, on its way to its target.
struct Flow {
    target: UdpSocket,
    moved: AtomicBool,
}

/// The flows of a listener, by their clients.
#[derive(Clone, Default)]
struct Flows(Arc<Mutex<HashMap<SocketAddr, Arc<Flow>>>>);

impl Flows {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Flow>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries datagrams until `closing`; `front` tells the rules of the moment. The port is free when this returns.
pub async fn carry(socket: UdpSocket, front: impl Fn() -> Front, closing: CancellationToken) {
    // What comes back goes through the same socket.
    let returning = TaskTracker::new();
    receive(socket, front, &closing, &returning).await;
    returning.close();
    returning.wait().await;
}

async fn receive(
    socket: UdpSocket,
    front: impl Fn() -> Front,
    closing: &CancellationToken,
    returning: &TaskTracker,
) {
    let (socket, flows) = (Arc::new(socket), Flows::default());
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = closing.cancelled() => return,
        };
        let Ok((length, client)) = received else {
            // What a client that is gone answers to an earlier datagram.
            tokio::task::yield_now().await;
            continue;
        };
        let known = flows.lock().get(&client).cloned();
        let flow = match known {
            Some(flow) => flow,
            None => match begin(&front()).await {
                Some((target, in_flight)) if flows.lock().len() < MOST => {
                    let flow = Arc::new(Flow {
                        target,
                        moved: AtomicBool::new(false),
                    });
                    flows.lock().insert(client, flow.clone());
                    returning.spawn(give_back(
                        socket.clone(),
                        client,
                        flow.clone(),
                        in_flight,
                        flows.clone(),
                        closing.clone(),
                    ));
                    flow
                }
                _ => continue,
            },
        };
        flow.moved.store(true, Ordering::Relaxed);
        if let Err(error) = flow.target.send(&buffer[..length]).await {
            tracing::debug!(%error, %client, "failed to send a datagram to a target");
        }
    }
}

/// A socket to a target that the rules choose.
async fn begin(front: &Front) -> Option<(UdpSocket, InFlight)> {
    let Action::Forward(shares) = &front.rules.default else {
        return None;
    };
    let in_flight = draw(shares)?.choose(&[])?;
    let target = front.dialer.datagrams(in_flight.pool().address()).await;
    match target {
        Ok(target) => Some((target, in_flight)),
        Err(error) => {
            tracing::debug!(%error, "failed to reach a target by UDP");
            None
        }
    }
}

/// Carries what the target sends back, until nothing moves any more or the target is taken out.
async fn give_back(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    flow: Arc<Flow>,
    in_flight: InFlight,
    flows: Flows,
    closing: CancellationToken,
) {
    let cut = in_flight.pool().when_cut();
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            received = timeout(IDLE, flow.target.recv(&mut buffer)) => received,
            () = cut.cancelled() => break,
            () = closing.cancelled() => break,
        };
        match received {
            Ok(Ok(length)) => {
                flow.moved.store(true, Ordering::Relaxed);
                let _ = socket.send_to(&buffer[..length], client).await;
            }
            // Nobody listens there.
            Ok(Err(_)) => break,
            Err(_) if flow.moved.swap(false, Ordering::Relaxed) => {}
            Err(_) => break,
        }
    }
    flows.lock().remove(&client);
}
