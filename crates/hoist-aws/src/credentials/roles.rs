//! Roles: keys of another identity, from the Security Token Service.

use serde_json::{Value, json};

use super::{Answer, Credentials, broken};
use crate::wire::{Auth, Call, Wire};
use crate::{AwsError, Service};

/// A role and how its session is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Role {
    pub arn: String,
    pub session_name: Option<String>,
    pub external_id: Option<String>,
    /// Seconds, 900 to 43,200.
    pub duration: Option<u32>,
}

impl Role {
    fn params(&self) -> Value {
        json!({
            "RoleArn": self.arn,
            "RoleSessionName": self.session_name.clone().unwrap_or_else(|| "hoist".to_owned()),
            "ExternalId": self.external_id,
            "DurationSeconds": self.duration,
        })
    }
}

/// `sts:AssumeRole` with the keys of another identity.
pub(super) async fn assume(
    wire: &Wire,
    role: &Role,
    with: &Credentials,
    source: &str,
) -> Result<Credentials, AwsError> {
    let call = Call {
        service: Service::Sts,
        operation: "AssumeRole",
        params: &role.params(),
    };
    let answer = wire
        .call_within(&call, Auth::Keys(with))
        .await
        .map_err(|error| refused(source, role, error, None))?;
    keys(&answer, source)
}

/// `sts:AssumeRoleWithWebIdentity` with a token of an identity provider.
pub(super) async fn assume_with_token(
    wire: &Wire,
    role: &Role,
    token: &str,
    source: &str,
) -> Result<Credentials, AwsError> {
    let mut params = role.params();
    params["WebIdentityToken"] = token.trim().into();
    if let Value::Object(members) = &mut params {
        members.remove("ExternalId");
    }
    let call = Call {
        service: Service::Sts,
        operation: "AssumeRoleWithWebIdentity",
        params: &params,
    };
    let answer = wire
        .call_within(&call, Auth::Unsigned)
        .await
        .map_err(|error| refused(source, role, error, Some(token)))?;
    keys(&answer, source)
}

/// AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, as EKS sets them.
pub(super) async fn web_identity_of_environment(wire: &Wire) -> Answer {
    let env = &wire.config.env;
    match (
        env.var("AWS_WEB_IDENTITY_TOKEN_FILE"),
        env.var("AWS_ROLE_ARN"),
    ) {
        (Some(file), Some(arn)) => {
            let role = Role {
                arn: arn.to_owned(),
                session_name: env.var("AWS_ROLE_SESSION_NAME").map(str::to_owned),
                ..Role::default()
            };
            let token = token_file("web identity", file).await?;
            assume_with_token(wire, &role, &token, "web identity")
                .await
                .map(Ok)
        }
        (Some(_), None) => Ok(Err(
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not".into(),
        )),
        (None, _) => Ok(Err("AWS_WEB_IDENTITY_TOKEN_FILE is not set".into())),
    }
}

pub(super) async fn token_file(source: &str, path: &str) -> Result<String, AwsError> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        broken(
            source,
            format!("failed to read the token file {path}: {error}"),
            None,
        )
    })
}

fn keys(answer: &Value, source: &str) -> Result<Credentials, AwsError> {
    let text = |name: &str| answer["Credentials"][name].as_str().map(str::to_owned);
    match (
        text("AccessKeyId"),
        text("SecretAccessKey"),
        text("SessionToken"),
    ) {
        (Some(access_key_id), Some(secret_access_key), session_token) => Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token,
            expires: text("Expiration").and_then(|at| at.parse().ok()),
            source: source.to_owned(),
        }),
        _ => Err(broken(source, "the answer of STS holds no keys", None)),
    }
}

/// Puts a refusal in the words of credentials; a lost connection stays what it is.
fn refused(source: &str, role: &Role, error: AwsError, token: Option<&str>) -> AwsError {
    if !matches!(error, AwsError::Service { .. }) {
        return error;
    }
    let hint = match token {
        Some(token) => {
            let claim = |name: &str| {
                claims(token).and_then(|claims| {
                    claims.get(name).map(|value| {
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    })
                })
            };
            Some(format!(
                "the trust policy of {} must allow sts:AssumeRoleWithWebIdentity to exactly this token: iss {}, aud {}, sub {}",
                role.arn,
                claim("iss").unwrap_or_else(|| "?".into()),
                claim("aud").unwrap_or_else(|| "?".into()),
                claim("sub").unwrap_or_else(|| "?".into()),
            ))
        }
        None => Some(format!(
            "the source identity needs sts:AssumeRole on {}, and the role's trust policy must name it",
            role.arn
        )),
    };
    broken(source, error, hint)
}

/// The claims of an identity token, unverified: STS verifies, this is for the message.
fn claims(token: &str) -> Option<Value> {
    use base64::Engine as _;
    let payload = token.trim().split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}
