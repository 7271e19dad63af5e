//! What is registered with the services of Cloud Map.

use serde_json::{Map, Value, json};

use super::handle::{done, entries, entry, text};
use super::map::{Entry, Registered};
use super::table::{Instance, Table};
use crate::api::{ApiError, Call};
use crate::ctx::{ACCOUNT, Ctx};

/// The instances of a service.
pub fn of(ctx: &Ctx, entry: &Entry) -> Vec<Instance> {
    let region = entry.arn.split(':').nth(3).unwrap_or_default();
    Table(ctx.clone()).instances(region, &entry.id, &entry.arn)
}

fn none(id: &str) -> ApiError {
    ApiError::new("InstanceNotFound", format!("Instance not found: {id}"))
}

fn find(ctx: &Ctx, call: &Call) -> Result<(Entry, Instance), ApiError> {
    let entry = entry(ctx, call, text(call, "ServiceId"))?;
    let id = text(call, "InstanceId");
    let found = of(ctx, &entry).into_iter().find(|it| it.id == id);
    Ok((entry, found.ok_or_else(|| none(id))?))
}

fn key(entry: &Entry, id: &str) -> String {
    format!("{}/{id}", entry.id)
}

pub fn register(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let entry = entry(ctx, call, text(call, "ServiceId"))?;
    let attributes = call.params["Attributes"].clone();
    let id = text(call, "InstanceId");
    let address = &attributes["AWS_INSTANCE_IPV4"];
    if entry.dns.is_object() && address.is_null() && attributes["AWS_INSTANCE_CNAME"].is_null() {
        return Err(ApiError::new(
            "InvalidInput",
            "Instance must have one of the attributes AWS_INSTANCE_IPV4, AWS_INSTANCE_IPV6, AWS_INSTANCE_CNAME or AWS_ALIAS_DNS_NAME",
        ));
    }
    if address
        .as_str()
        .is_some_and(|it| it.parse::<std::net::Ipv4Addr>().is_err())
    {
        return Err(ApiError::new(
            "InvalidInput",
            format!("Invalid IPv4 address: {address}"),
        ));
    }
    let healthy = attributes["AWS_INIT_HEALTH_STATUS"] != "UNHEALTHY";
    let made = Registered {
        id: id.to_owned(),
        entry: entry.id.clone(),
        attributes,
        healthy,
    };
    ctx.map
        .registered
        .put(&call.region, &key(&entry, id), &made)?;
    done(
        ctx,
        call,
        "REGISTER_INSTANCE",
        json!({"INSTANCE": id, "SERVICE": entry.id}),
    )
}

pub fn deregister(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (entry, found) = find(ctx, call)?;
    ctx.map
        .registered
        .delete(&call.region, &key(&entry, &found.id))?;
    done(
        ctx,
        call,
        "DEREGISTER_INSTANCE",
        json!({"INSTANCE": found.id, "SERVICE": entry.id}),
    )
}

pub fn get(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (_, found) = find(ctx, call)?;
    Ok(
        json!({"ResourceOwner": ACCOUNT, "Instance": {"Id": found.id, "Attributes": found.attributes}}),
    )
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let entry = entry(ctx, call, text(call, "ServiceId"))?;
    let shown: Vec<Value> = of(ctx, &entry)
        .into_iter()
        .map(|it| json!({"Id": it.id, "Attributes": it.attributes}))
        .collect();
    Ok(json!({"ResourceOwner": ACCOUNT, "Instances": shown}))
}

fn word(healthy: bool) -> &'static str {
    if healthy { "HEALTHY" } else { "UNHEALTHY" }
}

pub fn health(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let entry = entry(ctx, call, text(call, "ServiceId"))?;
    let wanted = call.strings("Instances");
    let mut shown = Map::new();
    for it in of(ctx, &entry) {
        if wanted.is_empty() || wanted.contains(&it.id.as_str()) {
            shown.insert(it.id, word(it.healthy).into());
        }
    }
    if let Some(missing) = wanted.iter().find(|id| !shown.contains_key(**id)) {
        return Err(none(missing));
    }
    Ok(json!({"Status": shown}))
}

pub fn set_health(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (entry, found) = find(ctx, call)?;
    let key = key(&entry, &found.id);
    let known = ctx.map.registered.get(&call.region, &key)?;
    let Some(mut known) = known.filter(|_| entry.custom_health.is_object()) else {
        return Err(ApiError::new(
            "CustomHealthNotFound",
            format!(
                "Custom health check not found for the instance {}",
                found.id
            ),
        ));
    };
    known.healthy = text(call, "Status") == "HEALTHY";
    ctx.map.registered.put(&call.region, &key, &known)?;
    Ok(Value::Null)
}

fn named(ctx: &Ctx, call: &Call) -> Result<Entry, ApiError> {
    let (space, name) = (text(call, "NamespaceName"), text(call, "ServiceName"));
    let all = ctx.map.namespaces.list(&call.region)?;
    let found = all.iter().map(|(_, it)| it).find(|it| it.name == space);
    let found = found.ok_or_else(|| {
        ApiError::new("NamespaceNotFound", format!("Namespace not found: {space}"))
    })?;
    let own = entries(ctx, call, &found.id)?
        .into_iter()
        .find(|it| it.name == name);
    own.ok_or_else(|| ApiError::new("ServiceNotFound", format!("Service not found: {name}")))
}

/// A number that is another one when the instances are others.
fn version(instances: &[Instance]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for it in instances {
        (&it.id, it.healthy, it.attributes.to_string()).hash(&mut hasher);
    }
    hasher.finish() >> 1
}

pub fn revision(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"InstancesRevision": version(&of(ctx, &named(ctx, call)?))}))
}

pub fn discover(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let all = of(ctx, &named(ctx, call)?);
    let revision = version(&all);
    let has = |it: &Instance, member: &str| {
        let wanted = call.params[member].as_object();
        wanted
            .into_iter()
            .flatten()
            .all(|(name, value)| it.attributes[name] == *value)
    };
    let mut found: Vec<&Instance> = all.iter().filter(|it| has(it, "QueryParameters")).collect();
    // Optional parameters narrow the answer only where something has them.
    if found.iter().any(|it| has(it, "OptionalParameters")) {
        found.retain(|it| has(it, "OptionalParameters"));
    }
    match call.str("HealthStatus").unwrap_or("HEALTHY_OR_ELSE_ALL") {
        "ALL" => {}
        "HEALTHY" => found.retain(|it| it.healthy),
        "UNHEALTHY" => found.retain(|it| !it.healthy),
        _ if found.iter().any(|it| it.healthy) => found.retain(|it| it.healthy),
        _ => {}
    }
    let most = usize::try_from(call.integer("MaxResults").unwrap_or(100)).unwrap_or(100);
    let shown: Vec<Value> = found
        .into_iter()
        .take(most)
        .map(|it| {
            json!({
                "InstanceId": it.id, "NamespaceName": text(call, "NamespaceName"), "ServiceName": text(call, "ServiceName"),
                "HealthStatus": word(it.healthy), "Attributes": it.attributes,
            })
        })
        .collect();
    Ok(json!({"Instances": shown, "InstancesRevision": revision}))
}
