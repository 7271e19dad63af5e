//! What the containers of all tasks print, in the order of time, and as it comes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use hoist_aws::read::{self, ServiceView};
use hoist_aws::{Client, Service as Aws};
use hoist_project::Service;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::refusal::{has_code, refused};
use crate::select;
use crate::status::describe_definition;

/// CloudWatch may show an event some seconds after a later one: while following, this much is asked for again, in milliseconds.
const OVERLAP: i64 = 10_000;
/// Looks between two questions which revisions run.
const LOOKS_A_REVISION: u32 = 10;

/// Which lines.
#[derive(Clone, Debug)]
pub struct Query {
    /// From when.
    pub since: Timestamp,
    /// Filter pattern of CloudWatch Logs.
    pub filter: Option<String>,
    /// Only tasks whose id begins with this.
    pub task: Option<String>,
    /// Only this container.
    pub container: Option<String>,
    /// Time between two looks, without end; `None` for one look.
    pub follow: Option<Duration>,
}

/// One line of a container.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When it was printed.
    pub at: Timestamp,
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// Id of the task.
    pub task: String,
    /// Container.
    pub container: String,
    /// The line.
    pub message: String,
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} {} {} {}",
            self.at.strftime("%H:%M:%S%.3f"),
            self.task.get(..8).unwrap_or(&self.task),
            self.container,
            self.message
        )
    }
}

/// Where a container's lines are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: String,
    group: String,
    /// Begins the stream names: `prefix/container/`.
    prefix: String,
    container: String,
}

/// Tells the lines of `services`.
///
/// # Errors
/// A service does not exist, a log group does not, or AWS refused a call.
pub async fn logs(
    aws: &Client,
    services: &[&Service],
    query: &Query,
    tell: &mut (dyn FnMut(&Line) + Send),
) -> Result<(), Failure> {
    let mut places = places(aws, services, query).await?;
    let mut seen: HashMap<String, i64> = HashMap::new();
    let mut from = query.since.as_millisecond();
    let mut looks = 0;
    loop {
        let mut found = Vec::new();
        for place in &places {
            lines(aws, place, query, from, &mut seen, &mut found).await?;
        }
        found.sort_by_key(|line: &Line| line.at);
        found.iter().for_each(&mut *tell);
        let Some(pause) = query.follow else {
            return Ok(());
        };
        if let Some(last) = found.last() {
            from = from.max(last.at.as_millisecond() - OVERLAP);
            seen.retain(|_, at| *at >= from);
        }
        tokio::time::sleep(pause).await;
        looks += 1;
        if looks % LOOKS_A_REVISION == 0 {
            places = self::places(aws, services, query).await?;
        }
    }
}

async fn places(
    aws: &Client,
    services: &[&Service],
    query: &Query,
) -> Result<BTreeSet<Place>, Failure> {
    let mut places = BTreeSet::new();
    for service in services {
        let live = select::live(aws, service).await?;
        let view = ServiceView::of(&live);
        let revisions: BTreeSet<&str> = view
            .deployments()
            .map(|deployment| deployment.task_definition())
            .chain([view.task_definition()])
            .collect();
        for revision in revisions {
            let described = describe_definition(aws, revision).await?;
            for container in read::list(&described["taskDefinition"], "containerDefinitions") {
                let options = &container["logConfiguration"]["options"];
                let name = read::text(container, "name");
                let wanted = query
                    .container
                    .as_deref()
                    .is_none_or(|wanted| wanted == name);
                if let (true, Some(group), Some(prefix)) = (
                    wanted && container["logConfiguration"]["logDriver"] == "awslogs",
                    options["awslogs-group"].as_str(),
                    options["awslogs-stream-prefix"].as_str(),
                ) {
                    places.insert(Place {
                        service: service.key.clone(),
                        group: group.to_owned(),
                        prefix: format!("{prefix}/{name}/"),
                        container: name.to_owned(),
                    });
                }
            }
        }
    }
    Ok(places)
}

async fn lines(
    aws: &Client,
    place: &Place,
    query: &Query,
    from: i64,
    seen: &mut HashMap<String, i64>,
    found: &mut Vec<Line>,
) -> Result<(), Failure> {
    let mut next = Value::Null;
    loop {
        let mut request = json!({
            "logGroupName": place.group,
            "logStreamNamePrefix": match &query.task {
                Some(task) => format!("{}{task}", place.prefix),
                None => place.prefix.clone(),
            },
            "startTime": from,
        });
        if let Some(filter) = &query.filter {
            request["filterPattern"] = json!(filter);
        }
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = match aws.json(Aws::Logs, "FilterLogEvents", request).await {
            Ok(answer) => answer,
            // The group is made when the first container starts, where the definition says so.
            Err(error) if has_code(&error, "ResourceNotFoundException") => return Ok(()),
            Err(error) => {
                return Err(refused(
                    format!("failed to read the log group {}", place.group),
                    &error,
                ));
            }
        };
        for event in read::list(&answer, "events") {
            let Some(at) = read::number(event, "timestamp") else {
                continue;
            };
            if seen
                .insert(read::text(event, "eventId").to_owned(), at)
                .is_some()
            {
                continue;
            }
            found.push(Line {
                at: Timestamp::from_millisecond(at).unwrap_or_default(),
                service: place.service.clone(),
                task: read::text(event, "logStreamName")
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                container: place.container.clone(),
                message: read::text(event, "message").trim_end().to_owned(),
            });
        }
        next = answer["nextToken"].take();
        if !next.is_string() {
            return Ok(());
        }
    }
}
