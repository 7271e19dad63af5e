//! Target groups.

use hoist_aws::{Service, read};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather, warning};
use crate::parallel::Boxed;
use crate::target_group::differing;

/// The check.
pub const CHECK: Check = Check {
    id: "target-group",
    sentence: "Target groups exist, take addresses, belong to a load balancer, and check a port that is mapped",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut found = Vec::new();
        for arn in subject.target_groups() {
            let name = arn.split('/').nth(1).unwrap_or(&arn);
            let request = json!({ "TargetGroupArns": [arn] });
            let answer = match scene
                .aws
                .query(Service::Elbv2, "DescribeTargetGroups", &request)
                .await
            {
                Ok(answer) => answer,
                Err(failed) if failed.code() == Some("TargetGroupNotFound") => {
                    let all = scene
                        .aws
                        .query(Service::Elbv2, "DescribeTargetGroups", &json!({}))
                        .await?;
                    let known: Vec<&str> = read::list(&all, "TargetGroups")
                        .map(|group| read::text(group, "TargetGroupName"))
                        .collect();
                    found.push(error(
                        format!("the target group {name} does not exist"),
                        or_rather(name, known),
                    ));
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            let group = &answer["TargetGroups"][0];
            if group["TargetType"]
                .as_str()
                .is_some_and(|kind| kind != "ip")
            {
                found.push(error(
                    format!("the target group {name} has the target type {}", read::text(group, "TargetType")),
                    "tasks on Fargate need the target type ip; it cannot be changed, so make another group",
                ));
            }
            if read::list(group, "LoadBalancerArns").as_slice().is_empty() {
                found.push(error(
                    format!("the target group {name} belongs to no load balancer"),
                    "let a listener forward to it first: ECS refuses it otherwise",
                ));
            }
            let ports: Vec<String> = read::list(&subject.definition, "containerDefinitions")
                .flat_map(|container| read::list(container, "portMappings"))
                .filter_map(|mapping| read::number(mapping, "containerPort"))
                .map(|port| port.to_string())
                .collect();
            let checked = match &group["HealthCheckPort"] {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if !matches!(checked.as_str(), "traffic-port" | "null") && !ports.contains(&checked) {
                found.push(warning(
                    format!(
                        "the target group {name} checks port {checked}, which no container maps"
                    ),
                    "map that port, or set the health check's port to `traffic-port`",
                ));
            }
        }
        // The short form's own group, which a deployment does not change on a real account.
        if let (Some(live), Some(wanted)) = (&subject.live, &subject.work.target_group)
            && let Some(differs) = differing(scene.aws, live, wanted).await?
        {
            found.push(warning(
                differs.left_alone("hoist.yaml says"),
                "change it there (`aws elbv2 modify-target-group`, `modify-target-group-attributes`), or say in hoist.yaml what it has",
            ));
        }
        Ok(found)
    })
}
