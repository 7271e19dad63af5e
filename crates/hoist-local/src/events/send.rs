//! Sending events to targets.

use std::pin::Pin;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::buses::name_in;
use super::model::Rule;
use super::pattern::Pattern;
use super::targets::{Kind, kind};
use super::transform::input;
use crate::api::{ApiError, Call, Service};
use crate::clock;
use crate::ctx::Ctx;
use crate::ids;
use crate::keys::Key;

/// Sends an event that is put onto a bus to the targets of every rule of the bus that matches it.
pub async fn publish(ctx: &Ctx, region: &str, bus: &str, event: &Value) {
    follow(ctx, region, bus, event, true).await;
}

/// Follows the rules of a bus. Boxed, because a target may be another bus.
fn follow<'a>(
    ctx: &'a Ctx,
    region: &'a str,
    bus: &'a str,
    event: &'a Value,
    onward: bool,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(async move {
        let rules = match ctx.events.rules.list(region) {
            Ok(rules) => rules,
            Err(error) => {
                tracing::warn!(%error, "the rules of EventBridge cannot be read");
                return;
            }
        };
        for (_, rule) in rules {
            let matches = rule.bus == bus
                && rule.enabled
                && rule
                    .pattern
                    .as_deref()
                    .and_then(|pattern| Pattern::parse(pattern).ok())
                    .is_some_and(|pattern| pattern.matches(event));
            if matches {
                send_on(ctx, region, &rule, event, onward).await;
            }
        }
    })
}

/// Sends an event to every target of a rule.
pub async fn send(ctx: &Ctx, region: &str, rule: &Rule, event: &Value) {
    send_on(ctx, region, rule, event, true).await;
}

/// The same; `onward` says whether it may go to another bus. An event that came from one goes no further, so that nothing runs in
/// circles ("Sending events between event buses in the same account", EventBridge user guide).
async fn send_on(ctx: &Ctx, region: &str, rule: &Rule, event: &Value, onward: bool) {
    for target in &rule.targets {
        let arn = target["Arn"].as_str().unwrap_or_default();
        let sent = match kind(arn) {
            Some(Kind::LogGroup) => log(ctx, region, arn, &input(target, event)).await,
            Some(Kind::Cluster) => {
                // Only an input of its own overrides anything; an event is no override.
                let own = ["Input", "InputPath", "InputTransformer"];
                let given = own.iter().any(|name| !target[*name].is_null());
                let order = Order {
                    cluster: arn,
                    parameters: &target["EcsParameters"],
                    input: given.then(|| input(target, event)),
                    started_by: format!("events-rule/{}", rule.name),
                    once: format!("{}{}{}", rule.arn, target["Id"], event["id"]),
                };
                run_task(ctx, region, order).await
            }
            Some(Kind::Bus) if onward => {
                follow(ctx, region, name_in(arn), event, false).await;
                Ok(())
            }
            Some(Kind::Bus) => Ok(()),
            None => Ok(()),
        };
        if let Err(error) = sent {
            tracing::warn!(rule = rule.name, target = arn, %error, "an event cannot be delivered");
        }
    }
}

/// Writes an event into a log group, which must be there.
async fn log(ctx: &Ctx, region: &str, arn: &str, text: &str) -> Result<(), ApiError> {
    let group = arn.splitn(7, ':').nth(6).unwrap_or_default();
    let group = group.strip_suffix(":*").unwrap_or(group);
    let stream = {
        let mut streams = ctx
            .events
            .streams
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = format!("{region} {group}");
        streams.entry(key).or_insert_with(ids::uuid).clone()
    };
    ctx.logs.open_stream(region, group, &stream, false).await?;
    let line = (clock::now(), text.to_owned());
    Ok(ctx.logs.append(region, group, &stream, [line]).await?)
}

/// Tasks that a rule or a schedule runs.
pub(crate) struct Order<'a> {
    pub cluster: &'a str,
    /// `EcsParameters`.
    pub parameters: &'a Value,
    /// `TaskOverride` as JSON.
    pub input: Option<String>,
    pub started_by: String,
    /// The same orders with the same text start tasks once only.
    pub once: String,
}

/// Runs tasks as an order says.
///
/// # Errors
/// What RunTask answers.
pub(crate) async fn run_task(ctx: &Ctx, region: &str, order: Order<'_>) -> Result<(), ApiError> {
    let parameters = order.parameters;
    let mut params = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            params.insert(name.to_owned(), value);
        }
    };
    set("cluster", json!(order.cluster));
    set("taskDefinition", parameters["TaskDefinitionArn"].clone());
    let count = parameters["TaskCount"].as_u64().unwrap_or(1);
    set("count", json!(count));
    for (from, to) in [
        ("LaunchType", "launchType"),
        ("PlatformVersion", "platformVersion"),
        ("Group", "group"),
        ("CapacityProviderStrategy", "capacityProviderStrategy"),
        ("EnableECSManagedTags", "enableECSManagedTags"),
        ("EnableExecuteCommand", "enableExecuteCommand"),
        ("PropagateTags", "propagateTags"),
        ("ReferenceId", "referenceId"),
    ] {
        set(to, parameters[from].clone());
    }
    let network = &parameters["NetworkConfiguration"]["awsvpcConfiguration"];
    if network.is_object() {
        let mut inner = Map::new();
        for (from, to) in [
            ("Subnets", "subnets"),
            ("SecurityGroups", "securityGroups"),
            ("AssignPublicIp", "assignPublicIp"),
        ] {
            if !network[from].is_null() {
                inner.insert(to.to_owned(), network[from].clone());
            }
        }
        set(
            "networkConfiguration",
            json!({"awsvpcConfiguration": inner}),
        );
    }
    // EventBridge has `Key` and `Value`, the Scheduler maps with keys of their own choice, which are `key` and `value` in its examples.
    let tags: Vec<Value> = parameters["Tags"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tag| {
            let text =
                |upper: &str, lower: &str| tag.get(upper).or_else(|| tag.get(lower)).cloned();
            json!({"key": text("Key", "key"), "value": text("Value", "value")})
        })
        .collect();
    if !tags.is_empty() {
        set("tags", tags.into());
    }
    if let Some(input) = &order.input {
        let overrides: Value = serde_json::from_str(input).map_err(|_| {
            ApiError::new("InvalidParameterException", "the input is no task override")
        })?;
        set("overrides", overrides);
    }
    // A text of 128 characters at most (API reference, RunTask).
    let started_by: String = order.started_by.chars().take(128).collect();
    set("startedBy", started_by.into());
    let token = hex::encode(Sha256::digest(order.once.as_bytes()));
    set("clientToken", token.into());
    let call = Call {
        service: Service::Ecs,
        action: "RunTask".to_owned(),
        region: region.to_owned(),
        params: params.into(),
        key: nobody().into(),
        request_id: ids::uuid(),
    };
    crate::ecs::handle(ctx, &call).await.map(drop)
}

/// Who calls when a service of AWS does.
fn nobody() -> Key {
    Key {
        id: String::new(),
        secret: String::new(),
        session_token: None,
        arn: String::new(),
        user_id: "events.amazonaws.com".to_owned(),
        expires: None,
    }
}
