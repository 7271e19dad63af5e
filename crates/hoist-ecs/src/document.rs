//! A JSON or YAML file whose every key and value knows where it stands.

use std::sync::Arc;

use serde_json::Value;

use crate::node::{Node, Span};
use crate::problem::{Problem, Severity};
use crate::{json, yaml};

/// A definition as the user wrote it: the value with its order, and where each part stands.
#[derive(Debug, Clone)]
pub struct Document {
    name: Arc<str>,
    text: Arc<str>,
    root: Node,
    value: Value,
}

impl Document {
    /// Parses JSON (`*.json`, or text that opens with `{` or `[` in a file of any other name than `*.yaml` and `*.yml`) or YAML.
    ///
    /// # Errors
    /// A syntax error, a key that stands twice, a number beyond 64 bits, or (YAML) more than one document.
    pub fn parse(name: &str, text: &str) -> Result<Self, Box<Problem>> {
        let lower = name.to_ascii_lowercase();
        let strict = lower.ends_with(".json")
            || (!lower.ends_with(".yaml")
                && !lower.ends_with(".yml")
                && text.trim_start().starts_with(['{', '[']));
        let root = if strict {
            json::parse(name, text)?
        } else {
            yaml::parse(name, text)?
        };
        Ok(Self::from_node(name, text, root))
    }

    /// A document for a value that was made, not written: its text is the value as indented JSON.
    pub fn from_value(name: &str, value: &Value) -> Self {
        let text = format!("{value:#}\n");
        let root = json::parse(name, &text).expect("serde_json writes valid JSON");
        Self::from_node(name, &text, root)
    }

    /// A document whose nodes were changed after parsing; spans still refer to `text`.
    pub fn from_node(name: &str, text: &str, root: Node) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            value: root.to_value(),
            root,
        }
    }

    /// The file name given to [`Document::parse`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value, keys in the order in which they were written.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value with positions.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Where the value at a JSON pointer stands.
    pub fn span(&self, pointer: &str) -> Option<Span> {
        self.root.pointer(pointer).map(|node| node.span)
    }

    /// Where the key of the value at a JSON pointer stands.
    pub fn key_span(&self, pointer: &str) -> Option<Span> {
        self.root.located(pointer)?.0
    }

    /// An error at `span`.
    pub fn error(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Error, &self.name, &self.text, span, message)
    }

    /// A warning at `span`.
    pub fn warning(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Warning, &self.name, &self.text, span, message)
    }
}
