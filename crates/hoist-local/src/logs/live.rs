//! StartLiveTail: events as they come, over the event stream encoding (see "Event stream encoding" of the Smithy specification).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::handle::{invalid, name_of};
use super::pattern::Pattern;
use super::store::LogsError;
use super::stream::Event;
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::ids;
use crate::logs::Logs;

/// Updates come once a second, with at most so many events (API reference, StartLiveTail).
const MOST: usize = 500;
const SECOND: Duration = Duration::from_secs(1);
/// A session ends after three hours.
const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// A session reads at most so many groups.
const GROUPS: usize = 10;

/// Events that were just kept.
#[derive(Debug)]
pub struct Kept {
    pub region: String,
    pub group: String,
    pub stream: String,
    pub events: Vec<Event>,
}

/// Checks a call; the answer is what the session begins with, and goes to [`session`].
pub fn start(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let groups = call.strings("logGroupIdentifiers");
    if groups.is_empty() || groups.len() > GROUPS {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logGroupIdentifiers' failed to satisfy constraint: Member must have length between 1 and {GROUPS}"
        )));
    }
    let (names, prefixes) = (
        call.strings("logStreamNames"),
        call.strings("logStreamNamePrefixes"),
    );
    if !names.is_empty() && !prefixes.is_empty() {
        return Err(invalid(
            "logStreamNames and logStreamNamePrefixes cannot both be specified",
        ));
    }
    if groups.len() > 1 && !(names.is_empty() && prefixes.is_empty()) {
        return Err(invalid(
            "logStreamNames and logStreamNamePrefixes can only be specified with one log group",
        ));
    }
    for arn in &groups {
        let name = name_of(arn)
            .filter(|_| !arn.ends_with('*'))
            .ok_or_else(|| invalid("The specified log group identifier is not a valid ARN."))?;
        logs.group(&call.region, name)?.ok_or(LogsError::NoGroup)?;
    }
    let pattern = call.str("logEventFilterPattern").unwrap_or_default();
    Pattern::parse(pattern).ok_or_else(|| invalid("Invalid filter pattern"))?;
    Ok(json!({
        "requestId": call.request_id,
        "sessionId": ids::uuid(),
        "logGroupIdentifiers": groups,
        "logStreamNames": names,
        "logStreamNamePrefixes": prefixes,
        "logEventFilterPattern": pattern,
    }))
}

struct Session {
    began: Value,
    region: String,
    groups: Vec<String>,
    pattern: Option<Pattern>,
    kept: Receiver<Arc<Kept>>,
    ready: VecDeque<Bytes>,
    ticks: Interval,
    end: Instant,
    stopping: CancellationToken,
    over: bool,
}

/// The answer to a StartLiveTail that [`start`] let through: a stream that ends when the client, the daemon or three hours are gone.
pub fn session(
    logs: &Logs,
    region: &str,
    began: Value,
    stopping: CancellationToken,
) -> Response<Body> {
    let strings = |name: &str| -> Vec<String> {
        let all = began[name].as_array().into_iter().flatten();
        all.filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let groups = strings("logGroupIdentifiers");
    let mut ticks = tokio::time::interval_at(Instant::now() + SECOND, SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let session = Session {
        groups: groups
            .iter()
            .filter_map(|arn| name_of(arn).map(str::to_owned))
            .collect(),
        region: region.to_owned(),
        pattern: Pattern::parse(began["logEventFilterPattern"].as_str().unwrap_or_default()),
        kept: logs.listen(),
        ready: VecDeque::from([
            message("event", "initial-response", &json!({})),
            message("event", "sessionStart", &began),
        ]),
        began,
        ticks,
        end: Instant::now() + LONGEST,
        stopping,
        over: false,
    };
    let stream = futures_util::stream::unfold(session, |mut session| async move {
        let next = session.next().await?;
        Some((Ok::<_, std::io::Error>(next), session))
    });
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.amazon.eventstream"),
    );
    response
}

impl Session {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        if self.over {
            return None;
        }
        tokio::select! {
            () = self.stopping.cancelled() => return None,
            _ = self.ticks.tick() => {}
        }
        if Instant::now() >= self.end {
            self.over = true;
            let why = json!({"message": "The session timed out after 3 hours."});
            return Some(message("exception", "SessionTimeoutException", &why));
        }
        Some(self.update())
    }

    fn update(&mut self) -> Bytes {
        let (mut results, mut sampled) = (Vec::new(), false);
        loop {
            let kept = match self.kept.try_recv() {
                Ok(kept) => kept,
                Err(TryRecvError::Lagged(_)) => {
                    sampled = true;
                    continue;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            if kept.region != self.region
                || !self.groups.contains(&kept.group)
                || !self.reads(&kept.stream)
            {
                continue;
            }
            for event in &kept.events {
                if !self
                    .pattern
                    .as_ref()
                    .is_none_or(|it| it.matches(&event.message))
                {
                    continue;
                }
                if results.len() == MOST {
                    sampled = true;
                    break;
                }
                results.push(json!({
                    "logStreamName": kept.stream,
                    "logGroupIdentifier": format!("{ACCOUNT}:{}", kept.group),
                    "message": event.message,
                    "timestamp": event.timestamp,
                    "ingestionTime": event.ingestion,
                }));
            }
        }
        let update = json!({"sessionMetadata": {"sampled": sampled}, "sessionResults": results});
        message("event", "sessionUpdate", &update)
    }

    fn reads(&self, stream: &str) -> bool {
        let texts = |name: &str| self.began[name].as_array().map_or(&[][..], Vec::as_slice);
        let (names, prefixes) = (texts("logStreamNames"), texts("logStreamNamePrefixes"));
        (names.is_empty() || names.iter().any(|it| *it == stream))
            && (prefixes.is_empty()
                || prefixes
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|it| stream.starts_with(it)))
    }
}

/// One message: lengths, headers, payload, and checksums of both parts.
fn message(kind: &str, name: &str, payload: &Value) -> Bytes {
    let mut headers = Vec::new();
    for (key, value) in [
        (format!(":{kind}-type"), name),
        (":content-type".to_owned(), "application/json"),
        (":message-type".to_owned(), kind),
    ] {
        headers.push(key.len() as u8);
        headers.extend(key.as_bytes());
        // 7 is a text.
        headers.push(7);
        headers.extend((value.len() as u16).to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let payload = payload.to_string();
    let whole = 12 + headers.len() + payload.len() + 4;
    let mut out = Vec::with_capacity(whole);
    out.extend((whole as u32).to_be_bytes());
    out.extend((headers.len() as u32).to_be_bytes());
    out.extend(checksum(&out).to_be_bytes());
    out.extend(headers);
    out.extend(payload.as_bytes());
    out.extend(checksum(&out).to_be_bytes());
    out.into()
}

/// CRC-32, as in gzip.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let message = message("event", "sessionStart", &json!({}));
        assert_eq!(message[..4], (message.len() as u32).to_be_bytes());
        assert_eq!(message[message.len() - 6..message.len() - 4], *b"{}");
    }
}
