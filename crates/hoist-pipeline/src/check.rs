//! Would this deployment fail, and why: what can be known from the account before anything is built.
//!
//! Each check is one file with an id, which is its anchor in `docs/account-checks.md`. They run at the same time; none changes anything.

mod alarms;
mod architecture;
mod cluster;
mod credentials;
mod egress;
mod exposed_port;
mod grace_period;
mod in_flight;
mod log_group;
mod moving_room;
mod network;
mod ownership;
mod pass_role;
mod permissions;
mod repository;
mod roles;
mod secrets;
mod service_exists;
mod storage;
mod target_group;

use std::fmt;

use hoist_aws::{AwsError, Client};
use hoist_ecs::{Referent, references};
use hoist_project::Project;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::parallel::{self, Boxed};
use crate::work::{self, Work};
use crate::{service, status};

/// Most calls under way at the same time. Each check makes a few, one after the other.
const AT_ONCE: usize = 32;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The check's id, an anchor of `docs/account-checks.md`.
    pub check: &'static str,
    /// What the check demands.
    pub sentence: &'static str,
    /// Key of the service, where it is about one.
    pub service: Option<String>,
    /// How much it matters.
    pub weight: Weight,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The deployment would fail.
    Error,
    /// It probably does not go as meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// What one look comes to; a call that is refused is no finding of its own.
type Outcome = Result<Vec<Finding>, AwsError>;

/// A finding before it is known which check and service it belongs to.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    message: String,
    fix: String,
}

fn error(message: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Error,
        message: message.into(),
        fix: fix.into(),
    }
}

fn warning(message: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Warning,
        ..error(message, fix)
    }
}

fn note(message: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Note,
        ..error(message, fix)
    }
}

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Anchor of `docs/account-checks.md`.
    pub id: &'static str,
    /// What it demands, as a sentence without full stop.
    pub sentence: &'static str,
    /// Whether it is about what the embedded AWS makes by itself, or does not have.
    real_only: bool,
    look: Look,
}

#[derive(Clone, Copy)]
enum Look {
    /// Once for all services.
    All(for<'a> fn(&'a Scene<'a>) -> Boxed<'a, Outcome>),
    /// For each service.
    Each(for<'a> fn(&'a Scene<'a>, &'a Subject) -> Boxed<'a, Outcome>),
}

/// What all checks see.
pub struct Scene<'a> {
    aws: &'a Client,
    project: &'a Project,
    subjects: Vec<Subject>,
}

/// One service as it would be deployed.
struct Subject {
    work: Work,
    /// What is live, if it exists.
    live: Option<Value>,
    /// The task definition as it would be registered, but for the image.
    definition: Value,
    /// The service as it would be: what is live with what the definition changes.
    service: Value,
}

impl Subject {
    fn key(&self) -> &str {
        self.work.key()
    }

    /// The strings at this place of the network configuration.
    fn refers_to(&self, wanted: Referent) -> Vec<String> {
        references(&self.service)
            .into_iter()
            .filter(|one| one.referent == wanted)
            .map(|one| one.value)
            .collect()
    }

    /// The target groups that are named by ARN.
    fn target_groups(&self) -> Vec<String> {
        let mut all = self.refers_to(Referent::TargetGroup);
        all.retain(|arn| arn.starts_with("arn:"));
        all
    }
}

/// All checks of the account.
pub const CHECKS: &[Check] = &[
    credentials::CHECK,
    permissions::CHECK,
    pass_role::CHECK,
    cluster::CHECK,
    service_exists::CHECK,
    in_flight::CHECK,
    ownership::CHECK,
    repository::CHECK,
    roles::CHECK,
    network::CHECK,
    egress::CHECK,
    target_group::CHECK,
    log_group::CHECK,
    secrets::CHECK,
    alarms::CHECK,
    architecture::CHECK,
    exposed_port::CHECK,
    storage::CHECK,
    grace_period::CHECK,
    moving_room::CHECK,
];

/// What all checks found, the worst first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// How many checks ran.
    pub ran: usize,
    /// What they found.
    pub found: Vec<Found>,
}

impl Checked {
    /// The failure that the errors make, if there are any.
    pub fn failure(&self) -> Option<Failure> {
        let errors: Vec<&Found> = self
            .found
            .iter()
            .filter(|found| found.weight == Weight::Error)
            .collect();
        let first = errors.first()?;
        let kind = match first.check {
            "credentials" => Kind::Credentials,
            _ => Kind::Check,
        };
        let message = match errors.len() {
            1 => "a check found what would fail".to_owned(),
            count => format!("the checks found {count} things that would fail"),
        };
        let lines: Vec<String> = errors.iter().map(|found| found.to_string()).collect();
        Some(Failure::new(kind, message).detail(lines.join("")))
    }
}

