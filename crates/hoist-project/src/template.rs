//! Templates in values: `{{ env.X }}`, `{{ env.X | default("y") }}`.
//!
//! Only texts inside of a parsed file are templates, so a value can never break the file's syntax. A text that is one template
//! and nothing else keeps the kind of its result: `"{{ env.PORT | int }}"` is a number. What only looks like a template, such as
//! the `{{.Name}}` of Docker's log options, stays as it is.

use std::collections::BTreeMap;

use hoist_ecs::{Document, Kind, Node, Problem, Span};
use minijinja::{Environment, UndefinedBehavior, Value};

/// The variables that templates see as `env`.
pub type Variables = BTreeMap<String, String>;

/// A document with its templates filled in; positions stay those of the text as written.
///
/// # Errors
/// Every template that cannot be filled in: a variable that is not set and has no default, or a syntax error.
pub fn fill(document: &Document, variables: &Variables) -> Result<Document, Vec<Problem>> {
    if !document.text().contains("{{") {
        return Ok(document.clone());
    }
    let mut root = document.root().clone();
    fill_node(document, &mut root, variables)?;
    Ok(Document::from_node(document.name(), document.text(), root))
}

/// Fills in the templates below one node of a document.
///
/// # Errors
/// As [`fill`].
pub fn fill_node(
    document: &Document,
    root: &mut Node,
    variables: &Variables,
) -> Result<(), Vec<Problem>> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("default", minijinja::filters::default);
    environment.add_filter("int", minijinja::filters::int);
    environment.add_filter("float", minijinja::filters::float);
    environment.add_filter("bool", minijinja::filters::bool);
    environment.add_filter("lower", minijinja::filters::lower);
    environment.add_filter("upper", minijinja::filters::upper);
    environment.add_filter("trim", minijinja::filters::trim);
    environment.add_filter("replace", minijinja::filters::replace);
    let mut filler = Filler {
        document,
        environment,
        variables,
        problems: Vec::new(),
    };
    filler.node(root);
    if filler.problems.is_empty() {
        Ok(())
    } else {
        Err(filler.problems)
    }
}

struct Filler<'a> {
    document: &'a Document,
    environment: Environment<'a>,
    variables: &'a Variables,
    problems: Vec<Problem>,
}

/// A piece of a text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    Template { whole: &'a str, expression: &'a str },
}

