//! The lines of a Dockerfile: parser directives, comments, continuations, flags and heredocs.
//!
//! Follows the Dockerfile reference (syntax 1 stable). Every character of a logical line knows its place in the file, so that whatever is
//! wrong later can be shown where it was written.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::expand::{self, Style};
use crate::error::{BuildError, BuildErrorKind, Location, Result};

/// The text of a Dockerfile, and what its places are called.
#[derive(Debug)]
pub(crate) struct SourceText {
    file: PathBuf,
    text: String,
    /// Byte offset of each line's start.
    starts: Vec<usize>,
}

impl SourceText {
    pub(crate) fn new(file: &Path, text: String) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        SourceText {
            file: file.into(),
            text,
            starts,
        }
    }

    /// The file and text of a range of bytes.
    pub(crate) fn location(&self, range: Range<usize>) -> Location {
        let start = range.start.min(self.text.len());
        let line = self
            .starts
            .partition_point(|at| *at <= start)
            .saturating_sub(1);
        let text = self.line(line);
        let before = self.text.get(self.starts[line]..start).unwrap_or_default();
        let within = range.end.min(self.starts[line] + text.len()).max(start);
        Location {
            file: self.file.clone(),
            line: line + 1,
            column: before.chars().count() + 1,
            width: self
                .text
                .get(start..within)
                .unwrap_or_default()
                .chars()
                .count()
                .max(1),
            text: text.into(),
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text of a range of bytes as it stands in the file.
    pub(crate) fn written(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    fn line(&self, index: usize) -> &str {
        let end = self
            .starts
            .get(index + 1)
            .copied()
            .unwrap_or(self.text.len());
        self.text[self.starts[index]..end].trim_end_matches(['\n', '\r'])
    }

    fn error(&self, range: Range<usize>, message: impl Into<String>) -> BuildError {
        BuildError::new(BuildErrorKind::Dockerfile, message).at(self.location(range))
    }
}

/// A piece of text that knows where in the file each part of it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapped {
    pub text: String,
    /// Pairs of an offset in `text` and the file's offset from there on, in order.
    map: Vec<(usize, usize)>,
}

impl Mapped {
    fn push(&mut self, text: &str, at: usize) {
        self.map.push((self.text.len(), at));
        self.text.push_str(text);
    }

    /// The place in the file of an offset in the text.
    pub(crate) fn origin(&self, offset: usize) -> usize {
        let index = self
            .map
            .partition_point(|(start, _)| *start <= offset)
            .saturating_sub(1);
        self.map
            .get(index)
            .map_or(0, |(start, at)| at + offset.saturating_sub(*start))
    }

    pub(crate) fn range(&self, range: Range<usize>) -> Range<usize> {
        let start = self.origin(range.start);
        let end = if range.end > range.start {
            self.origin(range.end - 1) + 1
        } else {
            start
        };
        start..end.max(start)
    }

    fn slice(&self, range: Range<usize>) -> Mapped {
        let mut map = vec![(0, self.origin(range.start))];
        map.extend(
            self.map
                .iter()
                .filter(|(start, _)| *start > range.start && *start < range.end)
                .map(|(start, at)| (start - range.start, *at)),
        );
        Mapped {
            text: self.text[range].into(),
            map,
        }
    }

    /// The text from an offset on, without white space around it.
    pub(crate) fn trimmed_from(&self, offset: usize) -> Mapped {
        let rest = &self.text[offset..];
        let start = offset + (rest.len() - rest.trim_start().len());
        let end = (offset + rest.trim_end().len()).max(start);
        self.slice(start..end)
    }
}

/// A word and where it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned {
    pub text: String,
    pub range: Range<usize>,
}

/// `--name=value` before an instruction's arguments.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub name: String,
    pub value: Option<String>,
    pub range: Range<usize>,
}

/// The body of `<<NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub name: String,
    /// As it stands in the file, each line with its end.
    pub body: String,
    /// Variables are expanded: the name was not quoted.
    pub expand: bool,
    /// `<<-`: tabs at the start of lines go away.
    pub chomp: bool,
    pub range: Range<usize>,
}

