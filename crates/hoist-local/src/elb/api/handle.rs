use serde_json::Value;

use super::{account, certificates, health, listeners, load_balancers, rules, tags, target_groups};
use crate::api::{ApiError, Call};
use crate::ec2::Ec2;
use crate::elb::Balancers;

/// Answers one call of the ELBv2 API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(balancers: &Balancers, ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "CreateLoadBalancer" => load_balancers::create(balancers, ec2, call).await,
        "DescribeLoadBalancers" => load_balancers::describe(balancers, call),
        "DeleteLoadBalancer" => load_balancers::delete(balancers, call).await,
        "DescribeLoadBalancerAttributes" => load_balancers::describe_attributes(balancers, call),
        "ModifyLoadBalancerAttributes" => load_balancers::modify_attributes(balancers, call).await,
        "SetSubnets" => load_balancers::set_subnets(balancers, ec2, call).await,
        "SetSecurityGroups" => load_balancers::set_security_groups(balancers, ec2, call).await,
        "SetIpAddressType" => load_balancers::set_ip_address_type(balancers, call).await,
        "CreateTargetGroup" => target_groups::create(balancers, ec2, call).await,
        "DescribeTargetGroups" => target_groups::describe(balancers, call),
        "ModifyTargetGroup" => target_groups::modify(balancers, call).await,
        "DeleteTargetGroup" => target_groups::delete(balancers, call).await,
        "DescribeTargetGroupAttributes" => target_groups::describe_attributes(balancers, call),
        "ModifyTargetGroupAttributes" => target_groups::modify_attributes(balancers, call).await,
        "RegisterTargets" => health::register(balancers, call).await,
        "DeregisterTargets" => health::deregister(balancers, call).await,
        "DescribeTargetHealth" => health::describe(balancers, call),
        "CreateListener" => listeners::create(balancers, call).await,
        "DescribeListeners" => listeners::describe(balancers, call),
        "ModifyListener" => listeners::modify(balancers, call).await,
        "DeleteListener" => listeners::delete(balancers, call).await,
        "AddListenerCertificates" => certificates::add(balancers, call).await,
        "RemoveListenerCertificates" => certificates::remove(balancers, call).await,
        "DescribeListenerCertificates" => certificates::describe(balancers, call),
        "DescribeSSLPolicies" => certificates::policies(call),
        "DescribeListenerAttributes" => listeners::describe_attributes(balancers, call),
        "ModifyListenerAttributes" => listeners::modify_attributes(balancers, call).await,
        "CreateRule" => rules::create(balancers, call).await,
        "DescribeRules" => rules::describe(balancers, call),
        "ModifyRule" => rules::modify(balancers, call).await,
        "DeleteRule" => rules::delete(balancers, call).await,
        "SetRulePriorities" => rules::set_priorities(balancers, call).await,
        "DescribeAccountLimits" => account::limits(call),
        "DescribeTrustStores" => account::trust_stores(call),
        "DescribeCapacityReservation" => account::reserved(balancers, call),
        "AddTags" => tags::add(balancers, call).await,
        "RemoveTags" => tags::remove(balancers, call).await,
        "DescribeTags" => tags::describe(balancers, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}
