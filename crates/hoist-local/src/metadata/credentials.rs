//! The keys of a task's role, as `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` leads to them.

use std::net::IpAddr;

use http::StatusCode;
use serde_json::{Value, json};

use crate::clock;
use crate::ctx::ACCOUNT;
use crate::driver::Crew;
use crate::keys::Key;

/// How long keys are good, as on Fargate, and how long before their end there are new ones, in milliseconds.
const LIFE: i64 = 6 * 3_600_000;
const RENEW: i64 = 3_600_000;

/// The role of a task, the path that leads to its keys, and the keys once they were asked for.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: String,
    pub role: String,
    pub key: Option<Key>,
}

/// The answer to `/v2/credentials/ID`.
pub fn answer(crew: &Crew, peer: IpAddr, id: &str) -> Result<Value, (StatusCode, String)> {
    let refused = |text: String| (StatusCode::BAD_REQUEST, text);
    let task = crew
        .task_at(peer)
        .ok_or_else(|| refused("CredentialsV2Request: no task has this address".to_owned()))?;
    let run = crew.run(&task.arn);
    let held = run
        .as_ref()
        .and_then(|run| run.credentials())
        .filter(|held| held.id == id);
    let (Some(run), Some(mut held)) = (run, held) else {
        return Err(refused(format!("CredentialsV2Request: ID not found: {id}")));
    };
    let ends = |key: &Key| key.expires.unwrap_or(i64::MAX);
    let key = match held
        .key
        .take()
        .filter(|key| ends(key) > clock::now() + RENEW)
    {
        Some(key) => key,
        None => {
            let known = crew.ctx.iam.role_by_arn(&held.role);
            let role = known
                .map_err(|error| refused(error.to_string()))?
                .ok_or_else(|| refused(format!("the role {} does not exist", held.role)))?;
            let arn = format!(
                "arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}",
                role.name, task.id
            );
            let whose = format!("{}:{}", role.id, task.id);
            let issued = crew
                .ctx
                .keys
                .issue_session(&arn, &whose, clock::now() + LIFE);
            issued.map_err(|error| refused(error.to_string()))?
        }
    };
    let shown = json!({
        "RoleArn": held.role,
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.session_token,
        "Expiration": clock::iso8601(ends(&key) / 1000 * 1000).replace(".000Z", "Z"),
    });
    held.key = Some(key);
    run.keep_credentials(held);
    Ok(shown)
}
