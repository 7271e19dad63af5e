//! What a deployment would change, before it does: image, definitions, counts, cost, minutes.

use hoist_aws::{Client, read};
use hoist_ecs::{Change, Pace, Part, Rates};
use hoist_project::Project;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cancel::Cancel;
use crate::drift::{self, Drift};
use crate::event::{Events, Step};
use crate::failure::Failure;
use crate::image::Builder;
use crate::journal::Journal;
use crate::parallel::Boxed;
use crate::plan_schedules::{SchedulePlan, schedule_plan};
use crate::ready::Ready;
use crate::refusal::refused;
use crate::request::{Request, Version};
use crate::table::tail;
use crate::target_group::{self, Retarget};
use crate::work::{self, Work};
use crate::{back, existing, express, provision, resolve, scaling, select, service, status};

/// Stands for the digest of an image that is not built yet.
const TO_BE_BUILT: &str = "to-be-built";

/// What a deployment would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Application.
    pub app: String,
    /// `embedded AWS` or the region.
    pub target: String,
    /// Whether anything would change.
    pub changes: bool,
    /// The image.
    pub image: ImagePlan,
    /// Tasks that would run first.
    pub before: Vec<String>,
    /// The services, in the order of hoist.yaml.
    pub services: Vec<ServicePlan>,
    /// What becomes of the schedules.
    pub schedules: Vec<SchedulePlan>,
}

/// What becomes of the image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePlan {
    /// Whether it is built.
    pub built: bool,
    /// Why.
    pub why: String,
    /// The image, with `@to-be-built` where its digest is not known yet.
    pub reference: String,
}

/// What becomes of one service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlan {
    /// Key in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// `create`, `update` or `none`.
    pub action: &'static str,
    /// Revision that runs.
    pub revision: Option<String>,
    /// Differences of the task definition.
    pub task_definition: Vec<Change>,
    /// Differences of the service.
    pub service_definition: Vec<Change>,
    /// Differences of the target group that goes with the short form.
    pub target_group: Vec<Change>,
    /// What is made first on the embedded AWS, because the definitions refer to it.
    pub provisions: Vec<String>,
    /// Tasks before.
    pub count_before: Option<u32>,
    /// Tasks after.
    pub count_after: u32,
    /// Bounds of auto scaling, as hoist.yaml says them.
    pub scaling: Option<String>,
    /// Bounds of auto scaling as they are registered, where hoist.yaml says them otherwise.
    pub scaling_before: Option<String>,
    /// US dollars a month before.
    pub cost_before: Option<f64>,
    /// US dollars a month after.
    pub cost_after: Option<f64>,
    /// What the costs rest on.
    pub cost_notes: Vec<String>,
    /// What the rollout's time goes into.
    pub time: Vec<Part>,
    /// What others changed since hoist registered a revision.
    pub drift: Option<Drift>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl ServicePlan {
    /// Expected seconds of the rollout.
    pub fn seconds(&self) -> u32 {
        self.time.iter().map(|part| part.seconds).sum()
    }
}

/// Looks at everything and changes nothing. The build hook is run, because what is built may depend on it.
///
/// # Errors
/// The project or a definition is wrong, something that it refers to is missing, or AWS refused a call.
pub fn plan<'a>(
    request: &'a Request<'a>,
    cancel: &'a Cancel,
    events: &'a Events,
) -> Boxed<'a, Result<Plan, Failure>> {
    Box::pin(foresee(request, cancel, events))
}

async fn foresee(request: &Request<'_>, cancel: &Cancel, events: &Events) -> Result<Plan, Failure> {
    let project = request.project;
    let works = work::works(project, request.aws.region(), &request.services)?;
    for warning in work::project_warnings(project)
        .iter()
        .chain(&work::check(&works)?)
    {
        events.warn(Step::Check, warning);
    }
    if matches!(request.version, Version::Revision(_)) {
        request.names_one(works.len())?;
    }
    let image = match &request.version {
        Version::Source {
            workspace, build, ..
        } => {
            let builder = Builder {
                project,
                workspace,
                options: build,
                events,
                cancel,
            };
            builder.planned(request.aws).await?
        }
        Version::Image(given) => {
            let found = cancel
                .or(existing::find(request.aws, project, given))
                .await?;
            ImagePlan {
                built: false,
                why: format!("{given} exists"),
                reference: found.reference,
            }
        }
        Version::Revision(number) => ImagePlan {
            built: false,
            why: format!("revision {number} names its images"),
            reference: String::new(),
        },
        Version::Written | Version::Current | Version::LastGood | Version::Killed => ImagePlan {
            built: false,
            why: "the definitions name their images".to_owned(),
            reference: String::new(),
        },
    };
    let mut services = Vec::new();
    for work in works {
        services.push(
            cancel
                .or(one(request, work, &image.reference, events))
                .await?,
        );
    }
    let mut schedules = Vec::new();
    for schedule in &project.schedules {
        let planned = schedule_plan(request, schedule, &services, &image);
        schedules.extend(cancel.or(planned).await?);
    }
    let changes = services.iter().any(|service| service.action != "none")
        || schedules.iter().any(|schedule| schedule.changes);
    Ok(Plan {
        app: project.app.clone(),
        target: if request.embedded {
            "embedded AWS".to_owned()
        } else {
            request.aws.region().to_owned()
        },
        changes,
        image,
        // Tasks run first with what is new.
        before: if changes && !matches!(request.version, Version::Revision(_)) {
            project.release.before.clone()
        } else {
            Vec::new()
        },
        services,
        schedules,
    })
}

