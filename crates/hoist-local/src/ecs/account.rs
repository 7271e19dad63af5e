//! Account settings: kept and read back. Here they all have the value that new accounts have.

use serde_json::{Value, json};

use super::words::{invalid, need};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// The settings of ECS and their default values (API reference, `Setting`).
const SETTINGS: [(&str, &str); 11] = [
    ("awsvpcTrunking", "disabled"),
    ("containerInsights", "disabled"),
    ("containerInstanceLongArnFormat", "enabled"),
    ("defaultLogDriverMode", "non-blocking"),
    ("dualStackIPv6", "enabled"),
    ("fargateFIPSMode", "disabled"),
    ("fargateTaskRetirementWaitPeriod", "7"),
    ("guardDutyActivate", "off"),
    ("serviceLongArnFormat", "enabled"),
    ("tagResourceAuthorization", "off"),
    ("taskLongArnFormat", "enabled"),
];

const TABLE: &str = "ecs.account-settings";

pub fn put(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = known(call)?;
    let value = need(call, "value", "Setting value can not be blank.")?;
    if !accepts(name, value) {
        return Err(invalid(format!(
            "Invalid setting value: {value}. Refer to the documentation for the valid values of {name}."
        )));
    }
    ctx.state
        .table::<String>(TABLE)
        .put(&call.region, name, &value.to_owned())?;
    Ok(json!({"setting": setting(call, name, value)}))
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = known(call)?;
    let kept = ctx.state.table::<String>(TABLE);
    let value = kept
        .get(&call.region, name)?
        .unwrap_or_else(|| default(name).to_owned());
    kept.delete(&call.region, name)?;
    Ok(json!({"setting": setting(call, name, &value)}))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let kept = ctx.state.table::<String>(TABLE).list(&call.region)?;
    let find = |name: &str| {
        kept.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let effective = call.params.get("effectiveSettings") == Some(&Value::Bool(true));
    let settings: Vec<Value> = SETTINGS
        .iter()
        .filter(|(name, _)| call.str("name").is_none_or(|wanted| wanted == *name))
        .filter_map(|(name, default)| {
            let value = find(name).or_else(|| effective.then(|| (*default).to_owned()))?;
            Some(setting(call, name, &value))
        })
        .filter(|setting| {
            call.str("value")
                .is_none_or(|wanted| setting["value"] == wanted)
        })
        .collect();
    Ok(json!({"settings": settings}))
}

fn known(call: &Call) -> Result<&'static str, ApiError> {
    let name = need(call, "name", "Setting name can not be blank.")?;
    let found = SETTINGS.iter().find(|(known, _)| *known == name);
    found
        .map(|(known, _)| *known)
        .ok_or_else(|| invalid(format!("Invalid setting name: {name}")))
}

/// Whether a setting may have a value (API reference, `PutAccountSetting`).
fn accepts(name: &str, value: &str) -> bool {
    match name {
        "fargateTaskRetirementWaitPeriod" => ["0", "7", "14"].contains(&value),
        "tagResourceAuthorization" | "guardDutyActivate" => ["on", "off"].contains(&value),
        "containerInsights" => ["enabled", "disabled", "enhanced"].contains(&value),
        "defaultLogDriverMode" => ["blocking", "non-blocking"].contains(&value),
        _ => ["enabled", "disabled", "on", "off"].contains(&value),
    }
}

fn default(name: &str) -> &'static str {
    SETTINGS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, default)| default)
}

fn setting(call: &Call, name: &str, value: &str) -> Value {
    json!({"name": name, "value": value, "principalArn": call.key.arn, "type": "user"})
}
