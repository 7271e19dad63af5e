use serde_json::{Value, json};

use super::handle::{constraint, paged, required};
use super::parameter::{Parameter, Parameters, arn};
use super::write::tagged;
use crate::api::{ApiError, Call};
use crate::clock;

fn decrypts(call: &Call) -> bool {
    call.boolean("WithDecryption") == Some(true)
}

pub fn get(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let (parameter, at, selector) = parameters.find(&call.region, required(call, "Name")?)?;
    let version = &parameter.versions[at];
    let shown = parameters.shown(
        &call.region,
        &parameter.name,
        version,
        selector.as_deref(),
        decrypts(call),
    )?;
    Ok(json!({"Parameter": shown}))
}

pub fn get_many(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let names = call.strings("Names");
    if !(1..=10).contains(&names.len()) {
        let shown = format!("'{names:?}'");
        return Err(constraint(
            &shown,
            "names",
            "Member must have length less than or equal to 10",
        ));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match parameters.find(&call.region, name) {
            Ok((parameter, at, selector)) => found.push(parameters.shown(
                &call.region,
                &parameter.name,
                &parameter.versions[at],
                selector.as_deref(),
                decrypts(call),
            )?),
            Err(error) if error.code.starts_with("Parameter") => invalid.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

pub fn by_path(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let path = required(call, "Path")?;
    if !path.starts_with('/') {
        let text = "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\". \
            It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, numbers, or the following symbols: . \
            (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward \
            slash symbol \"/\". Valid example: /get/parameters2-/by1./path0_.";
        return Err(ApiError::new("ValidationException", text));
    }
    let folder = format!("{}/", path.trim_end_matches('/'));
    let recursive = call.boolean("Recursive") == Some(true);
    let mut found = Vec::new();
    for parameter in parameters.all(&call.region)? {
        let below = parameter.name.strip_prefix(&folder);
        if below.is_none_or(|below| !recursive && below.contains('/')) || !passes(&parameter, call)?
        {
            continue;
        }
        if let Some(version) = parameter.versions.last() {
            found.push(parameters.shown(
                &call.region,
                &parameter.name,
                version,
                None,
                decrypts(call),
            )?);
        }
    }
    paged(call, found, "Parameters", 10)
}

pub fn history(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let (parameter, ..) = parameters.find(&call.region, required(call, "Name")?)?;
    let mut shown = Vec::new();
    for version in &parameter.versions {
        let mut one = metadata(&parameter, version);
        one["Value"] = match decrypts(call) {
            true => parameters.open_value(&parameter.name, version)?.into(),
            false => version.value.clone().into(),
        };
        one["Labels"] = json!(version.labels);
        shown.push(one);
    }
    paged(call, shown, "Parameters", 50)
}

/// What a parameter's history tells of a version (`ParameterHistory`, which has no ARN).
fn metadata(parameter: &Parameter, version: &super::parameter::Version) -> Value {
    let mut shown = json!({
        "Name": parameter.name,
        "Type": version.kind,
        "LastModifiedDate": clock::epoch_seconds(version.modified),
        "LastModifiedUser": version.user,
        "Version": version.number,
        "Tier": version.tier,
        "Policies": [],
        "DataType": version.data_type,
    });
    for (name, value) in [
        ("KeyId", &version.key_id),
        ("Description", &version.description),
        ("AllowedPattern", &version.pattern),
    ] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    shown
}

pub fn describe(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let mut shown = Vec::new();
    for parameter in parameters.all(&call.region)? {
        if passes(&parameter, call)?
            && let Some(version) = parameter.versions.last()
        {
            let mut one = metadata(&parameter, version);
            one["ARN"] = arn(&call.region, &parameter.name).into();
            shown.push(one);
        }
    }
    paged(call, shown, "Parameters", 50)
}

/// Whether a parameter passes `ParameterFilters` and the older `Filters`.
fn passes(parameter: &Parameter, call: &Call) -> Result<bool, ApiError> {
    for filter in call
        .list("ParameterFilters")
        .iter()
        .chain(call.list("Filters"))
    {
        let key = filter["Key"].as_str().unwrap_or_default();
        let option =
            filter["Option"]
                .as_str()
                .unwrap_or(if key == "Path" { "OneLevel" } else { "Equals" });
        let wanted = filter["Values"].as_array().map_or(&[][..], Vec::as_slice);
        let version = parameter.versions.last();
        let actual = match key {
            "Name" | "Path" => Some(parameter.name.as_str()),
            "Type" => version.map(|it| it.kind.as_str()),
            "KeyId" => version.and_then(|it| it.key_id.as_deref()),
            "Tier" => version.map(|it| it.tier.as_str()),
            "DataType" => version.map(|it| it.data_type.as_str()),
            tag if tag.starts_with("tag:") => parameter.tags.get(&tag[4..]).map(String::as_str),
            other => {
                let text = format!(
                    "The following filter key is not valid: {other}. Valid filter keys include: [DataType, KeyId, Name, Path, Tier, Type]."
                );
                return Err(ApiError::new("InvalidFilterKey", text));
            }
        };
        let fits = |wanted: &str| {
            actual.is_some_and(|actual| match option {
                "BeginsWith" => actual.starts_with(wanted),
                "Contains" => actual.contains(wanted),
                "Recursive" | "OneLevel" => actual
                    .strip_prefix(wanted.trim_end_matches('/'))
                    .and_then(|rest| rest.strip_prefix('/'))
                    .is_some_and(|rest| option == "Recursive" || !rest.contains('/')),
                _ => actual == wanted,
            })
        };
        let any = wanted.is_empty() && actual.is_some();
        if !any && !wanted.iter().filter_map(Value::as_str).any(fits) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn tags(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let parameter = tagged(parameters, call)?;
    let tags: Vec<Value> = parameter
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"TagList": tags}))
}
