//! From the lines of a Dockerfile to its instructions.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use super::flags::FlagReader;
use super::instruction::{Dockerfile, From, Instruction, KEYWORDS, Kind, Pair, Stage};
use super::lines::{self, RawInstruction, SourceText, Spanned};
use super::lint::{self, Check};
use super::usage::usage;
use crate::error::{BuildError, BuildErrorKind, Result, did_you_mean};

/// Parses a Dockerfile.
pub(crate) fn parse(file: &Path, text: String) -> Result<Dockerfile> {
    let raw = lines::split(file, text)?;
    let check = match &raw.check {
        None => Check::default(),
        Some(word) => Check::read(&raw.source, word)?,
    };
    let mut dockerfile = Dockerfile {
        check,
        source: raw.source,
        escape: raw.escape,
        global_args: Vec::new(),
        stages: Vec::new(),
        unsupported: Vec::new(),
        findings: Vec::new(),
    };
    for raw in &raw.instructions {
        let parser = Parser {
            source: &dockerfile.source,
            escape: dockerfile.escape,
            raw,
            unsupported: RefCell::default(),
        };
        if raw.keyword == "FROM" {
            let from = parser.from()?;
            dockerfile.stages.push(Stage {
                from,
                range: raw.range(),
                text: raw.text.clone(),
                instructions: Vec::new(),
            });
            continue;
        }
        let instruction = parser.instruction()?;
        let stage = dockerfile.stages.len().saturating_sub(1);
        let unsupported = parser.unsupported.take().into_iter();
        dockerfile
            .unsupported
            .extend(unsupported.map(|error| (stage, error)));
        match (dockerfile.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Kind::Arg(_)) => dockerfile.global_args.push(instruction),
            (None, _) => {
                return Err(parser
                    .error(raw.keyword_range.clone(), format!("{} comes before the first FROM", raw.keyword))
                    .with_hint("begin with FROM and a base image, or FROM scratch; only ARG may stand before it"));
            }
        }
    }
    if dockerfile.stages.is_empty() {
        let problem = if raw.instructions.is_empty() {
            "the Dockerfile is empty"
        } else {
            "the Dockerfile has no FROM"
        };
        return Err(BuildError::new(BuildErrorKind::Dockerfile, problem)
            .at(dockerfile.source.location(0..0))
            .with_hint("begin with FROM and a base image, or FROM scratch"));
    }
    dockerfile.findings = lint::check(&dockerfile, &raw.instructions, &raw.gaps)?;
    Ok(dockerfile)
}

/// One instruction on its way from words to meaning.
pub(super) struct Parser<'a> {
    pub(super) source: &'a SourceText,
    escape: char,
    pub(super) raw: &'a RawInstruction,
    pub(super) unsupported: RefCell<Vec<BuildError>>,
}