impl Heredoc {
    /// The body as a file's content.
    pub(crate) fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// One instruction, split but not yet understood.
#[derive(Debug, Clone)]
pub(crate) struct RawInstruction {
    /// In upper case.
    pub keyword: String,
    pub keyword_range: Range<usize>,
    pub flags: Vec<Flag>,
    pub args: Mapped,
    pub heredocs: Vec<Heredoc>,
    /// The whole instruction on one line, for people.
    pub text: String,
}

impl RawInstruction {
    /// The range from the keyword to the end of the arguments' first line.
    pub(crate) fn range(&self) -> Range<usize> {
        let end = if self.args.text.is_empty() {
            self.keyword_range.end
        } else {
            self.args.range(0..self.args.text.len()).end
        };
        self.keyword_range.start..end.max(self.keyword_range.end)
    }
}

/// A Dockerfile, split into instructions.
#[derive(Debug)]
pub(crate) struct RawDockerfile {
    pub source: SourceText,
    pub escape: char,
    /// The value of the parser directive `check`.
    pub check: Option<Spanned>,
    pub instructions: Vec<RawInstruction>,
    /// Empty lines between a continued line and what continues it.
    pub gaps: Vec<Range<usize>>,
}

/// Splits a Dockerfile's text.
pub(crate) fn split(file: &Path, text: String) -> Result<RawDockerfile> {
    let text = text
        .strip_prefix('\u{feff}')
        .map(String::from)
        .unwrap_or(text);
    let source = SourceText::new(file, text);
    let (escape, check) = directives(&source)?;
    let mut reader = Reader {
        source: &source,
        escape,
        next: 0,
        gaps: Vec::new(),
    };
    let mut instructions = Vec::new();
    while let Some(line) = reader.logical_line() {
        let mut raw = instruction(&line, escape);
        if may_have_heredocs(&raw) {
            for word in heredoc_words(&raw.args.text, escape) {
                let body = reader.heredoc(&word, &raw)?;
                raw.heredocs.push(body);
            }
        }
        instructions.push(raw);
    }
    let gaps = reader.gaps;
    Ok(RawDockerfile {
        source,
        escape,
        check,
        instructions,
        gaps,
    })
}

/// Splits the text of one instruction, as `ONBUILD` triggers carry it.
pub(crate) fn split_one(raw: &RawInstruction, escape: char) -> RawInstruction {
    let mut inner = instruction(&raw.args, escape);
    inner.heredocs.clone_from(&raw.heredocs);
    inner
}

fn directives(source: &SourceText) -> Result<(char, Option<Spanned>)> {
    let mut escape = '\\';
    let mut check = None;
    let mut seen: Vec<String> = Vec::new();
    for index in 0..source.starts.len() {
        let line = source.line(index);
        let Some((name, value)) = line
            .trim_start()
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='))
        else {
            break;
        };
        let name = name.trim().to_ascii_lowercase();
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            break;
        }
        let start = source.starts[index];
        if seen.contains(&name) {
            return Err(source.error(
                start..start + line.len(),
                format!("the parser directive '{name}' is given twice"),
            ));
        }
        if name == "check" {
            check = Some(Spanned {
                text: value.trim().into(),
                range: start..start + line.len(),
            });
        }
        if name == "escape" {
            escape = match value.trim() {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(source
                        .error(
                            start..start + line.len(),
                            format!("the escape character cannot be '{other}'"),
                        )
                        .with_hint("it is either \\ or `"));
                }
            };
        }
        seen.push(name);
    }
    Ok((escape, check))
}

struct Reader<'a> {
    source: &'a SourceText,
    escape: char,
    /// Index of the next physical line.
    next: usize,
    gaps: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn physical(&mut self) -> Option<(usize, &'a str)> {
        let source = self.source;
        let start = *source.starts.get(self.next)?;
        if start >= source.text.len() {
            return None;
        }
        let line = source.line(self.next);
        self.next += 1;
        Some((start, line))
    }

    /// The next line that is neither empty nor a comment, with its continuations joined.
    fn logical_line(&mut self) -> Option<Mapped> {
        let escape = self.escape;
        loop {
            let (start, line) = self.physical()?;
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let start = start + (line.len() - trimmed.len());
            let mut out = Mapped::default();
            let (part, mut more) = continued(trimmed, escape);
            out.push(part, start);
            while more {
                let Some((start, line)) = self.physical() else {
                    break;
                };
                let bare = line.trim();
                // Empty lines and comments between continuations vanish.
                if bare.is_empty() || bare.starts_with('#') {
                    let gap = bare.is_empty().then_some(start..start + line.len());
                    self.gaps.extend(gap);
                    continue;
                }
                let (part, again) = continued(line, escape);
                out.push(part, start);
                more = again;
            }
            if !out.text.trim().is_empty() {
                return Some(out);
            }
        }
    }

    fn heredoc(&mut self, word: &HeredocWord, raw: &RawInstruction) -> Result<Heredoc> {
        let first = self.next;
        let mut body = String::new();
        loop {
            let Some((start, line)) = self
                .physical()
                .map(|(start, line)| (start, line.to_owned()))
            else {
                return Err(self
                    .source
                    .error(
                        raw.range(),
                        format!("the heredoc <<{} is never closed", word.name),
                    )
                    .with_hint(format!("end it with a line that holds only {}", word.name)));
            };
            let candidate = if word.chomp {
                line.trim_start_matches('\t')
            } else {
                &line
            };
            if candidate == word.name {
                let begin = self.source.starts[first];
                return Ok(Heredoc {
                    name: word.name.clone(),
                    body,
                    expand: word.expand,
                    chomp: word.chomp,
                    range: begin..start,
                });
            }
            body.push_str(&line);
            body.push('\n');
        }
    }
}

