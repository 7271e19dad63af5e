//! What can go wrong on the way to AWS and back, and what to do next.

use std::error::Error as StdError;

use crate::Service;

/// Why the AWS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No region anywhere in the chain.
    #[error("no AWS region is configured (looked at {})", tried.join(", "))]
    NoRegion {
        /// What was looked at, in order.
        tried: Vec<String>,
    },
    /// The chosen profile is in neither file.
    #[error("profile `{profile}` is in neither {files}")]
    UnknownProfile {
        /// The profile that was asked for.
        profile: String,
        /// The files that were read.
        files: String,
        /// The profiles that exist.
        known: Vec<String>,
    },
    /// A configuration file exists but cannot be read.
    #[error("failed to read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A setting has a value that means nothing.
    #[error("{setting} is `{value}`, but must be {expected}")]
    BadValue {
        /// Where the value was found, such as `AWS_MAX_ATTEMPTS`.
        setting: String,
        /// What was found.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The HTTP client cannot be built (no trust anchors on this machine, a malformed proxy address).
    #[error("failed to set up the HTTPS client")]
    Http(#[source] Box<dyn StdError + Send + Sync>),
}

impl ConfigError {
    /// The next step for the user, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoRegion { .. } => Some(
                "set AWS_REGION, `region` in the profile, or `region:` in hoist.yaml".to_owned(),
            ),
            ConfigError::UnknownProfile { known, .. } if known.is_empty() => Some(
                "run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned(),
            ),
            ConfigError::UnknownProfile { known, .. } => {
                Some(format!("the profiles that exist are: {}", known.join(", ")))
            }
            ConfigError::Unreadable { .. }
            | ConfigError::BadValue { .. }
            | ConfigError::Http(_) => None,
        }
    }
}

/// One credential source that was asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source, such as `environment` or `profile "prod"`.
    pub source: String,
    /// Why it gave nothing.
    pub outcome: String,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.source, self.outcome)
    }
}

/// A failed call to AWS.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// The service answered with an error.
    #[error("{service}:{operation} was refused: {code}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Service {
        /// The service that was asked.
        service: Service,
        /// The operation, such as `UpdateService`.
        operation: String,
        /// The error code without its namespace, such as `ClientException`.
        code: String,
        /// The service's own words.
        message: String,
        /// The HTTP status.
        status: u16,
        /// The request id, for AWS support.
        request_id: Option<String>,
    },
    /// No credentials could be had.
    #[error("no AWS credentials: {reason}")]
    Credentials {
        /// Why, in one phrase.
        reason: String,
        /// Every source that was asked, in order.
        tried: Vec<Attempt>,
        /// What to do, where the source knows.
        hint: Option<String>,
    },
    /// The request did not get through, or its answer did not come back.
    #[error("failed to reach {endpoint} for {service}:{operation}")]
    Transport {
        /// The service that was asked.
        service: Service,
        /// The operation.
        operation: String,
        /// The endpoint's address.
        endpoint: String,
        /// What kind of failure it was.
        kind: TransportKind,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The answer is not what the protocol promises.
    #[error("failed to read the answer of {service}:{operation}: {reason}")]
    Decode {
        /// The service that was asked.
        service: Service,
        /// The operation.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration does not allow the call at all.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Where a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// The host name has no address.
    Resolve,
    /// No connection could be made: the request was certainly not carried out.
    Connect,
    /// The time for one attempt was up.
    Timeout,
    /// The connection broke after the request was sent: it may have been carried out.
    Interrupted,
}

/// Codes with which services ask the caller to slow down, after the AWS SDK reference ("Retry behavior").
const THROTTLING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "RequestThrottled",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];
const EXPIRED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
];
const INVALID_KEYS: &[&str] = &[
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
];
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "NotAuthorized",
    "UnauthorizedException",
];

