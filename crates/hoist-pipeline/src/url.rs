//! Where the service answers, and whether it does.

use std::time::{Duration, Instant};

use hoist_aws::{Client, Service};
use hoist_project::UrlConfig;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::refused;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Finds the URL of a service from what DescribeServices answered: its load balancer, else a task's public address.
///
/// `None` where the service has neither (a worker).
///
/// # Errors
/// A describe call was refused.
pub async fn find(aws: &Client, service: &Value) -> Result<Option<String>, Failure> {
    let look_up = "failed to look up the URL";
    for balancer in service["loadBalancers"].as_array().into_iter().flatten() {
        let Some(group) = balancer["targetGroupArn"].as_str() else {
            continue;
        };
        let groups = aws
            .query(
                Service::Elbv2,
                "DescribeTargetGroups",
                &json!({ "TargetGroupArns": [group] }),
            )
            .await
            .map_err(|error| refused(look_up, &error))?;
        let Some(arn) = groups["TargetGroups"][0]["LoadBalancerArns"][0].as_str() else {
            continue;
        };
        let balancers = aws
            .query(
                Service::Elbv2,
                "DescribeLoadBalancers",
                &json!({ "LoadBalancerArns": [arn] }),
            )
            .await
            .map_err(|error| refused(look_up, &error))?;
        let listeners = aws
            .query(
                Service::Elbv2,
                "DescribeListeners",
                &json!({ "LoadBalancerArn": arn }),
            )
            .await
            .map_err(|error| refused(look_up, &error))?;
        let name = balancers["LoadBalancers"][0]["DNSName"]
            .as_str()
            .unwrap_or_default();
        if let Some(url) = listener_url(name, &listeners, group) {
            return Ok(Some(url));
        }
    }
    if service["loadBalancers"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        return public_address(aws, service).await;
    }
    Ok(None)
}

/// The URL of the listener that sends to `group`, else of the first one; HTTPS before HTTP.
fn listener_url(name: &str, listeners: &Value, group: &str) -> Option<String> {
    let mut all: Vec<&Value> = listeners["Listeners"].as_array()?.iter().collect();
    let sends_here = |listener: &Value| {
        listener["DefaultActions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|action| {
                action["TargetGroupArn"] == group
                    || action["ForwardConfig"]["TargetGroups"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|member| member["TargetGroupArn"] == group)
            })
    };
    all.sort_by_key(|listener| (!sends_here(listener), listener["Protocol"] != "HTTPS"));
    let first = all.first()?;
    let scheme = if first["Protocol"] == "HTTPS" {
        "https"
    } else {
        "http"
    };
    let port = number(&first["Port"])?;
    let standard = if scheme == "https" { 443 } else { 80 };
    // The embedded load balancer names its real port in its DNS name where the listener's own could not be bound.
    if port == standard || name.contains(':') {
        Some(format!("{scheme}://{name}/"))
    } else {
        Some(format!("{scheme}://{name}:{port}/"))
    }
}

