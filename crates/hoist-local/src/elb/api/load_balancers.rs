use serde_json::{Value, json};

use super::ask::{change_attributes, invalid, listed, name, page, required, tags};
use super::listeners;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::ec2::Ec2;
use crate::elb::Balancers;
use crate::elb::model::{LoadBalancer, ShownLoadBalancer, Zone, load_balancer_attributes};
use crate::ids;

pub fn not_found() -> ApiError {
    ApiError::new(
        "LoadBalancerNotFound",
        "One or more load balancers not found",
    )
}

/// The load balancer that `LoadBalancerArn` names.
pub fn named(balancers: &Balancers, call: &Call) -> Result<LoadBalancer, ApiError> {
    let arn = required(call, "LoadBalancerArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":loadbalancer/") {
        return Err(invalid(format!("'{arn}' is not a valid load balancer ARN")));
    }
    balancers
        .tables()
        .balancers
        .get(&call.region, arn)?
        .ok_or_else(not_found)
}

pub async fn create(balancers: &Balancers, ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let called = required(call, "Name")?;
    name(called, "The load balancer")?;
    if called.starts_with("internal-") {
        return Err(invalid(
            "A load balancer name cannot begin with 'internal-'",
        ));
    }
    let kind = call.str("Type").unwrap_or("application");
    let letters = match kind {
        "application" => "app",
        "network" => "net",
        other => {
            return Err(invalid(format!(
                "Load balancer type '{other}' is not supported by the embedded AWS"
            )));
        }
    };
    let scheme = call.str("Scheme").unwrap_or("internet-facing");
    if !matches!(scheme, "internet-facing" | "internal") {
        return Err(ApiError::new(
            "InvalidScheme",
            format!("Scheme '{scheme}' must be one of 'internet-facing' or 'internal'"),
        ));
    }
    let (vpc, zones) = zones(ec2, call, kind)?;
    let security_groups = match kind {
        "application" => Some(security_groups(ec2, call, &vpc)?),
        _ => None,
    };
    let tags = tags(call)?;
    let all = balancers.tables().balancers.list(&call.region)?;
    if let Some((_, there)) = all
        .into_iter()
        .find(|(_, b)| b.shown.load_balancer_name == called)
    {
        let shown = &there.shown;
        let sorted = |groups: &Option<Vec<String>>| {
            groups.clone().map(|mut groups| {
                groups.sort();
                groups
            })
        };
        let same = shown.kind == kind
            && shown.scheme == scheme
            && shown.availability_zones == zones
            && sorted(&shown.security_groups) == sorted(&security_groups)
            && there.tags == tags;
        if !same {
            return Err(ApiError::new(
                "DuplicateLoadBalancerName",
                format!(
                    "A load balancer with the same name '{called}' exists, but with different settings"
                ),
            ));
        }
        return Ok(json!({"LoadBalancers": [there.shown_at(clock::now())]}));
    }
    let arn = format!(
        "arn:aws:elasticloadbalancing:{}:{ACCOUNT}:loadbalancer/{letters}/{called}/{}",
        call.region,
        ids::hex(16)
    );
    let now = clock::now();
    let balancer = LoadBalancer {
        shown: ShownLoadBalancer {
            dns_name: balancers
                .loopback()
                .take(&format!("{}/{letters}/{called}", call.region))?
                .to_string(),
            load_balancer_arn: arn.clone(),
            canonical_hosted_zone_id: "Z0HOISTLOCAL0".into(),
            created_time: clock::iso8601(now),
            load_balancer_name: called.to_owned(),
            scheme: scheme.to_owned(),
            vpc_id: vpc,
            state: json!({"Code": "active"}),
            kind: kind.to_owned(),
            availability_zones: zones,
            security_groups,
            ip_address_type: call.str("IpAddressType").unwrap_or("ipv4").to_owned(),
        },
        attributes: load_balancer_attributes(kind),
        tags,
        ready_at: now + balancers.provisioning(),
    };
    balancers
        .tables()
        .balancers
        .put(&call.region, &arn, &balancer)?;
    Ok(json!({"LoadBalancers": [balancer.shown_at(now)]}))
}

/// The VPC and the zones of the subnets that the call names.
fn zones(ec2: &Ec2, call: &Call, kind: &str) -> Result<(String, Vec<Zone>), ApiError> {
    let mut ids: Vec<&str> = call.strings("Subnets");
    ids.extend(
        call.list("SubnetMappings")
            .iter()
            .filter_map(|m| m.get("SubnetId"))
            .filter_map(Value::as_str),
    );
    let mut vpc = None;
    let mut zones: Vec<Zone> = Vec::new();
    for id in ids {
        let subnet = ec2.subnet(&call.region, id)?.ok_or_else(|| {
            ApiError::new(
                "SubnetNotFound",
                format!("The subnet ID '{id}' is not valid"),
            )
        })?;
        if vpc.get_or_insert_with(|| subnet.vpc_id.clone()) != &subnet.vpc_id {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "All subnets must belong to the same VPC",
            ));
        }
        if zones
            .iter()
            .any(|zone| zone.zone_name == subnet.availability_zone)
        {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push(Zone {
            zone_name: subnet.availability_zone,
            subnet_id: id.to_owned(),
            load_balancer_addresses: Vec::new(),
        });
    }
    zones.sort_by(|a, b| a.zone_name.cmp(&b.zone_name));
    match vpc {
        Some(vpc) if zones.len() >= 2 || kind == "network" => Ok((vpc, zones)),
        Some(_) => Err(invalid(
            "At least two subnets in two different Availability Zones must be specified",
        )),
        None => Err(invalid("At least one subnet must be specified")),
    }
}

