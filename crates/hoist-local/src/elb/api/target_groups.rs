use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ask::{change_attributes, invalid, listed, name, number, page, required, tags};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::ec2::Ec2;
use crate::elb::Balancers;
use crate::elb::balancers::group_not_found;
use crate::elb::check::Matcher;
use crate::elb::model::{HttpMatcher, ShownTargetGroup, TargetGroup, target_group_attributes};
use crate::ids;

/// The target group that `TargetGroupArn` names.
pub fn named(balancers: &Balancers, call: &Call) -> Result<TargetGroup, ApiError> {
    let arn = required(call, "TargetGroupArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":targetgroup/") {
        return Err(invalid(format!("'{arn}' is not a valid target group ARN")));
    }
    balancers
        .tables()
        .groups
        .get(&call.region, arn)?
        .ok_or_else(group_not_found)
}

pub async fn create(balancers: &Balancers, ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let called = required(call, "Name")?;
    name(called, "Target group")?;
    let target_type = call.str("TargetType").unwrap_or("instance");
    if !matches!(target_type, "instance" | "ip") {
        return Err(invalid(format!(
            "Target type '{target_type}' is not supported by the embedded AWS; use ip"
        )));
    }
    let protocol = call
        .str("Protocol")
        .ok_or_else(|| invalid("A protocol must be specified"))?;
    if !matches!(
        protocol,
        "HTTP" | "HTTPS" | "TCP" | "TLS" | "UDP" | "TCP_UDP"
    ) {
        return Err(invalid(format!(
            "Protocol '{protocol}' is not supported by the embedded AWS; use HTTP, HTTPS, TCP, TLS, UDP or TCP_UDP"
        )));
    }
    let port = number(call, "Port", 1, 65535, "Port")?
        .ok_or_else(|| invalid("A port must be specified"))?;
    let vpc_id = call
        .str("VpcId")
        .ok_or_else(|| invalid("A VPC ID must be specified"))?;
    if !ec2.has_vpc(&call.region, vpc_id) {
        return Err(invalid(format!("The VPC ID '{vpc_id}' is not found")));
    }
    let http = is_http(protocol);
    let mut shown = ShownTargetGroup {
        target_group_arn: format!(
            "arn:aws:elasticloadbalancing:{}:{ACCOUNT}:targetgroup/{called}/{}",
            call.region,
            ids::hex(16)
        ),
        target_group_name: called.to_owned(),
        protocol: protocol.to_owned(),
        port: u16::try_from(port).map_err(|_| invalid("A port must be specified"))?,
        vpc_id: vpc_id.to_owned(),
        health_check_protocol: if http { protocol } else { "TCP" }.to_owned(),
        health_check_port: "traffic-port".into(),
        health_check_enabled: true,
        health_check_interval_seconds: 30,
        health_check_timeout_seconds: if http { 5 } else { 10 },
        healthy_threshold_count: 5,
        unhealthy_threshold_count: 2,
        health_check_path: None,
        matcher: None,
        target_type: target_type.to_owned(),
        protocol_version: http.then(|| call.str("ProtocolVersion").unwrap_or("HTTP1").to_owned()),
        ip_address_type: call.str("IpAddressType").unwrap_or("ipv4").to_owned(),
    };
    if let Some(version) = shown.protocol_version.as_deref()
        && version != "HTTP1"
    {
        return Err(invalid(format!(
            "Protocol version '{version}' is not supported by the embedded AWS, whose load balancers speak HTTP/1.1 with targets; use HTTP1"
        )));
    }
    health_settings(call, &mut shown)?;
    let tags = tags(call)?;
    let all = balancers.tables().groups.list(&call.region)?;
    if let Some((arn, there)) = all
        .into_iter()
        .find(|(_, group)| group.shown.target_group_name == called)
    {
        shown.target_group_arn = arn;
        if shown != there.shown || tags != there.tags {
            return Err(ApiError::new(
                "DuplicateTargetGroupName",
                format!(
                    "A target group with the same name '{called}' exists, but with different settings"
                ),
            ));
        }
        return Ok(
            json!({"TargetGroups": [answer(&there, &associations(balancers, &call.region)?)?]}),
        );
    }
    let group = TargetGroup {
        shown,
        attributes: target_group_attributes(protocol),
        tags,
        targets: Vec::new(),
    };
    let arn = group.shown.target_group_arn.clone();
    balancers.tables().groups.put(&call.region, &arn, &group)?;
    balancers.start_group(&arn, &group, false);
    Ok(json!({"TargetGroups": [answer(&group, &BTreeMap::new())?]}))
}

