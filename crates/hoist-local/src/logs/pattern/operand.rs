//! What a value is compared with.

use std::iter::Peekable;
use std::str::Chars;

use crate::api::pattern;

/// A regular expression between `%` signs.
#[derive(Debug)]
pub struct Regex(pattern::Pattern);

impl Regex {
    /// Reads one; `None` if it is none.
    pub fn parse(text: &str) -> Option<Regex> {
        let (before, text) = match text.strip_prefix('^') {
            Some(rest) => ("", rest),
            None => ("[\\s\\S]*", text),
        };
        let (text, after) = match text.strip_suffix('$') {
            Some(rest) => (rest, ""),
            None => (text, "[\\s\\S]*"),
        };
        pattern::Pattern::parse(&format!("{before}(?:{text}){after}")).map(Regex)
    }

    /// Whether it matches somewhere in a text.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The right side of a comparison.
#[derive(Debug)]
pub enum Operand {
    Number(f64),
    /// A text, in which `*` stands for anything.
    Text(String),
    Regex(Regex),
}

/// A pattern, as far as it is not read yet.
pub struct Reader<'a>(pub Peekable<Chars<'a>>);

impl Reader<'_> {
    pub fn spaces(&mut self) {
        while self.0.next_if(|it| it.is_whitespace()).is_some() {}
    }

    /// Takes a character if it comes next.
    pub fn takes(&mut self, wanted: char) -> bool {
        self.spaces();
        self.0.next_if_eq(&wanted).is_some()
    }

    pub fn operator(&mut self) -> Option<Operator> {
        self.spaces();
        let first = self.0.next()?;
        let equal = first != '=' && self.0.next_if_eq(&'=').is_some();
        Some(match (first, equal) {
            ('=', _) => Operator::Equal,
            ('!', true) => Operator::NotEqual,
            ('<', true) => Operator::LessOrEqual,
            ('<', false) => Operator::Less,
            ('>', true) => Operator::GreaterOrEqual,
            ('>', false) => Operator::Greater,
            _ => return None,
        })
    }

    /// A number, a quoted text, a regular expression, or a word that ends where `ends` says.
    pub fn operand(&mut self, ends: &str) -> Option<Operand> {
        self.spaces();
        if self.0.next_if_eq(&'"').is_some() {
            return self.quoted('"').map(Operand::Text);
        }
        if self.0.next_if_eq(&'%').is_some() {
            let text = self.quoted('%')?;
            return Regex::parse(&text).map(Operand::Regex);
        }
        let mut word = String::new();
        while let Some(letter) = self
            .0
            .next_if(|it| !it.is_whitespace() && !ends.contains(*it))
        {
            word.push(letter);
        }
        if word.is_empty() {
            return None;
        }
        Some(match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Operand::Number(number),
            _ => Operand::Text(word),
        })
    }

    fn quoted(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.0.next()? {
                letter if letter == end => return Some(text),
                '\\' if end == '"' => text.push(self.0.next()?),
                letter => text.push(letter),
            }
        }
    }
}

impl Operand {
    /// Whether a text compares so with it.
    pub fn fits(&self, operator: Operator, text: &str) -> bool {
        use Operator::{Equal, NotEqual};
        match (self, operator) {
            (Operand::Text(wanted), Equal) => is_like(wanted, text),
            (Operand::Text(wanted), NotEqual) => !is_like(wanted, text),
            (Operand::Regex(wanted), Equal) => wanted.is_in(text),
            (Operand::Regex(wanted), NotEqual) => !wanted.is_in(text),
            (Operand::Number(wanted), _) => text.parse().map_or(operator == NotEqual, |number| {
                compare(number, operator, *wanted)
            }),
            _ => false,
        }
    }
}

/// Compares two numbers.
pub fn compare(number: f64, operator: Operator, wanted: f64) -> bool {
    match operator {
        Operator::Equal => number == wanted,
        Operator::NotEqual => number != wanted,
        Operator::Less => number < wanted,
        Operator::LessOrEqual => number <= wanted,
        Operator::Greater => number > wanted,
        Operator::GreaterOrEqual => number >= wanted,
    }
}

/// Whether a text is like another, in which `*` stands for anything.
fn is_like(wanted: &str, text: &str) -> bool {
    let mut parts = wanted.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(
            is_like("4*", "404")
                && is_like("*b*", "abc")
                && is_like("a*c", "abc")
                && is_like("*", "")
        );
        assert!(
            !is_like("4*", "504")
                && !is_like("a*c", "ab")
                && !is_like("ab", "abc")
                && !is_like("a*a", "a")
        );
    }

    #[test]
    fn a_regular_expression_is_looked_for_anywhere() {
        let has = |regex: &str, text: &str| Regex::parse(regex).unwrap().is_in(text);
        assert!(has("ERR[0-9]+", "an ERR42 here") && has("^a", "abc") && has("c$", "abc"));
        assert!(!has("ERR[0-9]+", "ERR") && !has("^b", "abc") && !has("b$", "abc"));
    }
}
