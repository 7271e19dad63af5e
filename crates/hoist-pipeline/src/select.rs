//! Which services of the project a command is about, and what is live of them.

use hoist_aws::Client;
use hoist_project::{Project, Service};
use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::service;

/// The services in `only` (keys or names), or all of them.
///
/// # Errors
/// `Configuration` for a service that hoist.yaml does not have.
pub fn some<'a>(project: &'a Project, only: &[String]) -> Result<Vec<&'a Service>, Failure> {
    for name in only {
        if project.service(name).is_none() {
            return Err(unknown(project, name));
        }
    }
    let wanted = |service: &&Service| {
        only.is_empty()
            || only
                .iter()
                .any(|name| *name == service.key || *name == service.name)
    };
    Ok(project.services.iter().filter(wanted).collect())
}

/// The service `name`, which may be left out where there is one.
///
/// # Errors
/// `Configuration` for a service that hoist.yaml does not have, or where one of several must be named.
pub fn one<'a>(project: &'a Project, name: Option<&str>) -> Result<&'a Service, Failure> {
    match (name, project.services.as_slice()) {
        (Some(name), _) => project.service(name).ok_or_else(|| unknown(project, name)),
        (None, [one]) => Ok(one),
        (None, _) => Err(
            Failure::new(Kind::Configuration, "the project has several services").hint(format!(
                "name one of them: --service {}",
                known(project, "|")
            )),
        ),
    }
}

/// What DescribeServices says of it.
///
/// # Errors
/// `Check` where it does not exist; AWS refused the call.
pub async fn live(aws: &Client, service: &Service) -> Result<Value, Failure> {
    let found = service::describe(aws, &service.cluster, &service.name).await?;
    found.ok_or_else(|| {
        Failure::new(
            Kind::Check,
            format!(
                "the service {} does not exist in the cluster {}",
                service.name, service.cluster
            ),
        )
        .hint("deploy it first")
    })
}

fn unknown(project: &Project, name: &str) -> Failure {
    Failure::new(
        Kind::Configuration,
        format!("{} has no service `{name}`", project.file.display()),
    )
    .hint(format!("its services are: {}", known(project, ", ")))
}

fn known(project: &Project, between: &str) -> String {
    let keys: Vec<&str> = project
        .services
        .iter()
        .map(|service| service.key.as_str())
        .collect();
    keys.join(between)
}
