//! Flags of instructions: `--name=value`, and the little language of `RUN --mount`.

use std::ops::Range;

use super::lines::{RawInstruction, SourceText, Spanned};
use crate::error::{BuildError, BuildErrorKind, Result, did_you_mean};

/// Takes the flags of one instruction by name; what is left at the end is unknown.
pub(crate) struct FlagReader<'a> {
    source: &'a SourceText,
    raw: &'a RawInstruction,
    taken: Vec<bool>,
}

impl<'a> FlagReader<'a> {
    pub(crate) fn new(source: &'a SourceText, raw: &'a RawInstruction) -> Self {
        FlagReader {
            source,
            raw,
            taken: vec![false; raw.flags.len()],
        }
    }

    fn error(&self, range: Range<usize>, message: impl Into<String>) -> BuildError {
        BuildError::new(BuildErrorKind::Dockerfile, message).at(self.source.location(range))
    }

    fn take(&mut self, name: &str) -> Option<(Option<String>, Range<usize>)> {
        let index = self
            .raw
            .flags
            .iter()
            .enumerate()
            .position(|(index, flag)| !self.taken[index] && flag.name == name)?;
        self.taken[index] = true;
        let flag = &self.raw.flags[index];
        Some((flag.value.clone(), flag.range.clone()))
    }

    /// The value of the next flag of that name.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<Spanned>> {
        match self.take(name) {
            None => Ok(None),
            Some((Some(text), range)) if !text.is_empty() => Ok(Some(Spanned { text, range })),
            Some((_, range)) => Err(self
                .error(range, format!("--{name} needs a value"))
                .with_hint(format!("write --{name}=VALUE"))),
        }
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some((None, _)) => Ok(Some(true)),
            Some((Some(text), range)) => match text.as_str() {
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                other => {
                    Err(self.error(range, format!("--{name} is true or false, not '{other}'")))
                }
            },
        }
    }

    /// Nanoseconds.
    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let nanos = duration(&value.text).ok_or_else(|| {
            self.error(
                value.range.clone(),
                format!("'{}' is no duration", value.text),
            )
            .with_hint("write a number with its unit, such as 30s or 1m30s")
        })?;
        // Docker's own limit: shorter ones would be taken as the default.
        if nanos != 0 && nanos < 1_000_000 {
            return Err(self.error(
                value.range,
                format!("--{name} is shorter than a millisecond"),
            ));
        }
        Ok(Some(nanos))
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u32>> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        match value.text.parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(self.error(
                value.range,
                format!("--{name} is a number, not '{}'", value.text),
            )),
        }
    }

    /// Refuses what was not taken: unknown flags, and known ones that were given too often.
    pub(crate) fn done(&self, known: &[&str]) -> Result<()> {
        let Some((_, flag)) = self
            .raw
            .flags
            .iter()
            .enumerate()
            .find(|(index, _)| !self.taken[*index])
        else {
            return Ok(());
        };
        let keyword = &self.raw.keyword;
        if known.contains(&flag.name.as_str()) {
            return Err(self.error(
                flag.range.clone(),
                format!("--{} is given twice", flag.name),
            ));
        }
        let error = self.error(
            flag.range.clone(),
            format!("{keyword} has no flag --{}", flag.name),
        );
        Err(match did_you_mean(&flag.name, known.iter().copied()) {
            Some(name) => error.with_hint(format!("did you mean --{name}?")),
            None => error.with_hint(format!("{keyword} has --{}", known.join(", --"))),
        })
    }
}

/// Reads a duration in Go's notation into nanoseconds: `1h2m3.5s`, `300ms`, `0`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..number_end].parse().ok()?;
        rest = &rest[number_end..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit_end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    // Within i64: 292 years.
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}

