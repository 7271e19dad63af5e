use serde_json::{Map, Value};

use super::services::{Protocol, Service};
use super::shapes;
use crate::sigv4::SignatureError;
use crate::state::StateError;

/// An error as the service answers it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The code, such as `ClusterNotFoundException`.
    pub code: String,
    /// The message.
    pub message: String,
    /// The HTTP status, mostly 400.
    pub status: u16,
    /// Further members of the error's shape (JSON protocols only).
    pub members: Box<Map<String, Value>>,
}

impl ApiError {
    /// An error with status 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError {
            code: code.into(),
            message: message.into(),
            status: 400,
            members: Box::default(),
        }
    }

    /// The same with another HTTP status.
    pub fn with_status(mut self, status: u16) -> ApiError {
        self.status = status;
        self
    }

    /// The same with a further member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The request's body cannot be read.
    pub fn serialization(message: impl Into<String>) -> ApiError {
        ApiError::new("SerializationException", message)
    }

    /// Something broke on our side.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new("InternalFailure", message).with_status(500)
    }

    /// This service has no such operation, or has it only on AWS itself.
    pub fn unknown_operation(service: Service, action: &str) -> ApiError {
        let name = service.signing_name();
        if shapes::model(name).is_some_and(|model| model.has(action)) {
            let text =
                format!("{action} is an operation of {name} that the embedded AWS does not have");
            return ApiError::new("NotImplemented", text).with_status(501);
        }
        match service.protocol() {
            Protocol::Json => ApiError::new("UnknownOperationException", ""),
            Protocol::Query => ApiError::new(
                "InvalidAction",
                format!(
                    "Could not find operation {action} for version {}",
                    service.version()
                ),
            ),
            Protocol::Ec2 => ApiError::new(
                "InvalidAction",
                format!("The action {action} is not valid for this web service."),
            ),
        }
    }

    /// The account has called too often.
    pub fn throttled(service: Service) -> ApiError {
        match service.protocol() {
            Protocol::Json => ApiError::new("ThrottlingException", "Rate exceeded"),
            Protocol::Query => ApiError::new("Throttling", "Rate exceeded"),
            Protocol::Ec2 => {
                ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503)
            }
        }
    }

    /// The service has a bad moment.
    pub fn unavailable(service: Service) -> ApiError {
        let message = "Service Unavailable. Please try again later.";
        match service {
            Service::Ecs | Service::Ecr => {
                ApiError::new("ServerException", message).with_status(500)
            }
            Service::Logs => ApiError::new("ServiceUnavailableException", message).with_status(503),
            Service::Ec2 => ApiError::new("Unavailable", message).with_status(503),
            _ => ApiError::new("ServiceUnavailable", message).with_status(503),
        }
    }

    /// A refused signature in the words of the protocol.
    pub(super) fn signature(error: &SignatureError, protocol: Protocol) -> ApiError {
        let json = protocol == Protocol::Json;
        let named = |in_json: &str, in_query: &str| {
            ApiError::new(if json { in_json } else { in_query }, error.to_string()).with_status(403)
        };
        match error {
            SignatureError::Missing if json => {
                named("MissingAuthenticationTokenException", "").with_status(400)
            }
            SignatureError::Missing => ApiError::new(
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            )
            .with_status(403),
            SignatureError::Incomplete(_) => {
                named("IncompleteSignatureException", "IncompleteSignature").with_status(400)
            }
            SignatureError::UnknownKey if protocol == Protocol::Ec2 => ApiError::new(
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            )
            .with_status(401),
            SignatureError::UnknownKey => {
                named("UnrecognizedClientException", "InvalidClientTokenId").with_status(if json {
                    400
                } else {
                    403
                })
            }
            SignatureError::Expired => named("ExpiredTokenException", "ExpiredToken")
                .with_status(if json { 400 } else { 403 }),
            SignatureError::Mismatch(_) => {
                named("InvalidSignatureException", "SignatureDoesNotMatch").with_status(if json {
                    400
                } else {
                    403
                })
            }
            SignatureError::State(error) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> ApiError {
        tracing::error!(error = &error as &dyn std::error::Error, "the state failed");
        ApiError::internal(error.to_string())
    }
}

impl From<crate::keys::IssueError> for ApiError {
    fn from(error: crate::keys::IssueError) -> ApiError {
        ApiError::internal(error.to_string())
    }
}
