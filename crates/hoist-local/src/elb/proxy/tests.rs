use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::elb::dial::Direct;
use crate::elb::group::{Algorithm, Pace, Settings, Surroundings};
use crate::elb::listen::{Listener, Speech};
use crate::elb::rule::{Share, Test};

/// A target that says itself what happens to the `n`th connection.
async fn target<F: Future<Output = ()> + Send>(
    serve: impl Fn(usize, BufReader<TcpStream>) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = serve.clone();
            tokio::spawn(async move { serve(n, BufReader::new(stream)).await });
        }
    });
    address
}

/// Reads a request's head; false at the end of the connection.
async fn head(stream: &mut BufReader<TcpStream>) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A listener that leads to `target`, and the group between them.
async fn balance(target: SocketAddr, idle: Duration) -> (Listener, Arc<Group>) {
    let (messages, _) = mpsc::unbounded_channel();
    let around = Surroundings {
        dialer: Arc::new(Direct),
        messages,
        pace: Pace::Fast,
    };
    let settings = Settings {
        check: None,
        algorithm: Algorithm::RoundRobin,
        deregistration_delay: Duration::from_secs(30),
        slow_start: Duration::ZERO,
        secure: false,
        sticky: None,
        used: true,
    };
    let group = Group::new("tg".into(), settings, around);
    group.register(target);
    let ip = "127.0.0.1".parse().unwrap();
    let listener = Listener::open(ip, 0, Speech::Http, idle, Arc::new(Direct))
        .await
        .unwrap();
    let default = Action::Forward(vec![Share {
        group: group.clone(),
        weight: 1,
    }]);
    listener.set(
        Rules {
            rules: Vec::new(),
            default,
        },
        idle,
    );
    (listener, group)
}

const LONG: Duration = Duration::from_secs(60);

