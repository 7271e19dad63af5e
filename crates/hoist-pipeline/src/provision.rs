//! Makes, on the embedded AWS, what the definitions refer to: cluster, roles, log groups, network, load balancer.
//!
//! ECS never creates these, and neither does the embedded one; on a real account they are the business of CloudFormation.
//! Every call is idempotent and everything made is tagged `hoist:app`. Identifiers that the account does not know are
//! mapped to ones that it has, and each mapping is said; no file changes.

use hoist_aws::{AwsError, Client, Service};
use hoist_ecs::{Referent, references};
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};

/// What is to be provisioned for; the definitions are changed in place where identifiers are mapped.
pub struct Wanted<'a> {
    /// Application name.
    pub app: &'a str,
    /// Service name.
    pub service: &'a str,
    /// Cluster name or ARN.
    pub cluster: &'a str,
    /// Task definition as RegisterTaskDefinition takes it.
    pub task_definition: &'a mut Value,
    /// Service definition as CreateService takes it.
    pub service_definition: &'a mut Value,
    /// Settings of the target group (members of CreateTargetGroup) and its attributes, for the short form.
    pub target_group: Option<&'a Value>,
}

/// Makes what is absent. Returns how many things were made.
///
/// # Errors
/// A call was refused.
pub async fn provision(
    aws: &Client,
    wanted: Wanted<'_>,
    events: &Events,
) -> Result<usize, Failure> {
    let mut work = Work {
        aws,
        events,
        app: wanted.app,
        made: 0,
    };
    work.cluster(wanted.cluster).await?;
    work.roles(wanted.task_definition).await?;
    work.log_groups(wanted.task_definition).await?;
    let subnets = work.network(wanted.service_definition).await?;
    work.balancers(
        wanted.service,
        wanted.service_definition,
        wanted.target_group,
        &subnets,
    )
    .await?;
    Ok(work.made)
}

struct Work<'a> {
    aws: &'a Client,
    events: &'a Events,
    app: &'a str,
    made: usize,
}

