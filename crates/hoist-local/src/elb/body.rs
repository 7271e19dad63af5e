//! Bodies on their way through the load balancer. Nothing is collected: each frame goes on as it comes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::pool::Lease;

/// When the client last sent something, so that an upload that still moves is no idle connection.
#[derive(Debug)]
pub struct Activity {
    since: Instant,
    millis: AtomicU64,
}

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            millis: AtomicU64::new(0),
        })
    }

    /// Something moved now.
    pub fn touch(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// When something moved last.
    pub fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// A request body on its way to a target.
pub enum Outbound {
    Empty,
    Stream(Incoming, Arc<Activity>),
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body, activity) => {
                let polled = Pin::new(body).poll_frame(cx);
                if polled.is_ready() {
                    activity.touch();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body, _) => body.size_hint(),
        }
    }
}

/// Why a response body ended early; the client's connection is closed, as its length can no longer be kept.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the target's response ended early")]
    Target(#[from] hyper::Error),
    #[error("the target sent nothing for {} s", .0.as_secs())]
    Idle(Duration),
}

/// A response body on its way to the client.
pub enum Inbound {
    /// Written by the load balancer.
    Own(Full<Bytes>),
    Target(Relay),
}

impl Inbound {
    pub fn own(bytes: impl Into<Bytes>) -> Self {
        Self::Own(Full::new(bytes.into()))
    }
}

/// A target's response body. At its end the connection goes back to the pool; dropped before that, it is closed.
pub struct Relay {
    body: Incoming,
    lease: Option<Lease>,
    idle: Duration,
    /// Runs while the target is silent.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Relay {
    pub fn new(body: Incoming, lease: Lease, idle: Duration) -> Self {
        let mut relay = Self {
            body,
            lease: Some(lease),
            idle,
            silence: None,
        };
        relay.settle();
        relay
    }

    /// The next frame, as far as the connection has it or can get it now.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asked for a frame, the body lets the connection read one: so the connection may have to go on a second time.
        for _ in 0..2 {
            if let Some(lease) = &mut self.lease {
                lease.wire.drive(cx);
            }
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    fn settle(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relay = match self.get_mut() {
            Self::Own(full) => {
                return Pin::new(full)
                    .poll_frame(cx)
                    .map_err(|never| match never {});
            }
            Self::Target(relay) => relay,
        };
        match relay.advance(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                relay.silence = None;
                relay.settle();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                if let Some(lease) = relay.lease.take() {
                    lease.give_back();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                let idle = relay.idle;
                let silence = relay
                    .silence
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                silence
                    .as_mut()
                    .poll(cx)
                    .map(|()| Some(Err(BodyError::Idle(idle))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Target(relay) => relay.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Target(relay) => relay.body.size_hint(),
        }
    }
}
