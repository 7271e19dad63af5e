//! Requests of HTTP/1 through a proxy of Service Connect: each goes to the next target, and each has its time limit.
//!
//! The real proxy is Envoy. What its clients see of it is here: which target is asked, what is answered where none does, and when it
//! gives up. It adds headers besides, which nothing here does.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::body::Activity;
use super::express::{Asked, Carried, both_ways, carry, is_silent, line};
use super::framing::{Framing, Progress};
use super::prefixed::Prefixed;
use super::tunnel::splice;

/// A head may be so long: Envoy's own limit.
const HEAD: usize = 60 << 10;
const HEADERS: usize = 100;

/// How long what may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the end of a request to the end of its response.
    pub request: Duration,
    /// As long as nothing moves.
    pub idle: Duration,
}

/// Who may be asked.
pub trait Upstream: Send + Sync {
    /// Those that one request tries, the one whose turn it is first. None if nobody is there.
    fn turn(&self) -> Vec<SocketAddr>;

    /// Opens a connection to one of them, within the time that it may take.
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Serves the requests of a client until one of both sides ends it.
pub async fn serve(
    client: TcpStream,
    upstream: &dyn Upstream,
    patience: Patience,
    closing: &CancellationToken,
) {
    let mut client = Prefixed::new(Vec::new(), client);
    let mut resting: Vec<(SocketAddr, TcpStream)> = Vec::new();
    let (mut read, mut out) = (Vec::new(), Vec::new());
    loop {
        let asked = loop {
            out.clear();
            match ask(&read, &mut out) {
                Read::Whole(asked, false) => break asked,
                Read::Whole(asked, true) => {
                    let _ = client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                    break asked;
                }
                Read::Partial => {}
                Read::Switch => return switch(client, upstream, &read, patience, closing).await,
                Read::Bad => return say(&mut client, "400 Bad Request", "", false).await,
            }
            let got = tokio::select! {
                got = timeout(patience.idle, client.read_buf(&mut read)) => got,
                () = closing.cancelled() => return,
            };
            if !matches!(got, Ok(Ok(1..))) {
                return;
            }
        };
        let (head_only, close) = (asked.head_only, asked.close);
        let exchange = exchange(
            &mut client,
            upstream,
            patience,
            asked,
            (&mut read, &mut out),
            &mut resting,
        );
        let ended = tokio::select! {
            ended = exchange => ended,
            () = closing.cancelled() => return,
        };
        match ended {
            Ok(()) if !close => {}
            Ok(()) | Err(None) => return drop(client.shutdown().await),
            Err(Some((status, text))) => return say(&mut client, status, text, head_only).await,
        }
    }
}

enum Read {
    /// Whether it waits to be asked for its body, too.
    Whole(Asked, bool),
    Partial,
    /// It wants to speak something else, such as WebSocket.
    Switch,
    Bad,
}

/// Reads a head and writes the one for the target, without what is of this connection alone.
fn ask(read: &[u8], out: &mut Vec<u8>) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() < HEAD => return Read::Partial,
        _ => return Read::Bad,
    };
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version)
    else {
        return Read::Bad;
    };
    let (mut close, mut body, mut waits) = (version == 0, Framing::Nothing, false);
    for part in [method, " ", path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let says = |word: &str| {
            let mut words = header.value.split(|byte| *byte == b',');
            words.any(|it| it.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        if is("connection") {
            close = says("close") || (close && !says("keep-alive"));
            if says("upgrade") {
                return Read::Switch;
            }
            continue;
        }
        if is("expect") {
            waits = says("100-continue");
            continue;
        }
        if is("keep-alive") || is("proxy-connection") || is("te") {
            continue;
        }
        if is("content-length") {
            let digits = std::str::from_utf8(header.value).ok();
            let length = digits.and_then(|it| it.trim().parse().ok());
            match (length, &body) {
                (Some(length), Framing::Nothing) => body = Framing::Length(length),
                _ => return Read::Bad,
            }
        }
        if is("transfer-encoding") {
            if body != Framing::Nothing || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Read::Bad;
            }
            body = Framing::chunks();
        }
        line(out, header.name.as_bytes(), header.value);
    }
    out.extend_from_slice(b"\r\n");
    let bodyless = matches!(body, Framing::Nothing | Framing::Length(0));
    let asked = Asked {
        length,
        head_only: method == "HEAD",
        close,
        replayable: bodyless && !matches!(method, "POST" | "PATCH"),
        body,
        answered: false.into(),
        way: None,
    };
    Read::Whole(asked, waits)
}

