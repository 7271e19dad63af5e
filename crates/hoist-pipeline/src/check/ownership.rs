//! Who else looks after the service.

use hoist_aws::{Service, read};
use serde_json::{Value, json};

use super::{Check, Look, Outcome, Scene, Subject, note};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "ownership",
    sentence: "It is known who else changes the service",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let Some(arn) = subject
            .live
            .as_ref()
            .and_then(|live| live["serviceArn"].as_str())
        else {
            return Ok(Vec::new());
        };
        let request = json!({ "resourceArn": arn });
        let answer = scene
            .aws
            .json(Service::Ecs, "ListTagsForResource", request)
            .await?;
        Ok(owner(&answer)
            .map(|owner| {
                let what = match subject.work.is_live() {
                    true => "hoist changes the image and what hoist.yaml adds, and leaves the rest alone",
                    false => "hoist registers its own task definition: with `task-definition: live` it would change only the image",
                };
                note(format!("the service belongs to {owner}"), what)
            })
            .into_iter()
            .collect())
    })
}

/// The tool that the tags of ListTagsForResource name.
fn owner(answer: &Value) -> Option<String> {
    let mut tags =
        read::list(answer, "tags").map(|tag| (read::text(tag, "key"), read::text(tag, "value")));
    tags.find_map(|(key, value)| match key.to_ascii_lowercase().as_str() {
        "aws:cloudformation:stack-name" => Some(format!("the CloudFormation stack {value}")),
        "terraform" if value != "false" => Some("Terraform".to_owned()),
        "managed-by" | "managedby" | "managed_by" | "created-by" | "provisioner"
            if ["terraform", "opentofu", "pulumi", "cdk", "cloudformation"]
                .iter()
                .any(|tool| value.to_ascii_lowercase().contains(tool)) =>
        {
            Some(value.to_owned())
        }
        _ => None,
    })
}
