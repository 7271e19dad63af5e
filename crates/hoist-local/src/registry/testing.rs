//! What tests of the registry and of the ECR API share.

use serde_json::{Value, json};

use super::{Mutability, Registry, Repository};
use crate::home::Home;
use crate::state::State;

/// A registry in a folder of its own.
pub fn registry() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::in_memory().unwrap();
    let registry = Registry::open(&Home::at(folder.path()), &state, "127.0.0.1:4566").unwrap();
    (folder, registry)
}

/// A repository with nothing set.
pub fn repository(name: &str) -> Repository {
    Repository {
        name: name.to_owned(),
        created: 0,
        mutability: Mutability::Mutable,
        exclusions: Vec::new(),
        scan_on_push: false,
        encryption: json!({"encryptionType": "AES256"}),
        tags: Vec::new(),
        policy: None,
        lifecycle: None,
        preview: None,
    }
}

/// A manifest of one configuration and one layer, which the repository gets.
pub fn manifest(registry: &Registry, region: &str, name: &str, layer: &[u8]) -> Vec<u8> {
    use hoist_oci::spec::{Descriptor, Manifest, media_type};
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = Value::to_string(&config).into_bytes();
    for blob in [config.as_slice(), layer] {
        let digest = registry.store().put(blob).unwrap();
        registry
            .link(region, name, &digest, blob.len() as u64)
            .unwrap();
    }
    let layers = vec![Descriptor::of(media_type::LAYER, layer)];
    serde_json::to_vec(&Manifest::new(
        Descriptor::of(media_type::CONFIG, &config),
        layers,
    ))
    .unwrap()
}

/// A call of the ECR API, signed by the root.
pub fn call(region: &str, action: &str, params: Value) -> crate::api::Call {
    crate::api::Call {
        service: crate::api::Service::Ecr,
        action: action.to_owned(),
        region: region.to_owned(),
        params,
        key: crate::keys::Key {
            id: "AKIATEST".to_owned(),
            secret: "secret".to_owned(),
            session_token: None,
            arn: "arn:aws:iam::000000000000:root".to_owned(),
            user_id: crate::ctx::ACCOUNT.to_owned(),
            expires: None,
        }
        .into(),
        request_id: "request".to_owned(),
    }
}
