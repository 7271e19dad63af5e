//! A server that gives scripted answers, one request a connection, and keeps what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    pub fn key_id(&self) -> &str {
        let after = self
            .header("authorization")
            .split_once("Credential=")
            .unwrap_or_default()
            .1;
        after.split('/').next().unwrap()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Reads the request, then resets the connection.
    Reset,
    /// Sends half an answer, then closes.
    HalfAnswer,
}

impl Act {
    pub fn ok(body: &str) -> Act {
        Act::Answer(200, vec![], body.to_owned())
    }

    pub fn error(status: u16, code: &str, message: &str) -> Act {
        let body =
            serde_json::json!({"__type": format!("com.amazonaws.ecs#{code}"), "message": message});
        Act::Answer(status, vec![], body.to_string())
    }

    pub fn with(self, name: &'static str, value: &str) -> Act {
        match self {
            Act::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Act::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

/// A running server; it ends with the test's runtime.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves by a function of the request's number (from 0) and the request.
    pub async fn start(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let act = Arc::new(act);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, act) = (log.clone(), act.clone());
                tokio::spawn(async move { serve(stream, log, &*act).await });
            }
        });
        Server { address, seen }
    }

    /// Serves the acts in order, the last one again and again.
    pub async fn scripted(acts: Vec<Act>) -> Server {
        Server::start(move |number, _| acts[number.min(acts.len() - 1)].clone()).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Seen>>>,
    act: &(impl Fn(usize, &Seen) -> Act + Send + Sync),
) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    match act(number, &request) {
        Act::Answer(status, headers, body) => {
            let mut text = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            text.push_str("\r\n");
            text.push_str(&body);
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Act::Reset => {
            let _ = stream.set_zero_linger();
        }
        Act::HalfAnswer => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"clust")
                .await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let (head, rest) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&part[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break (
                String::from_utf8(bytes[..at].to_vec()).unwrap(),
                bytes[at + 4..].to_vec(),
            );
        }
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = rest;
    while body.len() < length {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok()?;
        body.extend_from_slice(&part[..count]);
    }
    Some(Seen {
        line,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
