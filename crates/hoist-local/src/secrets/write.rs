use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::handle::{invalid, required, tags};
use super::secret::{CURRENT, Secret, Secrets, Version, not_found};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::ids;

/// The value that a call brings, and whether it is binary.
fn brought(call: &Call) -> Result<Option<(&str, bool)>, ApiError> {
    match (call.str("SecretString"), call.str("SecretBinary")) {
        (Some(_), Some(_)) => Err(invalid(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (Some(text), None) => Ok(Some((text, false))),
        (None, Some(bytes)) => Ok(Some((bytes, true))),
        (None, None) => Ok(None),
    }
}

/// Adds a version with these labels; the same token with the same value again changes nothing.
fn add(
    secrets: &Secrets,
    secret: &mut Secret,
    call: &Call,
    (value, binary): (&str, bool),
    stages: &[&str],
) -> Result<String, ApiError> {
    if value.len() > 65_536 {
        return Err(invalid("Secret value exceeds the limit of 65536 bytes."));
    }
    let id = call
        .str("ClientRequestToken")
        .map_or_else(ids::uuid, str::to_owned);
    if let Some(known) = secret.versions.iter().find(|it| it.id == id) {
        if secrets.vault.unseal(&secret.arn, &known.value)? == value && known.binary == binary {
            return Ok(id);
        }
        let text = format!(
            "A resource with the ID you requested already exists: the version {id} of {} has another value.",
            secret.name
        );
        return Err(ApiError::new("ResourceExistsException", text));
    }
    secret.versions.push(Version {
        id: id.clone(),
        value: secrets.vault.seal(&secret.arn, value)?,
        binary,
        stages: Vec::new(),
        created: clock::now(),
    });
    for stage in stages {
        secret.stage(stage, &id);
    }
    secret.changed = clock::now();
    secret.prune();
    Ok(id)
}

pub fn create(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "Name")?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b);
    if name.len() > 512 || !name.bytes().all(good) {
        return Err(ApiError::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    let now = clock::now();
    match secrets.table.get(&call.region, name)? {
        Some(old) if old.deleted.is_some_and(|(_, gone)| gone > now) => {
            return Err(ApiError::new(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        Some(old) if old.deleted.is_none() => {
            let text = format!("The operation failed because the secret {name} already exists.");
            return Err(ApiError::new("ResourceExistsException", text));
        }
        _ => {}
    }
    let mut secret = Secret {
        name: name.to_owned(),
        arn: format!(
            "arn:aws:secretsmanager:{}:{ACCOUNT}:secret:{name}-{}",
            call.region,
            ids::alphanumeric(6)
        ),
        description: call.str("Description").map(str::to_owned),
        kms_key: call.str("KmsKeyId").map(str::to_owned),
        created: now,
        changed: now,
        deleted: None,
        tags: tags(call),
        versions: Vec::new(),
    };
    let mut answer = json!({"ARN": secret.arn, "Name": name});
    if let Some(value) = brought(call)? {
        answer["VersionId"] = add(secrets, &mut secret, call, value, &[CURRENT])?.into();
    }
    secrets.table.put(&call.region, name, &secret)?;
    Ok(answer)
}

pub fn put(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let mut secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    let value = brought(call)?
        .ok_or_else(|| invalid("You must provide either SecretString or SecretBinary."))?;
    let mut stages = call.strings("VersionStages");
    if stages.is_empty() {
        stages.push(CURRENT);
    }
    let id = add(secrets, &mut secret, call, value, &stages)?;
    secrets.table.put(&call.region, &secret.name, &secret)?;
    let stages: Vec<&String> = secret
        .versions
        .iter()
        .filter(|it| it.id == id)
        .flat_map(|it| &it.stages)
        .collect();
    Ok(json!({"ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": stages}))
}

pub fn update(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let mut secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    for (name, member) in [
        ("Description", &mut secret.description),
        ("KmsKeyId", &mut secret.kms_key),
    ] {
        if let Some(text) = call.str(name) {
            *member = Some(text.to_owned());
        }
    }
    secret.changed = clock::now();
    let mut answer = json!({"ARN": secret.arn, "Name": secret.name});
    if let Some(value) = brought(call)? {
        answer["VersionId"] = add(secrets, &mut secret, call, value, &[CURRENT])?.into();
    }
    secrets.table.put(&call.region, &secret.name, &secret)?;
    Ok(answer)
}

pub fn restage(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let mut secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    let stage = required(call, "VersionStage")?;
    for name in ["MoveToVersionId", "RemoveFromVersionId"] {
        if let Some(id) = call.str(name)
            && !secret.versions.iter().any(|it| it.id == id)
        {
            return Err(not_found(&format!(" value for VersionId: {id}")));
        }
    }
    let holder = secret
        .versions
        .iter()
        .find(|it| it.stages.iter().any(|it| it == stage))
        .map(|it| it.id.clone());
    let from = call.str("RemoveFromVersionId");
    if let Some(holder) = &holder
        && from != Some(holder)
        && call.str("MoveToVersionId") != Some(holder)
    {
        let text = format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        );
        return Err(invalid(text));
    }
    match call.str("MoveToVersionId") {
        Some(to) => secret.stage(stage, to),
        None if stage == CURRENT => {
            return Err(invalid(
                "You can't remove the staging label AWSCURRENT from a version, only move it to another one.",
            ));
        }
        None => {
            for version in &mut secret.versions {
                version.stages.retain(|it| it != stage);
            }
        }
    }
    secrets.table.put(&call.region, &secret.name, &secret)?;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

pub fn delete(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let id = required(call, "SecretId")?;
    let force = call.boolean("ForceDeleteWithoutRecovery") == Some(true);
    let days = call.integer("RecoveryWindowInDays");
    if force && days.is_some() {
        return Err(invalid(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    if days.is_some_and(|days| !(7..=30).contains(&days)) {
        return Err(invalid(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let now = clock::now();
    if force {
        // What is not there is deleted, as on the real service.
        let Some(secret) = secrets.any(&call.region, id)? else {
            return Ok(json!({"ARN": id, "Name": id, "DeletionDate": clock::epoch_seconds(now)}));
        };
        secrets.table.delete(&call.region, &secret.name)?;
        return Ok(
            json!({"ARN": secret.arn, "Name": secret.name, "DeletionDate": clock::epoch_seconds(now)}),
        );
    }
    let mut secret = secrets.live(&call.region, id)?;
    let gone = now + days.unwrap_or(30) * 86_400_000;
    secret.deleted = Some((now, gone));
    secrets.table.put(&call.region, &secret.name, &secret)?;
    Ok(json!({"ARN": secret.arn, "Name": secret.name, "DeletionDate": clock::epoch_seconds(gone)}))
}

pub fn restore(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let found = secrets.any(&call.region, required(call, "SecretId")?)?;
    let mut secret = found
        .filter(|it| it.deleted.is_none_or(|(_, gone)| gone > clock::now()))
        .ok_or_else(|| not_found(""))?;
    secret.deleted = None;
    secrets.table.put(&call.region, &secret.name, &secret)?;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

fn change_tags(
    secrets: &Secrets,
    call: &Call,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<Value, ApiError> {
    let mut secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    change(&mut secret.tags);
    secrets.table.put(&call.region, &secret.name, &secret)?;
    Ok(json!({}))
}

pub fn tag(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    change_tags(secrets, call, |all| all.extend(tags(call)))
}

pub fn untag(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    change_tags(secrets, call, |all| {
        for key in call.strings("TagKeys") {
            all.remove(key);
        }
    })
}