impl Parser<'_> {
    pub(super) fn error(&self, range: Range<usize>, message: impl Into<String>) -> BuildError {
        BuildError::new(BuildErrorKind::Dockerfile, message).at(self.source.location(range))
    }

    pub(super) fn flags(&self) -> FlagReader<'_> {
        FlagReader::new(self.source, self.raw)
    }

    fn instruction(&self) -> Result<Instruction> {
        Ok(Instruction {
            kind: self.kind()?,
            range: self.raw.range(),
            text: self.raw.text.clone(),
        })
    }

    fn kind(&self) -> Result<Kind> {
        let keyword = self.raw.keyword.as_str();
        if !KEYWORDS.contains(&keyword) {
            let written = self.source.written(self.raw.keyword_range.clone());
            let error = self.error(
                self.raw.keyword_range.clone(),
                format!("unknown instruction {written}"),
            );
            return Err(match did_you_mean(keyword, KEYWORDS) {
                Some(known) => error.with_hint(format!("did you mean {known}?")),
                None => error.with_hint(format!("the instructions are {}", KEYWORDS.join(", "))),
            });
        }
        let flags_allowed = matches!(keyword, "ADD" | "COPY" | "RUN" | "HEALTHCHECK" | "ONBUILD");
        if let Some(flag) = self.raw.flags.first().filter(|_| !flags_allowed) {
            return Err(self.error(
                flag.range.clone(),
                format!("{keyword} has no flag --{}", flag.name),
            ));
        }
        // A quote that is not closed takes everything into the flag.
        if let Some(flag) = self
            .raw
            .flags
            .last()
            .filter(|_| self.raw.args.text.is_empty())
            && self
                .source
                .written(flag.range.clone())
                .matches(['"', '\''])
                .count()
                % 2
                == 1
        {
            return Err(self
                .error(
                    flag.range.clone(),
                    format!("a quote in --{} is never closed", flag.name),
                )
                .with_hint("values of flags need quotes only where they hold spaces"));
        }
        if self.raw.args.text.is_empty() && keyword != "CMD" {
            return Err(self
                .error(
                    self.raw.keyword_range.clone(),
                    format!("{keyword} needs an argument"),
                )
                .with_hint(usage(keyword)));
        }
        Ok(match keyword {
            "ADD" => Kind::Copy(self.copy(true)?),
            "COPY" => Kind::Copy(self.copy(false)?),
            "ARG" => Kind::Arg(self.arg()?),
            "CMD" => Kind::Cmd(self.command(&self.raw.args)),
            "ENTRYPOINT" => Kind::Entrypoint(self.command(&self.raw.args)),
            "ENV" => Kind::Env(self.pairs()?),
            "LABEL" => Kind::Label(self.pairs()?),
            "EXPOSE" => Kind::Expose(self.raw.args.clone()),
            "HEALTHCHECK" => Kind::Healthcheck(self.healthcheck()?),
            "MAINTAINER" => Kind::Maintainer(self.whole()),
            "ONBUILD" => self.onbuild()?,
            "RUN" => Kind::Run(self.run()?),
            "SHELL" => Kind::Shell(self.shell()?),
            "STOPSIGNAL" => Kind::StopSignal(self.single()?),
            "USER" => Kind::User(self.single()?),
            "VOLUME" => Kind::Volume(self.volume()?),
            "WORKDIR" => Kind::Workdir(self.whole()),
            _ => {
                return Err(self.error(
                    self.raw.keyword_range.clone(),
                    format!("{keyword} cannot stand here"),
                ));
            }
        })
    }

    pub(super) fn whole(&self) -> Spanned {
        let args = &self.raw.args;
        Spanned {
            text: args.text.clone(),
            range: args.range(0..args.text.len()),
        }
    }

    /// One word; a second one outside quotes is refused.
    fn single(&self) -> Result<Spanned> {
        let words = lines::quoted_words(&self.raw.args, self.escape);
        match words.get(1) {
            Some(second) => Err(self
                .error(
                    second.range.clone(),
                    format!(
                        "{} takes one argument, and '{}' is a second one",
                        self.raw.keyword, second.text
                    ),
                )
                .with_hint(usage(&self.raw.keyword))),
            None => Ok(self.whole()),
        }
    }

    fn from(&self) -> Result<From> {
        let mut flags = self.flags();
        let platform = flags.value("platform")?;
        flags.done(&["platform"])?;
        let words = lines::plain_words(&self.raw.args);
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                (image, Some(name))
            }
            [] => {
                return Err(self
                    .error(self.raw.keyword_range.clone(), "FROM needs an image")
                    .with_hint(usage("FROM")));
            }
            [_, second, ..] => {
                return Err(self
                    .error(
                        second.range.clone(),
                        format!("'{}' is not expected after the image", second.text),
                    )
                    .with_hint(usage("FROM")));
            }
        };
        let name = match name {
            None => None,
            Some(word) => {
                let name = word.text.to_lowercase();
                let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
                    && name
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
                if !fine {
                    return Err(self
                        .error(
                            word.range.clone(),
                            format!("'{}' cannot be the name of a stage", word.text),
                        )
                        .with_hint(
                            "a name begins with a letter and has letters, digits, '-', '_' and '.'",
                        ));
                }
                Some(name)
            }
        };
        Ok(From {
            image: image.clone(),
            platform,
            name,
        })
    }

    fn arg(&self) -> Result<Vec<(Spanned, Option<Spanned>)>> {
        let mut args = Vec::new();
        for word in lines::quoted_words(&self.raw.args, self.escape) {
            let (name, value) = split_pair(&word);
            if name.text.is_empty() {
                return Err(self
                    .error(word.range, "ARG needs a name before '='")
                    .with_hint(usage("ARG")));
            }
            args.push((name, value));
        }
        Ok(args)
    }

    fn pairs(&self) -> Result<Vec<Pair>> {
        let words = lines::quoted_words(&self.raw.args, self.escape);
        let keyword = &self.raw.keyword;
        let Some(first) = words.first() else {
            return Err(self
                .error(
                    self.raw.keyword_range.clone(),
                    format!("{keyword} needs an argument"),
                )
                .with_hint(usage(keyword)));
        };
        if !first.text.contains('=') {
            // The old form, `ENV name the rest of the line`.
            let args = &self.raw.args;
            let end = first.text.len();
            let rest = args.trimmed_from(end);
            if rest.text.is_empty() {
                return Err(self
                    .error(
                        first.range.clone(),
                        format!("{keyword} {} has no value", first.text),
                    )
                    .with_hint(usage(keyword)));
            }
            let value = Spanned {
                range: rest.range(0..rest.text.len()),
                text: rest.text,
            };
            return Ok(vec![Pair {
                name: first.clone(),
                value,
            }]);
        }
        let mut pairs = Vec::new();
        for word in words {
            match split_pair(&word) {
                (name, Some(value)) if !name.text.is_empty() => pairs.push(Pair { name, value }),
                (_, Some(_)) => {
                    return Err(self
                        .error(word.range, format!("{keyword} needs a name before '='"))
                        .with_hint("write name=value, without spaces around the sign"));
                }
                (_, None) => {
                    return Err(self
                        .error(word.range, format!("'{}' has no '='", word.text))
                        .with_hint("write name=value, and quotes around a value with spaces"));
                }
            }
        }
        Ok(pairs)
    }

    fn shell(&self) -> Result<Vec<String>> {
        lines::json_array(&self.raw.args.text)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| {
                self.error(self.whole().range, "SHELL takes a JSON array of strings")
                    .with_hint(usage("SHELL"))
            })
    }

    fn volume(&self) -> Result<Vec<Spanned>> {
        let words = match lines::json_array(&self.raw.args.text) {
            Some(words) => words
                .into_iter()
                .map(|text| Spanned {
                    text,
                    range: self.whole().range,
                })
                .collect(),
            None => lines::plain_words(&self.raw.args),
        };
        match words.iter().find(|word| word.text.trim().is_empty()) {
            Some(word) => Err(self.error(word.range.clone(), "VOLUME has an empty path")),
            None => Ok(words),
        }
    }

    fn onbuild(&self) -> Result<Kind> {
        let inner = lines::split_one(self.raw, self.escape);
        if matches!(inner.keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(self.error(
                inner.keyword_range,
                format!("{} is not allowed as a trigger of ONBUILD", inner.keyword),
            ));
        }
        // What is wrong with the trigger is said now, not in a later build.
        let parser = Parser {
            source: self.source,
            escape: self.escape,
            raw: &inner,
            unsupported: RefCell::default(),
        };
        parser.kind()?;
        self.unsupported
            .borrow_mut()
            .extend(parser.unsupported.take());
        let mut text = self.raw.args.text.clone();
        for heredoc in &inner.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        Ok(Kind::Onbuild(text))
    }
}

