use serde_json::{Value, json};

use super::ask::{invalid, listed, tags};
use super::{listeners, load_balancers};
use crate::api::{ApiError, Call};
use crate::elb::Balancers;
use crate::elb::balancers::group_not_found;
use crate::elb::model::Pairs;

/// Lets `look` see, and change, the tags of one resource.
fn with(
    balancers: &Balancers,
    region: &str,
    arn: &str,
    look: impl FnOnce(&mut Pairs),
) -> Result<(), ApiError> {
    let tables = balancers.tables();
    macro_rules! change {
        ($table:ident, $missing:expr) => {{
            let mut kept = tables.$table.get(region, arn)?.ok_or_else($missing)?;
            let before = kept.tags.clone();
            look(&mut kept.tags);
            if kept.tags != before {
                tables.$table.put(region, arn, &kept)?;
            }
            Ok(())
        }};
    }
    match arn
        .split(':')
        .nth(5)
        .and_then(|resource| resource.split('/').next())
    {
        Some("loadbalancer") => change!(balancers, load_balancers::not_found),
        Some("targetgroup") => change!(groups, group_not_found),
        Some("listener") => change!(listeners, listeners::not_found),
        Some("listener-rule") => {
            change!(rules, || ApiError::new(
                "RuleNotFound",
                "One or more rules not found"
            ))
        }
        _ => Err(invalid(format!(
            "'{arn}' is not a valid load balancer, target group, listener or listener rule ARN"
        ))),
    }
}

fn resources(call: &Call) -> Result<Vec<&str>, ApiError> {
    let arns = call.strings("ResourceArns");
    if arns.is_empty() {
        Err(invalid("A resource ARN must be specified"))
    } else {
        Ok(arns)
    }
}

pub async fn add(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let added = tags(call)?;
    for arn in resources(call)? {
        with(balancers, &call.region, arn, |tags| {
            tags.extend(added.clone())
        })?;
    }
    Ok(json!({}))
}

pub async fn remove(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let keys = call.strings("TagKeys");
    for arn in resources(call)? {
        with(balancers, &call.region, arn, |tags| {
            tags.retain(|key, _| !keys.contains(&key.as_str()))
        })?;
    }
    Ok(json!({}))
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    for arn in resources(call)? {
        let mut pairs = Pairs::new();
        with(balancers, &call.region, arn, |tags| pairs.clone_from(tags))?;
        found.push(json!({"ResourceArn": arn, "Tags": listed(&pairs)}));
    }
    Ok(json!({"TagDescriptions": found}))
}
