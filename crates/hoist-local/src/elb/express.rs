//! The short way through the load balancer, which most requests take: a GET or HEAD without a body that the default action forwards.
//!
//! Head and body go from one connection to the other as the bytes they came as; only the headers that a load balancer takes away or
//! adds are touched. Whatever is not of this simple kind is handed over, with all that was read, to the long way ([`super::proxy`]),
//! which knows everything. Nothing is decided differently there.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::framing::{Framing, Progress};
use super::group::Group;
use super::headers;
use super::page;
use super::proxy::Front;
use super::rule::{Action, draw};

/// A head may be so long here; longer ones are the long way's to judge.
const HEAD: usize = 16 << 10;
const HEADERS: usize = 64;
/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// How it ended.
pub enum End {
    /// The connection is over.
    Closed,
    /// The rest is for the long way: the stream, and what was read of it already.
    HandOver(TcpStream, Vec<u8>),
}

/// A connection to a target that rests between two requests.
pub struct Rested {
    stream: TcpStream,
    since: Instant,
}

impl Rested {
    /// Whether the target has neither closed it nor said anything unasked.
    fn is_silent(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Since when it rests.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// What one request asks for, as far as it matters here.
struct Asked {
    /// Length of its head.
    length: usize,
    head_only: bool,
    close: bool,
}

/// Serves requests of `peer` until one comes that is not simple.
pub async fn serve(
    mut client: TcpStream,
    peer: SocketAddr,
    front: impl Fn() -> Front,
    closing: &CancellationToken,
) -> End {
    let mut read: Vec<u8> = Vec::with_capacity(CHUNK);
    let mut out: Vec<u8> = Vec::with_capacity(CHUNK);
    loop {
        // The next head. What waits here holds nothing up, so the listener may go.
        let asked = loop {
            out.clear();
            match ask(&read, peer, &mut out) {
                Judged::Simple(asked) => break asked,
                Judged::Otherwise => return End::HandOver(client, read),
                Judged::Partial => {}
            }
            let idle = front().idle;
            let got = tokio::select! {
                biased;
                got = timeout(idle, client.read_buf(&mut read)) => got,
                () = closing.cancelled(), if read.is_empty() => return End::Closed,
            };
            match got {
                Ok(Ok(1..)) => {}
                // A head that does not come to its end in time: the long way says so.
                Err(_) if !read.is_empty() => return End::HandOver(client, read),
                _ => return End::Closed,
            }
        };
        let front = front();
        let group = match &front.rules.default {
            Action::Forward(shares) if front.rules.rules.is_empty() => draw(shares).cloned(),
            _ => None,
        };
        let Some(group) = group.filter(|group| group.settings().sticky.is_none()) else {
            return End::HandOver(client, read);
        };
        finish_head(&mut out, front.port);
        match exchange(&front, &group, &mut client, &asked, &mut out).await {
            Exchanged::Again if !asked.close && !closing.is_cancelled() => {
                read.drain(..asked.length);
            }
            Exchanged::Again | Exchanged::Over => {
                let _ = client.shutdown().await;
                return End::Closed;
            }
            Exchanged::NotSent => return End::HandOver(client, read),
        }
    }
}

enum Judged {
    Simple(Asked),
    Partial,
    Otherwise,
}

/// Reads a head and writes the beginning of the one for the target. Anything unusual is for the long way.
fn ask(read: &[u8], peer: SocketAddr, out: &mut Vec<u8>) -> Judged {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() < HEAD => return Judged::Partial,
        _ => return Judged::Otherwise,
    };
    let (Some(method @ ("GET" | "HEAD")), Some(path), Some(1)) =
        (request.method, request.path, request.version)
    else {
        return Judged::Otherwise;
    };
    if !path.starts_with('/') {
        return Judged::Otherwise;
    }
    let (mut close, mut hosts) = (false, 0);
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let (mut chain, mut traced): (Option<&str>, Option<&str>) = (None, None);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // The first letter tells most of them from all that matter.
        match header.name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'h') if is("host") => hosts += 1,
            Some(b'c') if is("connection") => match header.value {
                value if value.eq_ignore_ascii_case(b"keep-alive") => continue,
                value if value.eq_ignore_ascii_case(b"close") => {
                    close = true;
                    continue;
                }
                _ => return Judged::Otherwise,
            },
            Some(b'c') if is("content-length") => return Judged::Otherwise,
            Some(b't') if is("transfer-encoding") || is("te") || is("trailer") => {
                return Judged::Otherwise;
            }
            Some(b'u') if is("upgrade") => return Judged::Otherwise,
            Some(b'e') if is("expect") => return Judged::Otherwise,
            Some(b'k') if is("keep-alive") => continue,
            Some(b'p')
                if is("proxy-connection")
                    || is("proxy-authenticate")
                    || is("proxy-authorization") =>
            {
                continue;
            }
            Some(b'x') if is("x-forwarded-for") => {
                // Several lines have to be made one.
                if chain.is_some() {
                    return Judged::Otherwise;
                }
                let Ok(value) = std::str::from_utf8(header.value) else {
                    return Judged::Otherwise;
                };
                chain = Some(value);
                continue;
            }
            Some(b'x') if is("x-forwarded-proto") || is("x-forwarded-port") => continue,
            Some(b'x') if is("x-amzn-trace-id") => {
                let Ok(value) = std::str::from_utf8(header.value) else {
                    return Judged::Otherwise;
                };
                if traced.replace(value).is_some() {
                    return Judged::Otherwise;
                }
                continue;
            }
            _ => {}
        }
        line(out, header.name.as_bytes(), header.value);
    }
    if hosts != 1 {
        return Judged::Otherwise;
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    if let Some(before) = chain.filter(|before| !before.is_empty()) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(b", ");
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}\r\nx-forwarded-proto: http\r\n", peer.ip());
    let _ = write!(out, "x-amzn-trace-id: {}\r\n", headers::trace(traced));
    Judged::Simple(Asked {
        length,
        head_only: method == "HEAD",
        close,
    })
}

