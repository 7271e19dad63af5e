//! YAML 1.2 (core schema) to positioned values: one document, string keys, anchors, aliases and the merge key `<<`.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::Number;

use crate::json;
use crate::node::{Entry, Kind, Node, Span};
use crate::problem::{Problem, Severity};

/// Most nodes that aliases may unfold to; a definition has a few hundred.
const NODES: usize = 100_000;
/// Deeper nesting than this is refused; definitions of ECS nest about ten levels.
const DEPTH: usize = 128;

/// Parses a YAML text that holds exactly one document.
pub(crate) fn parse(name: &str, text: &str) -> Result<Node, Box<Problem>> {
    let mut line_starts = vec![0];
    line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    Reader {
        name,
        text,
        line_starts,
        anchors: HashMap::new(),
        nodes: 0,
        events: Parser::new_from_str(text),
    }
    .document()
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    events: Parser<'a, granit_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Node, Box<Problem>> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(self
                        .problem(span, "a second YAML document", "the file must hold one")
                        .help_box(
                            "remove the `---` and what follows it, or use a file of its own",
                        ));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                Event::StreamEnd => break,
                _ => {}
            }
        }
        match root {
            Some(Node {
                kind: Kind::Null,
                span,
            }) if span.start == span.end => Err(self.empty()),
            Some(root) => Ok(root),
            None => Err(self.empty()),
        }
    }

    fn empty(&self) -> Box<Problem> {
        self.problem(
            self.span(0, 0),
            "the file is empty",
            "expected keys and values",
        )
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Box<Problem>> {
        loop {
            match self.events.next() {
                None => {
                    return Ok((
                        Event::StreamEnd,
                        self.span(self.text.len(), self.text.len()),
                    ));
                }
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => {
                    let range = span.byte_range().unwrap_or(0..0);
                    return Ok((event, self.span(range.start, range.end)));
                }
                Some(Err(error)) => {
                    let at = error
                        .marker()
                        .byte_offset()
                        .unwrap_or(0)
                        .min(self.text.len());
                    let end = at + self.text[at..].chars().next().map_or(0, char::len_utf8);
                    let message = error.to_string();
                    let message = message
                        .rsplit_once(" at byte ")
                        .or(message.rsplit_once(" at char "))
                        .map_or(message.as_str(), |(what, _)| what);
                    let mut problem =
                        self.problem(self.span(at, end), format!("not valid YAML: {message}"), "");
                    // A tab often upsets the line after it.
                    let line = problem.line;
                    let tab = (line.saturating_sub(1).max(1)..=line).any(|line| {
                        let text = &self.text[self.line_starts[line - 1]..];
                        let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
                        text[..indent].contains('\t')
                    });
                    problem.help = Some(
                        if tab {
                            "indent with spaces: YAML does not allow tabs there"
                        } else {
                            "close every bracket and quote, and put a text with special characters in double quotes"
                        }
                        .to_owned(),
                    );
                    return Err(problem);
                }
            }
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let line = self
            .line_starts
            .partition_point(|line_start| *line_start <= start);
        let line_start = self.line_starts[line - 1];
        let column = self
            .text
            .get(line_start..start)
            .map_or(0, |before| before.chars().count())
            + 1;
        Span {
            line,
            column,
            start,
            end,
        }
    }

    fn problem(
        &self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Box<Problem> {
        Box::new(
            Problem::new(Severity::Error, self.name, self.text, span, message)
                .label(label)
                .docs("syntax"),
        )
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Box<Problem>> {
        self.nodes += 1;
        if depth > DEPTH {
            return Err(self.problem(
                span,
                "nested too deeply",
                format!("more than {DEPTH} levels"),
            ));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(&text, style, tag.as_deref(), span)?)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                let end = loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break span;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                };
                let end = items
                    .last()
                    .map_or(end.end, |item: &Node| end.end.max(item.span.end));
                (
                    anchor,
                    Node {
                        span: Span { end, ..span },
                        kind: Kind::Array(items),
                    },
                )
            }
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(span, depth)?),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.problem(
                        span,
                        "an alias inside of what it names",
                        "would never end",
                    ));
                };
                let node = Node {
                    span,
                    kind: node.kind.clone(),
                };
                self.nodes += count(&node);
                if self.nodes > NODES {
                    return Err(self.problem(
                        span,
                        "aliases unfold to too much",
                        format!("more than {NODES} values"),
                    ));
                }
                (0, node)
            }
            _ => return Err(self.problem(span, "expected a value", "")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, opened: Span, depth: usize) -> Result<Node, Box<Problem>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Node> = Vec::new();
        let mut end = opened.end;
        loop {
            let (event, key_span) = self.next()?;
            let (key, plain) = match event {
                Event::MappingEnd => {
                    end = end.max(key_span.end);
                    break;
                }
                Event::Scalar(key, style, _, _) => (key.into_owned(), style == ScalarStyle::Plain),
                Event::MappingStart(..) if self.text[..key_span.start].ends_with('{') => {
                    return Err(self.unquoted_template(key_span));
                }
                _ => return Err(self.problem(key_span, "a key that is not a text", "")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            end = end.max(value.span.end);
            if key == "<<" && plain {
                match value.kind {
                    Kind::Array(items) => merged.extend(items),
                    _ => merged.push(value),
                }
                continue;
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                return Err(json::twice(
                    self.name,
                    self.text,
                    &key,
                    first.key_span,
                    key_span,
                ));
            }
            entries.push(Entry {
                key,
                key_span,
                value,
            });
        }
        for node in merged {
            let Kind::Object(more) = node.kind else {
                return Err(self.problem(
                    node.span,
                    "`<<` takes an object or a list of objects",
                    "",
                ));
            };
            for entry in more {
                if entries.iter().all(|own| own.key != entry.key) {
                    entries.push(entry);
                }
            }
        }
        Ok(Node {
            span: Span { end, ..opened },
            kind: Kind::Object(entries),
        })
    }

    fn unquoted_template(&self, at: Span) -> Box<Problem> {
        let start = at.start - 1;
        let rest = &self.text[start..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let template = &line[..line.find("}}").map_or(line.len(), |end| end + 2)];
        let span = self.span(start, start + template.len());
        self.problem(
            span,
            "a template outside of quotes",
            "YAML reads this as an object",
        )
        .help_box(&format!("write \"{}\"", template.replace('"', "'")))
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Node, Box<Problem>> {
        let core = tag.and_then(|tag| {
            let tag = tag.to_string();
            tag.strip_prefix("!!")
                .or_else(|| tag.strip_prefix("tag:yaml.org,2002:"))
                .map(str::to_owned)
        });
        let kind = match core.as_deref() {
            Some("str") => Kind::String(text.to_owned()),
            None if style != ScalarStyle::Plain || tag.is_some() => Kind::String(text.to_owned()),
            _ => match plain(text) {
                Ok(kind) => kind,
                Err(why) => {
                    return Err(self
                        .problem(span, format!("`{text}` {why}"), "")
                        .help_box("put it in quotes if it is a text"));
                }
            },
        };
        Ok(Node { span, kind })
    }
}

/// Small convenience for boxed problems.
trait HelpBox {
    fn help_box(self, help: &str) -> Box<Problem>;
}

impl HelpBox for Box<Problem> {
    fn help_box(mut self, help: &str) -> Box<Problem> {
        self.help = Some(help.to_owned());
        self
    }
}

fn count(node: &Node) -> usize {
    1 + node.items().iter().map(count).sum::<usize>()
        + node
            .entries()
            .iter()
            .map(|entry| count(&entry.value))
            .sum::<usize>()
}

/// What an unquoted word means in YAML's core schema (YAML 1.2.2, section 10.3.2).
fn plain(text: &str) -> Result<Kind, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let unsigned = text.strip_prefix('+').unwrap_or(text);
            let radix = |prefix: &str, radix| {
                text.strip_prefix(prefix)
                    .map(|digits| u64::from_str_radix(digits, radix))
            };
            if let Some(Ok(number)) = radix("0x", 16).or_else(|| radix("0o", 8)) {
                Kind::Number(number.into())
            } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                // `0123` is the number 123 to YAML 1.2, and JSON has no such form.
                let significant = digits.trim_start_matches('0');
                let sign = if text.starts_with('-') { "-" } else { "" };
                let canonical = format!(
                    "{sign}{}",
                    if significant.is_empty() {
                        "0"
                    } else {
                        significant
                    }
                );
                let canonical = if canonical == "-0" { "0" } else { &canonical };
                Kind::Number(json::number(canonical)?)
            } else if is_float(digits) {
                match unsigned.parse::<f64>().ok().and_then(Number::from_f64) {
                    Some(number) => Kind::Number(number),
                    None => return Err("does not fit into 64 bits"),
                }
            } else {
                Kind::String(text.to_owned())
            }
        }
    })
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_fits
}