/// Runs all checks of `works`; `embedded` leaves out those about what the embedded AWS makes by itself, `deploying` those that the
/// deployment itself makes better.
///
/// # Errors
/// The definitions of a live service cannot be read for another reason than a check's.
pub async fn account(
    aws: &Client,
    project: &Project,
    embedded: bool,
    deploying: bool,
    only: &[String],
) -> Result<Checked, Failure> {
    let works = work::works(project, aws.region(), only)?;
    let looks = works
        .into_iter()
        .map(|work| -> Boxed<'_, _> { Box::pin(subject(aws, work)) })
        .collect();
    let mut subjects = Vec::new();
    for subject in parallel::all(AT_ONCE, looks).await {
        subjects.push(subject);
    }
    let scene = Scene {
        aws,
        project,
        subjects,
    };
    let wanted = CHECKS.iter().filter(|check| {
        !(embedded && check.real_only || deploying && check.id == in_flight::CHECK.id)
    });
    let mut looks: Vec<Boxed<'_, Vec<Found>>> = Vec::new();
    let mut ran = 0;
    for check in wanted {
        ran += 1;
        match check.look {
            Look::All(look) => looks.push(named(check, None, look(&scene))),
            Look::Each(look) => {
                for subject in &scene.subjects {
                    looks.push(named(check, Some(subject.key()), look(&scene, subject)));
                }
            }
        }
    }
    let mut found: Vec<Found> = parallel::all(AT_ONCE, looks)
        .await
        .into_iter()
        .flatten()
        .collect();
    // Without credentials every other check only says so again.
    if let Some(broken) = found
        .iter()
        .find(|found| found.check == "credentials" && found.weight == Weight::Error)
    {
        found = vec![broken.clone()];
    }
    found.sort_by_key(|found| found.weight);
    Ok(Checked { ran, found })
}

fn named<'a>(
    check: &'static Check,
    service: Option<&'a str>,
    look: Boxed<'a, Outcome>,
) -> Boxed<'a, Vec<Found>> {
    Box::pin(async move {
        let findings = match look.await {
            Ok(findings) => findings,
            // An endpoint that does not know the call cannot be asked.
            Err(error) if error.is_unsupported_operation() || error.is_credentials() => Vec::new(),
            Err(error) => vec![note(
                format!("not checked: {error}"),
                "the right to read what is checked makes this known before a deployment",
            )],
        };
        findings
            .into_iter()
            .map(|finding| Found {
                check: check.id,
                sentence: check.sentence,
                service: service.map(str::to_owned),
                weight: finding.weight,
                message: finding.message,
                fix: finding.fix,
            })
            .collect()
    })
}

/// What is live of one service. What cannot be read is absent here: the checks about it say why.
async fn subject(aws: &Client, work: Work) -> Subject {
    let live = service::describe_if_cluster(aws, work.cluster(), work.name())
        .await
        .unwrap_or_default();
    let mut definition = work.task_definition.clone();
    if definition.is_null()
        && let Some(running) = live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str())
        && let Ok(mut described) = status::describe_definition(aws, running).await
    {
        definition = described["taskDefinition"].take();
    }
    let mut service = live.clone().unwrap_or_else(|| json!({}));
    // The short form's names of network and balancer only serve to create the service.
    let kept = ["networkConfiguration", "loadBalancers"];
    for (member, value) in work.service_definition.as_object().into_iter().flatten() {
        let stays = live.is_some()
            && (work.is_short() && kept.contains(&member.as_str()) || member == "desiredCount");
        if !stays {
            service[member] = value.clone();
        }
    }
    Subject {
        work,
        live,
        definition,
        service,
    }
}

/// `did you mean ...?`, or what there is.
fn or_rather<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = hoist_ecs::suggest::nearest(name, known.clone()) {
        return format!("did you mean {near}?");
    }
    let known: Vec<&str> = known.into_iter().take(8).collect();
    match known.as_slice() {
        [] => "there is none in this account and region; is the region right?".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.weight {
            Weight::Error => "error",
            Weight::Warning => "warning",
            Weight::Note => "note",
        };
        let about = self
            .service
            .as_ref()
            .map(|service| format!("{service}: "))
            .unwrap_or_default();
        writeln!(out, "{word}: {about}{}", self.message)?;
        if !self.fix.is_empty() {
            writeln!(out, "  = help: {}", self.fix.replace('\n', "\n  "))?;
        }
        writeln!(out, "  = docs: docs/account-checks.md#{}", self.check)
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.found {
            write!(out, "{found}")?;
        }
        let errors = self
            .found
            .iter()
            .filter(|found| found.weight == Weight::Error)
            .count();
        writeln!(out, "{} checks of the account, {errors} errors", self.ran)
    }
}

#[cfg(test)]
mod tests;
