//! Why a registry could not be used.

use serde::Deserialize;

use super::transport::Endpoint;
use crate::{Digest, StoreError};

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer came, however often it was tried.
    #[error("failed to {doing}: no answer from {host} after {attempts} attempts")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The registry.
        host: String,
        /// How often it was tried.
        attempts: u32,
        /// What happened the last time.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry answered with an error.
    #[error("failed to {doing}: {host} answered {status}{}{}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default(), with_colon(message))]
    Answer {
        /// What was being done.
        doing: String,
        /// The registry.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The code of the specification, such as `NAME_UNKNOWN`.
        code: Option<String>,
        /// What the registry says about it.
        message: String,
    },
    /// The registry wants other credentials, or none would do.
    #[error(
        "failed to {doing}: {host} denies access ({status}{})",
        with_colon(message)
    )]
    Denied {
        /// What was being done.
        doing: String,
        /// The registry.
        host: String,
        /// The HTTP status: 401 or 403.
        status: u16,
        /// What the registry says about it.
        message: String,
        /// Whether credentials were sent.
        with_credentials: bool,
    },
    /// Another image has the tag.
    #[error(
        "failed to push {repository}:{tag}: the tag exists with another digest (there: {theirs}, ours: {ours})"
    )]
    TagExists {
        /// The repository with its registry.
        repository: String,
        /// The tag.
        tag: String,
        /// The digest that has the tag.
        theirs: Digest,
        /// The digest that should get it.
        ours: Digest,
    },
    /// The registry does not keep to the specification.
    #[error("failed to {doing}: {what}")]
    Protocol {
        /// What was being done.
        doing: String,
        /// What is wrong.
        what: String,
    },
    /// No HTTP client could be set up.
    #[error("failed to set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// Docker's configuration or a credential helper could not be used.
    #[error("failed to get the credentials for {host}: {what}")]
    Credentials {
        /// The registry.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The image store failed, or content does not have its digest.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Whether the image, blob or repository is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }

    /// Whether it is a matter of credentials or permission.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Credentials { .. })
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { host, .. } => Some(format!(
                "see whether {host} can be reached from here; a mirror can take its place (mirrors in hoist.yaml)"
            )),
            Self::Denied {
                host,
                with_credentials: false,
                ..
            } => Some(format!("log in to {host}, for example with docker login")),
            Self::Denied {
                host,
                with_credentials: true,
                ..
            } => Some(format!(
                "see whether the credentials for {host} have expired and may do this"
            )),
            Self::TagExists { .. } => Some(
                "push under another tag, or commit the change first: the commit names the image"
                    .to_owned(),
            ),
            Self::Answer {
                code: Some(code), ..
            } if code == "NAME_UNKNOWN" => Some("create the repository first".to_owned()),
            Self::Answer { status: 507, .. } => Some(
                "the registry is out of space: remove images that nobody needs, or make room there"
                    .to_owned(),
            ),
            Self::Answer { status: 429, .. } => {
                Some("the registry limits requests: log in, or use a mirror".to_owned())
            }
            Self::Store(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }
}

fn with_colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

/// Lets a success through, and turns anything else into an error, reading what the registry says about it.
pub(super) async fn accept(
    response: reqwest::Response,
    doing: &str,
    endpoint: &Endpoint,
) -> Result<reqwest::Response, RegistryError> {
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refusal(response, doing, endpoint, false).await)
}

/// The error that an answer stands for.
pub(super) async fn refusal(
    response: reqwest::Response,
    doing: &str,
    endpoint: &Endpoint,
    with_credentials: bool,
) -> RegistryError {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let (status, host) = (response.status().as_u16(), endpoint.host.clone());
    let doing = doing.to_owned();
    let body = response.bytes().await.unwrap_or_default();
    let (code, message) = match serde_json::from_slice::<Errors>(&body)
        .ok()
        .and_then(|errors| errors.errors.into_iter().next())
    {
        Some(one) => (Some(one.code).filter(|code| !code.is_empty()), one.message),
        None => (
            None,
            String::from_utf8_lossy(&body)
                .trim()
                .chars()
                .take(300)
                .collect(),
        ),
    };
    match status {
        401 | 403 => RegistryError::Denied {
            doing,
            host,
            status,
            message,
            with_credentials,
        },
        _ => RegistryError::Answer {
            doing,
            host,
            status,
            code,
            message,
        },
    }
}
