//! Where the minutes of a deployment went, and which settings cost them.

use std::future::Future;
use std::pin::Pin;

use hoist_aws::{Client, Service as Aws, read};
use hoist_project::{Compression, Project, Service};
use hoist_rollout::{
    Cost, Facts, GroupSettings, Phase, Settings, Shift, StepTime, TaskTimes, Timeline,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::history;
use crate::journal::{Entry, What};
use crate::refusal::refused;
use crate::select;
use crate::service::is_unknown_operation;
use crate::status::describe_definition;
use crate::table::tail;
use crate::tasks;

/// Tasks that one DescribeTasks call takes, and service deployments that one DescribeServiceDeployments call takes.
const TASKS_A_CALL: usize = 100;
const DEPLOYMENTS_A_CALL: usize = 20;
/// The exit code of a container that was killed: 128 and SIGKILL's number.
const KILLED: i64 = 137;
/// How far the clocks of this machine and of ECS may be apart for a run's wish and its deployment to be the same thing.
const TOGETHER: SignedDuration = SignedDuration::from_secs(60);
/// How long after a deployment's end its old tasks may still be on their way out.
const AFTERWARDS: SignedDuration = SignedDuration::from_mins(10);

/// Which deployment is explained.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Service deployment: ARN or id. The newest, if neither is given.
    pub deployment: Option<String>,
    /// The newest deployment of this revision of the task definition.
    pub revision: Option<u32>,
}

/// What one deployment took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// Task definition `family:revision`.
    pub revision: String,
    /// Service deployment ARN.
    pub deployment: String,
    /// What became of it, in words of ECS.
    pub outcome: String,
    /// ROLLING, BLUE_GREEN, LINEAR or CANARY.
    pub strategy: String,
    /// Seconds of all of it.
    pub seconds: f64,
    /// The phases in order, with their seconds.
    pub phases: Vec<PhaseTime>,
    /// The settings that cost the most, and what others would save.
    pub costs: Vec<Cost>,
    /// What is not known, and why.
    pub notes: Vec<String>,
    /// Every moment, the tasks, and what happened.
    pub timeline: Timeline,
}

/// A phase and how long it took in all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// What happens in it.
    pub what: &'static str,
    /// Seconds.
    pub seconds: f64,
}

/// The deployments that are explained, one for each service.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Explanation {
    /// The deployments.
    pub deployments: Vec<Explained>,
}

/// Explains the last deployment of each of `services`, or the one that is named.
///
/// # Errors
/// A service does not exist, it has no such deployment, or AWS refused a call.
pub fn explain<'a>(
    aws: &'a Client,
    project: &'a Project,
    services: &'a [&'a Service],
    journal: &'a [Entry],
    which: &'a Which,
) -> Pin<Box<dyn Future<Output = Result<Explanation, Failure>> + Send + 'a>> {
    Box::pin(async move {
        let mut deployments = Vec::new();
        for service in services {
            deployments.push(one(aws, project, service, journal, which).await?);
        }
        Ok(Explanation { deployments })
    })
}

