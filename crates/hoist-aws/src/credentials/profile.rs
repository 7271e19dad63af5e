//! What a profile of the shared files gives: a role and its chain, an SSO session, keys, or a process.

use std::future::Future;
use std::pin::Pin;

use reqsign::aws::{ProcessCredentialProvider, SSOCredentialProvider};

use super::roles::{self, Role};
use super::{Answer, Credentials, broken, sources};
use crate::profile::{Profiles, expand_home};
use crate::wire::Wire;
use crate::{AwsError, Partition};

/// The role that a profile names, if any.
pub(super) async fn role(wire: &Wire, profile: &str) -> Answer {
    assume_of(wire, profile, &mut Vec::new()).await
}

/// What the profile holds itself: SSO, keys of the credentials file, a process, keys of the configuration file.
pub(super) async fn own_keys(wire: &Wire, profile: &str) -> Answer {
    let profiles = &wire.config.profiles;
    if !profiles.has(profile) {
        return Ok(Err(format!("it is in neither {}", profiles.places())));
    }
    let source = format!("profile \"{profile}\"");
    if profiles.get(profile, "sso_account_id").is_some()
        || profiles.get(profile, "sso_role_name").is_some()
    {
        return sso(wire, profile, &source).await.map(Ok);
    }
    if let Some(keys) = keys_in(&profiles.credentials, profile) {
        return Ok(Ok(keys.from(source)));
    }
    if let Some(line) = profiles.get(profile, "credential_process") {
        let provider = ProcessCredentialProvider::new().with_command(line);
        return sources::ask(
            &format!("{source}, credential_process"),
            provider,
            &sources::context(wire),
        )
        .await;
    }
    if let Some(keys) = keys_in(&profiles.config, profile) {
        return Ok(Ok(keys.from(source)));
    }
    if profiles.get(profile, "login_session").is_some() {
        let hint = format!(
            "`aws login` sessions are not read; run `eval \"$(aws configure export-credentials --profile {profile} --format env)\"` first"
        );
        return Err(broken(&source, "it signs in with `aws login`", Some(hint)));
    }
    Ok(Err(
        "it has no keys, no role, no SSO session and no credential_process".into(),
    ))
}

fn keys_in(
    file: &std::collections::BTreeMap<String, crate::profile::Settings>,
    profile: &str,
) -> Option<Credentials> {
    let settings = file.get(profile)?;
    let text = |name: &str| {
        settings
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let token = text("aws_session_token").or_else(|| text("aws_security_token"));
    Some(Credentials::fixed(
        text("aws_access_key_id")?,
        text("aws_secret_access_key")?,
        token,
    ))
}

fn role_settings(profiles: &Profiles, profile: &str) -> Option<Role> {
    Some(Role {
        arn: profiles.get(profile, "role_arn")?.to_owned(),
        session_name: profiles
            .get(profile, "role_session_name")
            .map(str::to_owned),
        external_id: profiles.get(profile, "external_id").map(str::to_owned),
        duration: profiles
            .get(profile, "duration_seconds")
            .and_then(|seconds| seconds.parse().ok()),
    })
}

type Pinned<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Assumes the role of a profile with what its `source_profile` (and that one's, and so on), `credential_source` or token file gives.
fn assume_of<'a>(wire: &'a Wire, profile: &'a str, seen: &'a mut Vec<String>) -> Pinned<'a> {
    Box::pin(async move {
        let profiles = &wire.config.profiles;
        let Some(role) = role_settings(profiles, profile) else {
            return Ok(Err("it names no role_arn".into()));
        };
        let source = format!("role {} of profile \"{profile}\"", role.arn);
        if seen.iter().any(|other| other == profile) {
            return Err(broken(
                &source,
                format!(
                    "the chain of source_profile comes back to it ({})",
                    seen.join(", ")
                ),
                None,
            ));
        }
        seen.push(profile.to_owned());
        if let Some(file) = profiles.get(profile, "web_identity_token_file") {
            let path = expand_home(&wire.config.env, file).display().to_string();
            let token = roles::token_file(&source, &path).await?;
            return roles::assume_with_token(wire, &role, &token, &source)
                .await
                .map(Ok);
        }
        if profiles.get(profile, "mfa_serial").is_some() {
            let hint = format!(
                "run `eval \"$(aws configure export-credentials --profile {profile} --format env)\"` first: it asks for the code"
            );
            return Err(broken(
                &source,
                "it asks for a code of a device (mfa_serial)",
                Some(hint),
            ));
        }
        let with = source_keys(wire, profile, &source, seen).await?;
        roles::assume(wire, &role, &with, &source).await.map(Ok)
    })
}