/// A line without its continuation mark, and whether it had one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        // An escaped escape character at the end of a line continues nothing.
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

fn instruction(line: &Mapped, escape: char) -> RawInstruction {
    let end = line
        .text
        .find(char::is_whitespace)
        .unwrap_or(line.text.len());
    let keyword = line.text[..end].to_uppercase();
    let text: String = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rest = line.trimmed_from(end);
    let (flags, offset) = flags(&rest, escape);
    RawInstruction {
        keyword,
        keyword_range: line.range(0..end),
        flags,
        args: rest.trimmed_from(offset),
        heredocs: Vec::new(),
        text,
    }
}

fn flags(rest: &Mapped, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let text = &rest.text;
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let start = at;
        let mut word = String::new();
        let mut quote = None;
        let mut chars = text[at..].char_indices().peekable();
        let mut end = text.len();
        while let Some((offset, c)) = chars.next() {
            if c == escape {
                if let Some((_, next)) = chars.next() {
                    word.push(next);
                }
            } else if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && (c == '"' || c == '\'') {
                quote = Some(c);
            } else if quote.is_none() && c.is_whitespace() {
                end = start + offset;
                break;
            } else {
                word.push(c);
            }
        }
        at = end;
        if word == "--" {
            return (flags, at);
        }
        let (name, value) = match word[2..].split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word[2..].to_owned(), None),
        };
        flags.push(Flag {
            name,
            value,
            range: rest.range(start..end),
        });
    }
}

struct HeredocWord {
    name: String,
    expand: bool,
    chomp: bool,
}

fn may_have_heredocs(raw: &RawInstruction) -> bool {
    let (keyword, args) = match raw.keyword.as_str() {
        "ONBUILD" => {
            let mut words = raw.args.text.splitn(2, char::is_whitespace);
            (
                words.next().unwrap_or_default().to_uppercase(),
                words.next().unwrap_or_default().trim(),
            )
        }
        keyword => (keyword.to_owned(), raw.args.text.as_str()),
    };
    matches!(keyword.as_str(), "RUN" | "COPY" | "ADD")
        && args.contains("<<")
        && json_array(args).is_none()
}

/// The heredocs that a line opens: words outside quotes of the form `<<NAME`, `<<-NAME`, `3<<NAME`.
fn heredoc_words(args: &str, escape: char) -> Vec<HeredocWord> {
    let style = Style {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        skip_quotes: false,
    };
    // Quotes that do not match are the shell's business, not ours.
    let Ok(words) = expand::words(args, escape, &Vec::new(), style) else {
        return Vec::new();
    };
    words.iter().filter_map(|word| heredoc_word(word)).collect()
}

fn heredoc_word(word: &str) -> Option<HeredocWord> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = expand::word(
        rest,
        '\\',
        &Vec::new(),
        Style {
            keep_unset: true,
            ..Style::default()
        },
    )
    .ok()?;
    let expand = !rest.contains(['"', '\'', '\\']);
    (!name.is_empty()).then_some(HeredocWord {
        name,
        expand,
        chomp,
    })
}

/// The name in a word that opens a heredoc.
pub(crate) fn heredoc_name(word: &str) -> Option<String> {
    heredoc_word(word).map(|word| word.name)
}

