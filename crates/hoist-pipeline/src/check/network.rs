//! Subnets and security groups.

use hoist_aws::{Service, read};
use hoist_ecs::Referent;
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "network",
    sentence: "Subnets and security groups exist, in one VPC",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut found = Vec::new();
        let mut networks: Vec<String> = Vec::new();
        for (referent, start, what, action, set, id) in [
            (
                Referent::Subnet,
                "subnet-",
                "subnet",
                "DescribeSubnets",
                "subnetSet",
                "subnetId",
            ),
            (
                Referent::SecurityGroup,
                "sg-",
                "security group",
                "DescribeSecurityGroups",
                "securityGroupInfo",
                "groupId",
            ),
        ] {
            let wanted = subject.refers_to(referent);
            if !wanted.iter().any(|name| name.starts_with(start)) {
                continue;
            }
            let answer = scene.aws.query(Service::Ec2, action, &json!({})).await?;
            let known: Vec<&str> = read::list(&answer, set)
                .filter_map(|item| item[id].as_str())
                .collect();
            for name in wanted.iter().filter(|name| name.starts_with(start)) {
                match read::list(&answer, set).find(|item| item[id] == name.as_str()) {
                    Some(item) => networks.push(read::text(item, "vpcId").to_owned()),
                    None => found.push(error(
                        format!("the {what} {name} does not exist in {}", scene.aws.region()),
                        or_rather(name, known.iter().copied()),
                    )),
                }
            }
        }
        networks.retain(|network| !network.is_empty());
        networks.sort();
        networks.dedup();
        if networks.len() > 1 {
            found.push(error(
                format!(
                    "subnets and security groups are in several VPCs: {}",
                    networks.join(", ")
                ),
                "name subnets and security groups of one VPC",
            ));
        }
        Ok(found)
    })
}