/// `RUN --mount=type=...`; paths are not expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub kind: MountKind,
    pub target: Option<String>,
    pub source: Option<String>,
    pub from: Option<Spanned>,
    pub id: Option<String>,
    pub read_only: Option<bool>,
    pub sharing: Sharing,
    pub mode: Option<u32>,
    pub uid: u32,
    pub gid: u32,
    pub size: Option<u64>,
    pub required: bool,
    /// `env=NAME` of a secret.
    pub env: Option<String>,
    pub range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Private,
    Locked,
}

const MOUNT_KEYS: [&str; 19] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "id",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "sharing",
    "mode",
    "uid",
    "gid",
    "size",
    "required",
    "env",
];

pub(crate) fn run_mount(source: &SourceText, value: &Spanned) -> Result<RunMount> {
    let fail = |message: String| {
        BuildError::new(BuildErrorKind::Dockerfile, message)
            .at(source.location(value.range.clone()))
    };
    let mut mount = RunMount {
        kind: MountKind::Bind,
        target: None,
        source: None,
        from: None,
        id: None,
        read_only: None,
        sharing: Sharing::Shared,
        mode: None,
        uid: 0,
        gid: 0,
        size: None,
        required: false,
        env: None,
        range: value.range.clone(),
    };
    let mut given = Vec::new();
    for field in value.text.split(',') {
        let (key, text) = field
            .split_once('=')
            .map_or((field, None), |(key, text)| (key, Some(text)));
        let key = key.to_ascii_lowercase();
        if !MOUNT_KEYS.contains(&key.as_str()) {
            let error = fail(format!("--mount has no field '{key}'"));
            return Err(match did_you_mean(&key, MOUNT_KEYS) {
                Some(known) => error.with_hint(format!("did you mean {known}?")),
                None => error.with_hint(format!("the fields are {}", MOUNT_KEYS.join(", "))),
            });
        }
        given.push(key.clone());
        let flag = match text {
            None | Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => None,
        };
        let wants_flag = || fail(format!("the field {key} of --mount is true or false"));
        let number = |radix: u32| {
            text.and_then(|text| u32::from_str_radix(text, radix).ok())
                .ok_or_else(|| fail(format!("the field {key} of --mount is a number")))
        };
        let required_text = || {
            text.filter(|text| !text.is_empty())
                .map(String::from)
                .ok_or_else(|| fail(format!("the field {key} of --mount needs a value")))
        };
        match key.as_str() {
            "type" => {
                mount.kind = match required_text()?.as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    other => {
                        return Err(fail(format!("--mount has no type '{other}'"))
                            .with_hint("the types are bind, cache, tmpfs, secret and ssh"));
                    }
                }
            }
            "target" | "dst" | "destination" => mount.target = Some(required_text()?),
            "source" | "src" => mount.source = Some(required_text()?),
            "from" => {
                mount.from = Some(Spanned {
                    text: required_text()?,
                    range: value.range.clone(),
                })
            }
            "id" => mount.id = Some(required_text()?),
            "env" => mount.env = Some(required_text()?),
            "readonly" | "ro" => mount.read_only = Some(flag.ok_or_else(wants_flag)?),
            "readwrite" | "rw" => mount.read_only = Some(!flag.ok_or_else(wants_flag)?),
            "required" => mount.required = flag.ok_or_else(wants_flag)?,
            "sharing" => {
                mount.sharing = match required_text()?.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        return Err(fail(format!(
                            "sharing is shared, private or locked, not '{other}'"
                        )));
                    }
                }
            }
            "mode" => mount.mode = Some(number(8)?),
            "uid" => mount.uid = number(10)?,
            "gid" => mount.gid = number(10)?,
            _ => {
                mount.size = Some(text.and_then(size).ok_or_else(|| {
                    fail("the field size of --mount is a number of bytes, such as 64m".into())
                })?)
            }
        }
    }
    if mount.target.is_none() && !matches!(mount.kind, MountKind::Secret | MountKind::Ssh) {
        return Err(
            fail("--mount needs a target".into()).with_hint("write --mount=type=...,target=/path")
        );
    }
    if mount.kind == MountKind::Secret
        && mount.id.is_none()
        && mount.source.is_none()
        && mount.target.is_none()
    {
        return Err(fail("--mount=type=secret needs an id".into())
            .with_hint("write --mount=type=secret,id=NAME"));
    }
    check_fields(&mount, &given, &fail)?;
    Ok(mount)
}

