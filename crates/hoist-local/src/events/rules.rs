//! Rules.

use serde_json::{Map, Value, json};

use super::buses;
use super::handle::invalid;
use super::model::{BUS, Bus, Rule, key};
use super::pattern::Pattern;
use crate::api::{ApiError, Call, page};
use crate::clock;
use crate::ctx::Ctx;
use crate::scaling::Schedule;

/// The name of the bus that a call names under `member`, by its name or ARN; the default one if it names none.
///
/// # Errors
/// `ResourceNotFoundException` if there is no such bus.
pub fn bus(ctx: &Ctx, call: &Call, member: &str) -> Result<String, ApiError> {
    let given = call.str(member).unwrap_or(BUS);
    let name = buses::name_in(given);
    let here = ctx.arn("events", &call.region, &format!("event-bus/{name}"));
    let known = name == BUS || ctx.events.buses.get(&call.region, name)?.is_some();
    if known && (given == name || given == here) {
        return Ok(name.to_owned());
    }
    Err(buses::none(given))
}

/// The rule that a call names under `member`.
pub fn find(ctx: &Ctx, call: &Call, member: &str) -> Result<Rule, ApiError> {
    let bus = bus(ctx, call, "EventBusName")?;
    let name = call.str(member).unwrap_or_default();
    let found = ctx.events.rules.get(&call.region, &key(&bus, name))?;
    found.ok_or_else(|| no_rule(name, &bus))
}

fn no_rule(name: &str, bus: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        format!("Rule {name} does not exist on EventBus {bus}."),
    )
}

/// Writes a rule.
pub fn keep(ctx: &Ctx, call: &Call, rule: &Rule) -> Result<(), ApiError> {
    ctx.events.rules.put(&call.region, &rule.key(), rule)?;
    Ok(ctx.events.look()?)
}

pub fn put(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let bus = bus(ctx, call, "EventBusName")?;
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
    if schedule.is_some() && bus != BUS {
        return Err(invalid(
            "ScheduleExpression is supported only on the default event bus.",
        ));
    }
    if let Some(schedule) = &schedule
        && !is_schedule(schedule)
    {
        return Err(invalid("Parameter ScheduleExpression is not valid."));
    }
    let old = ctx.events.rules.get(&call.region, &key(&bus, name))?;
    let now = clock::now();
    let rule = Rule {
        name: name.to_owned(),
        arn: ctx.arn("events", &call.region, &resource(&bus, name)),
        bus,
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

/// A rule in an ARN: the default bus is not told.
fn resource(bus: &str, name: &str) -> String {
    match bus {
        BUS => format!("rule/{name}"),
        bus => format!("rule/{bus}/{name}"),
    }
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
    add("EventBusName", Some(json!(rule.bus)));
    out
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut out = shown(&find(ctx, call, "Name")?);
    out.insert("CreatedBy".to_owned(), json!(crate::ACCOUNT));
    Ok(out.into())
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let bus = bus(ctx, call, "EventBusName")?;
    let prefix = key(&bus, call.str("NamePrefix").unwrap_or_default());
    let all = ctx.events.rules.list(&call.region)?;
    let found = all
        .into_iter()
        .filter(|(key, _)| key.starts_with(&prefix))
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
    let bus = bus(ctx, call, "EventBusName")?;
    let key = key(&bus, call.str("Name").unwrap_or_default());
    let Some(rule) = ctx.events.rules.get(&call.region, &key)? else {
        // Deleting what is not there is no error.
        return Ok(Value::Null);
    };
    if !rule.targets.is_empty() {
        return Err(invalid("Rule can't be deleted since it has targets."));
    }
    ctx.events.rules.delete(&call.region, &key)?;
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

/// What has tags.
enum Tagged {
    Rule(Rule),
    Bus(Bus),
}

impl Tagged {
    fn tags(&mut self) -> &mut Vec<Value> {
        match self {
            Tagged::Rule(rule) => &mut rule.tags,
            Tagged::Bus(bus) => &mut bus.tags,
        }
    }

    fn keep(&self, ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
        match self {
            Tagged::Rule(rule) => keep(ctx, call, rule),
            Tagged::Bus(bus) => Ok(ctx.events.buses.put(&call.region, &bus.name, bus)?),
        }
    }
}

fn by_arn(ctx: &Ctx, call: &Call) -> Result<Tagged, ApiError> {
    let arn = call.str("ResourceARN").unwrap_or_default();
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let rest = resource.strip_prefix("rule/").unwrap_or_default();
    let (bus, name) = rest.rsplit_once('/').unwrap_or((BUS, rest));
    let rule = ctx.events.rules.get(&call.region, &key(bus, name))?;
    if let Some(rule) = rule.filter(|rule| rule.arn == arn) {
        return Ok(Tagged::Rule(rule));
    }
    if resource.starts_with("event-bus/") {
        let name = buses::name_in(arn);
        let bus = ctx.events.buses.get(&call.region, name)?;
        return bus.map(Tagged::Bus).ok_or_else(|| buses::none(name));
    }
    Err(no_rule(name, bus))
}

pub fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut tagged = by_arn(ctx, call)?;
    for tag in call.list("Tags") {
        let tags = tagged.tags();
        tags.retain(|old| old["Key"] != tag["Key"]);
        tags.push(tag.clone());
    }
    tagged.keep(ctx, call)?;
    Ok(json!({}))
}

pub fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut tagged = by_arn(ctx, call)?;
    let keys = call.strings("TagKeys");
    tagged
        .tags()
        .retain(|tag| !keys.iter().any(|key| tag["Key"] == *key));
    tagged.keep(ctx, call)?;
    Ok(json!({}))
}

pub fn tags(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Tags": by_arn(ctx, call)?.tags()}))
}

pub fn test(call: &Call) -> Result<Value, ApiError> {
    let pattern = parse(call.str("EventPattern").unwrap_or_default())?;
    let event: Value = serde_json::from_str(call.str("Event").unwrap_or_default())
        .map_err(|_| invalid("Parameter Event is not valid."))?;
    Ok(json!({"Result": pattern.matches(&event)}))
}
