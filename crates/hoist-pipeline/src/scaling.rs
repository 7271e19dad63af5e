//! Service auto scaling: the bounds and the averages that hoist.yaml names.

use hoist_aws::{Client, Service, read};
use hoist_project::ScalingConfig;
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::Failure;
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
    let resource = format!(
        "service/{}/{name}",
        cluster.rsplit('/').next().unwrap_or(cluster)
    );
    let target = json!({
        "ServiceNamespace": "ecs",
        "ResourceId": resource,
        "ScalableDimension": "ecs:service:DesiredCount",
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
    for (metric, value) in [
        ("ECSServiceAverageCPUUtilization", wanted.cpu),
        ("ECSServiceAverageMemoryUtilization", wanted.memory),
        ("ALBRequestCountPerTarget", wanted.requests),
    ] {
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
        request["PolicyName"] = json!(format!("hoist-{metric}"));
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
    events.note(
        Step::Deploy,
        format!(
            "{name} scales between {} and {} tasks",
            wanted.min, wanted.max
        ),
    );
    Ok(())
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
