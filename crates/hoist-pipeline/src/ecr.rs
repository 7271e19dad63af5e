//! The repository in Amazon ECR and the right to push to it.

use base64::Engine as _;
use hoist_aws::{Client, Service};
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};

/// A repository that can be pushed to.
#[derive(Clone, Debug)]
pub struct Repository {
    /// `host/name`, as image references spell it.
    pub uri: String,
    /// The registry's host, with its port if it has one.
    pub host: String,
    /// User name and password for the registry, valid for 12 hours on the real service.
    pub credentials: (String, String),
}

/// Finds the repository and signs in to its registry; `None` where it does not exist.
///
/// # Errors
/// `Credentials` or `Rejected` where the calls are refused.
pub async fn find(aws: &Client, name: &str) -> Result<Option<Repository>, Failure> {
    match describe(aws, name).await? {
        Some(uri) => signed_in(aws, uri).await.map(Some),
        None => Ok(None),
    }
}

/// Makes the repository, if `allowed`, and signs in to its registry.
///
/// # Errors
/// `Check` where it may not be made; `Credentials` or `Rejected` where the calls are refused.
pub async fn create(
    aws: &Client,
    name: &str,
    app: &str,
    allowed: bool,
    events: &Events,
) -> Result<Repository, Failure> {
    if !allowed {
        return Err(Failure::new(Kind::Check, format!("the repository {name} does not exist in ECR ({})", aws.region()))
            .hint("create it, or set `image: { create-repository: true }` in hoist.yaml; is the region right?"));
    }
    let uri = make(aws, name, app, events).await?;
    signed_in(aws, uri).await
}

async fn signed_in(aws: &Client, uri: String) -> Result<Repository, Failure> {
    let host = uri.split('/').next().unwrap_or_default().to_owned();
    let credentials = sign_in(aws).await?;
    Ok(Repository {
        uri,
        host,
        credentials,
    })
}

/// A fresh user name and password for the registry (`GetAuthorizationToken`).
///
/// # Errors
/// As the call's.
pub async fn sign_in(aws: &Client) -> Result<(String, String), Failure> {
    let answer = aws
        .json(Service::Ecr, "GetAuthorizationToken", json!({}))
        .await
        .map_err(|error| refused("failed to sign in to the registry", &error))?;
    let token = answer["authorizationData"][0]["authorizationToken"]
        .as_str()
        .unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            text.split_once(':')
                .map(|(user, password)| (user.to_owned(), password.to_owned()))
        });
    decoded.ok_or_else(|| {
        Failure::new(
            Kind::Unexpected,
            "ECR answered with an authorization token that is not base64 of user:password",
        )
    })
}

async fn describe(aws: &Client, name: &str) -> Result<Option<String>, Failure> {
    match aws
        .json(
            Service::Ecr,
            "DescribeRepositories",
            json!({ "repositoryNames": [name] }),
        )
        .await
    {
        Ok(answer) => Ok(uri_of(&answer["repositories"][0])),
        Err(error) if has_code(&error, "RepositoryNotFoundException") => Ok(None),
        Err(error) => Err(refused(
            format!("failed to look up the repository {name}"),
            &error,
        )),
    }
}

async fn make(aws: &Client, name: &str, app: &str, events: &Events) -> Result<String, Failure> {
    let request = json!({
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE",
        "tags": [{ "Key": "hoist:app", "Value": app }],
    });
    match aws.json(Service::Ecr, "CreateRepository", request).await {
        Ok(answer) => {
            events.note(Step::Push, format!("created the repository {name}"));
            uri_of(&answer["repository"]).ok_or_else(|| {
                Failure::new(
                    Kind::Unexpected,
                    format!("ECR created {name} without a repositoryUri"),
                )
            })
        }
        // Another run was faster.
        Err(error) if has_code(&error, "RepositoryAlreadyExistsException") => {
            describe(aws, name).await?.ok_or_else(|| {
                Failure::new(
                    Kind::Unexpected,
                    format!("the repository {name} exists and does not exist"),
                )
            })
        }
        Err(error) => Err(refused(
            format!("failed to create the repository {name}"),
            &error,
        )),
    }
}

fn uri_of(repository: &Value) -> Option<String> {
    repository["repositoryUri"].as_str().map(str::to_owned)
}