impl Work<'_> {
    fn created(&mut self, what: impl std::fmt::Display) {
        self.made += 1;
        self.events.note(Step::Provision, format!("created {what}"));
    }

    fn mapped(&self, from: &str, to: &str) {
        // The short form's own names are no identifiers that a user wrote.
        if from != to
            && ["arn:", "subnet-", "sg-", "the "]
                .iter()
                .any(|start| from.starts_with(start))
        {
            self.events.note(
                Step::Provision,
                format!("{from} is {to} on the embedded AWS"),
            );
        }
    }

    async fn cluster(&mut self, cluster: &str) -> Result<(), Failure> {
        let fail = failing(format!("the cluster {cluster}"));
        let seen = self
            .aws
            .json(
                Service::Ecs,
                "DescribeClusters",
                json!({ "clusters": [cluster] }),
            )
            .await
            .map_err(&fail)?;
        if seen["clusters"][0]["status"] == "ACTIVE" {
            return Ok(());
        }
        let name = cluster.rsplit('/').next().unwrap_or(cluster);
        // With both providers, as the console makes it: a definition may have a strategy of them.
        let request = json!({
            "clusterName": name,
            "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "tags": [{ "key": "hoist:app", "value": self.app }],
        });
        self.aws
            .json(Service::Ecs, "CreateCluster", request)
            .await
            .map_err(&fail)?;
        self.created(format!("the cluster {name}"));
        Ok(())
    }

    /// The two roles. A name stands for an ARN; another account's ARN is mapped to this one's by its name.
    async fn roles(&mut self, definition: &mut Value) -> Result<(), Failure> {
        for reference in references(definition) {
            let policy = match reference.referent {
                Referent::ExecutionRole => {
                    Some("arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")
                }
                Referent::TaskRole => None,
                _ => continue,
            };
            let given = reference.value;
            let name = given.rsplit('/').next().unwrap_or(&given);
            let fail = failing(format!("the role {name}"));
            let arn = match self
                .aws
                .query(Service::Iam, "GetRole", &json!({ "RoleName": name }))
                .await
            {
                Ok(answer) => answer["Role"]["Arn"].as_str().map(str::to_owned),
                Err(error) if has_code(&error, "NoSuchEntity") => {
                    let trust = json!({
                        "Version": "2012-10-17",
                        "Statement": [{
                            "Effect": "Allow",
                            "Principal": { "Service": "ecs-tasks.amazonaws.com" },
                            "Action": "sts:AssumeRole",
                        }],
                    });
                    let request = json!({
                        "RoleName": name,
                        "AssumeRolePolicyDocument": trust.to_string(),
                        "Tags": [{ "Key": "hoist:app", "Value": self.app }],
                    });
                    let answer = self
                        .aws
                        .query(Service::Iam, "CreateRole", &request)
                        .await
                        .map_err(&fail)?;
                    if let Some(policy) = policy {
                        let request = json!({ "RoleName": name, "PolicyArn": policy });
                        self.aws
                            .query(Service::Iam, "AttachRolePolicy", &request)
                            .await
                            .map_err(&fail)?;
                    }
                    self.created(format!("the role {name}"));
                    answer["Role"]["Arn"].as_str().map(str::to_owned)
                }
                Err(error) => return Err(fail(error)),
            };
            if let Some(arn) = arn {
                if given.starts_with("arn:") {
                    self.mapped(&given, &arn);
                }
                if let Some(place) = definition.pointer_mut(&reference.pointer) {
                    *place = Value::String(arn);
                }
            }
        }
        Ok(())
    }

    async fn log_groups(&mut self, definition: &mut Value) -> Result<(), Failure> {
        let region = self.aws.region().to_owned();
        let containers = definition["containerDefinitions"]
            .as_array_mut()
            .into_iter()
            .flatten();
        for container in containers {
            let logging = &mut container["logConfiguration"];
            if logging["logDriver"] != "awslogs" {
                continue;
            }
            if let Some(given) = logging["options"]["awslogs-region"]
                .as_str()
                .filter(|given| *given != region)
            {
                self.mapped(&format!("the log region {given}"), &region);
                logging["options"]["awslogs-region"] = Value::String(region.clone());
            }
        }
        let mut groups: Vec<String> = references(definition)
            .into_iter()
            .filter(|one| one.referent == Referent::LogGroup)
            .map(|one| one.value)
            .collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            let fail = failing(format!("the log group {group}"));
            let request = json!({ "logGroupName": group, "tags": { "hoist:app": self.app } });
            match self
                .aws
                .json(Service::Logs, "CreateLogGroup", request)
                .await
            {
                Ok(_) => self.created(format!("the log group {group}")),
                Err(error) if has_code(&error, "ResourceAlreadyExistsException") => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(())
    }

    /// Subnets and security groups: those that exist stay, unknown ones become the default VPC's.
    async fn network(&mut self, definition: &mut Value) -> Result<Vec<String>, Failure> {
        let fail = failing("the network");
        let answer = self
            .aws
            .query(Service::Ec2, "DescribeSubnets", &json!({}))
            .await
            .map_err(&fail)?;
        let known = |set: &Value, member: &str| -> Vec<String> {
            set.as_array()
                .into_iter()
                .flatten()
                .filter_map(|item| item[member].as_str().map(str::to_owned))
                .collect()
        };
        let all_subnets = known(&answer["subnetSet"], "subnetId");
        let defaults: Vec<String> = answer["subnetSet"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|subnet| is_true(&subnet["defaultForAz"]))
            .filter_map(|subnet| subnet["subnetId"].as_str().map(str::to_owned))
            .collect();
        let defaults = if defaults.is_empty() {
            all_subnets.clone()
        } else {
            defaults
        };
        let answer = self
            .aws
            .query(Service::Ec2, "DescribeSecurityGroups", &json!({}))
            .await
            .map_err(&fail)?;
        let all_groups = known(&answer["securityGroupInfo"], "groupId");
        let default_group = answer["securityGroupInfo"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|group| group["groupName"] == "default")
            .and_then(|group| group["groupId"].as_str())
            .map(str::to_owned);

        let network = &mut definition["networkConfiguration"]["awsvpcConfiguration"];
        let (subnets, said) = map_known(&network["subnets"], &all_subnets, &defaults);
        for (from, to) in said {
            self.mapped(&from, &to);
        }
        network["subnets"] = json!(subnets);
        let (groups, said) = map_known(
            &network["securityGroups"],
            &all_groups,
            default_group.as_slice(),
        );
        for (from, to) in said {
            self.mapped(&from, &to);
        }
        if !groups.is_empty() {
            network["securityGroups"] = json!(groups);
        }
        Ok(subnets)
    }

    async fn balancers(
        &mut self,
        service: &str,
        definition: &mut Value,
        settings: Option<&Value>,
        subnets: &[String],
    ) -> Result<(), Failure> {
        let count = definition["loadBalancers"].as_array().map_or(0, Vec::len);
        for index in 0..count {
            let entry = &mut definition["loadBalancers"][index];
            let given = entry["targetGroupArn"].as_str().map(str::to_owned);
            let fail = failing(format!("the load balancer of {service}"));
            let port = entry["containerPort"].as_u64().unwrap_or(80);
            let name = match given.as_deref() {
                Some(name) if !name.starts_with("arn:") => name.to_owned(),
                Some(arn) => {
                    // arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID
                    if self
                        .group_exists(&json!({ "TargetGroupArns": [arn] }))
                        .await
                        .map_err(&fail)?
                        .is_some()
                    {
                        continue;
                    }
                    arn.split('/').nth(1).unwrap_or(arn).to_owned()
                }
                None if count == 1 => balancer_name(self.app, service),
                None => balancer_name(self.app, &format!("{service}-{index}")),
            };
            let arn = self.group(&name, port, settings).await?;
            if let Some(given) = given {
                self.mapped(&given, &arn);
            }
            definition["loadBalancers"][index]["targetGroupArn"] = Value::String(arn.clone());
            self.listener(&name, &arn, subnets).await?;
        }
        Ok(())
    }

    async fn group_exists(&self, filter: &Value) -> Result<Option<Value>, AwsError> {
        match self
            .aws
            .query(Service::Elbv2, "DescribeTargetGroups", filter)
            .await
        {
            Ok(mut answer) => Ok(answer.pointer_mut("/TargetGroups/0").map(Value::take)),
            Err(error) if has_code(&error, "TargetGroupNotFound") => Ok(None),
            // An ARN of another partition or malformed is as unknown as one that is absent.
            Err(error) if has_code(&error, "ValidationError") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn group(
        &mut self,
        name: &str,
        port: u64,
        settings: Option<&Value>,
    ) -> Result<String, Failure> {
        let fail = failing(format!("the target group {name}"));
        let mut health = settings.cloned().unwrap_or_else(|| json!({}));
        let attributes = health
            .as_object_mut()
            .and_then(|members| members.shift_remove("Attributes"));
        let seen = self
            .group_exists(&json!({ "Names": [name] }))
            .await
            .map_err(&fail)?;
        let (arn, fresh) = match seen {
            Some(group) => {
                let arn = text(&group["TargetGroupArn"]);
                let differ: Vec<String> = health
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(member, _)| is_health_setting(member))
                    .filter(|(member, value)| !same(&group[*member], value))
                    .map(|(member, value)| {
                        let (old, new) = (text(&group[member]), text(value));
                        format!("{member} {old} -> {new}")
                    })
                    .collect();
                if !differ.is_empty() {
                    let mut request = json!({ "TargetGroupArn": arn });
                    for (member, value) in health.as_object().into_iter().flatten() {
                        if is_health_setting(member) {
                            request[member] = value.clone();
                        }
                    }
                    self.aws
                        .query(Service::Elbv2, "ModifyTargetGroup", &request)
                        .await
                        .map_err(&fail)?;
                    self.events.warn(
                        Step::Provision,
                        format!(
                            "changed the health check of the target group {name}, by which the tasks that run are checked as well: {}",
                            differ.join(", ")
                        ),
                    );
                }
                (arn, false)
            }
            None => {
                let answer = self
                    .aws
                    .query(Service::Ec2, "DescribeVpcs", &json!({}))
                    .await
                    .map_err(&fail)?;
                let mut request = json!({
                    "Name": name,
                    "Protocol": "HTTP",
                    "Port": port,
                    "TargetType": "ip",
                    "VpcId": answer["vpcSet"][0]["vpcId"],
                    "Tags": [{ "Key": "hoist:app", "Value": self.app }],
                });
                for (member, value) in health.as_object().into_iter().flatten() {
                    request[member] = value.clone();
                }
                let answer = self
                    .aws
                    .query(Service::Elbv2, "CreateTargetGroup", &request)
                    .await
                    .map_err(&fail)?;
                self.created(format!("the target group {name}"));
                (text(&answer["TargetGroups"][0]["TargetGroupArn"]), true)
            }
        };
        if arn.is_empty() {
            return Err(Failure::new(
                Kind::Unexpected,
                format!("the target group {name} has no ARN"),
            ));
        }
        if let Some(attributes) = attributes {
            let current = if fresh {
                Value::Null
            } else {
                let request = json!({ "TargetGroupArn": arn });
                self.aws
                    .query(Service::Elbv2, "DescribeTargetGroupAttributes", &request)
                    .await
                    .map_err(&fail)?
            };
            let held = |wanted: &Value| {
                current["Attributes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|attribute| {
                        attribute["Key"] == wanted["Key"]
                            && same(&attribute["Value"], &wanted["Value"])
                    })
            };
            if !attributes.as_array().into_iter().flatten().all(held) {
                let request = json!({ "TargetGroupArn": arn, "Attributes": attributes });
                self.aws
                    .query(Service::Elbv2, "ModifyTargetGroupAttributes", &request)
                    .await
                    .map_err(&fail)?;
            }
        }
        Ok(arn)
    }

    async fn listener(
        &mut self,
        name: &str,
        group: &str,
        subnets: &[String],
    ) -> Result<(), Failure> {
        let fail = failing(format!("the load balancer {name}"));
        let seen = match self
            .aws
            .query(
                Service::Elbv2,
                "DescribeLoadBalancers",
                &json!({ "Names": [name] }),
            )
            .await
        {
            Ok(answer) => answer["LoadBalancers"][0]["LoadBalancerArn"]
                .as_str()
                .map(str::to_owned),
            Err(error) if has_code(&error, "LoadBalancerNotFound") => None,
            Err(error) => return Err(fail(error)),
        };
        let balancer = match seen {
            Some(arn) => arn,
            None => {
                let request = json!({
                    "Name": name,
                    "Type": "application",
                    "Scheme": "internet-facing",
                    "Subnets": subnets,
                    "Tags": [{ "Key": "hoist:app", "Value": self.app }],
                });
                let answer = self
                    .aws
                    .query(Service::Elbv2, "CreateLoadBalancer", &request)
                    .await
                    .map_err(&fail)?;
                self.created(format!("the load balancer {name}"));
                text(&answer["LoadBalancers"][0]["LoadBalancerArn"])
            }
        };
        let request = json!({ "LoadBalancerArn": balancer });
        let answer = self
            .aws
            .query(Service::Elbv2, "DescribeListeners", &request)
            .await
            .map_err(&fail)?;
        if answer["Listeners"]
            .as_array()
            .is_some_and(|listeners| !listeners.is_empty())
        {
            return Ok(());
        }
        let request = json!({
            "LoadBalancerArn": balancer,
            "Protocol": "HTTP",
            "Port": 80,
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
        });
        self.aws
            .query(Service::Elbv2, "CreateListener", &request)
            .await
            .map_err(&fail)?;
        self.created(format!("the listener on port 80 of {name}"));
        Ok(())
    }
}

