//! Repository, clusters, log groups, and the roles of the tasks.

use hoist_aws::{Service, read};
use serde_json::{Value, json};

use super::{Ledger, each_once, failing, partition};
use crate::failure::Failure;
use crate::refusal::has_code;
use crate::table::tail;
use crate::work::Work;

/// Days for which a new log group keeps its lines: a group without an end costs ever more.
const LOG_DAYS: u32 = 30;
/// What ECS Exec needs in a task's own role.
/// Source: Amazon ECS Developer Guide, "Task IAM role permissions for ECS Exec".
const EXEC: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

impl Ledger<'_> {
    /// What does not depend on a network.
    pub(super) async fn account(&mut self, works: &[Work]) -> Result<(), Failure> {
        self.repository().await?;
        self.service_linked_role().await?;
        for cluster in each_once(works, |work| vec![work.cluster().to_owned()]) {
            self.cluster(&cluster).await?;
        }
        for group in each_once(works, log_groups) {
            self.log_group(&group).await?;
        }
        for work in works {
            self.roles(work).await?;
        }
        Ok(())
    }

    async fn repository(&mut self) -> Result<(), Failure> {
        if self.project.as_written {
            return Ok(());
        }
        let name = self.project.repository().to_owned();
        let fail = failing(format!("the repository {name}"));
        let asked = json!({ "repositoryNames": [name] });
        let there = match self
            .aws
            .json(Service::Ecr, "DescribeRepositories", asked)
            .await
        {
            Ok(_) => true,
            Err(error) if has_code(&error, "RepositoryNotFoundException") => false,
            Err(error) => return Err(fail(error)),
        };
        if self.wants(
            there,
            format!("the repository {name}"),
            "the images go there",
        ) {
            let request = json!({
                "repositoryName": name,
                "imageTagMutability": "IMMUTABLE",
                "imageScanningConfiguration": { "scanOnPush": true },
                "tags": [{ "Key": "hoist:app", "Value": self.app() }],
            });
            self.aws
                .json(Service::Ecr, "CreateRepository", request)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    /// With which ECS makes network interfaces and registers targets; an account has it once.
    async fn service_linked_role(&mut self) -> Result<(), Failure> {
        let fail = failing("the service-linked role of ECS");
        let name = "AWSServiceRoleForECS";
        let there = self.role_arn(name).await?.is_some();
        if self.wants(
            there,
            format!("the role {name}"),
            "ECS itself makes network interfaces and registers targets with it",
        ) {
            let request = json!({ "AWSServiceName": "ecs.amazonaws.com" });
            match self
                .aws
                .query(Service::Iam, "CreateServiceLinkedRole", &request)
                .await
            {
                Ok(_) => {}
                // Another region of the account made it; moto has the other code.
                Err(error)
                    if has_code(&error, "InvalidInput")
                        || has_code(&error, "EntityAlreadyExists") => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(())
    }

    async fn cluster(&mut self, cluster: &str) -> Result<(), Failure> {
        let name = tail(cluster).to_owned();
        let fail = failing(format!("the cluster {name}"));
        let asked = json!({ "clusters": [cluster] });
        let seen = self
            .aws
            .json(Service::Ecs, "DescribeClusters", asked)
            .await
            .map_err(&fail)?;
        let there = seen["clusters"][0]["status"] == "ACTIVE";
        if self.wants(there, format!("the cluster {name}"), "") {
            let request = json!({
                "clusterName": name,
                "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
                "tags": [{ "key": "hoist:app", "value": self.app() }],
            });
            self.aws
                .json(Service::Ecs, "CreateCluster", request)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    async fn log_group(&mut self, group: &str) -> Result<(), Failure> {
        let fail = failing(format!("the log group {group}"));
        let asked = json!({ "logGroupNamePrefix": group });
        let seen = self
            .aws
            .json(Service::Logs, "DescribeLogGroups", asked)
            .await
            .map_err(&fail)?;
        let there = read::list(&seen, "logGroups").any(|one| one["logGroupName"] == group);
        if self.wants(
            there,
            format!("the log group {group}"),
            format!("kept for {LOG_DAYS} days"),
        ) {
            let request = json!({ "logGroupName": group, "tags": { "hoist:app": self.app() } });
            self.aws
                .json(Service::Logs, "CreateLogGroup", request)
                .await
                .map_err(&fail)?;
            let request = json!({ "logGroupName": group, "retentionInDays": LOG_DAYS });
            self.aws
                .json(Service::Logs, "PutRetentionPolicy", request)
                .await
                .map_err(fail)?;
        } else if let Some(item) = self.items.last_mut()
            && there
        {
            item.why.clear();
        }
        Ok(())
    }

    /// The two roles of a service's tasks, with what they need.
    async fn roles(&mut self, work: &Work) -> Result<(), Failure> {
        let definition = &work.task_definition;
        if let Some(given) = definition["executionRoleArn"].as_str() {
            let name = tail(given).to_owned();
            self.role(
                &name,
                "ecs-tasks.amazonaws.com",
                "ECS pulls images and writes logs with it",
            )
            .await?;
            self.attached(&name, "service-role/AmazonECSTaskExecutionRolePolicy")
                .await?;
            if let Some(policy) = self.secrets_policy(definition) {
                let policy_name = format!("{}-secrets", work.key());
                self.inline(
                    &name,
                    &policy_name,
                    &policy,
                    "the secrets of its containers",
                )
                .await?;
            }
        }
        if let Some(given) = definition["taskRoleArn"].as_str() {
            let name = tail(given).to_owned();
            self.role(
                &name,
                "ecs-tasks.amazonaws.com",
                "the application itself has it",
            )
            .await?;
            if work.service_definition["enableExecuteCommand"] == true {
                let policy = statement(&EXEC, json!("*"));
                self.inline(&name, "hoist-exec", &policy, "`hoist exec`")
                    .await?;
            }
        }
        Ok(())
    }

    /// Has AWS's own policy attached to a role.
    async fn attached(&mut self, role: &str, policy: &str) -> Result<(), Failure> {
        let fail = failing(format!("the role {role}"));
        let what = format!("the policy {} of the role {role}", tail(policy));
        if self.is_listed(&what) {
            return Ok(());
        }
        let arn = format!(
            "arn:{}:iam::aws:policy/{policy}",
            partition(self.aws.region())
        );
        let asked = json!({ "RoleName": role });
        let there = match self
            .aws
            .query(Service::Iam, "ListAttachedRolePolicies", &asked)
            .await
        {
            Ok(answer) => {
                read::list(&answer, "AttachedPolicies").any(|one| one["PolicyArn"] == arn.as_str())
            }
            Err(error) if has_code(&error, "NoSuchEntity") => false,
            Err(error) => return Err(fail(error)),
        };
        if self.wants(there, what, "AWS's own for this purpose") {
            let request = json!({ "RoleName": role, "PolicyArn": arn });
            self.aws
                .query(Service::Iam, "AttachRolePolicy", &request)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    /// Whether another service of the project wants the same.
    fn is_listed(&self, what: &str) -> bool {
        self.items.iter().any(|item| item.what == what)
    }

    /// Looks a role up, and makes it if it is wanted.
    async fn role(&mut self, name: &str, service: &str, why: &str) -> Result<(), Failure> {
        let what = format!("the role {name}");
        if self.is_listed(&what) {
            return Ok(());
        }
        let there = self.role_arn(name).await?.is_some();
        if !self.wants(there, what.as_str(), why) {
            return Ok(());
        }
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }],
        });
        self.create_role(name, &trust).await
    }

    pub(super) async fn create_role(&self, name: &str, trust: &Value) -> Result<(), Failure> {
        let request = json!({
            "RoleName": name,
            "AssumeRolePolicyDocument": trust.to_string(),
            "Tags": [{ "Key": "hoist:app", "Value": self.app() }],
        });
        self.aws
            .query(Service::Iam, "CreateRole", &request)
            .await
            .map_err(failing(format!("the role {name}")))?;
        Ok(())
    }

    pub(super) async fn role_arn(&self, name: &str) -> Result<Option<String>, Failure> {
        match self
            .aws
            .query(Service::Iam, "GetRole", &json!({ "RoleName": name }))
            .await
        {
            Ok(answer) => Ok(answer["Role"]["Arn"].as_str().map(str::to_owned)),
            Err(error) if has_code(&error, "NoSuchEntity") => Ok(None),
            Err(error) => Err(failing(format!("the role {name}"))(error)),
        }
    }

    /// An inline policy of a role: made where it is absent, replaced where it says something else.
    pub(super) async fn inline(
        &mut self,
        role: &str,
        name: &str,
        policy: &Value,
        why: &str,
    ) -> Result<(), Failure> {
        let what = format!("the policy {name} of the role {role}");
        if self.is_listed(&what) {
            return Ok(());
        }
        let fail = failing(what.clone());
        let asked = json!({ "RoleName": role, "PolicyName": name });
        let there = match self.aws.query(Service::Iam, "GetRolePolicy", &asked).await {
            Ok(answer) => same_policy(&answer["PolicyDocument"], policy),
            Err(error) if has_code(&error, "NoSuchEntity") => false,
            Err(error) => return Err(fail(error)),
        };
        if self.wants(there, what, why) {
            let request = json!({
                "RoleName": role,
                "PolicyName": name,
                "PolicyDocument": policy.to_string(),
            });
            self.aws
                .query(Service::Iam, "PutRolePolicy", &request)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    /// What reading the containers' secrets needs; `None` where there are none.
    fn secrets_policy(&self, definition: &Value) -> Option<Value> {
        let (mut parameters, mut secrets) = (Vec::new(), Vec::new());
        for from in read::list(definition, "containerDefinitions")
            .flat_map(|container| read::list(container, "secrets"))
            .filter_map(|secret| secret["valueFrom"].as_str())
        {
            if from.contains(":secretsmanager:") {
                // What follows the name's suffix selects a key or a version of the secret.
                let arn: Vec<&str> = from.split(':').take(7).collect();
                secrets.push(arn.join(":"));
            } else if from.starts_with("arn:") {
                parameters.push(from.to_owned());
            } else {
                let name = from.trim_start_matches('/');
                parameters.push(self.arn("ssm", self.aws.region(), &format!("parameter/{name}")));
            }
        }
        let mut statements = Vec::new();
        for (action, mut resources) in [
            ("ssm:GetParameters", parameters),
            ("secretsmanager:GetSecretValue", secrets),
        ] {
            resources.sort();
            resources.dedup();
            if !resources.is_empty() {
                statements
                    .push(json!({ "Effect": "Allow", "Action": action, "Resource": resources }));
            }
        }
        (!statements.is_empty())
            .then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
    }
}

/// A policy of one statement.
pub(super) fn statement(actions: &[&str], resource: Value) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": resource }],
    })
}

/// Whether a policy that IAM tells (percent-encoded JSON) says the same.
fn same_policy(told: &Value, policy: &Value) -> bool {
    let Some(told) = told.as_str() else {
        return told == policy;
    };
    [told.to_owned(), crate::telemetry::decoded(told)]
        .iter()
        .filter_map(|text| serde_json::from_str::<Value>(text).ok())
        .any(|told| told == *policy)
}

fn log_groups(work: &Work) -> Vec<String> {
    read::list(&work.task_definition, "containerDefinitions")
        .map(|container| &container["logConfiguration"])
        .filter(|logging| logging["logDriver"] == "awslogs")
        .map(|logging| read::text(&logging["options"], "awslogs-group").to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_the_same_however_iam_spells_it() {
        let policy = statement(&["a:B"], json!("*"));
        let encoded: String = policy
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        assert!(same_policy(&json!(encoded), &policy));
        assert!(same_policy(&json!(policy.to_string()), &policy));
        assert!(!same_policy(&json!("{}"), &policy));
    }
}
