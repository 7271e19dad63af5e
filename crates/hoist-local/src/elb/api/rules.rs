use http::header::HeaderName;
use serde_json::{Value, json};

use super::ask::{invalid, number, page, required, structured, tags};
use super::listeners;
use crate::api::{ApiError, Call};
use crate::elb::Balancers;
use crate::elb::model::{Condition, Listener, Rule, ShownRule, Values};
use crate::elb::rule::Block;
use crate::ids;

fn not_found() -> ApiError {
    ApiError::new("RuleNotFound", "One or more rules not found")
}

fn in_use(priority: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        "PriorityInUse",
        format!("Priority '{priority}' is currently in use"),
    )
}

pub async fn create(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let listener = listeners::named(balancers, call)?;
    if !matches!(listener.shown.protocol.as_str(), "HTTP" | "HTTPS") {
        return Err(ApiError::new(
            "UnsupportedProtocol",
            "Rules are supported only on listeners of Application Load Balancers",
        ));
    }
    let priority = number(call, "Priority", 1, 50000, "Priority")?
        .ok_or_else(|| invalid("A rule priority must be specified"))?
        .to_string();
    let conditions = conditions(call)?;
    let balancer = &listener.shown.load_balancer_arn;
    let actions = listeners::actions(
        balancers,
        call,
        "Actions",
        &listener.shown.protocol,
        balancer,
    )?;
    let tags = tags(call)?;
    let own = balancers.tables().rules.list(&call.region)?;
    let mut own = own
        .into_iter()
        .map(|(_, rule)| rule)
        .filter(|rule| rule.listener == listener.shown.listener_arn);
    if let Some(there) = own.find(|rule| rule.shown.priority == priority) {
        if there.shown.conditions == conditions
            && there.shown.actions == actions
            && there.tags == tags
        {
            return Ok(json!({"Rules": [there.shown]}));
        }
        return Err(in_use(priority));
    }
    let arn = listener
        .shown
        .listener_arn
        .replacen(":listener/", ":listener-rule/", 1);
    let rule = Rule {
        shown: ShownRule {
            rule_arn: format!("{arn}/{}", ids::hex(16)),
            priority,
            conditions,
            actions,
            is_default: false,
        },
        listener: listener.shown.listener_arn,
        tags,
    };
    balancers
        .tables()
        .rules
        .put(&call.region, &rule.shown.rule_arn, &rule)?;
    balancers.refresh(&call.region)?;
    Ok(json!({"Rules": [rule.shown]}))
}

/// Reads conditions, checks them, and shows values both ways, as AWS does for hosts and paths.
fn conditions(call: &Call) -> Result<Vec<Condition>, ApiError> {
    let mut conditions: Vec<Condition> = structured(call, "Conditions")?.unwrap_or_default();
    if conditions.is_empty() {
        return Err(invalid("At least one condition must be specified"));
    }
    for condition in &mut conditions {
        let field = condition.field.clone();
        let empty = || {
            invalid(format!(
                "A condition value must be specified for field '{field}'"
            ))
        };
        let plain = condition.values.clone().map(|values| Values { values });
        let filled = |config: &mut Option<Values>| -> Result<Vec<String>, ApiError> {
            let values = config
                .clone()
                .or_else(|| plain.clone())
                .filter(|config| !config.values.is_empty());
            *config = values;
            config
                .as_ref()
                .map(|config| config.values.clone())
                .ok_or_else(empty)
        };
        match field.as_str() {
            "host-header" | "path-pattern" => {
                let config = if field == "host-header" {
                    &mut condition.host_header_config
                } else {
                    &mut condition.path_pattern_config
                };
                if config.is_none() && plain.is_none() {
                    return Err(empty());
                }
                if config.is_none() {
                    *config = plain.clone();
                }
                if plain.is_some() && plain != *config {
                    return Err(invalid(format!(
                        "Condition values for field '{field}' are specified in two ways that differ"
                    )));
                }
                condition.values = config.as_ref().map(|config| config.values.clone());
                let long = condition
                    .values
                    .iter()
                    .flatten()
                    .find(|value| value.is_empty() || value.len() > 128);
                if let Some(value) = long {
                    return Err(invalid(format!(
                        "Condition value '{value}' must be between 1 and 128 characters long"
                    )));
                }
            }
            "http-request-method" => {
                filled(&mut condition.http_request_method_config)?;
                condition.values = None;
            }
            "source-ip" => {
                let blocks = filled(&mut condition.source_ip_config)?;
                condition.values = None;
                if let Some(bad) = blocks.iter().find(|block| Block::parse(block).is_none()) {
                    return Err(invalid(format!(
                        "The source IP condition value '{bad}' is not a valid CIDR block"
                    )));
                }
            }
            "http-header" => {
                let config = condition
                    .http_header_config
                    .as_ref()
                    .filter(|config| !config.values.is_empty());
                let config = config.ok_or_else(empty)?;
                if HeaderName::from_bytes(config.http_header_name.as_bytes()).is_err() {
                    return Err(invalid(format!(
                        "The HTTP header name '{}' is not valid",
                        config.http_header_name
                    )));
                }
            }
            "query-string" => {
                condition
                    .query_string_config
                    .as_ref()
                    .filter(|config| !config.values.is_empty())
                    .ok_or_else(empty)?;
            }
            other => {
                return Err(invalid(format!(
                    "Condition field '{other}' must be one of '[http-request-method, host-header, http-header, path-pattern, query-string, source-ip]'"
                )));
            }
        }
    }
    Ok(conditions)
}

