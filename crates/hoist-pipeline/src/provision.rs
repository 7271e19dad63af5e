//! Makes, on the embedded AWS, what the definitions refer to: cluster, roles, log groups, network, load balancer.
//!
//! ECS never creates these, and neither does the embedded one; on a real account they are the business of CloudFormation.
//! Every call is idempotent and everything made is tagged `hoist:app`. Identifiers that the account does not know are
//! mapped to ones that it has, and each mapping is said; no file changes. What exists is left as it is: a target group whose
//! settings changed in hoist.yaml is changed with the deployment ([`crate::target_group`]).

use hoist_aws::{AwsError, Client, Service, read};
use hoist_ecs::{Referent, references};
use serde_json::{Value, json};

mod balancers;

use crate::event::{Events, Step};
use crate::failure::Failure;
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
    let made = carry(aws, wanted, Some(events)).await?;
    Ok(made.len())
}

/// What [`provision`] would make, in words; identifiers that are known are put into the definitions.
///
/// # Errors
/// A call was refused.
pub async fn foresee(aws: &Client, wanted: Wanted<'_>) -> Result<Vec<String>, Failure> {
    carry(aws, wanted, None).await
}

async fn carry(
    aws: &Client,
    wanted: Wanted<'_>,
    events: Option<&Events>,
) -> Result<Vec<String>, Failure> {
    let mut work = Work {
        aws,
        events,
        app: wanted.app,
        made: Vec::new(),
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
    /// Who is told; where nobody is, nothing is made.
    events: Option<&'a Events>,
    app: &'a str,
    /// What was made, or would be.
    made: Vec<String>,
}

impl Work<'_> {
    /// Makes something by a query call; answers nothing where nothing is made.
    async fn make(
        &mut self,
        what: String,
        service: Service,
        action: &'static str,
        request: Value,
    ) -> Result<Value, Failure> {
        let fail = failing(&what);
        let mut answer = Value::Null;
        if let Some(events) = self.events {
            let query = matches!(service, Service::Iam | Service::Elbv2);
            answer = match query {
                true => self.aws.query(service, action, &request).await,
                false => self.aws.json(service, action, request).await,
            }
            .map_err(fail)?;
            events.note(Step::Provision, format!("created {what}"));
        }
        self.made.push(what);
        Ok(answer)
    }

    /// What a query answers; `None` where it says that there is no such thing.
    async fn seen(
        &self,
        what: &str,
        service: Service,
        action: &'static str,
        request: Value,
        absent: &[&str],
    ) -> Result<Option<Value>, Failure> {
        match self.aws.query(service, action, &request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if absent.iter().any(|code| has_code(&error, code)) => Ok(None),
            Err(error) => Err(failing(what)(error)),
        }
    }

    fn mapped(&self, from: &str, to: &str) {
        // The short form's own names are no identifiers that a user wrote.
        let is_written = ["arn:", "subnet-", "sg-", "the "]
            .iter()
            .any(|start| from.starts_with(start));
        if let Some(events) = self.events
            && from != to
            && is_written
        {
            events.note(
                Step::Provision,
                format!("{from} is {to} on the embedded AWS"),
            );
        }
    }

    async fn cluster(&mut self, cluster: &str) -> Result<(), Failure> {
        let name = cluster.rsplit('/').next().unwrap_or(cluster);
        let what = format!("the cluster {name}");
        let request = json!({ "clusters": [cluster] });
        let seen = self
            .aws
            .json(Service::Ecs, "DescribeClusters", request)
            .await
            .map_err(failing(&what))?;
        if seen["clusters"][0]["status"] == "ACTIVE" {
            return Ok(());
        }
        // With both providers, as the console makes it: a definition may have a strategy of them.
        let request = json!({
            "clusterName": name,
            "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "tags": [{ "key": "hoist:app", "value": self.app }],
        });
        self.make(what, Service::Ecs, "CreateCluster", request)
            .await
            .map(drop)
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
            let what = format!("the role {name}");
            let request = json!({ "RoleName": name });
            let absent = ["NoSuchEntity"];
            let answer = match self
                .seen(&what, Service::Iam, "GetRole", request, &absent)
                .await?
            {
                Some(answer) => answer,
                None if self.made.contains(&what) => continue,
                None => self.role(what, name, policy).await?,
            };
            let Some(arn) = answer["Role"]["Arn"].as_str() else {
                continue;
            };
            if given.starts_with("arn:") {
                self.mapped(&given, arn);
            }
            if let Some(place) = definition.pointer_mut(&reference.pointer) {
                *place = json!(arn);
            }
        }
        Ok(())
    }

    /// Makes a role of tasks.
    async fn role(
        &mut self,
        what: String,
        name: &str,
        policy: Option<&str>,
    ) -> Result<Value, Failure> {
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
        let fail = failing(&what);
        let answer = self.make(what, Service::Iam, "CreateRole", request).await?;
        if let (Some(policy), Some(_)) = (policy, self.events) {
            let request = json!({ "RoleName": name, "PolicyArn": policy });
            self.aws
                .query(Service::Iam, "AttachRolePolicy", &request)
                .await
                .map_err(fail)?;
        }
        Ok(answer)
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
            let what = format!("the log group {group}");
            let Some(events) = self.events else {
                if !self.has_log_group(&group).await? {
                    self.made.push(what);
                }
                continue;
            };
            let request = json!({ "logGroupName": group, "tags": { "hoist:app": self.app } });
            match self
                .aws
                .json(Service::Logs, "CreateLogGroup", request)
                .await
            {
                Ok(_) => {
                    events.note(Step::Provision, format!("created {what}"));
                    self.made.push(what);
                }
                Err(error) if has_code(&error, "ResourceAlreadyExistsException") => {}
                Err(error) => return Err(failing(&what)(error)),
            }
        }
        Ok(())
    }

    async fn has_log_group(&self, group: &str) -> Result<bool, Failure> {
        let request = json!({ "logGroupNamePrefix": group });
        let seen = self
            .aws
            .json(Service::Logs, "DescribeLogGroups", request)
            .await
            .map_err(failing(&format!("the log group {group}")))?;
        Ok(read::list(&seen, "logGroups").any(|one| one["logGroupName"] == *group))
    }

    /// Subnets and security groups: those that exist stay, unknown ones become the default VPC's.
    async fn network(&mut self, definition: &mut Value) -> Result<Vec<String>, Failure> {
        let answer = self.described("DescribeSubnets").await?;
        let subnets = || read::list(&answer, "subnetSet");
        let all = texts(subnets(), "subnetId");
        let mut defaults = texts(
            subnets().filter(|subnet| is_true(&subnet["defaultForAz"])),
            "subnetId",
        );
        if defaults.is_empty() {
            defaults.clone_from(&all);
        }
        let answer = self.described("DescribeSecurityGroups").await?;
        let groups = || read::list(&answer, "securityGroupInfo");
        let all_groups = texts(groups(), "groupId");
        let mut default_group = texts(
            groups().filter(|group| group["groupName"] == "default"),
            "groupId",
        );
        default_group.truncate(1);

        let network = &mut definition["networkConfiguration"]["awsvpcConfiguration"];
        let (subnets, said) = map_known(&network["subnets"], &all, &defaults);
        network["subnets"] = json!(subnets);
        let (groups, also) = map_known(&network["securityGroups"], &all_groups, &default_group);
        if !groups.is_empty() {
            network["securityGroups"] = json!(groups);
        }
        for (from, to) in said.iter().chain(&also) {
            self.mapped(from, to);
        }
        Ok(subnets)
    }

    async fn described(&self, action: &'static str) -> Result<Value, Failure> {
        let answer = self.aws.query(Service::Ec2, action, &json!({})).await;
        answer.map_err(failing("the network"))
    }
}

/// The texts at a member of these values.
fn texts<'a>(values: impl Iterator<Item = &'a Value>, member: &str) -> Vec<String> {
    values
        .filter_map(|value| Some(value[member].as_str()?.to_owned()))
        .collect()
}

/// Makes failures of provisioning `what`.
fn failing(what: &str) -> impl Fn(AwsError) -> Failure + use<> {
    let what = format!("failed to provision {what}");
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

/// Answers in XML spell truth values as texts.
fn is_true(value: &Value) -> bool {
    value == "true" || *value == true
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
}
