//! What the scheduler reads of requests; everything else of them is kept as it came.

use serde_json::{Map, Value};

use crate::{
    Breaker, Condition, ContainerDefinition, Dependency, DeploymentAlarms, DeploymentConfiguration,
    EarlySuccess, HealthCheck, Hook, HookAction, LifecycleStage, LoadBalancer, Millis, Refusal,
    Strategy, ThresholdKind,
};

type Request = Map<String, Value>;

/// The members of UpdateService that make a new revision, and with it a new deployment
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-service-parameters.html>).
pub(crate) const REVISION_MEMBERS: &[&str] = &[
    "capacityProviderStrategy",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "serviceConnectConfiguration",
    "serviceRegistries",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];

/// The members of a service request that do not describe the service.
const NOT_KEPT: &[&str] = &[
    "clientToken",
    "cluster",
    "desiredCount",
    "forceNewDeployment",
    "service",
    "serviceName",
    "taskDefinition",
];

/// The text member `name`, if it is there.
pub(crate) fn text<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.get(name).and_then(Value::as_str)
}

/// The text member `name`.
pub(crate) fn required<'a>(request: &'a Request, name: &str) -> Result<&'a str, Refusal> {
    text(request, name)
        .filter(|it| !it.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("{name} can not be blank.")))
}

/// The number member `name`, if it is there and in range.
pub(crate) fn number(request: &Request, name: &str) -> Option<u32> {
    request
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|it| u32::try_from(it).ok())
}

/// The true-or-false member `name`.
pub(crate) fn flag(request: &Request, name: &str) -> bool {
    request.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether a member of a service request describes the service.
pub(crate) fn is_kept(name: &str, value: &Value) -> bool {
    !NOT_KEPT.contains(&name) && !value.is_null()
}

/// Lays a service request over what is kept of earlier ones. `deploymentConfiguration` is laid over member by member.
pub(crate) fn keep(kept: &mut Request, request: Request) {
    for (name, value) in request {
        if !is_kept(&name, &value) {
            continue;
        }
        match value {
            Value::Object(new) if name == "deploymentConfiguration" => match kept.get_mut(&name) {
                Some(Value::Object(old)) => old.extend(new),
                _ => {
                    kept.insert(name, Value::Object(new));
                }
            },
            // A service has a strategy or a launch type; an empty strategy brings the launch type back.
            Value::Array(items) if name == "capacityProviderStrategy" => {
                if !items.is_empty() {
                    kept.remove("launchType");
                    kept.insert(name, items.into());
                } else if kept.remove(&name).is_some() {
                    kept.insert("launchType".to_owned(), "FARGATE".into());
                }
            }
            value => {
                kept.insert(name, value);
            }
        }
    }
}

/// `deploymentConfiguration` of what is kept, defaults filled in.
pub(crate) fn configuration(kept: &Request) -> Result<DeploymentConfiguration, Refusal> {
    let mut read = DeploymentConfiguration::default();
    let Some(given) = kept
        .get("deploymentConfiguration")
        .and_then(Value::as_object)
    else {
        return Ok(read);
    };
    if let Some(percent) = number(given, "minimumHealthyPercent") {
        read.minimum_healthy_percent = percent;
    }
    if let Some(percent) = number(given, "maximumPercent") {
        read.maximum_percent = percent;
    }
    if read.maximum_percent == 0 || read.maximum_percent < read.minimum_healthy_percent {
        return Err(Refusal::invalid(
            "maximumPercent must be greater than zero and at least minimumHealthyPercent.",
        ));
    }
    if read.minimum_healthy_percent >= 100 && read.maximum_percent <= 100 {
        return Err(Refusal::invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ));
    }
    if let Some(minutes) = number(given, "bakeTimeInMinutes") {
        read.bake_time = Millis::from(minutes) * 60_000;
    }
    if let Some(breaker) = given
        .get("deploymentCircuitBreaker")
        .and_then(Value::as_object)
    {
        read.breaker = Breaker {
            enable: flag(breaker, "enable"),
            rollback: flag(breaker, "rollback"),
            reset_on_healthy_task: breaker
                .get("resetOnHealthyTask")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            ..Breaker::default()
        };
        if let Some(threshold) = breaker
            .get("thresholdConfiguration")
            .and_then(Value::as_object)
        {
            read.breaker.threshold_kind = match text(threshold, "type") {
                Some("UNBOUNDED_PERCENT") => ThresholdKind::UnboundedPercent,
                Some("COUNT") => ThresholdKind::Count,
                _ => ThresholdKind::BoundedPercent,
            };
            if let Some(value) = number(threshold, "value") {
                read.breaker.threshold_value = value;
            }
        }
    }
    read_strategy(&mut read, given)?;
    if let Some(alarms) = given.get("alarms").and_then(Value::as_object) {
        read.alarms = DeploymentAlarms {
            names: strings(alarms.get("alarmNames")),
            enable: flag(alarms, "enable"),
            rollback: flag(alarms, "rollback"),
        };
    }
    if let Some(early) = given.get("earlySuccessCriteria").and_then(Value::as_object)
        && flag(early, "enable")
    {
        let percent = number(early, "healthyPercent").unwrap_or(100);
        if percent > 100 || percent < read.minimum_healthy_percent {
            return Err(Refusal::invalid(
                "healthyPercent must be between minimumHealthyPercent and 100.",
            ));
        }
        if read.strategy.shifts_traffic() {
            return Err(Refusal::invalid(
                "earlySuccessCriteria can be used only with the ROLLING deployment strategy.",
            ));
        }
        read.early_success = Some(EarlySuccess {
            healthy_percent: percent,
            deferred: text(early, "sourceServiceRevisionCleanup") == Some("DEFERRED"),
        });
    }
    Ok(read)
}