/// The whole answer to one request on a connection of its own.
async fn ask(listener: &Listener, method: &str, more: &str) -> String {
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    let request = format!("{method} /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{more}");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Answers one request on the first connection, and closes it when the second has come.
async fn fickle(n: usize, mut stream: BufReader<TcpStream>) {
    let mut served = 0;
    while head(&mut stream).await && (n > 0 || served == 0) {
        stream.write_all(OK).await.unwrap();
        served += 1;
    }
}

#[tokio::test]
async fn a_get_on_a_connection_that_the_target_closes_is_sent_again() {
    let (listener, _group) = balance(target(fickle).await, LONG).await;
    for _ in 0..3 {
        assert!(
            ask(&listener, "GET", "\r\n")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_seen_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let fickle = move |n, mut stream| {
        let counted = counted.clone();
        async move {
            let mut served = 0;
            while head(&mut stream).await {
                counted.fetch_add(1, Ordering::SeqCst);
                if n == 0 && served > 0 {
                    return;
                }
                stream.write_all(OK).await.unwrap();
                served += 1;
            }
        }
    };
    let (listener, _group) = balance(target(fickle).await, LONG).await;
    assert!(
        ask(&listener, "POST", "content-length: 0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let second = ask(&listener, "POST", "content-length: 0\r\n\r\n").await;
    assert!(
        second.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{second}"
    );
    assert!(second.contains("server: awselb/2.0\r\n"), "{second}");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_silent_target_is_given_up_after_the_idle_timeout() {
    let silent = |_, mut stream| async move {
        head(&mut stream).await;
        std::future::pending().await
    };
    let (listener, _group) = balance(target(silent).await, Duration::from_millis(100)).await;
    let answer = ask(&listener, "GET", "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(
        answer
            .ends_with("<center><h1>504 Gateway Time-out</h1></center>\r\n</body>\r\n</html>\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_a_target_sends_goes_on_at_once() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(tokio::sync::Mutex::new(Some(wait)));
    let slow = move |_, mut stream: BufReader<TcpStream>| {
        let wait = wait.clone();
        async move {
            head(&mut stream).await;
            let first = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(first).await.unwrap();
            wait.lock().await.take().unwrap().await.unwrap();
            stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
        }
    };
    let (listener, _group) = balance(target(slow).await, LONG).await;
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("first") {
        let mut buffer = [0; 1024];
        let read = client.read(&mut buffer).await.unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    go.send(()).unwrap();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(seen.contains("last"), "{seen}");
}

#[tokio::test]
async fn a_draining_target_finishes_what_it_has_and_gets_no_more() {
    let (started, mut begun) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let slow = move |_, mut stream: BufReader<TcpStream>| {
        let started = started.clone();
        async move {
            head(&mut stream).await;
            let (go, wait) = oneshot::channel();
            started.send(go).unwrap();
            wait.await.unwrap();
            stream.write_all(OK).await.unwrap();
        }
    };
    let address = target(slow).await;
    let (listener, group) = balance(address, LONG).await;
    let listener = Arc::new(listener);
    let asking = tokio::spawn({
        let listener = listener.clone();
        async move { ask(&listener, "GET", "\r\n").await }
    });
    let go = begun.recv().await.unwrap();
    group.deregister(address);
    assert!(
        ask(&listener, "GET", "\r\n")
            .await
            .starts_with("HTTP/1.1 503 ")
    );
    go.send(()).unwrap();
    assert!(asking.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_upload_that_moves_is_not_idle() {
    let reading = |_, mut stream: BufReader<TcpStream>| async move {
        head(&mut stream).await;
        let mut body = [0; 10];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(OK).await.unwrap();
    };
    let (listener, _group) = balance(target(reading).await, Duration::from_millis(400)).await;
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 10\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..10 {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Answers with what it was sent, as it comes, in chunks.
async fn echo(_: usize, mut stream: BufReader<TcpStream>) {
    head(&mut stream).await;
    let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(begin).await.unwrap();
    let mut left = 10;
    while left > 0 {
        let mut buffer = [0; 10];
        let read = stream.read(&mut buffer).await.unwrap();
        left -= read;
        let chunk = [format!("{read:x}\r\n").as_bytes(), &buffer[..read], b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    // Until the other side has seen all of it.
    let _ = stream.read_u8().await;
}

#[tokio::test]
async fn a_response_comes_while_the_request_is_still_being_sent() {
    let (listener, _group) = balance(target(echo).await, LONG).await;
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n01234")
        .await
        .unwrap();
    let mut seen = String::new();
    for (said, more) in [("01234\r\n", &b"56789"[..]), ("56789\r\n0\r\n\r\n", b"")] {
        while !seen.contains(said) {
            let mut buffer = [0; 1024];
            let read = client.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        client.write_all(more).await.unwrap();
    }
    assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
}

#[tokio::test]
async fn uploads_of_every_framing_arrive_whole_and_the_connection_serves_on() {
    let sink = |_, mut stream: BufReader<TcpStream>| async move {
        // Says how many bytes came behind the head, up to the `!` that ends every body here.
        while head(&mut stream).await {
            let mut body = Vec::new();
            while !body.ends_with(b"!") {
                body.push(stream.read_u8().await.unwrap());
            }
            let said = body
                .iter()
                .filter(|byte| **byte == b'x')
                .count()
                .to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}",
                said.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !body.starts_with(b"x") {
                // The end of a chunked body.
                let mut end = [0; 7];
                stream.read_exact(&mut end).await.unwrap();
            }
        }
    };
    let (listener, _group) = balance(target(sink).await, LONG).await;
    let mut client = BufReader::new(TcpStream::connect(listener.address()).await.unwrap());
    let large = "x".repeat(300_000);
    for (framing, body, count) in [
        ("content-length: 4".to_owned(), "xxx!".to_owned(), 3),
        (
            format!("content-length: {}", large.len() + 1),
            format!("{large}!"),
            large.len(),
        ),
        (
            "transfer-encoding: chunked".to_owned(),
            "4\r\nxxxx\r\n2\r\nx!\r\n0\r\n\r\n".to_owned(),
            5,
        ),
        ("content-length: 2".to_owned(), "x!".to_owned(), 1),
    ] {
        let request = format!("PUT /x HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(head(&mut client).await, "{framing}");
        let mut answer = vec![0; count.to_string().len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            count.to_string(),
            "{framing}"
        );
    }
}

#[tokio::test]
async fn rules_lead_the_short_way_too() {
    let answer = |text: &'static [u8]| {
        move |_, mut stream: BufReader<TcpStream>| async move {
            while head(&mut stream).await {
                stream.write_all(text).await.unwrap();
            }
        }
    };
    let (listener, default) = balance(target(answer(OK)).await, LONG).await;
    let other: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
    let (_, ruled) = balance(target(answer(other)).await, LONG).await;
    let forward = |group: &Arc<Group>| {
        Action::Forward(vec![Share {
            group: group.clone(),
            weight: 1,
        }])
    };
    let rules = Rules {
        rules: vec![(
            vec![
                Test::Path(vec!["/x*".into()]),
                Test::Header {
                    name: http::HeaderName::from_static("x-stage"),
                    values: vec!["blue".into()],
                },
                Test::Query(vec![(Some("a".into()), "1".into())]),
                Test::Host(vec!["h".into()]),
                Test::Method(vec!["GET".into()]),
            ],
            forward(&ruled),
        )],
        default: forward(&default),
    };
    listener.set(rules, LONG);
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    for (target, stage, said) in [
        ("/x?a=1", "Blue", "other"),
        ("/x?a=2", "blue", "ok"),
        ("/x?a=1", "red", "ok"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: H:80\r\nX-Stage: {stage}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut seen = String::new();
        while !seen.ends_with(&format!("\r\n\r\n{said}")) {
            let mut buffer = [0; 1024];
            let read = client.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{target} {stage}: {seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
}

#[tokio::test]
async fn a_network_listener_carries_bytes() {
    let echo = |_, mut stream: BufReader<TcpStream>| async move {
        let mut line = [0; 4];
        stream.read_exact(&mut line).await.unwrap();
        line.reverse();
        stream.write_all(&line).await.unwrap();
    };
    let (_, group) = balance(target(echo).await, LONG).await;
    let ip = "127.0.0.1".parse().unwrap();
    let listener = Listener::open(ip, 0, Speech::Tcp, LONG, Arc::new(Direct))
        .await
        .unwrap();
    let default = Action::Forward(vec![Share { group, weight: 1 }]);
    listener.set(
        Rules {
            rules: Vec::new(),
            default,
        },
        LONG,
    );
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    client.write_all(b"abcd").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "dcba");
}

/// Says its name, and whether it was told that the client speaks TLS.
async fn introduce(name: &'static str, mut stream: BufReader<TcpStream>) {
    loop {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => seen.push(byte.to_ascii_lowercase()),
                Err(_) => return,
            }
        }
        let seen = String::from_utf8(seen).unwrap();
        let secure = seen.contains("\r\nx-forwarded-proto: https\r\n");
        let said = format!("{name} {secure}");
        let length = said.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{said}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn clients_in_tls_come_back_to_their_target_by_either_way() {
    let (_, group) = balance(target(|_, it| introduce("one", it)).await, LONG).await;
    group.register(target(|_, it| introduce("two", it)).await);
    while group.healthy() < 2 {
        tokio::task::yield_now().await;
    }
    let mut settings = Settings::clone(&group.settings());
    settings.sticky = Some(sticky::Sticky::Balancer(LONG));
    group.set(settings);
    let ip = "127.0.0.1".parse().unwrap();
    let listener = Listener::open(ip, 0, Speech::Https, LONG, Arc::new(Direct))
        .await
        .unwrap();
    let issued = crate::acm::issue::issue(&["h".into()], 0).unwrap();
    let shown = crate::acm::kept::certified(&issued.certificate, None, &issued.key).unwrap();
    listener.show(vec![(vec!["h".into()], Arc::new(shown))]);
    let share = Share { group, weight: 1 };
    let rules = Rules {
        rules: Vec::new(),
        default: Action::Sticky(vec![share], LONG),
    };
    listener.set(rules, LONG);
    let ask = async |more: &str| {
        let mut client = crate::elb::outward::reach(&Direct, listener.address(), true)
            .await
            .unwrap();
        let mut all = String::new();
        for last in [false, true] {
            let end = if last { "connection: close\r\n" } else { "" };
            let request = format!("GET / HTTP/1.1\r\nhost: h\r\n{more}{end}\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            client.flush().await.unwrap();
            if !last {
                while !all.ends_with(" true") {
                    let mut buffer = [0; 1024];
                    let read = client.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "{all}");
                    all.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
            }
        }
        client.read_to_string(&mut all).await.unwrap();
        all
    };
    // Nobody comes back without a cookie; `TE` is for the long way.
    for way in ["", "te: trailers\r\n"] {
        let first = ask(way).await;
        assert!(
            first.contains("one true") && first.contains("two true"),
            "{first}"
        );
        for name in ["one", "two"] {
            let before = first.split(&format!("\r\n\r\n{name} true")).next().unwrap();
            let mut cookies = Vec::new();
            for cookie in ["AWSALB=", "AWSALBCORS=", "AWSALBTG=", "AWSALBTGCORS="] {
                let line = before.rsplit(cookie).next().unwrap();
                assert!(line.len() < before.len(), "{cookie} {before}");
                cookies.push(format!("{cookie}{}", line.split(';').next().unwrap()));
            }
            let cookies = cookies.join("; ");
            for again in ["", "te: trailers\r\n"] {
                let said = ask(&format!("cookie: {cookies}\r\n{again}")).await;
                assert_eq!(said.matches(&format!("{name} true")).count(), 2, "{said}");
            }
        }
    }
}
