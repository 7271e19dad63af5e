//! Old revisions and images, gone: never one that runs, nor one that a rollback needs, nor one that hoist did not make.

use std::collections::BTreeSet;
use std::fmt;

use hoist_aws::{Client, Service as Aws, read};
use hoist_project::Project;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::parallel::Boxed;
use crate::refusal::{has_code, refused};
use crate::status::{describe_definition, images, tag};
use crate::table::tail;
use crate::{select, service};

/// Services that one DescribeServices call takes.
const SERVICES_A_CALL: usize = 10;
/// Images that one BatchDeleteImage call takes.
const A_CALL: usize = 100;
/// Service deployments or revisions that one describe call takes.
const DESCRIBED: usize = 20;

/// What may go.
#[derive(Clone, Debug)]
pub struct Keep {
    /// Revisions of each family, and deployments that succeeded, that stay whatever their age.
    pub newest: usize,
    /// Seconds for which everything stays.
    pub younger_than: i64,
    /// Whether to act, or only to say.
    pub act: bool,
}

/// What goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Whether it was done, or would be.
    pub done: bool,
    /// Task definition revisions, deregistered.
    pub revisions: Vec<String>,
    /// Images, deleted.
    pub images: Vec<OldImage>,
    /// How many revisions stay.
    pub revisions_kept: usize,
    /// How many images stay.
    pub images_kept: usize,
}

/// An image that no revision needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OldImage {
    /// Digest.
    pub digest: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Bytes in the registry.
    pub size: i64,
    /// When it was pushed.
    pub pushed: Option<Timestamp>,
}

/// Finds, and if asked removes, what is old.
///
/// # Errors
/// AWS refused a call; what was removed until then stays removed.
pub fn prune<'a>(
    aws: &'a Client,
    project: &'a Project,
    keep: &'a Keep,
) -> Boxed<'a, Result<Pruned, Failure>> {
    Box::pin(look_and_delete(aws, project, keep))
}

async fn look_and_delete(aws: &Client, project: &Project, keep: &Keep) -> Result<Pruned, Failure> {
    let now = Timestamp::now();
    let young = |at: Option<Timestamp>| {
        at.is_none_or(|at| now.as_second() - at.as_second() < keep.younger_than)
    };
    let needed = needed(aws, project, keep.newest).await?;
    let (mut revisions, mut kept) = (Vec::new(), 0);
    let mut digests: BTreeSet<String> = BTreeSet::new();
    for family in families(aws, project).await? {
        for (index, arn) in list(aws, &family).await?.iter().enumerate() {
            let described = describe_definition(aws, arn).await?;
            let registered = read::moment(&described["taskDefinition"], "registeredAt");
            let stays = index < keep.newest
                || needed.contains(arn)
                || tag(&described, "hoist:app").as_deref() != Some(&project.app)
                || young(registered);
            if stays {
                kept += 1;
                let of = images(&described["taskDefinition"]);
                digests.extend(of.values().filter_map(|image| {
                    image.split_once('@').map(|(_, digest)| digest.to_owned())
                }));
            } else {
                revisions.push(arn.clone());
            }
        }
    }
    let (mut old, mut images_kept) = (Vec::new(), 0);
    for image in described_images(aws, project.repository()).await? {
        let tags: Vec<String> = read::list(&image, "imageTags")
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let digest = read::text(&image, "imageDigest").to_owned();
        let pushed = read::moment(&image, "imagePushedAt");
        let ours = tags.iter().any(|tag| tag.starts_with("inputs-"));
        if !ours || digests.contains(&digest) || young(pushed) {
            images_kept += 1;
        } else {
            old.push(OldImage {
                digest,
                tags,
                size: read::number(&image, "imageSizeInBytes").unwrap_or(0),
                pushed,
            });
        }
    }
    // The newest stay, whether or not a revision has them: the next deployment may be one of them.
    old.sort_by_key(|image| std::cmp::Reverse(image.pushed));
    let spare = keep.newest.saturating_sub(images_kept).min(old.len());
    images_kept += spare;
    old.drain(..spare);
    if keep.act {
        for arn in &revisions {
            aws.json(
                Aws::Ecs,
                "DeregisterTaskDefinition",
                json!({ "taskDefinition": arn }),
            )
            .await
            .map_err(|error| refused(format!("failed to deregister {}", tail(arn)), &error))?;
        }
        for some in old.chunks(A_CALL) {
            let ids: Vec<Value> = some
                .iter()
                .map(|image| json!({ "imageDigest": image.digest }))
                .collect();
            let request = json!({ "repositoryName": project.repository(), "imageIds": ids });
            aws.json(Aws::Ecr, "BatchDeleteImage", request)
                .await
                .map_err(|error| refused("failed to delete images", &error))?;
        }
    }
    Ok(Pruned {
        done: keep.act,
        revisions: revisions.iter().map(|arn| tail(arn).to_owned()).collect(),
        images: old,
        revisions_kept: kept,
        images_kept,
    })
}