fn security_groups(ec2: &Ec2, call: &Call, vpc: &str) -> Result<Vec<String>, ApiError> {
    let asked = call.strings("SecurityGroups");
    if asked.is_empty() {
        return Ok(vec![ec2.default_security_group(&call.region)]);
    }
    for id in &asked {
        if ec2
            .security_group(&call.region, id)?
            .is_none_or(|group| group.vpc_id != vpc)
        {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "One or more security groups are invalid",
            ));
        }
    }
    Ok(asked.into_iter().map(str::to_owned).collect())
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let mut all: Vec<LoadBalancer> = balancers
        .tables()
        .balancers
        .list(&call.region)?
        .into_iter()
        .map(|(_, balancer)| balancer)
        .collect();
    let (arns, names) = (call.strings("LoadBalancerArns"), call.strings("Names"));
    if !arns.is_empty() && !names.is_empty() {
        return Err(invalid(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    for arn in &arns {
        if !all.iter().any(|b| b.shown.load_balancer_arn == *arn) {
            return Err(not_found());
        }
    }
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !all.iter().any(|b| b.shown.load_balancer_name == *name))
        .collect();
    if !missing.is_empty() {
        return Err(ApiError::new(
            "LoadBalancerNotFound",
            format!("Load balancers '[{}]' not found", missing.join(", ")),
        ));
    }
    if !arns.is_empty() || !names.is_empty() {
        all.retain(|b| {
            arns.contains(&b.shown.load_balancer_arn.as_str())
                || names.contains(&b.shown.load_balancer_name.as_str())
        });
    }
    let now = clock::now();
    let (shown, marker) = page(call, all.into_iter().map(|b| b.shown_at(now)).collect())?;
    Ok(json!({"LoadBalancers": shown, "NextMarker": marker}))
}

pub async fn delete(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let arn = required(call, "LoadBalancerArn")?;
    // Deleting what is not there succeeds, as on the real service.
    let Some(balancer) = balancers.tables().balancers.get(&call.region, arn)? else {
        return Ok(json!({}));
    };
    if balancer
        .attributes
        .get("deletion_protection.enabled")
        .is_some_and(|on| on == "true")
    {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            ),
        ));
    }
    for (listener, kept) in balancers.tables().listeners.list(&call.region)? {
        if kept.shown.load_balancer_arn == arn {
            listeners::remove(balancers, &call.region, &listener).await?;
        }
    }
    balancers.tables().balancers.delete(&call.region, arn)?;
    if let Ok(address) = balancer.shown.dns_name.parse() {
        balancers.loopback().free(address)?;
    }
    balancers.refresh(&call.region)?;
    Ok(json!({}))
}

pub fn describe_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Attributes": listed(&named(balancers, call)?.attributes)}))
}

pub async fn modify_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut balancer = named(balancers, call)?;
    change_attributes(call, &mut balancer.attributes, "Load balancer")?;
    balancers
        .tables()
        .balancers
        .put(&call.region, &balancer.shown.load_balancer_arn, &balancer)?;
    balancers.refresh(&call.region)?;
    Ok(json!({"Attributes": listed(&balancer.attributes)}))
}

pub async fn set_subnets(balancers: &Balancers, ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut balancer = named(balancers, call)?;
    let (vpc, zones) = zones(ec2, call, &balancer.shown.kind)?;
    if vpc != balancer.shown.vpc_id {
        return Err(ApiError::new(
            "InvalidConfigurationRequest",
            "The subnets must belong to the VPC of the load balancer",
        ));
    }
    balancer.shown.availability_zones = zones;
    balancers
        .tables()
        .balancers
        .put(&call.region, &balancer.shown.load_balancer_arn, &balancer)?;
    Ok(
        json!({"AvailabilityZones": balancer.shown.availability_zones, "IpAddressType": balancer.shown.ip_address_type}),
    )
}

pub async fn set_security_groups(
    balancers: &Balancers,
    ec2: &Ec2,
    call: &Call,
) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut balancer = named(balancers, call)?;
    if balancer.shown.security_groups.is_none() {
        return Err(ApiError::new(
            "InvalidConfigurationRequest",
            "You cannot set security groups on a load balancer that was created without them",
        ));
    }
    let groups = security_groups(ec2, call, &balancer.shown.vpc_id)?;
    balancer.shown.security_groups = Some(groups);
    balancers
        .tables()
        .balancers
        .put(&call.region, &balancer.shown.load_balancer_arn, &balancer)?;
    Ok(json!({"SecurityGroupIds": balancer.shown.security_groups}))
}

pub async fn set_ip_address_type(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut balancer = named(balancers, call)?;
    let kind = required(call, "IpAddressType")?;
    if kind != "ipv4" {
        return Err(invalid(format!(
            "IP address type '{kind}' is not supported by the embedded AWS; use ipv4"
        )));
    }
    kind.clone_into(&mut balancer.shown.ip_address_type);
    balancers
        .tables()
        .balancers
        .put(&call.region, &balancer.shown.load_balancer_arn, &balancer)?;
    Ok(json!({"IpAddressType": kind}))
}
