//! Service auto scaling: the bounds and the averages that hoist.yaml names.

use hoist_aws::{AwsError, Client, Service, read};
use hoist_project::ScalingConfig;
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::refused;
use crate::service::is_unknown_operation;

/// Registers the scalable target and its target-tracking policies. Both calls replace what is there, so they can be repeated.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html>.
///
/// # Errors
/// AWS refused a call. An endpoint that does not know auto scaling makes a warning.
pub async fn apply(
    aws: &Client,
    cluster: &str,
    service: &Value,
    wanted: &ScalingConfig,
    events: &Events,
) -> Result<(), Failure> {
    let name = read::text(service, "serviceName");
    let target = json!({
        "ServiceNamespace": "ecs",
        "ResourceId": resource(cluster, name),
        "ScalableDimension": DIMENSION,
    });
    let mut request = target.clone();
    request["MinCapacity"] = json!(wanted.min);
    request["MaxCapacity"] = json!(wanted.max);
    match aws
        .json(
            Service::ApplicationAutoScaling,
            "RegisterScalableTarget",
            request,
        )
        .await
    {
        Ok(_) => {}
        Err(error) if is_unknown_operation(&error) => {
            events.warn(
                Step::Deploy,
                format!("`scaling` of {name} was not applied: this endpoint has no auto scaling"),
            );
            return Ok(());
        }
        Err(error) => {
            return Err(refused(
                format!("failed to register {name} for auto scaling"),
                &error,
            ));
        }
    }
    let label = match wanted.requests {
        Some(_) => request_label(aws, service).await?,
        None => None,
    };
    let values = [wanted.cpu, wanted.memory, wanted.requests];
    for ((_, metric), value) in METRICS.into_iter().zip(values) {
        let Some(value) = value else { continue };
        let mut specification = json!({ "PredefinedMetricType": metric });
        if metric == "ALBRequestCountPerTarget" {
            let Some(label) = &label else {
                events.warn(Step::Deploy, format!("`scaling: {{ requests }}` of {name} was not applied: it has no load balancer"));
                continue;
            };
            specification["ResourceLabel"] = json!(label);
        }
        let mut request = target.clone();
        request["PolicyName"] = json!(policy_name(metric));
        request["PolicyType"] = json!("TargetTrackingScaling");
        request["TargetTrackingScalingPolicyConfiguration"] =
            json!({ "TargetValue": value, "PredefinedMetricSpecification": specification });
        aws.json(Service::ApplicationAutoScaling, "PutScalingPolicy", request)
            .await
            .map_err(|error| {
                refused(
                    format!("failed to set the scaling policy of {name}"),
                    &error,
                )
            })?;
    }
    forget_others(aws, name, &target, values, events).await;
    events.note(
        Step::Deploy,
        format!(
            "{name} scales between {} and {} tasks",
            wanted.min, wanted.max
        ),
    );
    Ok(())
}

/// Deletes the policies that hoist made and hoist.yaml no longer names: they would go on scaling. A refusal is told, and fails nothing.
async fn forget_others(
    aws: &Client,
    name: &str,
    target: &Value,
    values: [Option<u32>; 3],
    events: &Events,
) {
    let autoscaling = Service::ApplicationAutoScaling;
    let seen = aws
        .json(autoscaling, "DescribeScalingPolicies", target.clone())
        .await
        .unwrap_or_default();
    for ((word, metric), value) in METRICS.into_iter().zip(values) {
        let policy = policy_name(metric);
        let is_there = read::list(&seen, "ScalingPolicies").any(|one| one["PolicyName"] == policy);
        if value.is_some() || !is_there {
            continue;
        }
        let mut request = target.clone();
        request["PolicyName"] = json!(policy);
        match aws.json(autoscaling, "DeleteScalingPolicy", request).await {
            Ok(_) => events.note(Step::Deploy, format!("{name} no longer scales by {word}")),
            Err(error) => events.warn(
                Step::Deploy,
                format!(
                    "{name} still scales by {word}: failed to delete the policy {policy}: {error}"
                ),
            ),
        }
    }
}

/// The metrics that hoist.yaml names, and what AWS calls them.
const METRICS: [(&str, &str); 3] = [
    ("cpu", "ECSServiceAverageCPUUtilization"),
    ("memory", "ECSServiceAverageMemoryUtilization"),
    ("requests", "ALBRequestCountPerTarget"),
];

/// What hoist.yaml says, in words.
pub fn in_words(wanted: &ScalingConfig) -> String {
    let by = [wanted.cpu, wanted.memory, wanted.requests];
    let by = METRICS
        .iter()
        .zip(by)
        .filter_map(|((word, _), value)| Some(format!("{word} {}", value?)));
    words(wanted.min.into(), wanted.max.into(), by.collect())
}

fn words(min: i64, max: i64, by: Vec<String>) -> String {
    let bounds = format!("{min} to {max} tasks");
    match by.is_empty() {
        true => bounds,
        false => format!("{bounds} by {}", by.join(", ")),
    }
}

