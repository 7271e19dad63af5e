//! A strict JSON reader (RFC 8259) that keeps positions.
//!
//! JSON is nearly, but not quite, a subset of YAML: tabs, `\/`, surrogate pairs and long keys differ. So it has a reader of its own.

use serde_json::Number;

use crate::node::{Entry, Kind, Node, Span};
use crate::problem::{Problem, Severity};

/// Deeper nesting than this is refused; definitions of ECS nest about ten levels.
const DEPTH: usize = 128;

/// Parses a whole JSON text.
pub(crate) fn parse(name: &str, text: &str) -> Result<Node, Box<Problem>> {
    let start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut reader = Reader {
        name,
        text,
        at: start,
        line: 1,
        line_start: start,
    };
    reader.blank();
    if reader.peek().is_none() {
        return Err(reader.problem(reader.mark(), "the file is empty", "expected an object"));
    }
    let node = reader.value(0)?;
    reader.blank();
    if reader.peek().is_some() {
        return Err(reader.problem(
            reader.one(),
            "text after the end of the JSON value",
            "nothing may follow here",
        ));
    }
    Ok(node)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// An empty span here.
    fn mark(&self) -> Span {
        let column = self.text[self.line_start..self.at].chars().count() + 1;
        Span {
            line: self.line,
            column,
            start: self.at,
            end: self.at,
        }
    }

    /// The character here, or the empty span at the end of the text.
    fn one(&self) -> Span {
        let width = self.text[self.at..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        Span {
            end: self.at + width,
            ..self.mark()
        }
    }

    fn since(&self, start: Span) -> Span {
        Span {
            end: self.at,
            ..start
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

    fn blank(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Box<Problem>> {
        if depth > DEPTH {
            return Err(self.problem(
                self.one(),
                "nested too deeply",
                format!("more than {DEPTH} levels"),
            ));
        }
        let start = self.mark();
        let kind = match self.peek() {
            Some(b'{') => self.object(start, depth)?,
            Some(b'[') => self.array(start, depth)?,
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number(start)?,
            _ => self.word(start)?,
        };
        Ok(Node {
            span: self.since(start),
            kind,
        })
    }

    fn object(&mut self, opened: Span, depth: usize) -> Result<Kind, Box<Problem>> {
        let mut entries: Vec<Entry> = Vec::new();
        self.at += 1;
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Kind::Object(entries));
        }
        loop {
            let start = self.mark();
            match self.peek() {
                Some(b'"') => {}
                Some(b'{')
                    if self.text[self.at..].starts_with('{')
                        && self.text[..self.at].ends_with('{') =>
                {
                    return Err(self.unquoted_template(start));
                }
                Some(b'}') => {
                    return Err(self.problem(
                        self.one(),
                        "a comma before the closing brace",
                        "remove the comma before this",
                    ));
                }
                Some(b'/') => return Err(self.comment()),
                None => return Err(self.unclosed(opened, '}')),
                _ => {
                    return Err(self.problem(
                        self.word_span(),
                        "expected a key",
                        "a key is a string in double quotes",
                    ));
                }
            }
            let key = self.string()?;
            let key_span = self.since(start);
            self.blank();
            if self.peek() != Some(b':') {
                return Err(self.problem(
                    self.one(),
                    "expected a colon after the key",
                    "`:` is missing before this",
                ));
            }
            self.at += 1;
            self.blank();
            let value = self.value(depth + 1)?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                return Err(twice(self.name, self.text, &key, first.key_span, key_span));
            }
            entries.push(Entry {
                key,
                key_span,
                value,
            });
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Kind::Object(entries));
                }
                Some(b'/') => return Err(self.comment()),
                None => return Err(self.unclosed(opened, '}')),
                _ => {
                    return Err(self.problem(
                        self.word_span(),
                        "expected `,` or `}`",
                        "needs a comma before this",
                    ));
                }
            }
            self.blank();
        }
    }

    fn array(&mut self, opened: Span, depth: usize) -> Result<Kind, Box<Problem>> {
        let mut items = Vec::new();
        self.at += 1;
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Kind::Array(items));
        }
        loop {
            if self.peek() == Some(b']') {
                return Err(self.problem(
                    self.one(),
                    "a comma before the closing bracket",
                    "remove the comma before this",
                ));
            }
            if self.peek().is_none() {
                return Err(self.unclosed(opened, ']'));
            }
            items.push(self.value(depth + 1)?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Kind::Array(items));
                }
                Some(b'/') => return Err(self.comment()),
                None => return Err(self.unclosed(opened, ']')),
                _ => {
                    return Err(self.problem(
                        self.word_span(),
                        "expected `,` or `]`",
                        "needs a comma before this",
                    ));
                }
            }
            self.blank();
        }
    }

    fn unclosed(&self, opened: Span, closing: char) -> Box<Problem> {
        let span = Span {
            end: opened.start + 1,
            ..opened
        };
        self.problem(
            span,
            "the file ends too early",
            format!("this is never closed with `{closing}`"),
        )
    }

    fn comment(&self) -> Box<Problem> {
        let mut problem = self.problem(self.word_span(), "JSON has no comments", "");
        problem.help = Some(
            "rename the file to .yaml (a YAML file may hold JSON and comments), or remove it"
                .to_owned(),
        );
        problem
    }

    fn unquoted_template(&self, at: Span) -> Box<Problem> {
        let rest = &self.text[at.start - 1..];
        let length = rest
            .find("}}")
            .map_or(rest.find('\n').unwrap_or(rest.len()), |end| end + 2);
        let span = Span {
            column: at.column - 1,
            start: at.start - 1,
            end: at.start - 1 + length,
            ..at
        };
        let mut problem = self.problem(span, "a template outside of quotes", "");
        problem.help = Some(format!(
            "write \"{}\"; for a number add a filter: \"{{{{ env.PORT | int }}}}\"",
            &rest[..length].replace('"', "'")
        ));
        problem
    }

    fn string(&mut self) -> Result<String, Box<Problem>> {
        let start = self.mark();
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(b'\t') => {
                    return Err(self.problem(self.one(), "a tab inside a string", "write `\\t`"));
                }
                _ => {
                    let span = self.since(start);
                    return Err(self.problem(
                        span,
                        "the string is not closed on its line",
                        "`\"` is missing",
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Box<Problem>> {
        let start = self.mark();
        self.at += 1;
        let simple = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let high = self.hex(start)?;
                let code = if (0xd800..0xdc00).contains(&high)
                    && self.text[self.at..].starts_with("\\u")
                {
                    self.at += 2;
                    let low = self.hex(start)?;
                    if (0xdc00..0xe000).contains(&low) {
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    } else {
                        high
                    }
                } else {
                    high
                };
                let span = self.since(start);
                return char::from_u32(code).ok_or_else(|| {
                    self.problem(
                        span,
                        "half of a surrogate pair",
                        "no character has this code",
                    )
                });
            }
            _ => {
                self.at += self.text[self.at..]
                    .chars()
                    .next()
                    .map_or(0, char::len_utf8);
                let span = self.since(start);
                return Err(self.problem(
                    span,
                    "an unknown escape",
                    "write `\\\\` for a backslash",
                ));
            }
        };
        self.at += 1;
        Ok(simple)
    }

    fn hex(&mut self, start: Span) -> Result<u32, Box<Problem>> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => {
                let span = self.since(start);
                Err(self.problem(
                    span,
                    "an incomplete escape",
                    "`\\u` takes four hexadecimal digits",
                ))
            }
        }
    }

    fn number(&mut self, start: Span) -> Result<Kind, Box<Problem>> {
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        let span = self.since(start);
        let text = &self.text[span.start..span.end];
        match number(text) {
            Ok(number) => Ok(Kind::Number(number)),
            Err(why) => Err(self.problem(
                span,
                format!("`{text}` {why}"),
                "expected a number of 64 bits",
            )),
        }
    }

    fn word_span(&self) -> Span {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| c.is_whitespace() || ",]}:".contains(c))
            .unwrap_or(rest.len());
        if length == 0 {
            self.one()
        } else {
            Span {
                end: self.at + length,
                ..self.mark()
            }
        }
    }

    fn word(&mut self, start: Span) -> Result<Kind, Box<Problem>> {
        let span = self.word_span();
        let word = &self.text[span.start..span.end];
        self.at = span.end;
        match word {
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            _ if word.starts_with("//") || word.starts_with("/*") => {
                self.at = start.start;
                Err(self.comment())
            }
            "" => Err(self.problem(span, "the file ends too early", "expected a value")),
            _ => Err(self.problem(span, "expected a value", "a text stands in double quotes")),
        }
    }
}

/// A JSON number that can be kept exactly enough.
pub(crate) fn number(text: &str) -> Result<Number, &'static str> {
    match serde_json::from_str::<Number>(text) {
        Ok(number) if number.is_f64() && !text.contains(['.', 'e', 'E']) => {
            Err("does not fit into 64 bits")
        }
        Ok(number) => Ok(number),
        Err(error) if error.to_string().contains("out of range") => {
            Err("does not fit into 64 bits")
        }
        Err(_) => Err("is not a number"),
    }
}

/// The problem of a key that stands twice in one object.
pub(crate) fn twice(name: &str, text: &str, key: &str, first: Span, second: Span) -> Box<Problem> {
    Box::new(
        Problem::new(
            Severity::Error,
            name,
            text,
            second,
            format!("the key `{key}` stands twice"),
        )
        .label("the second one")
        .related(text, first, "the first one")
        .help("remove one of the two")
        .docs("duplicate-key"),
    )
}
