//! The short way through the load balancer, which most requests take, in TLS or not: those of HTTP/1.1 that are forwarded to a group whose
//! targets speak no TLS, and neither switch protocols nor wait to be asked for their body.
//!
//! Head and body go from one connection to the other as the bytes they came as; only the headers that a load balancer takes away or
//! adds are touched. Whatever is not of this simple kind is handed over, with all that was read, to the long way ([`super::proxy`]),
//! which knows everything. Nothing is decided differently there.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::HeaderName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::Activity;
use super::framing::{Framing, Progress};
use super::group::{Group, Settings};
use super::headers;
use super::page;
use super::pool::InFlight;
use super::prefixed::Prefixed;
use super::proxy::Front;
use super::rule::{Action, Head, draw};
use super::sticky;

/// A head may be so long here; longer ones are the long way's to judge.
const HEAD: usize = 16 << 10;
const HEADERS: usize = 64;
/// How much is read at once.
const CHUNK: usize = 16 << 10;
/// The same of a body that is longer.
const LARGE: usize = 128 << 10;

/// How it ended.
pub enum End {
    /// The connection is over.
    Closed,
    /// The rest is for the long way: the stream, into which all that was read has been put back.
    HandOver(Prefixed),
}

/// A connection to a target that rests between two requests.
pub struct Rested {
    stream: TcpStream,
    since: Instant,
}

impl Rested {
    /// Whether the target has neither closed it nor said anything unasked.
    fn is_silent(&self) -> bool {
        is_silent(&self.stream)
    }

    /// Since when it rests.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// Whether the other side has neither closed a connection nor said anything that was not read.
pub(super) fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// What one request asks for, as far as it matters here.
pub(super) struct Asked {
    /// Length of its head.
    pub length: usize,
    pub head_only: bool,
    pub close: bool,
    pub body: Framing,
    /// May be sent twice: it has no body, and a method that allows it.
    pub replayable: bool,
    /// Whether something of the response has gone to the client.
    pub answered: AtomicBool,
    /// Where the rules lead it. Behind a proxy of Service Connect there are none.
    pub way: Option<Way>,
}

/// Where the rules of a load balancer lead a request.
pub(super) struct Way {
    group: Arc<Group>,
    settings: Arc<Settings>,
    /// The target that the client comes back to, by its cookie.
    returning: Option<InFlight>,
    /// Its target, once that is known.
    target: Option<SocketAddr>,
    /// For how long the client stays with its group.
    kept: Option<Duration>,
}

/// A head as it came, for the tests of rules.
struct Raw<'a, 'h, 'b> {
    request: &'a httparse::Request<'h, 'b>,
}

impl Raw<'_, '_, '_> {
    fn target(&self) -> (&str, Option<&str>) {
        let target = self.request.path.unwrap_or("/");
        let target = target.split('#').next().unwrap_or(target);
        match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        }
    }
}

impl Head for Raw<'_, '_, '_> {
    fn method(&self) -> &str {
        self.request.method.unwrap_or_default()
    }

    fn host(&self) -> &str {
        let mut headers = self.request.headers.iter();
        let host = headers.find(|header| header.name.eq_ignore_ascii_case("host"));
        host.and_then(|host| std::str::from_utf8(host.value).ok())
            .unwrap_or_default()
    }

    fn path(&self) -> &str {
        self.target().0
    }

    fn query(&self) -> Option<&str> {
        self.target().1
    }

    fn any(&self, name: &HeaderName, fits: &dyn Fn(&str) -> bool) -> bool {
        self.request.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case(name.as_str())
                && std::str::from_utf8(header.value).is_ok_and(fits)
        })
    }
}