impl Filler<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.kind {
            Kind::Array(items) => items.iter_mut().for_each(|item| self.node(item)),
            Kind::Object(entries) => entries
                .iter_mut()
                .for_each(|entry| self.node(&mut entry.value)),
            Kind::String(text) if text.contains("{{") => {
                let text = std::mem::take(text);
                node.kind = self.text(&text, node.span);
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, span: Span) -> Kind {
        let pieces = pieces(text);
        if let [Piece::Template { whole, expression }] = pieces.as_slice() {
            return self
                .value(whole, expression, span)
                .map_or(Kind::Null, into_kind);
        }
        let mut filled = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => filled.push_str(literal),
                Piece::Template { whole, expression } => {
                    if let Some(value) = self.value(whole, expression, span) {
                        filled.push_str(&value.to_string());
                    }
                }
            }
        }
        Kind::String(filled)
    }

    fn value(&mut self, whole: &str, expression: &str, span: Span) -> Option<Value> {
        let span = self.narrow(whole, span);
        let mut fail = |message: String, label: &str, help: String| {
            self.problems.push(
                self.document
                    .error(span, message)
                    .label(label)
                    .help(help)
                    .docs("templates"),
            );
            None
        };
        if let Some(name) = ecspresso(expression) {
            let help = format!(
                "write `{{{{ env.{name} }}}}` or `{{{{ env.{name} | default(\"...\") }}}}`"
            );
            return fail(
                format!("`{whole}` is ecspresso's template language"),
                "",
                help,
            );
        }
        let variables = Value::from_pairs(
            self.variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let context = Value::from_pairs([("env", variables)]);
        let evaluated = self
            .environment
            .compile_expression(expression)
            .and_then(|compiled| compiled.eval(context));
        match evaluated {
            Ok(value) if !value.is_undefined() => Some(value),
            Err(error) if error.kind() != minijinja::ErrorKind::UndefinedError => {
                let detail = error
                    .detail()
                    .map_or_else(|| error.kind().to_string(), str::to_owned);
                fail(
                    format!("`{whole}` cannot be read: {detail}"),
                    "",
                    "a template is `{{ env.NAME }}` or `{{ env.NAME | default(\"value\") }}`"
                        .to_owned(),
                )
            }
            _ => match variable(expression) {
                Some(name) => {
                    let near = hoist_ecs::suggest::nearest(
                        name,
                        self.variables.keys().map(String::as_str),
                    );
                    let near = near
                        .map(|near| format!("; `{near}` is set, did you mean that?"))
                        .unwrap_or_default();
                    fail(
                        format!("the environment variable `{name}` is not set"),
                        "needed here",
                        format!(
                            "set it, or give a default: `{{{{ env.{name} | default(\"value\") }}}}`{near}"
                        ),
                    )
                }
                None => fail(
                    format!("`{whole}` names nothing that exists"),
                    "",
                    "templates know `env`, as in `{{ env.NAME }}`".to_owned(),
                ),
            },
        }
    }

    /// The place of the template itself inside of a longer text, where the text holds it as it stands.
    fn narrow(&self, whole: &str, span: Span) -> Span {
        let source = self
            .document
            .text()
            .get(span.start..span.end)
            .unwrap_or_default();
        match source.find(whole) {
            Some(at) => {
                let before = &source[..at];
                let line = span.line + before.matches('\n').count();
                let column = match before.rfind('\n') {
                    Some(newline) => before[newline + 1..].chars().count() + 1,
                    None => span.column + before.chars().count(),
                };
                Span {
                    line,
                    column,
                    start: span.start + at,
                    end: span.start + at + whole.len(),
                }
            }
            None => span,
        }
    }
}

