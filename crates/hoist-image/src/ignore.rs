//! `.dockerignore`: which files of the context a build does not see.
//!
//! The rules are those of <https://docs.docker.com/build/concepts/context/#dockerignore-files>: Go's `filepath.Match` and `**`, comments in
//! the first column, `!` for exceptions, the last matching line decides, and a pattern that matches a folder matches all that is in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{BuildError, BuildErrorKind, Location, Result};
use crate::pattern::Pattern;

/// The patterns of one ignore file, or of `--exclude` flags.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ignore {
    /// The file, for messages.
    pub file: Option<PathBuf>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    exception: bool,
    line: usize,
    text: String,
    /// The parts before the first special character: what folder the rule can reach into.
    literal: Vec<String>,
    fixed: bool,
}

/// Which rules matched a folder: what is in it inherits that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    matched: Matched,
    /// Whether the path is hidden.
    pub hidden: bool,
    /// The line of the rule that decided.
    rule: Option<usize>,
}

/// Rules by their numbers: as many as most files have need no memory of their own.
#[derive(Debug, Clone, Default)]
struct Matched {
    first: u64,
    others: Vec<bool>,
}

impl Matched {
    const FIRST: usize = 64;

    fn has(&self, rule: usize) -> bool {
        match rule.checked_sub(Matched::FIRST) {
            None => self.first & (1 << rule) != 0,
            Some(rule) => self.others.get(rule).copied().unwrap_or(false),
        }
    }

    fn add(&mut self, rule: usize) {
        match rule.checked_sub(Matched::FIRST) {
            None => self.first |= 1 << rule,
            Some(rule) => {
                let others = self.others.len().max(rule + 1);
                self.others.resize(others, false);
                self.others[rule] = true;
            }
        }
    }
}

