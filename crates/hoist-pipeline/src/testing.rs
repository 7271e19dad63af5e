//! An endpoint of AWS that answers what a test says, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use hoist_aws::{Client, Config, Environment, Overrides, StaticCredentials};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a test answers to an operation that was called `nth` times before.
type Answers = dyn Fn(&str, &Value, usize) -> (u16, Value) + Send + Sync;

/// Validates requests against the service models, and prints how many operations it knew.
const BOTOCORE: &str = r#"
import json, sys
from botocore.session import get_session
from botocore.validate import ParamValidator
models = [get_session().get_service_model(name) for name in ("ecs", "codedeploy")]
known, wrong = 0, []
for operation, body in json.loads(sys.argv[1]):
    for model in models:
        if operation in model.operation_names:
            known += 1
            report = ParamValidator().validate(body, model.operation_model(operation).input_shape)
            if report.has_errors():
                wrong.append(f"{operation}: {report.generate_report()}: {body}")
print(known)
sys.exit("\n".join(wrong) or 0)
"#;

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

    /// Holds every request of the JSON protocols against botocore's models: members that there are, with the types that they have.
    pub fn is_understood_by_botocore(&self) {
        let requests: Vec<Value> = self
            .asked
            .lock()
            .unwrap()
            .iter()
            .map(|(operation, body)| json!([operation, body]))
            .collect();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let tools =
            std::env::var("HOIST_TEST_TOOLS").unwrap_or_else(|_| format!("{root}/target/tools"));
        let output = std::process::Command::new(format!("{tools}/bin/python"))
            .args(["-c", BOTOCORE, &json!(requests).to_string()])
            .output()
            .expect("botocore is installed by scripts/install-test-tools.sh");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{wrong}");
        assert_eq!(said.trim(), requests.len().to_string(), "not all are known");
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
        let body = match operation.is_empty() {
            false => serde_json::from_slice(&body).unwrap(),
            // The query protocols name the operation in the form.
            true => form(&String::from_utf8(body).unwrap()),
        };
        let query = operation.is_empty();
        if query {
            operation = body["Action"].as_str().unwrap().to_owned();
        }
        let (status, answer) = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|(name, _)| *name == operation).count();
            log.push((operation.clone(), body.clone()));
            answers(&operation, &body, before)
        };
        let answer = match (&answer, query) {
            (answer, true) if status < 300 => {
                format!(
                    "<R><{operation}Result>{}</{operation}Result></R>",
                    xml(answer)
                )
            }
            (refused, true) => format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>",
                refused["__type"].as_str().unwrap(),
                refused["message"].as_str().unwrap()
            ),
            _ => answer.to_string(),
        };
        let whole = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n{answer}",
            if query {
                "text/xml"
            } else {
                "application/x-amz-json-1.1"
            },
            answer.len()
        );
        stream.write_all(whole.as_bytes()).await.unwrap();
    }
}

/// The members of a form, percent-decoded.
fn form(text: &str) -> Value {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), Value::String(decode(value))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A value as the query protocols write it.
fn xml(value: &Value) -> String {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("<{name}>{}</{name}>", xml(value)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| format!("<member>{}</member>", xml(item)))
            .collect(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