/// Serves requests of `peer` until one comes that is not simple.
pub async fn serve(
    mut client: Prefixed,
    peer: SocketAddr,
    front: impl Fn() -> Front,
    closing: &CancellationToken,
) -> End {
    let mut read: Vec<u8> = Vec::with_capacity(CHUNK);
    let mut out: Vec<u8> = Vec::with_capacity(CHUNK);
    loop {
        // The next head. What waits here holds nothing up, so the listener may go.
        let (asked, front) = loop {
            let front = front();
            if !read.is_empty() {
                out.clear();
                match ask(&read, peer, &front, &mut out) {
                    Judged::Simple(asked) => break (asked, front),
                    Judged::Otherwise => return End::HandOver(client.unread(read)),
                    Judged::Partial => {}
                }
            }
            let idle = front.idle;
            let got = tokio::select! {
                biased;
                got = timeout(idle, client.read_buf(&mut read)) => got,
                () = closing.cancelled(), if read.is_empty() => return End::Closed,
            };
            match got {
                Ok(Ok(1..)) => {}
                // A head that does not come to its end in time: the long way says so.
                Err(_) if !read.is_empty() => return End::HandOver(client.unread(read)),
                _ => return End::Closed,
            }
        };
        finish_head(&mut out, front.port);
        match exchange(&front, &mut client, asked, &mut read, &mut out).await {
            Exchanged::Again { close } if !close && !closing.is_cancelled() => {}
            Exchanged::Again { .. } | Exchanged::Over => {
                let _ = client.shutdown().await;
                return End::Closed;
            }
            Exchanged::NotSent => return End::HandOver(client.unread(read)),
        }
    }
}

enum Judged {
    Simple(Asked),
    Partial,
    Otherwise,
}

/// Reads a head and writes the beginning of the one for the target. Anything unusual is for the long way.
fn ask(read: &[u8], peer: SocketAddr, front: &Front, out: &mut Vec<u8>) -> Judged {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() < HEAD => return Judged::Partial,
        _ => return Judged::Otherwise,
    };
    let (Some(method), Some(path), Some(1)) = (request.method, request.path, request.version)
    else {
        return Judged::Otherwise;
    };
    if !METHODS.contains(&method) {
        return Judged::Otherwise;
    }
    if !path.starts_with('/') {
        return Judged::Otherwise;
    }
    let (mut close, mut hosts) = (false, 0);
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let (mut chain, mut traced): (Option<&str>, Option<&str>) = (None, None);
    let mut body = Framing::Nothing;
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
            Some(b'c') if is("content-length") => {
                let length = std::str::from_utf8(header.value).ok();
                let digits = length.filter(|it| it.bytes().all(|digit| digit.is_ascii_digit()));
                let length = digits.and_then(|it| it.parse().ok());
                match (length, &body) {
                    (Some(length), Framing::Nothing) => body = Framing::Length(length),
                    // Two lengths, or one that is none, are the long way's to judge.
                    _ => return Judged::Otherwise,
                }
            }
            Some(b't') if is("transfer-encoding") => match &body {
                Framing::Nothing if header.value.eq_ignore_ascii_case(b"chunked") => {
                    body = Framing::chunks();
                }
                _ => return Judged::Otherwise,
            },
            Some(b't') if is("te") || is("trailer") => return Judged::Otherwise,
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
    let cookies = || text(request.headers, "cookie");
    let (group, kept) = match front.rules.action(&Raw { request: &request }, peer.ip()) {
        Action::Forward(shares) => (draw(shares), None),
        Action::Sticky(shares, lasts) => (sticky::group(shares, cookies()), Some(*lasts)),
        _ => (None, None),
    };
    let Some(group) = group.cloned() else {
        return Judged::Otherwise;
    };
    let settings = group.settings();
    if settings.secure {
        return Judged::Otherwise;
    }
    let held = settings.sticky.as_ref().and_then(|it| it.held(cookies()));
    let returning = held.and_then(|held| group.return_to(held));
    out.extend_from_slice(b"x-forwarded-for: ");
    if let Some(before) = chain.filter(|before| !before.is_empty()) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(b", ");
    }
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{}\r\nx-forwarded-proto: {}\r\n",
        peer.ip(),
        front.scheme
    );
    let _ = write!(out, "x-amzn-trace-id: {}\r\n", headers::trace(traced));
    let bodyless = matches!(body, Framing::Nothing | Framing::Length(0));
    Judged::Simple(Asked {
        length,
        head_only: method == "HEAD",
        close,
        replayable: bodyless && !matches!(method, "POST" | "PATCH"),
        body,
        answered: AtomicBool::new(false),
        way: Some(Way {
            group,
            settings,
            returning,
            target: None,
            kept,
        }),
    })
}

/// The lines of a header, as far as they are text.
fn text<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    lines.filter_map(|header| std::str::from_utf8(header.value).ok())
}

/// Methods of this way. TRACE and CONNECT are refused, and others are rare.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn finish_head(out: &mut Vec<u8>, port: u16) {
    let _ = write!(out, "x-forwarded-port: {port}\r\n\r\n");
}

