use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::ask::invalid;
use super::target_groups::named;
use crate::api::{ApiError, Call};
use crate::elb::Balancers;
use crate::elb::model::{Registration, TargetGroup};
use crate::elb::target::Condition;

/// The targets that a call names. A port that is not given is the group's.
fn targets(call: &Call, group: &TargetGroup) -> Result<Vec<Registration>, ApiError> {
    let read = |target: &Value| {
        let text = |name: &str| target.get(name).and_then(Value::as_str);
        let id = text("Id").unwrap_or_default();
        let ip: IpAddr = match id.parse() {
            Ok(ip) => ip,
            Err(_) if group.shown.target_type == "instance" => {
                return Err(ApiError::new(
                    "InvalidTarget",
                    format!(
                        "The following targets are not in a running state and cannot be registered: '{id}'"
                    ),
                ));
            }
            Err(_) => {
                return Err(invalid(format!(
                    "The IP address '{id}' is not a valid IPv4 address"
                )));
            }
        };
        let port =
            match text("Port") {
                None => group.shown.port,
                Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                    invalid(format!("Port '{port}' must be in the range 1-65535"))
                })?,
            };
        Ok(Registration {
            id: ip,
            port,
            availability_zone: text("AvailabilityZone").map(str::to_owned),
        })
    };
    call.list("Targets").iter().map(read).collect()
}

pub async fn register(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let group = named(balancers, call)?;
    let targets = targets(call, &group)?;
    if targets.is_empty() {
        return Err(invalid("At least one target must be specified"));
    }
    balancers.register(&group.shown.target_group_arn, targets)?;
    Ok(json!({}))
}

pub async fn deregister(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let group = named(balancers, call)?;
    let targets = targets(call, &group)?;
    let addresses: Vec<SocketAddr> = targets
        .iter()
        .map(|t| SocketAddr::new(t.id, t.port))
        .collect();
    balancers.deregister(&group.shown.target_group_arn, &addresses)?;
    Ok(json!({}))
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let group = named(balancers, call)?;
    let conditions = balancers
        .health(&group.shown.target_group_arn)
        .unwrap_or_default();
    let shown = |address: SocketAddr, condition: &Condition| {
        let zone = group
            .targets
            .iter()
            .find(|t| t.id == address.ip() && t.port == address.port());
        let zone = zone.and_then(|target| target.availability_zone.as_deref());
        let mut health = Map::from_iter([("State".to_owned(), condition.state.as_str().into())]);
        if let Some(reason) = condition.reason {
            health.insert("Reason".to_owned(), reason.into());
        }
        if let Some(description) = &condition.description {
            health.insert("Description".to_owned(), description.as_str().into());
        }
        let port = match group.shown.health_check_port.as_str() {
            "traffic-port" => address.port().to_string(),
            port => port.to_owned(),
        };
        json!({
            "Target": {"Id": address.ip().to_string(), "Port": address.port(), "AvailabilityZone": zone},
            "HealthCheckPort": port,
            "TargetHealth": health,
            "AdministrativeOverride": {
                "State": "no_override",
                "Reason": "AdministrativeOverride.NoOverride",
                "Description": "No override is currently active on target",
            },
        })
    };
    let asked = targets(call, &group)?;
    let found: Vec<Value> = if asked.is_empty() {
        conditions
            .iter()
            .map(|(address, condition)| shown(*address, condition))
            .collect()
    } else {
        let one = |target: &Registration| {
            let address = SocketAddr::new(target.id, target.port);
            match conditions.iter().find(|(a, _)| *a == address) {
                Some((_, condition)) => shown(address, condition),
                None => shown(address, &Condition::not_registered()),
            }
        };
        asked.iter().map(one).collect()
    };
    Ok(json!({"TargetHealthDescriptions": found}))
}