impl Ignore {
    /// Reads the ignore file of a Dockerfile: `<Dockerfile>.dockerignore` beside it, else `.dockerignore` in the context.
    pub(crate) fn of(context: &Path, dockerfile: &Path) -> Result<Ignore> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        for file in [PathBuf::from(own), context.join(".dockerignore")] {
            match fs::read(&file) {
                Ok(bytes) => return Ignore::parse(Some(&file), &String::from_utf8_lossy(&bytes)),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => {
                    return Err(BuildError::io(format!("read {}", file.display()), error));
                }
            }
        }
        Ok(Ignore::default())
    }

    /// Reads the text of an ignore file.
    pub(crate) fn parse(file: Option<&Path>, text: &str) -> Result<Ignore> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Ignore {
            file: file.map(Path::to_path_buf),
            rules: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let written = line.trim();
            if written.is_empty() {
                continue;
            }
            let refused = |what: &str| {
                let error =
                    BuildError::new(BuildErrorKind::Dockerfile, format!("{what}: {written}"));
                match file {
                    Some(file) => error.at(Location {
                        file: file.into(),
                        line: index + 1,
                        column: line.chars().take_while(|c| c.is_whitespace()).count() + 1,
                        width: written.chars().count(),
                        text: line.into(),
                    }),
                    None => error,
                }
            };
            let exception = written.starts_with('!');
            let bare = written.strip_prefix('!').unwrap_or(written).trim();
            if bare.is_empty() {
                return Err(refused("an exception needs a pattern after '!'"));
            }
            let cleaned = clean(bare);
            let text = if cleaned.len() > 1 {
                cleaned.strip_prefix('/').unwrap_or(&cleaned)
            } else {
                &cleaned
            };
            let pattern = Pattern::ignore(text).map_err(|_| {
                refused("this pattern is not closed")
                    .with_hint("a '[' needs its ']', and a '\\' needs a character after it")
            })?;
            let parts: Vec<&str> = text.split('/').collect();
            let literal: Vec<String> = parts
                .iter()
                .take_while(|part| Pattern::is_literal(part))
                .map(|part| (*part).to_owned())
                .collect();
            let fixed = literal.len() == parts.len();
            ignore.rules.push(Rule {
                pattern,
                exception,
                line: index + 1,
                text: written.into(),
                literal,
                fixed,
            });
        }
        Ok(ignore)
    }

    /// Makes rules of single patterns.
    pub(crate) fn patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Ignore> {
        let text: Vec<&str> = patterns.into_iter().collect();
        Ignore::parse(None, &text.join("\n"))
    }

    /// The rules as they were written.
    pub(crate) fn text(&self) -> String {
        self.rules
            .iter()
            .map(|rule| rule.text.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Judges a path (with `/`, relative to the context), given what was said of its folder.
    pub(crate) fn verdict(&self, path: &str, folder: &Verdict) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, rule) in self.rules.iter().enumerate() {
            if folder.matched.has(index) || rule.pattern.matches(path) {
                verdict.hidden = !rule.exception;
                verdict.rule = Some(index);
                verdict.matched.add(index);
            }
        }
        verdict
    }

    /// Whether something in a hidden folder may be seen after all, because of an exception.
    pub(crate) fn may_show_inside(&self, folder: &str) -> bool {
        let parts: Vec<&str> = folder.split('/').collect();
        self.rules.iter().filter(|rule| rule.exception).any(|rule| {
            let shared = rule.literal.len().min(parts.len());
            let agrees = rule.literal.iter().zip(&parts).all(|(a, b)| a == b);
            // A rule without special characters reaches only what lies on its way.
            agrees
                && (!rule.fixed || rule.literal.len() > shared || rule.literal.len() == parts.len())
        })
    }

    /// The rule that hides a path, as file, line and text, if one does.
    pub(crate) fn hides(&self, path: &str) -> Option<(Option<&Path>, usize, &str)> {
        let mut verdict = Verdict::default();
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            verdict = self.verdict(&path[..end], &verdict);
        }
        let rule = &self.rules[verdict.rule.filter(|_| verdict.hidden)?];
        Some((self.file.as_deref(), rule.line, &rule.text))
    }
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(rules: &str, path: &str) -> bool {
        Ignore::parse(None, rules).unwrap().hides(path).is_some()
    }

    #[test]
    fn the_documented_examples_hold() {
        let rules = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        for (path, want) in [
            ("somedir/temporary.txt", true),
            ("somedir/temp", true),
            ("somedir/subdir/temporary.txt", true),
            ("tempa", true),
            ("temp", false),
            ("a/b/c/temp", false),
            ("# comment", false),
        ] {
            assert_eq!(hidden(rules, path), want, "{path}");
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        assert!(!hidden("*.md\n!README.md", "README.md"));
        assert!(hidden(
            "*.md\n!README*.md\nREADME-secret.md",
            "README-secret.md"
        ));
        assert!(!hidden(
            "*.md\nREADME-secret.md\n!README*.md",
            "README-secret.md"
        ));
        assert!(!hidden("dir\n!dir/keep", "dir/keep"));
        assert!(hidden("dir\n!dir/keep", "dir/other"));
        assert!(hidden("!keep\n*", "keep"));
    }

    #[test]
    fn patterns_are_cleaned_before_they_match() {
        assert!(hidden("/foo", "foo"));
        assert!(hidden("./foo/", "foo/bar"));
        assert!(hidden("a/../foo", "foo"));
        assert!(hidden("  spaced  ", "spaced"));
        assert!(hidden(" # not a comment", "# not a comment"));
        assert!(hidden("**/node_modules", "a/b/node_modules/c"));
        assert!(hidden("*", "a/b"));
        assert!(!hidden("a/*", "a"));
        assert!(hidden("\u{feff}foo", "foo"));
    }

    #[test]
    fn exceptions_open_hidden_folders_only_where_they_can_matter() {
        let rules = Ignore::parse(None, "*\n!a/b/c\n!src/**/*.rs").unwrap();
        for (folder, want) in [
            ("a", true),
            ("a/b", true),
            ("a/x", false),
            ("a/b/c", true),
            ("src", true),
            ("src/x", true),
            ("target", false),
        ] {
            assert_eq!(rules.may_show_inside(folder), want, "{folder}");
        }
    }

    #[test]
    fn folders_hand_down_what_matched_them_however_many_rules_there_are() {
        for before in [0, 63, 64, 130] {
            let mut rules: String = (0..before).map(|n| format!("other{n}\n")).collect();
            rules.push_str("dir\n!dir/keep\n");
            assert!(hidden(&rules, "dir/a/b"), "{before}");
            assert!(!hidden(&rules, "dir/keep/b"), "{before}");
            assert!(!hidden(&rules, "a"), "{before}");
        }
    }

    #[test]
    fn wrong_rules_are_refused_with_their_line() {
        let error = Ignore::parse(Some(Path::new(".dockerignore")), "ok\n a[b\n").unwrap_err();
        assert_eq!(
            (error.line(), error.column(), error.message()),
            (Some(2), Some(2), "this pattern is not closed: a[b")
        );
        let error = Ignore::parse(Some(Path::new(".dockerignore")), "!\n").unwrap_err();
        assert_eq!(error.message(), "an exception needs a pattern after '!': !");
    }

    #[test]
    fn the_rule_that_hides_a_file_can_be_named() {
        let ignore = Ignore::parse(Some(Path::new("x/.dockerignore")), "a\nb/*.log\n").unwrap();
        assert_eq!(
            ignore.hides("b/c.log"),
            Some((Some(Path::new("x/.dockerignore")), 2, "b/*.log"))
        );
        assert_eq!(ignore.hides("b/c.txt"), None);
    }
}
