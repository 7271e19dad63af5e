//! Where keys come from, in the order of the AWS CLI.
//!
//! 1. keys given by the caller
//! 2. a role assumed with the GitHub Actions identity token, when the caller names one
//! 3. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (not when the caller names a profile)
//! 4. a role that the profile names (`role_arn` with `source_profile`, `credential_source` or `web_identity_token_file`)
//! 5. AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; or AWS_ROLE_ARN with the GitHub Actions identity token
//! 6. the profile's SSO session, keys of the credentials file, `credential_process`, keys of the configuration file
//! 7. the container's role (ECS, EKS pod identity)
//! 8. the machine's role (EC2), asked for one second at most
//!
//! A source that is configured and fails ends the search: the next one would be another identity. reqsign reads SSO, processes and the
//! metadata services; roles are assumed through our own calls, so that configured STS endpoints, retries and role chains hold for them
//! too, which reqsign does not know.

mod github;
mod profile;
mod roles;
mod sources;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::wire::Wire;
use crate::{Attempt, AwsError};

/// A key pair and what is known of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: String,
    /// The session token of a temporary pair.
    pub session_token: Option<String>,
    /// When a temporary pair ends.
    pub expires: Option<Timestamp>,
    /// The source in words, such as `environment` or `profile "prod"`.
    pub source: String,
}

impl Credentials {
    /// A pair that does not end.
    pub fn fixed(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Credentials {
        Credentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: session_token.map(str::to_owned),
            expires: None,
            source: "the caller".to_owned(),
        }
    }

    fn from(self, source: impl Into<String>) -> Credentials {
        Credentials {
            source: source.into(),
            ..self
        }
    }

    fn same_keys(&self, other: &Credentials) -> bool {
        self.access_key_id == other.access_key_id
            && self.session_token == other.session_token
            && self.secret_access_key == other.secret_access_key
    }
}

/// Without the secrets.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Temporary keys are renewed this long before they end.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// The sources in order, and the keys that the first of them gave.
#[derive(Debug)]
pub(crate) struct Chain {
    wire: Arc<Wire>,
    cached: Mutex<Option<Credentials>>,
}

/// What a source says: keys, nothing (with the reason), or an error that ends the search.
type Answer = Result<Result<Credentials, String>, AwsError>;

impl Chain {
    pub fn new(wire: Arc<Wire>) -> Chain {
        Chain {
            wire,
            cached: Mutex::new(None),
        }
    }

    /// Gives keys that are good for two minutes at least, if the source has such.
    ///
    /// Boxed: the search through all sources would otherwise be compiled again wherever one is awaited.
    pub fn get(&self) -> Pin<Box<dyn Future<Output = Result<Credentials, AwsError>> + Send + '_>> {
        Box::pin(self.find())
    }

    async fn find(&self) -> Result<Credentials, AwsError> {
        let mut cached = self.cached.lock().await;
        if let Some(keys) = cached.as_ref()
            && keys
                .expires
                .is_none_or(|expires| expires > self.wire.now() + RENEW_BEFORE)
        {
            return Ok(keys.clone());
        }
        let keys = self.search().await?;
        *cached = Some(keys.clone());
        Ok(keys)
    }

    /// Asks the sources again because the service refused these keys as expired. True when there are other keys now.
    pub async fn renew(&self, refused: &Credentials) -> Result<bool, AwsError> {
        {
            let mut cached = self.cached.lock().await;
            if cached.as_ref().is_some_and(|keys| keys.same_keys(refused)) {
                *cached = None;
            }
        }
        Ok(!self.get().await?.same_keys(refused))
    }

    async fn search(&self) -> Result<Credentials, AwsError> {
        let config = &self.wire.config;
        let mut tried: Vec<Attempt> = Vec::new();
        let mut first = |source: &str, answer: Result<Credentials, String>| match answer {
            Ok(keys) => Some(keys),
            Err(outcome) => {
                tried.push(Attempt {
                    source: source.to_owned(),
                    outcome,
                });
                None
            }
        };
        if let Some(keys) = &config.credentials {
            return Ok(Credentials::fixed(
                &keys.access_key_id,
                &keys.secret_access_key,
                keys.session_token.as_deref(),
            ));
        }
        if let Some(role) = &config.github_role {
            return github::assume(&self.wire, role).await;
        }
        if !config.profile_is_explicit
            && let Some(keys) = first("environment", sources::environment(config))
        {
            return Ok(keys);
        }
        let profile_source = format!("profile \"{}\"", config.profile);
        if let Some(keys) = first(
            &format!("{profile_source}, role"),
            profile::role(&self.wire, &config.profile).await?,
        ) {
            return Ok(keys);
        }
        if !config.profile_is_explicit {
            if let Some(keys) = first(
                "web identity",
                roles::web_identity_of_environment(&self.wire).await?,
            ) {
                return Ok(keys);
            }
            if let Some(keys) = first(
                "GitHub Actions identity",
                github::of_environment(&self.wire).await?,
            ) {
                return Ok(keys);
            }
        }
        if let Some(keys) = first(
            &profile_source,
            profile::own_keys(&self.wire, &config.profile).await?,
        ) {
            return Ok(keys);
        }
        if !config.profile_is_explicit {
            if let Some(keys) = first("container role", sources::container(&self.wire).await?) {
                return Ok(keys);
            }
            if let Some(keys) = first("instance role", sources::instance(&self.wire).await?) {
                return Ok(keys);
            }
        }
        Err(AwsError::Credentials {
            reason: "no source has any".to_owned(),
            tried,
            hint: None,
        })
    }
}

/// A source that is configured and cannot give keys.
fn broken(source: &str, reason: impl std::fmt::Display, hint: Option<String>) -> AwsError {
    AwsError::Credentials {
        reason: format!("{source}: {reason}"),
        tried: Vec::new(),
        hint,
    }
}
