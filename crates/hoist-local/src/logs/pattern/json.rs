//! Patterns for events that are JSON: comparisons of members, joined by `&&`, `||` and brackets.

use serde_json::Value;

use super::operand::{Operand, Operator, Reader, compare};

/// A pattern for JSON.
#[derive(Debug)]
pub struct Json(Condition);

#[derive(Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Compare(Vec<Step>, Operator, Operand),
    Is(Vec<Step>, Value),
    NotExists(Vec<Step>),
}

#[derive(Debug)]
enum Step {
    Member(String),
    Item(usize),
    Every,
}

/// Conditions may stand in so many brackets.
const DEEPEST: usize = 50;

impl Json {
    /// Reads a pattern with its curly brackets; `None` if it is none.
    pub fn parse(text: &str) -> Option<Json> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut reader = Reader(inner.chars().peekable());
        let condition = reader.either(0)?;
        reader.spaces();
        reader.0.next().is_none().then_some(Json(condition))
    }

    /// Whether a message is JSON that passes.
    pub fn matches(&self, message: &str) -> bool {
        serde_json::from_str(message).is_ok_and(|value| self.0.holds(&value))
    }
}

impl Condition {
    fn holds(&self, event: &Value) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|it| it.holds(event)),
            Condition::Any(parts) => parts.iter().any(|it| it.holds(event)),
            Condition::NotExists(path) => select(event, path).is_empty(),
            Condition::Is(path, wanted) => select(event, path).contains(&wanted),
            Condition::Compare(path, operator, operand) => select(event, path)
                .iter()
                .any(|found| fits(found, *operator, operand)),
        }
    }
}

fn fits(found: &Value, operator: Operator, operand: &Operand) -> bool {
    match (found, operand) {
        (Value::Number(number), Operand::Number(wanted)) => number
            .as_f64()
            .is_some_and(|number| compare(number, operator, *wanted)),
        (Value::String(text), Operand::Number(_)) => operand.fits(operator, text),
        (Value::String(text), _) => operand.fits(operator, text),
        (Value::Number(number), _) => operand.fits(operator, &number.to_string()),
        (Value::Bool(it), Operand::Text(_)) => operand.fits(operator, &it.to_string()),
        _ => false,
    }
}

fn select<'a>(event: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let mut found = vec![event];
    for step in path {
        found = found
            .into_iter()
            .flat_map(|value| match step {
                Step::Member(name) => value.get(name).into_iter().collect::<Vec<_>>(),
                Step::Item(at) => value.get(at).into_iter().collect(),
                Step::Every => value.as_array().into_iter().flatten().collect(),
            })
            .collect();
    }
    found
}

impl Reader<'_> {
    fn either(&mut self, depth: usize) -> Option<Condition> {
        let mut parts = vec![self.all(depth)?];
        while self.takes('|') {
            self.0.next_if_eq(&'|')?;
            parts.push(self.all(depth)?);
        }
        Some(Condition::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Option<Condition> {
        let mut parts = vec![self.one(depth)?];
        while self.takes('&') {
            self.0.next_if_eq(&'&')?;
            parts.push(self.one(depth)?);
        }
        Some(Condition::All(parts))
    }

    fn one(&mut self, depth: usize) -> Option<Condition> {
        if self.takes('(') {
            let inner = (depth < DEEPEST).then(|| self.either(depth + 1))??;
            return self.takes(')').then_some(inner);
        }
        let path = self.path()?;
        self.spaces();
        if self.0.peek()?.is_ascii_alphabetic() {
            let first = self.word();
            self.spaces();
            let second = self.word();
            return Some(match (first.as_str(), second.as_str()) {
                ("IS", "NULL") => Condition::Is(path, Value::Null),
                ("IS", "TRUE") => Condition::Is(path, Value::Bool(true)),
                ("IS", "FALSE") => Condition::Is(path, Value::Bool(false)),
                ("NOT", "EXISTS") => Condition::NotExists(path),
                _ => return None,
            });
        }
        let operator = self.operator()?;
        let operand = self.operand(")&|")?;
        let ordered = !matches!(operator, Operator::Equal | Operator::NotEqual);
        // Only numbers are less or more.
        if ordered && !matches!(operand, Operand::Number(_)) {
            return None;
        }
        Some(Condition::Compare(path, operator, operand))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.0.next_if(char::is_ascii_alphabetic) {
            word.push(letter.to_ascii_uppercase());
        }
        word
    }

    /// `$.a.b[0]`, `$.list[*].x`, `$.['a.b']`.
    fn path(&mut self) -> Option<Vec<Step>> {
        if !self.takes('$') {
            return None;
        }
        let mut steps = Vec::new();
        loop {
            if self.0.next_if_eq(&'.').is_some() {
                if self.0.peek() == Some(&'[') {
                    continue;
                }
                let mut name = String::new();
                while let Some(letter) = self
                    .0
                    .next_if(|it| it.is_alphanumeric() || "_-@#".contains(*it))
                {
                    name.push(letter);
                }
                match name.as_str() {
                    "" if self.0.next_if_eq(&'*').is_some() => steps.push(Step::Every),
                    "" => return None,
                    _ => steps.push(Step::Member(name)),
                }
            } else if self.0.next_if_eq(&'[').is_some() {
                let mut inner = String::new();
                while let Some(letter) = self.0.next_if(|it| *it != ']') {
                    inner.push(letter);
                }
                self.0.next_if_eq(&']')?;
                let quoted = inner.strip_prefix(['\'', '"']);
                steps.push(match quoted.and_then(|it| it.strip_suffix(['\'', '"'])) {
                    Some(name) => Step::Member(name.to_owned()),
                    None if inner == "*" => Step::Every,
                    None => Step::Item(inner.trim().parse().ok()?),
                });
            } else {
                return (!steps.is_empty()).then_some(steps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"level": "ERROR", "status": 503, "ok": false, "none": null, "user": {"name": "Anna B", "tags": ["x", "y"]}, "a.b": 1}"#;

    #[test]
    fn members_are_compared_and_joined() {
        let passes = |pattern: &str| Json::parse(pattern).unwrap().matches(EVENT);
        for good in [
            r#"{ $.level = "ERROR" }"#,
            "{$.level=ERR*}",
            "{ $.status >= 500 && $.status < 600 }",
            "{ ($.level = WARN || $.status != 200) && $.ok IS FALSE }",
            "{ $.none IS NULL }",
            "{ $.missing NOT EXISTS }",
            r#"{ $.user.name = "Anna *" }"#,
            r#"{ $.user.tags[1] = "y" }"#,
            "{ $.user.tags[*] = x }",
            "{ $.['a.b'] = 1 }",
            "{ $.level = %^ER+OR$% }",
            "{ $.status = 5.03e2 }",
        ] {
            assert!(passes(good), "{good}");
        }
        for bad in [
            r#"{ $.level = "error" }"#,
            "{ $.missing != 1 }",
            "{ $.status > 503 }",
            "{ $.ok IS TRUE }",
            "{ $.level NOT EXISTS }",
            "{ $.level = ERROR && $.status = 1 }",
        ] {
            assert!(!passes(bad), "{bad}");
        }
        assert!(!Json::parse("{ $.a = 1 }").unwrap().matches("no JSON"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "{",
            "{}",
            "{ a = 1 }",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = 1 & $.b = 2 }",
            "{ ($.a = 1 }",
            "{ $.a > x }",
            "{ $.a IS ODD }",
        ] {
            assert!(Json::parse(bad).is_none(), "{bad}");
        }
    }
}