pub(super) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

enum Exchanged {
    /// The response is whole, and the client may ask again, unless it said that it will not.
    Again { close: bool },
    /// The client's connection has to end.
    Over,
    /// No target has seen the request, or a connection that had rested was gone: the long way tries on.
    NotSent,
}

/// Sends a request, of which `read` holds the head and what came of the body, and whose new head is in `out`. Unless it was not sent,
/// what belongs to it is gone from `read` afterwards.
async fn exchange(
    front: &Front,
    client: &mut Prefixed,
    mut asked: Asked,
    read: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Exchanged {
    let Some(way) = &mut asked.way else {
        return Exchanged::NotSent;
    };
    let chosen = way.returning.take().or_else(|| way.group.choose(&[]));
    let Some(in_flight) = chosen else {
        return Exchanged::NotSent;
    };
    way.target = Some(in_flight.pool().address());
    // What has come of the body goes out with the head.
    let Ok(Progress { used, done }) = asked.body.take(&read[asked.length..]) else {
        return Exchanged::NotSent;
    };
    let uploaded = done || matches!(asked.body, Framing::Nothing | Framing::Length(0));
    let end = asked.length + used;
    out.extend_from_slice(&read[asked.length..end]);
    let pool = in_flight.pool().clone();
    let rested = pool
        .take_rested(!asked.replayable, front.idle)
        .filter(Rested::is_silent);
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
    let carrying = async {
        if uploaded {
            carry(front.idle, &mut target, client, &asked, out).await
        } else {
            let activity = Activity::new();
            both_ways(front.idle, &activity, &mut target, client, &mut asked, out).await
        }
    };
    let carried = tokio::select! {
        biased;
        carried = carrying => carried,
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
            read.drain(..end);
            Exchanged::Again { close: asked.close }
        }
        Carried::Nothing(_) if reused && asked.replayable => Exchanged::NotSent,
        Carried::Nothing(status) => {
            answer(client, status, &asked).await;
            Exchanged::Over
        }
        Carried::Silent => {
            answer(client, StatusCode::GATEWAY_TIMEOUT, &asked).await;
            Exchanged::Over
        }
        Carried::Bad => {
            answer(client, StatusCode::BAD_GATEWAY, &asked).await;
            Exchanged::Over
        }
        Carried::ClosesClient | Carried::Broken => Exchanged::Over,
    }
}

/// Carries the rest of a request's body to the target while the response may come already.
pub(super) async fn both_ways(
    idle: Duration,
    activity: &Activity,
    target: &mut TcpStream,
    client: &mut Prefixed,
    asked: &mut Asked,
    out: &mut Vec<u8>,
) -> Carried {
    let mut body = std::mem::replace(&mut asked.body, Framing::Nothing);
    if target.write_all(out).await.is_err() {
        return Carried::Nothing(StatusCode::BAD_GATEWAY);
    }
    out.clear();
    let (mut from_target, mut to_target) = target.split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let upload = async {
        let mut read: Vec<u8> = Vec::with_capacity(LARGE);
        loop {
            read.clear();
            let Ok(1..) = from_client.read_buf(&mut read).await else {
                return Uploaded::ClientGone;
            };
            activity.touch();
            let Ok(progress) = body.take(&read) else {
                return Uploaded::ClientGone;
            };
            if to_target.write_all(&read[..progress.used]).await.is_err() {
                return Uploaded::Part;
            }
            if progress.done {
                // A client that asks on before it has an answer is more than this way can follow.
                return match progress.used == read.len() {
                    true => Uploaded::Whole,
                    false => Uploaded::Part,
                };
            }
        }
    };
    let download = receive(
        idle,
        Some(activity),
        &mut from_target,
        &mut to_client,
        asked,
        out,
    );
    tokio::pin!(upload, download);
    let mut uploaded = None;
    loop {
        tokio::select! {
            biased;
            carried = &mut download => return match carried {
                // Answered before it had the whole request: neither connection can go on.
                Carried::Whole { .. } if uploaded != Some(Uploaded::Whole) => Carried::ClosesClient,
                carried => carried,
            },
            ended = &mut upload, if uploaded.is_none() => match ended {
                Uploaded::ClientGone => return Carried::Broken,
                ended => uploaded = Some(ended),
            },
        }
    }
}