fn finish_head(out: &mut Vec<u8>, port: u16) {
    let _ = write!(out, "x-forwarded-port: {port}\r\n\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

enum Exchanged {
    /// The response is whole, and the client may ask again.
    Again,
    /// The client's connection has to end.
    Over,
    /// No target has seen the request, or a connection that had rested was gone: the long way tries on.
    NotSent,
}

async fn exchange(
    front: &Front,
    group: &Group,
    client: &mut TcpStream,
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Exchanged {
    let Some(in_flight) = group.choose(&[]) else {
        return Exchanged::NotSent;
    };
    let pool = in_flight.pool().clone();
    let rested = pool.take_rested(front.idle).filter(Rested::is_silent);
    let reused = rested.is_some();
    let mut target = match rested {
        Some(rested) => rested.stream,
        None => match timeout(Duration::from_secs(10), front.dialer.dial(pool.address())).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                stream
            }
            _ => return Exchanged::NotSent,
        },
    };
    let cut = pool.when_cut();
    let carried = tokio::select! {
        biased;
        carried = carry(front.idle, &mut target, client, asked, out) => carried,
        () = cut.cancelled() => Carried::Broken,
    };
    match carried {
        Carried::Whole { reusable } => {
            if reusable {
                pool.put_rested(Rested {
                    stream: target,
                    since: Instant::now(),
                });
            }
            Exchanged::Again
        }
        Carried::Nothing(_) if reused => Exchanged::NotSent,
        Carried::Nothing(status) => {
            answer(client, status, asked).await;
            Exchanged::Over
        }
        Carried::Silent => {
            answer(client, StatusCode::GATEWAY_TIMEOUT, asked).await;
            Exchanged::Over
        }
        Carried::ClosesClient | Carried::Broken => Exchanged::Over,
    }
}

/// An answer of the load balancer itself; the connection ends after it.
async fn answer(client: &mut TcpStream, status: StatusCode, asked: &Asked) {
    let mut bytes = page::bytes(status);
    if asked.head_only
        && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
    {
        bytes.truncate(end + 4);
    }
    let _ = client.write_all(&bytes).await;
}

enum Carried {
    Whole {
        reusable: bool,
    },
    /// The body ended with the target's connection: the client's has to end too.
    ClosesClient,
    /// Not a byte came back.
    Nothing(StatusCode),
    /// The target said nothing for too long.
    Silent,
    /// It broke in the middle.
    Broken,
}

/// Sends the head in `out` and carries the response to the client.
async fn carry(
    idle: Duration,
    target: &mut TcpStream,
    client: &mut TcpStream,
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Carried {
    if target.write_all(out).await.is_err() {
        return Carried::Nothing(StatusCode::BAD_GATEWAY);
    }
    let mut read: Vec<u8> = Vec::with_capacity(CHUNK);
    let (length, mut framing, mut reusable) = loop {
        match timeout(idle, target.read_buf(&mut read)).await {
            Err(_) => return Carried::Silent,
            Ok(Ok(1..)) => {}
            Ok(_) if read.is_empty() => return Carried::Nothing(StatusCode::BAD_GATEWAY),
            Ok(_) => return bad(client, asked).await,
        }
        out.clear();
        match head(&mut read, asked, out) {
            Some(Some(done)) => break done,
            Some(None) if read.len() < 4 * HEAD => {}
            _ => return bad(client, asked).await,
        }
    };
    let mut done = match framing.take(&read[length..]) {
        Ok(Progress { used, done }) => {
            out.extend_from_slice(&read[length..length + used]);
            // Bytes that nobody asked for.
            reusable &= length + used == read.len();
            done
        }
        Err(_) => return bad(client, asked).await,
    };
    if client.write_all(out).await.is_err() {
        return Carried::Broken;
    }
    while !done {
        read.clear();
        match timeout(idle, target.read_buf(&mut read)).await {
            Ok(Ok(0)) if matches!(framing, Framing::UntilClose) => return Carried::ClosesClient,
            Ok(Ok(1..)) => {}
            _ => return Carried::Broken,
        }
        let Ok(progress) = framing.take(&read) else {
            return Carried::Broken;
        };
        if client.write_all(&read[..progress.used]).await.is_err() {
            return Carried::Broken;
        }
        reusable &= progress.used == read.len();
        done = progress.done;
    }
    Carried::Whole { reusable }
}

/// The target's answer cannot be understood; nothing of it has gone to the client.
async fn bad(client: &mut TcpStream, asked: &Asked) -> Carried {
    answer(client, StatusCode::BAD_GATEWAY, asked).await;
    Carried::Broken
}

/// Reads the head of a response and writes the one for the client: its length, how its body is framed, and whether the connection may
/// serve again. The outer `None` is a head that cannot be understood, the inner one that is not whole. Interim responses are left out.
#[allow(clippy::type_complexity, reason = "used in one place")]
fn head(
    read: &mut Vec<u8>,
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Option<Option<(usize, Framing, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Some(None),
        Err(_) => return None,
    };
    let (code, version) = (response.code?, response.version?);
    if code == 101 {
        return None;
    }
    if (100..200).contains(&code) {
        read.drain(..length);
        return head(read, asked, out);
    }
    let mut reusable = version == 1;
    let (mut chunked, mut sized): (bool, Option<u64>) = (false, None);
    let _ = write!(
        out,
        "HTTP/1.1 {code} {}\r\n",
        response.reason.unwrap_or_default()
    );
    let named: Vec<&[u8]> = response
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    reusable &= !named.iter().any(|name| name.eq_ignore_ascii_case(b"close"));
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'c') if is("connection") => continue,
            Some(b'c') if is("content-length") => {
                let value: u64 = std::str::from_utf8(header.value)
                    .ok()?
                    .trim()
                    .parse()
                    .ok()?;
                if sized.replace(value).is_some_and(|before| before != value) {
                    return None;
                }
            }
            Some(b't') if is("transfer-encoding") => {
                if chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return None;
                }
                chunked = true;
            }
            Some(b't') if is("te") => continue,
            Some(b'k') if is("keep-alive") => continue,
            Some(b'u') if is("upgrade") => continue,
            Some(b'p')
                if is("proxy-connection")
                    || is("proxy-authenticate")
                    || is("proxy-authorization") =>
            {
                continue;
            }
            _ if !named.is_empty()
                && named
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(header.name.as_bytes())) =>
            {
                continue;
            }
            _ => {}
        }
        line(out, header.name.as_bytes(), header.value);
    }
    // Both at once is how requests are smuggled (RFC 9112, 6.3).
    if chunked && (sized.is_some() || version == 0) {
        return None;
    }
    let framing = match (code, sized) {
        _ if asked.head_only => Framing::Nothing,
        (204 | 304, _) => Framing::Nothing,
        _ if chunked => Framing::chunks(),
        (_, Some(length)) => Framing::Length(length),
        (_, None) => Framing::UntilClose,
    };
    let until_close = matches!(framing, Framing::UntilClose);
    reusable &= !until_close;
    if asked.close || until_close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Some(Some((length, framing, reusable)))
}
