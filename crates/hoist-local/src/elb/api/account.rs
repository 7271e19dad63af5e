//! What an account has: limits, trust stores, reserved capacity.

use serde_json::{Value, json};

use super::ask::{invalid, page};
use super::load_balancers;
use crate::api::{ApiError, Call};
use crate::elb::Balancers;

/// The limits of a new account ("Quotas for your Application Load Balancers", "Quotas for your Network Load Balancers").
const LIMITS: [(&str, u32); 18] = [
    ("target-groups", 3000),
    ("targets-per-application-load-balancer", 1000),
    ("listeners-per-application-load-balancer", 50),
    ("rules-per-application-load-balancer", 100),
    ("network-load-balancers", 50),
    ("targets-per-network-load-balancer", 3000),
    (
        "targets-per-availability-zone-per-network-load-balancer",
        500,
    ),
    ("listeners-per-network-load-balancer", 50),
    ("condition-values-per-alb-rule", 5),
    ("condition-wildcards-per-alb-rule", 6),
    ("target-groups-per-application-load-balancer", 100),
    ("target-groups-per-action-on-application-load-balancer", 5),
    ("target-groups-per-action-on-network-load-balancer", 1),
    ("certificates-per-application-load-balancer", 25),
    ("certificates-per-network-load-balancer", 25),
    ("targets-per-target-group", 1000),
    (
        "target-id-registrations-per-application-load-balancer",
        1000,
    ),
    ("application-load-balancers", 50),
];

pub fn limits(call: &Call) -> Result<Value, ApiError> {
    let all = LIMITS.map(|(name, most)| json!({"Name": name, "Max": most.to_string()}));
    let (limits, marker) = page(call, all.to_vec())?;
    Ok(json!({"Limits": limits, "NextMarker": marker}))
}

/// There are none: clients are not asked for certificates here.
pub fn trust_stores(call: &Call) -> Result<Value, ApiError> {
    let (arns, names) = (call.strings("TrustStoreArns"), call.strings("Names"));
    if !arns.is_empty() && !names.is_empty() {
        return Err(invalid(
            "Trust store names and trust store ARNs cannot be specified at the same time",
        ));
    }
    if !arns.is_empty() || !names.is_empty() {
        return Err(ApiError::new(
            "TrustStoreNotFound",
            "One or more trust stores not found",
        ));
    }
    Ok(json!({"TrustStores": []}))
}

/// None is reserved. What tools that keep infrastructure ask of every load balancer.
pub fn reserved(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    load_balancers::named(balancers, call)?;
    Ok(json!({"DecreaseRequestsRemaining": 2, "CapacityReservationState": []}))
}
