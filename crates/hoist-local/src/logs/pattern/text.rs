//! Filter patterns for unstructured text: terms that must all be there, `?` before terms of which one must, `-` before those that
//! must not, quotes around phrases.

/// Terms.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Text {
    /// Reads a pattern; `None` if it is not one of this kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pattern = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let list = if let Some(after) = rest.strip_prefix('?') {
                rest = after;
                &mut pattern.any
            } else if let Some(after) = rest.strip_prefix('-') {
                rest = after;
                &mut pattern.none
            } else {
                &mut pattern.all
            };
            let term = if let Some(after) = rest.strip_prefix('"') {
                let mut term = String::new();
                let mut characters = after.char_indices();
                let end = loop {
                    match characters.next()? {
                        (at, '"') => break at,
                        (_, '\\') => term.push(characters.next()?.1),
                        (_, other) => term.push(other),
                    }
                };
                rest = &after[end + 1..];
                term
            } else {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let term = rest[..end].to_owned();
                // Anything but letters, digits and underscores needs quotes.
                if term.is_empty()
                    || !term
                        .chars()
                        .all(|c| c.is_alphanumeric() || c == '_' || c == '*')
                {
                    return None;
                }
                rest = &rest[end..];
                term
            };
            list.push(term);
            rest = rest.trim_start();
        }
        Some(pattern)
    }

    /// Whether a message passes. Terms are case-sensitive, as on the real service.
    pub fn matches(&self, message: &str) -> bool {
        self.all.iter().all(|term| message.contains(term))
            && (self.any.is_empty() || self.any.iter().any(|term| message.contains(term)))
            && !self.none.iter().any(|term| message.contains(term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_phrases_choices_and_exclusions() {
        let passes = |pattern: &str, message: &str| Text::parse(pattern).unwrap().matches(message);
        assert!(passes("", "anything"));
        assert!(
            passes("ERROR main", "[main] ERROR x")
                && !passes("ERROR main", "ERROR")
                && !passes("ERROR", "error")
        );
        assert!(passes("\"GET /a\"", "1 GET /a 200") && !passes("\"GET /a\"", "GET  /a"));
        assert!(passes("?WARN ?ERROR", "WARN x") && !passes("?WARN ?ERROR", "INFO"));
        assert!(
            passes("ERROR -\"exit 0\"", "ERROR exit 1")
                && !passes("ERROR -\"exit 0\"", "ERROR exit 0")
        );
        assert!(passes(r#""say \"hi\"""#, r#"say "hi""#));
        for bad in ["\"open", "a:b", "a%b"] {
            assert_eq!(Text::parse(bad), None, "{bad}");
        }
    }
}