/// `strategy`, its steps and its hooks.
fn read_strategy(read: &mut DeploymentConfiguration, given: &Request) -> Result<(), Refusal> {
    let part = |name: &str| given.get(name).and_then(Value::as_object);
    let minutes = |part: Option<&Request>, name: &str, default: u32| {
        let minutes = part.and_then(|it| number(it, name)).unwrap_or(default);
        if minutes > 1_440 {
            return Err(Refusal::invalid(format!(
                "{name} must be between 0 and 1440."
            )));
        }
        Ok(Millis::from(minutes) * 60_000)
    };
    let tenths = |part: Option<&Request>, name: &str, least: u32, default: u32| {
        let percent = part.and_then(|it| it.get(name)).and_then(Value::as_f64);
        let tenths = percent.map_or(default, |it| (it * 10.0).round() as u32);
        if !(least..=1_000).contains(&tenths) {
            let least = f64::from(least) / 10.0;
            return Err(Refusal::invalid(format!(
                "{name} must be between {least:.1} and 100.0."
            )));
        }
        Ok(tenths)
    };
    match text(given, "strategy") {
        None | Some("ROLLING") => {}
        Some("BLUE_GREEN") => read.strategy = Strategy::BlueGreen,
        Some("LINEAR") => {
            let linear = part("linearConfiguration");
            read.strategy = Strategy::Linear;
            read.step = tenths(linear, "stepPercent", 30, 100)?;
            read.step_bake_time = minutes(linear, "stepBakeTimeInMinutes", 6)?;
        }
        Some("CANARY") => {
            let canary = part("canaryConfiguration");
            read.strategy = Strategy::Canary;
            read.step = tenths(canary, "canaryPercent", 1, 50)?;
            read.step_bake_time = minutes(canary, "canaryBakeTimeInMinutes", 10)?;
        }
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "{other} is not a deployment strategy."
            )));
        }
    }
    let hooks = given.get("lifecycleHooks").and_then(Value::as_array);
    for hook in hooks.into_iter().flatten().filter_map(Value::as_object) {
        read.hooks.push(read_hook(hook)?);
    }
    Ok(())
}