async fn public_address(aws: &Client, service: &Value) -> Result<Option<String>, Failure> {
    let look_up = "failed to look up the task's public address";
    let (cluster, name) = (&service["clusterArn"], &service["serviceName"]);
    let listed = aws
        .json(
            Service::Ecs,
            "ListTasks",
            json!({ "cluster": cluster, "serviceName": name, "desiredStatus": "RUNNING" }),
        )
        .await
        .map_err(|error| refused(look_up, &error))?;
    if listed["taskArns"].as_array().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let described = aws
        .json(
            Service::Ecs,
            "DescribeTasks",
            json!({ "cluster": cluster, "tasks": listed["taskArns"] }),
        )
        .await
        .map_err(|error| refused(look_up, &error))?;
    let current = &service["taskDefinition"];
    let task = described["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|task| task["taskDefinitionArn"] == *current && task["lastStatus"] == "RUNNING");
    let Some(task) = task else { return Ok(None) };
    let interface = task["attachments"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|attachment| attachment["details"].as_array().into_iter().flatten())
        .find(|detail| detail["name"] == "networkInterfaceId")
        .and_then(|detail| detail["value"].as_str());
    let Some(interface) = interface else {
        return Ok(None);
    };
    let interfaces = aws
        .query(
            Service::Ec2,
            "DescribeNetworkInterfaces",
            &json!({ "NetworkInterfaceId": [interface] }),
        )
        .await
        .map_err(|error| refused(look_up, &error))?;
    let Some(address) = interfaces["networkInterfaceSet"][0]["association"]["publicIp"].as_str()
    else {
        return Ok(None);
    };
    let definition = aws
        .json(
            Service::Ecs,
            "DescribeTaskDefinition",
            json!({ "taskDefinition": current }),
        )
        .await
        .map_err(|error| refused(look_up, &error))?;
    let port = definition["taskDefinition"]["containerDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|container| container["portMappings"].as_array().into_iter().flatten())
        .find_map(|mapping| number(&mapping["containerPort"]));
    Ok(port.map(|port| {
        if port == 80 {
            format!("http://{address}/")
        } else {
            format!("http://{address}:{port}/")
        }
    }))
}

/// A number that may be spelt as a string, as answers in XML are.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Asks `url` with the path that hoist.yaml names until it answers as it should, for at most the time that it says.
///
/// # Errors
/// `NoAnswer` with what the last request saw; cancellation.
pub async fn verify(
    url: &str,
    wanted: &UrlConfig,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let limit = Duration::from_secs(u64::from(wanted.timeout));
    let target = format!(
        "{}/{}",
        url.trim_end_matches('/'),
        wanted.path.trim_start_matches('/')
    );
    let step = events.start(Step::Verify, format!("GET {target}"));
    let client = reqwest::Client::builder()
        .timeout(REQUEST_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| {
            Failure::because(Kind::Unexpected, "failed to set up the HTTP client", &error)
        })?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let seen = match client.get(&target).send().await {
            Ok(answer) if wanted.expect.accepts(answer.status().as_u16()) => {
                step.finish(format!("{target} answers {}", answer.status().as_u16()));
                return Ok(());
            }
            Ok(answer) => format!(
                "it answered {} instead of {}",
                answer.status(),
                wanted.expect
            ),
            Err(error) => {
                Failure::because(Kind::NoAnswer, "the request failed", &error).to_string()
            }
        };
        if began.elapsed() >= limit {
            return Err(Failure::new(Kind::NoAnswer, format!("{target} does not answer as expected after {} s", limit.as_secs()))
                .detail(seen)
                .hint("the deployment itself succeeded; check `url: { path, expect }` in hoist.yaml, the listener's rules and the security groups"));
        }
        cancel
            .or(async {
                tokio::time::sleep(pause).await;
                Ok(())
            })
            .await?;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(all: Value) -> Value {
        json!({ "Listeners": all })
    }

    #[test]
    fn the_listener_that_sends_to_the_group_gives_the_port() {
        let all = listeners(json!([
            { "Port": "80", "Protocol": "HTTP", "DefaultActions": [{ "Type": "redirect" }] },
            { "Port": "8443", "Protocol": "HTTPS", "DefaultActions": [{ "Type": "forward", "TargetGroupArn": "g" }] },
        ]));
        assert_eq!(
            listener_url("a.example", &all, "g").as_deref(),
            Some("https://a.example:8443/")
        );
    }

    #[test]
    fn a_forward_with_weights_is_followed_too() {
        let all = listeners(json!([
            { "Port": 80, "Protocol": "HTTP",
              "DefaultActions": [{ "ForwardConfig": { "TargetGroups": [{ "TargetGroupArn": "g", "Weight": 1 }] } }] },
        ]));
        assert_eq!(
            listener_url("127.0.0.9", &all, "g").as_deref(),
            Some("http://127.0.0.9/")
        );
        assert_eq!(
            listener_url("127.0.0.9:4077", &all, "g").as_deref(),
            Some("http://127.0.0.9:4077/")
        );
        assert_eq!(listener_url("x", &listeners(json!([])), "g"), None);
    }
}