async fn one(
    aws: &Client,
    project: &Project,
    service: &Service,
    journal: &[Entry],
    which: &Which,
) -> Result<Explained, Failure> {
    let live = select::live(aws, service).await?;
    let (deployment, revision) = find(aws, service, which).await?;
    let view = read::ServiceDeploymentView::of(&deployment);
    let definition = read::text(&revision, "taskDefinition").to_owned();
    let described = describe_definition(aws, &definition).await?;
    let known = &described["taskDefinition"];
    let groups = groups(aws, &live).await?;
    let settings = settings(project, &live, &deployment, known, &groups);
    let mut notes = Vec::new();
    let mut facts = Facts {
        now: Timestamp::now(),
        created: view.created().or(view.started()),
        finished: view.finished(),
        tasks: task_times(aws, service).await?,
        events: read::ServiceView::of(&live)
            .events()
            .filter_map(|event| Some((event.created()?, event.message().to_owned())))
            .collect(),
        delay: settings.groups.iter().map(|group| group.delay).max(),
        checked: !settings.groups.is_empty() || settings.container_interval.is_some(),
        ..Facts::default()
    };
    match facts
        .created
        .and_then(|created| run_of(journal, service, &definition, created))
    {
        Some(run) => of_run(journal, run, service, &mut facts),
        None => notes.push(
            "this machine's journal does not know the run, so build and push are not shown, and when a task was healthy is concluded from what ECS did next".to_owned(),
        ),
    }
    facts.tasks = of_deployment(&facts);
    let has_new = |facts: &Facts| {
        facts
            .tasks
            .iter()
            .any(|task| task.created >= facts.created.map(|at| at - TOGETHER))
    };
    if !has_new(&facts) && facts.finished.is_some() && settings.desired > 0 {
        notes.push(
            "ECS keeps stopped tasks for about an hour: those of this deployment are gone, and so are their times"
                .to_owned(),
        );
    }
    let timeline = hoist_rollout::timeline(&facts).ok_or_else(|| {
        Failure::new(
            Kind::Check,
            format!("ECS does not say when {} was deployed", tail(&definition)),
        )
    })?;
    let seconds = |millis: i64| millis as f64 / 1000.0;
    Ok(Explained {
        service: service.key.clone(),
        name: service.name.clone(),
        revision: tail(&definition).to_owned(),
        deployment: view.arn().to_owned(),
        outcome: view.status().to_owned(),
        strategy: strategy(&deployment, &live).to_owned(),
        seconds: seconds(timeline.millis()),
        phases: timeline
            .totals()
            .into_iter()
            .map(|(phase, millis)| PhaseTime {
                phase,
                what: phase.meaning(),
                seconds: seconds(millis),
            })
            .collect(),
        costs: hoist_rollout::costs(&timeline, &settings),
        notes,
        timeline,
    })
}

/// The service deployment that is meant, and its service revision.
async fn find(aws: &Client, service: &Service, which: &Which) -> Result<(Value, Value), Failure> {
    let mut arns: Vec<String> = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut request = json!({ "cluster": service.cluster, "service": service.name });
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = match aws.json(Aws::Ecs, "ListServiceDeployments", request).await {
            Ok(answer) => answer,
            Err(error) if is_unknown_operation(&error) => {
                return Err(Failure::because(
                    Kind::Check,
                    "this endpoint keeps no service deployments, so there is nothing to explain",
                    &error,
                ));
            }
            Err(error) => return Err(refused("failed to list the deployments", &error)),
        };
        arns.extend(read::service_deployment_briefs(&answer).map(|brief| brief.arn().to_owned()));
        next = answer["nextToken"].take();
        // The newest is on the first page.
        if !next.is_string() || which.deployment.is_none() && which.revision.is_none() {
            break;
        }
    }
    if let Some(wanted) = &which.deployment {
        arns.retain(|arn| arn == wanted || tail(arn) == wanted);
    } else if which.revision.is_none() {
        arns.truncate(1);
    }
    for some in arns.chunks(DEPLOYMENTS_A_CALL) {
        let (mut described, revisions) = history::described(aws, some).await?;
        let mut found: Vec<(Option<Timestamp>, usize, Value)> = Vec::new();
        for (index, deployment) in read::service_deployments(&described).enumerate() {
            let Some(revision) = read::service_revisions(&revisions)
                .find(|revision| revision.arn() == deployment.target_revision())
            else {
                continue;
            };
            let number = revision.task_definition().rsplit(':').next();
            let fits = which
                .revision
                .is_none_or(|wanted| number == Some(wanted.to_string().as_str()));
            if fits {
                found.push((deployment.created(), index, revision.raw().clone()));
            }
        }
        if let Some((_, index, revision)) = found.into_iter().max_by_key(|(at, ..)| *at) {
            let deployment = described["serviceDeployments"][index].take();
            return Ok((deployment, revision));
        }
    }
    let what = match (&which.deployment, which.revision) {
        (Some(deployment), _) => format!("{} has no deployment {deployment}", service.name),
        (None, Some(revision)) => {
            format!("{} has no deployment of revision {revision}", service.name)
        }
        (None, None) => format!("{} has no deployment that ECS still knows", service.name),
    };
    Err(Failure::new(Kind::Check, what)
        .hint("`hoist history` lists the deployments; ECS keeps them for 90 days"))
}