/// What Envoy says itself: a status and a text. None where only the end of the connection can still be said.
type Refused = Option<(&'static str, &'static str)>;

const NOBODY: Refused = Some(("503 Service Unavailable", "no healthy upstream"));
const UNREACHED: Refused = Some((
    "503 Service Unavailable",
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
));
const ENDED: Refused = Some((
    "503 Service Unavailable",
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
));
const BAD: Refused = Some((
    "502 Bad Gateway",
    "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
));
const LATE: Refused = Some(("504 Gateway Timeout", "upstream request timeout"));

/// One request, of which `read` holds the head and what came of the body, and whose new head is in `out`.
async fn exchange(
    client: &mut Prefixed,
    upstream: &dyn Upstream,
    patience: Patience,
    mut asked: Asked,
    (read, out): (&mut Vec<u8>, &mut Vec<u8>),
    resting: &mut Vec<(SocketAddr, TcpStream)>,
) -> Result<(), Refused> {
    let Ok(Progress { used, done }) = asked.body.take(&read[asked.length..]) else {
        return Err(BAD);
    };
    let uploaded = done || matches!(asked.body, Framing::Nothing | Framing::Length(0));
    out.extend_from_slice(&read[asked.length..asked.length + used]);
    read.drain(..asked.length + used);
    let turn = upstream.turn();
    if turn.is_empty() {
        return Err(NOBODY);
    }
    let sent = out.clone();
    // A request that must not come twice is not sent where nobody may be any more.
    let mut only_new = !asked.replayable;
    loop {
        let rests = resting.iter().position(|(at, _)| *at == turn[0]);
        let rested = rests.map(|at| resting.swap_remove(at));
        let rested = rested.filter(|(_, stream)| !only_new && is_silent(stream));
        let reused = rested.is_some();
        let (at, mut target) = match rested {
            Some(rested) => rested,
            None => reach(upstream, &turn).await.ok_or(UNREACHED)?,
        };
        let activity = Activity::new();
        let carried = {
            let carrying = async {
                if uploaded {
                    carry(patience.idle, &mut target, client, &asked, out).await
                } else {
                    both_ways(
                        patience.idle,
                        &activity,
                        &mut target,
                        client,
                        &mut asked,
                        out,
                    )
                    .await
                }
            };
            tokio::pin!(carrying);
            loop {
                // A client that still sends is not waiting yet.
                let late = activity.last() + patience.request;
                tokio::select! {
                    biased;
                    carried = &mut carrying => break Some(carried),
                    () = sleep_until(late) => if activity.last() + patience.request <= late { break None },
                }
            }
        };
        let refused = match carried {
            Some(Carried::Whole { reusable }) => {
                if reusable {
                    resting.push((at, target));
                }
                return Ok(());
            }
            Some(Carried::Nothing(_)) if reused && asked.replayable => {
                // It was ended while it rested.
                only_new = true;
                out.clone_from(&sent);
                continue;
            }
            Some(Carried::Nothing(_)) => ENDED,
            Some(Carried::Bad) => BAD,
            None => LATE,
            Some(Carried::Silent | Carried::ClosesClient | Carried::Broken) => None,
        };
        let begun = asked.answered.load(Ordering::Relaxed);
        return Err(refused.filter(|_| !begun));
    }
}

/// A connection to the first of these that takes one.
async fn reach(upstream: &dyn Upstream, turn: &[SocketAddr]) -> Option<(SocketAddr, TcpStream)> {
    for at in turn {
        match upstream.dial(*at).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Some((*at, stream));
            }
            Err(error) => tracing::debug!(%at, %error, "a target takes no connection"),
        }
    }
    None
}

/// Carries bytes from here on, as of an upgrade.
async fn switch(
    mut client: Prefixed,
    upstream: &dyn Upstream,
    read: &[u8],
    patience: Patience,
    closing: &CancellationToken,
) {
    let Some((_, mut target)) = reach(upstream, &upstream.turn()).await else {
        return say(
            &mut client,
            "503 Service Unavailable",
            "no healthy upstream",
            false,
        )
        .await;
    };
    if target.write_all(read).await.is_ok() {
        splice(client, target, Some(patience.idle), closing).await;
    }
}

/// An answer of the proxy itself; the connection ends after it.
async fn say(client: &mut Prefixed, status: &str, text: &str, head_only: bool) {
    let shown = if head_only { "" } else { text };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\ncontent-type: text/plain\r\nserver: envoy\r\nconnection: close\r\n\r\n{shown}"
    );
    let _ = client.write_all(answer.as_bytes()).await;
    let _ = client.shutdown().await;
}

#[cfg(test)]
mod tests;
