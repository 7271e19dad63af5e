//! The right to hand the roles to ECS.

use hoist_aws::{Service, read};
use hoist_ecs::{Referent, references};
use serde_json::json;

use super::permissions::caller;
use super::{Check, Look, Outcome, Scene, Subject, warning};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "pass-role",
    sentence: "The caller may pass the task's roles to ECS",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let roles: Vec<String> = references(&subject.definition)
            .into_iter()
            .filter(|one| matches!(one.referent, Referent::ExecutionRole | Referent::TaskRole))
            .map(|one| one.value)
            .filter(|value| value.starts_with("arn:"))
            .collect();
        let Some(caller) = caller(scene.aws).await? else {
            return Ok(Vec::new());
        };
        if roles.is_empty() {
            return Ok(Vec::new());
        }
        let request = json!({
            "PolicySourceArn": caller,
            "ActionNames": ["iam:PassRole"],
            "ResourceArns": roles,
            "ContextEntries": [{
                "ContextKeyName": "iam:PassedToService",
                "ContextKeyType": "string",
                "ContextKeyValues": ["ecs-tasks.amazonaws.com"],
            }],
        });
        let answer = scene
            .aws
            .query(Service::Iam, "SimulatePrincipalPolicy", &request)
            .await?;
        Ok(read::list(&answer, "EvaluationResults")
            .filter(|result| result["EvalDecision"] != "allowed")
            .map(|result| {
                let role = read::text(result, "EvalResourceName");
                warning(
                    format!("{caller} may not pass the role {role} to ECS"),
                    format!("allow iam:PassRole on {role}, with iam:PassedToService ecs-tasks.amazonaws.com"),
                )
            })
            .collect())
    })
}
