use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::{by_id, filter, paged};
use super::places::{zone_id, zones};
use super::service::Ec2;
use super::tags::{requested, shown_tags};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::ids;
use crate::state::StateError;

/// The default VPC's block.
const BLOCK: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet_id: String,
    pub vpc_id: String,
    /// The first address of its block.
    pub network: Ipv4Addr,
    /// 16-28.
    pub prefix: u8,
    pub availability_zone: String,
    /// One of the two that are there from the start: public, and the default of its zone.
    pub default: bool,
}

impl Subnet {
    /// The router's address, the first after the network's.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    /// How many addresses the block has.
    pub(super) fn size(&self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    fn overlaps(&self, other: &Subnet) -> bool {
        let last = |subnet: &Subnet| u32::from(subnet.network) + (subnet.size() - 1);
        u32::from(self.network) <= last(other) && u32::from(other.network) <= last(self)
    }
}

impl Ec2 {
    /// The id of a region's default VPC, the only one there is.
    pub fn default_vpc(&self, region: &str) -> String {
        self.stable_id("vpc", region, "default")
    }

    /// Whether the region has that VPC.
    pub fn has_vpc(&self, region: &str, id: &str) -> bool {
        self.default_vpc(region) == id
    }

    /// The two subnets that are there from the start.
    pub fn default_subnets(&self, region: &str) -> [Subnet; 2] {
        let mut third = 0;
        zones(region).map(|zone| {
            let network = Ipv4Addr::new(172, 31, third, 0);
            third += 16;
            Subnet {
                subnet_id: self.stable_id("subnet", region, &zone),
                vpc_id: self.default_vpc(region),
                network,
                prefix: 20,
                availability_zone: zone,
                default: true,
            }
        })
    }

    /// All subnets of a region.
    pub(super) fn subnets_of(&self, region: &str) -> Result<Vec<Subnet>, StateError> {
        let created = self
            .subnets
            .list(region)?
            .into_iter()
            .map(|(_, subnet)| subnet);
        Ok(self
            .default_subnets(region)
            .into_iter()
            .chain(created)
            .collect())
    }

    /// The subnet of that id.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn subnet(&self, region: &str, id: &str) -> Result<Option<Subnet>, StateError> {
        Ok(self
            .subnets_of(region)?
            .into_iter()
            .find(|subnet| subnet.subnet_id == id))
    }
}

