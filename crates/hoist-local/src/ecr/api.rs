use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{account, images, layers, lifecycle, policies, referrers, repositories, scans};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{Registry, TOKEN_USER, TOKEN_VALIDITY};

/// Answers one call of the ECR API.
///
/// # Errors
/// As ECR answers them.
pub fn handle(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "GetAuthorizationToken" => Ok(authorization_token(registry, call)),
        "DescribeRegistry" => {
            Ok(json!({"registryId": ACCOUNT, "replicationConfiguration": {"rules": []}}))
        }

        "GetRegistryScanningConfiguration" => account::scanning(registry, call),
        "PutRegistryScanningConfiguration" => account::set_scanning(registry, call),
        "BatchGetRepositoryScanningConfiguration" => account::scanning_of(registry, call),
        "GetRegistryPolicy" => account::policy(registry, call),
        "PutRegistryPolicy" => account::set_policy(registry, call),
        "DeleteRegistryPolicy" => account::delete_policy(registry, call),
        "PutReplicationConfiguration" => account::set_replication(call),
        "DescribeImageReplicationStatus" => account::replication_of(registry, call),
        "GetAccountSetting" => account::setting(registry, call),
        "PutAccountSetting" => account::set_setting(registry, call),
        "DescribePullThroughCacheRules" => Ok(json!({"pullThroughCacheRules": []})),
        "DescribeRepositoryCreationTemplates" => {
            Ok(json!({"registryId": ACCOUNT, "repositoryCreationTemplates": []}))
        }

        "CreateRepository" => repositories::create(registry, call),
        "DescribeRepositories" => repositories::describe(registry, call),
        "DeleteRepository" => repositories::delete(registry, call),
        "PutImageTagMutability" => repositories::put_mutability(registry, call),
        "PutImageScanningConfiguration" => repositories::put_scanning(registry, call),
        "TagResource" => repositories::tag(registry, call),
        "UntagResource" => repositories::untag(registry, call),
        "ListTagsForResource" => repositories::list_tags(registry, call),

        "DescribeImages" => images::describe(registry, call),
        "ListImageReferrers" => referrers::list(registry, call),
        "ListImages" => images::list(registry, call),
        "BatchGetImage" => images::batch_get(registry, call),
        "BatchDeleteImage" => images::batch_delete(registry, call),
        "PutImage" => images::put(registry, call),

        "BatchCheckLayerAvailability" => layers::check(registry, call),
        "InitiateLayerUpload" => layers::initiate(registry, call),
        "UploadLayerPart" => layers::upload_part(registry, call),
        "CompleteLayerUpload" => layers::complete(registry, call),
        "GetDownloadUrlForLayer" => layers::download_url(registry, call),

        "SetRepositoryPolicy" => policies::set(registry, call, policies::Kind::Repository),
        "GetRepositoryPolicy" => policies::get(registry, call, policies::Kind::Repository),
        "DeleteRepositoryPolicy" => policies::delete(registry, call, policies::Kind::Repository),
        "PutLifecyclePolicy" => policies::set(registry, call, policies::Kind::Lifecycle),
        "GetLifecyclePolicy" => policies::get(registry, call, policies::Kind::Lifecycle),
        "DeleteLifecyclePolicy" => policies::delete(registry, call, policies::Kind::Lifecycle),

        "StartLifecyclePolicyPreview" => lifecycle::start_preview(registry, call),
        "GetLifecyclePolicyPreview" => lifecycle::preview(registry, call),

        "StartImageScan" => scans::start(registry, call),
        "DescribeImageScanFindings" => scans::describe(registry, call),

        other => Err(ApiError::unknown_operation(call.service, other)),
    }
}

/// A token for the repositories of the call's region. Its endpoint speaks plain HTTP, which docker and skopeo accept of loopback.
fn authorization_token(registry: &Registry, call: &Call) -> Value {
    let expires = clock::now() + TOKEN_VALIDITY;
    let password = registry.password(&call.region, expires);
    let one = || {
        json!({
            "authorizationToken": BASE64.encode(format!("{TOKEN_USER}:{password}")),
            "expiresAt": clock::epoch_seconds(expires),
            "proxyEndpoint": format!("http://{}", registry.host()),
        })
    };
    let registries = call.list("registryIds").len().max(1);
    json!({"authorizationData": (0..registries).map(|_| one()).collect::<Vec<Value>>()})
}
