//! What is to be deployed: one work item for each service, made from hoist.yaml before any call.

use hoist_aws::{Client, Service as AwsService};
use hoist_ecs::{Document, Problem};
use hoist_project::{Definition, Project, ProjectError, Service, Source};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind, Place};
use crate::provision::Wanted;
use crate::refusal::refused;
use crate::select;

/// One service and its definitions. The definitions are changed on the way: the image goes in, names become identifiers.
#[derive(Clone)]
pub struct Work {
    /// The service as hoist.yaml says it.
    pub service: Service,
    /// Task definition; null until `live` is read.
    pub task_definition: Value,
    /// Service definition; an empty object where there is none.
    pub service_definition: Value,
    /// Whether the service can be created if it is absent.
    pub can_create: bool,
    /// Settings of the target group that goes with the short form, its attributes as `Attributes`.
    pub target_group: Option<Value>,
    task_document: Option<Document>,
    service_document: Option<Document>,
}

impl Work {
    /// The service's key in hoist.yaml.
    pub fn key(&self) -> &str {
        &self.service.key
    }

    /// The ECS service's name.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// The cluster, name or ARN.
    pub fn cluster(&self) -> &str {
        &self.service.cluster
    }

    /// Whether what runs is the base of the task definition.
    pub fn is_live(&self) -> bool {
        self.task_document.is_none()
    }

    /// Whether the definitions come from the short form.
    pub fn is_short(&self) -> bool {
        matches!(self.service.definition, Definition::Short(_))
    }

    fn new(service: &Service, region: &str) -> Work {
        let definitions = service.definitions(region, None);
        let value = |document: &Option<Document>| {
            document.as_ref().map(|document| document.value().clone())
        };
        let target_group = definitions.load_balancer.map(|balancer| {
            let mut group = balancer.target_group.clone();
            group["Attributes"] = balancer.to_value()["TargetGroupAttributes"].take();
            group
        });
        Work {
            service: service.clone(),
            task_definition: value(&definitions.task).unwrap_or(Value::Null),
            service_definition: value(&definitions.service).unwrap_or_else(|| json!({})),
            can_create: definitions.service.is_some(),
            target_group,
            task_document: definitions.task,
            service_document: definitions.service,
        }
    }

