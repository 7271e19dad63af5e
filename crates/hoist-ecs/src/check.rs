//! What would be refused, or could not run, found before any call.
//!
//! An error is what AWS refuses or what cannot run; a warning is what works but probably not as meant, or what this crate does not
//! know. Each check has an id, which is its anchor in `docs/checks.md`.

mod containers;
mod depends;
mod deployment;
mod express;
mod health;
mod logs;
mod ports;
mod service;
mod shape;
mod storage;
mod task;

pub use express::is_express;

use crate::document::Document;
use crate::node::{Node, Span};
use crate::problem::{Problem, Severity};

/// One check: its id is its anchor in `docs/checks.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Anchor of `docs/checks.md`.
    pub id: &'static str,
    /// What it demands, as a sentence without full stop.
    pub sentence: &'static str,
}

/// Every check of this crate.
pub fn checks() -> &'static [Check] {
    CHECKS
}

macro_rules! checks {
    ($($id:literal: $sentence:literal,)*) => {
        const CHECKS: &[Check] = &[$(Check { id: $id, sentence: $sentence }),*];
    };
}

checks! {
    "syntax": "The file is valid JSON or YAML",
    "duplicate-key": "No key stands twice in one object",
    "unknown-key": "Every key is one that ECS knows",
    "wrong-kind": "Every value is of the kind that ECS expects",
    "unknown-value": "Every value of a fixed set is one of it",
    "required-key": "What ECS requires is there",
    "document-size": "A task definition is at most 64 KB",
    "family": "The family is 1 to 255 letters, digits, hyphens and underscores",
    "fargate-size": "CPU and memory are one of the 74 sizes of Fargate",
    "compatibilities": "The task definition asks for Fargate",
    "network-mode": "The network mode is awsvpc",
    "not-on-fargate": "Nothing is used that Fargate does not have",
    "execution-role": "There is an execution role where ECS needs one",
    "platform": "The processor and the operating system are ones that Fargate runs",
    "ephemeral-storage": "Ephemeral storage is 21 to 200 GiB",
    "container-count": "There are 1 to 10 containers",
    "container-name": "Container names are valid and unique",
    "essential": "At least one container is essential",
    "image": "Every container has an image",
    "container-memory": "Containers fit into the memory and CPU of the task",
    "environment": "Environment variables and secrets have names that are unique",
    "stop-timeout": "A container has 2 to 120 seconds to stop",
    "ports": "Port mappings are valid, unique, and the host port is the container's",
    "health-check": "The container's health check is within ECS's bounds",
    "depends-on": "Containers wait for others that exist, without going in circles",
    "log-options": "The log configuration has what its driver needs",
    "volumes": "Mounted volumes exist",
    "network-configuration": "A service on Fargate has subnets",
    "launch-type": "The service runs on Fargate",
    "load-balancer": "The load balancer's container and port are those of the task definition",
    "express": "What an Express service runs has a container `Main` with one named port, and its service definition does not repeat the task definition",
    "deployment-percent": "Minimum and maximum percent let a deployment move",
    "deployment-configuration": "The deployment configuration is within ECS's bounds",
    "circuit-breaker": "A failed deployment is rolled back",
    "service-size": "Desired count and grace period are within ECS's bounds",
}

/// Problems found in one document.
struct Findings<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
}

impl<'a> Findings<'a> {
    fn new(document: &'a Document) -> Self {
        Self {
            document,
            problems: Vec::new(),
        }
    }

    fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: &str,
    ) {
        let mut problem = Problem::new(
            severity,
            self.document.name(),
            self.document.text(),
            span,
            message,
        )
        .label(label)
        .docs(check);
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.problems.push(problem);
    }

    fn error(
        &mut self,
        check: &'static str,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: &str,
    ) {
        self.add(Severity::Error, check, span, message, label, help);
    }

    fn warning(
        &mut self,
        check: &'static str,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: &str,
    ) {
        self.add(Severity::Warning, check, span, message, label, help);
    }

    /// An error with a second place that it refers to.
    fn twice(
        &mut self,
        check: &'static str,
        span: Span,
        first: Span,
        message: impl Into<String>,
        help: &str,
    ) {
        self.error(check, span, message, "the second one", help);
        if let Some(problem) = self.problems.pop() {
            self.problems
                .push(problem.related(self.document.text(), first, "the first one"));
        }
    }

    /// An integer member outside of its bounds. Returns the value if it is there and within.
    fn range(
        &mut self,
        check: &'static str,
        object: &Node,
        key: &str,
        from: i64,
        to: i64,
        unit: &str,
    ) -> Option<i64> {
        let entry = object.entry(key)?;
        let value = entry.value.as_i64()?;
        if (from..=to).contains(&value) {
            return Some(value);
        }
        let bounds = match to {
            i64::MAX => format!("{from} or more"),
            _ => format!("{from} to {to}"),
        };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        let message = format!("`{key}` is {value}, and ECS takes {bounds}{unit}");
        self.error(
            check,
            entry.value.span,
            message,
            &format!("expected {bounds}"),
            "",
        );
        None
    }

    /// The problems in the order of the document.
    fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }
}

/// Where to point for something that is missing from `object`: the key it hangs on is not known here, so its first member, or
/// its opening.
fn opening(object: &Node) -> Span {
    let span = object.span;
    match object.entries().first() {
        // YAML's block mappings begin at their first key, so pointing at it shows the right line.
        Some(first) if first.key_span.start == span.start => first.key_span,
        _ => Span {
            end: (span.start + 1).min(span.end),
            ..span
        },
    }
}

/// What is wrong with a task definition, in the order of the file. See `docs/checks.md`.
///
/// A single container may lack its image, because hoist puts it in; among several the image is asked of each.
pub fn check_task_definition(document: &Document) -> Vec<Problem> {
    check_task_definition_for(document, None)
}

/// [`check_task_definition`], where the image of the container `built` is put in by hoist.
pub fn check_task_definition_for(document: &Document, built: Option<&str>) -> Vec<Problem> {
    let mut findings = Findings::new(document);
    shape::check(&mut findings, "RegisterTaskDefinitionRequest");
    let root = document.root();
    task::check(&mut findings, root);
    containers::check(&mut findings, root, built);
    ports::check(&mut findings, root);
    health::check(&mut findings, root);
    depends::check(&mut findings, root);
    logs::check(&mut findings, root);
    storage::check(&mut findings, root);
    findings.finish()
}

/// What is wrong with a service definition, alone and together with the task definition that it runs.
pub fn check_service_definition(document: &Document, task_definition: &Document) -> Vec<Problem> {
    check_service(document, Some(task_definition))
}

/// [`check_service_definition`] where the task definition may not be known, as with `task-definition: live`.
pub fn check_service(document: &Document, task_definition: Option<&Document>) -> Vec<Problem> {
    let mut findings = Findings::new(document);
    let root = document.root();
    if express::is_express(document.value()) {
        shape::check(&mut findings, "CreateExpressGatewayServiceRequest");
        express::check(&mut findings, root, task_definition.map(Document::root));
        return findings.finish();
    }
    shape::check(&mut findings, "CreateServiceRequest");
    service::check(&mut findings, root, task_definition.map(Document::root));
    deployment::check(&mut findings, root);
    findings.finish()
}
