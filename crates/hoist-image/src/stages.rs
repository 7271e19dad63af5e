//! Stages: what each is based on, and which of them a build needs.

use std::collections::BTreeSet;

use hoist_oci::spec::Platform;

use crate::dockerfile::instruction::{Dockerfile, Instruction, Kind};
use crate::dockerfile::lines::Spanned;
use crate::error::{BuildError, BuildErrorKind, Result, did_you_mean};
use crate::request::{BuildRequest, NamedContext};
use crate::scope::{Scope, platform_arguments};

/// What a stage or a copy starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing at all.
    Scratch,
    /// An earlier stage of this file.
    Stage(usize),
    /// An image by its name.
    Image(String),
    /// A folder of the command line, by its name there.
    Folder(String),
}

/// One stage, resolved.
#[derive(Debug)]
pub(crate) struct StagePlan {
    /// Its name, or its number.
    pub name: String,
    pub origin: Origin,
    pub origin_word: Spanned,
    pub platform: Platform,
    pub needed: bool,
}

/// All stages, and which one is asked for.
#[derive(Debug)]
pub(crate) struct StagePlans {
    pub stages: Vec<StagePlan>,
    pub target: usize,
    /// `ARG` before the first `FROM`, with their values; `None` where there is none.
    pub global_args: Vec<(String, Option<String>)>,
    /// Arguments of the command line that something declared.
    pub used_args: Vec<String>,
    /// The images that needed stages start from or copy from, sorted.
    pub images: BTreeSet<String>,
    /// The folders of the command line that they use.
    pub folders: BTreeSet<String>,
}

/// Resolves every `FROM`, and finds the stages that the target needs.
pub(crate) fn plan(file: &Dockerfile, request: &BuildRequest) -> Result<StagePlans> {
    let target = target(file, request)?;
    let target_name = file.stages[target].from.name.clone().unwrap_or_default();
    let mut values = platform_arguments(&request.platform, &target_name);
    for (name, value) in &mut values {
        if let Some(given) = given(request, name) {
            value.clone_from(given);
        }
    }
    let mut plans = StagePlans {
        stages: Vec::new(),
        target,
        global_args: Vec::new(),
        used_args: Vec::new(),
        images: BTreeSet::new(),
        folders: BTreeSet::new(),
    };
    for instruction in &file.global_args {
        let Kind::Arg(args) = &instruction.kind else {
            continue;
        };
        for (name, default) in args {
            let scope = Scope {
                source: &file.source,
                escape: file.escape,
                args: &values,
                env: &[],
            };
            let name = scope.expand(name)?;
            let value = match (given(request, &name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(scope.expand(default)?),
                (None, None) => None,
            };
            plans.used_args.push(name.clone());
            if let Some(value) = &value {
                values.push((name.clone(), value.clone()));
            }
            plans.global_args.push((name, value));
        }
    }
    for (index, stage) in file.stages.iter().enumerate() {
        let scope = Scope {
            source: &file.source,
            escape: file.escape,
            args: &values,
            env: &[],
        };
        let image = scope.expand(&stage.from.image)?;
        if image.is_empty() {
            return Err(BuildError::new(
                BuildErrorKind::Dockerfile,
                format!(
                    "the base image {} is empty once its variables are replaced",
                    stage.from.image.text
                ),
            )
            .at(file.source.location(stage.from.image.range.clone()))
            .with_hint("give the ARG before FROM a default, or pass a value as build argument"));
        }
        let platform = match &stage.from.platform {
            None => request.platform.clone(),
            Some(word) => {
                let text = scope.expand(word)?;
                text.parse::<Platform>().map_err(|error| {
                    BuildError::new(
                        BuildErrorKind::Dockerfile,
                        format!("'{text}' is no platform"),
                    )
                    .at(file.source.location(word.range.clone()))
                    .with_hint("write os/architecture, such as linux/amd64")
                    .caused_by(error)
                })?
            }
        };
        let origin = match (stage_before(file, &image, index), named(request, &image)) {
            (Some(stage), _) => Origin::Stage(stage),
            (None, Some(origin)) => origin,
            (None, None) if image == "scratch" => Origin::Scratch,
            (None, None) => Origin::Image(image),
        };
        let platform = match origin {
            // A stage goes on for the platform that it was begun for.
            Origin::Stage(base) if stage.from.platform.is_none() => {
                plans.stages[base].platform.clone()
            }
            _ => platform,
        };
        plans.stages.push(StagePlan {
            name: stage.from.name.clone().unwrap_or_else(|| index.to_string()),
            origin,
            origin_word: stage.from.image.clone(),
            platform,
            needed: false,
        });
    }
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut plans.stages[index].needed, true) {
            continue;
        }
        match &plans.stages[index].origin {
            Origin::Stage(base) => open.push(*base),
            Origin::Image(name) => drop(plans.images.insert(name.clone())),
            Origin::Folder(name) => drop(plans.folders.insert(name.clone())),
            Origin::Scratch => {}
        }
        for instruction in &file.stages[index].instructions {
            for from in froms(instruction) {
                match origin_of(file, request, from, index)? {
                    Origin::Stage(stage) => open.push(stage),
                    Origin::Image(name) => drop(plans.images.insert(name)),
                    Origin::Folder(name) => drop(plans.folders.insert(name)),
                    Origin::Scratch => {}
                }
            }
        }
    }
    Ok(plans)
}

