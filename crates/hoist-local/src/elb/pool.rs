//! Connections to one target: those in use are counted, those at rest are kept for the next request.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::body::Outbound;
use super::dial::Dialer;
use super::express::Rested;
use super::outward::reach;
use super::prefixed::Prefixed;

/// Idle connections kept for one target; more are closed.
const KEPT: usize = 1024;

/// A connection at rest longer than this is not trusted with a request that must not be sent twice: the target may be closing it
/// right now, and the answer to such a request can then not be had by asking again.
const TRUSTED: Duration = Duration::from_secs(1);

/// A connection to a target. Nothing happens on it but when it is driven, by whoever has the exchange: a task of its own would have
/// to be woken for every request and every response.
pub struct Wire {
    sender: SendRequest<Outbound>,
    /// `None` once it has ended.
    driving: Option<BoxFuture<'static, ()>>,
}

impl Wire {
    /// Lets the connection go on as far as it can.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driving) = &mut self.driving
            && driving.as_mut().poll(cx).is_ready()
        {
            self.driving = None;
        }
    }

    /// Sends a request; the response comes while the connection is driven.
    pub fn send(
        &mut self,
        request: Request<Outbound>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outbound>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Drives the connection to its end, or until it may take another request.
    async fn settle(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            self.sender.poll_ready(cx)
        })
        .await
        .is_ok()
    }

    /// Drives the connection to its end.
    pub async fn finish(mut self) {
        if let Some(driving) = self.driving.take() {
            driving.await;
        }
    }

    /// Whether it can take a request, as far as is known without waiting.
    fn is_ready(&mut self) -> bool {
        // Whether the target has closed it is known to the socket, and nobody has looked since the last exchange.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driving.is_some() && self.sender.is_ready()
    }
}

struct Idle {
    wire: Wire,
    since: Instant,
}

/// The connections to one target.
pub struct Pool {
    address: SocketAddr,
    secure: bool,
    idle: Mutex<VecDeque<Idle>>,
    /// Those of the short way.
    rested: Mutex<Vec<Rested>>,
    closed: AtomicBool,
    in_flight: AtomicUsize,
    /// Cuts what is still in flight when the deregistration delay is over.
    cut: CancellationToken,
}

impl Pool {
    /// `secure` is whether the target speaks TLS.
    pub fn new(address: SocketAddr, secure: bool) -> Arc<Self> {
        Arc::new(Self {
            address,
            secure,
            idle: Mutex::default(),
            rested: Mutex::default(),
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            cut: CancellationToken::new(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests and tunnels that are with the target now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { pool: self.clone() }
    }

    /// Takes the connection that was used last. `careful` takes only one that was in use a moment ago.
    pub fn take(&self, careful: bool, idle_timeout: Duration) -> Option<Wire> {
        loop {
            let mut wire = self.newest(careful, idle_timeout)?;
            if wire.is_ready() {
                return Some(wire);
            }
        }
    }

    fn newest(&self, careful: bool, idle_timeout: Duration) -> Option<Wire> {
        let mut idle = self.lock();
        let Idle { wire, since } = idle.pop_back()?;
        {
            let rested = since.elapsed();
            if rested >= idle_timeout {
                // Everything before it has rested longer.
                idle.clear();
                return None;
            }
            if careful && rested > TRUSTED {
                idle.push_back(Idle { wire, since });
                return None;
            }
        }
        Some(wire)
    }

    /// A new connection; the caller sets the time limit.
    pub async fn reach(&self, dialer: &dyn Dialer) -> io::Result<Prefixed> {
        reach(dialer, self.address, self.secure).await
    }

    /// Speaks HTTP on a new connection.
    pub async fn open(&self, stream: Prefixed) -> io::Result<Wire> {
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let cut = self.cut.clone();
        let driving = Box::pin(async move {
            tokio::select! {
                biased;
                ended = connection.with_upgrades() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection to target ended");
                    }
                }
                () = cut.cancelled() => {}
            }
        });
        Ok(Wire {
            sender,
            driving: Some(driving),
        })
    }

    /// Keeps no connection any longer; those in use finish their request.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lock().clear();
        self.rested().clear();
    }

    fn rested(&self) -> MutexGuard<'_, Vec<Rested>> {
        self.rested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection of the short way that was used last. `careful` takes only one that was in use a moment ago.
    pub fn take_rested(&self, careful: bool, idle_timeout: Duration) -> Option<Rested> {
        let mut rested = self.rested();
        let newest = rested.pop()?;
        let rests = newest.since().elapsed();
        if rests >= idle_timeout {
            rested.clear();
            return None;
        }
        if careful && rests > TRUSTED {
            rested.push(newest);
            return None;
        }
        Some(newest)
    }

    /// Keeps a connection of the short way.
    pub fn put_rested(&self, connection: Rested) {
        let mut rested = self.rested();
        if !self.closed.load(Ordering::SeqCst) && rested.len() < KEPT {
            rested.push(connection);
        }
    }

    /// Ends what is still in flight.
    pub fn cut(&self) {
        self.close();
        self.cut.cancel();
    }

    /// Done when [`Pool::cut`] was called.
    pub fn when_cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    fn put(&self, wire: Wire) {
        let mut idle = self.lock();
        // Looked at under the lock, so that close() leaves none behind.
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        if idle.len() >= KEPT {
            idle.pop_front();
        }
        if idle
            .front_mut()
            .is_some_and(|oldest| !oldest.wire.is_ready())
        {
            idle.pop_front();
        }
        idle.push_back(Idle {
            wire,
            since: Instant::now(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request or tunnel that is with a target.
pub struct InFlight {
    pool: Arc<Pool>,
}

impl InFlight {
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pool.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in use. Dropped, it is closed.
pub struct Lease {
    pub wire: Wire,
    pub in_flight: InFlight,
}

impl Lease {
    /// The response was read to its end: the connection may serve the next request.
    pub fn give_back(self) {
        let Self {
            mut wire,
            in_flight,
        } = self;
        let pool = in_flight.pool.clone();
        drop(in_flight);
        if wire.is_ready() {
            pool.put(wire);
        } else if wire.driving.is_some() {
            // The target answered before it had the whole request.
            tokio::spawn(async move {
                if wire.settle().await {
                    pool.put(wire);
                }
            });
        }
    }
}
