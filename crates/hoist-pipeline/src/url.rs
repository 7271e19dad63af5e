//! Where the service answers, and whether it does.

use std::time::{Duration, Instant};

use hoist_aws::read::{self, ServiceView};
use hoist_aws::{AwsError, Client, Service};
use hoist_project::UrlConfig;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::parallel::Boxed;
use crate::refusal::refused;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Time for the URL of a service that was not changed.
const UNCHANGED_LIMIT: Duration = Duration::from_secs(10);
/// How long a load balancer inside the network is asked from here, where perhaps no way leads to it.
const INTERNAL_LIMIT: Duration = Duration::from_secs(10);

/// Where a service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The URL.
    pub url: String,
    /// Whether only the network inside can reach it.
    pub internal: bool,
}

/// Finds the URL of a service from what DescribeServices answered: its load balancer, else a task's public address.
///
/// `None` where the service has neither (a worker).
///
/// # Errors
/// A describe call was refused.
pub fn find<'a>(aws: &'a Client, service: &'a Value) -> Boxed<'a, Result<Option<Found>, Failure>> {
    Box::pin(look(aws, service))
}

async fn look(aws: &Client, service: &Value) -> Result<Option<Found>, Failure> {
    let refuse = |error: AwsError| refused("failed to look up the URL", &error);
    if crate::express::is(service) {
        return express(aws, service).await;
    }
    let service = ServiceView::of(service);
    let mut balanced = false;
    for link in service.balancers() {
        balanced = true;
        let group = link.target_group();
        if group.is_empty() {
            continue;
        }
        let params = json!({ "TargetGroupArns": [group] });
        let groups = aws
            .query(Service::Elbv2, "DescribeTargetGroups", &params)
            .await
            .map_err(refuse)?;
        let Some(arn) = read::target_groups(&groups).find_map(|group| group.balancer_arns().next())
        else {
            continue;
        };
        let params = json!({ "LoadBalancerArns": [arn] });
        let balancers = aws
            .query(Service::Elbv2, "DescribeLoadBalancers", &params)
            .await
            .map_err(refuse)?;
        let params = json!({ "LoadBalancerArn": arn });
        let listeners = aws
            .query(Service::Elbv2, "DescribeListeners", &params)
            .await
            .map_err(refuse)?;
        let Some(balancer) = read::balancers(&balancers).next() else {
            continue;
        };
        // Where traffic is shifted, the production listener's rule says which of the two listeners it is.
        let rule = read::list(service.raw(), "loadBalancers")
            .find(|link| link["targetGroupArn"] == group)
            .and_then(|link| link["advancedConfiguration"]["productionListenerRule"].as_str());
        if let Some(url) = listener_url(balancer.dns_name(), &listeners, group, rule) {
            let internal = read::text(balancer.raw(), "Scheme") == "internal";
            return Ok(Some(Found { url, internal }));
        }
    }
    if balanced {
        return Ok(None);
    }
    let url = public_address(aws, service).await?;
    Ok(url.map(|url| Found {
        url,
        internal: false,
    }))
}

/// The endpoint that ECS gave an Express service; a public one before a private one.
async fn express(aws: &Client, service: &Value) -> Result<Option<Found>, Failure> {
    let request = json!({ "serviceArn": service["serviceArn"] });
    let described = aws
        .json(Service::Ecs, "DescribeExpressGatewayService", request)
        .await
        .map_err(|error| refused("failed to look up the URL", &error))?;
    let found = read::list(&described["service"], "activeConfigurations")
        .flat_map(|configuration| read::list(configuration, "ingressPaths"))
        .min_by_key(|path| path["accessType"] != "PUBLIC")
        .map(|path| {
            let endpoint = read::text(path, "endpoint");
            Found {
                url: match endpoint.contains("://") {
                    true => endpoint.to_owned(),
                    false => format!("https://{endpoint}/"),
                },
                internal: path["accessType"] != "PUBLIC",
            }
        });
    Ok(found)
}