impl AwsError {
    /// The service's error code, where a service answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            AwsError::Service { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The service's own words, where a service answered.
    pub fn message(&self) -> Option<&str> {
        match self {
            AwsError::Service { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The request id, where a service answered with one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            AwsError::Service { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }

    /// The same once more, for another who waited for the same call. What it was caused by is kept as text.
    #[must_use]
    pub fn again(&self) -> AwsError {
        match self {
            AwsError::Service {
                service,
                operation,
                code,
                message,
                status,
                request_id,
            } => AwsError::Service {
                service: *service,
                operation: operation.clone(),
                code: code.clone(),
                message: message.clone(),
                status: *status,
                request_id: request_id.clone(),
            },
            AwsError::Credentials {
                reason,
                tried,
                hint,
            } => AwsError::Credentials {
                reason: reason.clone(),
                tried: tried.clone(),
                hint: hint.clone(),
            },
            AwsError::Transport {
                service,
                operation,
                endpoint,
                kind,
                source,
            } => AwsError::Transport {
                service: *service,
                operation: operation.clone(),
                endpoint: endpoint.clone(),
                kind: *kind,
                source: source.to_string().into(),
            },
            AwsError::Decode {
                service,
                operation,
                reason,
            } => AwsError::Decode {
                service: *service,
                operation: operation.clone(),
                reason: reason.clone(),
            },
            AwsError::Config(error) => AwsError::Credentials {
                reason: error.to_string(),
                tried: Vec::new(),
                hint: error.hint(),
            },
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.is_throttling() || crate::retry::is_transient(self)
    }

    /// Whether the service asked to slow down.
    pub fn is_throttling(&self) -> bool {
        match self {
            AwsError::Service {
                code,
                status,
                message,
                ..
            } => {
                THROTTLING.contains(&code.as_str())
                    || *status == 429
                    || (code == "ClientException" && message.contains("Rate exceeded"))
            }
            _ => false,
        }
    }

    /// Whether the caller lacks the permission.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, AwsError::Service { code, .. } if DENIED.contains(&code.as_str()))
    }

    /// Whether the credentials were good once and are no longer.
    pub fn is_expired_credentials(&self) -> bool {
        matches!(self, AwsError::Service { code, .. } if EXPIRED.contains(&code.as_str()))
    }

    /// Whether the key pair is unknown to AWS, or its secret half is wrong.
    pub fn is_invalid_credentials(&self) -> bool {
        matches!(self, AwsError::Service { code, .. } if INVALID_KEYS.contains(&code.as_str()))
    }

    /// Whether what was asked for does not exist.
    ///
    /// Services name it in many ways: `RepositoryNotFoundException`, `TargetGroupNotFound`, `InvalidSubnetID.NotFound`,
    /// `NoSuchEntity`, `ResourceNotFoundException`, `ServiceNotActiveException` is not among them.
    pub fn is_not_found(&self) -> bool {
        match self {
            AwsError::Service { code, .. } => {
                code.contains("NotFound")
                    || code.starts_with("NoSuch")
                    || code == "ParameterNotFound"
            }
            _ => false,
        }
    }

    /// Whether the endpoint does not know the operation, as emulators answer: with a code that says so, or with a status and no code of
    /// AWS at all (moto: 500 and a page).
    pub fn is_unsupported_operation(&self) -> bool {
        match self {
            AwsError::Service { code, status, .. } => {
                matches!(
                    code.as_str(),
                    "UnknownOperationException"
                        | "InvalidAction"
                        | "NotImplemented"
                        | "UnknownOperation"
                        | "UnsupportedOperation"
                ) || *status == 501
                    || (self.is_without_code() && matches!(*status, 404 | 405 | 500))
            }
            _ => false,
        }
    }

    /// Whether the answer is an HTTP error without a code of AWS: a proxy, an emulator, or something else altogether.
    pub(crate) fn is_without_code(&self) -> bool {
        matches!(self, AwsError::Service { code, .. } if code.starts_with("HTTP "))
    }

    /// Whether the call may have been carried out although it failed: the connection broke after the request was sent, or a 5xx.
    pub fn may_have_happened(&self) -> bool {
        crate::retry::may_have_happened(self)
    }

    /// Whether this is about who is calling: no, expired, wrong or insufficient credentials (exit code 4).
    pub fn is_credentials(&self) -> bool {
        matches!(self, AwsError::Credentials { .. })
            || self.is_expired_credentials()
            || self.is_invalid_credentials()
            || self.is_access_denied()
    }

    /// The next step for the user, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            AwsError::Config(error) => error.hint(),
            AwsError::Credentials { tried, hint, .. } => {
                let mut lines = Vec::new();
                if let Some(hint) = hint {
                    lines.push(hint.clone());
                } else {
                    lines.push(
                        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile with AWS_PROFILE, run `aws sso login`, \
                         or let the GitHub workflow assume a role (permissions: id-token: write)"
                            .to_owned(),
                    );
                }
                if !tried.is_empty() {
                    lines.push("what was tried:".to_owned());
                    lines.extend(tried.iter().map(|attempt| format!("  {attempt}")));
                }
                Some(lines.join("\n"))
            }
            AwsError::Transport { kind: TransportKind::Resolve, endpoint, .. } => Some(format!(
                "{endpoint} has no address: check the region's name, AWS_ENDPOINT_URL, and that this machine can resolve names"
            )),
            AwsError::Transport { kind: TransportKind::Connect, endpoint, .. } => Some(format!(
                "nothing answers at {endpoint}: check the network, the proxy settings (HTTPS_PROXY, NO_PROXY) and AWS_ENDPOINT_URL"
            )),
            AwsError::Transport { .. } => Some(
                "the request may have been carried out; running the same command again is safe".to_owned(),
            ),
            AwsError::Service { service, operation, message, .. } => {
                if self.is_expired_credentials() {
                    Some(
                        "the credentials have expired: sign in again (`aws sso login`, or new values of AWS_ACCESS_KEY_ID, \
                         AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN)"
                            .to_owned(),
                    )
                } else if self.is_invalid_credentials() {
                    Some(
                        "AWS does not accept this key pair: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for stray characters, \
                         AWS_SESSION_TOKEN for a temporary pair, that the key is active and of this partition, and that the region is enabled \
                         for the account"
                            .to_owned(),
                    )
                } else if self.is_access_denied() {
                    let action = denied_action(message)
                        .unwrap_or_else(|| format!("{}:{operation}", service.iam_prefix()));
                    Some(format!("allow `{action}` in the policy of the role or user that deploys"))
                } else {
                    None
                }
            }
            AwsError::Decode { .. } => Some(
                "the endpoint does not speak the AWS protocol: check AWS_ENDPOINT_URL, and a proxy or captive portal in between".to_owned(),
            ),
        }
    }
}

/// Finds the action in "... is not authorized to perform: iam:PassRole on resource: ...".
fn denied_action(message: &str) -> Option<String> {
    let after = message.split("not authorized to perform: ").nth(1)?;
    let action: String = after
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '*'))
        .collect();
    action.contains(':').then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: &str, status: u16) -> AwsError {
        AwsError::Service {
            service: Service::Ecs,
            operation: "UpdateService".into(),
            code: code.into(),
            message: message.into(),
            status,
            request_id: None,
        }
    }

    #[test]
    fn a_denied_call_names_the_action_of_the_message() {
        let error = refused(
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/ci/x is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/task because no \
             identity-based policy allows the iam:PassRole action",
            400,
        );
        assert!(error.is_access_denied() && error.is_credentials());
        assert!(error.hint().unwrap().contains("`iam:PassRole`"));
        let error = refused("AccessDeniedException", "no", 400);
        assert!(error.hint().unwrap().contains("`ecs:UpdateService`"));
    }

    #[test]
    fn throttling_is_recognised_by_code_status_and_words() {
        assert!(refused("ThrottlingException", "Rate exceeded", 400).is_throttling());
        assert!(refused("SlowDown", "", 503).is_throttling());
        assert!(refused("ClientException", "Rate exceeded", 400).is_throttling());
        assert!(refused("Whatever", "", 429).is_throttling());
        assert!(
            !refused(
                "ClientException",
                "No Fargate configuration exists for given values.",
                400
            )
            .is_throttling()
        );
    }

    #[test]
    fn the_sources_that_were_tried_are_listed() {
        let error = AwsError::Credentials {
            reason: "no source has any".into(),
            tried: vec![Attempt {
                source: "environment".into(),
                outcome: "AWS_ACCESS_KEY_ID is not set".into(),
            }],
            hint: None,
        };
        assert!(
            error
                .hint()
                .unwrap()
                .contains("environment: AWS_ACCESS_KEY_ID is not set")
        );
    }
}
