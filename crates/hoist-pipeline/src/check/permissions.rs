//! What the caller may do.

use hoist_aws::{AwsError, Client, Service, read};
use serde_json::{Value, json};

use super::{Check, Look, Outcome, Scene, note, warning};
use crate::parallel::Boxed;
use crate::schedules;

/// The check.
pub const CHECK: Check = Check {
    id: "permissions",
    sentence: "The caller may make the calls of a deployment",
    real_only: true,
    look: Look::All(look),
};

/// Calls that a deployment cannot do without, by what they are allowed on.
const OF_ALL: [&str; 8] = [
    "ecr:GetAuthorizationToken",
    "ecs:RegisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTasks",
    "ecs:DescribeTasks",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "logs:GetLogEvents",
];
const OF_REPOSITORY: [&str; 6] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
];
const OF_SERVICE: [&str; 5] = [
    "ecs:DescribeServices",
    "ecs:UpdateService",
    "ecs:ListServiceDeployments",
    "ecs:DescribeServiceDeployments",
    "ecs:StopServiceDeployment",
];

fn look<'a>(scene: &'a Scene<'a>) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let Some(caller) = caller(scene.aws).await? else {
            return Ok(Vec::new());
        };
        let account = scene.aws.account().await?;
        let (region, partition) = (
            scene.aws.region(),
            caller.split(':').nth(1).unwrap_or("aws"),
        );
        let repository = format!(
            "arn:{partition}:ecr:{region}:{account}:repository/{}",
            scene.project.repository()
        );
        let services: Vec<String> = scene
            .subjects
            .iter()
            .map(|subject| {
                let cluster = crate::table::tail(subject.work.cluster());
                format!(
                    "arn:{partition}:ecs:{region}:{account}:service/{cluster}/{}",
                    subject.work.name()
                )
            })
            .collect();
        let mut asks = vec![
            (OF_ALL.to_vec(), vec!["*".to_owned()]),
            (OF_REPOSITORY.to_vec(), vec![repository]),
            (OF_SERVICE.to_vec(), services),
        ];
        for schedule in &scene.project.schedules {
            let (actions, of, path) = schedules::rights(schedule);
            let arn = format!("arn:{partition}:{of}:{region}:{account}:{path}");
            match asks.iter_mut().find(|(asked, _)| *asked == actions) {
                Some((_, resources)) => resources.push(arn),
                None => asks.push((actions.to_vec(), vec![arn])),
            }
        }
        let mut denied: Vec<(String, Vec<String>)> = Vec::new();
        for (actions, resources) in asks {
            let request = json!({
                "PolicySourceArn": caller,
                "ActionNames": actions,
                "ResourceArns": resources,
            });
            let answer = match scene
                .aws
                .query(Service::Iam, "SimulatePrincipalPolicy", &request)
                .await
            {
                Ok(answer) => answer,
                Err(failed) if failed.is_access_denied() => {
                    return Ok(vec![note(
                        "the permissions cannot be asked for: the caller may not call iam:SimulatePrincipalPolicy",
                        format!(
                            "a deployment needs at least this policy:\n{}",
                            policy(scene)
                        ),
                    )]);
                }
                Err(failed) => return Err(failed),
            };
            for result in read::list(&answer, "EvaluationResults") {
                if result["EvalDecision"] == "allowed" {
                    continue;
                }
                let action = read::text(result, "EvalActionName").to_owned();
                let resource = read::text(result, "EvalResourceName").to_owned();
                match denied.iter_mut().find(|(known, _)| *known == resource) {
                    Some((_, actions)) => actions.push(action),
                    None => denied.push((resource, vec![action])),
                }
            }
        }
        Ok(denied
            .into_iter()
            .map(|(resource, actions)| {
                warning(
                    format!(
                        "the policies of {caller} do not allow {} on {resource}",
                        actions.join(", ")
                    ),
                    "allow these actions; `hoist check` asks again",
                )
            })
            .collect())
    })
}

/// The user or role that calls, as IAM knows it; `None` for the root user, who may do everything.
pub async fn caller(aws: &Client) -> Result<Option<String>, AwsError> {
    let answer = aws
        .query(Service::Sts, "GetCallerIdentity", &Value::Null)
        .await?;
    let arn = answer["Arn"].as_str().unwrap_or_default();
    if arn.is_empty() || arn.ends_with(":root") {
        return Ok(None);
    }
    // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION is the role arn:aws:iam::ACCOUNT:role/ROLE.
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if let [_, partition, "sts", _, account, name] = parts.as_slice()
        && let Some(role) = name
            .strip_prefix("assumed-role/")
            .and_then(|rest| rest.split('/').next())
    {
        return Ok(Some(format!("arn:{partition}:iam::{account}:role/{role}")));
    }
    Ok(Some(arn.to_owned()))
}

/// The least policy that a deployment needs, as JSON.
fn policy(scene: &Scene<'_>) -> String {
    let all = |actions: &[&str], resource: &str| json!({ "Effect": "Allow", "Action": actions, "Resource": resource });
    let mut policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            all(&OF_ALL, "*"),
            all(&OF_REPOSITORY, &format!("arn:aws:ecr:*:*:repository/{}", scene.project.repository())),
            all(&OF_SERVICE, "arn:aws:ecs:*:*:service*/*"),
            {
                "Effect": "Allow", "Action": "iam:PassRole", "Resource": "*",
                "Condition": { "StringEquals": { "iam:PassedToService": "ecs-tasks.amazonaws.com" } },
            },
        ],
    });
    let schedules = scene.project.schedules.iter().map(|schedule| {
        let (actions, of, path) = schedules::rights(schedule);
        all(&actions, &format!("arn:aws:{of}:*:*:{path}"))
    });
    if let Some(statements) = policy["Statement"].as_array_mut() {
        statements.extend(schedules);
    }
    serde_json::to_string_pretty(&policy).unwrap_or_default()
}
