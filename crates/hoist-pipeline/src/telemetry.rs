//! A run as others want to have it: its journal as an OpenTelemetry trace, and each deployment as one event for DORA figures.
//!
//! Both are off unless the environment names a place for them, and neither ever fails a deployment.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::event::{Events, Step};
use crate::journal::{Entry, Journal};
use crate::parallel::{self, Boxed};
use crate::{delivery, trace};

/// How long each place may take to accept what it is sent.
const LIMIT: Duration = Duration::from_secs(5);
/// As [`LIMIT`], of a run that was cancelled: the runner kills it soon.
const HURRIED: Duration = Duration::from_millis(700);

/// Reads an environment variable.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Where something is sent, and with which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An `http` or `https` URL, or a file.
    pub place: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

/// Sends what the environment asks for about this run.
pub async fn export(journal: &Journal, hurried: bool, events: &Events) {
    let variables = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (traces, deliveries) = (trace::place(&variables), delivery::place(&variables));
    if traces.is_none() && deliveries.is_none() {
        return;
    }
    let entries = match journal.of_this_run() {
        Ok(entries) => entries,
        Err(error) => {
            events.warn(
                Step::Verify,
                format!("the run was not exported: failed to read the journal: {error}"),
            );
            return;
        }
    };
    let limit = if hurried { HURRIED } else { LIMIT };
    for problem in sent(&entries, traces, deliveries, &variables, limit).await {
        events.warn(Step::Verify, problem);
    }
}

/// Sends both at once. Returns what went wrong.
async fn sent(
    entries: &[Entry],
    traces: Option<Place>,
    deliveries: Option<Place>,
    variables: Variables<'_>,
    limit: Duration,
) -> Vec<String> {
    let mut work: Vec<Boxed<'_, Option<String>>> = Vec::new();
    if let Some(place) = traces
        && let Some(body) = trace::document(entries, variables)
    {
        work.push(Box::pin(async move {
            let problem = post(&place, "application/json", &body, limit).await;
            problem.map(|error| format!("the trace was not exported to {}: {error}", place.place))
        }));
    }
    if let Some(place) = deliveries
        && let Some(event) = delivery::event(entries)
    {
        work.push(Box::pin(async move {
            let problem =
                if place.place.starts_with("http://") || place.place.starts_with("https://") {
                    post(&place, "application/cloudevents+json", &event, limit).await
                } else {
                    append(&place.place, &event)
                        .err()
                        .map(|error| error.to_string())
                };
            problem.map(|error| {
                format!(
                    "the delivery event was not written to {}: {error}",
                    place.place
                )
            })
        }));
    }
    parallel::all(2, work).await.into_iter().flatten().collect()
}

fn append(path: &str, event: &Value) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    file.write_all(format!("{event}\n").as_bytes())
}

async fn post(place: &Place, kind: &str, body: &Value, limit: Duration) -> Option<String> {
    let sent = async {
        let mut client = hoist_oci::http_client().timeout(limit);
        if crate::url::is_loopback(&place.place) {
            client = client.no_proxy();
        }
        let mut request = client
            .build()?
            .post(&place.place)
            .header("content-type", kind)
            .body(body.to_string());
        for (name, value) in &place.headers {
            request = request.header(name, value);
        }
        request.send().await
    };
    match sent.await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("it answered {}", answer.status())),
        Err(error) => {
            let mut words = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                words = cause.to_string();
                next = cause.source();
            }
            Some(words)
        }
    }
}

/// `name=value,name=value`, percent-encoded, as OpenTelemetry writes headers.
pub fn headers(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name.trim()), decoded(value.trim())))
        .collect()
}

pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::journal::What;

    /// Takes what is posted until the test ends, and answers with `status`: path, headers, body.
    async fn receiver(status: u16) -> (String, Arc<Mutex<Vec<(String, String, Value)>>>) {
        hoist_oci::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if let Some(("content-length", value)) =
                        line.trim().to_ascii_lowercase().split_once(": ")
                    {
                        length = value.parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                log.lock()
                    .unwrap()
                    .push((path, head, serde_json::from_slice(&body).unwrap()));
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (base, taken)
    }

    fn entries() -> Vec<Entry> {
        let entry = |second: u32, what| Entry {
            at: format!("2026-11-23T10:00:{second:02}Z"),
            run: "0123456789abcdef".into(),
            what,
        };
        vec![
            entry(
                0,
                What::Started {
                    app: "shop".into(),
                    target: "eu-central-1".into(),
                    source: "commit 1a2b on main".into(),
                    commit: Some("1a2b".into()),
                    committed: Some("2026-11-23T09:50:00Z".into()),
                    back: false,
                },
            ),
            entry(
                20,
                What::StepEnded {
                    step: "build".into(),
                    summary: "3 layers".into(),
                    millis: 15_000,
                },
            ),
            entry(
                22,
                What::Pushed {
                    image: "r/shop@sha256:aa".into(),
                },
            ),
            entry(
                23,
                What::Deploying {
                    cluster: "c".into(),
                    service: "web".into(),
                    task_definition: "arn:x:task-definition/web:2".into(),
                    created: false,
                },
            ),
            entry(
                30,
                What::Seen {
                    service: "web".into(),
                    progress: hoist_rollout::Progress::TaskRunning { task: "t".into() },
                },
            ),
            entry(
                40,
                What::Ended {
                    outcome: "done".into(),
                    summary: "the new revision serves".into(),
                },
            ),
        ]
    }

    #[tokio::test]
    async fn a_run_reaches_a_receiver_as_a_trace_and_as_one_event() {
        let (base, taken) = receiver(200).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let variables = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(base.clone()),
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=a%20b".to_owned()),
            "OTEL_SERVICE_NAME" => Some("deployments".to_owned()),
            "HOIST_EVENTS" => Some(format!("{base}/events")),
            _ => None,
        };
        let problems = sent(
            &entries(),
            trace::place(&variables),
            delivery::place(&variables),
            &variables,
            LIMIT,
        )
        .await;
        assert!(problems.is_empty(), "{problems:?}");
        {
            let mut taken = taken.lock().unwrap();
            taken.sort_by_key(|(path, ..)| path.clone());
            let [(events, event_head, event), (traces, head, trace)] = taken.as_slice() else {
                panic!("{taken:?}");
            };
            assert_eq!(
                (events.as_str(), traces.as_str()),
                ("/events", "/v1/traces")
            );
            assert!(
                event_head.contains("application/cloudevents+json"),
                "{event_head}"
            );
            assert!(head.contains("x-key: a b"), "{head}");
            assert_eq!(event["type"], "dev.cdevents.service.upgraded.0.2.0");
            let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
                .as_array()
                .unwrap();
            assert_eq!(
                spans
                    .iter()
                    .map(|span| span["name"].as_str().unwrap())
                    .collect::<Vec<_>>(),
                ["deploy shop", "build", "rollout web"]
            );
        }
        // A file gets a line for each.
        let place =
            |name: &str| (name == "HOIST_EVENTS").then(|| file.path().to_str().unwrap().to_owned());
        for _ in 0..2 {
            assert!(
                sent(&entries(), None, delivery::place(&place), &place, LIMIT)
                    .await
                    .is_empty()
            );
        }
        let lines = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(lines.lines().count(), 2);
        assert!(
            lines
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
    }

    #[tokio::test]
    async fn places_that_do_not_answer_are_a_warning_each() {
        let (base, _) = receiver(503).await;
        let variables = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(format!("{base}/own")),
            "HOIST_EVENTS" => Some("/nowhere/at/all".to_owned()),
            _ => None,
        };
        let problems = sent(
            &entries(),
            trace::place(&variables),
            delivery::place(&variables),
            &variables,
            LIMIT,
        )
        .await;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("/own: it answered 503"),
            "{problems:?}"
        );
        assert!(problems[1].contains("/nowhere/at/all"), "{problems:?}");
    }

    #[test]
    fn nothing_is_sent_where_nobody_asked() {
        let nothing = |_: &str| None;
        assert_eq!(
            (trace::place(&nothing), delivery::place(&nothing)),
            (None, None)
        );
    }

    #[test]
    fn headers_are_percent_encoded_pairs() {
        assert_eq!(
            headers("authorization=Basic%20eA%3D%3D, x=1,odd"),
            [
                ("authorization".to_owned(), "Basic eA==".to_owned()),
                ("x".to_owned(), "1".to_owned())
            ]
        );
    }
}