    /// Puts the image, if there is one, and the environment additions into the task definition; `live` is read first.
    ///
    /// # Errors
    /// The task definition cannot be read, or the container is not in it.
    pub async fn overlay(
        &mut self,
        aws: &Client,
        live: Option<&Value>,
        image: Option<&str>,
    ) -> Result<(), Failure> {
        if self.task_definition.is_null() {
            let Some(running) = live.and_then(|live| live["taskDefinition"].as_str()) else {
                return Err(Failure::new(
                    Kind::Check,
                    format!(
                        "the service {} does not exist, so there is no live task definition",
                        self.name()
                    ),
                )
                .hint("name a file as `task-definition` for the first deployment"));
            };
            let mut answer = aws
                .json(
                    AwsService::Ecs,
                    "DescribeTaskDefinition",
                    json!({ "taskDefinition": running, "include": ["TAGS"] }),
                )
                .await
                .map_err(|error| refused(format!("failed to describe {running}"), &error))?;
            let mut definition = hoist_ecs::strip_describe_only(&answer["taskDefinition"]);
            let tags = answer["tags"].take();
            if tags.as_array().is_some_and(|tags| !tags.is_empty()) {
                definition["tags"] = tags;
            }
            self.task_definition = definition;
        }
        let overlaid = match image {
            Some(image) => self.service.overlay(&self.task_definition, image),
            None => self.service.additions(&self.task_definition),
        };
        self.task_definition = overlaid.map_err(|error| {
            let failure = Failure::because(
                Kind::Configuration,
                "failed to put the image into the task definition",
                &error,
            );
            match error.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        Ok(())
    }

    /// What the provision step is to make for it.
    pub fn wanted<'a>(&'a mut self, app: &'a str) -> Wanted<'a> {
        Wanted {
            app,
            service: &self.service.name,
            cluster: &self.service.cluster,
            task_definition: &mut self.task_definition,
            service_definition: &mut self.service_definition,
            target_group: self.target_group.as_ref(),
        }
    }

    /// Both definitions and the load balancer's settings, as `hoist render` shows them.
    pub fn to_value(&self) -> Value {
        let mut all = json!({ "taskDefinition": self.task_definition, "serviceDefinition": self.service_definition });
        if let Some(group) = &self.target_group {
            all["targetGroup"] = group.clone();
        }
        all
    }
}

/// The work items of the services in `only` (keys or names), or of all services.
///
/// # Errors
/// `Configuration` for a service that hoist.yaml does not have.
pub fn works(project: &Project, region: &str, only: &[String]) -> Result<Vec<Work>, Failure> {
    Ok(select::some(project, only)?
        .into_iter()
        .map(|service| Work::new(service, region))
        .collect())
}

/// Checks the definitions of every item. Returns the warnings, rendered.
///
/// # Errors
/// `Configuration`, with every error rendered with file, line and column.
pub fn check(works: &[Work]) -> Result<Vec<String>, Failure> {
    let mut problems: Vec<Problem> = Vec::new();
    for work in works {
        if let Some(task) = &work.task_document {
            problems.extend(hoist_ecs::check_task_definition_for(
                task,
                work.service.container.as_deref(),
            ));
        }
        if let Some(service) = &work.service_document {
            problems.extend(hoist_ecs::check_service(
                service,
                work.task_document.as_ref(),
            ));
        }
    }
    // What the short form leaves to the provision step or the account is no fault of the user's.
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
        problems.into_iter().partition(Problem::is_error);
    if errors.is_empty() {
        return Ok(warnings
            .iter()
            .map(|problem| problem.render(false))
            .collect());
    }
    Err(problems_failure(&errors))
}

/// The failure that problems in files make.
pub fn problems_failure(problems: &[Problem]) -> Failure {
    let count = problems.len();
    let rendered: Vec<String> = problems
        .iter()
        .map(|problem| problem.render(false))
        .collect();
    let mut failure = Failure::new(
        Kind::Configuration,
        if count == 1 {
            "the configuration has an error".to_owned()
        } else {
            format!("the configuration has {count} errors")
        },
    )
    .detail(rendered.join("\n"));
    failure.places = problems
        .iter()
        .map(|problem| Place {
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            message: match &problem.help {
                Some(help) => format!("{}; {help}", problem.message),
                None => problem.message.clone(),
            },
        })
        .collect();
    failure
}

/// The failure that a project that cannot be read makes.
pub fn project_failure(error: &ProjectError) -> Failure {
    if !error.problems().is_empty() {
        return problems_failure(error.problems());
    }
    let failure = Failure::because(Kind::Configuration, "failed to read the project", error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tags of a task definition revision that say where it comes from.
pub fn tags(app: &str, commit: Option<&str>, tag: Option<&str>) -> Vec<(String, String)> {
    let mut tags = vec![("hoist:app".to_owned(), app.to_owned())];
    tags.extend(tag.map(|tag| ("hoist:image-tag".to_owned(), tag.to_owned())));
    if let Some(commit) = commit {
        tags.push(("hoist:commit".to_owned(), commit.to_owned()));
    }
    if let Some(who) = who() {
        tags.push(("hoist:by".to_owned(), who));
    }
    tags
}

/// Who deploys: the person who started the workflow, else the user of this machine. With characters that a tag may have.
fn who() -> Option<String> {
    let name = ["GITHUB_ACTOR", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
    let fits = |letter: char| letter.is_alphanumeric() || " +-=._:/@".contains(letter);
    Some(
        name.chars()
            .filter(|letter| fits(*letter))
            .take(128)
            .collect(),
    )
}

/// What is odd but not wrong in hoist.yaml, rendered.
pub fn project_warnings(project: &Project) -> Vec<String> {
    project
        .warnings
        .iter()
        .map(|problem| problem.render(false))
        .collect()
}

/// The source in words.
pub fn describe(source: &Source) -> String {
    let place = source
        .branch
        .as_ref()
        .map(|branch| format!(" on {branch}"))
        .unwrap_or_default();
    match source.short() {
        Some(commit) if source.dirty => format!("commit {commit}{place} with uncommitted changes"),
        Some(commit) => format!("commit {commit}{place}"),
        None => "no git repository".to_owned(),
    }
}
