//! Rules.

use serde_json::{Map, Value, json};

use super::handle::invalid;
use super::model::{BUS, Rule};
use super::pattern::Pattern;
use crate::api::{ApiError, Call, page};
use crate::clock;
use crate::ctx::Ctx;
use crate::scaling::Schedule;

/// Refuses any bus but the default one.
pub fn bus(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let given = call.str("EventBusName").unwrap_or(BUS);
    if given == BUS || given == ctx.arn("events", &call.region, "event-bus/default") {
        return Ok(());
    }
    Err(no_bus(given))
}

/// There is no such bus.
pub fn no_bus(name: &str) -> ApiError {
    let name = name.rsplit('/').next().unwrap_or(name);
    ApiError::new(
        "ResourceNotFoundException",
        format!("Event bus {name} does not exist."),
    )
}

/// The rule that a call names under `member`.
pub fn find(ctx: &Ctx, call: &Call, member: &str) -> Result<Rule, ApiError> {
    bus(ctx, call)?;
    let name = call.str(member).unwrap_or_default();
    let found = ctx.events.rules.get(&call.region, name)?;
    found.ok_or_else(|| no_rule(name))
}

fn no_rule(name: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        format!("Rule {name} does not exist on EventBus {BUS}."),
    )
}

/// Writes a rule.
pub fn keep(ctx: &Ctx, call: &Call, rule: &Rule) -> Result<(), ApiError> {
    ctx.events.rules.put(&call.region, &rule.name, rule)?;
    Ok(ctx.events.look()?)
}

pub fn put(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    bus(ctx, call)?;
    let name = call.str("Name").unwrap_or_default();
    let text = |member: &str| call.str(member).map(str::to_owned);
    let (pattern, schedule) = (text("EventPattern"), text("ScheduleExpression"));
    if pattern.is_none() && schedule.is_none() {
        return Err(invalid(
            "Parameter(s) EventPattern or ScheduleExpression must be specified.",
        ));
    }
    if let Some(pattern) = &pattern {
        parse(pattern)?;
    }
    if let Some(schedule) = &schedule
        && !is_schedule(schedule)
    {
        return Err(invalid("Parameter ScheduleExpression is not valid."));
    }
    let old = ctx.events.rules.get(&call.region, name)?;
    let now = clock::now();
    let rule = Rule {
        name: name.to_owned(),
        arn: ctx.arn("events", &call.region, &format!("rule/{name}")),
        pattern,
        enabled: call.str("State") != Some("DISABLED"),
        description: text("Description"),
        role: text("RoleArn"),
        // Tags of a call that updates a rule are ignored (API reference, PutRule).
        tags: match &old {
            Some(old) => old.tags.clone(),
            None => call.list("Tags").to_vec(),
        },
        targets: old
            .as_ref()
            .map(|it| it.targets.clone())
            .unwrap_or_default(),
        created: match &old {
            Some(old) if old.schedule == schedule => old.created,
            _ => now,
        },
        done: old
            .filter(|old| old.schedule == schedule)
            .and_then(|old| old.done),
        schedule,
    };
    keep(ctx, call, &rule)?;
    Ok(json!({"RuleArn": rule.arn}))
}

/// Whether it is what a rule may have: a rate, with its unit in the right number, or cron.
fn is_schedule(text: &str) -> bool {
    let text = text.trim();
    let rate = text
        .strip_prefix("rate(")
        .and_then(|it| it.strip_suffix(')'));
    let number = rate.is_none_or(|rate| rate.starts_with("1 ") != rate.ends_with('s'));
    !text.starts_with("at") && number && Schedule::parse(text).is_some()
}

fn parse(pattern: &str) -> Result<Pattern, ApiError> {
    Pattern::parse(pattern).map_err(|why| {
        ApiError::new(
            "InvalidEventPatternException",
            format!("Event pattern is not valid. Reason: {why}"),
        )
    })
}

fn shown(rule: &Rule) -> Map<String, Value> {
    let mut out = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    add("Name", Some(json!(rule.name)));
    add("Arn", Some(json!(rule.arn)));
    add("EventPattern", text(&rule.pattern));
    add("ScheduleExpression", text(&rule.schedule));
    let state = if rule.enabled { "ENABLED" } else { "DISABLED" };
    add("State", Some(json!(state)));
    add("Description", text(&rule.description));
    add("RoleArn", text(&rule.role));
    add("EventBusName", Some(json!(BUS)));
    out
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut out = shown(&find(ctx, call, "Name")?);
    out.insert("CreatedBy".to_owned(), json!(crate::ACCOUNT));
    Ok(out.into())
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    bus(ctx, call)?;
    let prefix = call.str("NamePrefix").unwrap_or_default();
    let all = ctx.events.rules.list(&call.region)?;
    let found = all
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(_, rule)| shown(&rule).into());
    paged(call, found.collect(), "Rules")
}

/// One page of `items` under `member`.
pub fn paged(call: &Call, items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = usize::try_from(call.integer("Limit").unwrap_or(100)).unwrap_or(100);
    page(call, items, member, size, || {
        invalid("Parameter NextToken is not valid.")
    })
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    bus(ctx, call)?;
    let name = call.str("Name").unwrap_or_default();
    let Some(rule) = ctx.events.rules.get(&call.region, name)? else {
        // Deleting what is not there is no error.
        return Ok(Value::Null);
    };
    if !rule.targets.is_empty() {
        return Err(invalid("Rule can't be deleted since it has targets."));
    }
    ctx.events.rules.delete(&call.region, name)?;
    ctx.events.look()?;
    Ok(Value::Null)
}

pub fn enable(ctx: &Ctx, call: &Call, enabled: bool) -> Result<Value, ApiError> {
    let mut rule = find(ctx, call, "Name")?;
    if enabled && !rule.enabled {
        // What would have been due meanwhile is not made up for.
        rule.done = Some(clock::now());
    }
    rule.enabled = enabled;
    keep(ctx, call, &rule)?;
    Ok(Value::Null)
}

fn by_arn(ctx: &Ctx, call: &Call) -> Result<Rule, ApiError> {
    let arn = call.str("ResourceARN").unwrap_or_default();
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let found = ctx.events.rules.get(&call.region, name)?;
    found
        .filter(|rule| rule.arn == arn)
        .ok_or_else(|| no_rule(name))
}

pub fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut rule = by_arn(ctx, call)?;
    for tag in call.list("Tags") {
        rule.tags.retain(|old| old["Key"] != tag["Key"]);
        rule.tags.push(tag.clone());
    }
    keep(ctx, call, &rule)?;
    Ok(json!({}))
}

pub fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut rule = by_arn(ctx, call)?;
    let keys = call.strings("TagKeys");
    rule.tags
        .retain(|tag| !keys.iter().any(|key| tag["Key"] == *key));
    keep(ctx, call, &rule)?;
    Ok(json!({}))
}

pub fn tags(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Tags": by_arn(ctx, call)?.tags}))
}

pub fn test(call: &Call) -> Result<Value, ApiError> {
    let pattern = parse(call.str("EventPattern").unwrap_or_default())?;
    let event: Value = serde_json::from_str(call.str("Event").unwrap_or_default())
        .map_err(|_| invalid("Parameter Event is not valid."))?;
    Ok(json!({"Result": pattern.matches(&event)}))
}
