use std::sync::atomic::AtomicUsize;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Targets in turn, by their addresses in this process's own network.
#[derive(Default)]
struct Targets {
    all: Vec<SocketAddr>,
    turn: AtomicUsize,
    dialled: AtomicUsize,
}

impl Upstream for Targets {
    fn turn(&self) -> Vec<SocketAddr> {
        let mut all = self.all.clone();
        if !all.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % all.len();
            all.rotate_left(first);
        }
        all
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        Box::pin(TcpStream::connect(to))
    }
}

const PATIENT: Patience = Patience {
    request: Duration::from_secs(20),
    idle: Duration::from_secs(20),
};

/// A client's connection to a proxy before these targets.
async fn proxy(targets: std::sync::Arc<Targets>, patience: Patience) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        serve(client, &*targets, patience, &CancellationToken::new()).await;
    });
    TcpStream::connect(at).await.unwrap()
}

fn of(all: &[SocketAddr]) -> std::sync::Arc<Targets> {
    std::sync::Arc::new(Targets {
        all: all.to_vec(),
        ..Targets::default()
    })
}

/// A target that answers every request on a connection with a word of its own, or, as `lasts` says, only so many of them before it ends
/// the connection.
async fn target(word: &'static str, lasts: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                for _ in 0..lasts {
                    let head = head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    let body = format!("{word}{}", head.lines().next().unwrap_or_default());
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    at
}

/// What comes up to an empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends a request and reads the whole answer: its status and its body.
async fn ask_for(client: &mut TcpStream, request: &str) -> (String, String) {
    client.write_all(request.as_bytes()).await.unwrap();
    let head = head(client).await.to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|it| it.lines().next()?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, String::from_utf8(body).unwrap())
}

const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn requests_of_one_connection_go_to_the_targets_in_turn_and_past_one_that_is_gone() {
    let targets = of(&[
        target("a ", 9).await,
        nowhere().await,
        target("b ", 9).await,
    ]);
    let mut client = proxy(targets.clone(), PATIENT).await;
    let mut words = String::new();
    for _ in 0..6 {
        let (status, body) = ask_for(&mut client, GET).await;
        assert_eq!(status, "200");
        words += &body[..1];
    }
    assert_eq!(words, "abbabb");
    // One connection to each stays; the one that is gone is tried every time.
    assert!(targets.dialled.load(Ordering::Relaxed) <= 6);
}

#[tokio::test]
async fn a_connection_that_ended_while_it_rested_is_replaced() {
    let targets = of(&[target("a ", 1).await]);
    let mut client = proxy(targets.clone(), PATIENT).await;
    for _ in 0..3 {
        assert_eq!(ask_for(&mut client, GET).await.0, "200");
    }
    assert_eq!(targets.dialled.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn bodies_arrive_whole_and_a_wait_to_be_asked_for_one_is_short() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let seen: JoinHandle<String> = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        let answer = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        head + std::str::from_utf8(&body).unwrap()
    });
    let mut client = proxy(of(&[at]), PATIENT).await;
    let begin = "POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nExpect: 100-continue\r\nX: y\r\n\r\n";
    client.write_all(begin.as_bytes()).await.unwrap();
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hel").await.unwrap();
    client.write_all(b"lo").await.unwrap();
    assert!(
        head(&mut client)
            .await
            .starts_with("HTTP/1.1 201 Created\r\n")
    );
    assert_eq!(
        seen.await.unwrap(),
        "POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
    );
}

#[tokio::test]
async fn who_gets_no_answer_hears_why() {
    let answer = async |targets: &[SocketAddr], patience| {
        let mut client = proxy(of(targets), patience).await;
        let answer = ask_for(&mut client, GET).await;
        assert_eq!(
            client.read(&mut [0]).await.unwrap(),
            0,
            "the connection goes on"
        );
        answer
    };
    let said = |status: &str, text: &str| (status.to_owned(), text.to_owned());
    assert_eq!(
        answer(&[], PATIENT).await,
        said("503", "no healthy upstream")
    );
    let reset =
        "upstream connect error or disconnect/reset before headers. reset reason: connection";
    assert_eq!(
        answer(&[nowhere().await], PATIENT).await,
        said("503", &format!("{reset} failure"))
    );
    assert_eq!(
        answer(&[target("", 0).await], PATIENT).await,
        said("503", &format!("{reset} termination"))
    );
    // It takes connections and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hasty = Patience {
        request: Duration::from_millis(50),
        ..PATIENT
    };
    assert_eq!(
        answer(&[silent.local_addr().unwrap()], hasty).await,
        said("504", "upstream request timeout")
    );
    let mut client = proxy(of(&[]), PATIENT).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
    assert!(
        head(&mut client)
            .await
            .starts_with("HTTP/1.1 400 Bad Request\r\n")
    );
}

#[tokio::test]
async fn a_connection_that_nobody_uses_ends_and_one_that_switches_carries_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = head(&mut stream).await;
        assert!(asked.contains("Upgrade: websocket"), "{asked}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello")
            .await
            .unwrap();
        let word = stream.read_u8().await.unwrap();
        stream.write_all(&[word]).await.unwrap();
    });
    let hasty = Patience {
        idle: Duration::from_millis(50),
        ..PATIENT
    };
    let mut idle = proxy(of(&[at]), hasty).await;
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    let mut client = proxy(of(&[at]), PATIENT).await;
    let upgrade =
        "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.contains(" 101 "));
    let mut word = [0; 5];
    client.read_exact(&mut word).await.unwrap();
    client.write_all(b"!").await.unwrap();
    assert_eq!((&word, client.read_u8().await.unwrap()), (b"hello", b'!'));
}
