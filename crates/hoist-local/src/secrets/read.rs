use serde_json::{Map, Value, json};

use super::handle::{invalid, required};
use super::secret::{Secret, Secrets, chosen};
use crate::api::{ApiError, Call, page};
use crate::clock;
use crate::ids;

fn shown_value(
    secrets: &Secrets,
    secret: &Secret,
    version: Option<&str>,
    stage: Option<&str>,
) -> Result<Value, ApiError> {
    let version = chosen(secret, version, stage)?;
    let value = secrets.vault.unseal(&secret.arn, &version.value)?;
    let member = if version.binary {
        "SecretBinary"
    } else {
        "SecretString"
    };
    Ok(json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": version.id,
        member: value,
        "VersionStages": version.stages,
        "CreatedDate": clock::epoch_seconds(version.created),
    }))
}

pub fn value(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    shown_value(
        secrets,
        &secret,
        call.str("VersionId"),
        call.str("VersionStage"),
    )
}

pub fn values(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for id in call.strings("SecretIdList") {
        let one = secrets
            .live(&call.region, id)
            .and_then(|secret| shown_value(secrets, &secret, None, None));
        match one {
            Ok(value) => found.push(value),
            Err(error) => errors
                .push(json!({"SecretId": id, "ErrorCode": error.code, "Message": error.message})),
        }
    }
    Ok(json!({"SecretValues": found, "Errors": errors}))
}

/// A secret as DescribeSecret and ListSecrets show it; the map of versions has another name in each.
fn shown(secret: &Secret, versions: &str) -> Value {
    let stages: Map<String, Value> = secret
        .versions
        .iter()
        .filter(|version| !version.stages.is_empty())
        .map(|version| (version.id.clone(), json!(version.stages)))
        .collect();
    let tags: Vec<Value> = secret
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    let mut shown = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "CreatedDate": clock::epoch_seconds(secret.created),
        "LastChangedDate": clock::epoch_seconds(secret.changed),
        "Tags": tags,
        versions: stages,
    });
    for (name, value) in [
        ("Description", &secret.description),
        ("KmsKeyId", &secret.kms_key),
    ] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    if let Some((deleted, _)) = secret.deleted {
        shown["DeletedDate"] = clock::epoch_seconds(deleted);
    }
    shown
}

pub fn describe(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let secret = secrets.any(&call.region, required(call, "SecretId")?)?;
    let secret = secret.ok_or_else(|| super::secret::not_found(""))?;
    Ok(shown(&secret, "VersionIdsToStages"))
}

pub fn list(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let with_deleted = call.boolean("IncludePlannedDeletion") == Some(true);
    let mut found = Vec::new();
    for (_, secret) in secrets.table.list(&call.region)? {
        if (secret.deleted.is_none() || with_deleted) && passes(&secret, call) {
            found.push(shown(&secret, "SecretVersionsToStages"));
        }
    }
    paged(call, found, "SecretList")
}

/// Whether every filter has a value that the secret's member begins with; one with `!` before it must not match.
fn passes(secret: &Secret, call: &Call) -> bool {
    let keys: Vec<&str> = secret.tags.keys().map(String::as_str).collect();
    let values: Vec<&str> = secret.tags.values().map(String::as_str).collect();
    let description = secret.description.as_deref();
    call.list("Filters").iter().all(|filter| {
        let members: Vec<&str> = match filter["Key"].as_str().unwrap_or_default() {
            "name" => vec![&secret.name],
            "description" => description.into_iter().collect(),
            "tag-key" => keys.clone(),
            "tag-value" => values.clone(),
            _ => [&[secret.name.as_str()][..], &keys, &values]
                .concat()
                .into_iter()
                .chain(description)
                .collect(),
        };
        let begins = |wanted: &str| members.iter().any(|it| it.starts_with(wanted));
        let wanted = filter["Values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        wanted
            .into_iter()
            .any(|wanted| match wanted.strip_prefix('!') {
                Some(unwanted) => !begins(unwanted),
                None => begins(wanted),
            })
    })
}

fn paged(call: &Call, items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = usize::try_from(call.integer("MaxResults").unwrap_or(100))
        .unwrap_or(100)
        .clamp(1, 100);
    page(call, items, member, size, || {
        ApiError::new(
            "InvalidNextTokenException",
            "The NextToken value is invalid.",
        )
    })
}

pub fn versions(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    let deprecated = call.boolean("IncludeDeprecated") == Some(true);
    let shown: Vec<Value> = secret
        .versions
        .iter()
        .filter(|version| deprecated || !version.stages.is_empty())
        .map(|version| json!({"VersionId": version.id, "VersionStages": version.stages, "CreatedDate": clock::epoch_seconds(version.created)}))
        .collect();
    Ok(json!({"ARN": secret.arn, "Name": secret.name, "Versions": shown}))
}

pub fn policy(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let secret = secrets.live(&call.region, required(call, "SecretId")?)?;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// A password of every kind of character that is not left out, from the system's random source.
pub fn password(call: &Call) -> Result<Value, ApiError> {
    let length = call.integer("PasswordLength").unwrap_or(32);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (4..=4096).contains(length))
        .ok_or_else(|| invalid("Password length must be between 4 and 4096."))?;
    let is = |name: &str| call.boolean(name) == Some(true);
    let excluded = call.str("ExcludeCharacters").unwrap_or_default();
    let allowed: Vec<char> = (b' '..=b'~')
        .map(char::from)
        .filter(|c| match c {
            'a'..='z' => !is("ExcludeLowercase"),
            'A'..='Z' => !is("ExcludeUppercase"),
            '0'..='9' => !is("ExcludeNumbers"),
            ' ' => is("IncludeSpace"),
            _ => !is("ExcludePunctuation"),
        })
        .filter(|c| !excluded.contains(*c))
        .collect();
    if allowed.is_empty() {
        return Err(invalid("No characters are left to make a password of."));
    }
    let mut password = String::new();
    while password.len() < length {
        // Base64 carries 6 even bits a character; two of them choose with a bias below one in forty.
        let random = ids::secret(2).map_err(|error| ApiError::internal(error.to_string()))?;
        let number = random
            .bytes()
            .fold(0usize, |sum, byte| sum * 64 + six_bits(byte));
        password.push(allowed[number % allowed.len()]);
    }
    Ok(json!({"RandomPassword": password}))
}

fn six_bits(byte: u8) -> usize {
    usize::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    })
}