async fn one(
    request: &Request<'_>,
    mut work: Work,
    image: &str,
    events: &Events,
) -> Result<ServicePlan, Failure> {
    let aws = request.aws;
    let live = service::describe_if_cluster(aws, work.cluster(), work.name()).await?;
    let running = match live
        .as_ref()
        .and_then(|live| live["taskDefinition"].as_str())
    {
        Some(running) => status::describe_definition(aws, running).await?["taskDefinition"].take(),
        None => Value::Null,
    };
    let mut notes = Vec::new();
    let mut provisions = Vec::new();
    let mut is_other = false;
    let mut says = "hoist.yaml says".to_owned();
    match request.version {
        Version::Revision(number) => {
            let live = select::live(aws, &work.service).await?;
            let arn = back::numbered(aws, &live, number).await?;
            is_other = live["taskDefinition"] != *arn;
            says = format!("{} was deployed with", tail(&arn));
            notes.push(format!("{} is deployed as it was registered", tail(&arn)));
            let definition = back::describe(aws, &arn).await?;
            let journal = Journal::open(&request.journal).ok();
            let went_with = journal
                .and_then(|journal| back::checked_by(&journal, work.cluster(), work.name(), &arn));
            work = Ready::existing(work, live, arn, definition).work;
            work.target_group = went_with;
        }
        _ => {
            let reference = Some(image).filter(|image| !image.is_empty());
            work.overlay(aws, live.as_ref(), reference).await?;
            if request.embedded {
                // As the provision step does: identifiers become those of the embedded account.
                provisions = provision::foresee(aws, work.wanted(&request.project.app)).await?;
                if live.is_some() && !work.can_create {
                    work.service_definition = Value::Null;
                }
            } else {
                resolve::resolve(aws, &mut work, live.as_ref(), events).await?;
            }
        }
    }
    if live.is_none() && !work.can_create {
        notes.push(
            "it does not exist, and there is no service definition to create it from".to_owned(),
        );
    }
    let drift = match &live {
        Some(live) => drift::find(aws, live, &running).await?,
        None => None,
    };
    let none = json!({});
    let before = if running.is_null() { &none } else { &running };
    let task_definition = hoist_ecs::diff(
        &hoist_ecs::normalise_task_definition(before),
        &hoist_ecs::normalise_task_definition(&work.task_definition),
    );
    let service_definition = match &live {
        Some(live) if express::is(live) && hoist_ecs::is_express(&work.service_definition) => {
            let runs = express::configuration(aws, live).await?;
            differences(&runs, express::changes(&runs, &work.service_definition))
        }
        Some(live) => service_changes(live, &work.service_definition),
        None => Vec::new(),
    };
    let wanted = &work.service_definition;
    let desired = |value: &Value| {
        value["desiredCount"]
            .as_u64()
            .or_else(|| crate::express::count(value))
            .and_then(|count| u32::try_from(count).ok())
    };
    let count_before = live.as_ref().and_then(desired);
    let count_after = request
        .count
        .or(count_before)
        .or(desired(wanted))
        .unwrap_or(1);
    let rates = rates(request.project);
    let region = aws.region();
    // What UpdateService is not told stays as it is.
    let after = match &live {
        Some(live) => laid_over(live, wanted),
        None => wanted.clone(),
    };
    let bill = |definition: &Value, service: &Value, count: u32| {
        hoist_ecs::monthly(definition, service, count, region, &rates)
    };
    let (old, new) = (
        live.as_ref()
            .and_then(|live| bill(&running, live, count_before.unwrap_or(0))),
        bill(&work.task_definition, &after, count_after),
    );
    let group = target_group(aws, &work, live.as_ref()).await?;
    let retarget = match (&live, &group, &work.target_group) {
        (Some(_), Some(group), Some(wanted)) => Retarget::of(group, wanted),
        _ => None,
    };
    let target_group = match &retarget {
        Some(retarget) if request.embedded => retarget.changes(),
        Some(retarget) => {
            notes.push(retarget.left_alone(&says));
            Vec::new()
        }
        None => Vec::new(),
    };
    let scales = match &live {
        Some(live) => scaling::registered(aws, work.cluster(), live).await?,
        None => None,
    };
    let scaling = work.service.scaling.as_ref().map(scaling::in_words);
    let scaling_before = match (&scaling, scales, &live) {
        (Some(wanted), before, Some(_)) => {
            let before = before.unwrap_or_else(|| "none".to_owned());
            (before != *wanted).then_some(before)
        }
        (None, Some(before), _) => {
            notes.push(format!(
                "auto scaling is registered ({before}), and hoist.yaml says nothing of it: it stays"
            ));
            None
        }
        _ => None,
    };
    let moves = is_other
        || !task_definition.is_empty()
        || !service_definition.is_empty()
        || count_before != Some(count_after)
        || request.force
        || !target_group.is_empty() && retarget.is_some_and(|it| it.is_about_health());
    // The group as it will be.
    let group = match &work.target_group {
        Some(wanted) if !target_group.is_empty() => Some(wanted.clone()),
        _ => group,
    };
    let changed = moves || !target_group.is_empty() || scaling_before.is_some();
    let action = match (&live, changed) {
        (None, _) => "create",
        (Some(_), true) => "update",
        (Some(_), false) => "none",
    };
    let pace = if request.embedded {
        Pace::EMBEDDED
    } else {
        Pace::FARGATE
    };
    let time = {
        let (definition, group) = (&work.task_definition, group.as_ref());
        match (&live, moves) {
            (None, _) => hoist_ecs::estimate_first(&after, definition, group, count_after, pace),
            (_, true) => hoist_ecs::estimate(&after, definition, group, count_after, pace),
            (_, false) => Vec::new(),
        }
    };
    if moves && live.is_some() && time.is_empty() && count_after > 0 {
        notes.push(
            "minimum and maximum percent leave no room: no task could be started and none stopped"
                .to_owned(),
        );
    }
    Ok(ServicePlan {
        service: work.key().to_owned(),
        name: work.name().to_owned(),
        action,
        revision: live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str())
            .map(|arn| tail(arn).to_owned()),
        task_definition,
        service_definition,
        target_group,
        provisions,
        count_before,
        count_after,
        scaling,
        scaling_before,
        cost_before: old.as_ref().map(|bill| bill.dollars),
        cost_after: new.as_ref().map(|bill| bill.dollars),
        cost_notes: new.or(old).map(|bill| bill.notes).unwrap_or_default(),
        time,
        drift,
        notes,
    })
}

