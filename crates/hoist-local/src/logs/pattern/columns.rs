//! Patterns for events whose fields are divided by spaces; what stands in quotes or in square brackets is one field.

use super::operand::{Operand, Operator, Reader};

/// A pattern for columns.
#[derive(Debug)]
pub struct Columns {
    /// Before `...`, or all.
    first: Vec<Column>,
    /// After `...`, if there is one.
    last: Option<Vec<Column>>,
}

/// What a field must be: any of these, all of whose parts hold.
type Column = Vec<Vec<(Operator, Operand)>>;

impl Columns {
    /// Reads a pattern with its square brackets; `None` if it is none.
    pub fn parse(text: &str) -> Option<Columns> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        let mut reader = Reader(inner.chars().peekable());
        let mut columns = Columns {
            first: Vec::new(),
            last: None,
        };
        loop {
            if reader.takes('.') {
                let dots = reader.takes('.') && reader.takes('.');
                if !dots || columns.last.is_some() {
                    return None;
                }
                columns.last = Some(Vec::new());
            } else {
                let column = reader.column()?;
                columns
                    .last
                    .as_mut()
                    .unwrap_or(&mut columns.first)
                    .push(column);
            }
            if !reader.takes(',') {
                break;
            }
        }
        reader.spaces();
        reader.0.next().is_none().then_some(columns)
    }

    /// Whether the fields of a message pass.
    pub fn matches(&self, message: &str) -> bool {
        let fields = fields(message);
        let last = self.last.as_deref().unwrap_or_default();
        let wanted = self.first.len() + last.len();
        let enough = match self.last {
            Some(_) => fields.len() >= wanted,
            None => fields.len() == wanted,
        };
        let holds = |columns: &[Column], fields: &[&str]| {
            columns.iter().zip(fields).all(|(column, field)| {
                column.is_empty()
                    || column.iter().any(|parts| {
                        parts
                            .iter()
                            .all(|(operator, operand)| operand.fits(*operator, field))
                    })
            })
        };
        enough
            && holds(&self.first, &fields)
            && holds(last, &fields[fields.len().saturating_sub(last.len())..])
    }
}

fn fields(message: &str) -> Vec<&str> {
    let (mut fields, mut rest) = (Vec::new(), message.trim_start());
    while let Some(first) = rest.chars().next() {
        let closing = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let quoted = closing.and_then(|end| Some((1, rest[1..].find(end)? + 1, 1)));
        let (from, to, skip) =
            quoted.unwrap_or((0, rest.find(char::is_whitespace).unwrap_or(rest.len()), 0));
        fields.push(&rest[from..to]);
        rest = rest[to + skip..].trim_start();
    }
    fields
}

impl Reader<'_> {
    /// `name`, `name = x`, `name != a && name != b`, `name = a || name = b`.
    fn column(&mut self) -> Option<Column> {
        let name = self.name()?;
        self.spaces();
        if matches!(self.0.peek(), None | Some(',')) {
            return Some(Vec::new());
        }
        let mut column = vec![vec![self.test()?]];
        loop {
            if self.takes('&') {
                self.0.next_if_eq(&'&')?;
                (self.name()? == name).then_some(())?;
                let test = self.test()?;
                column.last_mut()?.push(test);
            } else if self.takes('|') {
                self.0.next_if_eq(&'|')?;
                (self.name()? == name).then_some(())?;
                column.push(vec![self.test()?]);
            } else {
                return Some(column);
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        self.spaces();
        let mut name = String::new();
        while let Some(letter) = self
            .0
            .next_if(|it| it.is_alphanumeric() || *it == '_' || *it == '-')
        {
            name.push(letter);
        }
        (!name.is_empty()).then_some(name)
    }

    fn test(&mut self) -> Option<(Operator, Operand)> {
        Some((self.operator()?, self.operand(",&|")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"127.0.0.1 - anna [10/Oct/2026:13:55:36 -0700] "GET /a.png HTTP/1.0" 404 1534"#;

    #[test]
    fn fields_are_compared_by_their_place() {
        let passes = |pattern: &str| Columns::parse(pattern).unwrap().matches(LINE);
        for good in [
            "[ip, id, user, time, request, status, bytes]",
            "[ip, id, user, time, request, status = 4*, bytes > 1000]",
            r#"[..., request = "*png*", status, bytes]"#,
            "[ip = 127.0.0.1, ...]",
            "[..., status = 404 || status = 410, bytes]",
            "[..., status != 500 && status != 503, bytes]",
            "[..., request = %[a-z]+\\.png%, status, bytes]",
        ] {
            assert!(passes(good), "{good}");
        }
        for bad in [
            "[ip, id, user]",
            "[ip, id, user, time, request, status = 5*, bytes]",
            "[ip = 10.*, ...]",
            "[..., bytes < 1000]",
        ] {
            assert!(!passes(bad), "{bad}");
        }
        for bad in [
            "[",
            "[]",
            "[a,]",
            "[a = ]",
            "[a b]",
            "[..., ...]",
            "[a = 1 && b = 2]",
        ] {
            assert!(Columns::parse(bad).is_none(), "{bad}");
        }
    }
}
