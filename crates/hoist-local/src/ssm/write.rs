use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::handle::{constraint, required};
use super::parameter::{Parameter, Parameters, Version};
use crate::api::{ApiError, Call};
use crate::clock;

/// Versions that are kept of a parameter.
const VERSIONS: usize = 100;

pub fn put(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let (name, value) = (required(call, "Name")?, required(call, "Value")?);
    check_name(name)?;
    let old = parameters.table.get(&call.region, name)?;
    let overwrite = call.boolean("Overwrite") == Some(true);
    if old.is_some() && !overwrite {
        return Err(ApiError::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ));
    }
    let newest = old.as_ref().and_then(|it| it.versions.last());
    let kind = match (call.str("Type"), newest) {
        (Some(kind @ ("String" | "StringList" | "SecureString")), _) => kind,
        (Some(kind), _) => {
            let text = "Member must satisfy enum value set: [SecureString, StringList, String]";
            return Err(constraint(&format!("'{kind}'"), "type", text));
        }
        (None, Some(newest)) => &newest.kind,
        (None, None) => {
            return Err(ApiError::new(
                "ValidationException",
                "A parameter type is required when you create a parameter.",
            ));
        }
    };
    let most = if call.str("Tier") == Some("Advanced") {
        8192
    } else {
        4096
    };
    if value.len() > most {
        let text = format!(
            "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. This one has {} characters.",
            value.len()
        );
        return Err(ApiError::new("ValidationException", text));
    }
    let tags = tags(call);
    if old.is_some() && !tags.is_empty() {
        return Err(ApiError::new(
            "ValidationException",
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.",
        ));
    }
    let number = newest.map_or(1, |it| it.number + 1);
    let text = |name: &str| call.str(name).map(str::to_owned);
    let version = Version {
        number,
        kind: kind.to_owned(),
        value: parameters.seal(name, kind, value)?,
        key_id: (kind == "SecureString")
            .then(|| text("KeyId").unwrap_or_else(|| "alias/aws/ssm".to_owned())),
        description: text("Description"),
        pattern: text("AllowedPattern"),
        tier: text("Tier")
            .filter(|tier| tier == "Advanced")
            .unwrap_or_else(|| "Standard".to_owned()),
        data_type: text("DataType").unwrap_or_else(|| "text".to_owned()),
        modified: clock::now(),
        user: call.key.arn.clone(),
        labels: Vec::new(),
    };
    let tier = version.tier.clone();
    let mut parameter = old.unwrap_or_else(|| Parameter {
        name: name.to_owned(),
        versions: Vec::new(),
        tags,
    });
    parameter.versions.push(version);
    if parameter.versions.len() > VERSIONS {
        parameter.versions.remove(0);
    }
    parameters.table.put(&call.region, name, &parameter)?;
    Ok(json!({"Version": number, "Tier": tier}))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
    if !name.bytes().all(good) {
        return Err(ApiError::new(
            "ValidationException",
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        ));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        let text = format!("No access to reserved parameter name: {name}.");
        return Err(ApiError::new("AccessDeniedException", text));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(ApiError::new(
            "ValidationException",
            "Parameter name must be a fully qualified name.",
        ));
    }
    Ok(())
}

pub fn delete(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "Name")?;
    if parameters.table.delete(&call.region, name)? {
        return Ok(json!({}));
    }
    Err(ApiError::new("ParameterNotFound", ""))
}

pub fn delete_many(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let (mut deleted, mut invalid) = (Vec::new(), Vec::new());
    for name in call.strings("Names") {
        if parameters.table.delete(&call.region, name)? {
            deleted.push(name);
        } else {
            invalid.push(name);
        }
    }
    Ok(json!({"DeletedParameters": deleted, "InvalidParameters": invalid}))
}

/// Puts labels on a version; a label is on one version at a time.
pub fn label(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "Name")?;
    let asked = match call.integer("ParameterVersion") {
        Some(number) => format!("{name}:{number}"),
        None => name.to_owned(),
    };
    let (mut parameter, at, _) = parameters.find(&call.region, &asked)?;
    let labels = call.strings("Labels");
    for version in &mut parameter.versions {
        version.labels.retain(|it| !labels.contains(&it.as_str()));
    }
    let chosen = &mut parameter.versions[at];
    chosen.labels.extend(labels.into_iter().map(str::to_owned));
    let number = chosen.number;
    parameters.table.put(&call.region, name, &parameter)?;
    Ok(json!({"InvalidLabels": [], "ParameterVersion": number}))
}

fn tags(call: &Call) -> BTreeMap<String, String> {
    let text = |tag: &Value, name: &str| tag[name].as_str().unwrap_or_default().to_owned();
    call.list("Tags")
        .iter()
        .map(|tag| (text(tag, "Key"), text(tag, "Value")))
        .collect()
}

/// The parameter that a call about tags is about.
pub fn tagged(parameters: &Parameters, call: &Call) -> Result<Parameter, ApiError> {
    let found = parameters
        .table
        .get(&call.region, required(call, "ResourceId")?)?;
    found.ok_or_else(|| {
        ApiError::new(
            "InvalidResourceId",
            "The resource ID is not valid. Verify that you entered the correct ID and try again.",
        )
    })
}

pub fn tag(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let mut parameter = tagged(parameters, call)?;
    parameter.tags.extend(tags(call));
    parameters
        .table
        .put(&call.region, &parameter.name, &parameter)?;
    Ok(json!({}))
}

pub fn untag(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let mut parameter = tagged(parameters, call)?;
    for key in call.strings("TagKeys") {
        parameter.tags.remove(key);
    }
    parameters
        .table
        .put(&call.region, &parameter.name, &parameter)?;
    Ok(json!({}))
}