/// How the rest of a request's body went.
#[derive(PartialEq)]
enum Uploaded {
    Whole,
    /// The target takes no more, but may still have something to say; or there was more than the body.
    Part,
    /// The client is gone, or sends what is no body.
    ClientGone,
}

/// An answer of the load balancer itself; the connection ends after it.
async fn answer(client: &mut Prefixed, status: StatusCode, asked: &Asked) {
    let mut bytes = page::bytes(status);
    if asked.head_only
        && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
    {
        bytes.truncate(end + 4);
    }
    let _ = client.write_all(&bytes).await;
}

pub(super) enum Carried {
    Whole {
        reusable: bool,
    },
    /// The body ended with the target's connection: the client's has to end too.
    ClosesClient,
    /// Not a byte came back.
    Nothing(StatusCode),
    /// The target said nothing for too long.
    Silent,
    /// What it said cannot be understood; nothing of it has gone to the client.
    Bad,
    /// It broke in the middle.
    Broken,
}

/// Sends what is in `out` and carries the response to the client.
pub(super) async fn carry(
    idle: Duration,
    target: &mut TcpStream,
    client: &mut Prefixed,
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Carried {
    if target.write_all(out).await.is_err() {
        return Carried::Nothing(StatusCode::BAD_GATEWAY);
    }
    receive(idle, None, target, client, asked, out).await
}

/// Reads, unless nothing moves for too long: since the other side has last moved, too.
async fn hear(
    idle: Duration,
    activity: Option<&Activity>,
    from: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
) -> Option<io::Result<usize>> {
    loop {
        match timeout(idle, from.read_buf(read)).await {
            Ok(got) => return Some(got),
            Err(_) if activity.is_some_and(|it| it.last().elapsed() < idle) => {}
            Err(_) => return None,
        }
    }
}

/// Writes to a client; what TLS has made of it must not wait here.
async fn send(client: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await
}

/// Carries a response to the client.
async fn receive(
    idle: Duration,
    activity: Option<&Activity>,
    target: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Carried {
    let mut read: Vec<u8> = Vec::with_capacity(CHUNK);
    let (length, mut framing, mut reusable) = loop {
        match hear(idle, activity, target, &mut read).await {
            None => return Carried::Silent,
            Some(Ok(1..)) => {}
            Some(_) if read.is_empty() => return Carried::Nothing(StatusCode::BAD_GATEWAY),
            Some(_) => return Carried::Bad,
        }
        out.clear();
        match head(&mut read, asked, out) {
            Some(Some(done)) => break done,
            Some(None) if read.len() < 4 * HEAD => {}
            _ => return Carried::Bad,
        }
    };
    let mut done = match framing.take(&read[length..]) {
        Ok(Progress { used, done }) => {
            out.extend_from_slice(&read[length..length + used]);
            // Bytes that nobody asked for.
            reusable &= length + used == read.len();
            done
        }
        Err(_) => return Carried::Bad,
    };
    asked.answered.store(true, Ordering::Relaxed);
    if send(client, out).await.is_err() {
        return Carried::Broken;
    }
    if !done && matches!(framing, Framing::Length(left) if left > CHUNK as u64) {
        read = Vec::with_capacity(LARGE);
    }
    while !done {
        read.clear();
        match hear(idle, activity, target, &mut read).await {
            Some(Ok(0)) if matches!(framing, Framing::UntilClose) => return Carried::ClosesClient,
            Some(Ok(1..)) => {}
            _ => return Carried::Broken,
        }
        let Ok(progress) = framing.take(&read) else {
            return Carried::Broken;
        };
        if send(client, &read[..progress.used]).await.is_err() {
            return Carried::Broken;
        }
        reusable &= progress.used == read.len();
        done = progress.done;
    }
    Carried::Whole { reusable }
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
    if let Some(way) = &asked.way {
        if let (Some(sticky), Some(target)) = (&way.settings.sticky, way.target) {
            let set = text(response.headers, "set-cookie");
            for cookie in sticky.mark(way.group.arn(), target, set) {
                line(out, b"set-cookie", cookie.as_bytes());
            }
        }
        if let Some(lasts) = way.kept {
            for cookie in sticky::mark_group(way.group.arn(), lasts) {
                line(out, b"set-cookie", cookie.as_bytes());
            }
        }
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
