//! Repositories.

use serde_json::{Value, json};

use super::words::{arn, invalid, need, not_in_registry, page, repository_name};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{Mutability, Registry, Repository};

pub fn create(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let encryption = match call.params.get("encryptionConfiguration") {
        Some(given) if given.is_object() => given.clone(),
        _ => json!({"encryptionType": "AES256"}),
    };
    let (mutability, exclusions) = read_mutability(call)?.unwrap_or_default();
    let repository = Repository {
        name: repository_name(call)?.to_owned(),
        created: clock::now(),
        mutability,
        exclusions,
        scan_on_push: scan_on_push(call),
        encryption,
        tags: read_tags(call.list("tags"))?,
        policy: None,
        lifecycle: None,
        preview: None,
    };
    registry.create_repository(&call.region, &repository)?;
    Ok(json!({"repository": render(registry, call, &repository)}))
}

pub fn describe(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let names = call.strings("repositoryNames");
    if let (Some(other), Some(first)) = (
        call.str("registryId").filter(|id| *id != ACCOUNT),
        names.first(),
    ) {
        return Err(not_in_registry(first, other));
    }
    let found = if names.is_empty() {
        registry.repositories(&call.region)?
    } else {
        let found: Result<Vec<_>, _> = names
            .iter()
            .map(|name| registry.repository(&call.region, name))
            .collect();
        found?
    };
    page(
        call,
        "repositories",
        found
            .iter()
            .map(|repository| render(registry, call, repository))
            .collect(),
    )
}

pub fn delete(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let force = call.boolean("force").unwrap_or(false);
    let gone = registry.delete_repository(&call.region, repository_name(call)?, force)?;
    Ok(json!({"repository": render(registry, call, &gone)}))
}

pub fn put_mutability(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let (mutability, exclusions) = read_mutability(call)?
        .ok_or_else(|| invalid("imageTagMutability", "Member must not be null"))?;
    let repository = registry.change_repository(&call.region, name, |repository| {
        repository.mutability = mutability;
        repository.exclusions = exclusions;
        repository.clone()
    })?;
    let rendered = render(registry, call, &repository);
    let mut answer =
        json!({"registryId": ACCOUNT, "repositoryName": name, "imageTagMutability": mutability});
    if let Some(filters) = rendered.get("imageTagMutabilityExclusionFilters") {
        answer["imageTagMutabilityExclusionFilters"] = filters.clone();
    }
    Ok(answer)
}

pub fn put_scanning(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, scan) = (repository_name(call)?, scan_on_push(call));
    registry.change_repository(&call.region, name, |repository| {
        repository.scan_on_push = scan
    })?;
    Ok(
        json!({"registryId": ACCOUNT, "repositoryName": name, "imageScanningConfiguration": {"scanOnPush": scan}}),
    )
}

pub fn tag(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = name_of_arn(call)?;
    let new = read_tags(call.list("tags"))?;
    registry.change_repository(&call.region, &name, |repository| {
        repository
            .tags
            .retain(|(key, _)| !new.iter().any(|(other, _)| other == key));
        repository.tags.extend(new);
    })?;
    Ok(json!({}))
}

pub fn untag(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = name_of_arn(call)?;
    let gone = call.strings("tagKeys");
    registry.change_repository(&call.region, &name, |repository| {
        repository
            .tags
            .retain(|(key, _)| !gone.contains(&key.as_str()));
    })?;
    Ok(json!({}))
}

pub fn list_tags(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let repository = registry.repository(&call.region, &name_of_arn(call)?)?;
    let tags: Vec<Value> = repository
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"tags": tags}))
}

fn name_of_arn(call: &Call) -> Result<String, ApiError> {
    let given = need(call, "resourceArn")?;
    let prefix = arn(&call.region, "repository/");
    let name = given.strip_prefix(&prefix);
    name.map(str::to_owned)
        .ok_or_else(|| invalid("resourceArn", "Invalid ARN"))
}

fn scan_on_push(call: &Call) -> bool {
    call.params
        .pointer("/imageScanningConfiguration/scanOnPush")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

fn read_mutability(call: &Call) -> Result<Option<(Mutability, Vec<String>)>, ApiError> {
    let Some(text) = call.str("imageTagMutability") else {
        return Ok(None);
    };
    let allowed = "Member must satisfy enum value set: [IMMUTABLE, IMMUTABLE_WITH_EXCLUSION, MUTABLE, MUTABLE_WITH_EXCLUSION]";
    let mutability: Mutability =
        serde_json::from_value(text.into()).map_err(|_| invalid("imageTagMutability", allowed))?;
    let filters = call.list("imageTagMutabilityExclusionFilters").iter();
    let exclusions: Vec<String> = filters
        .filter_map(|filter| filter["filter"].as_str().map(str::to_owned))
        .collect();
    let takes_filters = matches!(
        mutability,
        Mutability::ImmutableWithExclusion | Mutability::MutableWithExclusion
    );
    if takes_filters == exclusions.is_empty() {
        let constraint = "filters belong to IMMUTABLE_WITH_EXCLUSION and MUTABLE_WITH_EXCLUSION, and those need some";
        return Err(invalid("imageTagMutabilityExclusionFilters", constraint));
    }
    Ok(Some((mutability, exclusions)))
}

fn read_tags(tags: &[Value]) -> Result<Vec<(String, String)>, ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::new(
            "TooManyTagsException",
            "The maximum number of tags per resource is 50",
        ));
    }
    tags.iter()
        .map(|tag| {
            let text = |name: &str| tag[name].as_str().map(str::to_owned);
            let key = text("Key").filter(|key| !key.is_empty() && key.chars().count() <= 128);
            let key = key.ok_or_else(|| {
                ApiError::new(
                    "InvalidTagParameterException",
                    "A tag key must have 1 to 128 characters",
                )
            })?;
            Ok((key, text("Value").unwrap_or_default()))
        })
        .collect()
}

fn render(registry: &Registry, call: &Call, repository: &Repository) -> Value {
    let name = &repository.name;
    let mut rendered = json!({
        "repositoryArn": arn(&call.region, &format!("repository/{name}")),
        "registryId": ACCOUNT,
        "repositoryName": name,
        "repositoryUri": format!("{}/{name}", registry.host()),
        "createdAt": clock::epoch_seconds(repository.created),
        "imageTagMutability": repository.mutability,
        "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
        "encryptionConfiguration": repository.encryption,
    });
    if !repository.exclusions.is_empty() {
        let filters = repository
            .exclusions
            .iter()
            .map(|filter| json!({"filterType": "WILDCARD", "filter": filter}));
        rendered["imageTagMutabilityExclusionFilters"] = filters.collect();
    }
    rendered
}
