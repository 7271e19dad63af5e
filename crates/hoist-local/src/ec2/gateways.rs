//! What leads out of the default VPC: its route table and its internet gateway. There is no NAT gateway and no endpoint.

use serde_json::{Value, json};

use super::filter::{by_id, filter, paged};
use super::service::Ec2;
use super::tags::shown_tags;
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;

pub fn describe_route_tables(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let id = ec2.stable_id("rtb", region, "main");
    let mut found = vec![json!({
        "routeTableId": id,
        "vpcId": ec2.default_vpc(region),
        "ownerId": ACCOUNT,
        "routeSet": [
            {"destinationCidrBlock": "172.31.0.0/16", "gatewayId": "local", "state": "active", "origin": "CreateRouteTable"},
            {
                "destinationCidrBlock": "0.0.0.0/0",
                "gatewayId": ec2.stable_id("igw", region, "default"),
                "state": "active",
                "origin": "CreateRoute",
            },
        ],
        "associationSet": [{
            "routeTableAssociationId": ec2.stable_id("rtbassoc", region, "main"),
            "routeTableId": id,
            "main": true,
            "associationState": {"state": "associated"},
        }],
        "propagatingVgwSet": [],
        "tagSet": shown_tags(ec2, region, &id)?,
    })];
    by_id(
        call,
        "RouteTableId",
        &mut found,
        "routeTableId",
        "InvalidRouteTableID.NotFound",
        "routeTable",
    )?;
    let paths = &[
        ("vpc-id", "vpcId"),
        ("route-table-id", "routeTableId"),
        ("association.main", "associationSet.main"),
        ("association.subnet-id", "associationSet.subnetId"),
        ("association.route-table-id", "associationSet.routeTableId"),
        (
            "association.route-table-association-id",
            "associationSet.routeTableAssociationId",
        ),
        ("route.gateway-id", "routeSet.gatewayId"),
        ("route.nat-gateway-id", "routeSet.natGatewayId"),
        (
            "route.destination-cidr-block",
            "routeSet.destinationCidrBlock",
        ),
        ("owner-id", "ownerId"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "routeTableSet")
}

pub fn describe_internet_gateways(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let id = ec2.stable_id("igw", region, "default");
    let mut found = vec![json!({
        "internetGatewayId": id,
        "ownerId": ACCOUNT,
        "attachmentSet": [{"vpcId": ec2.default_vpc(region), "state": "available"}],
        "tagSet": shown_tags(ec2, region, &id)?,
    })];
    by_id(
        call,
        "InternetGatewayId",
        &mut found,
        "internetGatewayId",
        "InvalidInternetGatewayID.NotFound",
        "internetGateway",
    )?;
    let paths = &[
        ("internet-gateway-id", "internetGatewayId"),
        ("attachment.vpc-id", "attachmentSet.vpcId"),
        ("attachment.state", "attachmentSet.state"),
        ("owner-id", "ownerId"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "internetGatewaySet")
}

pub fn describe_nat_gateways(call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    by_id(
        call,
        "NatGatewayId",
        &mut found,
        "natGatewayId",
        "NatGatewayNotFound",
        "natGateway",
    )?;
    filter(
        call,
        &mut found,
        &[
            ("vpc-id", ""),
            ("subnet-id", ""),
            ("state", ""),
            ("nat-gateway-id", ""),
        ],
    )?;
    Ok(json!({"natGatewaySet": found}))
}

pub fn describe_vpc_endpoints(call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    by_id(
        call,
        "VpcEndpointId",
        &mut found,
        "vpcEndpointId",
        "InvalidVpcEndpointId.NotFound",
        "vpcEndpoint",
    )?;
    let paths = &[
        ("vpc-id", ""),
        ("service-name", ""),
        ("vpc-endpoint-id", ""),
        ("vpc-endpoint-state", ""),
        ("vpc-endpoint-type", ""),
    ];
    filter(call, &mut found, paths)?;
    Ok(json!({"vpcEndpointSet": found}))
}
