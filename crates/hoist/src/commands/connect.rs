//! Which AWS a command speaks to.

use std::time::Duration;

use hoist_aws::{Client, Config, ConfigError, Environment, Overrides, StaticCredentials};
use hoist_local::control::{self, StartOptions};
use hoist_local::{Limiting, Settings};
use hoist_pipeline::{Failure, Kind};

use super::local;
use crate::arguments::Aws;

/// A client for the AWS that `aws` names; the embedded one is started if it does not run.
pub fn connect(aws: &Aws, project_region: Option<&str>) -> Result<Client, Failure> {
    let region = aws.region.as_deref().or(project_region).map(str::to_owned);
    let config = if aws.local {
        embedded(region)?
    } else {
        real(aws, region)?
    };
    Client::new(config).map_err(|error| bad_config(&error))
}

/// Time between two looks at what goes on: the embedded AWS has no limits to keep.
pub fn pause(aws: &Aws) -> Duration {
    Duration::from_millis(if aws.local { 200 } else { 2_000 })
}

fn real(aws: &Aws, region: Option<String>) -> Result<Config, Failure> {
    let overrides = Overrides {
        region,
        profile: aws.profile.clone(),
        github_role: aws.role.clone(),
        ..Overrides::default()
    };
    checked(Config::load(overrides))
}

/// The embedded AWS has its own keys and address: nothing of the user's AWS configuration counts but the region.
fn embedded(region: Option<String>) -> Result<Config, Failure> {
    let home = local::home()?;
    let status = control::start(&home, &StartOptions::default())
        .map_err(|error| local::failed("failed to start the embedded AWS", &error))?;
    let variables = control::env(&home)
        .map_err(|error| local::failed("failed to reach the embedded AWS", &error))?;
    let value = |name: &str| {
        variables
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let overrides = Overrides {
        region: region.or_else(|| value("AWS_REGION")),
        endpoint_url: Some(status.endpoint()),
        credentials: Some(StaticCredentials {
            access_key_id: value("AWS_ACCESS_KEY_ID").unwrap_or_default(),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
            session_token: None,
        }),
        // Whoever asks for the limits of AWS wants to see how a deployment keeps to them.
        keep_to_limits: Settings::load(&home)
            .ok()
            .map(|settings| settings.limits == Limiting::Aws),
        ..Overrides::default()
    };
    checked(Config::load_from(Environment::default(), overrides))
}

/// The configuration, with the authorities that all of hoist's clients share.
fn checked(loaded: Result<Config, ConfigError>) -> Result<Config, Failure> {
    let mut config = loaded.map_err(|error| bad_config(&error))?;
    config.tls = Some(hoist_oci::tls());
    Ok(config)
}

fn bad_config(error: &ConfigError) -> Failure {
    let failure = Failure::because(
        Kind::Configuration,
        "failed to read the AWS configuration",
        error,
    );
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
