//! What is allowed in a Dockerfile but hardly meant: BuildKit's build checks.
//!
//! Names and meaning of the rules are those of <https://docs.docker.com/reference/build-checks/>. A line `# check=skip=Rule,Rule` or
//! `# check=skip=all` switches them off, `error=true` makes each of them an error. The two rules that need values (`UndefinedVar`, and
//! `CopyIgnoredFile`, which is an error here) are judged while the build runs.

use std::collections::BTreeSet;
use std::ops::Range;

use super::expand;
use super::instruction::{Command, Dockerfile, Instruction, Kind, Stage};
use super::lines::{self, RawInstruction, SourceText, Spanned};
use crate::error::{BuildError, BuildErrorKind, Result, did_you_mean};
use crate::scope::{AUTOMATIC, PROXIES};

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub rule: &'static str,
    pub message: String,
    pub range: Range<usize>,
}

/// Every rule there is.
pub(crate) const RULES: [&str; 20] = [
    "ConsistentInstructionCasing",
    "CopyIgnoredFile",
    "DuplicateStageName",
    "ExposeInvalidFormat",
    "ExposeProtoCasing",
    "FromAsCasing",
    "FromPlatformFlagConstDisallowed",
    "InvalidDefaultArgInFrom",
    "JSONArgsRecommended",
    "LegacyKeyValueFormat",
    "MaintainerDeprecated",
    "MultipleInstructionsDisallowed",
    "NoEmptyContinuation",
    "RedundantTargetPlatform",
    "ReservedStageName",
    "SecretsUsedInArgOrEnv",
    "StageNameCasing",
    "UndefinedArgInFrom",
    "UndefinedVar",
    "WorkdirRelativePath",
];

/// What `# check=` asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    skip_all: bool,
    skip: Vec<String>,
    /// A finding ends the build.
    pub error: bool,
}

impl Check {
    /// Whether findings of a rule are wanted.
    pub(crate) fn wants(&self, rule: &str) -> bool {
        !self.skip_all && !self.skip.iter().any(|skipped| skipped == rule)
    }

    /// Reads the directive's value.
    pub(super) fn read(source: &SourceText, word: &Spanned) -> Result<Check> {
        wish(word).map_err(|(message, hint)| {
            BuildError::new(BuildErrorKind::Dockerfile, message)
                .at(source.location(word.range.clone()))
                .with_hint(hint)
        })
    }
}

/// Judges a whole file.
///
/// # Errors
/// The first finding, where the directive makes findings errors.
pub(super) fn check(
    file: &Dockerfile,
    raw: &[RawInstruction],
    gaps: &[Range<usize>],
) -> Result<Vec<Finding>> {
    let mut judge = Judge {
        file,
        found: Vec::new(),
    };
    judge.casing(raw);
    judge.raw(raw, gaps);
    judge.froms(raw);
    for stage in &file.stages {
        judge.stage(stage);
    }
    for instruction in &file.global_args {
        judge.secrets(instruction);
    }
    let mut found = judge.found;
    found.retain(|finding| file.check.wants(finding.rule));
    found.sort_by_key(|finding| finding.range.start);
    match found.first() {
        Some(first) if file.check.error => Err(BuildError::new(
            BuildErrorKind::Dockerfile,
            format!("{} ({})", first.message, first.rule),
        )
        .at(file.source.location(first.range.clone()))
        .with_hint("`# check=error=true` at the top of the file makes this an error")),
        _ => Ok(found),
    }
}

fn wish(word: &Spanned) -> std::result::Result<Check, (String, String)> {
    let mut wish = Check::default();
    for part in word.text.split(';') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "error" => match value.trim() {
                "true" => wish.error = true,
                "false" => wish.error = false,
                other => {
                    return Err((
                        format!("error is true or false, not '{other}'"),
                        "write # check=error=true".into(),
                    ));
                }
            },
            "skip" => {
                for name in value.split(',').map(str::trim) {
                    if name == "all" {
                        wish.skip_all = true;
                        continue;
                    }
                    match RULES.iter().find(|rule| rule.eq_ignore_ascii_case(name)) {
                        Some(rule) => wish.skip.push((*rule).into()),
                        None => {
                            let hint = match did_you_mean(name, RULES) {
                                Some(near) => format!("did you mean {near}?"),
                                None => format!("the rules are {}", RULES.join(", ")),
                            };
                            return Err((format!("there is no build check '{name}'"), hint));
                        }
                    }
                }
            }
            "experimental" => {}
            other => {
                return Err((
                    format!("the directive check has no option '{other}'"),
                    "write # check=skip=Rule,Rule;error=true".into(),
                ));
            }
        }
    }
    Ok(wish)
}