fn into_kind(value: Value) -> Kind {
    match serde_json::to_value(&value) {
        Ok(serde_json::Value::Bool(yes)) => Kind::Bool(yes),
        Ok(serde_json::Value::Number(number)) => Kind::Number(number),
        Ok(serde_json::Value::Null) => Kind::Null,
        _ => Kind::String(value.to_string()),
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut literal = 0;
    while let Some(open) = rest[literal..].find("{{").map(|at| literal + at) {
        let Some(close) = closing(&rest[open + 2..]).map(|at| open + 2 + at) else {
            break;
        };
        let expression = rest[open + 2..close].trim();
        if !is_template(expression) {
            literal = open + 2;
            continue;
        }
        if open > 0 {
            pieces.push(Piece::Literal(&rest[..open]));
        }
        pieces.push(Piece::Template {
            whole: &rest[open..close + 2],
            expression,
        });
        rest = &rest[close + 2..];
        literal = 0;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

/// Where `}}` stands outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// Whether the inside of `{{ }}` is meant for hoist: a name that is followed by `.`, `[`, `|` or nothing, or ecspresso's functions.
fn is_template(expression: &str) -> bool {
    let name = expression
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(expression.len());
    let follows = expression[name..].trim_start();
    let named = name > 0 && (follows.is_empty() || follows.starts_with(['.', '[', '|']));
    // `{{ json .Name }}` is Go: a dot after a space.
    let go = expression[name..].starts_with(' ') && follows.starts_with('.');
    let keyword = matches!(expression, "end" | "else" | "break" | "continue");
    named && !go && !keyword || ecspresso(expression).is_some()
}

/// The variable that ecspresso's ``env `X` `` or ``must_env `X` `` names.
fn ecspresso(expression: &str) -> Option<&str> {
    let rest = expression
        .strip_prefix("must_env")
        .or_else(|| expression.strip_prefix("env"))?;
    let quoted = rest.trim_start().strip_prefix(['`', '"'])?;
    let end = quoted.find(['`', '"'])?;
    Some(&quoted[..end])
}

/// The variable that an expression reads first: `X` of `env.X`, `env["X"]`.
fn variable(expression: &str) -> Option<&str> {
    let rest = expression.strip_prefix("env")?.trim_start();
    let name = match rest.strip_prefix('.') {
        Some(rest) => rest.trim_start(),
        None => rest
            .strip_prefix('[')?
            .trim_start()
            .trim_start_matches(['"', '\'']),
    };
    let end = name
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<serde_json::Value, String> {
        let variables = Variables::from([
            ("TAG".to_owned(), "v1".to_owned()),
            ("PORT".to_owned(), "8080".to_owned()),
            ("QUOTE".to_owned(), "a\"b\\c\n".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        let document = Document::parse("t.json", text).map_err(|problem| problem.to_string())?;
        fill(&document, &variables)
            .map(|document| document.value().clone())
            .map_err(|problems| {
                problems
                    .iter()
                    .map(|problem| problem.render(false))
                    .collect::<Vec<_>>()
                    .join("\n")
            })
    }

    #[test]
    fn values_are_filled_in_and_keep_the_kind_that_was_asked_for() {
        let value = filled(
            r#"{"a": "repo:{{ env.TAG }}", "b": "{{ env.PORT | int }}", "c": "{{ env.PORT }}", "d": "{{ env.NO | default('x') }}",
               "e": "{{ env['TAG'] }}-{{env.PORT}}", "f": "{{ env.NO | default(80) }}", "g": "{{ env.EMPTY }}", "h": ["{{ env.QUOTE }}"]}"#,
        );
        assert_eq!(
            value.unwrap(),
            serde_json::json!({"a": "repo:v1", "b": 8080, "c": "8080", "d": "x", "e": "v1-8080", "f": 80, "g": "", "h": ["a\"b\\c\n"]})
        );
    }

    #[test]
    fn what_only_looks_like_a_template_stays_as_it_is() {
        for text in [
            r#"{"tag":"{{.Name}}/{{.FullID}}"}"#,
            r#"{"tag":"{{ json .Name }} {{ range .X }}{{ end }}"}"#,
            r#"{"a":"{% raw %} {# no comment #} }} {{ {{"}"#,
            r#"{"a":"{{ }}","b":"{{","c":"{\"x\":{\"y\":{}}}"}"#,
        ] {
            assert_eq!(
                filled(text).unwrap().to_string(),
                serde_json::from_str::<serde_json::Value>(text)
                    .unwrap()
                    .to_string()
            );
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_place() {
        let error = filled("{\n  \"image\": \"repo:{{ env.TGA }}\"\n}").unwrap_err();
        assert_eq!(
            error,
            "error: the environment variable `TGA` is not set\n --> t.json:2:18\n  |\n2 |   \"image\": \"repo:{{ env.TGA }}\"\n  |                  ^^^^^^^^^^^^^ needed here\n  |\n  = help: set it, or give a default: `{{ env.TGA | default(\"value\") }}`; `TAG` is set, did you mean that?\n  = docs: docs/checks.md#templates"
        );
    }

    #[test]
    fn mistakes_in_templates_are_explained() {
        for (text, message) in [
            (
                r#"{"a": "{{ evn.TAG }}"}"#,
                "`{{ evn.TAG }}` names nothing that exists",
            ),
            (
                r#"{"a": "{{ env.TAG | shout }}"}"#,
                "`{{ env.TAG | shout }}` cannot be read",
            ),
            (
                r#"{"a": "{{ env.TAG | }}"}"#,
                "`{{ env.TAG | }}` cannot be read",
            ),
            (
                r#"{"a": "{{ env.TAG | int }}"}"#,
                "`{{ env.TAG | int }}` cannot be read",
            ),
            (
                r#"{"a": "{{ must_env `TAG` }}"}"#,
                "is ecspresso's template language",
            ),
        ] {
            let error = filled(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
