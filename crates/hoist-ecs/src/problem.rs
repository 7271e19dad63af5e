//! What is wrong, where, and what would be right.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::node::Span;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but probably not as meant.
    Warning,
    /// Would be refused, or could not run.
    Error,
}

/// A second place that a problem refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where it stands in the same file.
    pub span: Span,
    /// What it has to do with the problem.
    pub label: String,
}

/// One thing that is wrong in a file: where it stands, why, and what would be right.
///
/// A problem carries the lines that it shows, so it can be rendered without the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The text at fault.
    pub span_text: String,
    /// One sentence, no full stop.
    pub message: String,
    /// What stands beside the marked text; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The check that found it: an anchor of `docs/checks.md`.
    pub docs: Option<&'static str>,
    /// A second place, such as the first of two equal names.
    pub related: Option<Related>,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// The lines a problem shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Excerpt {
    text: String,
    first_line: usize,
    mark: (usize, usize),
    related: Option<(usize, usize)>,
}

/// What to do, where a label says what is needed.
fn fix_in(label: &str) -> Option<String> {
    let needs = label
        .strip_prefix("needs ")
        .map(|what| format!("add {what}"));
    let expected = label
        .strip_prefix("expected ")
        .map(|what| format!("write {what}"));
    needs.or(expected)
}

impl Problem {
    /// A problem at `span` of `text`, which is the content of `file`.
    pub fn new(
        severity: Severity,
        file: &str,
        text: &str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        let mut problem = Self {
            severity,
            file: file.to_owned(),
            line: span.line.max(1),
            column: span.column.max(1),
            span_text: String::new(),
            message: visible(&message.into()),
            label: String::new(),
            help: None,
            docs: None,
            related: None,
            excerpt: Excerpt::default(),
        };
        let (start, end) = first_line_of(text, span);
        text.get(start..end)
            .unwrap_or_default()
            .clone_into(&mut problem.span_text);
        problem.excerpt = Excerpt::of(text, (start, end), problem.line, None);
        problem
    }

    /// Says what stands beside the marked text. Where that says what is needed, it is the fix too, for readers who see no excerpt.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = visible(&label.into());
        if self.help.is_none() {
            self.help = fix_in(&self.label);
        }
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(&help.into()));
        self
    }

    /// Names the check: an anchor of `docs/checks.md`.
    pub fn docs(mut self, anchor: &'static str) -> Self {
        self.docs = Some(anchor);
        self
    }

    /// Points to a second place in the same `text`.
    pub fn related(mut self, text: &str, span: Span, label: impl Into<String>) -> Self {
        let offset = self.excerpt_offset(text);
        let mark = (self.excerpt.mark.0 + offset, self.excerpt.mark.1 + offset);
        let second = first_line_of(text, span);
        self.excerpt = Excerpt::of(text, mark, self.line.min(span.line.max(1)), Some(second));
        self.related = Some(Related {
            span,
            label: label.into(),
        });
        self
    }

    fn excerpt_offset(&self, text: &str) -> usize {
        text.split_inclusive('\n')
            .take(self.excerpt.first_line.saturating_sub(1))
            .map(str::len)
            .sum()
    }

    /// Whether this stops a deployment.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem as a compiler would print it, with colours if asked. Readable without them.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let (start, end) = self.excerpt.mark;
        let mut snippet = Snippet::source(self.excerpt.text.as_str())
            .line_start(self.excerpt.first_line.max(1))
            .path(self.file.as_str())
            .annotation(
                AnnotationKind::Primary
                    .span(start..end)
                    .label((!self.label.is_empty()).then_some(self.label.as_str())),
            );
        if let (Some(related), Some((start, end))) = (&self.related, self.excerpt.related) {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(start..end)
                    .label(related.label.as_str()),
            );
        }
        let mut group = level.primary_title(self.message.as_str()).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let docs = self.docs.map(|anchor| format!("docs/checks.md#{anchor}"));
        if let Some(docs) = &docs {
            group = group.element(Level::NOTE.with_name("docs").message(docs.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

impl std::error::Error for Problem {}

/// The text with control characters written as escapes: a key may hold anything, and a terminal obeys some of it.
fn visible(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    plain
}

/// The part of a span that lies on its first line.
fn first_line_of(text: &str, span: Span) -> (usize, usize) {
    let start = floor_boundary(text, span.start.min(text.len()));
    let end = floor_boundary(text, span.end.clamp(start, text.len()));
    let line = &text[start..];
    let line_end = start + line.find(['\n', '\r']).unwrap_or(line.len());
    (start, end.min(line_end))
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Excerpt {
    /// `first_line` is the line number on which the earlier of the two marks stands.
    fn of(
        text: &str,
        mark: (usize, usize),
        first_line: usize,
        related: Option<(usize, usize)>,
    ) -> Self {
        let from = related.map_or(mark.0, |other| other.0.min(mark.0));
        let to = related.map_or(mark.1, |other| other.1.max(mark.1));
        let start = text[..from].rfind('\n').map_or(0, |at| at + 1);
        let end = to + text[to..].find('\n').unwrap_or(text.len() - to);
        Self {
            text: text[start..end].to_owned(),
            first_line,
            mark: (mark.0 - start, mark.1 - start),
            related: related.map(|(from, to)| (from - start, to - start)),
        }
    }
}