/// The prices of hoist.yaml.
pub fn rates(project: &Project) -> Rates {
    Rates {
        vcpu_hour: project.prices.vcpu_hour,
        gb_hour: project.prices.gb_hour,
        spot: project.prices.spot,
    }
}

/// What UpdateService would be told, as differences. Of what is live only that is shown which the definition says too.
pub fn service_changes(live: &Value, wanted: &Value) -> Vec<Change> {
    differences(live, service::changes(live, wanted))
}

fn differences(live: &Value, changes: Vec<(&'static str, Value)>) -> Vec<Change> {
    let (mut before, mut after) = (Map::new(), Map::new());
    for (member, value) in changes {
        before.insert(member.to_owned(), restricted(&live[member], &value));
        after.insert(member.to_owned(), value);
    }
    hoist_ecs::diff(&Value::Object(before), &Value::Object(after))
}

/// What of `live` the definition says too.
fn restricted(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .filter_map(|(key, wanted)| Some((key.clone(), restricted(live.get(key)?, wanted))))
            .collect::<Map<_, _>>()
            .into(),
        (live, _) => live.clone(),
    }
}

fn laid_over(live: &Value, wanted: &Value) -> Value {
    let mut laid = live.clone();
    for (member, value) in service::changes(live, wanted) {
        laid[member] = value;
    }
    laid
}

/// The target group with its attributes: the one that is live, else what the short form would make.
async fn target_group(
    aws: &Client,
    work: &Work,
    live: Option<&Value>,
) -> Result<Option<Value>, Failure> {
    let arn = live.and_then(|live| {
        read::list(live, "loadBalancers").find_map(|link| link["targetGroupArn"].as_str())
    });
    let Some(arn) = arn else {
        return Ok(work.target_group.clone());
    };
    target_group::look(aws, arn)
        .await
        .map_err(|error| refused("failed to describe the target group", &error))
}

impl ImagePlan {
    /// An image that has to be built, to be stored under `uri`.
    pub fn to_build(uri: &str, why: String) -> ImagePlan {
        ImagePlan {
            built: true,
            why,
            reference: format!("{uri}@{TO_BE_BUILT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_live_only_that_is_shown_which_the_definition_says_too() {
        let live = json!({ "deploymentConfiguration": { "maximumPercent": 200, "bakeTimeInMinutes": 0 },
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } } });
        let wanted = json!({ "deploymentConfiguration": { "maximumPercent": 150 },
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } } });
        let changes = service_changes(&live, &wanted);
        assert_eq!(changes.len(), 1);
        assert_eq!(
            changes[0].to_string(),
            "~ deploymentConfiguration > maximumPercent: 200 -> 150"
        );
    }
}
