//! The right to deploy from GitHub Actions without a key: the identity provider, and a role with the least that a deployment needs.

use std::path::Path;
use std::process::{Command, Stdio};

use hoist_aws::{Service, read};
use serde_json::{Value, json};

use super::{Ledger, each_once, failing};
use crate::failure::{Failure, Kind};
use crate::schedules;
use crate::status::describe_definition;
use crate::table::tail;
use crate::work::Work;

/// Who signs the tokens of GitHub's jobs.
const ISSUER: &str = "token.actions.githubusercontent.com";
/// Name of the role's policy.
const POLICY: &str = "hoist-deploy";

/// Which jobs are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// `OWNER/REPOSITORY`.
    pub repository: String,
    /// The branch whose jobs may deploy.
    pub branch: String,
    /// The GitHub environment whose jobs may deploy, instead of a branch.
    pub environment: Option<String>,
}

impl Trust {
    /// The subject of such a job's token.
    /// Source: GitHub Docs, "OpenID Connect reference", subject claims.
    fn subject(&self) -> String {
        match &self.environment {
            Some(environment) => format!("repo:{}:environment:{environment}", self.repository),
            None => format!("repo:{}:ref:refs/heads/{}", self.repository, self.branch),
        }
    }
}

/// `OWNER/REPOSITORY` of the repository around `folder`, if its `origin` is at GitHub.
pub fn repository_of(folder: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "core.fsmonitor=false",
            "config",
            "--get",
            "remote.origin.url",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    at_github(String::from_utf8_lossy(&output.stdout).trim())
}

fn at_github(url: &str) -> Option<String> {
    let rest = [
        "https://github.com/",
        "git@github.com:",
        "ssh://git@github.com/",
    ]
    .iter()
    .find_map(|start| url.strip_prefix(start))?;
    let name = rest.trim_end_matches('/').trim_end_matches(".git");
    (name.split('/').count() == 2).then(|| name.to_owned())
}

