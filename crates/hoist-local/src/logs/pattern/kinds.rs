use super::columns::Columns;
use super::json::Json;
use super::operand::Regex;
use super::text::Text;

/// A pattern of any kind.
#[derive(Debug)]
pub enum Pattern {
    /// Terms.
    Text(Text),
    /// `{ $.level = "error" }`.
    Json(Json),
    /// `[ip, user, ..., status = 4*]`.
    Columns(Columns),
    /// `%ERR[0-9]+%`.
    Regex(Regex),
}

impl Pattern {
    /// Reads a pattern; `None` if it is none.
    pub fn parse(text: &str) -> Option<Pattern> {
        let text = text.trim();
        match text.chars().next() {
            Some('{') => Json::parse(text).map(Pattern::Json),
            Some('[') => Columns::parse(text).map(Pattern::Columns),
            Some('%') => {
                let inner = text.strip_prefix('%')?.strip_suffix('%')?;
                Regex::parse(inner).map(Pattern::Regex)
            }
            _ => Text::parse(text).map(Pattern::Text),
        }
    }

    /// Whether a message passes.
    pub fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::Text(text) => text.matches(message),
            Pattern::Json(json) => json.matches(message),
            Pattern::Columns(columns) => columns.matches(message),
            Pattern::Regex(regex) => regex.is_in(message),
        }
    }
}