struct Judge<'a> {
    file: &'a Dockerfile,
    found: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, rule: &'static str, range: &Range<usize>, message: impl Into<String>) {
        debug_assert!(RULES.contains(&rule));
        self.found.push(Finding {
            rule,
            message: message.into(),
            range: range.clone(),
        });
    }

    fn casing(&mut self, raw: &[RawInstruction]) {
        let written = |raw: &RawInstruction| self.file.source.written(raw.keyword_range.clone());
        let lower = raw
            .iter()
            .filter(|raw| written(raw) == raw.keyword.to_lowercase())
            .count();
        let (style, is_lower) = if lower * 2 > raw.len() {
            ("lowercase", true)
        } else {
            ("uppercase", false)
        };
        let odd: Vec<_> = raw
            .iter()
            .filter(|raw| {
                let right = if is_lower {
                    raw.keyword.to_lowercase()
                } else {
                    raw.keyword.clone()
                };
                written(raw) != right
            })
            .map(|raw| (raw.keyword_range.clone(), written(raw).to_owned()))
            .collect();
        for (range, written) in odd {
            self.find(
                "ConsistentInstructionCasing",
                &range,
                format!("'{written}' should be in {style}, as most instructions are"),
            );
        }
    }

    fn raw(&mut self, raw: &[RawInstruction], gaps: &[Range<usize>]) {
        for gap in gaps {
            self.find(
                "NoEmptyContinuation",
                gap,
                "an empty line between a continued line and what continues it",
            );
        }
        for raw in raw {
            if matches!(raw.keyword.as_str(), "ENV" | "LABEL")
                && let Some(first) = lines::plain_words(&raw.args).first()
                && !first.text.contains('=')
            {
                let keyword = &raw.keyword;
                self.find(
                    "LegacyKeyValueFormat",
                    &first.range,
                    format!("write {keyword} name=value; {keyword} name value is an old form"),
                );
            }
        }
    }

    fn froms(&mut self, raw: &[RawInstruction]) {
        let file = self.file;
        let mut names = BTreeSet::new();
        let froms = raw.iter().filter(|raw| raw.keyword == "FROM");
        for (raw, stage) in froms.zip(&file.stages) {
            let words = lines::plain_words(&raw.args);
            if let [_, keyword, name] = words.as_slice() {
                let from = file.source.written(raw.keyword_range.clone());
                let is_lower = |text: &str| text.chars().all(|c| c.is_ascii_lowercase());
                let is_upper = |text: &str| text.chars().all(|c| c.is_ascii_uppercase());
                if is_lower(from) != is_lower(&keyword.text)
                    || is_upper(from) != is_upper(&keyword.text)
                {
                    self.find(
                        "FromAsCasing",
                        &keyword.range,
                        format!(
                            "'{}' and '{from}' are not written in the same case",
                            keyword.text
                        ),
                    );
                }
                if name.text != name.text.to_lowercase() {
                    self.find(
                        "StageNameCasing",
                        &name.range,
                        format!("the name of the stage {} should be in lowercase", name.text),
                    );
                }
                let lower = name.text.to_lowercase();
                if matches!(lower.as_str(), "scratch" | "context") {
                    self.find(
                        "ReservedStageName",
                        &name.range,
                        format!("'{lower}' means something else and should not name a stage"),
                    );
                }
                if !names.insert(lower) {
                    self.find(
                        "DuplicateStageName",
                        &name.range,
                        format!("two stages are called {}", name.text),
                    );
                }
            }
            self.from(stage);
        }
    }

    fn from(&mut self, stage: &Stage) {
        let file = self.file;
        if let Some(platform) = &stage.from.platform {
            let text = platform.text.as_str();
            if matches!(text, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
                self.find(
                    "RedundantTargetPlatform",
                    &platform.range,
                    "--platform=$TARGETPLATFORM is what FROM does anyway",
                );
            } else if !text.contains('$') {
                self.find(
                    "FromPlatformFlagConstDisallowed",
                    &platform.range,
                    format!("--platform={text} does not follow the platform that is asked for"),
                );
            }
        }
        let declared: Vec<(&str, bool)> = file
            .global_args
            .iter()
            .filter_map(|instruction| match &instruction.kind {
                Kind::Arg(args) => Some(args),
                _ => None,
            })
            .flatten()
            .map(|(name, default)| (name.text.as_str(), default.is_some()))
            .collect();
        let words = [Some(&stage.from.image), stage.from.platform.as_ref()];
        for (index, word) in words.into_iter().enumerate() {
            let Some(word) = word else { continue };
            for name in expand::unset(&word.text, file.escape, &Vec::new()) {
                match declared.iter().find(|(known, _)| *known == name) {
                    Some((_, false)) if index == 0 => self.find(
                        "InvalidDefaultArgInFrom",
                        &word.range,
                        format!("without a value for ARG {name}, there is no valid base image"),
                    ),
                    Some(_) => {}
                    None if AUTOMATIC.contains(&name.as_str())
                        || PROXIES.contains(&name.as_str()) => {}
                    None => self.find(
                        "UndefinedArgInFrom",
                        &word.range,
                        match did_you_mean(
                            &name,
                            declared.iter().map(|(name, _)| *name).chain(AUTOMATIC),
                        ) {
                            Some(near) => format!(
                                "no ARG before the first FROM declares {name}; did you mean {near}?"
                            ),
                            None => format!("no ARG before the first FROM declares {name}"),
                        },
                    ),
                }
            }
        }
    }

    fn stage(&mut self, stage: &Stage) {
        let mut absolute = false;
        let mut shell = false;
        for instruction in &stage.instructions {
            let range = &instruction.range;
            match &instruction.kind {
                Kind::Shell(_) => shell = true,
                Kind::Workdir(path) => {
                    let text = path.text.trim_matches(['"', '\'']);
                    if text.starts_with(['/', '$']) {
                        absolute = true;
                    } else if !absolute {
                        self.find(
                            "WorkdirRelativePath",
                            &path.range,
                            format!("the folder {text} depends on the base image; begin with an absolute one"),
                        );
                    }
                }
                Kind::Cmd(Command::Shell(_)) if !shell => self.json(range, "CMD"),
                Kind::Entrypoint(Command::Shell(_)) if !shell => self.json(range, "ENTRYPOINT"),
                Kind::Maintainer(_) => self.find(
                    "MaintainerDeprecated",
                    range,
                    "MAINTAINER is out of use; write LABEL org.opencontainers.image.authors=...",
                ),
                Kind::Expose(args) => {
                    for word in lines::plain_words(args) {
                        self.port(&word);
                    }
                }
                _ => self.secrets(instruction),
            }
        }
        self.repeated(stage, "CMD", |kind| matches!(kind, Kind::Cmd(_)));
        self.repeated(stage, "ENTRYPOINT", |kind| {
            matches!(kind, Kind::Entrypoint(_))
        });
        self.repeated(stage, "HEALTHCHECK", |kind| {
            matches!(kind, Kind::Healthcheck(_))
        });
    }

    fn json(&mut self, range: &Range<usize>, keyword: &str) {
        self.find(
            "JSONArgsRecommended",
            range,
            format!("write {keyword} as a JSON array: in the shell form, the program does not get the signal to stop"),
        );
    }

    fn repeated(&mut self, stage: &Stage, keyword: &str, is: impl Fn(&Kind) -> bool) {
        let ranges: Vec<_> = stage
            .instructions
            .iter()
            .filter(|instruction| is(&instruction.kind))
            .map(|instruction| instruction.range.clone())
            .collect();
        for range in ranges.iter().take(ranges.len().saturating_sub(1)) {
            self.find(
                "MultipleInstructionsDisallowed",
                range,
                format!("only the last {keyword} of a stage counts"),
            );
        }
    }

    fn port(&mut self, word: &Spanned) {
        let text = &word.text;
        if let Some((_, protocol)) = text.split_once('/')
            && protocol != protocol.to_lowercase()
        {
            self.find(
                "ExposeProtoCasing",
                &word.range,
                format!("the protocol of {text} should be in lowercase"),
            );
        }
        if text.contains(':') && !text.contains('$') {
            self.find(
                "ExposeInvalidFormat",
                &word.range,
                format!("EXPOSE takes ports of the container, and {text} names an address or a port of the host"),
            );
        }
    }

    fn secrets(&mut self, instruction: &Instruction) {
        let names: Vec<(&str, &Spanned)> = match &instruction.kind {
            Kind::Arg(args) => args.iter().map(|(name, _)| ("ARG", name)).collect(),
            Kind::Env(pairs) => pairs.iter().map(|pair| ("ENV", &pair.name)).collect(),
            _ => return,
        };
        for (keyword, name) in names {
            if is_secret(&name.text) {
                self.find(
                    "SecretsUsedInArgOrEnv",
                    &name.range,
                    format!(
                        "{keyword} {} stays readable in the image; use RUN --mount=type=secret",
                        name.text
                    ),
                );
            }
        }
    }
}

