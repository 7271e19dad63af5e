//! Schedules that start tasks: what they run now, and what they are told to run.

use hoist_aws::{AwsError, Client, Service as Aws, read};
use hoist_project::{Schedule, Starter};
use serde_json::{Value, json};

use crate::back;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};
use crate::register;
use crate::table::tail;

/// What of a schedule UpdateSchedule takes; all of it must be said again.
/// Source: botocore 1.44.5, `scheduler/2021-06-30/service-2.json`, shape UpdateScheduleInput.
const SCHEDULE: [&str; 12] = [
    "Name",
    "GroupName",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "EndDate",
    "Description",
    "State",
    "KmsKeyArn",
    "Target",
    "FlexibleTimeWindow",
    "ActionAfterCompletion",
];

/// What a schedule starts now.
#[derive(Clone, Debug)]
pub struct Started {
    /// Task definition: an ARN, or a family without a revision, which always means the newest.
    pub task_definition: String,
    /// The targets of a rule that start it, or the schedule.
    documents: Vec<Value>,
}

impl Started {
    /// The family.
    pub fn family(&self) -> &str {
        let name = tail(&self.task_definition);
        name.split(':').next().unwrap_or(name)
    }

    /// The roles that the targets are started with.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().filter_map(|document| {
            let target = match &document["Target"] {
                Value::Null => document,
                own => own,
            };
            target["RoleArn"].as_str()
        })
    }

    /// Whether it follows the newest revision by itself.
    pub fn follows(&self) -> bool {
        !tail(&self.task_definition).contains(':')
    }
}

/// What it takes to change what a schedule starts: the actions, the service that it is of, and its path there.
pub fn rights(schedule: &Schedule) -> ([&'static str; 2], &'static str, String) {
    match &schedule.starter {
        Starter::Rule { name, bus } => {
            let path = match bus.as_str() {
                "default" => format!("rule/{name}"),
                bus => format!("rule/{}/{name}", tail(bus)),
            };
            let actions = ["events:ListTargetsByRule", "events:PutTargets"];
            (actions, "events", path)
        }
        Starter::Schedule { name, group } => {
            let actions = ["scheduler:GetSchedule", "scheduler:UpdateSchedule"];
            (actions, "scheduler", format!("schedule/{group}/{name}"))
        }
    }
}

/// What a schedule was told to run.
pub struct Moved {
    /// Its key.
    pub schedule: Schedule,
    /// What it ran before.
    pub before: String,
}

/// Asks what `schedule` starts.
///
/// # Errors
/// `Check` where it does not exist or starts no task of ECS; AWS refused the call.
pub async fn look(aws: &Client, schedule: &Schedule) -> Result<Started, Failure> {
    let starter = &schedule.starter;
    let missing = |error: &AwsError| {
        if has_code(error, "ResourceNotFoundException") {
            return Failure::new(
                Kind::Check,
                format!("{starter} does not exist in {}", aws.region()),
            )
            .hint("hoist changes what a schedule runs; make the schedule itself with what makes your infrastructure");
        }
        refused(format!("failed to look at {starter}"), error)
    };
    let documents: Vec<Value> = match starter {
        Starter::Rule { name, bus } => {
            let request = json!({ "Rule": name, "EventBusName": bus });
            let answer = aws
                .json(Aws::Events, "ListTargetsByRule", request)
                .await
                .map_err(|error| missing(&error))?;
            read::list(&answer, "Targets")
                .filter(|target| target["EcsParameters"].is_object())
                .cloned()
                .collect()
        }
        Starter::Schedule { name, group } => {
            let request = json!({ "Name": name, "GroupName": group });
            let answer = aws
                .json(Aws::Scheduler, "GetSchedule", request)
                .await
                .map_err(|error| missing(&error))?;
            match answer["Target"]["EcsParameters"].is_object() {
                true => vec![answer],
                false => Vec::new(),
            }
        }
    };
    let mut names: Vec<&str> = documents
        .iter()
        .map(|document| read::text(parameters(document), "TaskDefinitionArn"))
        .collect();
    names.dedup();
    match names.as_slice() {
        [] => Err(Failure::new(
            Kind::Check,
            format!("{starter} starts no task of ECS"),
        )),
        [one] => Ok(Started {
            task_definition: (*one).to_owned(),
            documents,
        }),
        several => Err(Failure::new(
            Kind::Check,
            format!(
                "{starter} starts several task definitions: {}",
                several
                    .iter()
                    .map(|arn| tail(arn))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )
        .hint("give each a rule of its own")),
    }
}

/// The members about the task, of a rule's target or of a schedule.
fn parameters(document: &Value) -> &Value {
    match &document["EcsParameters"] {
        Value::Null => &document["Target"]["EcsParameters"],
        own => own,
    }
}

/// What is put into the schedules of a run.
pub struct Fresh<'a> {
    /// The image, where there is one.
    pub image: Option<&'a str>,
    /// Tags of revisions that are registered.
    pub tags: &'a [(String, String)],
    /// Key and revision of each service of the run.
    pub revisions: Vec<(String, String)>,
    /// Whether all services of the project are part of the run.
    pub whole: bool,
    /// Whether tasks that come first are run.
    pub begins: bool,
}

impl Fresh<'_> {
    /// Whether `schedule` gets anything.
    fn is_for(&self, schedule: &Schedule) -> bool {
        match &schedule.service {
            Some(service) => self.revisions.iter().any(|(of, _)| of == service),
            None => self.image.is_some() && self.whole,
        }
    }
}

