//! The way from the subnets to the registry.

use hoist_aws::{Service, read};
use hoist_ecs::Referent;
use serde_json::{Value, json};

use super::{Check, Finding, Look, Outcome, Scene, Subject, error, warning};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "egress",
    sentence: "Tasks reach ECR from their subnets",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let subnets: Vec<String> = subject
            .refers_to(Referent::Subnet)
            .into_iter()
            .filter(|name| name.starts_with("subnet-"))
            .collect();
        if subnets.is_empty() {
            return Ok(Vec::new());
        }
        let described = scene
            .aws
            .query(
                Service::Ec2,
                "DescribeSubnets",
                &json!({ "SubnetId": subnets }),
            )
            .await;
        let described = match described {
            Ok(described) => described,
            // That is another check's.
            Err(failed) if failed.code() == Some("InvalidSubnetID.NotFound") => {
                return Ok(Vec::new());
            }
            Err(failed) => return Err(failed),
        };
        let network = read::text(&described["subnetSet"][0], "vpcId").to_owned();
        let filter = json!({ "Filter": [{ "Name": "vpc-id", "Value": [network] }] });
        let tables = scene
            .aws
            .query(Service::Ec2, "DescribeRouteTables", &filter)
            .await?;
        let endpoints = scene
            .aws
            .query(Service::Ec2, "DescribeVpcEndpoints", &filter)
            .await?;
        // Whether the tasks of an Express service get public addresses is ECS's business, which makes it work in public subnets.
        let public = hoist_ecs::is_express(&subject.service)
            || subject.service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"]
                == "ENABLED";
        Ok(subnets
            .iter()
            .filter_map(|subnet| judge(subnet, public, &tables, &endpoints))
            .collect())
    })
}

/// What is wrong with the way out of one subnet.
pub(super) fn judge(
    subnet: &str,
    public: bool,
    tables: &Value,
    endpoints: &Value,
) -> Option<Finding> {
    let links = |table: &Value, fits: &dyn Fn(&Value) -> bool| {
        read::list(table, "associationSet").any(fits)
    };
    let own = read::list(tables, "routeTableSet")
        .find(|table| links(table, &|link| link["subnetId"] == subnet));
    let main = || {
        read::list(tables, "routeTableSet").find(|table| {
            links(table, &|link| {
                link["main"] == "true" || link["main"] == true
            })
        })
    };
    let table = own.or_else(main)?;
    let default = |member: &str, start: &str| {
        read::list(table, "routeSet").any(|route| {
            route["destinationCidrBlock"] == "0.0.0.0/0"
                && route[member]
                    .as_str()
                    .is_some_and(|to| to.starts_with(start))
        })
    };
    let gateway = default("gatewayId", "igw-");
    let translated = default("natGatewayId", "nat-")
        || default("transitGatewayId", "tgw-")
        || default("networkInterfaceId", "eni-")
        || default("instanceId", "i-");
    if translated || gateway && public {
        return None;
    }
    let services = ["ecr.api", "ecr.dkr", "s3"];
    let missing: Vec<&str> = services
        .into_iter()
        .filter(|service| {
            !read::list(endpoints, "vpcEndpointSet").any(|endpoint| {
                let name = read::text(endpoint, "serviceName");
                name.strip_suffix(service)
                    .is_some_and(|rest| rest.ends_with('.'))
            })
        })
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(if gateway {
        error(
            format!(
                "tasks in {subnet} cannot reach ECR: it routes to an internet gateway, and they get no public address"
            ),
            "set `assignPublicIp` to ENABLED, or use subnets with a NAT gateway",
        )
    } else if missing.len() == services.len() {
        error(
            format!(
                "tasks in {subnet} cannot reach ECR: it has neither a NAT gateway nor VPC endpoints"
            ),
            "add a NAT gateway, or endpoints for ecr.api, ecr.dkr, s3 and logs",
        )
    } else {
        warning(
            format!(
                "tasks in {subnet} may not reach ECR: there is no VPC endpoint for {}",
                missing.join(", ")
            ),
            "a pull needs the endpoints ecr.api and ecr.dkr, and s3 for the layers",
        )
    })
}