pub fn describe_vpcs(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let id = ec2.default_vpc(&call.region);
    let mut found = vec![json!({
        "vpcId": id,
        "ownerId": ACCOUNT,
        "state": "available",
        "cidrBlock": format!("{}/{}", BLOCK.0, BLOCK.1),
        "cidrBlockAssociationSet": [{
            "cidrBlock": format!("{}/{}", BLOCK.0, BLOCK.1),
            "associationId": ec2.stable_id("vpc-cidr-assoc", &call.region, "default"),
            "cidrBlockState": {"state": "associated"},
        }],
        "dhcpOptionsId": ec2.stable_id("dopt", &call.region, "default"),
        "instanceTenancy": "default",
        "isDefault": true,
        "tagSet": shown_tags(ec2, &call.region, &id)?,
    })];
    by_id(
        call,
        "VpcId",
        &mut found,
        "vpcId",
        "InvalidVpcID.NotFound",
        "vpc",
    )?;
    let paths = &[
        ("vpc-id", "vpcId"),
        ("is-default", "isDefault"),
        ("isDefault", "isDefault"),
        ("state", "state"),
        ("cidr", "cidrBlock"),
        (
            "cidr-block-association.cidr-block",
            "cidrBlockAssociationSet.cidrBlock",
        ),
        ("dhcp-options-id", "dhcpOptionsId"),
        ("owner-id", "ownerId"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "vpcSet")
}

pub fn describe_vpc_attribute(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let id = call.str("VpcId").unwrap_or_default();
    if !ec2.has_vpc(&call.region, id) {
        return Err(ApiError::new(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{id}' does not exist"),
        ));
    }
    match call.str("Attribute") {
        Some(attribute @ ("enableDnsSupport" | "enableDnsHostnames")) => {
            Ok(json!({"vpcId": id, attribute: {"value": true}}))
        }
        Some("enableNetworkAddressUsageMetrics") => {
            Ok(json!({"vpcId": id, "enableNetworkAddressUsageMetrics": {"value": false}}))
        }
        other => {
            let text = format!(
                "Value ({}) for parameter attribute is invalid. Unknown attribute.",
                other.unwrap_or_default()
            );
            Err(ApiError::new("InvalidParameterValue", text))
        }
    }
}

fn shown(ec2: &Ec2, region: &str, subnet: &Subnet) -> Result<Value, StateError> {
    let live = ec2.live();
    let first = u32::from(subnet.network);
    let used = live
        .addresses
        .keys()
        .filter(|ip| (first..first + (subnet.size() - 1)).contains(&u32::from(**ip)))
        .count();
    drop(live);
    // The first four and the last address are the VPC's own.
    let free = subnet
        .size()
        .saturating_sub(5)
        .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
    Ok(json!({
        "subnetId": subnet.subnet_id,
        "subnetArn": format!("arn:aws:ec2:{region}:{ACCOUNT}:subnet/{}", subnet.subnet_id),
        "state": "available",
        "vpcId": subnet.vpc_id,
        "ownerId": ACCOUNT,
        "cidrBlock": format!("{}/{}", subnet.network, subnet.prefix),
        "availableIpAddressCount": free,
        "availabilityZone": subnet.availability_zone,
        "availabilityZoneId": zone_id(&subnet.availability_zone),
        "defaultForAz": subnet.default,
        "mapPublicIpOnLaunch": subnet.default,
        "mapCustomerOwnedIpOnLaunch": false,
        "assignIpv6AddressOnCreation": false,
        "ipv6CidrBlockAssociationSet": [],
        "enableDns64": false,
        "ipv6Native": false,
        "privateDnsNameOptionsOnLaunch": {
            "hostnameType": "ip-name",
            "enableResourceNameDnsARecord": false,
            "enableResourceNameDnsAAAARecord": false,
        },
        "tagSet": shown_tags(ec2, region, &subnet.subnet_id)?,
    }))
}

pub fn describe_subnets(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let subnets = ec2.subnets_of(&call.region)?;
    let mut found = subnets
        .iter()
        .map(|subnet| shown(ec2, &call.region, subnet))
        .collect::<Result<Vec<_>, _>>()?;
    by_id(
        call,
        "SubnetId",
        &mut found,
        "subnetId",
        "InvalidSubnetID.NotFound",
        "subnet",
    )?;
    let paths = &[
        ("subnet-id", "subnetId"),
        ("vpc-id", "vpcId"),
        ("availability-zone", "availabilityZone"),
        ("availabilityZone", "availabilityZone"),
        ("availability-zone-id", "availabilityZoneId"),
        ("cidr-block", "cidrBlock"),
        ("cidr", "cidrBlock"),
        ("cidrBlock", "cidrBlock"),
        ("default-for-az", "defaultForAz"),
        ("defaultForAz", "defaultForAz"),
        ("map-public-ip-on-launch", "mapPublicIpOnLaunch"),
        ("owner-id", "ownerId"),
        ("state", "state"),
        ("subnet-arn", "subnetArn"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "subnetSet")
}

/// Makes a subnet within the default VPC.
pub fn create_subnet(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let vpc = call.str("VpcId").unwrap_or_default();
    if !ec2.has_vpc(region, vpc) {
        return Err(ApiError::new(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    }
    let block = call.str("CidrBlock").unwrap_or_default();
    let bad = || {
        ApiError::new(
            "InvalidParameterValue",
            format!(
                "Value ({block}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
            ),
        )
    };
    let (network, prefix) = block.split_once('/').ok_or_else(bad)?;
    let (network, prefix): (Ipv4Addr, u8) = (
        network.parse().map_err(|_| bad())?,
        prefix.parse().map_err(|_| bad())?,
    );
    let outside = network.octets()[..2] != BLOCK.0.octets()[..2];
    if !(16..=28).contains(&prefix)
        || outside
        || u32::from(network) & ((1 << (32 - u32::from(prefix))) - 1) != 0
    {
        return Err(ApiError::new(
            "InvalidSubnet.Range",
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    let zone = call
        .str("AvailabilityZone")
        .map_or_else(|| zones(region)[0].clone(), str::to_owned);
    if !zones(region).contains(&zone) {
        let text = format!(
            "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
            zones(region).join(", ")
        );
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    let subnet = Subnet {
        subnet_id: format!("subnet-{}", ids::hex(17)),
        vpc_id: vpc.to_owned(),
        network,
        prefix,
        availability_zone: zone,
        default: false,
    };
    if ec2
        .subnets_of(region)?
        .iter()
        .any(|other| other.overlaps(&subnet))
    {
        return Err(ApiError::new(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{block}' conflicts with another subnet"),
        ));
    }
    ec2.subnets.put(region, &subnet.subnet_id, &subnet)?;
    ec2.tags
        .put(region, &subnet.subnet_id, &requested(call, "subnet"))?;
    Ok(json!({"subnet": shown(ec2, region, &subnet)?}))
}

pub fn delete_subnet(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let id = call.str("SubnetId").unwrap_or_default();
    let subnet = ec2.subnet(&call.region, id)?.ok_or_else(|| {
        ApiError::new(
            "InvalidSubnetID.NotFound",
            format!("The subnet ID '{id}' does not exist"),
        )
    })?;
    let used = ec2
        .interfaces
        .list(&call.region)?
        .iter()
        .any(|(_, interface)| interface.subnet_id == id);
    if used || subnet.default {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("The subnet '{id}' has dependencies and cannot be deleted."),
        ));
    }
    ec2.subnets.delete(&call.region, id)?;
    ec2.tags.delete(&call.region, id)?;
    Ok(json!({"return": true}))
}
