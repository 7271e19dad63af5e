//! Schedules.

use serde_json::{Map, Value, json};

use super::groups;
use super::handle::{conflict, invalid, missing, paged};
use super::model::{GROUP, Schedule};
use super::zone;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::Ctx;
use crate::scaling;

fn names(call: &Call) -> (&str, &str) {
    let group = call.str("GroupName").unwrap_or(GROUP);
    (group, call.str("Name").unwrap_or_default())
}

fn key(group: &str, name: &str) -> String {
    format!("{group}/{name}")
}

/// The members that are kept, once they are known to be good.
fn request(ctx: &Ctx, call: &Call) -> Result<Map<String, Value>, ApiError> {
    let mut kept = call.params.as_object().cloned().unwrap_or_default();
    for own in ["Name", "GroupName", "ClientToken"] {
        kept.remove(own);
    }
    kept.retain(|_, value| !value.is_null());
    let expression = call.str("ScheduleExpression").unwrap_or_default();
    let zone = call.str("ScheduleExpressionTimezone").unwrap_or("UTC");
    let zone = zone::find(zone).ok_or_else(|| invalid("Invalid Schedule Expression Timezone."))?;
    if scaling::Schedule::parse_in(expression, &zone).is_none() {
        return Err(invalid(format!(
            "Invalid Schedule Expression {expression}."
        )));
    }
    let window = &kept["FlexibleTimeWindow"];
    let minutes = &window["MaximumWindowInMinutes"];
    match window["Mode"].as_str() {
        Some("OFF") if !minutes.is_null() => {
            return Err(invalid(
                "MaximumWindowInMinutes can only be set when FlexibleTimeWindow is set to FLEXIBLE.",
            ));
        }
        Some("FLEXIBLE") if minutes.is_null() => {
            return Err(invalid(
                "MaximumWindowInMinutes must be set when FlexibleTimeWindow is set to FLEXIBLE.",
            ));
        }
        _ => {}
    }
    let target = &kept["Target"];
    let arn = target["Arn"].as_str().unwrap_or_default();
    let cluster = format!("arn:aws:ecs:{}:", call.region);
    if !(arn.starts_with(&cluster) && arn.contains(":cluster/")) {
        return Err(invalid(format!(
            "Provided Arn {arn} is not something that the embedded AWS starts: it runs tasks of ECS"
        )));
    }
    if target["EcsParameters"].is_null() {
        return Err(invalid("EcsParameters must be specified for ECS targets."));
    }
    role(ctx, target["RoleArn"].as_str().unwrap_or_default())?;
    Ok(kept)
}

/// The role must let the Scheduler assume it.
fn role(ctx: &Ctx, arn: &str) -> Result<(), ApiError> {
    if ctx.iam.trusts(arn, "scheduler.amazonaws.com")? {
        return Ok(());
    }
    Err(invalid(
        "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
    ))
}

pub fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (group, name) = names(call);
    groups::find(ctx, &call.region, group)?;
    let request = request(ctx, call)?;
    let token = call.str("ClientToken").map(str::to_owned);
    if let Some(old) = ctx
        .scheduler
        .schedules
        .get(&call.region, &key(group, name))?
    {
        if token.is_some() && token == old.client_token && old.request == request {
            return Ok(json!({"ScheduleArn": old.arn}));
        }
        return Err(conflict(format!("Schedule {name} already exists.")));
    }
    let now = clock::now();
    let schedule = Schedule {
        name: name.to_owned(),
        group: group.to_owned(),
        arn: ctx.arn(
            "scheduler",
            &call.region,
            &format!("schedule/{group}/{name}"),
        ),
        request,
        client_token: token,
        created: now,
        changed: now,
        done: None,
    };
    keep(ctx, call, &schedule)
}

fn keep(ctx: &Ctx, call: &Call, schedule: &Schedule) -> Result<Value, ApiError> {
    let key = key(&schedule.group, &schedule.name);
    ctx.scheduler.schedules.put(&call.region, &key, schedule)?;
    ctx.events.changed.notify_one();
    Ok(json!({"ScheduleArn": schedule.arn}))
}

fn find(ctx: &Ctx, call: &Call) -> Result<Schedule, ApiError> {
    let (group, name) = names(call);
    let found = ctx
        .scheduler
        .schedules
        .get(&call.region, &key(group, name))?;
    found.ok_or_else(|| missing(format!("Schedule {name} does not exist.")))
}

pub fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let old = find(ctx, call)?;
    let now = clock::now();
    // What the call leaves out goes back to its default (API reference, UpdateSchedule).
    let schedule = Schedule {
        request: request(ctx, call)?,
        changed: now,
        done: Some(now),
        ..old
    };
    keep(ctx, call, &schedule)
}

pub fn get(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let found = find(ctx, call)?;
    let mut out = found.request.clone();
    for (name, default) in [
        ("State", "ENABLED"),
        ("ScheduleExpressionTimezone", "UTC"),
        ("ActionAfterCompletion", "NONE"),
    ] {
        out.entry(name).or_insert_with(|| default.into());
    }
    let target = out.entry("Target").or_insert_with(|| json!({}));
    if target["RetryPolicy"].is_null() {
        target["RetryPolicy"] =
            json!({"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185});
    }
    if target["EcsParameters"]["TaskCount"].is_null() {
        target["EcsParameters"]["TaskCount"] = 1.into();
    }
    out.extend(summary(&found));
    Ok(out.into())
}

/// What a list has of a schedule, besides state and target.
fn summary(it: &Schedule) -> Map<String, Value> {
    Map::from_iter([
        ("Arn".to_owned(), it.arn.clone().into()),
        ("GroupName".to_owned(), it.group.clone().into()),
        ("Name".to_owned(), it.name.clone().into()),
        ("CreationDate".to_owned(), clock::epoch_seconds(it.created)),
        (
            "LastModificationDate".to_owned(),
            clock::epoch_seconds(it.changed),
        ),
    ])
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let found = find(ctx, call)?;
    let key = key(&found.group, &found.name);
    ctx.scheduler.schedules.delete(&call.region, &key)?;
    Ok(json!({}))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    if let Some(group) = call.str("GroupName") {
        groups::find(ctx, &call.region, group)?;
    }
    let prefix = call.str("NamePrefix").unwrap_or_default();
    let mut found = Vec::new();
    for (_, it) in ctx.scheduler.schedules.list(&call.region)? {
        let state = it.request.get("State").and_then(Value::as_str);
        let state = state.unwrap_or("ENABLED");
        let fits = it.name.starts_with(prefix)
            && call.str("GroupName").is_none_or(|group| group == it.group)
            && call.str("State").is_none_or(|wanted| wanted == state);
        if fits {
            let mut shown = summary(&it);
            shown.insert("State".to_owned(), state.into());
            let target = it.request.get("Target").and_then(|it| it.get("Arn"));
            shown.insert("Target".to_owned(), json!({"Arn": target}));
            found.push(shown.into());
        }
    }
    paged(call, found, "Schedules")
}
