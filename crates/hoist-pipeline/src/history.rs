//! What was deployed, by whom, and what became of it: from the service deployments of ECS and this machine's journal.

use std::collections::BTreeMap;
use std::fmt;

use hoist_aws::{Client, Service as Aws, read};
use hoist_project::Service;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::journal::{Entry, What};
use crate::refusal::refused;
use crate::select;
use crate::service::is_unknown_operation;
use crate::status::{describe_definition, images, is_dirty, tag};
use crate::table::{span, table, tail};

/// Service deployments or revisions that one describe call takes.
const A_CALL: usize = 20;
/// Seconds between a run's word that it deploys and ECS's service deployment within which they are the same thing.
const TOGETHER: i64 = 60;

/// Deployments, the newest first.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct History {
    /// The deployments.
    pub deployments: Vec<Deployment>,
    #[serde(skip)]
    now: Timestamp,
}

/// One deployment of a service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// When it began.
    pub at: Option<Timestamp>,
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// Task definition `family:revision`.
    pub revision: Option<String>,
    /// Commit that the revision was registered for.
    pub commit: Option<String>,
    /// Whether the image has changes that were not committed.
    pub dirty: bool,
    /// Digest of the image.
    pub digest: Option<String>,
    /// Who registered the revision: the person or workflow it names, else the role.
    pub by: Option<String>,
    /// What became of it, in words of ECS: `SUCCESSFUL`, `ROLLBACK_SUCCESSFUL`, `IN_PROGRESS`.
    pub outcome: String,
    /// Why, in words of ECS.
    pub reason: String,
    /// How the run ended that asked for it, where this machine's journal knows.
    pub run: Option<String>,
    /// Seconds from beginning to end.
    pub seconds: Option<i64>,
    /// Whether this is the revision that the service wants now.
    pub current: bool,
}

/// The newest `limit` deployments of `services`, and runs of the journal that came to an end before ECS was asked.
///
/// # Errors
/// A service does not exist, or AWS refused a call.
pub async fn history(
    aws: &Client,
    app: &str,
    services: &[&Service],
    journal: &[Entry],
    limit: usize,
) -> Result<History, Failure> {
    let mut deployments = Vec::new();
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    for service in services {
        let live = select::live(aws, service).await?;
        let wanted = read::text(&live, "taskDefinition");
        let arns = list(aws, service, limit).await?;
        for some in arns.chunks(A_CALL) {
            let (described, revisions) = described(aws, some).await?;
            for deployment in read::service_deployments(&described) {
                let definition = read::service_revisions(&revisions)
                    .find(|revision| revision.arn() == deployment.target_revision())
                    .map(|revision| revision.task_definition().to_owned())
                    .unwrap_or_default();
                if !definition.is_empty() && !definitions.contains_key(&definition) {
                    let described = describe_definition(aws, &definition).await?;
                    definitions.insert(definition.clone(), described);
                }
                let known = definitions.get(&definition).unwrap_or(&Value::Null);
                deployments.push(of(
                    service,
                    &deployment,
                    &definition,
                    known,
                    wanted,
                    journal,
                ));
            }
        }
    }
    deployments.extend(unborn(app, journal));
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.at));
    deployments.truncate(limit);
    // Only the newest of a revision that was deployed twice is the one that serves.
    let mut taken: Vec<String> = Vec::new();
    for deployment in &mut deployments {
        deployment.current &= !taken.contains(&deployment.service);
        if deployment.current {
            taken.push(deployment.service.clone());
        }
    }
    Ok(History {
        deployments,
        now: Timestamp::now(),
    })
}

/// The answers about some deployments, at most 20, and about the revisions that they were to bring.
pub(crate) async fn described(
    aws: &Client,
    deployments: &[String],
) -> Result<(Value, Value), Failure> {
    let request = json!({ "serviceDeploymentArns": deployments });
    let described = aws
        .json(Aws::Ecs, "DescribeServiceDeployments", request)
        .await
        .map_err(|error| refused("failed to describe the deployments", &error))?;
    let targets: Vec<&str> = read::service_deployments(&described)
        .map(|deployment| deployment.target_revision())
        .filter(|arn| !arn.is_empty())
        .collect();
    let request = json!({ "serviceRevisionArns": targets });
    let revisions = aws
        .json(Aws::Ecs, "DescribeServiceRevisions", request)
        .await
        .map_err(|error| refused("failed to describe the service revisions", &error))?;
    Ok((described, revisions))
}

async fn list(aws: &Client, service: &Service, limit: usize) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut request = json!({ "cluster": service.cluster, "service": service.name });
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = match aws.json(Aws::Ecs, "ListServiceDeployments", request).await {
            Ok(answer) => answer,
            Err(error) if is_unknown_operation(&error) => return Ok(arns),
            Err(error) => return Err(refused("failed to list the deployments", &error)),
        };
        arns.extend(read::service_deployment_briefs(&answer).map(|brief| brief.arn().to_owned()));
        next = answer["nextToken"].take();
        if !next.is_string() || arns.len() >= limit {
            arns.truncate(limit);
            return Ok(arns);
        }
    }
}