async fn source_keys(
    wire: &Wire,
    profile: &str,
    source: &str,
    seen: &mut Vec<String>,
) -> Result<Credentials, AwsError> {
    let profiles = &wire.config.profiles;
    let answer = match (
        profiles.get(profile, "source_profile"),
        profiles.get(profile, "credential_source"),
    ) {
        (Some(other), _) if !profiles.has(other) => Err(format!(
            "its source_profile \"{other}\" is in neither {}",
            profiles.places()
        )),
        // A profile may be its own source: its keys assume its role.
        (Some(other), _) if other != profile && profiles.get(other, "role_arn").is_some() => {
            assume_of(wire, other, seen).await?
        }
        (Some(other), _) => own_keys(wire, other).await?,
        (None, Some("Environment")) => sources::environment(&wire.config),
        (None, Some("EcsContainer")) => sources::container(wire).await?,
        (None, Some("Ec2InstanceMetadata")) => sources::instance(wire).await?,
        (None, Some(other)) => Err(format!(
            "its credential_source `{other}` is none of Environment, EcsContainer, Ec2InstanceMetadata"
        )),
        (None, None) => Err("it names neither source_profile nor credential_source".to_owned()),
    };
    answer.map_err(|reason| broken(source, reason, None))
}

/// Exchanges the cached token of `aws sso login` for keys.
async fn sso(wire: &Wire, profile: &str, source: &str) -> Result<Credentials, AwsError> {
    let profiles = &wire.config.profiles;
    let session = profiles.get(profile, "sso_session");
    let setting = |name: &str| {
        session
            .and_then(|session| profiles.sso(session, name))
            .or_else(|| profiles.get(profile, name))
            .ok_or_else(|| {
                broken(
                    source,
                    format!("it signs in with SSO, but {name} is missing"),
                    None,
                )
            })
    };
    let region = setting("sso_region")?;
    let start_url = setting("sso_start_url")?;
    let partition = Partition::of(region);
    let provider = SSOCredentialProvider::new()
        .with_account_id(setting("sso_account_id")?)
        .with_role_name(setting("sso_role_name")?)
        .with_region(region)
        // The token's file is named after the session where there is one; reqsign names it after what it takes for the start address.
        .with_start_url(session.unwrap_or(start_url))
        .with_endpoint(match wire.config.env.var("AWS_ENDPOINT_URL_SSO") {
            Some(url) => format!("{}/federation/credentials", url.trim_end_matches('/')),
            None => format!(
                "https://portal.sso.{region}.{}/federation/credentials",
                partition.dns_suffix
            ),
        });
    let hint = format!("sign in: `aws sso login --profile {profile}`");
    let source = format!("{source}, SSO");
    match sources::ask(&source, provider, &sources::context(wire)).await {
        Ok(Ok(keys)) => Ok(keys),
        Ok(Err(_)) => Err(broken(
            &source,
            "there is no session, or it has expired",
            Some(hint),
        )),
        Err(AwsError::Credentials { reason, tried, .. }) => Err(AwsError::Credentials {
            reason,
            tried,
            hint: Some(hint),
        }),
        Err(error) => Err(error),
    }
}
