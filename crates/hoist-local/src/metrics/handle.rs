use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::alarm::{Alarm, AlarmState};
use super::answers;
use super::store::{Metrics, Point, Series};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;

/// Answers one call of the CloudWatch API.
///
/// # Errors
/// As the service answers them.
pub fn handle(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "PutMetricAlarm" => put_alarm(metrics, call),
        "DescribeAlarms" => describe_alarms(metrics, call),
        "DeleteAlarms" => delete_alarms(metrics, call),
        "SetAlarmState" => set_state(metrics, call),
        "EnableAlarmActions" => enable(metrics, call, true),
        "DisableAlarmActions" => enable(metrics, call, false),
        "TagResource" | "UntagResource" => set_tags(metrics, call),
        "ListTagsForResource" => list_tags(metrics, call),
        "PutMetricData" => put_data(metrics, call),
        "ListMetrics" => answers::list(metrics, call),
        "GetMetricData" => answers::data(metrics, call),
        "GetMetricStatistics" => answers::statistics(metrics, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name)
        .ok_or_else(|| invalid(format!("The parameter {name} is required.")))
}

/// A number, as JSON writes it.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// A time: seconds since 1970.
pub(super) fn time(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
        other => other.as_f64().map(|seconds| (seconds * 1000.0) as i64),
    }
}

/// Dimensions as pairs of `Name` and `Value`.
pub(super) fn dimensions(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_array().into_iter().flatten();
    pairs
        .filter_map(|it| {
            Some((
                it["Name"].as_str()?.to_owned(),
                it["Value"].as_str()?.to_owned(),
            ))
        })
        .collect()
}

fn put_alarm(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "AlarmName")?;
    let comparison = required(call, "ComparisonOperator")?;
    if ![
        "GreaterThanThreshold",
        "GreaterThanOrEqualToThreshold",
        "LessThanThreshold",
        "LessThanOrEqualToThreshold",
    ]
    .contains(&comparison)
    {
        return Err(invalid(format!(
            "The embedded AWS compares only with a threshold, not by {comparison}"
        )));
    }
    let statistic = call.str("Statistic").unwrap_or("Average");
    if Point::of(0, 0.0).statistic(statistic).is_none() {
        return Err(invalid(format!(
            "The value {statistic} is not supported for parameter Statistic."
        )));
    }
    let count = |name: &str| {
        call.integer(name)
            .and_then(|it| usize::try_from(it).ok())
            .filter(|it| *it > 0)
    };
    let periods = count("EvaluationPeriods")
        .ok_or_else(|| invalid("The parameter EvaluationPeriods is required."))?;
    let known = metrics.alarms.get(&call.region, name)?;
    let own = |name: &str| call.strings(name).into_iter().map(str::to_owned).collect();
    let now = clock::now();
    let alarm = Alarm {
        name: name.to_owned(),
        arn: format!("arn:aws:cloudwatch:{}:{ACCOUNT}:alarm:{name}", call.region),
        description: call.str("AlarmDescription").map(str::to_owned),
        series: Series {
            namespace: required(call, "Namespace")?.to_owned(),
            metric: required(call, "MetricName")?.to_owned(),
            dimensions: dimensions(&call.params["Dimensions"]),
        },
        statistic: statistic.to_owned(),
        period: call.integer("Period").unwrap_or(60),
        evaluation_periods: periods,
        datapoints_to_alarm: count("DatapointsToAlarm").unwrap_or(periods).min(periods),
        threshold: number(&call.params["Threshold"])
            .ok_or_else(|| invalid("The parameter Threshold is required."))?,
        comparison: comparison.to_owned(),
        missing: call.str("TreatMissingData").unwrap_or("missing").to_owned(),
        actions_enabled: call.boolean("ActionsEnabled") != Some(false),
        alarm_actions: own("AlarmActions"),
        ok_actions: own("OKActions"),
        insufficient_actions: own("InsufficientDataActions"),
        updated: now,
        state: known
            .as_ref()
            .map_or_else(AlarmState::default, |it| it.state),
        reason: known.as_ref().map_or_else(
            || "Unchecked: Initial alarm creation".to_owned(),
            |it| it.reason.clone(),
        ),
        state_updated: known.as_ref().map_or(now, |it| it.state_updated),
        // Tags come with a new alarm only (API reference, PutMetricAlarm).
        tags: known.map_or_else(|| tags(call), |it| it.tags),
    };
    metrics.put_alarm(&call.region, &alarm)?;
    Ok(Value::Null)
}

fn tags(call: &Call) -> BTreeMap<String, String> {
    let pair = |it: &Value| {
        let text = |name: &str| it[name].as_str().map(str::to_owned);
        Some((text("Key")?, text("Value").unwrap_or_default()))
    };
    call.list("Tags").iter().filter_map(pair).collect()
}

/// The alarm with the ARN that a call names.
fn tagged(metrics: &Metrics, call: &Call) -> Result<Alarm, ApiError> {
    let arn = required(call, "ResourceARN")?;
    let all = metrics.alarms.list(&call.region)?;
    let mut all = all.into_iter().map(|(_, alarm)| alarm);
    all.find(|it| it.arn == arn).ok_or_else(|| {
        let text = format!("The named resource does not exist: {arn}");
        ApiError::new("ResourceNotFoundException", text).with_status(404)
    })
}

fn set_tags(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let mut alarm = tagged(metrics, call)?;
    let gone = call.strings("TagKeys");
    alarm.tags.retain(|key, _| !gone.contains(&key.as_str()));
    alarm.tags.extend(tags(call));
    metrics.put_alarm(&call.region, &alarm)?;
    Ok(json!({}))
}