fn split_pair(word: &Spanned) -> (Spanned, Option<Spanned>) {
    match word.text.split_once('=') {
        None => (word.clone(), None),
        Some((name, value)) => {
            let middle = (word.range.start + name.len()).min(word.range.end);
            let value_start = (middle + 1).min(word.range.end);
            (
                Spanned {
                    text: name.into(),
                    range: word.range.start..middle,
                },
                Some(Spanned {
                    text: value.into(),
                    range: value_start..word.range.end,
                }),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction::{Command, Run};
    use super::*;

    fn file(text: &str) -> Dockerfile {
        parse(Path::new("Dockerfile"), text.into()).unwrap()
    }

    fn refused(text: &str) -> (usize, usize, String, String) {
        let error = parse(Path::new("Dockerfile"), text.into()).unwrap_err();
        (
            error.line().unwrap(),
            error.column().unwrap(),
            error.message().into(),
            error.hint().unwrap_or_default().into(),
        )
    }

    #[test]
    fn stages_and_global_arguments_are_told_apart() {
        let file = file(
            "ARG V=1\nFROM --platform=linux/arm64 a:$V AS Build\nRUN x\nFROM build\nCOPY --from=build --chown=a:b --link /x /y\n",
        );
        assert_eq!((file.global_args.len(), file.stages.len()), (1, 2));
        assert_eq!(file.stages[0].from.name.as_deref(), Some("build"));
        assert_eq!(
            file.stages[0].from.platform.as_ref().unwrap().text,
            "linux/arm64"
        );
        let Kind::Copy(copy) = &file.stages[1].instructions[0].kind else {
            panic!()
        };
        assert_eq!(
            (
                copy.from.as_ref().unwrap().text.as_str(),
                copy.dest.text.as_str()
            ),
            ("build", "/y")
        );
    }

    #[test]
    fn exec_and_shell_forms_are_told_apart() {
        let file =
            file("FROM a\nCMD [\"a\", \"b\"]\nCMD ['a']\nENTRYPOINT []\nCMD\nRUN [ -e /x ] && y\n");
        let kinds: Vec<_> = file.stages[0]
            .instructions
            .iter()
            .map(|i| i.kind.clone())
            .collect();
        assert!(matches!(&kinds[0], Kind::Cmd(Command::Exec(words)) if words == &["a", "b"]));
        assert!(matches!(&kinds[1], Kind::Cmd(Command::Shell(line)) if line == "['a']"));
        assert!(matches!(&kinds[2], Kind::Entrypoint(Command::Exec(words)) if words.is_empty()));
        assert!(matches!(&kinds[3], Kind::Cmd(Command::Shell(line)) if line.is_empty()));
        assert!(matches!(
            &kinds[4],
            Kind::Run(Run {
                command: Command::Shell(_),
                ..
            })
        ));
    }

    #[test]
    fn environment_pairs_come_in_both_forms() {
        let file =
            file("FROM a\nENV A=1 B=\"two words\" C=a\\ b\nENV D the rest = x\nLABEL \"a.b\"=c\n");
        let Kind::Env(pairs) = &file.stages[0].instructions[0].kind else {
            panic!()
        };
        let texts: Vec<_> = pairs
            .iter()
            .map(|pair| (pair.name.text.as_str(), pair.value.text.as_str()))
            .collect();
        assert_eq!(texts, [("A", "1"), ("B", "\"two words\""), ("C", "a\\ b")]);
        let Kind::Env(pairs) = &file.stages[0].instructions[1].kind else {
            panic!()
        };
        assert_eq!(
            (pairs[0].name.text.as_str(), pairs[0].value.text.as_str()),
            ("D", "the rest = x")
        );
    }

    #[test]
    fn a_trigger_is_kept_as_text_and_checked_at_once() {
        let file = file("FROM a\nONBUILD COPY . /app\nONBUILD RUN <<E\nx\nE\n");
        assert!(
            matches!(&file.stages[0].instructions[0].kind, Kind::Onbuild(text) if text == "COPY . /app")
        );
        assert!(
            matches!(&file.stages[0].instructions[1].kind, Kind::Onbuild(text) if text == "RUN <<E\nx\nE")
        );
        assert_eq!(
            refused("FROM a\nONBUILD FROM b\n").2,
            "FROM is not allowed as a trigger of ONBUILD"
        );
        assert_eq!(
            refused("FROM a\nONBUILD CPY b c\n").2,
            "unknown instruction CPY"
        );
    }

    #[test]
    fn what_is_refused_for_safety_is_noted_with_its_place() {
        let file = file("FROM a\nFROM b\nRUN --security=insecure --mount=type=ssh x\n");
        let [(stage, error)] = file.unsupported.as_slice() else {
            panic!("{:?}", file.unsupported)
        };
        assert_eq!(
            (*stage, error.line(), error.column(), error.message()),
            (1, Some(3), Some(5), "--security=insecure is refused")
        );
    }
}
