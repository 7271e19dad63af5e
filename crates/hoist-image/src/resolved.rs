//! What names of the outside mean now: tags of base images, and what addresses of `ADD` give. With them, the digest of a build's inputs changes when a base
//! moves, and an image that exists is only taken for one that would be the same.

use std::collections::BTreeSet;

use hoist_oci::{Digest, ImageRef, Registry};
use tokio::runtime::Handle;

use crate::cache::KeyBuilder;
use crate::dockerfile::instruction::{CopySource, Instruction, Kind};
use crate::error::Result;
use crate::images;
use crate::inputs::Inputs;
use crate::remote::{Fetcher, Remote};
use crate::report::Reporter;
use crate::request::BuildRequest;
use crate::scope::{Scope, platform_arguments};
use crate::stages::{LAYOUT, given};
use crate::workspace::Workspace;

/// The digest of a build's inputs, those of the outside included. What cannot be asked for now counts by its name.
pub(crate) fn digest(
    workspace: &Workspace,
    request: &BuildRequest,
    inputs: &Inputs,
    report: &Reporter,
    runtime: &Handle,
) -> Result<Digest> {
    let mut means = bases(workspace, request, inputs, runtime)?;
    let fetcher = Fetcher {
        workspace,
        report,
        runtime,
    };
    for address in addresses(request, inputs) {
        report.check()?;
        // A server that fails now fails the build too, and there it is told.
        let meant = match Remote::of(&address) {
            Some(Remote::Http(url)) => fetcher.file(&url, None).ok().map(|file| file.digest.hex()),
            Some(Remote::Git(git)) => fetcher.commit(&git, None).ok(),
            None => None,
        };
        means.extend(meant.map(|meant| (address, meant)));
    }
    if means.is_empty() {
        return Ok(inputs.digest);
    }
    means.sort();
    let mut hasher = KeyBuilder::new("resolved inputs");
    hasher.field(inputs.digest.hex().as_bytes());
    for (name, meant) in &means {
        hasher.list([name, meant]);
    }
    Ok(hasher.key())
}

/// The digests that tags of registries have now.
fn bases(
    workspace: &Workspace,
    request: &BuildRequest,
    inputs: &Inputs,
    runtime: &Handle,
) -> Result<Vec<(String, String)>> {
    let registry = Registry::new(request.registry.clone());
    let mut asked = tokio::task::JoinSet::new();
    for name in &inputs.plans.images {
        if name.starts_with(LAYOUT) || images::resolve(workspace, name)?.is_some() {
            continue;
        }
        let Ok(reference) = name.parse::<ImageRef>() else {
            continue;
        };
        if reference.digest.is_some() {
            continue;
        }
        let (registry, name) = (registry.clone(), name.clone());
        asked.spawn_on(
            async move {
                let found = registry.head(&reference).await.ok()??;
                Some((name, found.digest.hex()))
            },
            runtime,
        );
    }
    let mut found = Vec::new();
    runtime.block_on(async {
        while let Some(answer) = asked.join_next().await {
            found.extend(answer.ok().flatten());
        }
    });
    Ok(found)
}

/// The addresses that the stages of a build add, without those whose content the Dockerfile fixes.
fn addresses(request: &BuildRequest, inputs: &Inputs) -> BTreeSet<String> {
    let (file, plans) = (&inputs.file, &inputs.plans);
    let mut found = BTreeSet::new();
    for (stage, plan) in file.stages.iter().zip(&plans.stages) {
        if !plan.needed {
            continue;
        }
        let mut args = platform_arguments(&plan.platform, &plan.name);
        let mut env: Vec<String> = Vec::new();
        for instruction in &stage.instructions {
            let scope = Scope {
                source: &file.source,
                escape: file.escape,
                args: &args,
                env: &env,
            };
            // What does not expand is told by the build.
            let (more_args, more_env) = values(request, inputs, instruction, &scope);
            if let Kind::Copy(copy) = &instruction.kind
                && copy.add
                && copy.checksum.is_none()
            {
                for source in &copy.sources {
                    let CopySource::Path(word) = source else {
                        continue;
                    };
                    let text = scope.expand(word).unwrap_or_default();
                    found.extend(Remote::of(&text).is_some().then_some(text));
                }
            }
            args.extend(more_args);
            env.extend(more_env);
        }
    }
    found
}

/// Variables that an instruction sets: arguments, and the environment.
fn values(
    request: &BuildRequest,
    inputs: &Inputs,
    instruction: &Instruction,
    scope: &Scope<'_>,
) -> (Vec<(String, String)>, Vec<String>) {
    match &instruction.kind {
        Kind::Arg(declared) => {
            let value = |name: &str, default: Option<String>| {
                let global = || {
                    let mut known = inputs.plans.global_args.iter().rev();
                    known.find(|(key, _)| key == name)?.1.clone()
                };
                given(request, name).cloned().or(default).or_else(global)
            };
            let args = declared.iter().filter_map(|(name, default)| {
                let name = scope.expand(name).ok()?;
                let default = default.as_ref().and_then(|word| scope.expand(word).ok());
                Some((name.clone(), value(&name, default)?))
            });
            (args.collect(), Vec::new())
        }
        Kind::Env(pairs) => {
            let pairs = pairs.iter().filter_map(|pair| {
                let (name, value) = (
                    scope.expand(&pair.name).ok()?,
                    scope.expand(&pair.value).ok()?,
                );
                Some(format!("{name}={value}"))
            });
            (Vec::new(), pairs.collect())
        }
        _ => (Vec::new(), Vec::new()),
    }
}
