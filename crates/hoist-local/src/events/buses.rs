//! Buses, and what is put onto them.

use serde_json::{Map, Value, json};

use super::handle::invalid;
use super::model::{BUS, Bus};
use super::rules::{bus, paged};
use super::send::publish;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;

/// What is kept of a bus as it was sent.
const SETTINGS: [&str; 3] = ["DeadLetterConfig", "KmsKeyIdentifier", "LogConfig"];

/// The name in the name or the ARN of a bus.
pub fn name_in(given: &str) -> &str {
    given.rsplit('/').next().unwrap_or(given)
}

/// There is no such bus.
pub fn none(given: &str) -> ApiError {
    let name = name_in(given);
    ApiError::new(
        "ResourceNotFoundException",
        format!("Event bus {name} does not exist."),
    )
}

fn arn(ctx: &Ctx, call: &Call, name: &str) -> String {
    ctx.arn("events", &call.region, &format!("event-bus/{name}"))
}

/// A bus as it is listed; the default one has no dates, as nobody made it.
fn shown(ctx: &Ctx, call: &Call, name: &str, kept: Option<&Bus>) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("Name".to_owned(), json!(name));
    out.insert("Arn".to_owned(), json!(arn(ctx, call, name)));
    if let Some(bus) = kept {
        if let Some(description) = &bus.description {
            out.insert("Description".to_owned(), json!(description));
        }
        let times = [
            ("CreationTime", bus.created),
            ("LastModifiedTime", bus.changed),
        ];
        for (name, at) in times {
            out.insert(name.to_owned(), json!(clock::epoch_seconds(at)));
        }
    }
    out
}

/// The members that CreateEventBus and UpdateEventBus answer, and DescribeEventBus among others.
fn settled(bus: &Bus) -> impl Iterator<Item = (String, Value)> {
    let settings = bus.settings.as_object().cloned().unwrap_or_default();
    let description = bus.description.clone().map(Value::from);
    settings
        .into_iter()
        .chain(description.map(|it| ("Description".to_owned(), it)))
}

fn settings(call: &Call) -> Value {
    let given = SETTINGS.iter().filter_map(|name| {
        let value = call.params.get(*name).filter(|it| !it.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    });
    Value::Object(given.collect())
}

pub fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call.str("Name").unwrap_or_default();
    if call.str("EventSourceName").is_some() {
        return Err(ApiError::new(
            "ResourceNotFoundException",
            format!("Event source {name} does not exist."),
        ));
    }
    if name.contains('/') {
        return Err(invalid("Event bus name must not contain '/'."));
    }
    if name == BUS || ctx.events.buses.get(&call.region, name)?.is_some() {
        return Err(ApiError::new(
            "ResourceAlreadyExistsException",
            format!("Event bus {name} already exists."),
        ));
    }
    let now = clock::now();
    let made = Bus {
        name: name.to_owned(),
        description: call.str("Description").map(str::to_owned),
        tags: call.list("Tags").to_vec(),
        settings: settings(call),
        created: now,
        changed: now,
    };
    ctx.events.buses.put(&call.region, name, &made)?;
    let mut out = Map::new();
    out.insert("EventBusArn".to_owned(), json!(arn(ctx, call, name)));
    out.extend(settled(&made));
    Ok(out.into())
}

pub fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = bus(ctx, call, "Name")?;
    let now = clock::now();
    let known = ctx.events.buses.get(&call.region, &name)?;
    let mut changed = known.unwrap_or_else(|| Bus {
        name: name.clone(),
        description: None,
        tags: Vec::new(),
        settings: Value::Null,
        created: now,
        changed: now,
    });
    changed.description = call.str("Description").map(str::to_owned);
    changed.settings = settings(call);
    changed.changed = now;
    ctx.events.buses.put(&call.region, &name, &changed)?;
    let mut out = Map::new();
    out.insert("Arn".to_owned(), json!(arn(ctx, call, &name)));
    out.insert("Name".to_owned(), json!(name));
    out.extend(settled(&changed));
    Ok(out.into())
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call.str("Name").unwrap_or_default();
    if name == BUS {
        return Err(invalid("Cannot delete event bus default."));
    }
    let rules = ctx.events.rules.list(&call.region)?;
    if rules.iter().any(|(_, rule)| rule.bus == name) {
        return Err(invalid("Event bus can't be deleted since it has rules."));
    }
    // Deleting what is not there is no error.
    ctx.events.buses.delete(&call.region, name)?;
    Ok(Value::Null)
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = bus(ctx, call, "Name")?;
    let kept = ctx.events.buses.get(&call.region, &name)?;
    let mut out = shown(ctx, call, &name, kept.as_ref());
    out.extend(kept.iter().flat_map(settled));
    Ok(out.into())
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let prefix = call.str("NamePrefix").unwrap_or_default();
    let kept = ctx.events.buses.list(&call.region)?;
    let mut all: Vec<(&str, Option<&Bus>)> = kept
        .iter()
        .map(|(name, bus)| (name.as_str(), Some(bus)))
        .collect();
    if kept.iter().all(|(name, _)| name != BUS) {
        all.push((BUS, None));
    }
    all.sort_by_key(|(name, _)| *name);
    let fitting = all.into_iter().filter(|(name, _)| name.starts_with(prefix));
    let buses = fitting.map(|(name, bus)| shown(ctx, call, name, bus).into());
    paged(call, buses.collect(), "EventBuses")
}

pub async fn put_events(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (mut answers, mut failed) = (Vec::new(), 0);
    for entry in call.list("Entries") {
        let text = |name: &str| entry[name].as_str().filter(|it| !it.is_empty());
        let refused = |why: &str| json!({"ErrorCode": "InvalidArgument", "ErrorMessage": format!("Parameter {why}")});
        let detail: Option<Value> = text("Detail").and_then(|it| serde_json::from_str(it).ok());
        let answer = match (text("Source"), text("DetailType"), detail) {
            (None, ..) => refused("Source is not valid. Reason: Source is a required argument."),
            (Some(source), ..) if source.starts_with("aws.") => json!({
                "ErrorCode": "NotAuthorizedForSourceException",
                "ErrorMessage": "Not authorized for the source.",
            }),
            (_, None, _) => {
                refused("DetailType is not valid. Reason: DetailType is a required argument.")
            }
            (.., None) if text("Detail").is_none() => {
                refused("Detail is not valid. Reason: Detail is a required argument.")
            }
            (.., None) => {
                json!({"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."})
            }
            (.., Some(detail)) if !detail.is_object() => {
                json!({"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."})
            }
            (Some(source), Some(kind), Some(detail)) => {
                let id = ids::uuid();
                let at = entry["Time"]
                    .as_f64()
                    .map_or_else(clock::now, |seconds| (seconds * 1000.0) as i64);
                let resources = match &entry["Resources"] {
                    Value::Array(all) => all.clone(),
                    _ => Vec::new(),
                };
                let event = json!({
                    "version": "0", "id": id, "detail-type": kind, "source": source, "account": ACCOUNT,
                    "time": clock::iso8601_seconds(at), "region": call.region, "resources": resources, "detail": detail,
                });
                // One that is put onto a bus that is not there is lost without a word (github.com/aws/aws-sdk/issues/186).
                let bus = name_in(text("EventBusName").unwrap_or(BUS));
                publish(ctx, &call.region, bus, &event).await;
                json!({"EventId": id})
            }
        };
        failed += usize::from(answer.get("ErrorCode").is_some());
        answers.push(answer);
    }
    Ok(json!({"FailedEntryCount": failed, "Entries": answers}))
}
