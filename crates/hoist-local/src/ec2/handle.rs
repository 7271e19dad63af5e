use serde_json::Value;

use super::service::Ec2;
use super::{gateways, interfaces, places, security_groups, tags, vpc};
use crate::api::{ApiError, Call};

/// Answers one call of the EC2 API.
///
/// # Errors
/// As the service answers them.
pub fn handle(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    if call.boolean("DryRun") == Some(true) {
        return Err(ApiError::new(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
        .with_status(412));
    }
    match call.action.as_str() {
        "DescribeVpcs" => vpc::describe_vpcs(ec2, call),
        "DescribeVpcAttribute" => vpc::describe_vpc_attribute(ec2, call),
        "DescribeSubnets" => vpc::describe_subnets(ec2, call),
        "CreateSubnet" => vpc::create_subnet(ec2, call),
        "DeleteSubnet" => vpc::delete_subnet(ec2, call),
        "DescribeSecurityGroups" => security_groups::describe(ec2, call),
        "CreateSecurityGroup" => security_groups::create(ec2, call),
        "DeleteSecurityGroup" => security_groups::delete(ec2, call),
        "AuthorizeSecurityGroupIngress" => security_groups::authorize(ec2, call, false),
        "AuthorizeSecurityGroupEgress" => security_groups::authorize(ec2, call, true),
        "RevokeSecurityGroupIngress" => security_groups::revoke(ec2, call, false),
        "RevokeSecurityGroupEgress" => security_groups::revoke(ec2, call, true),
        "DescribeNetworkInterfaces" => interfaces::describe(ec2, call),
        "DescribeAvailabilityZones" => places::describe_zones(call),
        "DescribeRegions" => places::describe_regions(call),
        "DescribeRouteTables" => gateways::describe_route_tables(ec2, call),
        "DescribeInternetGateways" => gateways::describe_internet_gateways(ec2, call),
        "DescribeNatGateways" => gateways::describe_nat_gateways(call),
        "DescribeVpcEndpoints" => gateways::describe_vpc_endpoints(call),
        "CreateTags" => tags::create_tags(ec2, call),
        "DeleteTags" => tags::delete_tags(ec2, call),
        "DescribeTags" => tags::describe_tags(ec2, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}
