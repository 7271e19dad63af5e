use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::filter::{by_id, filter, paged};
use super::service::Ec2;
use super::tags::{requested, shown_tags};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::ids;
use crate::state::StateError;

/// A security group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub group_id: String,
    pub name: String,
    pub description: String,
    pub vpc_id: String,
    pub ingress: Vec<Permission>,
    pub egress: Vec<Permission>,
}

/// One rule: one protocol, one range of ports, one source or destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub id: String,
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for everything.
    pub protocol: String,
    pub ports: Option<(i32, i32)>,
    pub peer: Peer,
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Ipv4(String),
    Ipv6(String),
    Group(String),
}

impl Permission {
    fn same_rule(&self, other: &Permission) -> bool {
        self.protocol == other.protocol && self.ports == other.ports && self.peer == other.peer
    }
}

impl Ec2 {
    /// The id of the region's default security group.
    pub fn default_security_group(&self, region: &str) -> String {
        self.stable_id("sg", region, "default")
    }

    fn default_group(&self, region: &str) -> SecurityGroup {
        let id = self.default_security_group(region);
        let rule = |what: &str, peer| Permission {
            id: self.stable_id("sgr", region, what),
            protocol: "-1".into(),
            ports: None,
            peer,
            description: None,
        };
        SecurityGroup {
            name: "default".into(),
            description: "default VPC security group".into(),
            vpc_id: self.default_vpc(region),
            ingress: vec![rule("in", Peer::Group(id.clone()))],
            egress: vec![rule("out", Peer::Ipv4("0.0.0.0/0".into()))],
            group_id: id,
        }
    }

    fn groups_of(&self, region: &str) -> Result<Vec<SecurityGroup>, StateError> {
        let mut groups: Vec<_> = self
            .groups
            .list(region)?
            .into_iter()
            .map(|(_, group)| group)
            .collect();
        let default = self.default_group(region);
        if !groups
            .iter()
            .any(|group| group.group_id == default.group_id)
        {
            groups.insert(0, default);
        }
        Ok(groups)
    }

    /// The security group of that id.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn security_group(
        &self,
        region: &str,
        id: &str,
    ) -> Result<Option<SecurityGroup>, StateError> {
        if let Some(group) = self.groups.get(region, id)? {
            return Ok(Some(group));
        }
        Ok(Some(self.default_group(region)).filter(|group| group.group_id == id))
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(
        "InvalidGroup.NotFound",
        format!("The security group '{id}' does not exist"),
    )
}

