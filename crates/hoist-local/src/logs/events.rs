use serde::Deserialize;
use serde_json::{Value, json};

use super::handle::{group_name, invalid, number, required};
use super::pattern::Pattern;
use super::store::{LogsError, lock};
use super::stream::Event;
use crate::api::{ApiError, Call};
use crate::clock::{self, Millis};
use crate::logs::Logs;

/// Sequence tokens are no longer needed and always valid; this one is answered.
pub const SEQUENCE: &str = "49600000000000000000000000000000000000000000000000000000";

const HOUR: Millis = 3_600_000;
/// Bytes that one answer holds at most.
const PAGE: usize = 1 << 20;

#[derive(Deserialize)]
struct Sent {
    timestamp: Millis,
    message: String,
}

pub async fn put(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let (group, stream) = (
        required(call, "logGroupName")?,
        required(call, "logStreamName")?,
    );
    let sent: Vec<Sent> = match call.params.get("logEvents") {
        Some(events) => {
            Vec::deserialize(events).map_err(|error| ApiError::serialization(error.to_string()))?
        }
        None => Vec::new(),
    };
    if sent.is_empty() || sent.len() > 10_000 {
        let count = sent.len();
        let (which, bound) = if sent.is_empty() {
            ("greater", 1)
        } else {
            ("less", 10_000)
        };
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length {which} than or equal to {bound}, was {count}"
        )));
    }
    if let Some(at) = sent.iter().position(|event| event.message.is_empty()) {
        return Err(invalid(format!(
            "1 validation error detected: Value '' at 'logEvents.{}.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1",
            at + 1
        )));
    }
    // The service counts 26 bytes for each event besides its text.
    let size: usize = sent.iter().map(|event| event.message.len() + 26).sum();
    if size > PAGE {
        return Err(invalid("Upload too large: bytes exceed limit of 1048576"));
    }
    if sent
        .windows(2)
        .any(|pair| pair[0].timestamp > pair[1].timestamp)
    {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let span = sent.last().map_or(0, |last| last.timestamp)
        - sent.first().map_or(0, |first| first.timestamp);
    if span > 24 * HOUR {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let now = clock::now();
    let retention = {
        let found = logs.group(&call.region, group)?.ok_or(LogsError::NoGroup)?;
        let found = lock(&found);
        if !found.streams.contains_key(stream) {
            return Err(LogsError::NoStream.into());
        }
        found.settings.retention_days
    };
    let before = |limit: Millis| {
        sent.iter()
            .take_while(|event| event.timestamp < limit)
            .count()
    };
    let too_old = before(now - 14 * 24 * HOUR);
    let expired = retention.map_or(0, |days| before(now - days * 24 * HOUR));
    let too_new = before(now + 2 * HOUR + 1);
    let mut rejected = serde_json::Map::new();
    if too_new < sent.len() {
        rejected.insert("tooNewLogEventStartIndex".into(), too_new.into());
    }
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".into(), too_old.into());
    }
    if expired > 0 {
        rejected.insert("expiredLogEventEndIndex".into(), expired.into());
    }
    let first = too_old.max(expired);
    let kept = sent
        .into_iter()
        .enumerate()
        .filter(|(at, _)| (first..too_new).contains(at));
    let kept: Vec<_> = kept
        .map(|(_, event)| (event.timestamp, event.message))
        .collect();
    if !kept.is_empty() {
        logs.append(&call.region, group, stream, kept).await?;
    }
    let mut answer = json!({"nextSequenceToken": SEQUENCE});
    if !rejected.is_empty() {
        answer["rejectedLogEventsInfo"] = rejected.into();
    }
    Ok(answer)
}

/// The span of a call: from `startTime` on, to before `endTime`.
fn span(call: &Call) -> Result<impl Fn(&Event) -> bool, ApiError> {
    let start = number(call, "startTime", 0, i64::MAX)?.unwrap_or(0);
    let end = number(call, "endTime", 0, i64::MAX)?.unwrap_or(i64::MAX);
    Ok(move |event: &Event| (start..end).contains(&event.timestamp))
}

fn limit(call: &Call) -> Result<usize, ApiError> {
    Ok(usize::try_from(number(call, "limit", 1, 10_000)?.unwrap_or(10_000)).unwrap_or(10_000))
}

/// How many events from the front of `events` fit in one answer.
fn fitting<'a>(events: impl Iterator<Item = &'a Event>, limit: usize) -> usize {
    let mut size = 0;
    let fits = |event: &&Event| {
        size += event.message.len() + 26;
        size <= PAGE
    };
    // One event always fits.
    events.take(limit).take_while(fits).count().max(1)
}