/// The value that the command line gives to an argument; the last one counts.
pub(crate) fn given<'a>(request: &'a BuildRequest, name: &str) -> Option<&'a String> {
    request
        .build_args
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// The address under which an image of an OCI layout is known to the rest of a build.
pub(crate) const LAYOUT: &str = "oci-layout://";

/// What the command line says that a name means.
fn named(request: &BuildRequest, name: &str) -> Option<Origin> {
    let bare = |name: &str| name.to_lowercase().trim_end_matches(":latest").to_owned();
    let (key, context) = request
        .contexts
        .iter()
        .rev()
        .find(|(key, _)| bare(key) == bare(name))?;
    Some(match context {
        NamedContext::Folder(_) => Origin::Folder(key.clone()),
        NamedContext::Image(name) => Origin::Image(name.clone()),
        NamedContext::Layout(..) => Origin::Image(format!("{LAYOUT}{key}")),
    })
}

/// The other stages and images that an instruction reads: the words of `--from` and of mounts.
fn froms(instruction: &Instruction) -> Vec<&Spanned> {
    match &instruction.kind {
        Kind::Copy(copy) => copy.from.iter().collect(),
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| mount.from.as_ref())
            .collect(),
        _ => Vec::new(),
    }
}

/// What `--from` means in a stage.
pub(crate) fn origin_of(
    file: &Dockerfile,
    request: &BuildRequest,
    from: &Spanned,
    stage: usize,
) -> Result<Origin> {
    let refused = |message: String| {
        BuildError::new(BuildErrorKind::Dockerfile, message)
            .at(file.source.location(from.range.clone()))
    };
    if from.text.contains('$') {
        return Err(refused(format!("'{}' cannot hold variables", from.text))
            .with_hint("name a stage with FROM $image AS name, and copy from that name"));
    }
    if from.text.eq_ignore_ascii_case("scratch") {
        return Ok(Origin::Scratch);
    }
    if let Some(before) = stage_before(file, &from.text, stage) {
        return Ok(Origin::Stage(before));
    }
    if let Some(origin) = named(request, &from.text) {
        return Ok(origin);
    }
    let names = || {
        file.stages[..stage]
            .iter()
            .filter_map(|stage| stage.from.name.as_deref())
    };
    let known = || names().collect::<Vec<_>>().join(", ");
    if from.text.parse::<usize>().is_ok() {
        return Err(
            refused(format!("there is no stage {} before this one", from.text)).with_hint(format!(
                "stages are numbered from 0, and this is stage {stage}"
            )),
        );
    }
    let lower = from.text.to_lowercase();
    if let Some(at) = file
        .stages
        .iter()
        .position(|other| other.from.name.as_deref() == Some(&lower))
    {
        let place = if at == stage {
            "is this one"
        } else {
            "comes later"
        };
        return Err(refused(format!("the stage {} {place}", from.text))
            .with_hint("only earlier stages can be copied from"));
    }
    // A name with no registry, tag or folder that is nearly a stage's is a slip rather than an image.
    if !from.text.contains(['/', ':', '@', '.'])
        && let Some(near) = did_you_mean(&from.text, names())
    {
        return Err(refused(format!("there is no stage {}", from.text))
            .with_hint(format!("did you mean {near}? The stages are {}", known())));
    }
    Ok(Origin::Image(from.text.clone()))
}