/// Rules as Describe shows them: those of the same protocol and ports together.
fn shown_permissions(rules: &[Permission]) -> Value {
    let mut together: Vec<(&Permission, Vec<&Permission>)> = Vec::new();
    for rule in rules {
        match together
            .iter_mut()
            .find(|(first, _)| first.protocol == rule.protocol && first.ports == rule.ports)
        {
            Some((_, rules)) => rules.push(rule),
            None => together.push((rule, vec![rule])),
        }
    }
    let shown = |(first, rules): &(&Permission, Vec<&Permission>)| {
        let (mut v4, mut v6, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for rule in rules {
            let description = &rule.description;
            match &rule.peer {
                Peer::Ipv4(block) => v4.push(json!({"cidrIp": block, "description": description})),
                Peer::Ipv6(block) => {
                    v6.push(json!({"cidrIpv6": block, "description": description}))
                }
                Peer::Group(id) => {
                    groups.push(
                        json!({"groupId": id, "userId": ACCOUNT, "description": description}),
                    );
                }
            }
        }
        let mut permission = Map::new();
        permission.insert("ipProtocol".into(), first.protocol.as_str().into());
        if let Some((from, to)) = first.ports {
            permission.insert("fromPort".into(), from.into());
            permission.insert("toPort".into(), to.into());
        }
        permission.insert("groups".into(), groups.into());
        permission.insert("ipRanges".into(), v4.into());
        permission.insert("ipv6Ranges".into(), v6.into());
        permission.insert("prefixListIds".into(), json!([]));
        Value::Object(permission)
    };
    together.iter().map(shown).collect()
}

fn arn(region: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{ACCOUNT}:security-group/{id}")
}

pub fn describe(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    for group in ec2.groups_of(&call.region)? {
        found.push(json!({
            "groupId": group.group_id,
            "groupName": group.name,
            "groupDescription": group.description,
            "ownerId": ACCOUNT,
            "vpcId": group.vpc_id,
            "securityGroupArn": arn(&call.region, &group.group_id),
            "ipPermissions": shown_permissions(&group.ingress),
            "ipPermissionsEgress": shown_permissions(&group.egress),
            "tagSet": shown_tags(ec2, &call.region, &group.group_id)?,
        }));
    }
    for id in call.strings("GroupId") {
        if !found.iter().any(|group| group["groupId"] == id) {
            return Err(not_found(id));
        }
    }
    by_id(
        call,
        "GroupId",
        &mut found,
        "groupId",
        "InvalidGroup.NotFound",
        "security group",
    )?;
    let names = call.strings("GroupName");
    if let Some(missing) = names
        .iter()
        .find(|name| !found.iter().any(|group| group["groupName"] == **name))
    {
        return Err(not_found(missing));
    }
    found.retain(|group| names.is_empty() || names.iter().any(|name| group["groupName"] == *name));
    let paths = &[
        ("group-id", "groupId"),
        ("group-name", "groupName"),
        ("vpc-id", "vpcId"),
        ("description", "groupDescription"),
        ("owner-id", "ownerId"),
        ("ip-permission.from-port", "ipPermissions.fromPort"),
        ("ip-permission.to-port", "ipPermissions.toPort"),
        ("ip-permission.protocol", "ipPermissions.ipProtocol"),
        ("ip-permission.cidr", "ipPermissions.ipRanges.cidrIp"),
        ("ip-permission.group-id", "ipPermissions.groups.groupId"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "securityGroupInfo")
}

pub fn create(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let missing = |name: &str| {
        ApiError::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    };
    let name = call.str("GroupName").ok_or_else(|| missing("GroupName"))?;
    let description = call
        .str("GroupDescription")
        .ok_or_else(|| missing("GroupDescription"))?;
    if name.starts_with("sg-") {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*"
            ),
        ));
    }
    if name == "default" {
        return Err(ApiError::new(
            "InvalidGroup.Reserved",
            "Cannot use reserved security group name: default",
        ));
    }
    let vpc = call
        .str("VpcId")
        .map_or_else(|| ec2.default_vpc(region), str::to_owned);
    if !ec2.has_vpc(region, &vpc) {
        return Err(ApiError::new(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    }
    if ec2
        .groups_of(region)?
        .iter()
        .any(|group| group.name == name && group.vpc_id == vpc)
    {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let id = format!("sg-{}", ids::hex(17));
    let group = SecurityGroup {
        group_id: id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        vpc_id: vpc,
        ingress: Vec::new(),
        egress: vec![Permission {
            id: format!("sgr-{}", ids::hex(17)),
            protocol: "-1".into(),
            ports: None,
            peer: Peer::Ipv4("0.0.0.0/0".into()),
            description: None,
        }],
    };
    ec2.groups.put(region, &id, &group)?;
    let tags = requested(call, "security-group");
    ec2.tags.put(region, &id, &tags)?;
    Ok(
        json!({"groupId": id, "securityGroupArn": arn(region, &id), "tagSet": super::tags::shown(&tags)}),
    )
}

pub fn delete(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let named = call
        .str("GroupId")
        .or(call.str("GroupName"))
        .unwrap_or_default();
    let groups = ec2.groups_of(region)?;
    let group = groups
        .iter()
        .find(|group| group.group_id == named || group.name == named)
        .ok_or_else(|| not_found(named))?;
    let id = &group.group_id;
    if *id == ec2.default_security_group(region) {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let peer = Peer::Group(id.clone());
    let referenced = groups
        .iter()
        .filter(|other| other.group_id != *id)
        .any(|other| {
            other
                .ingress
                .iter()
                .chain(&other.egress)
                .any(|rule| rule.peer == peer)
        });
    let used = ec2
        .interfaces
        .list(region)?
        .iter()
        .any(|(_, interface)| interface.groups.contains(id));
    if referenced || used {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    ec2.groups.delete(region, id)?;
    ec2.tags.delete(region, id)?;
    Ok(json!({"return": true, "groupId": id}))
}

/// The rules that a call names, in either of the two forms: `IpPermissions`, or one rule in flat parameters.
fn permissions(call: &Call) -> Result<Vec<Permission>, ApiError> {
    let flat = [call.params.clone()];
    let listed = call.list("IpPermissions");
    let sources = if listed.is_empty() { &flat[..] } else { listed };
    let mut rules = Vec::new();
    for source in sources {
        let text = |name: &str| source.get(name).and_then(Value::as_str);
        let protocol = match text("IpProtocol").unwrap_or_default() {
            "" => {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    "Invalid value '' for ip protocol. Unknown protocol.",
                ));
            }
            "6" => "tcp",
            "17" => "udp",
            "1" => "icmp",
            "all" => "-1",
            other => other,
        };
        let number = |name: &str| text(name).and_then(|text| text.parse::<i32>().ok());
        let ports = match (number("FromPort"), number("ToPort")) {
            _ if protocol == "-1" => None,
            (Some(from), Some(to)) => Some((from, to)),
            (Some(from), None) => Some((from, from)),
            _ if matches!(protocol, "tcp" | "udp") => {
                return Err(ApiError::new(
                    "MissingParameter",
                    "The request must contain the parameter FromPort",
                ));
            }
            _ => None,
        };
        if let Some((from, to)) = ports
            && matches!(protocol, "tcp" | "udp")
            && !(0..=65535).contains(&from)
        {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{from}' for portRange: {from}-{to}. Must specify a valid port range."
                ),
            ));
        }
        let mut add = |peer: Peer, description: Option<&str>| {
            rules.push(Permission {
                id: format!("sgr-{}", ids::hex(17)),
                protocol: protocol.to_owned(),
                ports,
                peer,
                description: description.map(str::to_owned),
            });
        };
        if let Some(block) = text("CidrIp") {
            add(Peer::Ipv4(cidr(block)?), None);
        }
        for (list, member) in [
            ("IpRanges", "CidrIp"),
            ("Ipv6Ranges", "CidrIpv6"),
            ("Groups", "GroupId"),
        ] {
            for item in source
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let text = |name: &str| item.get(name).and_then(Value::as_str);
                let value = text(member).unwrap_or_default();
                let peer = match list {
                    "IpRanges" => Peer::Ipv4(cidr(value)?),
                    "Ipv6Ranges" => Peer::Ipv6(cidr(value)?),
                    _ => Peer::Group(value.to_owned()),
                };
                add(peer, text("Description"));
            }
        }
    }
    if rules.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            "The request must contain the parameter ipPermissions",
        ));
    }
    Ok(rules)
}