/// The words of a JSON array of strings, if the text is one.
pub(crate) fn json_array(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Splits at white space; quotes mean nothing.
pub(crate) fn plain_words(args: &Mapped) -> Vec<Spanned> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in args.text.char_indices().chain([(args.text.len(), ' ')]) {
        match (c.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push(Spanned {
                    text: args.text[from..at].into(),
                    range: args.range(from..at),
                });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words
}

/// Splits at white space outside quotes and escapes, which stay in the words.
pub(crate) fn quoted_words(args: &Mapped, escape: char) -> Vec<Spanned> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in args.text.char_indices() {
        if quote.is_none() && !escaped && c.is_whitespace() {
            if let Some(from) = start.take() {
                words.push(Spanned {
                    text: args.text[from..at].into(),
                    range: args.range(from..at),
                });
            }
            continue;
        }
        start.get_or_insert(at);
        if escaped {
            escaped = false;
        } else if c == escape && quote != Some('\'') {
            escaped = true;
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
    }
    if let Some(from) = start {
        words.push(Spanned {
            text: args.text[from..].into(),
            range: args.range(from..args.text.len()),
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RawDockerfile {
        split(Path::new("Dockerfile"), text.into()).unwrap()
    }

    #[test]
    fn continuations_join_and_comments_between_them_vanish() {
        let file = parse("# c\n\nRUN a \\\n  # inner\n\n  && b \\  \n  && c\nCMD x\\\\\nUSER y");
        let texts: Vec<_> = file
            .instructions
            .iter()
            .map(|raw| (raw.keyword.as_str(), raw.args.text.as_str()))
            .collect();
        assert_eq!(
            texts,
            [("RUN", "a   && b   && c"), ("CMD", "x\\\\"), ("USER", "y")]
        );
    }

    #[test]
    fn places_survive_continuations() {
        let file = parse("FROM scratch\nCOPY a \\\n   béta \\\n /dest\n");
        let words = plain_words(&file.instructions[1].args);
        let places: Vec<_> = words
            .iter()
            .map(|word| {
                let at = file.source.location(word.range.clone());
                (word.text.as_str(), at.line, at.column, at.width)
            })
            .collect();
        assert_eq!(
            places,
            [("a", 2, 6, 1), ("béta", 3, 4, 4), ("/dest", 4, 2, 5)]
        );
    }

    #[test]
    fn the_escape_directive_changes_the_escape_character() {
        let file = parse("# escape=`\nFROM scratch\nRUN dir `\n  c:\\\n");
        assert_eq!(file.escape, '`');
        assert_eq!(file.instructions[1].args.text, "dir   c:\\");
        let error = split(Path::new("D"), "# escape=x\n".into()).unwrap_err();
        assert_eq!(
            (error.line(), error.message()),
            (Some(1), "the escape character cannot be 'x'")
        );
        let error = split(Path::new("D"), "#escape=`\n#escape=`\n".into()).unwrap_err();
        assert_eq!(error.line(), Some(2));
        assert_eq!(
            parse("# hello\n# escape=`\nFROM a").escape,
            '\\',
            "directives end at the first comment"
        );
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let file = parse("RUN --mount=type=cache,target=/a --network=\"none\" -- --x y");
        let raw = &file.instructions[0];
        assert_eq!(raw.flags.len(), 2);
        assert_eq!(
            (raw.flags[0].name.as_str(), raw.flags[0].value.as_deref()),
            ("mount", Some("type=cache,target=/a"))
        );
        assert_eq!(raw.flags[1].value.as_deref(), Some("none"));
        assert_eq!(raw.args.text, "--x y");
        assert_eq!(file.source.location(raw.flags[1].range.clone()).column, 34);
    }

    #[test]
    fn heredocs_are_read_wherever_they_are_opened() {
        let file = parse(
            "RUN cat <<A - <<-'B' > /x\none $x\nA\n\ttwo\n\tB\nCOPY <<f.txt /f\nhi\nf.txt\nRUN echo \"<<no\"\nRUN [\"a\",\"<<no\"]\n",
        );
        let run = &file.instructions[0];
        assert_eq!(run.heredocs.len(), 2);
        assert_eq!(
            (run.heredocs[0].body.as_str(), run.heredocs[0].expand),
            ("one $x\n", true)
        );
        assert_eq!(
            (run.heredocs[1].content().as_str(), run.heredocs[1].expand),
            ("two\n", false)
        );
        assert_eq!(file.instructions[1].heredocs[0].name, "f.txt");
        assert_eq!(file.instructions.len(), 4);
        let error = split(Path::new("D"), "FROM a\nRUN <<EOF\nx\n".into()).unwrap_err();
        assert_eq!(
            (error.line(), error.message()),
            (Some(2), "the heredoc <<EOF is never closed")
        );
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
        let file = parse("\u{feff}FROM a\r\nRUN b \\\r\n c\r\n");
        assert_eq!(file.instructions[0].keyword, "FROM");
        assert_eq!(file.instructions[1].args.text, "b  c");
    }
}
