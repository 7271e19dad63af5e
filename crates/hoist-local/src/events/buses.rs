//! The default bus, and what is put onto it.

use serde_json::{Value, json};

use super::model::BUS;
use super::rules::{bus, no_bus};
use super::send::publish;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;

fn shown(ctx: &Ctx, call: &Call) -> Value {
    json!({"Name": BUS, "Arn": ctx.arn("events", &call.region, "event-bus/default")})
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let given = call.str("Name").unwrap_or(BUS);
    if given != BUS && given != ctx.arn("events", &call.region, "event-bus/default") {
        return Err(no_bus(given));
    }
    Ok(shown(ctx, call))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    bus(ctx, call)?;
    let fits = BUS.starts_with(call.str("NamePrefix").unwrap_or_default());
    let buses: Vec<Value> = fits.then(|| shown(ctx, call)).into_iter().collect();
    Ok(json!({"EventBuses": buses}))
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
                publish(ctx, &call.region, &event).await;
                json!({"EventId": id})
            }
        };
        failed += usize::from(answer.get("ErrorCode").is_some());
        answers.push(answer);
    }
    Ok(json!({"FailedEntryCount": failed, "Entries": answers}))
}