/// Makes failures of provisioning `what`.
fn failing(what: impl Into<String>) -> impl Fn(AwsError) -> Failure {
    let what = format!("failed to provision {}", what.into());
    move |error| refused(what.clone(), &error)
}

/// Replaces unknown identifiers by the defaults; what is known stays. Says each replacement.
fn map_known(
    given: &Value,
    known: &[String],
    defaults: &[String],
) -> (Vec<String>, Vec<(String, String)>) {
    let given: Vec<&str> = given
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if given.is_empty() {
        return (defaults.to_vec(), Vec::new());
    }
    let (mut chosen, mut said) = (Vec::new(), Vec::new());
    for (index, id) in given.iter().enumerate() {
        let target = if known.iter().any(|known| known == id) {
            (*id).to_owned()
        } else if let Some(default) = defaults.get(index % defaults.len().max(1)) {
            said.push(((*id).to_owned(), default.clone()));
            default.clone()
        } else {
            (*id).to_owned()
        };
        if !chosen.contains(&target) {
            chosen.push(target);
        }
    }
    (chosen, said)
}

/// At most 32 characters, as names of load balancers and target groups must be; a digest keeps long ones apart.
fn balancer_name(app: &str, service: &str) -> String {
    let whole: String = format!("{app}-{service}")
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let whole = whole.trim_matches('-').to_owned();
    if whole.len() <= 32 {
        return whole;
    }
    let digest = hoist_oci::Digest::of(whole.as_bytes()).hex()[..6].to_owned();
    format!("{}-{digest}", whole[..25].trim_end_matches('-'))
}