/// Whether a protocol is HTTP, in TLS or not.
fn is_http(protocol: &str) -> bool {
    matches!(protocol, "HTTP" | "HTTPS")
}

/// Takes the health check settings of a create or modify call.
fn health_settings(call: &Call, shown: &mut ShownTargetGroup) -> Result<(), ApiError> {
    if let Some(protocol) = call.str("HealthCheckProtocol") {
        let known = is_http(protocol) || (protocol == "TCP" && !is_http(&shown.protocol));
        if !known {
            return Err(invalid(format!(
                "Health check protocol '{protocol}' is not supported for target groups with the {} protocol",
                shown.protocol
            )));
        }
        protocol.clone_into(&mut shown.health_check_protocol);
    }
    if let Some(port) = call.str("HealthCheckPort") {
        if port != "traffic-port" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(invalid(format!(
                "Health check port '{port}' must be 'traffic-port' or in the range 1-65535"
            )));
        }
        port.clone_into(&mut shown.health_check_port);
    }
    if let Some(on) = call.boolean("HealthCheckEnabled") {
        if !on {
            return Err(invalid(
                "Health check enabled must be true for target groups with target type 'ip' or 'instance'",
            ));
        }
        shown.health_check_enabled = on;
    }
    if let Some(n) = number(
        call,
        "HealthCheckIntervalSeconds",
        5,
        300,
        "Health check interval",
    )? {
        shown.health_check_interval_seconds = n;
    }
    if let Some(n) = number(
        call,
        "HealthCheckTimeoutSeconds",
        2,
        120,
        "Health check timeout",
    )? {
        shown.health_check_timeout_seconds = n;
    }
    if let Some(n) = number(
        call,
        "HealthyThresholdCount",
        2,
        10,
        "Healthy threshold count",
    )? {
        shown.healthy_threshold_count = n;
    }
    if let Some(n) = number(
        call,
        "UnhealthyThresholdCount",
        2,
        10,
        "Unhealthy threshold count",
    )? {
        shown.unhealthy_threshold_count = n;
    }
    let longer = if is_http(&shown.protocol) {
        shown.health_check_interval_seconds > shown.health_check_timeout_seconds
    } else {
        shown.health_check_interval_seconds >= shown.health_check_timeout_seconds
    };
    if !longer {
        return Err(invalid(
            "Health check interval must be greater than the timeout.",
        ));
    }
    let path = call.str("HealthCheckPath");
    let matcher = &call.params["Matcher"];
    if matcher["GrpcCode"].is_string() {
        return Err(invalid(
            "A matcher of gRPC codes is for target groups of the protocol version GRPC, which the embedded AWS does not support",
        ));
    }
    let code = matcher["HttpCode"].as_str();
    if is_http(&shown.health_check_protocol) {
        if let Some(path) = path
            && (!path.starts_with('/')
                || path.len() > 1024
                || path.parse::<http::uri::PathAndQuery>().is_err())
        {
            return Err(invalid(format!(
                "Health check path '{path}' must begin with a '/' character and be at most 1024 characters long"
            )));
        }
        if let Some(code) = code {
            code.parse::<Matcher>().map_err(|_| {
                invalid(format!(
                    "Health check matcher HTTP code '{code}' must be within '200-499' inclusive"
                ))
            })?;
        }
        let path = path
            .map(str::to_owned)
            .or_else(|| shown.health_check_path.take());
        shown.health_check_path = Some(path.unwrap_or_else(|| "/".into()));
        let code = code
            .map(|code| HttpMatcher {
                http_code: code.to_owned(),
            })
            .or_else(|| shown.matcher.take());
        shown.matcher = Some(code.unwrap_or(HttpMatcher {
            http_code: "200".into(),
        }));
    } else {
        if path.is_some() || code.is_some() {
            return Err(invalid(
                "Health check path and matcher are not supported for TCP health checks",
            ));
        }
        (shown.health_check_path, shown.matcher) = (None, None);
    }
    Ok(())
}

