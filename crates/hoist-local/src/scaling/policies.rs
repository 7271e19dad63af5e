use serde_json::{Value, json};

use super::cron::Schedule;
use super::handle::{invalid, not_found, not_found_by, paged, required, resource};
use super::model::{DIMENSION, Policy, Scheduled, key};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;
use crate::metrics::{Alarm, AlarmState, Series};

/// The metrics that target tracking knows by name (API reference, `PredefinedMetricSpecification`), or the one that is given.
fn tracked(resource: &str, configuration: &Value) -> Result<(Series, &'static str), ApiError> {
    let mut parts = resource.split('/').skip(1);
    let (cluster, service) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let of_service = [("ClusterName", cluster), ("ServiceName", service)];
    let predefined = &configuration["PredefinedMetricSpecification"];
    match predefined["PredefinedMetricType"].as_str() {
        Some("ECSServiceAverageCPUUtilization") => Ok((
            Series::new("AWS/ECS", "CPUUtilization", &of_service),
            "Average",
        )),
        Some("ECSServiceAverageMemoryUtilization") => Ok((
            Series::new("AWS/ECS", "MemoryUtilization", &of_service),
            "Average",
        )),
        Some("ALBRequestCountPerTarget") => {
            let label = predefined["ResourceLabel"].as_str().unwrap_or_default();
            let at = label.find("/targetgroup/").ok_or_else(|| {
                invalid("The resource label for metric type ALBRequestCountPerTarget must be app/<load-balancer-name>/<load-balancer-id>/targetgroup/<target-group-name>/<target-group-id>")
            })?;
            let both = [
                ("TargetGroup", &label[at + 1..]),
                ("LoadBalancer", &label[..at]),
            ];
            Ok((
                Series::new("AWS/ApplicationELB", "RequestCountPerTarget", &both),
                "Sum",
            ))
        }
        Some(other) => Err(invalid(format!(
            "Predefined metric type {other} is not valid for a service of ECS"
        ))),
        None => {
            let custom = &configuration["CustomizedMetricSpecification"];
            let text = |name: &str| custom[name].as_str();
            let (Some(namespace), Some(metric)) = (text("Namespace"), text("MetricName")) else {
                return Err(invalid(
                    "A predefined or a customized metric with MetricName and Namespace must be given",
                ));
            };
            let pairs: Vec<(&str, &str)> = custom["Dimensions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|it| Some((it["Name"].as_str()?, it["Value"].as_str()?)))
                .collect();
            let statistic = match text("Statistic") {
                Some("Sum") => "Sum",
                Some("Minimum") => "Minimum",
                Some("Maximum") => "Maximum",
                Some("SampleCount") => "SampleCount",
                _ => "Average",
            };
            Ok((Series::new(namespace, metric, &pairs), statistic))
        }
    }
}

/// The two alarms of target tracking: three minutes above the target, fifteen below nine tenths of it.
fn alarms(
    call: &Call,
    resource: &str,
    policy: &str,
    configuration: &Value,
) -> Result<Vec<Alarm>, ApiError> {
    let target = configuration["TargetValue"]
        .as_f64()
        .filter(|it| *it > 0.0)
        .ok_or_else(|| invalid("TargetValue must be a number above 0"))?;
    let (series, statistic) = tracked(resource, configuration)?;
    let now = clock::now();
    let one = |which: &str, periods: usize, threshold: f64, comparison: &str| {
        let name = format!("TargetTracking-{resource}-{which}-{}", ids::uuid());
        Alarm {
            arn: format!("arn:aws:cloudwatch:{}:{ACCOUNT}:alarm:{name}", call.region),
            name,
            description: Some(format!(
                "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy}."
            )),
            series: series.clone(),
            statistic: statistic.to_owned(),
            period: 60,
            evaluation_periods: periods,
            datapoints_to_alarm: periods,
            threshold,
            comparison: comparison.to_owned(),
            missing: "missing".to_owned(),
            actions_enabled: true,
            alarm_actions: vec![policy.to_owned()],
            ok_actions: Vec::new(),
            insufficient_actions: Vec::new(),
            updated: now,
            state: AlarmState::InsufficientData,
            reason: "Unchecked: Initial alarm creation".to_owned(),
            state_updated: now,
            tags: Default::default(),
        }
    };
    let mut alarms = vec![one("AlarmHigh", 3, target, "GreaterThanThreshold")];
    if configuration["DisableScaleIn"] != true {
        alarms.push(one("AlarmLow", 15, target * 0.9, "LessThanThreshold"));
    }
    Ok(alarms)
}

pub fn put(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (resource, name) = (resource(call)?, required(call, "PolicyName")?);
    let scaling = &ctx.scaling;
    if scaling.targets.get(&call.region, resource)?.is_none() {
        return Err(not_found("scalable target registered", resource));
    }
    let key = key(resource, name);
    let known = scaling.policies.get(&call.region, &key)?;
    let kind = call
        .str("PolicyType")
        .or(known.as_ref().map(|it| it.kind.as_str()))
        .unwrap_or("StepScaling")
        .to_owned();
    let member = match kind.as_str() {
        "TargetTrackingScaling" => "TargetTrackingScalingPolicyConfiguration",
        "StepScaling" => "StepScalingPolicyConfiguration",
        other => {
            return Err(invalid(format!(
                "The embedded AWS has no policies of type {other}"
            )));
        }
    };
    let configuration = match &call.params[member] {
        Value::Null => known
            .as_ref()
            .map(|it| it.configuration.clone())
            .ok_or_else(|| invalid(format!("{member} is required")))?,
        given => given.clone(),
    };
    let arn = known.as_ref().map_or_else(
        || format!("arn:aws:autoscaling:{}:{ACCOUNT}:scalingPolicy:{}:resource/ecs/{resource}:policyName/{name}", call.region, ids::uuid()),
        |it| it.arn.clone(),
    );
    let made = if kind == "TargetTrackingScaling" {
        alarms(call, resource, &arn, &configuration)?
    } else {
        check_steps(&configuration)?;
        Vec::new()
    };
    for alarm in known.iter().flat_map(|it| &it.alarms) {
        ctx.metrics.delete_alarm(&call.region, alarm)?;
    }
    for alarm in &made {
        ctx.metrics.put_alarm(&call.region, alarm)?;
    }
    let policy = Policy {
        resource: resource.to_owned(),
        name: name.to_owned(),
        arn,
        kind,
        configuration,
        alarms: made.iter().map(|it| it.name.clone()).collect(),
        created: known.map_or_else(clock::now, |it| it.created),
    };
    scaling.policies.put(&call.region, &key, &policy)?;
    Ok(json!({"PolicyARN": policy.arn, "Alarms": shown_alarms(&call.region, &policy)}))
}

fn check_steps(configuration: &Value) -> Result<(), ApiError> {
    if ![
        "ChangeInCapacity",
        "PercentChangeInCapacity",
        "ExactCapacity",
    ]
    .contains(&configuration["AdjustmentType"].as_str().unwrap_or_default())
    {
        return Err(invalid(
            "AdjustmentType must be ChangeInCapacity, PercentChangeInCapacity or ExactCapacity",
        ));
    }
    let steps = configuration["StepAdjustments"]
        .as_array()
        .filter(|it| !it.is_empty());
    let steps = steps.ok_or_else(|| invalid("At least one step adjustment must be specified"))?;
    if steps.iter().any(|step| !step["ScalingAdjustment"].is_i64()) {
        return Err(invalid("Every step adjustment needs a ScalingAdjustment"));
    }
    Ok(())
}

fn shown_alarms(region: &str, policy: &Policy) -> Vec<Value> {
    let arn = |name: &str| format!("arn:aws:cloudwatch:{region}:{ACCOUNT}:alarm:{name}");
    policy
        .alarms
        .iter()
        .map(|name| json!({"AlarmName": name, "AlarmARN": arn(name)}))
        .collect()
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (resource, name) = (resource(call)?, required(call, "PolicyName")?);
    let key = key(resource, name);
    let policy = ctx.scaling.policies.get(&call.region, &key)?;
    let policy = policy.ok_or_else(|| not_found_by("scaling policy", resource, name))?;
    for alarm in &policy.alarms {
        ctx.metrics.delete_alarm(&call.region, alarm)?;
    }
    ctx.scaling.policies.delete(&call.region, &key)?;
    Ok(json!({}))
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    required(call, "ServiceNamespace")?;
    let names = call.strings("PolicyNames");
    let shown: Vec<Value> = ctx
        .scaling
        .policies
        .list(&call.region)?
        .into_iter()
        .map(|(_, policy)| policy)
        .filter(|it| {
            call.str("ResourceId")
                .is_none_or(|wanted| it.resource == wanted)
        })
        .filter(|it| names.is_empty() || names.contains(&it.name.as_str()))
        .map(|policy| {
            let member = format!("{}PolicyConfiguration", policy.kind);
            json!({
                "PolicyARN": policy.arn,
                "PolicyName": policy.name,
                "ServiceNamespace": "ecs",
                "ResourceId": policy.resource,
                "ScalableDimension": DIMENSION,
                "PolicyType": policy.kind,
                member: policy.configuration,
                "Alarms": shown_alarms(&call.region, &policy),
                "CreationTime": clock::epoch_seconds(policy.created),
            })
        })
        .collect();
    paged(call, shown, "ScalingPolicies")
}

pub fn schedule(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (resource, name) = (resource(call)?, required(call, "ScheduledActionName")?);
    let scaling = &ctx.scaling;
    if scaling.targets.get(&call.region, resource)?.is_none() {
        return Err(not_found("scalable target registered", resource));
    }
    if !matches!(call.str("Timezone"), None | Some("UTC" | "Etc/UTC")) {
        return Err(invalid("The embedded AWS keeps schedules in UTC"));
    }
    let key = key(resource, name);
    let known = scaling.scheduled.get(&call.region, &key)?;
    let text = call
        .str("Schedule")
        .map(str::to_owned)
        .or_else(|| known.as_ref().map(|it| it.schedule.clone()));
    let text = text.ok_or_else(|| invalid("Schedule is required"))?;
    Schedule::parse(&text)
        .ok_or_else(|| invalid(format!("Invalid schedule expression: {text}")))?;
    let action = &call.params["ScalableTargetAction"];
    let bound = |name: &str| action[name].as_u64().and_then(|it| u32::try_from(it).ok());
    let time = |name: &str| {
        call.params[name]
            .as_f64()
            .map(|seconds| (seconds * 1000.0) as i64)
    };
    let scheduled = Scheduled {
        resource: resource.to_owned(),
        name: name.to_owned(),
        arn: known.as_ref().map_or_else(
            || format!("arn:aws:autoscaling:{}:{ACCOUNT}:scheduledAction:{}:resource/ecs/{resource}:scheduledActionName/{name}", call.region, ids::uuid()),
            |it| it.arn.clone(),
        ),
        schedule: text,
        start: time("StartTime"),
        end: time("EndTime"),
        min: bound("MinCapacity"),
        max: bound("MaxCapacity"),
        created: known.map_or_else(clock::now, |it| it.created),
        done: None,
    };
    scaling.scheduled.put(&call.region, &key, &scheduled)?;
    Ok(json!({}))
}

pub fn unschedule(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (resource, name) = (resource(call)?, required(call, "ScheduledActionName")?);
    if ctx
        .scaling
        .scheduled
        .delete(&call.region, &key(resource, name))?
    {
        return Ok(json!({}));
    }
    Err(not_found_by("scheduled action", resource, name))
}

pub fn schedules(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    required(call, "ServiceNamespace")?;
    let shown: Vec<Value> = ctx
        .scaling
        .scheduled
        .list(&call.region)?
        .into_iter()
        .map(|(_, it)| it)
        .filter(|it| {
            call.str("ResourceId")
                .is_none_or(|wanted| it.resource == wanted)
        })
        .map(|it| {
            let mut shown = json!({
                "ScheduledActionName": it.name,
                "ScheduledActionARN": it.arn,
                "ServiceNamespace": "ecs",
                "Schedule": it.schedule,
                "ResourceId": it.resource,
                "ScalableDimension": DIMENSION,
                "CreationTime": clock::epoch_seconds(it.created),
            });
            for (name, at) in [("StartTime", it.start), ("EndTime", it.end)] {
                if let Some(at) = at {
                    shown[name] = clock::epoch_seconds(at);
                }
            }
            for (name, bound) in [("MinCapacity", it.min), ("MaxCapacity", it.max)] {
                if let Some(bound) = bound {
                    shown["ScalableTargetAction"][name] = json!(bound);
                }
            }
            shown
        })
        .collect();
    paged(call, shown, "ScheduledActions")
}