fn cidr(text: &str) -> Result<String, ApiError> {
    crate::elb::Block::parse(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| {
            ApiError::new(
                "InvalidParameterValue",
                format!("CIDR block {text} is malformed"),
            )
        })
}

fn changed(ec2: &Ec2, call: &Call) -> Result<SecurityGroup, ApiError> {
    let named = call
        .str("GroupId")
        .or(call.str("GroupName"))
        .unwrap_or_default();
    let mut groups = ec2.groups_of(&call.region)?.into_iter();
    groups
        .find(|group| group.group_id == named || group.name == named)
        .ok_or_else(|| not_found(named))
}

pub fn authorize(ec2: &Ec2, call: &Call, egress: bool) -> Result<Value, ApiError> {
    let mut group = changed(ec2, call)?;
    let added = permissions(call)?;
    for rule in &added {
        if let Peer::Group(id) = &rule.peer
            && ec2.security_group(&call.region, id)?.is_none()
        {
            return Err(not_found(id));
        }
    }
    let rules = if egress {
        &mut group.egress
    } else {
        &mut group.ingress
    };
    for rule in &added {
        if rules.iter().any(|there| there.same_rule(rule)) {
            let peer = match &rule.peer {
                Peer::Ipv4(text) | Peer::Ipv6(text) | Peer::Group(text) => text,
            };
            let ports = match rule.ports {
                Some((from, to)) => format!(
                    "{}, from port: {from}, to port: {to}",
                    rule.protocol.to_uppercase()
                ),
                None => "ALL".to_owned(),
            };
            let text =
                format!("the specified rule \"peer: {peer}, {ports}, ALLOW\" already exists");
            return Err(ApiError::new("InvalidPermission.Duplicate", text));
        }
        rules.push(rule.clone());
    }
    ec2.groups.put(&call.region, &group.group_id, &group)?;
    let shown = |rule: &Permission| {
        let (v4, v6, of) = match &rule.peer {
            Peer::Ipv4(block) => (Some(block), None, None),
            Peer::Ipv6(block) => (None, Some(block), None),
            Peer::Group(id) => (None, None, Some(json!({"groupId": id, "userId": ACCOUNT}))),
        };
        json!({
            "securityGroupRuleId": rule.id,
            "groupId": group.group_id,
            "groupOwnerId": ACCOUNT,
            "isEgress": egress,
            "ipProtocol": rule.protocol,
            "fromPort": rule.ports.map_or(-1, |(from, _)| from),
            "toPort": rule.ports.map_or(-1, |(_, to)| to),
            "cidrIpv4": v4,
            "cidrIpv6": v6,
            "referencedGroupInfo": of,
            "description": rule.description,
        })
    };
    Ok(json!({"return": true, "securityGroupRuleSet": added.iter().map(shown).collect::<Vec<_>>()}))
}

pub fn revoke(ec2: &Ec2, call: &Call, egress: bool) -> Result<Value, ApiError> {
    let mut group = changed(ec2, call)?;
    let ids = call.strings("SecurityGroupRuleId");
    let removed = if ids.is_empty() {
        permissions(call)?
    } else {
        Vec::new()
    };
    let rules = if egress {
        &mut group.egress
    } else {
        &mut group.ingress
    };
    let missing = removed
        .iter()
        .any(|rule| !rules.iter().any(|there| there.same_rule(rule)))
        || ids
            .iter()
            .any(|id| !rules.iter().any(|there| there.id == *id));
    if missing {
        return Err(ApiError::new(
            "InvalidPermission.NotFound",
            "The specified rule does not exist in this security group.",
        ));
    }
    rules.retain(|there| {
        !removed.iter().any(|rule| rule.same_rule(there)) && !ids.contains(&there.id.as_str())
    });
    ec2.groups.put(&call.region, &group.group_id, &group)?;
    Ok(json!({"return": true}))
}