/// Looks at the schedules of the run before anything is changed.
///
/// # Errors
/// As [`look`].
pub async fn check(aws: &Client, schedules: &[Schedule], fresh: &Fresh<'_>) -> Result<(), Failure> {
    for schedule in schedules.iter().filter(|schedule| fresh.is_for(schedule)) {
        look(aws, schedule).await?;
    }
    Ok(())
}

/// Has `schedule` run what is deployed. `None` where it does already, or is no part of the run. `about` hears what it runs so far before
/// that is changed.
///
/// # Errors
/// The schedule does not exist or runs something else; AWS refused a call.
pub async fn move_on(
    aws: &Client,
    schedule: &Schedule,
    fresh: &Fresh<'_>,
    events: &Events,
    about: &(dyn Fn(&str) -> Result<(), Failure> + Sync),
) -> Result<Option<Moved>, Failure> {
    let (key, starter) = (&schedule.key, &schedule.starter);
    let wanted = match &schedule.service {
        Some(service) => {
            let Some((_, revision)) = fresh.revisions.iter().find(|(of, _)| of == service) else {
                return Ok(None);
            };
            Some(revision.clone())
        }
        None if fresh.image.is_none() || !fresh.whole => {
            events.note(
                Step::Deploy,
                format!(
                    "{key}: {starter} stays as it is: there is no new image for it in this run"
                ),
            );
            return Ok(None);
        }
        None => None,
    };
    let step = events.start(Step::Deploy, format!("{key}: {starter}"));
    let started = look(aws, schedule).await?;
    let revision = match wanted {
        Some(revision) => {
            let family = tail(&revision).split(':').next().unwrap_or_default();
            if family != started.family() {
                return Err(Failure::new(
                    Kind::Check,
                    format!(
                        "{starter} starts {}, and not a revision of {family}",
                        started.family()
                    ),
                )
                .hint(format!(
                    "leave `service` out of the schedule `{key}`: then its own task definition gets the image"
                )));
            }
            revision
        }
        None => with_image(aws, schedule, &started, fresh, events).await?,
    };
    if started.follows() {
        step.skip(format!(
            "{starter} follows the newest revision of {} by itself",
            started.family()
        ));
        return Ok(None);
    }
    if started.task_definition == revision {
        step.skip(format!("{starter} starts {} already", tail(&revision)));
        return Ok(None);
    }
    about(&started.task_definition)?;
    put(aws, schedule, &started, &revision).await?;
    step.finish(format!("{starter} starts {}", tail(&revision)));
    Ok(Some(Moved {
        schedule: schedule.clone(),
        before: started.task_definition,
    }))
}

