use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ask::{
    already_exists, conflict, constraint, document, named, no_such_entity, paged, path, required,
    tags,
};
use super::role::{self, Role};
use super::service::Iam;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ids;

/// The role that `RoleName` names.
pub fn named_role(iam: &Iam, call: &Call) -> Result<Role, ApiError> {
    let name = named(call, "RoleName", 64)?;
    iam.roles
        .get("", name)?
        .ok_or_else(|| no_such_entity(format!("The role with name {name} cannot be found.")))
}

/// The same, if it may be changed.
pub fn changeable(iam: &Iam, call: &Call) -> Result<Role, ApiError> {
    let role = named_role(iam, call)?;
    if role.service_linked() {
        let text = format!(
            "Cannot perform the operation on the protected role '{}' - this role is only modifiable by AWS",
            role.name
        );
        return Err(ApiError::new("UnmodifiableEntity", text));
    }
    Ok(role)
}

pub fn save(iam: &Iam, role: &Role) -> Result<(), ApiError> {
    Ok(iam.roles.put("", &role.name, role)?)
}

fn max_session(call: &Call) -> Result<Option<i64>, ApiError> {
    match call.integer("MaxSessionDuration") {
        Some(seconds) if !(3600..=43_200).contains(&seconds) => {
            let (which, bound) = if seconds < 3600 {
                ("greater", 3600)
            } else {
                ("less", 43_200)
            };
            let text = format!("Member must have value {which} than or equal to {bound}");
            Err(constraint(
                &format!("'{seconds}'"),
                "MaxSessionDuration",
                &text,
            ))
        }
        seconds => Ok(seconds),
    }
}

fn new_role(name: &str, path: &str, trust: &str) -> Role {
    Role {
        name: name.to_owned(),
        path: path.to_owned(),
        id: format!("AROA{}", ids::upper(17)),
        created: clock::iso8601(clock::now()),
        trust: trust.to_owned(),
        description: None,
        max_session: 3600,
        boundary: None,
        tags: BTreeMap::new(),
        attached: Vec::new(),
        inline: BTreeMap::new(),
    }
}

pub fn create(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let name = named(call, "RoleName", 64)?;
    let mut role = new_role(
        name,
        path(call)?,
        document(call, "AssumeRolePolicyDocument")?,
    );
    // Names differ by more than case.
    let taken = iam
        .roles
        .list("")?
        .iter()
        .any(|(there, _)| there.eq_ignore_ascii_case(name));
    if taken {
        return Err(already_exists(format!(
            "Role with name {name} already exists."
        )));
    }
    role.description = call.str("Description").map(str::to_owned);
    role.max_session = max_session(call)?.unwrap_or(3600);
    role.boundary = call.str("PermissionsBoundary").map(str::to_owned);
    role.tags = tags(call)?;
    save(iam, &role)?;
    Ok(json!({"Role": role.shown(true)}))
}

pub fn get(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Role": named_role(iam, call)?.shown(true)}))
}

pub fn list(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let prefix = call.str("PathPrefix").unwrap_or("/");
    let roles = iam
        .roles
        .list("")?
        .into_iter()
        .map(|(_, role)| role)
        .filter(|role| role.path.starts_with(prefix));
    paged(call, roles.map(|role| role.shown(false)).collect(), "Roles")
}

pub fn update(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    if let Some(description) = call.params.get("Description").and_then(Value::as_str) {
        role.description = Some(description.to_owned());
    }
    role.max_session = max_session(call)?.unwrap_or(role.max_session);
    save(iam, &role)?;
    Ok(json!({}))
}

pub fn update_trust(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    document(call, "PolicyDocument")?.clone_into(&mut role.trust);
    save(iam, &role)?;
    Ok(Value::Null)
}

pub fn delete(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let role = changeable(iam, call)?;
    if !role.attached.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    if !role.inline.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    iam.roles.delete("", &role.name)?;
    Ok(Value::Null)
}

/// Names of service-linked roles of the services that matter here.
fn service_linked_name(service: &str) -> Option<&'static str> {
    Some(match service {
        "ecs.amazonaws.com" => "AWSServiceRoleForECS",
        "elasticloadbalancing.amazonaws.com" => "AWSServiceRoleForElasticLoadBalancing",
        "ecs.application-autoscaling.amazonaws.com" => {
            "AWSServiceRoleForApplicationAutoScaling_ECSService"
        }
        "replication.ecr.amazonaws.com" => "AWSServiceRoleForECRReplication",
        _ => return None,
    })
}

pub fn create_service_linked(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let service = required(call, "AWSServiceName")?;
    let invalid = |why: String| ApiError::new("InvalidInput", why);
    let name = service_linked_name(service).ok_or_else(|| {
        invalid(format!(
            "Service {service} has no service-linked role in the embedded AWS"
        ))
    })?;
    if call.str("CustomSuffix").is_some() {
        return Err(invalid(format!(
            "Custom suffix is not allowed for {service}"
        )));
    }
    if iam.role(name)?.is_some() {
        let text = format!(
            "Service role name {name} has been taken in this account, please try a different suffix."
        );
        return Err(invalid(text));
    }
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{"Action": ["sts:AssumeRole"], "Effect": "Allow", "Principal": {"Service": [service]}}],
    });
    let mut role = new_role(
        name,
        &format!("/aws-service-role/{service}/"),
        &trust.to_string(),
    );
    role.description = call.str("Description").map(str::to_owned);
    save(iam, &role)?;
    Ok(json!({"Role": role.shown(false)}))
}

pub fn delete_service_linked(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let role = named_role(iam, call)?;
    if !role.service_linked() {
        return Err(ApiError::new(
            "InvalidInput",
            format!("The role {} is not a service-linked role", role.name),
        ));
    }
    iam.roles.delete("", &role.name)?;
    Ok(json!({"DeletionTaskId": format!("task{}{}/{}", role.path, role.name, ids::uuid())}))
}

pub fn tag(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    role.tags.extend(tags(call)?);
    save(iam, &role)?;
    Ok(Value::Null)
}

pub fn untag(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    let keys = call.strings("TagKeys");
    role.tags.retain(|key, _| !keys.contains(&key.as_str()));
    save(iam, &role)?;
    Ok(Value::Null)
}

/// Instance profiles are for EC2: no role is in one. Tools ask before they delete a role.
pub fn list_profiles(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    named_role(iam, call)?;
    paged(call, Vec::new(), "InstanceProfiles")
}

pub fn list_tags(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let tags = match role::tags(&named_role(iam, call)?.tags) {
        Value::Array(tags) => tags,
        _ => Vec::new(),
    };
    paged(call, tags, "Tags")
}