impl Ledger<'_> {
    /// Returns the role's ARN.
    pub(super) async fn github(
        &mut self,
        works: &[Work],
        trust: &Trust,
    ) -> Result<String, Failure> {
        let provider = self.arn("iam", "", &format!("oidc-provider/{ISSUER}"));
        let fail = failing("the identity provider of GitHub");
        let listed = self
            .aws
            .query(Service::Iam, "ListOpenIDConnectProviders", &json!({}))
            .await
            .map_err(&fail)?;
        let there = read::list(&listed, "OpenIDConnectProviderList")
            .any(|one| one["Arn"].as_str().is_some_and(|arn| arn.ends_with(ISSUER)));
        if self.wants(
            there,
            format!("the identity provider {ISSUER}"),
            "jobs sign in with their own token, without a key",
        ) {
            let request = json!({
                "Url": format!("https://{ISSUER}"),
                "ClientIDList": ["sts.amazonaws.com"],
                "Tags": [{ "Key": "hoist:app", "Value": self.app() }],
            });
            self.aws
                .query(Service::Iam, "CreateOpenIDConnectProvider", &request)
                .await
                .map_err(&fail)?;
        }
        let name = match &self.project.environment {
            Some(environment) => format!("{}-{environment}-deploy", self.app()),
            None => format!("{}-deploy", self.app()),
        };
        let found = self.role_arn(&name).await?;
        let subject = trust.subject();
        if self.wants(
            found.is_some(),
            format!("the role {name}"),
            format!("jobs of {subject} deploy with it"),
        ) {
            self.create_role(&name, &trusting(&provider, &subject))
                .await?;
        }
        let moving = self.moving_schedules().await?;
        let policy = self.policy(works, moving);
        self.inline(&name, POLICY, &policy, "the least that a deployment needs")
            .await?;
        let own = self.arn("iam", "", &format!("role/{name}"));
        Ok(found.unwrap_or(own))
    }

    /// The least policy that deployments of the project need.
    fn policy(&self, works: &[Work], moving: Vec<Value>) -> Value {
        let region = self.aws.region();
        let allow = |actions: &[&str], resource: Value| json!({ "Effect": "Allow", "Action": actions, "Resource": resource });
        let services = each_once(works, |work| {
            let name = format!("{}/{}", tail(work.cluster()), work.name());
            ["service", "service-deployment", "service-revision"]
                .iter()
                .map(|kind| {
                    let rest = if *kind == "service" { "" } else { "/*" };
                    self.arn("ecs", region, &format!("{kind}/{name}{rest}"))
                })
                .collect()
        });
        let clusters = each_once(works, |work| {
            let cluster = tail(work.cluster());
            vec![
                self.arn("ecs", region, &format!("cluster/{cluster}")),
                self.arn("ecs", region, &format!("task/{cluster}/*")),
                self.arn("ecs", region, &format!("container-instance/{cluster}/*")),
            ]
        });
        let roles = each_once(works, |work| {
            ["executionRoleArn", "taskRoleArn"]
                .iter()
                .filter_map(|member| work.task_definition[*member].as_str())
                .map(|role| match role.starts_with("arn:") {
                    true => role.to_owned(),
                    false => self.arn("iam", "", &format!("role/{role}")),
                })
                .collect()
        });
        let mut statements = vec![
            allow(
                &[
                    "ecr:GetAuthorizationToken",
                    "ecs:RegisterTaskDefinition",
                    "ecs:DescribeTaskDefinition",
                    "ecs:ListTaskDefinitions",
                    "ecs:DescribeClusters",
                    "ecs:ListClusters",
                    "elasticloadbalancing:Describe*",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeRouteTables",
                    "ec2:DescribeVpcEndpoints",
                    "logs:DescribeLogGroups",
                    "logs:GetLogEvents",
                    "logs:FilterLogEvents",
                    "cloudwatch:DescribeAlarms",
                    "application-autoscaling:Describe*",
                    "application-autoscaling:RegisterScalableTarget",
                    "application-autoscaling:PutScalingPolicy",
                    "application-autoscaling:DeleteScalingPolicy",
                ],
                json!("*"),
            ),
            allow(
                &[
                    "ecr:DescribeRepositories",
                    "ecr:DescribeImages",
                    "ecr:DescribeImageScanFindings",
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                    "ecr:InitiateLayerUpload",
                    "ecr:UploadLayerPart",
                    "ecr:CompleteLayerUpload",
                    "ecr:PutImage",
                ],
                json!(self.arn(
                    "ecr",
                    region,
                    &format!("repository/{}", self.project.repository())
                )),
            ),
            allow(
                &[
                    "ecs:CreateService",
                    "ecs:DescribeServices",
                    "ecs:UpdateService",
                    "ecs:ListServiceDeployments",
                    "ecs:DescribeServiceDeployments",
                    "ecs:DescribeServiceRevisions",
                    "ecs:StopServiceDeployment",
                    "ecs:ContinueServiceDeployment",
                    "ecs:TagResource",
                ],
                json!(services),
            ),
            allow(
                &[
                    "ecs:ListTasks",
                    "ecs:DescribeTasks",
                    "ecs:StopTask",
                    "ecs:RunTask",
                    "ecs:TagResource",
                ],
                json!(
                    each_once(works, |work| {
                        let family = work.task_definition["family"].as_str().unwrap_or("*");
                        vec![self.arn("ecs", region, &format!("task-definition/{family}:*"))]
                    })
                    .into_iter()
                    .chain(clusters)
                    .collect::<Vec<_>>()
                ),
            ),
        ];
        if !roles.is_empty() {
            let mut pass = allow(&["iam:PassRole"], json!(roles));
            pass["Condition"] =
                json!({ "StringEquals": { "iam:PassedToService": "ecs-tasks.amazonaws.com" } });
            statements.push(pass);
            statements.push(allow(&["iam:GetRole"], json!(roles)));
        }
        statements.extend(moving);
        json!({ "Version": "2012-10-17", "Statement": statements })
    }

    /// The rights to change what the project's schedules start: to read and write each, and to pass the roles that it starts tasks with. A schedule
    /// with a task definition of its own gets a new revision of that, whose roles are passed too.
    async fn moving_schedules(&self) -> Result<Vec<Value>, Failure> {
        let region = self.aws.region();
        let mut statements = Vec::new();
        for schedule in &self.project.schedules {
            let (actions, of, path) = schedules::rights(schedule);
            let resource = self.arn(of, region, &path);
            statements.push(json!({ "Effect": "Allow", "Action": actions, "Resource": resource }));
            // One that is made later gets its roles when this runs again.
            let started = match schedules::look(self.aws, schedule).await {
                Ok(started) => started,
                Err(error) if error.kind == Kind::Check => continue,
                Err(error) => return Err(error),
            };
            let mut roles: Vec<String> = started.roles().map(str::to_owned).collect();
            if schedule.service.is_none() {
                let described = describe_definition(self.aws, &started.task_definition).await?;
                let definition = &described["taskDefinition"];
                let own = ["executionRoleArn", "taskRoleArn"];
                let own = own.iter().filter_map(|member| definition[*member].as_str());
                roles.extend(own.map(str::to_owned));
            }
            if !roles.is_empty() {
                statements.push(json!({
                    "Effect": "Allow",
                    "Action": "iam:PassRole",
                    "Resource": roles,
                    "Condition": { "StringEquals": { "iam:PassedToService": [
                        "ecs-tasks.amazonaws.com", "events.amazonaws.com", "scheduler.amazonaws.com",
                    ] } },
                }));
            }
        }
        Ok(statements)
    }
}

/// Who may take the role: jobs whose token is for AWS and about `subject`.
fn trusting(provider: &str, subject: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": {
                format!("{ISSUER}:aud"): "sts.amazonaws.com",
                format!("{ISSUER}:sub"): subject,
            } },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_or_an_environment_is_trusted_and_nothing_else() {
        let mut trust = Trust {
            repository: "acme/shop".into(),
            branch: "main".into(),
            environment: None,
        };
        assert_eq!(trust.subject(), "repo:acme/shop:ref:refs/heads/main");
        trust.environment = Some("production".into());
        assert_eq!(trust.subject(), "repo:acme/shop:environment:production");
        let policy = trusting("arn:p", &trust.subject());
        let condition = &policy["Statement"][0]["Condition"]["StringEquals"];
        assert_eq!(condition.as_object().unwrap().len(), 2);
    }

    #[test]
    fn the_repository_is_read_from_every_form_of_its_address() {
        for url in [
            "https://github.com/acme/shop.git",
            "https://github.com/acme/shop",
            "git@github.com:acme/shop.git",
            "ssh://git@github.com/acme/shop.git",
        ] {
            assert_eq!(at_github(url).as_deref(), Some("acme/shop"), "{url}");
        }
        assert_eq!(at_github("https://gitlab.com/acme/shop.git"), None);
        assert_eq!(at_github(""), None);
    }
}
