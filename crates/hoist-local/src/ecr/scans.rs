//! Image scans. Nothing is scanned here: what a scan finds is read from `scan-findings.json` in the home's `local` folder.
//!
//! The file is an object: its keys are a repository, `repository:tag` or `repository@digest`, its values lists of findings as ECR
//! writes them (`name`, `severity`, `description`, `uri`, `attributes`). The most exact key wins; no key means nothing is found.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::images::{Id, find, ids};
use super::words::{page, repository_name};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{ImageRecord, Registry};

/// Where the findings lie, in the home's `local` folder.
pub const FILE: &str = "scan-findings.json";

const SEVERITIES: [&str; 6] = [
    "INFORMATIONAL",
    "LOW",
    "MEDIUM",
    "HIGH",
    "CRITICAL",
    "UNDEFINED",
];

/// What a scan of an image finds.
fn findings(
    registry: &Registry,
    name: &str,
    image: &ImageRecord,
    tags: &[String],
) -> Result<Vec<Value>, ApiError> {
    let path = registry.findings();
    let failed = |why: String| {
        ApiError::internal(format!(
            "failed to read the findings in {}: {why}",
            path.display()
        ))
    };
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(|error| failed(error.to_string()))?,
    };
    let all: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    let mut keys = vec![format!("{name}@{}", image.digest)];
    keys.extend(tags.iter().map(|tag| format!("{name}:{tag}")));
    keys.push(name.to_owned());
    let found = keys.iter().find_map(|key| all.get(key)?.as_array());
    let mut found = found.cloned().unwrap_or_default();
    for finding in &mut found {
        let severity = finding["severity"].as_str().unwrap_or_default();
        if !SEVERITIES.contains(&severity) {
            return Err(failed(format!(
                "`{severity}` is no severity; use one of {SEVERITIES:?}"
            )));
        }
    }
    found.sort_by_key(|finding| {
        let severity = finding["severity"].as_str().unwrap_or_default();
        let rank = SEVERITIES[..5].iter().position(|it| *it == severity);
        std::cmp::Reverse(rank)
    });
    Ok(found)
}

fn counts(findings: &[Value]) -> Value {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for finding in findings {
        *counts
            .entry(finding["severity"].as_str().unwrap_or_default())
            .or_default() += 1;
    }
    json!(counts)
}

fn tags_of(
    registry: &Registry,
    call: &Call,
    name: &str,
    image: &ImageRecord,
) -> Result<Vec<String>, ApiError> {
    let tags = registry.tags(&call.region, name)?.into_iter();
    Ok(tags
        .filter(|(_, of)| *of == image.digest)
        .map(|(tag, _)| tag)
        .collect())
}

/// `imageScanStatus` and `imageScanFindingsSummary` of DescribeImages, for an image that was scanned.
pub fn summary(
    registry: &Registry,
    call: &Call,
    name: &str,
    image: &ImageRecord,
    tags: &[String],
) -> Result<Option<(Value, Value)>, ApiError> {
    let Some(scanned) = registry.scanned(&call.region, name, image)? else {
        return Ok(None);
    };
    let summary = json!({
        "imageScanCompletedAt": clock::epoch_seconds(scanned),
        "vulnerabilitySourceUpdatedAt": clock::epoch_seconds(scanned),
        "findingSeverityCounts": counts(&findings(registry, name, image, tags)?),
    });
    Ok(Some((complete(), summary)))
}

fn complete() -> Value {
    json!({"status": "COMPLETE", "description": "The scan was completed successfully."})
}

/// The one image that a call is about.
fn image_of(registry: &Registry, call: &Call, name: &str) -> Result<(Id, ImageRecord), ApiError> {
    let mut one = call.clone();
    one.params["imageIds"] = json!([call.params.get("imageId").cloned().unwrap_or_default()]);
    let id = ids(&one)?.remove(0);
    let image = find(registry, call, name, &id)?;
    Ok((id, image))
}

pub fn start(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let (id, image) = image_of(registry, call, name)?;
    registry.set_scanned(&call.region, name, &image, clock::now())?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "imageId": id.render_with(&image),
        "imageScanStatus": {"status": "IN_PROGRESS"},
    }))
}

pub fn describe(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let (id, image) = image_of(registry, call, name)?;
    let Some(scanned) = registry.scanned(&call.region, name, &image)? else {
        let shown = id.tag.as_deref().unwrap_or("null");
        return Err(ApiError::new(
            "ScanNotFoundException",
            format!(
                "Image scan does not exist for the image with '{{imageDigest:'{}', imageTag:'{shown}'}}' in the repository with name '{name}' in the registry with id '{ACCOUNT}'",
                image.digest
            ),
        ));
    };
    let tags = tags_of(registry, call, name, &image)?;
    let findings = findings(registry, name, &image, &tags)?;
    let counts = counts(&findings);
    let mut part = page(call, "findings", findings)?;
    let mut answer = json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "imageId": id.render_with(&image),
        "imageScanStatus": complete(),
        "imageScanFindings": {
            "imageScanCompletedAt": clock::epoch_seconds(scanned),
            "vulnerabilitySourceUpdatedAt": clock::epoch_seconds(scanned),
            "findings": part["findings"].take(),
            "findingSeverityCounts": counts,
        },
    });
    if let Some(token) = part.get("nextToken") {
        answer["nextToken"] = token.clone();
    }
    Ok(answer)
}
