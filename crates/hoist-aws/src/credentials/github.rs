//! The identity token of a GitHub Actions job, exchanged for a role's keys: deployments without stored secrets.
//! See <https://docs.github.com/en/actions/reference/security/oidc>.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::roles::{self, Role};
use super::{Answer, Credentials, broken};
use crate::AwsError;
use crate::wire::Wire;

const SOURCE: &str = "GitHub Actions identity";

/// AWS_ROLE_ARN in a job that may ask for identity tokens.
pub(super) async fn of_environment(wire: &Wire) -> Answer {
    let env = &wire.config.env;
    match (env.var("AWS_ROLE_ARN"), env.var("ACTIONS_ID_TOKEN_REQUEST_URL")) {
        (Some(role), Some(_)) => assume(wire, role).await.map(Ok),
        (Some(_), None) if env.flag("GITHUB_ACTIONS") == Some(true) => {
            Ok(Err("AWS_ROLE_ARN is set, but the job may not ask for identity tokens (permissions: id-token: write)".into()))
        }
        (None, Some(_)) => Ok(Err("AWS_ROLE_ARN is not set".into())),
        (_, None) => Ok(Err("this is no GitHub Actions job with `permissions: id-token: write`".into())),
    }
}

/// Asks for a token and assumes the role with it.
pub(super) async fn assume(wire: &Wire, role: &str) -> Result<Credentials, AwsError> {
    let env = &wire.config.env;
    let token = token(wire).await?;
    let session_name = env.var("AWS_ROLE_SESSION_NAME").map_or_else(
        || match env.var("GITHUB_RUN_ID") {
            Some(run) => format!("hoist-{run}"),
            None => "hoist".to_owned(),
        },
        str::to_owned,
    );
    let role = Role {
        arn: role.to_owned(),
        session_name: Some(session_name),
        ..Role::default()
    };
    roles::assume_with_token(wire, &role, &token, SOURCE).await
}

async fn token(wire: &Wire) -> Result<String, AwsError> {
    let env = &wire.config.env;
    let missing = || {
        broken(
            SOURCE,
            "the job may not ask for identity tokens",
            Some("give the workflow or the job `permissions: { id-token: write, contents: read }`; forks' pull requests never get it".into()),
        )
    };
    let url = env
        .var("ACTIONS_ID_TOKEN_REQUEST_URL")
        .ok_or_else(missing)?;
    let bearer = env
        .var("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
        .ok_or_else(missing)?;
    let audience = if wire.config.partition().id == "aws-cn" {
        "sts.amazonaws.com.cn"
    } else {
        "sts.amazonaws.com"
    };
    let separator = if url.contains('?') { '&' } else { '?' };
    let request = http::Request::get(format!("{url}{separator}audience={audience}"))
        .header("authorization", format!("bearer {bearer}"))
        .header("accept", "application/json")
        .body(Bytes::new())
        .map_err(|error| {
            broken(
                SOURCE,
                format!("ACTIONS_ID_TOKEN_REQUEST_URL cannot be used: {error}"),
                None,
            )
        })?;
    // GitHub's token service is known to fail now and then.
    let mut last = String::new();
    for attempt in 0..4u32 {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
        }
        match wire
            .http
            .send(request.clone(), Duration::from_secs(10))
            .await
        {
            Ok(reply) if reply.status == 200 => {
                let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                return answer["value"].as_str().map(str::to_owned).ok_or_else(|| {
                    broken(SOURCE, "the token service's answer holds no token", None)
                });
            }
            Ok(reply) if reply.status < 500 => {
                return Err(broken(
                    SOURCE,
                    format!("the token service answered {}", reply.status),
                    None,
                ));
            }
            Ok(reply) => last = format!("the token service answered {}", reply.status),
            Err(lost) => last = format!("the token service did not answer: {}", lost.source),
        }
    }
    Err(broken(SOURCE, last, None))
}
