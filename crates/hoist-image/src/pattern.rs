//! Path patterns: Go's `filepath.Match`, which `COPY` uses, and the patterns of `.dockerignore`, which add `**`.

/// A compiled pattern; it always matches a whole path with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    /// What every match begins and ends with: most paths are told apart by it alone.
    prefix: String,
    suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any number of characters but `/`.
    Star,
    /// `[a-c]`, `[^a-c]`: one character but `/`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `**` before something: nothing, or anything up to and with a `/`.
    Folders,
    /// `**` at the end: anything.
    Rest,
}

/// A pattern whose brackets or escapes do not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadPattern;

impl Pattern {
    /// Compiles a pattern of `.dockerignore`.
    pub(crate) fn ignore(text: &str) -> Result<Pattern, BadPattern> {
        Pattern::compile(text, true)
    }

    /// Compiles a pattern of Go's `filepath.Match`.
    pub(crate) fn go(text: &str) -> Result<Pattern, BadPattern> {
        Pattern::compile(text, false)
    }

    fn compile(text: &str, double_star: bool) -> Result<Pattern, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if double_star && chars.peek() == Some(&'*') => {
                    chars.next();
                    // "**/" means the same as "**"
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Rest
                    } else {
                        Token::Folders
                    }
                }
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let low = match chars.next().ok_or(BadPattern)? {
                            ']' if !ranges.is_empty() => break,
                            ']' | '-' => return Err(BadPattern),
                            '\\' => chars.next().ok_or(BadPattern)?,
                            c => c,
                        };
                        let high = if chars.next_if_eq(&'-').is_some() {
                            match chars.next().ok_or(BadPattern)? {
                                ']' | '-' => return Err(BadPattern),
                                '\\' => chars.next().ok_or(BadPattern)?,
                                c => c,
                            }
                        } else {
                            low
                        };
                        ranges.push((low, high));
                    }
                    Token::Class { negated, ranges }
                }
                c => Token::Literal(c),
            });
        }
        let literal = |token: &Token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        };
        let prefix = tokens.iter().map_while(literal).collect();
        let reversed: String = tokens.iter().rev().map_while(literal).collect();
        Ok(Pattern {
            prefix,
            suffix: reversed.chars().rev().collect(),
            tokens,
        })
    }

    /// Whether the text has no special character, so that it names one path.
    pub(crate) fn is_literal(text: &str) -> bool {
        !text.contains(['*', '?', '[', '\\'])
    }

    /// Whether the pattern matches the whole path.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
            return false;
        }
        let chars: Vec<char> = path.chars().collect();
        // reachable[j]: the tokens so far can match the path's first j characters.
        let mut reachable = vec![false; chars.len() + 1];
        reachable[0] = true;
        let mut next = vec![false; chars.len() + 1];
        for token in &self.tokens {
            next.fill(false);
            match token {
                Token::Literal(c) => step(&reachable, &mut next, &chars, |got| got == *c),
                Token::One => step(&reachable, &mut next, &chars, |got| got != '/'),
                Token::Class { negated, ranges } => step(&reachable, &mut next, &chars, |got| {
                    got != '/'
                        && ranges
                            .iter()
                            .any(|(low, high)| (*low..=*high).contains(&got))
                            != *negated
                }),
                Token::Star => {
                    let mut open = false;
                    for j in 0..=chars.len() {
                        open = reachable[j] || (open && chars[j - 1] != '/');
                        next[j] = open;
                    }
                }
                Token::Folders => {
                    let mut open = false;
                    for j in 0..=chars.len() {
                        next[j] = reachable[j] || (open && chars[j - 1] == '/');
                        open |= reachable[j];
                    }
                }
                Token::Rest => {
                    let mut open = false;
                    for j in 0..=chars.len() {
                        open |= reachable[j];
                        next[j] = open;
                    }
                }
            }
            std::mem::swap(&mut reachable, &mut next);
        }
        reachable[chars.len()]
    }
}

fn step(reachable: &[bool], next: &mut [bool], chars: &[char], fits: impl Fn(char) -> bool) {
    for (j, c) in chars.iter().enumerate() {
        next[j + 1] = reachable[j] && fits(*c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_match_as_in_go() {
        for (pattern, path, want) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("*x", "xxx", true),
            ("**", "a/b", false),
        ] {
            assert_eq!(
                Pattern::go(pattern).unwrap().matches(path),
                want,
                "{pattern} {path}"
            );
        }
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\"] {
            assert_eq!(Pattern::go(bad), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn double_stars_cross_folders() {
        for (pattern, path, want) in [
            ("**", "a/b/c", true),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "a/bfoo", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("**/*.go", "x/y.go", true),
            ("**/*.go", "y.go", true),
            ("a**/b", "a/x/b", true),
            ("a.c", "abc", false),
            ("a+(b)|{c}$", "a+(b)|{c}$", true),
        ] {
            assert_eq!(
                Pattern::ignore(pattern).unwrap().matches(path),
                want,
                "{pattern} {path}"
            );
        }
    }
}