/// The revisions that run or are on their way anywhere in the project's clusters, and those that a rollback would go to.
async fn needed(
    aws: &Client,
    project: &Project,
    newest: usize,
) -> Result<BTreeSet<String>, Failure> {
    let mut needed = BTreeSet::new();
    let services = select::some(project, &[])?;
    let clusters: BTreeSet<&str> = services
        .iter()
        .map(|service| service.cluster.as_str())
        .collect();
    for cluster in clusters {
        let arns = all(
            aws,
            "ListServices",
            json!({ "cluster": cluster }),
            "serviceArns",
        )
        .await?;
        for some in arns.chunks(SERVICES_A_CALL) {
            let request = json!({ "cluster": cluster, "services": some });
            let answer = call(aws, "DescribeServices", request).await?;
            for live in read::list(&answer, "services") {
                needed.extend(live["taskDefinition"].as_str().map(str::to_owned));
                needed.extend(
                    read::list(live, "deployments")
                        .filter_map(|deployment| deployment["taskDefinition"].as_str())
                        .map(str::to_owned),
                );
            }
        }
        let arns = all(aws, "ListTasks", json!({ "cluster": cluster }), "taskArns").await?;
        for some in arns.chunks(A_CALL) {
            let answer = call(
                aws,
                "DescribeTasks",
                json!({ "cluster": cluster, "tasks": some }),
            )
            .await?;
            needed.extend(read::tasks(&answer).map(|task| task.task_definition().to_owned()));
        }
    }
    for service in services {
        let request = json!({ "cluster": service.cluster, "service": service.name, "status": ["SUCCESSFUL"] });
        let listed = match aws.json(Aws::Ecs, "ListServiceDeployments", request).await {
            Ok(listed) => listed,
            Err(error) if error.is_not_found() || error.is_unsupported_operation() => continue,
            Err(error) => return Err(refused("failed to list the deployments", &error)),
        };
        let arns: Vec<&str> = read::list(&listed, "serviceDeployments")
            .filter_map(|brief| brief["targetServiceRevisionArn"].as_str())
            .collect();
        let mut good: Vec<String> = Vec::new();
        for some in arns.chunks(DESCRIBED) {
            let request = json!({ "serviceRevisionArns": some });
            let answer = call(aws, "DescribeServiceRevisions", request).await?;
            for arn in some {
                let revision = read::service_revisions(&answer)
                    .find(|revision| revision.arn() == *arn)
                    .map(|revision| revision.task_definition().to_owned());
                good.extend(revision.filter(|revision| !good.contains(revision)));
            }
        }
        needed.extend(good.into_iter().take(newest.max(2)));
    }
    Ok(needed)
}

async fn call(aws: &Client, operation: &str, request: Value) -> Result<Value, Failure> {
    aws.json(Aws::Ecs, operation, request)
        .await
        .map_err(|error| refused(format!("failed to look around ({operation})"), &error))
}

/// All strings of a list, over its pages; none in a cluster that does not exist.
async fn all(
    aws: &Client,
    operation: &str,
    request: Value,
    member: &str,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut request = request.clone();
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = match aws.json(Aws::Ecs, operation, request).await {
            Ok(answer) => answer,
            Err(error) if has_code(&error, "ClusterNotFoundException") => return Ok(found),
            Err(error) => {
                return Err(refused(
                    format!("failed to look around ({operation})"),
                    &error,
                ));
            }
        };
        found.extend(
            read::list(&answer, member)
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        next = answer["nextToken"].take();
        if !next.is_string() {
            return Ok(found);
        }
    }
}

/// Families of the application in every environment: those that begin with its name, and those that its services run.
async fn families(aws: &Client, project: &Project) -> Result<BTreeSet<String>, Failure> {
    let request = json!({ "familyPrefix": project.app, "status": "ACTIVE" });
    let found = all(aws, "ListTaskDefinitionFamilies", request, "families").await?;
    let mut families: BTreeSet<String> = found.into_iter().collect();
    for service in select::some(project, &[])? {
        let live = service::describe_if_cluster(aws, &service.cluster, &service.name).await?;
        let running = live.as_ref().map(|live| read::text(live, "taskDefinition"));
        if let Some((family, _)) = running.and_then(|arn| tail(arn).rsplit_once(':')) {
            families.insert(family.to_owned());
        }
    }
    Ok(families)
}

/// ARNs of a family's active revisions, the newest first.
async fn list(aws: &Client, family: &str) -> Result<Vec<String>, Failure> {
    let request = json!({ "familyPrefix": family, "status": "ACTIVE", "sort": "DESC" });
    let mut arns = all(aws, "ListTaskDefinitions", request, "taskDefinitionArns").await?;
    // The prefix finds other families too.
    arns.retain(|arn| {
        tail(arn)
            .rsplit_once(':')
            .is_some_and(|(name, _)| name == family)
    });
    Ok(arns)
}

async fn described_images(aws: &Client, repository: &str) -> Result<Vec<Value>, Failure> {
    let mut images = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut request = json!({ "repositoryName": repository });
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = match aws.json(Aws::Ecr, "DescribeImages", request).await {
            Ok(answer) => answer,
            Err(error) if has_code(&error, "RepositoryNotFoundException") => return Ok(images),
            Err(error) => {
                return Err(refused(
                    format!("failed to list the images of {repository}"),
                    &error,
                ));
            }
        };
        if let Some(details) = answer["imageDetails"].as_array_mut() {
            images.append(details);
        }
        next = answer["nextToken"].take();
        if !next.is_string() {
            return Ok(images);
        }
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for revision in &self.revisions {
            writeln!(out, "revision {revision}")?;
        }
        for image in &self.images {
            writeln!(out, "image {} {}", image.digest, image.tags.join(", "))?;
        }
        let bytes: i64 = self.images.iter().map(|image| image.size).sum();
        let word = if self.done {
            "removed"
        } else {
            "would be removed"
        };
        writeln!(
            out,
            "{} revisions and {} images ({} MB) {word}; {} revisions and {} images stay",
            self.revisions.len(),
            self.images.len(),
            bytes / 1_000_000,
            self.revisions_kept,
            self.images_kept
        )?;
        if !self.done && self.revisions.len() + self.images.len() > 0 {
            writeln!(out, "nothing was removed: --yes does it")?;
        }
        Ok(())
    }
}