/// Registers the schedule's own task definition with the new image in it.
async fn with_image(
    aws: &Client,
    schedule: &Schedule,
    started: &Started,
    fresh: &Fresh<'_>,
    events: &Events,
) -> Result<String, Failure> {
    let definition = back::describe(aws, &started.task_definition).await?;
    let definition = hoist_ecs::strip_describe_only(&definition);
    let image = fresh.image.unwrap_or_default();
    let changed = hoist_ecs::with_image(&definition, schedule.container.as_deref(), image)
        .map_err(|error| {
            Failure::because(
                Kind::Configuration,
                format!(
                    "failed to put the image into the task definition of {}",
                    schedule.starter
                ),
                &error,
            )
            .hint(format!(
                "name the container: `schedules: {{ {}: {{ container: ... }} }}`",
                schedule.key
            ))
        })?;
    let running = Some(started.task_definition.as_str()).filter(|_| !started.follows());
    let revision = register::register(aws, &changed, running, fresh.tags, events).await?;
    Ok(revision.arn)
}

/// Has a schedule that was moved run again what it ran before.
///
/// # Errors
/// AWS refused a call.
pub async fn put_back(aws: &Client, moved: &Moved) -> Result<(), Failure> {
    let started = look(aws, &moved.schedule).await?;
    put(aws, &moved.schedule, &started, &moved.before).await
}

