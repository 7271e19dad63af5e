//! Instructions: what each line of a Dockerfile asks for, checked as far as that is possible without running it.

use std::ops::Range;

use super::flags::RunMount;
use super::lines::{Heredoc, Mapped, SourceText, Spanned};
use super::lint::{Check, Finding};
use crate::error::BuildError;

/// Every instruction there is.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A Dockerfile that has been understood.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    pub source: SourceText,
    pub escape: char,
    /// `ARG` before the first `FROM`.
    pub global_args: Vec<Instruction>,
    pub stages: Vec<Stage>,
    /// What is right, but not done by the embedded engine, by the number of its stage.
    pub unsupported: Vec<(usize, BuildError)>,
    /// What is allowed, but hardly meant.
    pub findings: Vec<Finding>,
    pub check: Check,
}

/// From one `FROM` to the next.
#[derive(Debug)]
pub(crate) struct Stage {
    pub from: From,
    pub range: Range<usize>,
    pub text: String,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone)]
pub(crate) struct From {
    pub image: Spanned,
    pub platform: Option<Spanned>,
    /// In lower case.
    pub name: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub kind: Kind,
    pub range: Range<usize>,
    /// The instruction on one line, for people.
    pub text: String,
}

/// `name=value` as written; neither is expanded yet.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub name: Spanned,
    pub value: Spanned,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Arg(Vec<(Spanned, Option<Spanned>)>),
    Env(Vec<Pair>),
    Label(Vec<Pair>),
    Copy(Copy),
    Run(Run),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Expose(Mapped),
    Volume(Vec<Spanned>),
    User(Spanned),
    Workdir(Spanned),
    StopSignal(Spanned),
    Maintainer(Spanned),
    Healthcheck(Healthcheck),
    /// The trigger's text.
    Onbuild(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Exec(Vec<String>),
    Shell(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub command: Command,
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<RunMount>,
    pub no_network: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum CopySource {
    Path(Spanned),
    Heredoc(Heredoc),
}

/// `COPY`, and `ADD`, which differs in what it does with archives and addresses.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub add: bool,
    pub sources: Vec<CopySource>,
    pub dest: Spanned,
    pub from: Option<Spanned>,
    pub chown: Option<Spanned>,
    pub chmod: Option<Spanned>,
    pub parents: bool,
    pub exclude: Vec<Spanned>,
    /// `ADD --unpack`: `None` unpacks local archives only.
    pub unpack: Option<bool>,
    /// `ADD --checksum`: what an address must give.
    pub checksum: Option<Spanned>,
    /// `ADD --keep-git-dir`.
    pub keep_git_dir: Option<bool>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Healthcheck {
    /// `None` is `HEALTHCHECK NONE`.
    pub command: Option<Command>,
    /// Nanoseconds, here and below.
    pub interval: Option<i64>,
    pub timeout: Option<i64>,
    pub start_period: Option<i64>,
    pub start_interval: Option<i64>,
    pub retries: Option<u32>,
}
