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

/// The variables in the environment files of a container: lines of `NAME=VALUE`, in which quotes and spaces count, and `#` begins a line
/// that does not; of several of one name the first one holds (developer guide, "Pass environment variables to an Amazon ECS container").
///
/// # Errors
/// The stopped reason.
pub fn files(ctx: &Ctx, definition: &Definition<'_>) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for arn in definition.environment_files() {
        let text = ctx.objects.text(arn).map_err(|why| {
            format!(
                "ResourceInitializationError: failed to download env files: file download command: non empty error stream: {why}"
            )
        })?;
        for (name, value) in variables(&text) {
            if all.iter().all(|(known, _)| known != name) {
                all.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(all)
}

fn variables(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.trim().is_empty())
}

/// User and password for the registry of a container's image, if its definition names a secret with them.
///
/// # Errors
/// The stopped reason.
pub fn registry_credentials(
    ctx: &Ctx,
    definition: &Definition<'_>,
) -> Result<Option<(String, String)>, String> {
    let Some(from) = definition.registry_secret() else {
        return Ok(None);
    };
    let failed = |why: &str| {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secret from asm: service call has been retried 1 time(s): {why}"
        )
    };
    let text = secret(ctx, from).map_err(|why| failed(&why))?;
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let part = |name: &str| document[name].as_str().map(str::to_owned);
    match part("username").zip(part("password")) {
        Some(found) => Ok(Some(found)),
        None => Err(failed(
            "the secret does not have the keys username and password",
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_environment_file_are_taken_as_they_are() {
        let text =
            "# a comment\nA=1\nB=\"quoted\" # not a comment\n C = spaces\nnothing\n=x\nD=a=b\r\nE=";
        let found: Vec<_> = variables(text).collect();
        assert_eq!(
            found,
            [
                ("A", "1"),
                ("B", "\"quoted\" # not a comment"),
                (" C ", " spaces"),
                ("D", "a=b"),
                ("E", "")
            ]
        );
    }
}
