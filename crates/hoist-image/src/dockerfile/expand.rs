//! Expansion of variables in the words of a Dockerfile.
//!
//! All forms of the Dockerfile reference ("Environment replacement"): `$x`, `${x}`, `${x:-d}`, `${x-d}`, `${x:+a}`, `${x+a}`, `${x:?m}`,
//! `${x?m}`, `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`, with quotes and escapes as in BuildKit's shell lexer.

/// Where an expansion finds its values.
pub(crate) trait Lookup {
    /// The value of a variable, if it is set.
    fn value(&self, name: &str) -> Option<&str>;
}

impl Lookup for Vec<(String, String)> {
    fn value(&self, name: &str) -> Option<&str> {
        self.iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What is kept of the word's own syntax.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Quotes mean nothing (heredoc bodies).
    pub skip_quotes: bool,
    /// A variable that is not set stays as it was written.
    pub keep_unset: bool,
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpandError {
    /// What is wrong.
    pub message: String,
    /// Byte offset in the word where it was noticed.
    pub offset: usize,
}

/// Expands a word; whitespace in it or in values does not split it.
pub(crate) fn word(
    text: &str,
    escape: char,
    values: &dyn Lookup,
    style: Style,
) -> Result<String, ExpandError> {
    let mut lexer = Lexer::new(text, escape, values, style);
    lexer.until(None, style.raw_escapes)
}

/// Expands a text and splits it at whitespace outside quotes, in values too.
pub(crate) fn words(
    text: &str,
    escape: char,
    values: &dyn Lookup,
    style: Style,
) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(text, escape, values, style);
    lexer.splitting = Some(Words::default());
    lexer.until(None, style.raw_escapes)?;
    Ok(lexer
        .splitting
        .take()
        .map(Words::finish)
        .unwrap_or_default())
}

/// The names that a word uses plainly (`$x`, `${x}`) and that have no value, each once.
pub(crate) fn unset(text: &str, escape: char, values: &dyn Lookup) -> Vec<String> {
    let mut lexer = Lexer::new(text, escape, values, Style::default());
    // What cannot be expanded is an error elsewhere.
    let _ = lexer.until(None, false);
    lexer.unset
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    /// Something was in the word, if only empty quotes.
    begun: bool,
}

impl Words {
    fn bare(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.split();
            } else {
                self.raw(c);
            }
        }
    }

    fn raw(&mut self, c: char) {
        self.begun = true;
        self.current.push(c);
    }

    fn quoted(&mut self, text: &str) {
        self.begun = true;
        self.current.push_str(text);
    }

    fn split(&mut self) {
        if self.begun {
            self.done.push(std::mem::take(&mut self.current));
            self.begun = false;
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.split();
        self.done
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    values: &'a dyn Lookup,
    style: Style,
    splitting: Option<Words>,
    /// Inside `${x:-...}` the inner text belongs to a value, which the outer level adds.
    nested: usize,
    /// Names without a value that were used plainly.
    unset: Vec<String>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, escape: char, values: &'a dyn Lookup, style: Style) -> Self {
        Lexer {
            text,
            at: 0,
            escape,
            values,
            style,
            splitting: None,
            nested: 0,
            unset: Vec::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ExpandError> {
        Err(ExpandError {
            message: message.into(),
            offset: self.at.min(self.text.len()),
        })
    }

    fn top(&mut self) -> Option<&mut Words> {
        if self.nested == 0 {
            self.splitting.as_mut()
        } else {
            None
        }
    }

    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<String, ExpandError> {
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else {
                if let Some(stop) = stop {
                    return self.error(format!("'{stop}' is missing"));
                }
                return Ok(out);
            };
            if Some(c) == stop {
                self.next();
                return Ok(out);
            }
            match c {
                '\'' if !self.style.skip_quotes => {
                    let part = self.single_quotes()?;
                    if let Some(words) = self.top() {
                        words.quoted(&part);
                    }
                    out.push_str(&part);
                }
                '"' if !self.style.skip_quotes => {
                    let part = self.double_quotes()?;
                    if let Some(words) = self.top() {
                        words.quoted(&part);
                    }
                    out.push_str(&part);
                }
                '$' => {
                    let part = self.dollar()?;
                    if let Some(words) = self.top() {
                        words.bare(&part);
                    }
                    out.push_str(&part);
                }
                c if c == self.escape => {
                    self.next();
                    if raw_escapes {
                        if let Some(words) = self.top() {
                            words.raw(c);
                        }
                        out.push(c);
                    }
                    // An escape at the very end stands for nothing.
                    if let Some(escaped) = self.next() {
                        if let Some(words) = self.top() {
                            words.raw(escaped);
                        }
                        out.push(escaped);
                    }
                }
                c => {
                    self.next();
                    if let Some(words) = self.top() {
                        words.bare(c.encode_utf8(&mut [0; 4]));
                    }
                    out.push(c);
                }
            }
        }
    }

    fn single_quotes(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        let open = self.at;
        self.next();
        if self.style.raw_quotes {
            out.push('\'');
        }
        loop {
            match self.next() {
                None => {
                    self.at = open;
                    return self.error("this single quote is never closed");
                }
                Some('\'') => {
                    if self.style.raw_quotes {
                        out.push('\'');
                    }
                    return Ok(out);
                }
                Some(c) => out.push(c),
            }
        }
    }

    fn double_quotes(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        let open = self.at;
        self.next();
        if self.style.raw_quotes {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    self.at = open;
                    return self.error("this double quote is never closed");
                }
                Some('"') => {
                    self.next();
                    if self.style.raw_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    self.next();
                    if self.style.raw_escapes {
                        out.push(c);
                    }
                    match self.peek() {
                        None => {}
                        // Only these lose their escape; before others it is an ordinary character.
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.next();
                            out.push(next);
                        }
                        Some(_) if self.style.raw_escapes => {}
                        Some(_) => out.push(c),
                    }
                }
                Some(c) => {
                    self.next();
                    out.push(c);
                }
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    name.push(c);
                    self.next();
                }
            }
            Some(c) if "@*#?-$!".contains(c) => {
                name.push(c);
                self.next();
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.next();
                }
            }
        }
        name
    }

    fn note(&mut self, name: &str, value: Option<&str>) {
        if value.is_none() && !self.unset.iter().any(|known| known == name) {
            self.unset.push(name.into());
        }
    }

    fn inner(&mut self, stop: char, raw_escapes: bool) -> Result<String, ExpandError> {
        self.nested += 1;
        let result = self.until(Some(stop), raw_escapes);
        self.nested -= 1;
        result
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            let value = self.values.value(&name);
            self.note(&name, value);
            return Ok(match value {
                Some(value) => value.into(),
                None if self.style.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return self.error("'}' is missing"),
            Some('{' | '}' | ':') => return self.error("a variable's name is missing after '${'"),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.values.value(&name);
        let mut modifier = self.next();
        let mut empty_is_unset = false;
        if modifier == Some(':') {
            empty_is_unset = true;
            modifier = self.next();
        }
        let colon = if empty_is_unset { ":" } else { "" };
        match modifier {
            None => self.error("'}' is missing"),
            Some('}') if !empty_is_unset => {
                self.note(&name, value);
                Ok(match value {
                    Some(value) => value.into(),
                    None if self.style.keep_unset => self.text[start..self.at].into(),
                    None => String::new(),
                })
            }
            Some(modifier @ ('+' | '-' | '?')) => {
                let word = self.inner('}', false)?;
                if value.is_none() && self.style.keep_unset {
                    return Ok(self.text[start..self.at].into());
                }
                let set = value.filter(|value| !(empty_is_unset && value.is_empty()));
                match (modifier, set) {
                    ('-', None) | ('+', Some(_)) => Ok(word),
                    ('-', Some(value)) | ('?', Some(value)) => Ok(value.into()),
                    ('+', None) => Ok(String::new()),
                    _ => {
                        let state = if value.is_some() { "empty" } else { "not set" };
                        let message = if word.is_empty() {
                            format!("it is {state}")
                        } else {
                            word
                        };
                        self.error(format!("variable {name} is required: {message}"))
                    }
                }
            }
            Some(modifier @ ('#' | '%')) if !empty_is_unset => {
                let mut pattern = self.inner('}', true)?;
                let greedy = pattern.starts_with(modifier);
                if greedy {
                    pattern.remove(0);
                }
                let Some(value) = value else {
                    return Ok(if self.style.keep_unset {
                        self.text[start..self.at].into()
                    } else {
                        String::new()
                    });
                };
                Ok(if modifier == '#' {
                    trim_prefix(value, &pattern, greedy)
                } else {
                    trim_suffix(value, &pattern, greedy)
                })
            }
            Some('/') if !empty_is_unset => {
                let all = self.peek() == Some('/');
                if all {
                    self.next();
                }
                let pattern = self.inner('/', true)?;
                let replacement = self.inner('}', true)?;
                let Some(value) = value else {
                    return Ok(if self.style.keep_unset {
                        self.text[start..self.at].into()
                    } else {
                        String::new()
                    });
                };
                Ok(replace(value, &pattern, &replacement, all))
            }
            Some(other) => self.error(format!("'{colon}{other}' is no modifier of a variable")),
        }
    }
}

/// Byte offsets of all characters of a text, and its end.
fn cuts(text: &str) -> Vec<usize> {
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect()
}

fn trim_prefix(value: &str, pattern: &str, greedy: bool) -> String {
    let cuts = cuts(value);
    let mut order: Box<dyn Iterator<Item = &usize>> = if greedy {
        Box::new(cuts.iter().rev())
    } else {
        Box::new(cuts.iter())
    };
    order
        .find(|cut| glob(pattern, &value[..**cut]))
        .map_or(value, |cut| &value[*cut..])
        .into()
}

fn trim_suffix(value: &str, pattern: &str, greedy: bool) -> String {
    let cuts = cuts(value);
    let mut order: Box<dyn Iterator<Item = &usize>> = if greedy {
        Box::new(cuts.iter())
    } else {
        Box::new(cuts.iter().rev())
    };
    order
        .find(|cut| glob(pattern, &value[**cut..]))
        .map_or(value, |cut| &value[..*cut])
        .into()
}

fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    while !rest.is_empty() {
        // The longest match at this place, as in a shell; an empty match replaces nothing.
        let hit = cuts(rest)
            .into_iter()
            .rev()
            .find(|cut| *cut > 0 && glob(pattern, &rest[..*cut]));
        match hit {
            Some(cut) => {
                out.push_str(replacement);
                rest = &rest[cut..];
                if !all {
                    break;
                }
            }
            None => {
                let step = rest.chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..step]);
                rest = &rest[step..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Matches a shell pattern of `*`, `?` and `\` against a whole text.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // reachable[j]: the pattern up to here can match the text's first j characters
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    let mut i = 0;
    while i < pattern.len() {
        let mut next = vec![false; text.len() + 1];
        match pattern[i] {
            '*' => {
                let mut any = false;
                for (j, cell) in next.iter_mut().enumerate() {
                    any |= reachable[j];
                    *cell = any;
                }
            }
            c => {
                let (literal, any) = match c {
                    '?' => (c, true),
                    '\\' if i + 1 < pattern.len() => {
                        i += 1;
                        (pattern[i], false)
                    }
                    c => (c, false),
                };
                for j in 0..text.len() {
                    next[j + 1] = reachable[j] && (any || text[j] == literal);
                }
            }
        }
        reachable = next;
        i += 1;
    }
    reachable[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<(String, String)> {
        [
            ("x", "one"),
            ("empty", ""),
            ("path", "/a/b/c.tar.gz"),
            ("list", "a b"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .to_vec()
    }

    fn expand(text: &str) -> String {
        word(text, '\\', &values(), Style::default()).unwrap()
    }

    #[test]
    fn every_form_of_a_variable_expands() {
        for (text, want) in [
            ("$x", "one"),
            ("${x}", "one"),
            ("a$x.b", "aone.b"),
            ("$y", ""),
            ("${y:-d}", "d"),
            ("${empty:-d}", "d"),
            ("${empty-d}", ""),
            ("${y-d}", "d"),
            ("${x:-d}", "one"),
            ("${x:+a}", "a"),
            ("${empty:+a}", ""),
            ("${empty+a}", "a"),
            ("${y+a}", ""),
            ("${y:-${x}}", "one"),
            ("${y:-a b}", "a b"),
            ("${y:-'a}b'}", "a}b"),
            ("${x:?needed}", "one"),
            ("${path##*/}", "c.tar.gz"),
            ("${path#*/}", "a/b/c.tar.gz"),
            ("${path%.*}", "/a/b/c.tar"),
            ("${path%%.*}", "/a/b/c"),
            ("${path/\\//-}", "-a/b/c.tar.gz"),
            ("${path//a/X}", "/X/b/c.tXr.gz"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("$$x", "x"),
            ("$1x", "x"),
        ] {
            assert_eq!(expand(text), want, "{text}");
        }
    }

    #[test]
    fn quotes_and_escapes_work_as_in_a_shell() {
        for (text, want) in [
            (r"\$x", "$x"),
            (r"'$x'", "$x"),
            (r#""$x""#, "one"),
            (r#""\$x""#, "$x"),
            (r#""a\nb""#, r"a\nb"),
            (r#""a\"b""#, r#"a"b"#),
            (r#""a\\b""#, r"a\b"),
            (r"a\ b", "a b"),
            (r"a\nb", "anb"),
            (r"end\", "end"),
            (r#"'it'"'"'s'"#, "it's"),
        ] {
            assert_eq!(expand(text), want, "{text}");
        }
        assert_eq!(
            word("`$x \\n", '`', &values(), Style::default()).unwrap(),
            "$x \\n"
        );
    }

    #[test]
    fn raw_styles_keep_the_syntax() {
        let style = Style {
            raw_quotes: true,
            raw_escapes: true,
            ..Style::default()
        };
        assert_eq!(
            word(r#"'a' "b$x" \c"#, '\\', &values(), style).unwrap(),
            r#"'a' "bone" \c"#
        );
        let style = Style {
            keep_unset: true,
            ..Style::default()
        };
        assert_eq!(
            word("$y ${y} $x", '\\', &values(), style).unwrap(),
            "$y ${y} one"
        );
        let style = Style {
            skip_quotes: true,
            ..Style::default()
        };
        assert_eq!(word("it's $x", '\\', &values(), style).unwrap(), "it's one");
    }

    #[test]
    fn words_split_at_whitespace_in_values_but_not_in_quotes() {
        let split = |text| words(text, '\\', &values(), Style::default()).unwrap();
        assert_eq!(split("80 $list  '$x y'"), ["80", "a", "b", "$x y"]);
        assert_eq!(split(r#""$list" a\ b """#), ["a b", "a b", ""]);
        assert_eq!(split(""), Vec::<String>::new());
    }

    #[test]
    fn a_broken_word_says_what_is_wrong_and_where() {
        let fail = |text| word(text, '\\', &values(), Style::default()).unwrap_err();
        assert_eq!(fail("a${x").message, "'}' is missing");
        assert_eq!(
            fail("${}").message,
            "a variable's name is missing after '${'"
        );
        assert_eq!(
            fail("ab'c"),
            ExpandError {
                message: "this single quote is never closed".into(),
                offset: 2
            }
        );
        assert_eq!(fail("${x;y}").message, "';' is no modifier of a variable");
        assert_eq!(
            fail("${y:?set it}").message,
            "variable y is required: set it"
        );
        assert_eq!(
            fail("${empty:?}").message,
            "variable empty is required: it is empty"
        );
    }
}