pub fn get(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let group = logs
        .group(&call.region, group_name(call)?)?
        .ok_or(LogsError::NoGroup)?;
    let within = span(call)?;
    let limit = limit(call)?;
    let mut events = {
        let group = lock(&group);
        let stream = group
            .streams
            .get(required(call, "logStreamName")?)
            .ok_or(LogsError::NoStream)?;
        stream.read().map_err(|source| logs.disk(source))?
    };
    events.retain(within);
    let token = call.str("nextToken").map(parse_token).transpose()?;
    let mut at = 0;
    let page: Vec<Event> = match token {
        Some((Direction::Forward, id)) => {
            events.retain(|event| event.id() > id);
            at = id;
            let fitting = fitting(events.iter(), limit);
            events.into_iter().take(fitting).collect()
        }
        Some((Direction::Backward, id)) => {
            events.retain(|event| event.id() < id);
            at = id;
            let skipped = events.len() - fitting(events.iter().rev(), limit).min(events.len());
            events.into_iter().skip(skipped).collect()
        }
        None if call.boolean("startFromHead") == Some(true) => {
            let fitting = fitting(events.iter(), limit);
            events.into_iter().take(fitting).collect()
        }
        None => {
            let skipped = events.len() - fitting(events.iter().rev(), limit).min(events.len());
            events.into_iter().skip(skipped).collect()
        }
    };
    // At the end of the stream the token that was sent comes back.
    let first = page.first().map_or(at, Event::id);
    let last = page.last().map_or(at, Event::id);
    let shown = |event: &Event| json!({"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingestion});
    Ok(json!({
        "events": page.iter().map(shown).collect::<Vec<_>>(),
        "nextForwardToken": format!("f/{last:056}/s"),
        "nextBackwardToken": format!("b/{first:056}/s"),
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

fn parse_token(token: &str) -> Result<(Direction, u128), ApiError> {
    let (direction, rest) = match token.split_at_checked(2) {
        Some(("f/", rest)) => (Direction::Forward, rest),
        Some(("b/", rest)) => (Direction::Backward, rest),
        _ => return Err(bad_token()),
    };
    let id = rest
        .strip_suffix("/s")
        .and_then(|id| id.parse().ok())
        .ok_or_else(bad_token)?;
    Ok((direction, id))
}

fn bad_token() -> ApiError {
    invalid("The specified nextToken is invalid.")
}

pub fn filter(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let group = logs
        .group(&call.region, group_name(call)?)?
        .ok_or(LogsError::NoGroup)?;
    let within = span(call)?;
    let limit = limit(call)?;
    let pattern = Pattern::parse(call.str("filterPattern").unwrap_or_default())
        .ok_or_else(|| invalid("Invalid filter pattern"))?;
    let (names, prefix) = (
        call.strings("logStreamNames"),
        call.str("logStreamNamePrefix"),
    );
    if !names.is_empty() && prefix.is_some() {
        return Err(invalid(
            "Cannot specify both logStreamNames and logStreamNamePrefix.",
        ));
    }
    let after: u128 = match call.str("nextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| bad_token())?,
    };
    let mut found: Vec<(String, Event)> = Vec::new();
    {
        let group = lock(&group);
        for name in &names {
            if !group.streams.contains_key(*name) {
                return Err(LogsError::NoStream.into());
            }
        }
        for (name, stream) in &group.streams {
            let wanted = names.is_empty() || names.contains(&name.as_str());
            if !wanted || prefix.is_some_and(|prefix| !name.starts_with(prefix)) {
                continue;
            }
            let events = stream.read().map_err(|source| logs.disk(source))?;
            let events = events
                .into_iter()
                .filter(|e| e.id() > after && within(e) && pattern.matches(&e.message));
            found.extend(events.map(|event| (name.clone(), event)));
        }
    }
    found.sort_by_key(|(_, event)| event.id());
    let fitting = fitting(found.iter().map(|(_, event)| event), limit);
    let more = found.len() > fitting;
    found.truncate(fitting);
    let shown = |(stream, event): &(String, Event)| {
        json!({
            "logStreamName": stream,
            "timestamp": event.timestamp,
            "message": event.message,
            "ingestionTime": event.ingestion,
            "eventId": format!("{:056}", event.id()),
        })
    };
    let mut answer =
        json!({"events": found.iter().map(shown).collect::<Vec<_>>(), "searchedLogStreams": []});
    if let Some((_, last)) = found.last().filter(|_| more) {
        answer["nextToken"] = format!("{:056}", last.id()).into();
    }
    Ok(answer)
}