/// The URL of the listener of `rule`, else of the one that sends to `group`, else of the first one; HTTPS before HTTP.
fn listener_url(name: &str, listeners: &Value, group: &str, rule: Option<&str>) -> Option<String> {
    // A rule's ARN is its listener's with another word and one more part.
    let has_rule = |listener: &Value| {
        let arn = read::text(listener, "ListenerArn").replacen(":listener/", ":listener-rule/", 1);
        rule.and_then(|rule| rule.strip_prefix(arn.as_str()))
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let sends_here = |listener: &Value| {
        read::list(listener, "DefaultActions").any(|action| {
            action["TargetGroupArn"] == group
                || read::list(&action["ForwardConfig"], "TargetGroups")
                    .any(|member| member["TargetGroupArn"] == group)
        })
    };
    let first = read::list(listeners, "Listeners").min_by_key(|listener| {
        (
            !has_rule(listener),
            !sends_here(listener),
            listener["Protocol"] != "HTTPS",
        )
    })?;
    let scheme = if first["Protocol"] == "HTTPS" {
        "https"
    } else {
        "http"
    };
    let port = read::number(first, "Port")?;
    let standard = if scheme == "https" { 443 } else { 80 };
    // The embedded load balancer names its real port in its DNS name where the listener's own could not be bound.
    if port == standard || name.contains(':') {
        Some(format!("{scheme}://{name}/"))
    } else {
        Some(format!("{scheme}://{name}:{port}/"))
    }
}

async fn public_address(aws: &Client, service: ServiceView<'_>) -> Result<Option<String>, Failure> {
    let refuse = |error: AwsError| refused("failed to look up the task's public address", &error);
    let cluster = service.cluster_arn();
    let listed = aws
        .json(
            Service::Ecs,
            "ListTasks",
            json!({ "cluster": cluster, "serviceName": service.name(), "desiredStatus": "RUNNING" }),
        )
        .await
        .map_err(refuse)?;
    if read::list(&listed, "taskArns").as_slice().is_empty() {
        return Ok(None);
    }
    let described = aws
        .json(
            Service::Ecs,
            "DescribeTasks",
            json!({ "cluster": cluster, "tasks": listed["taskArns"] }),
        )
        .await
        .map_err(refuse)?;
    let current = read::text(service.raw(), "taskDefinition");
    let Some(interface) = read::tasks(&described)
        .find(|task| task.task_definition() == current && task.last_status() == "RUNNING")
        .map(|task| task.interface())
        .filter(|interface| !interface.is_empty())
    else {
        return Ok(None);
    };
    let params = json!({ "NetworkInterfaceId": [interface] });
    let interfaces = aws
        .query(Service::Ec2, "DescribeNetworkInterfaces", &params)
        .await
        .map_err(refuse)?;
    let Some(address) = read::interfaces_public_ip(&interfaces) else {
        return Ok(None);
    };
    let definition = aws
        .json(
            Service::Ecs,
            "DescribeTaskDefinition",
            json!({ "taskDefinition": current }),
        )
        .await
        .map_err(refuse)?;
    let port = read::list(&definition["taskDefinition"], "containerDefinitions")
        .flat_map(|container| read::list(container, "portMappings"))
        .find_map(|mapping| read::number(mapping, "containerPort"));
    Ok(port.map(|port| {
        if port == 80 {
            format!("http://{address}/")
        } else {
            format!("http://{address}:{port}/")
        }
    }))
}

/// Whether `url` leads to this machine, where no proxy stands between.
pub fn is_loopback(url: &str) -> bool {
    reqwest::Url::parse(url)
        .ok()
        .and_then(|url| {
            let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
            Some(
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback()),
            )
        })
        .unwrap_or(false)
}

