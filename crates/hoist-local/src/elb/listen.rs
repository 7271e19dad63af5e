//! A listener: an address that takes connections and hands their requests to the rules.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::express::{self, End};
use super::prefixed::Prefixed;
use super::proxy::{Front, answer};
use super::rule::{Action, Rules, draw};
use super::secure::{Shown, Wardrobe, acceptor as acceptor_of};
use super::tunnel::splice;
use super::udp;

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    Http,
    /// HTTP in TLS.
    Https,
    /// Bytes, as a Network Load Balancer carries them.
    Tcp,
    /// Datagrams.
    Udp,
    /// Bytes and datagrams.
    TcpUdp,
    /// Bytes in TLS, which ends here; the protocols that are offered within it, the best first.
    Tls(&'static [&'static str]),
}

impl Speech {
    /// Whether connections are taken, and whether datagrams.
    fn carries(self) -> (bool, bool) {
        match self {
            Self::Udp => (false, true),
            Self::TcpUdp => (true, true),
            _ => (true, false),
        }
    }

    /// What agrees on TLS with the clients, where it is spoken.
    fn acceptor(self, wardrobe: &Arc<Wardrobe>) -> io::Result<Option<TlsAcceptor>> {
        let offered = match self {
            Self::Https => &["http/1.1"][..],
            Self::Tls(offered) => offered,
            Self::Http | Self::Tcp | Self::Udp | Self::TcpUdp => return Ok(None),
        };
        let acceptor = acceptor_of(wardrobe.clone(), offered);
        acceptor.map(Some).map_err(io::Error::other)
    }
}

/// A listener at work. Dropped, it takes no new connection and lets requests in flight finish.
pub struct Listener {
    address: SocketAddr,
    live: Arc<RwLock<Live>>,
    wardrobe: Arc<Wardrobe>,
    closing: CancellationToken,
    /// What takes connections and datagrams.
    working: Vec<JoinHandle<()>>,
}

struct Live {
    speech: Speech,
    acceptor: Option<TlsAcceptor>,
    rules: Arc<Rules>,
    idle: Duration,
}

impl Listener {
    /// Listens on `ip` and `port`, or on a free port where that one cannot be had (no permission, or in use).
    pub async fn open(
        ip: IpAddr,
        port: u16,
        speech: Speech,
        idle: Duration,
        dialer: Arc<dyn Dialer>,
    ) -> io::Result<Self> {
        let (streams, datagrams) = speech.carries();
        let (mut sockets, mut address) = (None, SocketAddr::new(ip, port));
        if streams {
            let socket = bind(ip, port).await?;
            address = socket.local_addr()?;
            sockets = Some(socket);
        }
        let packets = match datagrams {
            true => Some(bind_udp(address).await?),
            false => None,
        };
        if let Some(packets) = &packets {
            address = packets.local_addr()?;
        }
        let closing = CancellationToken::new();
        let wardrobe = Arc::new(Wardrobe::default());
        let live = Arc::new(RwLock::new(Live {
            speech,
            acceptor: speech.acceptor(&wardrobe)?,
            rules: Arc::new(Rules::default()),
            idle,
        }));
        let mut working = Vec::new();
        if let Some(packets) = packets {
            let (live, dialer) = (live.clone(), dialer.clone());
            let front = move || front(&live, &dialer, address.port());
            working.push(tokio::spawn(udp::carry(packets, front, closing.clone())));
        }
        if let Some(socket) = sockets {
            let accepting = accept(socket, live.clone(), closing.clone(), dialer);
            working.push(tokio::spawn(accepting));
        }
        Ok(Self {
            address,
            live,
            wardrobe,
            closing,
            working,
        })
    }

