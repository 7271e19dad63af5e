//! Layers: the API's own way to bring them in and get them out. Docker and its kin use `/v2/` instead.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hoist_oci::Digest;
use serde_json::{Value, json};

use super::words::{invalid, need, repository_name};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{Refusal, Registry, TOKEN_VALIDITY};

/// The size of a part that the service proposes, in bytes.
const PART: u64 = 10 << 20;

pub fn check(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let (mut layers, mut failures) = (Vec::new(), Vec::new());
    for text in call.strings("layerDigests") {
        let Ok(digest) = text.parse::<Digest>() else {
            let reason = "Invalid layer digest: digests must be sha256";
            failures.push(json!({"layerDigest": text, "failureCode": "InvalidLayerDigest", "failureReason": reason}));
            continue;
        };
        layers.push(match registry.blob(&call.region, name, &digest)? {
            Some(blob) => json!({
                "layerDigest": digest,
                "layerAvailability": "AVAILABLE",
                "layerSize": blob.size,
                "mediaType": hoist_oci::spec::media_type::DOCKER_LAYER_GZIP,
            }),
            None => json!({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}),
        });
    }
    Ok(json!({"layers": layers, "failures": failures}))
}

pub fn initiate(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let id = registry.begin_upload(&call.region, repository_name(call)?)?;
    Ok(json!({"uploadId": id, "partSize": PART}))
}

pub fn upload_part(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, id) = (repository_name(call)?, need(call, "uploadId")?);
    let part = BASE64
        .decode(need(call, "layerPartBlob")?)
        .map_err(|error| ApiError::serialization(error.to_string()))?;
    let position = |name: &str| {
        call.integer(name)
            .and_then(|position| u64::try_from(position).ok())
    };
    let (Some(first), Some(last)) = (position("partFirstByte"), position("partLastByte")) else {
        return Err(invalid("partFirstByte", "Member must be 0 or more"));
    };
    if last.wrapping_add(1).wrapping_sub(first) != part.len() as u64 {
        return Err(invalid(
            "partLastByte",
            "The part's length is not that of its bytes",
        ));
    }
    let mut upload = registry.take_upload(&call.region, name, id)?;
    let result = if upload.size() == first {
        upload.append(&part)
    } else {
        Err(Refusal::BadPart {
            repository: name.to_owned(),
            id: id.to_owned(),
            expected: upload.size(),
            begins: first,
        })
    };
    drop(upload);
    result?;
    Ok(
        json!({"registryId": ACCOUNT, "repositoryName": name, "uploadId": id, "lastByteReceived": last}),
    )
}

pub fn complete(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, id) = (repository_name(call)?, need(call, "uploadId")?);
    let digests = call.strings("layerDigests");
    let digest = digests
        .first()
        .ok_or_else(|| invalid("layerDigests", "Member must have length between 1 and 100"))?;
    let upload = registry.take_upload(&call.region, name, id)?;
    if upload.size() == 0 {
        upload.cancel();
        return Err(Refusal::EmptyUpload {
            repository: name.to_owned(),
            id: id.to_owned(),
        }
        .into());
    }
    if let Ok(known) = digest.parse()
        && registry.blob(&call.region, name, &known)?.is_some()
    {
        return Err(Refusal::LayerExists {
            repository: name.to_owned(),
            digest: known,
        }
        .into());
    }
    let digest = registry
        .finish_upload(upload, digest)
        .map_err(|refusal| match refusal {
            Refusal::WrongDigest { .. } => {
                ApiError::new("InvalidLayerException", refusal.to_string())
            }
            other => other.into(),
        })?;
    Ok(
        json!({"registryId": ACCOUNT, "repositoryName": name, "uploadId": id, "layerDigest": digest}),
    )
}

/// The URL needs no further credentials, as those of S3 do not.
pub fn download_url(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, text) = (repository_name(call)?, need(call, "layerDigest")?);
    registry.repository(&call.region, name)?;
    let missing = || Refusal::NoBlob {
        repository: name.to_owned(),
        digest: text.to_owned(),
    };
    let digest: Digest = text.parse().map_err(|_| missing())?;
    registry
        .blob(&call.region, name, &digest)?
        .ok_or_else(missing)?;
    let token = registry.password(&call.region, clock::now() + TOKEN_VALIDITY);
    let url = format!(
        "http://{}/v2/{name}/blobs/{digest}?token={token}",
        registry.host()
    );
    Ok(json!({"downloadUrl": url, "layerDigest": digest}))
}