/// Whether ModifyTargetGroup takes this member of CreateTargetGroup.
fn is_health_setting(member: &str) -> bool {
    member.starts_with("HealthCheck") || member.ends_with("ThresholdCount") || member == "Matcher"
}

/// Answers in XML spell numbers and truth values as strings.
fn same(left: &Value, right: &Value) -> bool {
    text(left) == text(right)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn is_true(value: &Value) -> bool {
    text(value) == "true"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn unknown_identifiers_become_the_defaults_and_are_said() {
        let (chosen, said) = map_known(
            &json!(["subnet-a", "subnet-x", "subnet-y"]),
            &strings(&["subnet-a", "subnet-b"]),
            &strings(&["subnet-a", "subnet-b"]),
        );
        assert_eq!(chosen, ["subnet-a", "subnet-b"]);
        assert_eq!(
            said,
            [
                ("subnet-x".to_owned(), "subnet-b".to_owned()),
                ("subnet-y".to_owned(), "subnet-a".to_owned())
            ]
        );
        assert_eq!(
            map_known(&Value::Null, &strings(&["a"]), &strings(&["a"])).0,
            ["a"]
        );
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        let first = balancer_name("a-very-long-application-name", "web-one");
        let second = balancer_name("a-very-long-application-name", "web-two");
        assert!(first.len() <= 32 && second.len() <= 32);
        assert_ne!(first, second);
        assert_eq!(balancer_name("shop", "web"), "shop-web");
    }

    #[test]
    fn values_from_xml_equal_values_from_json() {
        assert!(same(&json!("5"), &json!(5)));
        assert!(same(&json!("true"), &json!(true)));
        assert!(!same(&json!("5"), &json!(6)));
    }
}
