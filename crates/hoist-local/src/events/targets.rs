//! Targets of rules.

use serde_json::{Value, json};

use super::handle::invalid;
use super::rules::{bus, find, keep, paged};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// A rule has at most so many targets (EventBridge quotas).
const MOST: usize = 5;

/// What a target is, by its ARN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    LogGroup,
    Cluster,
    Bus,
}

/// What an ARN is as a target; `None` if nothing comes of it here.
pub fn kind(arn: &str) -> Option<Kind> {
    let mut parts = arn.splitn(6, ':').skip(2);
    let (service, rest) = (parts.next()?, parts.nth(2)?);
    match service {
        "logs" if rest.starts_with("log-group:") => Some(Kind::LogGroup),
        "events" if rest.starts_with("event-bus/") => Some(Kind::Bus),
        "ecs" if rest.starts_with("cluster/") => Some(Kind::Cluster),
        _ => None,
    }
}

pub fn put(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut rule = find(ctx, call, "Rule")?;
    let mut failed = Vec::new();
    for target in call.list("Targets") {
        let text = |name: &str| target[name].as_str().unwrap_or_default();
        let ways = ["Input", "InputPath", "InputTransformer"];
        if ways.iter().filter(|name| !target[**name].is_null()).count() > 1 {
            return Err(invalid(format!(
                "Only one of Input, InputPath, or InputTransformer must be provided for target {}.",
                text("Id")
            )));
        }
        let refused = match kind(text("Arn")) {
            None => Some(format!(
                "{} is not something that the embedded AWS sends events to",
                text("Arn")
            )),
            Some(Kind::Cluster) if text("RoleArn").is_empty() => {
                return Err(invalid(format!(
                    "RoleArn is required for target {}.",
                    text("Arn")
                )));
            }
            Some(Kind::Cluster) if target["EcsParameters"].is_null() => {
                return Err(invalid(format!(
                    "EcsParameters is required for target {}.",
                    text("Arn")
                )));
            }
            Some(_) => None,
        };
        if let Some(why) = refused {
            failed.push(json!({
                "TargetId": target["Id"], "ErrorCode": "ValidationException", "ErrorMessage": why,
            }));
            continue;
        }
        rule.targets.retain(|old| old["Id"] != target["Id"]);
        rule.targets.push(target.clone());
    }
    if rule.targets.len() > MOST {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    keep(ctx, call, &rule)?;
    Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
}

pub fn remove(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut rule = find(ctx, call, "Rule")?;
    let mut failed = Vec::new();
    for id in call.strings("Ids") {
        let before = rule.targets.len();
        rule.targets.retain(|target| target["Id"] != id);
        if rule.targets.len() == before {
            failed.push(json!({
                "TargetId": id, "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": format!("Rule {} does not have a target with the Id {id}.", rule.name),
            }));
        }
    }
    keep(ctx, call, &rule)?;
    Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    paged(call, find(ctx, call, "Rule")?.targets, "Targets")
}

pub fn rules(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let bus = bus(ctx, call, "EventBusName")?;
    let arn = call.str("TargetArn").unwrap_or_default();
    let all = ctx.events.rules.list(&call.region)?;
    let found = all
        .into_iter()
        .filter(|(_, rule)| {
            rule.bus == bus && rule.targets.iter().any(|target| target["Arn"] == arn)
        })
        .map(|(_, rule)| rule.name.into());
    paged(call, found.collect(), "RuleNames")
}