/// Which load balancers lead to which group.
fn associations(
    balancers: &Balancers,
    region: &str,
) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (listener, group) in super::listeners::uses(balancers, region)? {
        let arns = found.entry(group).or_default();
        if !arns.contains(&listener.shown.load_balancer_arn) {
            arns.push(listener.shown.load_balancer_arn.clone());
        }
    }
    Ok(found)
}

fn answer(
    group: &TargetGroup,
    associations: &BTreeMap<String, Vec<String>>,
) -> Result<Value, ApiError> {
    let mut shown = match serde_json::to_value(&group.shown) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let arns = associations
        .get(&group.shown.target_group_arn)
        .cloned()
        .unwrap_or_default();
    shown.insert("LoadBalancerArns".into(), arns.into());
    Ok(shown.into())
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let mut all: Vec<TargetGroup> = balancers
        .tables()
        .groups
        .list(&call.region)?
        .into_iter()
        .map(|(_, group)| group)
        .collect();
    let (arns, names) = (call.strings("TargetGroupArns"), call.strings("Names"));
    if !arns.is_empty() && !names.is_empty() {
        return Err(invalid(
            "Target group names and target group ARNs cannot be specified at the same time",
        ));
    }
    let known = |wanted: &str| {
        all.iter()
            .any(|g| g.shown.target_group_arn == wanted || g.shown.target_group_name == wanted)
    };
    if !arns.iter().chain(&names).all(|wanted| known(wanted)) {
        return Err(group_not_found());
    }
    if !arns.is_empty() || !names.is_empty() {
        all.retain(|g| {
            arns.contains(&g.shown.target_group_arn.as_str())
                || names.contains(&g.shown.target_group_name.as_str())
        });
    }
    let associations = associations(balancers, &call.region)?;
    if let Some(arn) = call.str("LoadBalancerArn") {
        if balancers
            .tables()
            .balancers
            .get(&call.region, arn)?
            .is_none()
        {
            return Err(super::load_balancers::not_found());
        }
        all.retain(|g| {
            associations
                .get(&g.shown.target_group_arn)
                .is_some_and(|arns| arns.iter().any(|a| a == arn))
        });
    }
    let (groups, marker) = page(call, all)?;
    let groups = groups
        .iter()
        .map(|group| answer(group, &associations))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"TargetGroups": groups, "NextMarker": marker}))
}

pub async fn modify(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut group = named(balancers, call)?;
    health_settings(call, &mut group.shown)?;
    save(balancers, call, &group)?;
    Ok(json!({"TargetGroups": [answer(&group, &associations(balancers, &call.region)?)?]}))
}

fn save(balancers: &Balancers, call: &Call, group: &TargetGroup) -> Result<(), ApiError> {
    balancers
        .tables()
        .groups
        .put(&call.region, &group.shown.target_group_arn, group)?;
    Ok(balancers.refresh(&call.region)?)
}

pub async fn delete(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let arn = required(call, "TargetGroupArn")?;
    if associations(balancers, &call.region)?.contains_key(arn) {
        return Err(ApiError::new(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    // Deleting what is not there succeeds, as on the real service.
    if balancers.tables().groups.delete(&call.region, arn)? {
        balancers.stop_group(arn);
    }
    Ok(json!({}))
}

pub fn describe_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Attributes": listed(&named(balancers, call)?.attributes)}))
}

pub async fn modify_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut group = named(balancers, call)?;
    change_attributes(call, &mut group.attributes, "Target group")?;
    save(balancers, call, &group)?;
    Ok(json!({"Attributes": listed(&group.attributes)}))
}
