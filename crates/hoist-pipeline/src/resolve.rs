//! On a real account: the names that a definition uses become the identifiers that ECS wants, and what is missing is named.
//!
//! Nothing is made here; that is the business of whoever owns the account's infrastructure.

use hoist_aws::{AwsError, Client, Service};
use hoist_ecs::{Reference, Referent, references, with_references};
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
    for definition in [&mut work.task_definition, &mut work.service_definition] {
        let mut changes: Vec<(String, String)> = Vec::new();
        for reference in references(definition) {
            let Some((name, look)) = look_up(&reference) else {
                continue;
            };
            match identifier(aws, name, &look).await? {
                Some(id) => {
                    if look.is_named_by_tag() {
                        events.note(Step::Check, format!("{} {name} is {id}", look.what));
                    }
                    changes.push((reference.pointer, id));
                }
                None => missing.push(format!("the {} {name}", look.what)),
            }
        }
        let changes = changes
            .iter()
            .map(|(pointer, id)| (pointer.as_str(), id.as_str()));
        *definition = with_references(definition, changes);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Check, format!("the account lacks what {} needs, in {}", work.name(), aws.region()))
        .detail(missing.iter().map(|what| format!("missing: {what}")).collect::<Vec<_>>().join("\n"))
        .hint("ECS never creates these: make them (CloudFormation, Terraform), or name existing ones in verbatim definitions; is the region right?"))
}

/// How the identifier of a name is found.
struct LookUp {
    what: &'static str,
    service: Service,
    action: &'static str,
    params: Value,
    /// Where in the answer it is.
    place: &'static str,
    /// How the absence is said.
    absent: &'static str,
}

impl LookUp {
    /// Whether the name is not the thing's own, so that what it came to is worth saying.
    fn is_named_by_tag(&self) -> bool {
        self.service == Service::Ec2
    }
}

/// The name in `reference` and how it is looked up; `None` where it is an identifier already, or where ECS takes names.
fn look_up(reference: &Reference) -> Option<(&str, LookUp)> {
    let name = reference.value.as_str();
    let filter = |by: &str| json!({ "Filter": [{ "Name": by, "Value": [name] }] });
    let (start, look) = match reference.referent {
        Referent::ExecutionRole | Referent::TaskRole | Referent::InfrastructureRole => (
            "arn:",
            LookUp {
                what: "role",
                service: Service::Iam,
                action: "GetRole",
                params: json!({ "RoleName": name }),
                place: "/Role/Arn",
                absent: "NoSuchEntity",
            },
        ),
        Referent::TargetGroup => (
            "arn:",
            LookUp {
                what: "target group",
                service: Service::Elbv2,
                action: "DescribeTargetGroups",
                params: json!({ "Names": [name] }),
                place: "/TargetGroups/0/TargetGroupArn",
                absent: "TargetGroupNotFound",
            },
        ),
        Referent::Subnet => (
            "subnet-",
            LookUp {
                what: "subnet",
                service: Service::Ec2,
                action: "DescribeSubnets",
                params: filter("tag:Name"),
                place: "/subnetSet/0/subnetId",
                absent: "",
            },
        ),
        Referent::SecurityGroup => (
            "sg-",
            LookUp {
                what: "security group",
                service: Service::Ec2,
                action: "DescribeSecurityGroups",
                params: filter("group-name"),
                place: "/securityGroupInfo/0/groupId",
                absent: "",
            },
        ),
        _ => return None,
    };
    (!name.is_empty() && !name.starts_with(start)).then_some((name, look))
}

/// The identifier; `None` where there is no such thing.
async fn identifier(aws: &Client, name: &str, look: &LookUp) -> Result<Option<String>, Failure> {
    let answer = aws.query(look.service, look.action, &look.params).await;
    let answer = optional(answer, &[look.absent], &format!("the {} {name}", look.what))?;
    Ok(answer.and_then(|answer| answer.pointer(look.place)?.as_str().map(str::to_owned)))
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
        let of = |referent, value: &str| Reference {
            pointer: String::new(),
            referent,
            value: value.to_owned(),
        };
        assert!(look_up(&of(Referent::TaskRole, "arn:aws:iam::1:role/x")).is_none());
        assert!(look_up(&of(Referent::Subnet, "subnet-1")).is_none());
        assert!(look_up(&of(Referent::LogGroup, "/ecs/shop")).is_none());
        let role = of(Referent::ExecutionRole, "shop-execution");
        let (name, look) = look_up(&role).unwrap();
        assert_eq!((name, look.action), ("shop-execution", "GetRole"));
    }
}