fn of(
    service: &Service,
    deployment: &read::ServiceDeploymentView<'_>,
    definition: &str,
    described: &Value,
    wanted: &str,
    journal: &[Entry],
) -> Deployment {
    let began = read::moment(deployment.raw(), "startedAt").or(deployment.created());
    let ended = read::moment(deployment.raw(), "finishedAt");
    let known = &described["taskDefinition"];
    let digest = images(known)
        .into_iter()
        .filter(|(container, _)| {
            service
                .container
                .as_ref()
                .is_none_or(|wanted| wanted == container)
        })
        .find_map(|(_, image)| image.split_once('@').map(|(_, digest)| digest.to_owned()));
    let status = deployment.status();
    Deployment {
        at: began,
        service: service.key.clone(),
        revision: Some(tail(definition).to_owned()).filter(|name| !name.is_empty()),
        commit: tag(described, "hoist:commit"),
        dirty: is_dirty(described),
        digest,
        by: tag(described, "hoist:by").or_else(|| {
            known["registeredBy"].as_str().map(|arn| {
                // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
                arn.rsplit_once(':')
                    .map_or(arn, |(_, name)| name)
                    .to_owned()
            })
        }),
        outcome: status.to_owned(),
        reason: [deployment.reason(), deployment.rollback_reason()]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned(),
        run: began.and_then(|began| run_of(journal, service, definition, began)),
        seconds: began
            .zip(ended)
            .map(|(began, ended)| ended.as_second() - began.as_second()),
        current: definition == wanted && status == "SUCCESSFUL",
    }
}

/// How the run ended that asked for a deployment of `definition` at about `began`.
fn run_of(
    journal: &[Entry],
    service: &Service,
    definition: &str,
    began: Timestamp,
) -> Option<String> {
    let asked = journal.iter().rev().find(|entry| {
        let near = entry
            .at
            .parse::<Timestamp>()
            .is_ok_and(|at| (at.as_second() - began.as_second()).abs() <= TOGETHER);
        near && matches!(&entry.what, What::Deploying { service: name, task_definition, .. }
            if *name == service.name && task_definition == definition)
    })?;
    journal.iter().find_map(|entry| match &entry.what {
        What::Ended { outcome, .. } if entry.run == asked.run => Some(outcome.clone()),
        _ => None,
    })
}

/// Runs of the journal that ended without having asked ECS for anything.
fn unborn(app: &str, journal: &[Entry]) -> Vec<Deployment> {
    let mut found = Vec::new();
    for began in journal {
        let What::Began { app: of, .. } = &began.what else {
            continue;
        };
        let mut of_run = journal.iter().filter(|entry| entry.run == began.run);
        if of != app
            || of_run
                .clone()
                .any(|entry| matches!(entry.what, What::Deploying { .. }))
        {
            continue;
        }
        let ended = of_run.find_map(|entry| match &entry.what {
            What::Ended { outcome, summary } if outcome != "done" => Some((outcome, summary)),
            _ => None,
        });
        if let Some((outcome, summary)) = ended {
            found.push(Deployment {
                at: began.at.parse().ok(),
                service: String::new(),
                revision: None,
                commit: None,
                dirty: false,
                digest: None,
                by: None,
                outcome: "NOT_DEPLOYED".to_owned(),
                reason: summary.clone(),
                run: Some(outcome.clone()),
                seconds: None,
                current: false,
            });
        }
    }
    found
}

impl fmt::Display for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deployments.is_empty() {
            return writeln!(out, "no deployments");
        }
        let rows: Vec<[String; 8]> = self
            .deployments
            .iter()
            .map(|row| {
                let outcome = match &row.run {
                    Some(run) if run != "done" => format!("{} ({run})", row.outcome),
                    _ => row.outcome.clone(),
                };
                let short = |text: &Option<String>, length: usize| {
                    let text = text.as_deref().unwrap_or("-");
                    text.get(..length).unwrap_or(text).to_owned()
                };
                let digest = row
                    .digest
                    .as_deref()
                    .map(|digest| digest.trim_start_matches("sha256:").to_owned());
                [
                    row.at
                        .map(|at| format!("{} ago", span(self.now.as_second() - at.as_second())))
                        .unwrap_or_default(),
                    row.service.clone(),
                    format!(
                        "{}{}",
                        row.revision.as_deref().unwrap_or("-"),
                        if row.current { " *" } else { "" }
                    ),
                    match row.dirty {
                        true => format!("{}-dirty", short(&row.commit, 8)),
                        false => short(&row.commit, 8),
                    },
                    short(&digest, 12),
                    row.by.clone().unwrap_or_else(|| "-".to_owned()),
                    row.seconds.map(span).unwrap_or_else(|| "-".to_owned()),
                    outcome,
                ]
            })
            .collect();
        let heading = [
            "WHEN", "SERVICE", "REVISION", "COMMIT", "IMAGE", "BY", "TOOK", "OUTCOME",
        ];
        out.write_str(&table(heading, &rows))
    }
}