/// Whether a name says that its value is secret, by BuildKit's list of words.
pub(crate) fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let lower = name.to_lowercase();
    let mut words = lower.split('_');
    words.clone().any(|word| WORDS.contains(&word)) && !words.any(|word| word == "public")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parser;

    fn found(text: &str) -> Vec<(&'static str, usize, usize)> {
        let file = parser::parse(Path::new("Dockerfile"), text.into()).unwrap();
        file.findings
            .iter()
            .map(|finding| {
                let at = file.source.location(finding.range.clone());
                (finding.rule, at.line, at.column)
            })
            .collect()
    }

    #[test]
    fn a_file_as_it_should_be_has_no_findings() {
        let text = "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS b\nARG PUBLIC_KEY\nWORKDIR /w\nWORKDIR sub\nRUN a \\\n # why\n && b\nFROM b\nSHELL [\"/x\"]\nCMD x\n";
        assert_eq!(found(text), []);
        assert_eq!(found("from a as b\nrun x\n"), []);
    }

    #[test]
    fn every_rule_finds_its_place() {
        for (text, want) in [
            ("FROM a AS Bc\n", ("StageNameCasing", 1, 11)),
            ("FROM a as bc\n", ("FromAsCasing", 1, 8)),
            ("FROM a\nRUN x \\\n\n y\n", ("NoEmptyContinuation", 3, 1)),
            (
                "FROM a\nRUN x\nrun y\n",
                ("ConsistentInstructionCasing", 3, 1),
            ),
            ("FROM a AS b\nFROM c AS b\n", ("DuplicateStageName", 2, 11)),
            ("FROM a AS context\n", ("ReservedStageName", 1, 11)),
            ("FROM a\nCMD x y\n", ("JSONArgsRecommended", 2, 1)),
            ("FROM a\nENTRYPOINT x y\n", ("JSONArgsRecommended", 2, 1)),
            ("FROM a\nMAINTAINER me\n", ("MaintainerDeprecated", 2, 1)),
            ("FROM a:$TAG\n", ("UndefinedArgInFrom", 1, 6)),
            ("ARG TAG\nFROM a:$TAG\n", ("InvalidDefaultArgInFrom", 2, 6)),
            ("FROM a\nWORKDIR x\n", ("WorkdirRelativePath", 2, 9)),
            (
                "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n",
                ("MultipleInstructionsDisallowed", 2, 1),
            ),
            ("FROM a\nENV x y\n", ("LegacyKeyValueFormat", 2, 5)),
            ("FROM a\nLABEL x y\n", ("LegacyKeyValueFormat", 2, 7)),
            (
                "FROM --platform=$TARGETPLATFORM a\n",
                ("RedundantTargetPlatform", 1, 6),
            ),
            (
                "FROM --platform=linux/amd64 a\n",
                ("FromPlatformFlagConstDisallowed", 1, 6),
            ),
            (
                "FROM a\nENV A=1 DB_PASSWORD=x\n",
                ("SecretsUsedInArgOrEnv", 2, 9),
            ),
            ("ARG TOKEN\nFROM a\n", ("SecretsUsedInArgOrEnv", 1, 5)),
            ("FROM a\nEXPOSE 80/TCP\n", ("ExposeProtoCasing", 2, 8)),
            ("FROM a\nEXPOSE 8080:80\n", ("ExposeInvalidFormat", 2, 8)),
        ] {
            assert_eq!(found(text), [want], "{text}");
        }
    }

    #[test]
    fn the_directive_skips_rules_and_makes_errors() {
        assert_eq!(found("# check=skip=StageNameCasing\nFROM a AS B\n"), []);
        assert_eq!(found("# check=skip=all\nfrom a AS B\nCMD x\n"), []);
        let refused = |text: &str| {
            let error = parser::parse(Path::new("Dockerfile"), text.into()).unwrap_err();
            (
                error.line(),
                error.message().to_owned(),
                error.hint().unwrap().to_owned(),
            )
        };
        let (line, message, _) = refused("# check=error=true\nFROM a\nCMD x\n");
        assert_eq!(line, Some(3));
        assert!(message.ends_with("(JSONArgsRecommended)"), "{message}");
        let (line, message, hint) = refused("# check=skip=StagNameCasing\nFROM a\n");
        assert_eq!(
            (line, message.as_str()),
            (Some(1), "there is no build check 'StagNameCasing'")
        );
        assert_eq!(hint, "did you mean StageNameCasing?");
        assert_eq!(
            refused("# check=error=maybe\nFROM a\n").1,
            "error is true or false, not 'maybe'"
        );
    }
}
