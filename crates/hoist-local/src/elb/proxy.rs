//! One request through the load balancer.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::body::{Activity, Inbound, Outbound, Relay};
use super::dial::Dialer;
use super::group::Group;
use super::headers;
use super::page::page;
use super::pool::{InFlight, Lease, Wire};
use super::rule::{Action, Rules, draw};
use super::sticky;
use super::tunnel::splice;

/// How long a connection to a target may take, as on an Application Load Balancer.
const CONNECT: Duration = Duration::from_secs(10);

/// Targets tried for one request of which nothing was sent yet.
const TRIES: usize = 3;

/// What a request needs to know of the listener it came in by.
#[derive(Clone)]
pub struct Front {
    pub rules: Arc<Rules>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The listener's port.
    pub port: u16,
    /// `idle_timeout.timeout_seconds` of the load balancer.
    pub idle: Duration,
    pub dialer: Arc<dyn Dialer>,
}

/// Answers one request of `peer`.
pub async fn answer(
    front: Front,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Inbound> {
    match *request.method() {
        Method::TRACE => return page(StatusCode::METHOD_NOT_ALLOWED),
        Method::CONNECT => return page(StatusCode::BAD_REQUEST),
        _ => {}
    }
    let switching = headers::upgrade(request.headers());
    let client = switching.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let mut kept = None;
    let group = match front.rules.action(&parts, peer.ip()) {
        Action::Fixed(fixed) => return fixed.respond(),
        Action::Redirect(redirect) => return redirect.respond(&parts, front.scheme, front.port),
        Action::Forward(shares) => match draw(shares) {
            Some(group) => group.clone(),
            None => return page(StatusCode::SERVICE_UNAVAILABLE),
        },
        Action::Sticky(shares, lasts) => {
            kept = Some(*lasts);
            match sticky::group(shares, sticky::lines(&parts.headers, &COOKIE)) {
                Some(group) => group.clone(),
                None => return page(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    };
    headers::to_target(
        &mut parts.headers,
        peer.ip(),
        front.scheme,
        front.port,
        switching,
    );
    // A target is asked by path; the authority is in the Host header.
    if parts.uri.scheme().is_some() {
        let path = parts
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse();
        parts.uri = path.unwrap_or_default();
    }
    parts.version = Version::HTTP_11;
    let sticky = group.settings().sticky.clone();
    let held = sticky
        .as_ref()
        .and_then(|sticky| sticky.held(sticky::lines(&parts.headers, &COOKIE)));
    let returning = held.and_then(|held| group.return_to(held));
    match exchange(&front, &group, returning, parts, body).await {
        Ok((mut response, lease)) => {
            if let Some(sticky) = sticky {
                let target = lease.in_flight.pool().address();
                let set = sticky::lines(response.headers(), &SET_COOKIE);
                let cookies = sticky.mark(group.arn(), target, set);
                sticky::add(response.headers_mut(), cookies);
            }
            if let Some(lasts) = kept {
                let cookies = sticky::mark_group(group.arn(), lasts);
                sticky::add(response.headers_mut(), cookies);
            }
            relay(&front, response, lease, client)
        }
        Err(status) => page(status),
    }
}

/// Sends the request to a target of `group` and waits for the head of the response.
async fn exchange(
    front: &Front,
    group: &Group,
    mut returning: Option<InFlight>,
    parts: Parts,
    body: Incoming,
) -> Result<(Response<Incoming>, Lease), StatusCode> {
    // Nothing of such a request is lost if it must be sent again.
    let replayable = body.is_end_stream();
    let idempotent = parts.method.is_idempotent();
    let activity = Activity::new();
    let mut spare = replayable.then(|| parts.clone());
    let body = if replayable {
        Outbound::Empty
    } else {
        Outbound::Stream(body, activity.clone())
    };
    let mut request = Request::from_parts(parts, body);
    let mut tried = Vec::new();
    let mut failure = StatusCode::SERVICE_UNAVAILABLE;
    loop {
        if tried.len() >= TRIES {
            return Err(failure);
        }
        let Some(in_flight) = returning.take().or_else(|| group.choose(&tried)) else {
            return Err(failure);
        };
        let (mut wire, reused) = match in_flight
            .pool()
            .take(!(replayable && idempotent), front.idle)
        {
            Some(wire) => (wire, true),
            None => match connect(front, &in_flight).await {
                Ok(wire) => (wire, false),
                Err(error) => {
                    tracing::debug!(target = %in_flight.pool().address(), %error, "failed to connect to target");
                    failure = if error.kind() == io::ErrorKind::TimedOut {
                        StatusCode::GATEWAY_TIMEOUT
                    } else {
                        StatusCode::BAD_GATEWAY
                    };
                    tried.push(in_flight.pool().address());
                    continue;
                }
            },
        };
        let sent = wire.send(request);
        tokio::pin!(sent);
        let quiet = tokio::time::sleep(front.idle);
        tokio::pin!(quiet);
        let answer = poll_fn(|cx| {
            wire.drive(cx);
            if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            while quiet.as_mut().poll(cx).is_ready() {
                let until = activity.last() + front.idle;
                if replayable || until <= Instant::now() {
                    return Poll::Ready(None);
                }
                quiet.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await;
        let Some(answer) = answer else {
            return Err(StatusCode::GATEWAY_TIMEOUT);
        };
        let mut error = match answer {
            Ok(response) => return Ok((response, Lease { wire, in_flight })),
            Err(error) => error,
        };
        tracing::debug!(target = %in_flight.pool().address(), error = %error.error(), "failed to exchange with target");
        if let Some(unsent) = error.take_message() {
            // The connection was gone before anything went out. Another one of this target's may be as stale: their number ends this.
            request = unsent;
            if !reused {
                failure = StatusCode::BAD_GATEWAY;
                tried.push(in_flight.pool().address());
            }
            continue;
        }
        // The target closed a kept-alive connection just as the request went out.
        if reused
            && idempotent
            && closed(error.error())
            && let Some(parts) = spare.take()
        {
            spare = Some(parts.clone());
            request = Request::from_parts(parts, Outbound::Empty);
            continue;
        }
        return Err(StatusCode::BAD_GATEWAY);
    }
}

async fn connect(front: &Front, in_flight: &InFlight) -> io::Result<Wire> {
    let pool = in_flight.pool();
    let stream = timeout(CONNECT, pool.reach(&*front.dialer))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    pool.open(stream).await
}

/// Whether the connection ended before a byte of the response came.
fn closed(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || matches!(
            io,
            Some(
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        )
}

/// Makes a target's response the client's.
fn relay(
    front: &Front,
    mut response: Response<Incoming>,
    lease: Lease,
    client: Option<OnUpgrade>,
) -> Response<Inbound> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return page(StatusCode::BAD_GATEWAY);
        };
        let target = hyper::upgrade::on(&mut response);
        let idle = front.idle;
        tokio::spawn(async move {
            let Lease { wire, in_flight } = lease;
            tokio::spawn(wire.finish());
            let cut = in_flight.pool().when_cut();
            match tokio::try_join!(client, target) {
                Ok((client, target)) => {
                    splice(TokioIo::new(client), TokioIo::new(target), Some(idle), &cut).await
                }
                Err(error) => tracing::debug!(%error, "failed to switch protocols"),
            }
        });
        return response.map(|_| Inbound::own(""));
    }
    headers::strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    response.map(|body| Inbound::Target(Relay::new(body, lease, front.idle)))
}

#[cfg(test)]
mod tests;
