//! On a real account: the names that a definition uses become the identifiers that ECS wants, and what is missing is named.
//!
//! Nothing is made here; that is the business of whoever owns the account's infrastructure.

use hoist_aws::{AwsError, Client, Service};
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};
use crate::work::Work;

/// Replaces names by identifiers in the definitions of `work`. A service that exists keeps its network and its load balancers:
/// the short form's names for them only serve to create it.
///
/// # Errors
/// `Check`, naming all that is missing; or AWS refused a call.
pub async fn resolve(
    aws: &Client,
    work: &mut Work,
    live: Option<&Value>,
    events: &Events,
) -> Result<(), Failure> {
    if live.is_some()
        && work.is_short()
        && let Some(members) = work.service_definition.as_object_mut()
    {
        members.shift_remove("networkConfiguration");
        members.shift_remove("loadBalancers");
    }
    let mut missing = Vec::new();
    for member in ["executionRoleArn", "taskRoleArn"] {
        let Some(name) = name_in(&work.task_definition[member], "arn:") else {
            continue;
        };
        let found = aws
            .query(Service::Iam, "GetRole", &json!({ "RoleName": name }))
            .await;
        let arn = optional(found, &["NoSuchEntity"], &format!("the role {name}"))?;
        match arn.and_then(|answer| answer["Role"]["Arn"].as_str().map(str::to_owned)) {
            Some(arn) => work.task_definition[member] = Value::String(arn),
            None => missing.push(format!("the role {name}")),
        }
    }
    let count = work.service_definition["loadBalancers"]
        .as_array()
        .map_or(0, Vec::len);
    for index in 0..count {
        let Some(slot) = work.service_definition["loadBalancers"][index].get_mut("targetGroupArn")
        else {
            continue;
        };
        let Some(name) = name_in(slot, "arn:") else {
            continue;
        };
        let found = aws
            .query(
                Service::Elbv2,
                "DescribeTargetGroups",
                &json!({ "Names": [name] }),
            )
            .await;
        let group = optional(
            found,
            &["TargetGroupNotFound"],
            &format!("the target group {name}"),
        )?;
        match group.and_then(|answer| {
            answer["TargetGroups"][0]["TargetGroupArn"]
                .as_str()
                .map(str::to_owned)
        }) {
            Some(arn) => *slot = Value::String(arn),
            None => missing.push(format!("the target group {name}")),
        }
    }
    for (member, start, kind, action, filter, set, id) in [
        (
            "subnets",
            "subnet-",
            "subnet",
            "DescribeSubnets",
            "tag:Name",
            "subnetSet",
            "subnetId",
        ),
        (
            "securityGroups",
            "sg-",
            "security group",
            "DescribeSecurityGroups",
            "group-name",
            "securityGroupInfo",
            "groupId",
        ),
    ] {
        let list = work.service_definition.pointer_mut(&format!(
            "/networkConfiguration/awsvpcConfiguration/{member}"
        ));
        for slot in list.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(name) = name_in(slot, start) else {
                continue;
            };
            let answer = aws
                .query(
                    Service::Ec2,
                    action,
                    &json!({ "Filter": [{ "Name": filter, "Value": [name] }] }),
                )
                .await
                .map_err(|error| refused(format!("failed to look up the {kind} {name}"), &error))?;
            match answer[set][0][id].as_str() {
                Some(id) => {
                    events.note(Step::Check, format!("{kind} {name} is {id}"));
                    *slot = Value::String(id.to_owned());
                }
                None => missing.push(format!("the {kind} {name}")),
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Check, format!("the account lacks what {} needs, in {}", work.name(), aws.region()))
        .detail(missing.iter().map(|what| format!("missing: {what}")).collect::<Vec<_>>().join("\n"))
        .hint("ECS never creates these: make them (CloudFormation, Terraform), or name existing ones in verbatim definitions; is the region right?"))
}

/// The name in `slot`, unless it is an identifier already (it starts with `start`) or nothing.
fn name_in(slot: &Value, start: &str) -> Option<String> {
    slot.as_str()
        .filter(|text| !text.starts_with(start) && !text.is_empty())
        .map(str::to_owned)
}

/// An answer, or `None` where the error only says that the thing is absent.
fn optional(
    answer: Result<Value, AwsError>,
    absent: &[&str],
    what: &str,
) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if absent.iter().any(|code| has_code(&error, code)) => Ok(None),
        Err(error) => Err(refused(format!("failed to look up {what}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_left_alone() {
        assert_eq!(name_in(&json!("arn:aws:iam::1:role/x"), "arn:"), None);
        assert_eq!(
            name_in(&json!("shop-execution"), "arn:").as_deref(),
            Some("shop-execution")
        );
        assert_eq!(name_in(&Value::Null, "arn:"), None);
    }
}
