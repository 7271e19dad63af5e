//! What a container is given besides what its definition says outright: parameters and secrets, as environment variables.

use serde_json::Value;

use super::compose::Definition;
use crate::ctx::Ctx;

/// Resolves the secrets of a container to environment variables. The error is the stopped reason.
///
/// # Errors
/// In the words of the real service: `ResourceInitializationError: …`.
pub fn resolve(
    ctx: &Ctx,
    region: &str,
    definition: &Definition<'_>,
) -> Result<Vec<(String, String)>, String> {
    // Those of the log driver have to be there too, although `awslogs` has no use for them.
    for (_, from) in definition.log_secrets() {
        value(ctx, region, from)?;
    }
    definition
        .secrets()
        .into_iter()
        .map(|(name, from)| Ok((name.to_owned(), value(ctx, region, from)?)))
        .collect()
}

/// The value that `valueFrom` stands for: a parameter's name or ARN, or a secret's ARN with
/// `:JSON-KEY:VERSION-STAGE:VERSION-ID` behind it (developer guide, "Pass Secrets Manager secrets through environment variables").
fn value(ctx: &Ctx, region: &str, from: &str) -> Result<String, String> {
    let failed = |store: &str, why: &str| {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve {store}: service call has been retried 1 time(s): {why}"
        )
    };
    if from.contains(":secretsmanager:") {
        let failed = |why: &str| failed("secret from asm", why);
        return secret(ctx, from).map_err(|why| failed(&why));
    }
    let failed = |why: &str| failed("secrets from ssm", why);
    let region = region_of(from).unwrap_or(region);
    match ctx.parameters.value(region, from) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(failed(&format!("invalid parameters: {from}"))),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn region_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.split(':').nth(2)
}

fn secret(ctx: &Ctx, from: &str) -> Result<String, String> {
    let parts: Vec<&str> = from.splitn(8, ':').collect();
    let arn = parts.get(..7).map_or(from.to_owned(), |arn| arn.join(":"));
    let mut rest = parts.get(7).copied().unwrap_or_default().split(':');
    let mut next = || rest.next().filter(|it| !it.is_empty());
    let (key, stage, version) = (next(), next(), next());
    let region = region_of(from).unwrap_or_default();
    let text = ctx
        .secrets
        .value(region, &arn, version, stage)
        .map_err(|error| format!("failed to fetch secret {arn} from secrets manager: {error}"))?;
    let Some(key) = key else {
        return Ok(text);
    };
    let document: Value = serde_json::from_str(&text).map_err(|_| {
        // As the agent's JSON reader puts it.
        let first = text.trim_start().chars().next().unwrap_or(' ');
        format!("invalid character '{first}' looking for beginning of value")
    })?;
    match document.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(format!(
            "retrieved secret from Secrets Manager did not contain json key {key}"
        )),
    }
}
