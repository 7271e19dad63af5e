//! How the services are: counts, revisions, targets, and where they answer.

use std::collections::BTreeMap;
use std::fmt;

use hoist_aws::read::{self, ServiceView};
use hoist_aws::{Client, Service as Aws};
use hoist_project::Service;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::parallel::{self, Boxed};
use crate::refusal::refused;
use crate::table::{span, tail};
use crate::{service, url};

/// Most services that are looked at at the same time.
const AT_ONCE: usize = 8;

/// The services of the project, as they are now.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Status {
    /// In the order of hoist.yaml.
    pub services: Vec<ServiceStatus>,
    #[serde(skip)]
    now: Timestamp,
}

/// One service, as it is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Key in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// Cluster, name or ARN.
    pub cluster: String,
    /// `ABSENT`, or what ECS says.
    pub status: String,
    /// Tasks that are wanted.
    pub desired: i64,
    /// Tasks that run.
    pub running: i64,
    /// Tasks on their way.
    pub pending: i64,
    /// Task definition `family:revision`.
    pub revision: Option<String>,
    /// Images of that revision, container by container.
    pub images: BTreeMap<String, String>,
    /// Commit that the revision was registered for.
    pub commit: Option<String>,
    /// Whether the image has changes that were not committed.
    pub dirty: bool,
    /// Deployments that ECS lists, the newest first.
    pub deployments: Vec<DeploymentStatus>,
    /// How many targets are in which state.
    pub targets: BTreeMap<String, usize>,
    /// Where it answers.
    pub url: Option<String>,
}

/// One deployment of a service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// Task definition `family:revision`.
    pub revision: String,
    /// `PRIMARY`, `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    pub state: String,
    /// Why, in the words of ECS.
    pub reason: String,
    /// Tasks wanted, running, failed.
    pub desired: i64,
    /// Tasks that run.
    pub running: i64,
    /// Tasks that failed.
    pub failed: i64,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Looks at `services`.
///
/// # Errors
/// AWS refused a call.
pub async fn status(aws: &Client, services: &[&Service]) -> Result<Status, Failure> {
    let looks = services
        .iter()
        .map(|service| -> Boxed<'_, _> { Box::pin(one(aws, service)) })
        .collect();
    let services: Result<Vec<_>, _> = parallel::all(AT_ONCE, looks).await.into_iter().collect();
    Ok(Status {
        services: services?,
        now: Timestamp::now(),
    })
}

async fn one(aws: &Client, service: &Service) -> Result<ServiceStatus, Failure> {
    let mut status = ServiceStatus {
        service: service.key.clone(),
        name: service.name.clone(),
        cluster: service.cluster.clone(),
        status: "ABSENT".to_owned(),
        desired: 0,
        running: 0,
        pending: 0,
        revision: None,
        images: BTreeMap::new(),
        commit: None,
        dirty: false,
        deployments: Vec::new(),
        targets: BTreeMap::new(),
        url: None,
    };
    let Some(live) = service::describe_if_cluster(aws, &service.cluster, &service.name).await?
    else {
        return Ok(status);
    };
    let view = ServiceView::of(&live);
    status.status = view.status().to_owned();
    (status.desired, status.running, status.pending) =
        (view.desired(), view.running(), view.pending());
    status.deployments = view
        .deployments()
        .map(|deployment| DeploymentStatus {
            revision: tail(deployment.task_definition()).to_owned(),
            status: deployment.status().to_owned(),
            state: deployment.rollout_state().to_owned(),
            reason: deployment.rollout_reason().to_owned(),
            desired: deployment.desired(),
            running: deployment.running(),
            failed: deployment.failed(),
            created: deployment.created(),
        })
        .collect();
    status.revision = Some(tail(view.task_definition()).to_owned());
    let described = describe_definition(aws, view.task_definition()).await?;
    status.images = images(&described["taskDefinition"]);
    status.commit = tag(&described, "hoist:commit");
    status.dirty = is_dirty(&described);
    for link in view
        .balancers()
        .filter(|link| !link.target_group().is_empty())
    {
        let request = json!({ "TargetGroupArn": link.target_group() });
        let answer = aws
            .query(Aws::Elbv2, "DescribeTargetHealth", &request)
            .await
            .map_err(|error| refused("failed to describe the targets", &error))?;
        for target in read::targets(&answer) {
            *status.targets.entry(target.state().to_owned()).or_default() += 1;
        }
    }
    status.url = url::find(aws, &live).await?.map(|found| found.url);
    Ok(status)
}

/// DescribeTaskDefinition with its tags.
///
/// # Errors
/// AWS refused the call.
pub async fn describe_definition(aws: &Client, name: &str) -> Result<Value, Failure> {
    let request = json!({ "taskDefinition": name, "include": ["TAGS"] });
    aws.json(Aws::Ecs, "DescribeTaskDefinition", request)
        .await
        .map_err(|error| refused(format!("failed to describe {name}"), &error))
}

/// Whether the image that a revision was registered for has changes that were not committed.
pub fn is_dirty(described: &Value) -> bool {
    tag(described, "hoist:image-tag").is_some_and(|tag| tag.contains("-dirty-"))
}

/// A tag of a DescribeTaskDefinition answer.
pub fn tag(described: &Value, key: &str) -> Option<String> {
    read::list(described, "tags")
        .find(|tag| tag["key"] == key)
        .and_then(|tag| tag["value"].as_str())
        .map(str::to_owned)
}

/// The images of a task definition, container by container.
pub fn images(definition: &Value) -> BTreeMap<String, String> {
    read::list(definition, "containerDefinitions")
        .map(|container| {
            (
                read::text(container, "name").to_owned(),
                read::text(container, "image").to_owned(),
            )
        })
        .collect()
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, service) in self.services.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(
                out,
                "{} ({} in {})",
                service.service,
                service.name,
                tail(&service.cluster)
            )?;
            if service.status == "ABSENT" {
                writeln!(out, ": does not exist")?;
                continue;
            }
            writeln!(
                out,
                ": {} of {} tasks run{}",
                service.running,
                service.desired,
                match service.pending {
                    0 => String::new(),
                    pending => format!(", {pending} on their way"),
                }
            )?;
            let mut line = |name: &str, text: &str| writeln!(out, "  {name:9} {text}");
            if let Some(revision) = &service.revision {
                line("revision", revision)?;
            }
            if let Some(commit) = &service.commit {
                let changes = if service.dirty {
                    " and changes that were not committed"
                } else {
                    ""
                };
                line("commit", &format!("{commit}{changes}"))?;
            }
            for (container, image) in &service.images {
                line("image", &format!("{container}: {image}"))?;
            }
            for deployment in &service.deployments {
                let age = deployment
                    .created
                    .map(|at| format!(", {} ago", span(self.now.as_second() - at.as_second())))
                    .unwrap_or_default();
                let failed = match deployment.failed {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                };
                line(
                    "rollout",
                    &format!(
                        "{} {} {}: {} of {} tasks{failed}{age}",
                        deployment.revision,
                        deployment.status,
                        deployment.state,
                        deployment.running,
                        deployment.desired
                    ),
                )?;
            }
            if !service.targets.is_empty() {
                let states: Vec<String> = service
                    .targets
                    .iter()
                    .map(|(state, count)| format!("{count} {state}"))
                    .collect();
                line("targets", &states.join(", "))?;
            }
            if let Some(url) = &service.url {
                line("url", url)?;
            }
        }
        Ok(())
    }
}