fn stage_before(file: &Dockerfile, name: &str, before: usize) -> Option<usize> {
    let lower = name.to_lowercase();
    let earlier = &file.stages[..before];
    earlier
        .iter()
        .rposition(|stage| stage.from.name.as_deref() == Some(&lower))
        .or_else(|| name.parse().ok().filter(|index| *index < before))
}

fn target(file: &Dockerfile, request: &BuildRequest) -> Result<usize> {
    let Some(wanted) = &request.target else {
        return Ok(file.stages.len() - 1);
    };
    if let Some(found) = stage_before(file, wanted, file.stages.len()) {
        return Ok(found);
    }
    let names: Vec<&str> = file
        .stages
        .iter()
        .filter_map(|stage| stage.from.name.as_deref())
        .collect();
    let error = BuildError::new(
        BuildErrorKind::Dockerfile,
        format!("the Dockerfile has no stage {wanted}"),
    );
    let error = match did_you_mean(wanted, names.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None if names.is_empty() => {
            error.with_hint("no stage has a name: give one with FROM image AS name")
        }
        None => error.with_hint(format!("the stages are {}", names.join(", "))),
    };
    let last = &file.stages[file.stages.len() - 1];
    Err(error.at(file.source.location(last.range.clone())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dockerfile::parser;

    fn planned(text: &str, change: impl FnOnce(&mut BuildRequest)) -> Result<StagePlans> {
        let mut request = BuildRequest::new(".");
        change(&mut request);
        plan(
            &parser::parse(Path::new("Dockerfile"), text.into()).unwrap(),
            &request,
        )
    }

    #[test]
    fn only_what_the_target_needs_is_needed() {
        let text = "FROM a AS base\nFROM base AS unused\nFROM b AS tools\nFROM base\nCOPY --from=tools /x /x\nRUN --mount=from=3,target=/m y\n";
        let error = planned(text, |_| {}).unwrap_err();
        assert_eq!(error.message(), "there is no stage 3 before this one");
        let text = text.replace("from=3", "from=tools");
        let needed = |plans: StagePlans| {
            plans
                .stages
                .iter()
                .map(|stage| stage.needed)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            needed(planned(&text, |_| {}).unwrap()),
            [true, false, true, true]
        );
        assert_eq!(
            needed(planned(&text, |r| r.target = Some("UNUSED".into())).unwrap()),
            [true, true, false, false]
        );
        assert_eq!(
            needed(planned(&text, |r| r.target = Some("2".into())).unwrap()),
            [false, false, true, false]
        );
    }

    #[test]
    fn global_arguments_and_platforms_reach_from() {
        let text = "ARG V=1\nARG IMAGE=base:$V\nFROM --platform=$BUILDPLATFORM $IMAGE AS x\nFROM x\nFROM scratch\n";
        let plans = planned(text, |request| {
            request.platform = Platform::new("linux", "riscv64");
            request.build_args = vec![("V".into(), "2".into())];
        })
        .unwrap();
        assert_eq!(plans.stages[0].origin, Origin::Image("base:2".into()));
        assert_eq!(plans.stages[0].platform, Platform::host());
        assert_eq!(
            (&plans.stages[1].origin, &plans.stages[1].platform),
            (&Origin::Stage(0), &Platform::host())
        );
        assert_eq!(
            (
                &plans.stages[2].origin,
                plans.stages[2].platform.architecture.as_str()
            ),
            (&Origin::Scratch, "riscv64")
        );
    }

    #[test]
    fn unknown_stages_are_refused() {
        let refused = |text: &str| {
            let error = planned(text, |_| {}).unwrap_err();
            (
                error.line().unwrap(),
                error.message().to_owned(),
                error.hint().unwrap_or_default().to_owned(),
            )
        };
        let (line, message, hint) =
            refused("FROM a AS builder\nFROM a\nCOPY --from=bulider /x /x\n");
        assert_eq!((line, message.as_str()), (3, "there is no stage bulider"));
        assert!(hint.contains("did you mean builder?"));
        assert_eq!(
            refused("FROM a AS b\nCOPY --from=later x y\nFROM b AS later\n").1,
            "the stage later comes later"
        );
        assert_eq!(
            refused("ARG I\nFROM $I\n").1,
            "the base image $I is empty once its variables are replaced"
        );
        let error = planned("FROM a AS one\n", |r| r.target = Some("two".into())).unwrap_err();
        assert_eq!(
            (error.message(), error.hint()),
            (
                "the Dockerfile has no stage two",
                Some("the stages are one")
            )
        );
    }
}
