//! What would be refused, or could not run, found before any call.

mod shape;

use crate::document::Document;
use crate::node::Span;
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
        message: String,
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

    /// The problems in the order of the document.
    fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }
}

/// What is wrong with a task definition, in the order of the file. See `docs/checks.md`.
pub fn check_task_definition(document: &Document) -> Vec<Problem> {
    let mut findings = Findings::new(document);
    shape::check(&mut findings, "RegisterTaskDefinitionRequest");
    findings.finish()
}

/// What is wrong with a service definition, alone and together with the task definition that it runs.
pub fn check_service_definition(document: &Document, _task_definition: &Document) -> Vec<Problem> {
    let mut findings = Findings::new(document);
    shape::check(&mut findings, "CreateServiceRequest");
    findings.finish()
}
