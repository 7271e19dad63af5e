//! The two roles.

use hoist_aws::Service;
use hoist_ecs::{Referent, references};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error};
use crate::parallel::Boxed;
use crate::table::tail;

/// The check.
pub const CHECK: Check = Check {
    id: "roles",
    sentence: "The roles exist, and ECS tasks may take them",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut found = Vec::new();
        for reference in references(&subject.definition) {
            let what = match reference.referent {
                Referent::ExecutionRole => "execution role",
                Referent::TaskRole => "task role",
                _ => continue,
            };
            let name = tail(&reference.value);
            let answer = match scene
                .aws
                .query(Service::Iam, "GetRole", &json!({ "RoleName": name }))
                .await
            {
                Ok(answer) => answer,
                Err(failed) if failed.code() == Some("NoSuchEntity") => {
                    found.push(error(
                        format!("the {what} {name} does not exist"),
                        "create it with a trust policy for ecs-tasks.amazonaws.com",
                    ));
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            // IAM answers the document as URL-encoded JSON; the service's name has no letter that is encoded.
            let trust = answer["Role"]["AssumeRolePolicyDocument"]
                .as_str()
                .unwrap_or_default();
            if !trust.is_empty() && !trust.contains("ecs-tasks.amazonaws.com") {
                found.push(error(
                    format!("ECS tasks may not take the {what} {name}"),
                    "allow sts:AssumeRole to the service ecs-tasks.amazonaws.com in its trust policy",
                ));
            }
        }
        Ok(found)
    })
}