fn strategy<'a>(deployment: &'a Value, live: &'a Value) -> &'a str {
    [deployment, live]
        .iter()
        .find_map(|value| value["deploymentConfiguration"]["strategy"].as_str())
        .unwrap_or("ROLLING")
}

/// Target groups with their attributes, alternates included.
async fn groups(aws: &Client, live: &Value) -> Result<Vec<GroupSettings>, Failure> {
    let mut arns: Vec<&str> = read::list(live, "loadBalancers")
        .flat_map(|link| {
            [
                &link["targetGroupArn"],
                &link["advancedConfiguration"]["alternateTargetGroupArn"],
            ]
        })
        .filter_map(Value::as_str)
        .collect();
    arns.sort_unstable();
    arns.dedup();
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |error| refused("failed to describe the target groups", &error);
    let described = aws
        .query(
            Aws::Elbv2,
            "DescribeTargetGroups",
            &json!({ "TargetGroupArns": arns }),
        )
        .await
        .map_err(refuse)?;
    let mut groups = Vec::new();
    for group in read::list(&described, "TargetGroups") {
        let attributes = aws
            .query(
                Aws::Elbv2,
                "DescribeTargetGroupAttributes",
                &json!({ "TargetGroupArn": group["TargetGroupArn"] }),
            )
            .await
            .map_err(refuse)?;
        let small = |number: Option<i64>, default: u32| {
            number
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(default)
        };
        let delay = read::list(&attributes, "Attributes")
            .find(|one| one["Key"] == "deregistration_delay.timeout_seconds")
            .and_then(|one| read::number(one, "Value"));
        groups.push(GroupSettings {
            name: read::text(group, "TargetGroupName").to_owned(),
            interval: small(read::number(group, "HealthCheckIntervalSeconds"), 30),
            delay: small(delay, 300),
        });
    }
    Ok(groups)
}

fn settings(
    project: &Project,
    live: &Value,
    deployment: &Value,
    definition: &Value,
    groups: &[GroupSettings],
) -> Settings {
    // A deployment keeps the configuration that it was asked for with.
    let configuration = match &deployment["deploymentConfiguration"] {
        Value::Null => &live["deploymentConfiguration"],
        own => own,
    };
    let small = |value: &Value, key: &str, default: u32| {
        read::number(value, key)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(default)
    };
    let minutes = |value: &Value, key: &str, default: f64| value[key].as_f64().unwrap_or(default);
    let containers: Vec<&Value> = read::list(definition, "containerDefinitions").collect();
    let linear = &configuration["linearConfiguration"];
    let canary = &configuration["canaryConfiguration"];
    Settings {
        desired: small(live, "desiredCount", 1),
        minimum_percent: small(configuration, "minimumHealthyPercent", 100),
        maximum_percent: small(configuration, "maximumPercent", 200),
        groups: groups.to_vec(),
        container_interval: containers
            .iter()
            .filter(|container| container["healthCheck"].is_object())
            .map(|container| small(&container["healthCheck"], "interval", 30))
            .max(),
        stop_timeout: containers
            .iter()
            .map(|container| small(container, "stopTimeout", 30))
            .max()
            .unwrap_or(30),
        bake_minutes: minutes(configuration, "bakeTimeInMinutes", 0.0),
        shift: match strategy(deployment, live) {
            "BLUE_GREEN" => Shift::BlueGreen,
            "LINEAR" => Shift::Linear {
                percent: minutes(linear, "stepPercent", 10.0),
                minutes: minutes(linear, "stepBakeTimeInMinutes", 6.0),
            },
            "CANARY" => Shift::Canary {
                minutes: minutes(canary, "canaryBakeTimeInMinutes", 10.0),
            },
            _ => Shift::Rolling,
        },
        gzip: !project.as_written && project.image.compression == Compression::Gzip,
    }
}