fn list_tags(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let tags = tagged(metrics, call)?.tags.into_iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({ "Tags": tags }))
}

fn shown(alarm: &Alarm) -> Value {
    let pairs: Vec<Value> = alarm
        .series
        .dimensions
        .iter()
        .map(|(name, value)| json!({"Name": name, "Value": value}))
        .collect();
    let mut shown = Map::new();
    for (name, value) in [
        ("AlarmName", json!(alarm.name)),
        ("AlarmArn", json!(alarm.arn)),
        ("AlarmDescription", json!(alarm.description)),
        (
            "AlarmConfigurationUpdatedTimestamp",
            clock::epoch_seconds(alarm.updated),
        ),
        ("ActionsEnabled", json!(alarm.actions_enabled)),
        ("OKActions", json!(alarm.ok_actions)),
        ("AlarmActions", json!(alarm.alarm_actions)),
        ("InsufficientDataActions", json!(alarm.insufficient_actions)),
        ("StateValue", json!(alarm.state.as_str())),
        ("StateReason", json!(alarm.reason)),
        (
            "StateUpdatedTimestamp",
            clock::epoch_seconds(alarm.state_updated),
        ),
        (
            "StateTransitionedTimestamp",
            clock::epoch_seconds(alarm.state_updated),
        ),
        ("MetricName", json!(alarm.series.metric)),
        ("Namespace", json!(alarm.series.namespace)),
        ("Statistic", json!(alarm.statistic)),
        ("Dimensions", json!(pairs)),
        ("Period", json!(alarm.period)),
        ("EvaluationPeriods", json!(alarm.evaluation_periods)),
        ("DatapointsToAlarm", json!(alarm.datapoints_to_alarm)),
        ("Threshold", json!(alarm.threshold)),
        ("ComparisonOperator", json!(alarm.comparison)),
        ("TreatMissingData", json!(alarm.missing)),
    ] {
        if !value.is_null() {
            shown.insert(name.to_owned(), value);
        }
    }
    Value::Object(shown)
}

fn describe_alarms(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let names = call.strings("AlarmNames");
    let (prefix, state) = (call.str("AlarmNamePrefix"), call.str("StateValue"));
    let found: Vec<Value> = metrics
        .alarms
        .list(&call.region)?
        .iter()
        .map(|(_, alarm)| alarm)
        .filter(|alarm| {
            (names.is_empty() || names.contains(&alarm.name.as_str()))
                && prefix.is_none_or(|prefix| alarm.name.starts_with(prefix))
                && state.is_none_or(|state| alarm.state.as_str() == state)
        })
        .map(shown)
        .collect();
    Ok(json!({"MetricAlarms": found, "CompositeAlarms": []}))
}

fn delete_alarms(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    for name in call.strings("AlarmNames") {
        metrics.delete_alarm(&call.region, name)?;
    }
    Ok(Value::Null)
}

fn change(
    metrics: &Metrics,
    region: &str,
    name: &str,
    change: impl FnOnce(&mut Alarm),
) -> Result<(), ApiError> {
    let _changing = metrics
        .changing
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut alarm = metrics.alarms.get(region, name)?.ok_or_else(|| {
        ApiError::new("ResourceNotFound", format!("Unknown alarm {name}")).with_status(404)
    })?;
    change(&mut alarm);
    Ok(metrics.alarms.put(region, name, &alarm)?)
}

fn set_state(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let state = match required(call, "StateValue")? {
        "OK" => AlarmState::Ok,
        "ALARM" => AlarmState::Alarm,
        "INSUFFICIENT_DATA" => AlarmState::InsufficientData,
        other => return Err(invalid(format!("{other} is not a state of an alarm"))),
    };
    let reason = required(call, "StateReason")?.to_owned();
    change(
        metrics,
        &call.region,
        required(call, "AlarmName")?,
        |alarm| {
            (alarm.state, alarm.reason, alarm.state_updated) = (state, reason, clock::now());
        },
    )?;
    Ok(Value::Null)
}

fn enable(metrics: &Metrics, call: &Call, enabled: bool) -> Result<Value, ApiError> {
    for name in call.strings("AlarmNames") {
        change(metrics, &call.region, name, |alarm| {
            alarm.actions_enabled = enabled
        })?;
    }
    Ok(Value::Null)
}

fn put_data(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let namespace = required(call, "Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "The value AWS/ for parameter Namespace is invalid.",
        ));
    }
    for datum in call.list("MetricData") {
        let at = time(&datum["Timestamp"]).unwrap_or_else(clock::now);
        let statistics = &datum["StatisticValues"];
        let point = match (
            number(&datum["Value"]),
            number(&statistics["Sum"]),
            number(&statistics["SampleCount"]),
        ) {
            (Some(value), ..) => Point::of(at, value),
            (None, Some(sum), Some(count)) => Point {
                at,
                sum,
                count,
                least: number(&statistics["Minimum"]).unwrap_or(sum / count),
                most: number(&statistics["Maximum"]).unwrap_or(sum / count),
            },
            _ => {
                return Err(ApiError::new(
                    "MissingParameter",
                    "The parameter MetricData.member.1.Value is required.",
                ));
            }
        };
        let series = Series {
            namespace: namespace.to_owned(),
            metric: datum["MetricName"].as_str().unwrap_or_default().to_owned(),
            dimensions: dimensions(&datum["Dimensions"]),
        };
        metrics.put(&call.region, series, point);
    }
    Ok(Value::Null)
}
