//! An endpoint of AWS that answers what a test says, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use hoist_aws::{Client, Config, Environment, Overrides, StaticCredentials};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a test answers to an operation that was called `nth` times before.
type Answers = dyn Fn(&str, &Value, usize) -> (u16, Value) + Send + Sync;

/// A running endpoint and a client for it.
pub struct Endpoint {
    pub client: Client,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

/// Answers `code` as AWS does.
pub fn refusal(status: u16, code: &str, message: &str) -> (u16, Value) {
    (status, json!({ "__type": code, "message": message }))
}

impl Endpoint {
    /// Starts an endpoint of the JSON protocols.
    pub async fn answering(
        answers: impl Fn(&str, &Value, usize) -> (u16, Value) + Send + Sync + 'static,
    ) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, log): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers), Arc::clone(&log)));
            }
        });
        hoist_oci::install_tls();
        let overrides = Overrides {
            region: Some("eu-central-1".into()),
            endpoint_url: Some(format!("http://127.0.0.1:{port}")),
            credentials: Some(StaticCredentials {
                access_key_id: "AKIAEXAMPLE".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            }),
            ..Overrides::default()
        };
        let config = Config::load_from(Environment::default(), overrides).unwrap();
        Endpoint {
            client: Client::new(config).unwrap(),
            asked,
        }
    }

    /// The requests of an operation, in order.
    pub fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(name, _)| name == operation)
            .map(|(_, body)| body.clone())
            .collect()
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, answers: Arc<Answers>, log: Arc<Mutex<Vec<(String, Value)>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut operation, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match line.trim().to_ascii_lowercase().split_once(':') {
                Some(("x-amz-target", _)) => {
                    operation = line.trim().rsplit('.').next().unwrap().to_owned();
                }
                Some(("content-length", value)) => length = value.trim().parse().unwrap(),
                _ if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let (status, answer) = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|(name, _)| *name == operation).count();
            log.push((operation.clone(), body.clone()));
            answers(&operation, &body, before)
        };
        let answer = answer.to_string();
        let whole = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(whole.as_bytes()).await.unwrap();
    }
}
