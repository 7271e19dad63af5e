use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{already_exists, no_such_entity, required, tags};
use super::role;
use super::service::Iam;
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;

/// An OIDC provider, such as that of GitHub Actions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provider {
    /// Without the scheme.
    pub url: String,
    /// The audiences that its tokens may have.
    pub client_ids: Vec<String>,
    pub thumbprints: Vec<String>,
    pub created: String,
    pub tags: BTreeMap<String, String>,
}

/// An issuer as providers are named after it: without the scheme.
pub fn bare(issuer: &str) -> &str {
    let rest = issuer.strip_prefix("https://");
    let rest = rest.or_else(|| issuer.strip_prefix("http://"));
    rest.unwrap_or(issuer).trim_end_matches('/')
}

/// The ARN of the provider whose tokens `issuer` makes.
pub fn provider_arn(issuer: &str) -> String {
    arn(bare(issuer))
}

fn arn(url: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{url}")
}

pub fn create(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let sent = required(call, "Url")?;
    // The real service takes https only; an issuer on this machine's loopback, as tests have one, needs no certificate here.
    let known = sent.starts_with("https://") || crate::sts::is_loopback(sent);
    let url = Some(bare(sent)).filter(|url| known && !url.is_empty());
    let url = url
        .ok_or_else(|| ApiError::new("ValidationError", "Invalid Open ID Connect Provider URL"))?;
    if iam.providers.get("", url)?.is_some() {
        return Err(already_exists(format!(
            "Provider with url {sent} already exists."
        )));
    }
    let own = |name: &str| call.strings(name).into_iter().map(str::to_owned).collect();
    let provider = Provider {
        url: url.to_owned(),
        client_ids: own("ClientIDList"),
        thumbprints: own("ThumbprintList"),
        created: clock::iso8601(clock::now()),
        tags: tags(call)?,
    };
    iam.providers.put("", url, &provider)?;
    Ok(json!({"OpenIDConnectProviderArn": arn(url), "Tags": role::tags(&provider.tags)}))
}

fn named(call: &Call) -> Result<&str, ApiError> {
    let sent = required(call, "OpenIDConnectProviderArn")?;
    sent.strip_prefix(arn("").as_str())
        .ok_or_else(|| ApiError::new("InvalidInput", "Invalid ARN"))
}

pub fn get(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let url = named(call)?;
    let provider = iam.providers.get("", url)?.ok_or_else(|| {
        no_such_entity(format!(
            "OpenIDConnect Provider not found for arn {}",
            arn(url)
        ))
    })?;
    Ok(json!({
        "Url": provider.url,
        "ClientIDList": provider.client_ids,
        "ThumbprintList": provider.thumbprints,
        "CreateDate": provider.created,
        "Tags": role::tags(&provider.tags),
    }))
}

pub fn list(iam: &Iam) -> Result<Value, ApiError> {
    let all = iam.providers.list("")?;
    let shown: Vec<Value> = all
        .iter()
        .map(|(url, _)| json!({"Arn": arn(url)}))
        .collect();
    Ok(json!({"OpenIDConnectProviderList": shown}))
}

pub fn delete(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    // Deleting what is not there succeeds, as on the real service.
    iam.providers.delete("", named(call)?)?;
    Ok(Value::Null)
}