/// Refusals of pauses: developer guide, troubleshooting blue/green deployments.
fn read_hook(given: &Request) -> Result<Hook, Refusal> {
    let pauses = match text(given, "targetType") {
        None | Some("AWS_LAMBDA") => false,
        Some("PAUSE") => true,
        Some(_) => {
            return Err(Refusal::invalid(
                "Invalid targetType. Valid values are: AWS_LAMBDA, PAUSE",
            ));
        }
    };
    let target = text(given, "hookTargetArn").map(str::to_owned);
    if !pauses && target.is_none() {
        return Err(Refusal::invalid(
            "hookTargetArn must be specified for lifecycle hooks of type AWS_LAMBDA.",
        ));
    }
    let mut stages = Vec::new();
    for word in strings(given.get("lifecycleStages")) {
        let stage = LifecycleStage::named(&word).filter(|it| it.takes_hooks());
        let stage = stage.ok_or_else(|| {
            Refusal::invalid(format!("Lifecycle hooks are not supported at {word}."))
        })?;
        let shifts = [
            LifecycleStage::TestTrafficShift,
            LifecycleStage::ProductionTrafficShift,
        ];
        if pauses && shifts.contains(&stage) {
            return Err(Refusal::invalid(
                "Invalid lifecycle stage provided for Pause Hook",
            ));
        }
        stages.push(stage);
    }
    let timeout = given.get("timeoutConfiguration").and_then(Value::as_object);
    let minutes = timeout.and_then(|it| number(it, "timeoutInMinutes"));
    // "Valid Range: Minimum value of 1. Maximum value of 20160" (API reference).
    if minutes.is_some_and(|it| !(1..=20_160).contains(&it)) {
        return Err(Refusal::invalid(
            "timeoutInMinutes must be between 1 and 20160.",
        ));
    }
    Ok(Hook {
        target: target.filter(|_| !pauses),
        stages,
        details: given.get("hookDetails").map(Value::to_string),
        timeout: Millis::from(minutes.unwrap_or(1_440)) * 60_000,
        on_timeout: match timeout.and_then(|it| text(it, "action")) {
            Some("CONTINUE") => HookAction::Continue,
            _ => HookAction::Rollback,
        },
    })
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

/// `loadBalancers` of what is kept; entries without a target group (Classic Load Balancers) are none for Fargate.
pub(crate) fn load_balancers(kept: &Request) -> Vec<LoadBalancer> {
    kept.get("loadBalancers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .filter_map(|it| {
            Some(LoadBalancer {
                target_group: text(it, "targetGroupArn")?.to_owned(),
                container: text(it, "containerName").unwrap_or_default().to_owned(),
                port: u16::try_from(number(it, "containerPort")?).ok()?,
                alternate: advanced(it, "alternateTargetGroupArn"),
                production_rule: advanced(it, "productionListenerRule"),
                test_rule: advanced(it, "testListenerRule"),
            })
        })
        .collect()
}

fn advanced(balancer: &Request, name: &str) -> Option<String> {
    let advanced = balancer.get("advancedConfiguration")?.as_object()?;
    text(advanced, name).map(str::to_owned)
}

/// The containers of a task definition document.
pub(crate) fn containers(document: &Request) -> Vec<ContainerDefinition> {
    document
        .get("containerDefinitions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(container)
        .collect()
}

fn container(given: &Request) -> ContainerDefinition {
    let seconds = |request: &Request, name: &str| {
        number(request, name).map(|seconds| Millis::from(seconds) * 1_000)
    };
    ContainerDefinition {
        name: text(given, "name").unwrap_or_default().to_owned(),
        image: text(given, "image").unwrap_or_default().to_owned(),
        essential: given
            .get("essential")
            .and_then(Value::as_bool)
            .unwrap_or(true),
        depends_on: given
            .get("dependsOn")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .filter_map(|it| {
                Some(Dependency {
                    container: text(it, "containerName")?.to_owned(),
                    condition: match text(it, "condition")? {
                        "START" => Condition::Start,
                        "COMPLETE" => Condition::Complete,
                        "SUCCESS" => Condition::Success,
                        "HEALTHY" => Condition::Healthy,
                        _ => return None,
                    },
                })
            })
            .collect(),
        health_check: given
            .get("healthCheck")
            .and_then(Value::as_object)
            .map(|check| HealthCheck {
                command: check
                    .get("command")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|it| it.as_str().map(str::to_owned))
                    .collect(),
                interval: seconds(check, "interval").unwrap_or(30_000),
                timeout: seconds(check, "timeout").unwrap_or(5_000),
                retries: number(check, "retries").unwrap_or(3),
                start_period: seconds(check, "startPeriod").unwrap_or(0),
            })
            // `["NONE"]` turns a check off.
            .filter(|check| check.command.first().is_some_and(|it| it != "NONE")),
        stop_timeout: seconds(given, "stopTimeout").unwrap_or(30_000),
        start_timeout: seconds(given, "startTimeout"),
        pinned: text(given, "versionConsistency") != Some("disabled"),
    }
}
