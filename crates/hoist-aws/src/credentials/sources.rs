//! The sources that are read by reqsign, and the environment's keys.

use std::time::Duration;

use bytes::Bytes;
use reqsign::aws::{Credential, ECSCredentialProvider, IMDSv2CredentialProvider};
use reqsign::{
    CommandExecute, CommandOutput, Context, FileRead, HttpSend, ProvideCredential, StaticEnv,
};

use super::{Answer, Credentials, broken};
use crate::Config;
use crate::transport::Http;
use crate::wire::Wire;

/// The longest that the instance metadata service is asked for: off EC2, nothing answers there.
const INSTANCE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn environment(config: &Config) -> Result<Credentials, String> {
    match (
        config.env.var("AWS_ACCESS_KEY_ID"),
        config.env.var("AWS_SECRET_ACCESS_KEY"),
    ) {
        (Some(id), Some(secret)) => Ok(Credentials::fixed(
            id.trim(),
            secret.trim(),
            config.env.var("AWS_SESSION_TOKEN").map(str::trim),
        )
        .from("environment")),
        (Some(_), None) => Err("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not".into()),
        (None, Some(_)) => Err("AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not".into()),
        (None, None) => Err("AWS_ACCESS_KEY_ID is not set".into()),
    }
}

pub(super) async fn container(wire: &Wire) -> Answer {
    let env = &wire.config.env;
    let configured = [
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    if configured.iter().all(|name| env.var(name).is_none()) {
        return Ok(Err(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set".into(),
        ));
    }
    ask(
        "container role",
        ECSCredentialProvider::new(),
        &context(wire),
    )
    .await
}

pub(super) async fn instance(wire: &Wire) -> Answer {
    if wire.config.env.flag("AWS_EC2_METADATA_DISABLED") == Some(true) {
        return Ok(Err("AWS_EC2_METADATA_DISABLED is true".into()));
    }
    let provider = IMDSv2CredentialProvider::new();
    let context = context(wire);
    match tokio::time::timeout(INSTANCE_PATIENCE, provider.provide_credential(&context)).await {
        Ok(Ok(Some(keys))) => Ok(Ok(ours(keys, "instance role"))),
        Ok(Ok(None)) => Ok(Err("the metadata service names no role".into())),
        Ok(Err(error)) => Ok(Err(words(&error))),
        Err(_) => Ok(Err("no metadata service answered within a second".into())),
    }
}

/// Asks a provider that is configured: no keys are an error, not a reason to look further.
pub(super) async fn ask(
    source: &str,
    provider: impl ProvideCredential<Credential = Credential>,
    context: &Context,
) -> Answer {
    match provider.provide_credential(context).await {
        Ok(Some(keys)) => Ok(Ok(ours(keys, source))),
        Ok(None) => Ok(Err("it has none".into())),
        Err(error) => Err(broken(source, words(&error), None)),
    }
}

fn ours(keys: Credential, source: &str) -> Credentials {
    Credentials {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token.filter(|token| !token.is_empty()),
        expires: keys
            .expires_in
            .and_then(|at| jiff::Timestamp::from_second(at.as_second()).ok()),
        source: source.to_owned(),
    }
}

/// An error with its causes, in one line.
fn words(error: &reqsign::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// What reqsign's providers may use: our environment, our connections, our files, a shell.
pub(super) fn context(wire: &Wire) -> Context {
    Context::new()
        .with_env(StaticEnv {
            home_dir: wire.config.env.home().map(Into::into),
            envs: wire.config.env.all(),
        })
        .with_http_send(Sender(wire.http.clone()))
        .with_file_read(Files)
        .with_command_execute(Shell)
}

#[derive(Debug)]
struct Sender(Http);

impl HttpSend for Sender {
    async fn http_send(
        &self,
        request: http::Request<Bytes>,
    ) -> reqsign::Result<http::Response<Bytes>> {
        let reply = self
            .0
            .send(request, Duration::from_secs(10))
            .await
            .map_err(|lost| reqsign::Error::unexpected(format!("no answer ({:?})", lost.kind)))?;
        let mut response = http::Response::new(reply.body);
        *response.status_mut() = http::StatusCode::from_u16(reply.status)
            .map_err(|error| reqsign::Error::unexpected(error.to_string()))?;
        *response.headers_mut() = reply.headers;
        Ok(response)
    }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign::Result<Vec<u8>> {
        tokio::fs::read(path)
            .await
            .map_err(|error| reqsign::Error::unexpected(format!("failed to read {path}: {error}")))
    }
}

/// Runs a `credential_process` line as a shell does; reqsign has cut it at white space, quotes and all.
#[derive(Debug)]
struct Shell;

impl CommandExecute for Shell {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> reqsign::Result<CommandOutput> {
        let line = std::iter::once(program)
            .chain(args.iter().copied())
            .collect::<Vec<_>>()
            .join(" ");
        let (shell, flag) = if cfg!(windows) {
            ("cmd", "/C")
        } else {
            ("sh", "-c")
        };
        let output = tokio::process::Command::new(shell)
            .args([flag, &line])
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| {
                reqsign::Error::unexpected(format!("failed to run `{line}`: {error}"))
            })?;
        Ok(CommandOutput {
            status: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}
