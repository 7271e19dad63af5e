use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{
    already_exists, conflict, constraint, document, named, no_such_entity, paged, path, required,
    tags,
};
use super::role::{self, encoded};
use super::roles::{changeable, named_role, save};
use super::service::Iam;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::ids;

/// A policy of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    name: String,
    path: String,
    id: String,
    created: String,
    document: String,
    description: Option<String>,
    tags: BTreeMap<String, String>,
}

impl Policy {
    fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:policy{}{}", self.path, self.name)
    }
}

/// Whether that managed policy exists. AWS has about 1,300 of its own and their list changes weekly: every well-formed name of
/// theirs is taken.
fn exists(iam: &Iam, arn: &str) -> Result<bool, ApiError> {
    let Some(name) = arn.strip_prefix("arn:aws:iam::aws:policy/") else {
        return Ok(iam.policies.get("", arn)?.is_some());
    };
    Ok(!name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b)))
}

fn policy_arn(call: &Call) -> Result<&str, ApiError> {
    let arn = required(call, "PolicyArn")?;
    if arn.len() < 20 {
        return Err(constraint(
            &format!("'{arn}'"),
            "PolicyArn",
            "Member must have length greater than or equal to 20",
        ));
    }
    if !arn.starts_with("arn:aws:iam::") {
        return Err(ApiError::new(
            "InvalidInput",
            format!("ARN {arn} is not valid."),
        ));
    }
    Ok(arn)
}

pub fn attach(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    let arn = policy_arn(call)?;
    if !exists(iam, arn)? {
        return Err(no_such_entity(format!(
            "Policy {arn} does not exist or is not attachable."
        )));
    }
    // Attaching twice is no error.
    if !role.attached.iter().any(|there| there == arn) {
        role.attached.push(arn.to_owned());
        save(iam, &role)?;
    }
    Ok(Value::Null)
}

pub fn detach(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    let arn = policy_arn(call)?;
    let before = role.attached.len();
    role.attached.retain(|there| there != arn);
    if role.attached.len() == before {
        return Err(no_such_entity(format!("Policy {arn} was not found.")));
    }
    save(iam, &role)?;
    Ok(Value::Null)
}

pub fn list_attached(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let role = named_role(iam, call)?;
    let shown = |arn: &String| json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn});
    paged(
        call,
        role.attached.iter().map(shown).collect(),
        "AttachedPolicies",
    )
}

pub fn put_inline(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    let name = named(call, "PolicyName", 128)?;
    role.inline.insert(
        name.to_owned(),
        document(call, "PolicyDocument")?.to_owned(),
    );
    // White space does not count towards the quota.
    let size: usize = role
        .inline
        .values()
        .map(|text| text.chars().filter(|c| !c.is_whitespace()).count())
        .sum();
    if size > 10_240 {
        let text = format!(
            "Maximum policy size of 10240 bytes exceeded for role {}",
            role.name
        );
        return Err(ApiError::new("LimitExceeded", text).with_status(409));
    }
    save(iam, &role)?;
    Ok(Value::Null)
}

fn no_inline(name: &str) -> ApiError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

pub fn get_inline(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let role = named_role(iam, call)?;
    let name = named(call, "PolicyName", 128)?;
    let document = role.inline.get(name).ok_or_else(|| no_inline(name))?;
    Ok(json!({"RoleName": role.name, "PolicyName": name, "PolicyDocument": encoded(document)}))
}

pub fn list_inline(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let role = named_role(iam, call)?;
    paged(
        call,
        role.inline.keys().map(|name| json!(name)).collect(),
        "PolicyNames",
    )
}

pub fn delete_inline(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let mut role = changeable(iam, call)?;
    let name = named(call, "PolicyName", 128)?;
    role.inline.remove(name).ok_or_else(|| no_inline(name))?;
    save(iam, &role)?;
    Ok(Value::Null)
}

fn shown(iam: &Iam, policy: &Policy, whole: bool) -> Result<Value, ApiError> {
    let arn = policy.arn();
    let attached = iam
        .roles
        .list("")?
        .iter()
        .filter(|(_, role)| role.attached.contains(&arn))
        .count();
    let mut shown = json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": arn,
        "Path": policy.path,
        "DefaultVersionId": "v1",
        "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": true,
        "CreateDate": policy.created,
        "UpdateDate": policy.created,
    });
    if whole {
        shown["Description"] = json!(policy.description);
        shown["Tags"] = role::tags(&policy.tags);
    }
    Ok(shown)
}

fn kept(iam: &Iam, call: &Call) -> Result<Policy, ApiError> {
    let arn = policy_arn(call)?;
    iam.policies
        .get("", arn)?
        .ok_or_else(|| no_such_entity(format!("Policy {arn} was not found.")))
}

pub fn create(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let policy = Policy {
        name: named(call, "PolicyName", 128)?.to_owned(),
        path: path(call)?.to_owned(),
        id: format!("ANPA{}", ids::upper(17)),
        created: clock::iso8601(clock::now()),
        document: document(call, "PolicyDocument")?.to_owned(),
        description: call.str("Description").map(str::to_owned),
        tags: tags(call)?,
    };
    let taken = iam
        .policies
        .list("")?
        .iter()
        .any(|(_, there)| there.name.eq_ignore_ascii_case(&policy.name));
    if taken {
        let text = format!(
            "A policy called {} already exists. Duplicate names are not allowed.",
            policy.name
        );
        return Err(already_exists(text));
    }
    iam.policies.put("", &policy.arn(), &policy)?;
    Ok(json!({"Policy": shown(iam, &policy, true)?}))
}

pub fn get(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Policy": shown(iam, &kept(iam, call)?, true)?}))
}

pub fn get_version(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let policy = kept(iam, call)?;
    let version = required(call, "VersionId")?;
    if version != "v1" {
        return Err(no_such_entity(format!(
            "Policy {} version {version} does not exist or is not attachable.",
            policy.arn()
        )));
    }
    Ok(json!({"PolicyVersion": {
        "Document": encoded(&policy.document),
        "VersionId": version,
        "IsDefaultVersion": true,
        "CreateDate": policy.created,
    }}))
}

pub fn list(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let prefix = call.str("PathPrefix").unwrap_or("/");
    let mut found = Vec::new();
    for (_, policy) in iam.policies.list("")? {
        if policy.path.starts_with(prefix) && call.str("Scope") != Some("AWS") {
            found.push(shown(iam, &policy, false)?);
        }
    }
    paged(call, found, "Policies")
}

pub fn delete(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let arn = kept(iam, call)?.arn();
    if iam
        .roles
        .list("")?
        .iter()
        .any(|(_, role)| role.attached.contains(&arn))
    {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    iam.policies.delete("", &arn)?;
    Ok(Value::Null)
}