fn default_rule(listener: &Listener) -> ShownRule {
    ShownRule {
        rule_arn: listener.default_rule.clone(),
        priority: "default".into(),
        conditions: Vec::new(),
        actions: listener.shown.default_actions.clone(),
        is_default: true,
    }
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let listeners = balancers.tables().listeners.list(&call.region)?;
    let kept = balancers.tables().rules.list(&call.region)?;
    let mut all: Vec<(String, ShownRule)> = kept
        .into_iter()
        .map(|(_, rule)| (rule.listener, rule.shown))
        .collect();
    all.extend(
        listeners
            .iter()
            .map(|(arn, listener)| (arn.clone(), default_rule(listener))),
    );
    let arns = call.strings("RuleArns");
    if !arns.is_empty() {
        if !arns
            .iter()
            .all(|arn| all.iter().any(|(_, rule)| rule.rule_arn == *arn))
        {
            return Err(not_found());
        }
        all.retain(|(_, rule)| arns.contains(&rule.rule_arn.as_str()));
    } else if call.str("ListenerArn").is_some() {
        let listener = listeners::named(balancers, call)?.shown.listener_arn;
        all.retain(|(of, _)| *of == listener);
    } else {
        return Err(invalid(
            "You must specify either listener rule ARNs or a listener ARN",
        ));
    }
    all.sort_by_key(|(_, rule)| rule.priority.parse::<u32>().unwrap_or(u32::MAX));
    let (rules, marker) = page(call, all.into_iter().map(|(_, rule)| rule).collect())?;
    Ok(json!({"Rules": rules, "NextMarker": marker}))
}

pub async fn modify(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let arn = required(call, "RuleArn")?;
    let Some(mut rule) = balancers.tables().rules.get(&call.region, arn)? else {
        return refuse_default(balancers, call, arn);
    };
    let listener = balancers
        .tables()
        .listeners
        .get(&call.region, &rule.listener)?
        .ok_or_else(listeners::not_found)?;
    if call.params.get("Conditions").is_some() {
        rule.shown.conditions = conditions(call)?;
    }
    if call.params.get("Actions").is_some() {
        let balancer = &listener.shown.load_balancer_arn;
        rule.shown.actions = listeners::actions(
            balancers,
            call,
            "Actions",
            &listener.shown.protocol,
            balancer,
        )?;
    }
    balancers.tables().rules.put(&call.region, arn, &rule)?;
    balancers.refresh(&call.region)?;
    Ok(json!({"Rules": [rule.shown]}))
}

/// A listener's default rule changes with its listener's default actions alone.
fn refuse_default(balancers: &Balancers, call: &Call, arn: &str) -> Result<Value, ApiError> {
    let all = balancers.tables().listeners.list(&call.region)?;
    let mut listeners = all.into_iter();
    if !listeners.any(|(_, listener)| listener.default_rule == arn) {
        return Err(not_found());
    }
    Err(ApiError::new(
        "OperationNotPermitted",
        format!("Default rule '{arn}' cannot be modified"),
    ))
}

pub async fn delete(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let arn = required(call, "RuleArn")?;
    if balancers.tables().rules.delete(&call.region, arn)? {
        balancers.refresh(&call.region)?;
        return Ok(json!({}));
    }
    if balancers
        .tables()
        .listeners
        .list(&call.region)?
        .iter()
        .any(|(_, listener)| listener.default_rule == arn)
    {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("Default rule '{arn}' cannot be deleted"),
        ));
    }
    Err(not_found())
}

pub async fn set_priorities(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let tables = balancers.tables();
    let mut rules: Vec<Rule> = tables
        .rules
        .list(&call.region)?
        .into_iter()
        .map(|(_, rule)| rule)
        .collect();
    let mut changed = Vec::new();
    for pair in call.list("RulePriorities") {
        let text = |name: &str| pair.get(name).and_then(Value::as_str).unwrap_or_default();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.shown.rule_arn == text("RuleArn"))
            .ok_or_else(not_found)?;
        let priority = text("Priority");
        if !priority
            .parse::<u32>()
            .is_ok_and(|p| (1..=50000).contains(&p))
        {
            return Err(invalid(format!(
                "Priority '{priority}' must be in the range 1-50000"
            )));
        }
        priority.clone_into(&mut rule.shown.priority);
        changed.push(rule.shown.rule_arn.clone());
    }
    for (i, rule) in rules.iter().enumerate() {
        if rules[..i].iter().any(|other| {
            other.listener == rule.listener && other.shown.priority == rule.shown.priority
        }) {
            return Err(in_use(&rule.shown.priority));
        }
    }
    rules.retain(|rule| changed.contains(&rule.shown.rule_arn));
    tables.state.write::<ApiError>(|batch| {
        for rule in &rules {
            batch.put(&tables.rules, &call.region, &rule.shown.rule_arn, rule)?;
        }
        Ok(())
    })?;
    balancers.refresh(&call.region)?;
    Ok(json!({"Rules": rules.iter().map(|rule| &rule.shown).collect::<Vec<_>>()}))
}