/// Asks `url` with the path that hoist.yaml names until it answers as it should, for at most the time that it says; where nothing was
/// `changed`, nothing is on its way that were worth that long a wait.
///
/// A load balancer inside the network that cannot be reached from here is said, and is no failure; a wrong answer is.
///
/// # Errors
/// `NoAnswer` with what the last request saw; cancellation.
pub async fn verify(
    found: &Found,
    wanted: &UrlConfig,
    changed: bool,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let mut limit = Duration::from_secs(u64::from(wanted.timeout));
    if !changed {
        limit = limit.min(UNCHANGED_LIMIT);
    }
    if found.internal {
        limit = limit.min(INTERNAL_LIMIT);
    }
    let target = format!(
        "{}/{}",
        found.url.trim_end_matches('/'),
        wanted.path.trim_start_matches('/')
    );
    let step = events.start(Step::Verify, format!("GET {target}"));
    let mut client = hoist_oci::http_client()
        .timeout(REQUEST_LIMIT)
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(&target) {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| {
        Failure::because(Kind::Unexpected, "failed to set up the HTTP client", &error)
    })?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    let mut answered = false;
    loop {
        let asked = async { Ok(client.get(&target).send().await) };
        let seen = match cancel.or(asked).await? {
            Ok(answer) if wanted.expect.accepts(answer.status().as_u16()) => {
                step.finish(format!("{target} answers {}", answer.status().as_u16()));
                return Ok(());
            }
            Ok(answer) => {
                answered = true;
                format!(
                    "it answered {} instead of {}",
                    answer.status(),
                    wanted.expect
                )
            }
            Err(error) => {
                Failure::because(Kind::NoAnswer, "the request failed", &error).to_string()
            }
        };
        if began.elapsed() >= limit && found.internal && !answered {
            step.skip(format!(
                "{target} is inside the network and cannot be reached from here ({seen})"
            ));
            return Ok(());
        }
        if began.elapsed() >= limit {
            return Err(Failure::new(Kind::NoAnswer, format!("{target} does not answer as expected after {} s", limit.as_secs()))
                .detail(seen)
                .hint(format!(
                    "{}; check `url: {{ path, expect }}` and `health` in hoist.yaml, the listener's rules and the security groups",
                    if changed { "the deployment itself succeeded" } else { "nothing was deployed: what ran before still runs" }
                )));
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
            listener_url("a.example", &all, "g", None).as_deref(),
            Some("https://a.example:8443/")
        );
    }

    #[test]
    fn the_production_listener_is_the_one_whose_rule_is_named() {
        let base = "arn:aws:elasticloadbalancing:eu-central-1:1";
        let of = |id: &str, port: u16| {
            json!({ "ListenerArn": format!("{base}:listener/app/bg/0/{id}"), "Port": port, "Protocol": "HTTP",
                "DefaultActions": [{ "TargetGroupArn": "g" }] })
        };
        let all = listeners(json!([of("aa", 81), of("ab", 8080)]));
        let rule = format!("{base}:listener-rule/app/bg/0/ab/99");
        assert_eq!(
            listener_url("a.example", &all, "g", Some(&rule)).as_deref(),
            Some("http://a.example:8080/")
        );
    }

    #[test]
    fn a_forward_with_weights_is_followed_too() {
        let all = listeners(json!([
            { "Port": 80, "Protocol": "HTTP",
              "DefaultActions": [{ "ForwardConfig": { "TargetGroups": [{ "TargetGroupArn": "g", "Weight": 1 }] } }] },
        ]));
        assert_eq!(
            listener_url("127.0.0.9", &all, "g", None).as_deref(),
            Some("http://127.0.0.9/")
        );
        assert_eq!(
            listener_url("127.0.0.9:4077", &all, "g", None).as_deref(),
            Some("http://127.0.0.9:4077/")
        );
        assert_eq!(listener_url("x", &listeners(json!([])), "g", None), None);
    }

    #[test]
    fn no_proxy_stands_before_this_machine() {
        assert!(is_loopback("http://127.0.0.9:4077/healthz"));
        assert!(is_loopback("http://localhost/") && is_loopback("http://[::1]:80/"));
        assert!(!is_loopback("http://203.0.113.12:8080/") && !is_loopback("nonsense"));
    }

    #[tokio::test]
    async fn an_express_service_is_at_the_endpoint_that_ecs_gave_it() {
        let endpoint = crate::testing::Endpoint::answering(|_, _, _| {
            (
                200,
                json!({ "service": { "activeConfigurations": [{ "ingressPaths": [
                    { "accessType": "PRIVATE", "endpoint": "in.example" },
                    { "accessType": "PUBLIC", "endpoint": "web.ecs.eu-central-1.on.aws" }] }] } }),
            )
        })
        .await;
        let service = json!({ "serviceArn": "arn:s", "resourceManagementType": "ECS" });
        let found = find(&endpoint.client, &service).await.unwrap().unwrap();
        assert_eq!(found.url, "https://web.ecs.eu-central-1.on.aws/");
        assert!(!found.internal);
    }
}
