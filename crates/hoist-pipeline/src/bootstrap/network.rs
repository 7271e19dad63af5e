//! Subnets and a security group by the names that the short form uses, and the load balancers.

use hoist_aws::{Service, read};
use serde_json::{Value, json};

use super::{Ledger, State, each_once, failing};
use crate::failure::Failure;
use crate::refusal::has_code;
use crate::work::Work;

impl Ledger<'_> {
    /// What the short form's services stand on. Verbatim definitions name what their owners made.
    pub(super) async fn network(&mut self, works: &[Work]) -> Result<(), Failure> {
        let short: Vec<&Work> = works.iter().filter(|work| work.is_short()).collect();
        if short.is_empty() {
            return Ok(());
        }
        let fail = failing("the network");
        let params = json!({ "Filter": [{ "Name": "is-default", "Value": ["true"] }] });
        let answer = self
            .aws
            .query(Service::Ec2, "DescribeVpcs", &params)
            .await
            .map_err(&fail)?;
        let vpc = read::text(&answer["vpcSet"][0], "vpcId").to_owned();
        if vpc.is_empty() {
            self.add(
                "a default VPC",
                State::Lacking,
                "`aws ec2 create-default-vpc` makes one; or name subnets of your own in verbatim definitions",
            );
            return Ok(());
        }
        let subnets = self.subnets(works, &vpc).await?;
        let balanced = short.iter().any(|work| work.target_group.is_some());
        let group = self.security_group(&short, &vpc, balanced).await?;
        for work in short {
            if work.target_group.is_some() {
                self.balancer(work, &vpc, &subnets, group.as_deref())
                    .await?;
            }
        }
        Ok(())
    }

    /// The names that the definitions use, on subnets of the default VPC that have no name yet.
    async fn subnets(&mut self, works: &[Work], vpc: &str) -> Result<Vec<String>, Failure> {
        let fail = failing("the subnets");
        let params = json!({ "Filter": [{ "Name": "vpc-id", "Value": [vpc] }] });
        let answer = self
            .aws
            .query(Service::Ec2, "DescribeSubnets", &params)
            .await
            .map_err(&fail)?;
        let name_of = |subnet: &Value| {
            read::list(subnet, "tagSet")
                .find(|tag| tag["key"] == "Name")
                .map(|tag| read::text(tag, "value").to_owned())
                .filter(|name| !name.is_empty())
        };
        let mut free: Vec<&Value> = read::list(&answer, "subnetSet")
            .filter(|subnet| name_of(subnet).is_none())
            .collect();
        // One of each zone first: a load balancer wants two.
        free.sort_by_key(|subnet| read::text(subnet, "availabilityZone").to_owned());
        let mut chosen = Vec::new();
        for name in each_once(works, |work| named(work, "subnets", "subnet-")) {
            let there = read::list(&answer, "subnetSet")
                .find(|subnet| name_of(subnet).as_deref() == Some(&name));
            if let Some(subnet) = there {
                self.wants(true, format!("the subnet {name}"), "");
                chosen.push(read::text(subnet, "subnetId").to_owned());
                continue;
            }
            let zones: Vec<&str> = read::list(&answer, "subnetSet")
                .filter(|subnet| chosen.iter().any(|id| subnet["subnetId"] == id.as_str()))
                .map(|subnet| read::text(subnet, "availabilityZone"))
                .collect();
            let best = free
                .iter()
                .position(|subnet| !zones.contains(&read::text(subnet, "availabilityZone")))
                .or((!free.is_empty()).then_some(0));
            let Some(index) = best else {
                self.add(
                    format!("the subnet {name}"),
                    State::Lacking,
                    "every subnet of the default VPC has another name: tag one with this Name, or name subnets in verbatim definitions",
                );
                continue;
            };
            let id = read::text(free.remove(index), "subnetId").to_owned();
            if self.wants(
                false,
                format!("the subnet {name}"),
                format!("{id} of the default VPC gets this name"),
            ) {
                let params =
                    json!({ "ResourceId": [id], "Tag": [{ "Key": "Name", "Value": name }] });
                self.aws
                    .query(Service::Ec2, "CreateTags", &params)
                    .await
                    .map_err(&fail)?;
            }
            chosen.push(id);
        }
        Ok(chosen)
    }

    /// Open for the load balancer on port 80, and for the services' ports from the load balancer; where tasks are reached at their
    /// own public address, for those from everywhere.
    async fn security_group(
        &mut self,
        short: &[&Work],
        vpc: &str,
        balanced: bool,
    ) -> Result<Option<String>, Failure> {
        let names = each_once(
            &short.iter().map(|work| (*work).clone()).collect::<Vec<_>>(),
            |work| named(work, "securityGroups", "sg-"),
        );
        let Some(name) = names.first() else {
            return Ok(None);
        };
        let fail = failing(format!("the security group {name}"));
        let params = json!({ "Filter": [
            { "Name": "group-name", "Value": [name] }, { "Name": "vpc-id", "Value": [vpc] }] });
        let answer = self
            .aws
            .query(Service::Ec2, "DescribeSecurityGroups", &params)
            .await
            .map_err(&fail)?;
        let found = answer["securityGroupInfo"][0]["groupId"]
            .as_str()
            .map(str::to_owned);
        let ports: Vec<(u64, bool)> = short
            .iter()
            .filter_map(|work| {
                let port = work
                    .task_definition
                    .pointer("/containerDefinitions/0/portMappings/0/containerPort")?
                    .as_u64()?;
                let public = work.target_group.is_none()
                    && work
                        .service_definition
                        .pointer("/networkConfiguration/awsvpcConfiguration/assignPublicIp")
                        .is_some_and(|assign| assign == "ENABLED");
                Some((port, public))
            })
            .collect();
        let why = match balanced {
            true => "port 80 from everywhere, the services' ports from the load balancer",
            false => "the services' ports",
        };
        if !self.wants(found.is_some(), format!("the security group {name}"), why) {
            return Ok(found);
        }
        let params = json!({
            "GroupName": name,
            "GroupDescription": format!("hoist: the services of {}", self.app()),
            "VpcId": vpc,
        });
        let made = self
            .aws
            .query(Service::Ec2, "CreateSecurityGroup", &params)
            .await
            .map_err(&fail)?;
        let id = read::text(&made, "groupId").to_owned();
        let anywhere = |port: u64| json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] });
        let mut rules = Vec::new();
        if balanced {
            rules.push(anywhere(80));
        }
        let mut known = Vec::new();
        for (port, public) in ports {
            if known.contains(&(port, public)) || balanced && public && port == 80 {
                continue;
            }
            known.push((port, public));
            rules.push(match public {
                true => anywhere(port),
                false => json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "Groups": [{ "GroupId": id }] }),
            });
        }
        if !rules.is_empty() {
            let params = json!({ "GroupId": id, "IpPermissions": rules });
            self.aws
                .query(Service::Ec2, "AuthorizeSecurityGroupIngress", &params)
                .await
                .map_err(fail)?;
        }
        Ok(Some(id))
    }

    /// Target group, load balancer and listener of a service.
    async fn balancer(
        &mut self,
        work: &Work,
        vpc: &str,
        subnets: &[String],
        group: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(name) = named_group(work) else {
            return Ok(());
        };
        let fail = failing(format!("the load balancer {name}"));
        let query = async |action: &'static str, params: Value, absent: &str| match self
            .aws
            .query(Service::Elbv2, action, &params)
            .await
        {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if has_code(&error, absent) => Ok(None),
            Err(error) => Err(fail(error)),
        };
        let seen = query(
            "DescribeTargetGroups",
            json!({ "Names": [name] }),
            "TargetGroupNotFound",
        )
        .await?;
        let mut target =
            seen.map(|seen| read::text(&seen["TargetGroups"][0], "TargetGroupArn").to_owned());
        let seen = query(
            "DescribeLoadBalancers",
            json!({ "Names": [name] }),
            "LoadBalancerNotFound",
        )
        .await?;
        let mut balancer =
            seen.map(|seen| read::text(&seen["LoadBalancers"][0], "LoadBalancerArn").to_owned());
        let listens = match &balancer {
            None => false,
            Some(arn) => {
                let asked = json!({ "LoadBalancerArn": arn });
                let seen = query("DescribeListeners", asked, "LoadBalancerNotFound").await?;
                seen.is_some_and(|seen| read::list(&seen, "Listeners").len() > 0)
            }
        };
        if self.wants(target.is_some(), format!("the target group {name}"), "") {
            let settings = work.target_group.clone().unwrap_or_default();
            let mut request = json!({
                "Name": name, "Protocol": "HTTP", "Port": 80, "TargetType": "ip", "VpcId": vpc,
                "Tags": [{ "Key": "hoist:app", "Value": self.app() }],
            });
            for (member, value) in settings.as_object().into_iter().flatten() {
                if member != "Attributes" {
                    request[member] = value.clone();
                }
            }
            let made = self
                .aws
                .query(Service::Elbv2, "CreateTargetGroup", &request)
                .await
                .map_err(&fail)?;
            let arn = read::text(&made["TargetGroups"][0], "TargetGroupArn").to_owned();
            if settings["Attributes"].is_array() {
                let request =
                    json!({ "TargetGroupArn": arn, "Attributes": settings["Attributes"] });
                self.aws
                    .query(Service::Elbv2, "ModifyTargetGroupAttributes", &request)
                    .await
                    .map_err(&fail)?;
            }
            target = Some(arn);
        }
        if self.wants(
            balancer.is_some(),
            format!("the load balancer {name}"),
            "from about $16 a month in us-east-1, and $4 for each public address",
        ) {
            let mut request = json!({
                "Name": name, "Type": "application", "Scheme": "internet-facing", "Subnets": subnets,
                "Tags": [{ "Key": "hoist:app", "Value": self.app() }],
            });
            if let Some(group) = group {
                request["SecurityGroups"] = json!([group]);
            }
            let made = self
                .aws
                .query(Service::Elbv2, "CreateLoadBalancer", &request)
                .await
                .map_err(&fail)?;
            balancer = Some(read::text(&made["LoadBalancers"][0], "LoadBalancerArn").to_owned());
        }
        if self.wants(
            listens,
            format!("the listener on port 80 of {name}"),
            "HTTP; a listener for HTTPS needs a certificate of yours",
        ) {
            let request = json!({
                "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80,
                "DefaultActions": [{ "Type": "forward", "TargetGroupArn": target }],
            });
            self.aws
                .query(Service::Elbv2, "CreateListener", &request)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }
}

/// The names in a member of the network configuration; identifiers are somebody else's.
fn named(work: &Work, member: &str, start: &str) -> Vec<String> {
    let network = &work.service_definition["networkConfiguration"]["awsvpcConfiguration"];
    read::list(network, member)
        .filter_map(Value::as_str)
        .filter(|name| !name.starts_with(start))
        .map(str::to_owned)
        .collect()
}

fn named_group(work: &Work) -> Option<String> {
    work.service_definition
        .pointer("/loadBalancers/0/targetGroupArn")?
        .as_str()
        .filter(|name| !name.starts_with("arn:"))
        .map(str::to_owned)
}