/// The times of all tasks that ECS still knows of the service.
async fn task_times(aws: &Client, service: &Service) -> Result<Vec<TaskTimes>, Failure> {
    let mut arns = tasks::arns(aws, service, "RUNNING").await?;
    arns.extend(tasks::arns(aws, service, "STOPPED").await?);
    arns.sort();
    arns.dedup();
    let mut times = Vec::new();
    for some in arns.chunks(TASKS_A_CALL) {
        let described = aws
            .json(
                Aws::Ecs,
                "DescribeTasks",
                json!({ "cluster": service.cluster, "tasks": some }),
            )
            .await
            .map_err(|error| refused("failed to describe the tasks", &error))?;
        times.extend(read::tasks(&described).map(|task| {
            TaskTimes {
                id: task.id().to_owned(),
                address: task.private_ip().to_owned(),
                created: task.created(),
                pull_started: task.pull_started(),
                pull_stopped: task.pull_stopped(),
                started: task.started(),
                stopping: read::moment(task.raw(), "stoppingAt"),
                execution_stopped: read::moment(task.raw(), "executionStoppedAt"),
                stopped: task.stopped(),
                killed: task
                    .containers()
                    .any(|container| container.exit_code() == Some(KILLED)),
            }
        }));
    }
    Ok(times)
}

/// The tasks that the deployment brought or took, of all that there are.
fn of_deployment(facts: &Facts) -> Vec<TaskTimes> {
    let begun = [facts.asked, facts.created].into_iter().flatten().min();
    let end = facts.finished.unwrap_or(facts.now);
    facts
        .tasks
        .iter()
        .filter(|task| match (begun, task.created) {
            (Some(begun), Some(created)) if created >= begun => created <= end,
            (Some(begun), Some(_)) => task
                .stopping
                .is_some_and(|stopping| stopping >= begun && stopping <= end + AFTERWARDS),
            _ => false,
        })
        .cloned()
        .collect()
}

/// The run that asked for a deployment of `definition` at about `created`.
fn run_of<'a>(
    journal: &'a [Entry],
    service: &Service,
    definition: &str,
    created: Timestamp,
) -> Option<&'a str> {
    journal
        .iter()
        .rev()
        .find(|entry| {
            let near = entry
                .at
                .parse::<Timestamp>()
                .is_ok_and(|at| at.duration_until(created).abs() <= TOGETHER);
            near && matches!(&entry.what, What::Deploying { service: name, task_definition, .. }
                if *name == service.name && task_definition == definition)
        })
        .map(|entry| entry.run.as_str())
}

/// What the journal knows of a run.
fn of_run(journal: &[Entry], run: &str, service: &Service, facts: &mut Facts) {
    for entry in journal.iter().filter(|entry| entry.run == run) {
        let Ok(at) = entry.at.parse::<Timestamp>() else {
            continue;
        };
        match &entry.what {
            What::StepEnded { step, millis, .. } => {
                let phase = match step.as_str() {
                    "check" => Phase::Check,
                    "build" => Phase::Build,
                    "test" => Phase::Test,
                    "push" => Phase::Push,
                    "provision" | "register" => Phase::Register,
                    "run" => Phase::Before,
                    "verify" => Phase::Verify,
                    // What it takes is what the rest is about.
                    _ => continue,
                };
                let took = SignedDuration::from_millis(i64::try_from(*millis).unwrap_or(i64::MAX));
                facts.steps.push(StepTime {
                    phase,
                    began: at - took,
                    ended: at,
                });
            }
            What::Deploying { service: name, .. } if *name == service.name => {
                facts.asked = Some(at)
            }
            What::Seen {
                service: name,
                progress,
            } if *name == service.name => facts.seen.push((at, progress.clone())),
            _ => {}
        }
    }
    // The steps of other services of the same run that came later have nothing to do with this one.
    let finished = facts.finished;
    facts.steps.retain(|step| {
        step.phase != Phase::Verify || finished.is_some_and(|finished| step.ended >= finished)
    });
}
