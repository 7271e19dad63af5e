use serde_json::{Value, json};

use super::handle::{arn, group_name, invalid, number, required};
use super::store::{LogsError, lock};
use super::stream::Stream;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::logs::Logs;

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.chars().count() <= 512 && !name.contains([':', '*']) {
        return Ok(());
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{name}' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*"
    )))
}

pub fn create(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "logStreamName")?;
    check_name(name)?;
    let group = logs
        .group(&call.region, required(call, "logGroupName")?)?
        .ok_or(LogsError::NoGroup)?;
    if !lock(&group)
        .create_stream(name, clock::now())
        .map_err(|source| logs.disk(source))?
    {
        return Err(ApiError::new(
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        ));
    }
    Ok(Value::Null)
}

pub fn delete(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "logStreamName")?;
    let group = logs
        .group(&call.region, required(call, "logGroupName")?)?
        .ok_or(LogsError::NoGroup)?;
    if !lock(&group)
        .delete_stream(name)
        .map_err(|source| logs.disk(source))?
    {
        return Err(LogsError::NoStream.into());
    }
    Ok(Value::Null)
}

pub fn describe(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let name = group_name(call)?;
    let group = logs.group(&call.region, name)?.ok_or(LogsError::NoGroup)?;
    let group = lock(&group);
    let prefix = call.str("logStreamNamePrefix");
    let by_time = match call.str("orderBy") {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    if by_time && prefix.is_some() {
        return Err(invalid(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let limit = usize::try_from(number(call, "limit", 1, 50)?.unwrap_or(50)).unwrap_or(50);
    let mut streams: Vec<&Stream> = group
        .streams
        .values()
        .filter(|s| prefix.is_none_or(|prefix| s.described.name.starts_with(prefix)))
        .collect();
    if by_time {
        streams.sort_by_key(|stream| stream.last_event);
    }
    if call.boolean("descending") == Some(true) {
        streams.reverse();
    }
    let start = match call.str("nextToken") {
        None => 0,
        Some(token) => streams
            .iter()
            .position(|stream| stream.described.name == token)
            .map(|at| at + 1)
            .ok_or_else(|| invalid("The specified nextToken is invalid."))?,
    };
    let shown = |stream: &&Stream| {
        let described = &stream.described;
        let mut shown = json!({
            "logStreamName": described.name,
            "creationTime": described.created,
            "arn": format!("{}:log-stream:{}", arn(&call.region, name), described.name),
            "storedBytes": 0,
            "uploadSequenceToken": super::events::SEQUENCE,
        });
        let times = [
            ("firstEventTimestamp", stream.first_event),
            ("lastEventTimestamp", stream.last_event),
            ("lastIngestionTime", stream.last_ingestion),
        ];
        for (member, time) in times {
            if let Some(time) = time {
                shown[member] = time.into();
            }
        }
        shown
    };
    let page: Vec<Value> = streams.iter().skip(start).take(limit).map(shown).collect();
    let more = streams.len() > start + page.len();
    let last = page
        .last()
        .and_then(|last| last["logStreamName"].as_str())
        .map(str::to_owned);
    let mut answer = json!({"logStreams": page});
    if let Some(last) = last.filter(|_| more) {
        answer["nextToken"] = last.into();
    }
    Ok(answer)
}