/// What is registered for a service, in the same words; `None` where nothing is, or where the endpoint knows no auto scaling.
///
/// # Errors
/// AWS refused a call.
pub async fn registered(
    aws: &Client,
    cluster: &str,
    service: &Value,
) -> Result<Option<String>, Failure> {
    let name = read::text(service, "serviceName");
    let ask = async |operation, request| match aws
        .json(Service::ApplicationAutoScaling, operation, request)
        .await
    {
        Ok(answer) => Ok(answer),
        // A plan says what it may know.
        Err(error) if is_unknown_operation(&error) || error.is_access_denied() => Ok(Value::Null),
        Err(error) => Err(refused(
            format!("failed to look up the auto scaling of {name}"),
            &error,
        )),
    };
    let targets = ask("DescribeScalableTargets", which(cluster, name)).await?;
    let Some(target) = read::list(&targets, "ScalableTargets").next() else {
        return Ok(None);
    };
    let id = resource(cluster, name);
    let request =
        json!({ "ServiceNamespace": "ecs", "ResourceId": id, "ScalableDimension": DIMENSION });
    let policies = ask("DescribeScalingPolicies", request).await?;
    let by = METRICS.iter().filter_map(|(word, metric)| {
        let policy = read::list(&policies, "ScalingPolicies")
            .find(|policy| policy["PolicyName"] == policy_name(metric))?;
        let value = &policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"];
        Some(format!("{word} {}", value.as_f64()?))
    });
    let (min, max) = capacities(target);
    Ok(Some(words(min, max, by.collect())))
}

/// The bounds between which auto scaling keeps a service; `None` where it is not registered.
pub(crate) async fn bounds(
    aws: &Client,
    cluster: &str,
    name: &str,
) -> Result<Option<(i64, i64)>, AwsError> {
    let answer = aws
        .json(
            Service::ApplicationAutoScaling,
            "DescribeScalableTargets",
            which(cluster, name),
        )
        .await?;
    let target = read::list(&answer, "ScalableTargets").next();
    Ok(target.map(capacities))
}

/// Sets the bounds between which auto scaling keeps a service; one that is not named stays.
///
/// # Errors
/// Not both are named and none are registered, the lower one is above the upper one, or AWS refused a call.
pub(crate) async fn bound(
    aws: &Client,
    cluster: &str,
    name: &str,
    (min, max): (Option<u32>, Option<u32>),
    events: &Events,
) -> Result<(), Failure> {
    let asked = bounds(aws, cluster, name).await;
    let before = asked.map_err(|error| {
        refused(
            format!("failed to look up the auto scaling of {name}"),
            &error,
        )
    })?;
    let bound = |wanted: Option<u32>, before: Option<i64>| wanted.map(i64::from).or(before);
    let (Some(least), Some(most)) = (
        bound(min, before.map(|it| it.0)),
        bound(max, before.map(|it| it.1)),
    ) else {
        let message = format!("{name} is not registered for auto scaling yet");
        return Err(Failure::new(Kind::Check, message).hint("name both --min and --max"));
    };
    if least > most {
        let message = format!("{name} cannot be kept between {least} and {most} tasks");
        return Err(Failure::new(Kind::Check, message).hint("--min must not be greater than --max"));
    }
    let request = json!({
        "ServiceNamespace": "ecs",
        "ResourceId": resource(cluster, name),
        "ScalableDimension": DIMENSION,
        "MinCapacity": least,
        "MaxCapacity": most,
    });
    aws.json(
        Service::ApplicationAutoScaling,
        "RegisterScalableTarget",
        request,
    )
    .await
    .map_err(|error| refused(format!("failed to set the bounds of {name}"), &error))?;
    events.note(
        Step::Deploy,
        format!("auto scaling keeps {least} to {most} tasks of {name}"),
    );
    Ok(())
}

fn capacities(target: &Value) -> (i64, i64) {
    let number = |name| read::number(target, name).unwrap_or(0);
    (number("MinCapacity"), number("MaxCapacity"))
}

/// What DescribeScalableTargets is asked for a service.
fn which(cluster: &str, name: &str) -> Value {
    json!({
        "ServiceNamespace": "ecs",
        "ResourceIds": [resource(cluster, name)],
        "ScalableDimension": DIMENSION,
    })
}

const DIMENSION: &str = "ecs:service:DesiredCount";

fn resource(cluster: &str, name: &str) -> String {
    format!(
        "service/{}/{name}",
        cluster.rsplit('/').next().unwrap_or(cluster)
    )
}

/// Policies of this name are hoist's.
fn policy_name(metric: &str) -> String {
    format!("hoist-{metric}")
}

/// `app/NAME/ID/targetgroup/NAME/ID`, by which the request metric knows the target group.
async fn request_label(aws: &Client, service: &Value) -> Result<Option<String>, Failure> {
    let Some(group) =
        read::list(service, "loadBalancers").find_map(|link| link["targetGroupArn"].as_str())
    else {
        return Ok(None);
    };
    let answer = aws
        .query(
            Service::Elbv2,
            "DescribeTargetGroups",
            &json!({ "TargetGroupArns": [group] }),
        )
        .await
        .map_err(|error| refused("failed to describe the target group", &error))?;
    let balancer = answer["TargetGroups"][0]["LoadBalancerArns"][0]
        .as_str()
        .unwrap_or_default();
    Ok(label(balancer, group))
}

fn label(balancer: &str, group: &str) -> Option<String> {
    let (_, balancer) = balancer.split_once(":loadbalancer/")?;
    let group = group.rsplit(':').next()?;
    Some(format!("{balancer}/{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_metric_is_labelled_by_balancer_and_group() {
        let balancer =
            "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/shop/50dc6c495c0c9188";
        let group = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/shop/943f017f100becff";
        assert_eq!(
            label(balancer, group).as_deref(),
            Some("app/shop/50dc6c495c0c9188/targetgroup/shop/943f017f100becff")
        );
        assert_eq!(label("", group), None);
    }
}