async fn put(
    aws: &Client,
    schedule: &Schedule,
    started: &Started,
    revision: &str,
) -> Result<(), Failure> {
    let what = format!("failed to change {}", schedule.starter);
    let mut documents = started.documents.clone();
    match &schedule.starter {
        Starter::Rule { name, bus } => {
            for target in &mut documents {
                target["EcsParameters"]["TaskDefinitionArn"] = json!(revision);
            }
            // A target of the same id takes the place of the one before.
            let request = json!({ "Rule": name, "EventBusName": bus, "Targets": documents });
            let answer = aws
                .json(Aws::Events, "PutTargets", request)
                .await
                .map_err(|error| refused(&what, &error))?;
            let failed = read::list(&answer, "FailedEntries").next();
            match failed {
                None => Ok(()),
                Some(entry) => Err(Failure::new(Kind::Rejected, what).detail(format!(
                    "{}: {}",
                    read::text(entry, "ErrorCode"),
                    read::text(entry, "ErrorMessage")
                ))),
            }
        }
        Starter::Schedule { .. } => {
            let Some(document) = documents.first_mut() else {
                return Ok(());
            };
            document["Target"]["EcsParameters"]["TaskDefinitionArn"] = json!(revision);
            let mut request = json!({});
            for member in SCHEDULE {
                if !document[member].is_null() {
                    request[member] = document[member].take();
                }
            }
            aws.json(Aws::Scheduler, "UpdateSchedule", request)
                .await
                .map_err(|error| refused(&what, &error))?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endpoint, refusal};

    const ONE: &str = "arn:aws:ecs:eu-central-1:1:task-definition/shop-job:1";
    const TWO: &str = "arn:aws:ecs:eu-central-1:1:task-definition/shop-job:2";

    fn schedule(service: Option<&str>) -> Schedule {
        Schedule {
            key: "nightly".into(),
            starter: Starter::Rule {
                name: "night".into(),
                bus: "default".into(),
            },
            service: service.map(str::to_owned),
            container: None,
        }
    }

    async fn rule(runs: &'static str) -> Endpoint {
        Endpoint::answering(move |operation, body, _| match operation {
            "ListTargetsByRule" => (
                200,
                json!({ "Targets": [
                    { "Id": "mail", "Arn": "arn:sns" },
                    { "Id": "job", "Arn": "arn:cluster", "RoleArn": "r", "Input": "{}",
                      "EcsParameters": { "TaskDefinitionArn": runs, "TaskCount": 2, "LaunchType": "FARGATE" } }] }),
            ),
            "PutTargets" => (200, json!({ "FailedEntryCount": 0, "FailedEntries": [] })),
            "DescribeTaskDefinition" => (200, json!({ "taskDefinition": {
                "taskDefinitionArn": ONE, "family": "shop-job", "revision": 1, "status": "ACTIVE",
                "containerDefinitions": [{ "name": "job", "image": "r/shop@sha256:old" }] } })),
            "RegisterTaskDefinition" => (200, json!({ "taskDefinition": {
                "taskDefinitionArn": TWO, "containerDefinitions": body["containerDefinitions"] } })),
            other => refusal(400, "UnknownOperationException", other),
        })
        .await
    }

    fn fresh(image: Option<&'static str>, revision: &str) -> Fresh<'static> {
        Fresh {
            image,
            tags: &[],
            revisions: vec![("web".to_owned(), revision.to_owned())],
            whole: true,
            begins: true,
        }
    }

    #[tokio::test]
    async fn a_rule_gets_the_revision_of_its_service_and_keeps_all_else() {
        let endpoint = rule(ONE).await;
        let events = Events::new(Vec::new());
        let wanted = schedule(Some("web"));
        let moved = move_on(
            &endpoint.client,
            &wanted,
            &fresh(None, TWO),
            &events,
            &|before| {
                assert_eq!(before, ONE);
                Ok(())
            },
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(moved.before, ONE);
        let put = endpoint.asked("PutTargets");
        assert_eq!(
            put[0]["Targets"],
            json!([{ "Id": "job", "Arn": "arn:cluster", "RoleArn": "r", "Input": "{}",
                "EcsParameters": { "TaskDefinitionArn": TWO, "TaskCount": 2, "LaunchType": "FARGATE" } }])
        );
        // What it runs already is left alone, and so is a rule for another family.
        let same = move_on(
            &endpoint.client,
            &wanted,
            &fresh(None, ONE),
            &events,
            &|_| Ok(()),
        )
        .await;
        assert!(same.unwrap().is_none());
        let other = "arn:aws:ecs:eu-central-1:1:task-definition/shop-web:9";
        let failure = move_on(
            &endpoint.client,
            &wanted,
            &fresh(None, other),
            &events,
            &|_| Ok(()),
        )
        .await
        .err()
        .unwrap();
        assert!(
            failure
                .message
                .contains("starts shop-job, and not a revision of shop-web"),
            "{failure}"
        );
        put_back(&endpoint.client, &moved).await.unwrap();
        let last = endpoint.asked("PutTargets").pop().unwrap();
        assert_eq!(
            last["Targets"][0]["EcsParameters"]["TaskDefinitionArn"],
            ONE
        );
    }

    #[tokio::test]
    async fn without_a_service_its_own_task_definition_gets_the_image() {
        let endpoint = rule(ONE).await;
        let events = Events::new(Vec::new());
        let image = Some("r/shop@sha256:new");
        let moved = move_on(
            &endpoint.client,
            &schedule(None),
            &fresh(image, "x:1"),
            &events,
            &|_| Ok(()),
        )
        .await;
        assert!(moved.unwrap().is_some());
        let registered = endpoint.asked("RegisterTaskDefinition");
        assert_eq!(
            registered[0]["containerDefinitions"][0]["image"],
            "r/shop@sha256:new"
        );
        assert_eq!(registered[0]["revision"], Value::Null);
        let put = endpoint.asked("PutTargets");
        assert_eq!(
            put[0]["Targets"][0]["EcsParameters"]["TaskDefinitionArn"],
            TWO
        );
        // A rollback has no image for it.
        let stays = move_on(
            &endpoint.client,
            &schedule(None),
            &fresh(None, "x:1"),
            &events,
            &|_| Ok(()),
        )
        .await;
        assert!(stays.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_family_without_a_revision_follows_by_itself_and_a_missing_rule_is_named() {
        let endpoint = rule("arn:aws:ecs:eu-central-1:1:task-definition/shop-job").await;
        let events = Events::new(Vec::new());
        let moved = move_on(
            &endpoint.client,
            &schedule(Some("web")),
            &fresh(None, TWO),
            &events,
            &|_| Ok(()),
        )
        .await;
        assert!(moved.unwrap().is_none());
        assert!(endpoint.asked("PutTargets").is_empty());
        let empty =
            Endpoint::answering(|_, _, _| refusal(400, "ResourceNotFoundException", "no")).await;
        let failure = look(&empty.client, &schedule(None)).await.unwrap_err();
        assert_eq!(
            failure.message,
            "the rule night does not exist in eu-central-1"
        );
    }
}