    /// Takes no new connection and lets requests in flight finish; the port is free when this returns.
    pub async fn close(mut self) {
        self.closing.cancel();
        for working in std::mem::take(&mut self.working) {
            let _ = working.await;
        }
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the certificates: the next connection is shown the new ones.
    pub fn show(&self, certificates: Vec<Shown>) {
        self.wardrobe.set(certificates);
    }

    /// Changes what is spoken: the next connection speaks it.
    pub fn speak(&self, speech: Speech) -> io::Result<()> {
        let acceptor = speech.acceptor(&self.wardrobe)?;
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        (live.speech, live.acceptor) = (speech, acceptor);
        Ok(())
    }

    /// Changes the rules: the next request follows the new ones.
    pub fn set(&self, rules: Rules, idle: Duration) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        (live.rules, live.idle) = (Arc::new(rules), idle);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Binds the port asked for, else a free one; an address that this machine does not have becomes 127.0.0.1 (only Linux has all of
/// 127.0.0.0/8).
pub async fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let local = IpAddr::from([127, 0, 0, 1]);
    for candidate in [(ip, port), (ip, 0), (local, 0)] {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(error)
                if matches!(
                    error.kind(),
                    AddrInUse | AddrNotAvailable | PermissionDenied
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        AddrNotAvailable,
        format!("no port of {ip} can be bound"),
    ))
}

/// As [`bind`], for datagrams.
async fn bind_udp(wanted: SocketAddr) -> io::Result<UdpSocket> {
    let free = |ip: IpAddr| SocketAddr::new(ip, 0);
    let mut last = None;
    for candidate in [wanted, free(wanted.ip()), free([127, 0, 0, 1].into())] {
        match UdpSocket::bind(candidate).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// What is valid at the moment for whoever comes in.
fn front(live: &RwLock<Live>, dialer: &Arc<dyn Dialer>, port: u16) -> Front {
    let live = live.read().unwrap_or_else(PoisonError::into_inner);
    Front {
        rules: live.rules.clone(),
        scheme: if live.speech == Speech::Https {
            "https"
        } else {
            "http"
        },
        port,
        idle: live.idle,
        dialer: dialer.clone(),
    }
}

async fn accept(
    socket: TcpListener,
    live: Arc<RwLock<Live>>,
    closing: CancellationToken,
    dialer: Arc<dyn Dialer>,
) {
    let port = socket.local_addr().map_or(0, |address| address.port());
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: some will be free soon.
                tracing::warn!(%error, port, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (speech, acceptor) = {
            let live = live.read().unwrap_or_else(PoisonError::into_inner);
            (live.speech, live.acceptor.clone())
        };
        let front = {
            let (live, dialer) = (live.clone(), dialer.clone());
            move || front(&live, &dialer, port)
        };
        match speech {
            Speech::Http | Speech::Https => {
                tokio::spawn(converse(stream, peer, acceptor, front, closing.clone()))
            }
            Speech::Tcp | Speech::Udp | Speech::TcpUdp => tokio::spawn(pass(stream, None, front())),
            Speech::Tls(_) => tokio::spawn(pass(stream, acceptor, front())),
        };
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    front: impl Fn() -> Front + Send + Sync + 'static,
    closing: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = match acceptor {
        None => Prefixed::new(Vec::new(), stream),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Prefixed::secure(stream),
            Ok(Err(error)) => return tracing::debug!(%error, %peer, "no TLS with a client"),
            Err(_) => return,
        },
    };
    let stream = match express::serve(stream, peer, &front, &closing).await {
        End::Closed => return,
        End::HandOver(stream) => stream,
    };
    let idle = front().idle;
    let service = service_fn(move |request| {
        let front = front();
        async move { Ok::<_, Infallible>(answer(front, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection of client ended");
    }
}

async fn pass(stream: TcpStream, acceptor: Option<TlsAcceptor>, front: Front) {
    let _ = stream.set_nodelay(true);
    let stream = match acceptor {
        None => Prefixed::new(Vec::new(), stream),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Prefixed::secure(stream),
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS with a client"),
            Err(_) => return,
        },
    };
    let Action::Forward(shares) = &front.rules.default else {
        return;
    };
    let Some(group) = draw(shares) else { return };
    let mut tried = Vec::new();
    while let Some(in_flight) = group.choose(&tried) {
        let address = in_flight.pool().address();
        let pool = in_flight.pool().clone();
        let reach = tokio::time::timeout(Duration::from_secs(10), pool.reach(&*front.dialer));
        if let Ok(Ok(target)) = reach.await {
            splice(
                stream,
                target,
                Some(front.idle),
                &in_flight.pool().when_cut(),
            )
            .await;
            return;
        }
        tried.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dial::Direct;
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_listener_that_was_closed_leaves_its_port_to_the_next_one() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let open = |port| {
            let idle = Duration::from_secs(1);
            Listener::open(ip, port, Speech::Tcp, idle, Arc::new(Direct))
        };
        let mut listener = open(0).await.unwrap();
        let port = listener.address().port();
        for _ in 0..200 {
            listener.close().await;
            listener = open(port).await.unwrap();
            assert_eq!(listener.address().port(), port);
        }
    }
}
