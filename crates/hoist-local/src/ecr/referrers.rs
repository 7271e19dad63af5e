//! What is attached to images: signatures, lists of packages.

use hoist_oci::Digest;
use serde_json::{Map, Value, json};

use super::words::{invalid, page, repository_name};
use crate::api::{ApiError, Call};
use crate::registry::{Refusal, Registry};

pub fn list(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let given = call.params["subjectId"]["imageDigest"].as_str();
    let subject: Digest = given
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| invalid("subjectId.imageDigest", "must be a digest"))?;
    let filter = &call.params["filter"];
    // Nothing is ever archived here.
    let active = matches!(
        filter["artifactStatus"].as_str(),
        None | Some("ACTIVE" | "ANY")
    );
    let fits = |kind: Option<&str>| match filter["artifactTypes"].as_array() {
        Some(kinds) => kinds.iter().any(|it| it.as_str() == kind),
        None => true,
    };
    let mut found = Vec::new();
    for image in registry.images(&call.region, name)? {
        if image.subject != Some(subject) || !active || !fits(image.artifact_type.as_deref()) {
            continue;
        }
        let manifest: Value = registry
            .store()
            .read_json(&image.digest)
            .map_err(Refusal::from)?;
        let mut shown = Map::from_iter([
            ("digest".to_owned(), json!(image.digest)),
            ("mediaType".to_owned(), json!(image.media_type)),
            ("size".to_owned(), json!(image.manifest_size)),
            ("artifactStatus".to_owned(), json!("ACTIVE")),
        ]);
        if let Some(kind) = &image.artifact_type {
            shown.insert("artifactType".to_owned(), json!(kind));
        }
        if manifest["annotations"].is_object() {
            shown.insert("annotations".to_owned(), manifest["annotations"].clone());
        }
        found.push(shown.into());
    }
    page(call, "referrers", found)
}