/// Refuses fields that mean nothing for the type of the mount.
fn check_fields(
    mount: &RunMount,
    given: &[String],
    fail: &dyn Fn(String) -> BuildError,
) -> Result<()> {
    let (kind, allowed): (&str, &[&str]) = match mount.kind {
        MountKind::Bind => (
            "bind",
            &["source", "src", "from", "ro", "readonly", "rw", "readwrite"],
        ),
        MountKind::Cache => (
            "cache",
            &[
                "id",
                "sharing",
                "source",
                "src",
                "from",
                "ro",
                "readonly",
                "rw",
                "readwrite",
                "mode",
                "uid",
                "gid",
            ],
        ),
        MountKind::Tmpfs => ("tmpfs", &["size", "ro", "readonly", "rw", "readwrite"]),
        MountKind::Secret => (
            "secret",
            &[
                "id", "source", "src", "env", "required", "ro", "readonly", "mode", "uid", "gid",
            ],
        ),
        MountKind::Ssh => ("ssh", &["id", "required", "mode", "uid", "gid"]),
    };
    let always = ["type", "target", "dst", "destination"];
    match given
        .iter()
        .find(|key| !always.contains(&key.as_str()) && !allowed.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => Err(fail(format!("--mount=type={kind} has no field '{key}'"))
            .with_hint(format!("its fields are target, {}", allowed.join(", ")))),
    }
}

/// Bytes, with an optional unit of 1024s.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match lower[digits.len()..]
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// `RUN --network`: whether there is none.
pub(crate) fn network(source: &SourceText, value: &Spanned) -> Result<bool> {
    match value.text.as_str() {
        "default" | "host" => Ok(false),
        "none" => Ok(true),
        other => Err(BuildError::new(
            BuildErrorKind::Dockerfile,
            format!("there is no network '{other}'"),
        )
        .at(source.location(value.range.clone()))
        .with_hint("--network is default, none or host")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn mount(text: &str) -> Result<RunMount> {
        let source = SourceText::new(Path::new("Dockerfile"), text.into());
        run_mount(
            &source,
            &Spanned {
                text: text.into(),
                range: 0..text.len(),
            },
        )
    }

    #[test]
    fn durations_are_read_as_go_does() {
        assert_eq!(duration("1m30s"), Some(90_000_000_000));
        assert_eq!(duration("1.5s"), Some(1_500_000_000));
        assert_eq!(duration("300ms"), Some(300_000_000));
        assert_eq!(duration("0"), Some(0));
        for wrong in ["", "5", "s", "1x", "1.2.3s", "-1s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn mounts_are_read_and_wrong_ones_refused() {
        let cache = mount("type=cache,target=/c,sharing=locked,mode=0700,uid=5,id=x").unwrap();
        assert_eq!(
            (cache.kind, cache.sharing, cache.mode, cache.uid),
            (MountKind::Cache, Sharing::Locked, Some(0o700), 5)
        );
        let bind = mount("target=/b,source=a,rw").unwrap();
        assert_eq!((bind.kind, bind.read_only), (MountKind::Bind, Some(false)));
        assert_eq!(
            mount("type=tmpfs,target=/t,size=2m").unwrap().size,
            Some(2 << 20)
        );
        for (text, message) in [
            ("type=cahce,target=/x", "--mount has no type 'cahce'"),
            ("type=cache", "--mount needs a target"),
            ("type=secret", "--mount=type=secret needs an id"),
            ("type=cache,traget=/x", "--mount has no field 'traget'"),
            (
                "type=cache,target=/x,uid=a",
                "the field uid of --mount is a number",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err().message(), message);
        }
    }
}
