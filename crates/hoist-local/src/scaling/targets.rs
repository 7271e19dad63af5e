use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::engine;
use super::handle::{invalid, not_found, paged, required, resource};
use super::model::{DIMENSION, Target};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;

/// Makes a service scalable, or changes its bounds: what is not given stays as it is.
pub async fn register(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let resource = resource(call)?;
    let scaling = &ctx.scaling;
    let known = scaling.targets.get(&call.region, resource)?;
    let bound = |name: &str, old: Option<u32>| match call.integer(name) {
        Some(value) => {
            u32::try_from(value).map_err(|_| invalid(format!("{name} cannot be negative")))
        }
        None => old.ok_or_else(|| {
            invalid(format!(
                "{name} is required when a scalable target is registered for the first time"
            ))
        }),
    };
    let min = bound("MinCapacity", known.as_ref().map(|it| it.min))?;
    let max = bound("MaxCapacity", known.as_ref().map(|it| it.max))?;
    if min > max {
        return Err(invalid(
            "Maximum capacity cannot be less than minimum capacity",
        ));
    }
    if engine::desired(ctx, &call.region, resource).is_none() {
        return Err(invalid(format!("ECS service doesn't exist: {resource}")));
    }
    let linked = format!(
        "arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
    );
    let mut suspended = known.as_ref().map_or_else(
        || json!({"DynamicScalingInSuspended": false, "DynamicScalingOutSuspended": false, "ScheduledScalingSuspended": false}),
        |it| it.suspended.clone(),
    );
    if let Some(given) = call.params["SuspendedState"].as_object() {
        for (name, value) in given {
            suspended[name.as_str()] = value.clone();
        }
    }
    let target = Target {
        resource: resource.to_owned(),
        arn: known.as_ref().map_or_else(
            || {
                format!(
                    "arn:aws:application-autoscaling:{}:{ACCOUNT}:scalable-target/0ec5{}",
                    call.region,
                    ids::hex(32)
                )
            },
            |it| it.arn.clone(),
        ),
        min,
        max,
        role: call.str("RoleARN").map_or(linked, str::to_owned),
        suspended,
        created: known.as_ref().map_or_else(clock::now, |it| it.created),
        tags: match known {
            Some(known) => known.tags,
            None => tags(call),
        },
    };
    scaling.targets.put(&call.region, resource, &target)?;
    engine::keep_within(ctx, &call.region, &target).await;
    Ok(json!({"ScalableTargetARN": target.arn}))
}

pub fn deregister(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let resource = resource(call)?;
    let scaling = &ctx.scaling;
    if !scaling.targets.delete(&call.region, resource)? {
        return Err(not_found("scalable target found", resource));
    }
    for (key, policy) in scaling.policies.list(&call.region)? {
        if policy.resource == resource {
            for alarm in &policy.alarms {
                ctx.metrics.delete_alarm(&call.region, alarm)?;
            }
            scaling.policies.delete(&call.region, &key)?;
        }
    }
    for (key, action) in scaling.scheduled.list(&call.region)? {
        if action.resource == resource {
            scaling.scheduled.delete(&call.region, &key)?;
        }
    }
    Ok(json!({}))
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    required(call, "ServiceNamespace")?;
    let wanted = call.strings("ResourceIds");
    let shown: Vec<Value> = ctx
        .scaling
        .targets
        .list(&call.region)?
        .into_iter()
        .map(|(_, target)| target)
        .filter(|target| wanted.is_empty() || wanted.contains(&target.resource.as_str()))
        .map(|target| {
            json!({
                "ServiceNamespace": "ecs",
                "ResourceId": target.resource,
                "ScalableDimension": DIMENSION,
                "MinCapacity": target.min,
                "MaxCapacity": target.max,
                "RoleARN": target.role,
                "CreationTime": clock::epoch_seconds(target.created),
                "SuspendedState": target.suspended,
                "ScalableTargetARN": target.arn,
            })
        })
        .collect();
    paged(call, shown, "ScalableTargets")
}

fn tags(call: &Call) -> BTreeMap<String, String> {
    let given = call.params["Tags"].as_object().into_iter().flatten();
    given
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The target with the ARN that a call names.
fn named(ctx: &Ctx, call: &Call) -> Result<Target, ApiError> {
    let arn = required(call, "ResourceARN")?;
    let all = ctx.scaling.targets.list(&call.region)?;
    let mut all = all.into_iter().map(|(_, target)| target);
    all.find(|it| it.arn == arn).ok_or_else(|| {
        let text = format!("The specified resource doesn't exist: {arn}");
        ApiError::new("ResourceNotFoundException", text)
    })
}

pub fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut target = named(ctx, call)?;
    target.tags.extend(tags(call));
    if target.tags.len() > 50 {
        let text = "The number of tags on the resource exceeds the limit of 50";
        return Err(ApiError::new("TooManyTagsException", text));
    }
    let table = &ctx.scaling.targets;
    table.put(&call.region, &target.resource, &target)?;
    Ok(json!({}))
}

pub fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut target = named(ctx, call)?;
    let keys = call.strings("TagKeys");
    target.tags.retain(|key, _| !keys.contains(&key.as_str()));
    let table = &ctx.scaling.targets;
    table.put(&call.region, &target.resource, &target)?;
    Ok(json!({}))
}

pub fn list_tags(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Tags": named(ctx, call)?.tags}))
}

pub fn activities(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    required(call, "ServiceNamespace")?;
    let mut shown = ctx.scaling.activities(&call.region);
    if let Some(resource) = call.str("ResourceId") {
        shown.retain(|it| it["ResourceId"] == resource);
    }
    paged(call, shown, "ScalingActivities")
}
