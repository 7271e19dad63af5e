//! Log groups.

use hoist_aws::{Service, read};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "log-group",
    sentence: "Log groups exist, or are made by the tasks",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut found = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for container in read::list(&subject.definition, "containerDefinitions") {
            let logging = &container["logConfiguration"];
            let options = &logging["options"];
            let (Some(group), true) = (
                options["awslogs-group"].as_str(),
                logging["logDriver"] == "awslogs",
            ) else {
                continue;
            };
            let makes = options["awslogs-create-group"] == "true";
            let here = options["awslogs-region"]
                .as_str()
                .is_none_or(|region| region == scene.aws.region());
            if makes || !here || seen.contains(&group) {
                continue;
            }
            seen.push(group);
            let request = json!({ "logGroupNamePrefix": group });
            let answer = scene
                .aws
                .json(Service::Logs, "DescribeLogGroups", request)
                .await?;
            if read::list(&answer, "logGroups").any(|one| one["logGroupName"] == group) {
                continue;
            }
            let start = group.rsplit_once('/').map_or("", |(start, _)| start);
            let request = match start {
                "" => json!({}),
                start => json!({ "logGroupNamePrefix": start }),
            };
            let near = scene
                .aws
                .json(Service::Logs, "DescribeLogGroups", request)
                .await?;
            let known: Vec<&str> = read::list(&near, "logGroups")
                .map(|one| read::text(one, "logGroupName"))
                .collect();
            found.push(error(
                format!("the log group {group} does not exist"),
                format!(
                    "create it, or set the option awslogs-create-group to \"true\"; {}",
                    or_rather(group, known)
                ),
            ));
        }
        Ok(found)
    })
}
