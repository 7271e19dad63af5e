//! What a build is made from, and its digest.

use std::collections::HashMap;

use hoist_oci::Digest;

use crate::cache::KeyBuilder;
use crate::config;
use crate::context::Context;
use crate::dockerfile::instruction::Dockerfile;
use crate::dockerfile::parser;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::Ignore;
use crate::images;
use crate::layouts;
use crate::request::{BuildRequest, NamedContext};
use crate::scope::PROXIES;
use crate::stages::{self, LAYOUT, StagePlans};
use crate::workspace::Workspace;

/// What all of a build's inputs come to: context, Dockerfile, arguments, target, platform, local base images.
pub(crate) struct Inputs {
    pub file: Dockerfile,
    pub plans: StagePlans,
    pub context: Context,
    /// Folders of `--build-context` that are used.
    pub folders: HashMap<String, Context>,
    pub digest: Digest,
}

/// Reads the Dockerfile and the context.
pub(crate) fn inputs(workspace: &Workspace, request: &BuildRequest) -> Result<Inputs> {
    let path = request.dockerfile_path();
    let bytes = std::fs::read(&path).map_err(|error| no_dockerfile(request, error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        BuildError::new(
            BuildErrorKind::Dockerfile,
            format!("{} is not UTF-8", path.display()),
        )
        .caused_by(error)
    })?;
    let mut hasher = KeyBuilder::new("inputs");
    hasher.field(text.as_bytes());
    let file = parser::parse(config::shown(&path), text)?;
    let plans = stages::plan(&file, request)?;
    // An image of this machine can change under its name; one of a registry that must not is named by its digest.
    for name in &plans.images {
        hasher.field(name.as_bytes());
        let local = match name.strip_prefix(LAYOUT) {
            None => images::resolve(workspace, name)?,
            Some(key) => Some(layouts::load(workspace, request, key)?),
        };
        hasher.list(local.map(|descriptor| descriptor.digest.hex()));
    }
    let ignore = Ignore::of(&request.context, &path)?;
    let context = Context::open(&request.context, ignore, &workspace.cache("context"))?;
    hasher.field(context.digest_all()?.as_bytes());
    context.save();
    let mut folders = HashMap::new();
    for name in &plans.folders {
        let folder = folder(workspace, request, name)?;
        hasher
            .field(name.as_bytes())
            .field(folder.digest_all()?.as_bytes());
        folder.save();
        folders.insert(name.clone(), folder);
    }
    hasher.field(request.target.as_deref().unwrap_or_default().as_bytes());
    hasher.field(request.platform.to_string().as_bytes());
    let declared = |name: &str| !PROXIES.contains(&name);
    hasher.list(
        request
            .build_args
            .iter()
            .filter(|(name, _)| declared(name))
            .map(|(name, value)| format!("{name}={value}")),
    );
    hasher.list(
        request
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    // Without annotations the digest is what it was before there were any.
    for (name, value) in &request.annotations {
        hasher.list([name, value]);
    }
    hasher.field(request.compression.to_string().as_bytes());
    if request.soci {
        hasher.field(b"soci");
    }
    hasher.field(
        epoch(request)?
            .map(|epoch| epoch.to_string())
            .unwrap_or_default()
            .as_bytes(),
    );
    Ok(Inputs {
        file,
        plans,
        context,
        folders,
        digest: hasher.key(),
    })
}

/// A folder of the command line.
fn folder(workspace: &Workspace, request: &BuildRequest, name: &str) -> Result<Context> {
    let path = request
        .contexts
        .iter()
        .rev()
        .find_map(|(key, context)| match context {
            NamedContext::Folder(path) if key == name => Some(path),
            _ => None,
        })
        .expect("the plan found it there");
    let ignore = Ignore::of(path, &path.join("Dockerfile"))?;
    Context::open(path, ignore, &workspace.cache("context"))
}

fn no_dockerfile(request: &BuildRequest, error: std::io::Error) -> BuildError {
    let path = request.dockerfile_path();
    if error.kind() != std::io::ErrorKind::NotFound {
        return BuildError::io(format!("read {}", path.display()), error);
    }
    let error = BuildError::new(
        BuildErrorKind::Context,
        format!(
            "there is no {} in {}",
            request.dockerfile.display(),
            request.context.display()
        ),
    );
    let others: Vec<String> = std::fs::read_dir(&request.context)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        })
        .unwrap_or_default()
        .into_iter()
        .filter(|name| {
            name.to_lowercase().contains("dockerfile") && !name.ends_with(".dockerignore")
                || name == "Containerfile"
        })
        .collect();
    match others.as_slice() {
        [] => error.with_hint("write one, or name its place as `image.dockerfile` in hoist.yaml (relative to `image.context`)"),
        names => error.with_hint(format!("there is {}: name it as `image.dockerfile` in hoist.yaml", names.join(", "))),
    }
}

/// `SOURCE_DATE_EPOCH`, from the build arguments or the environment.
pub(crate) fn epoch(request: &BuildRequest) -> Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = stages::given(request, NAME)
        .cloned()
        .or_else(|| std::env::var(NAME).ok())
        .filter(|text| !text.is_empty());
    text.map(|text| {
        text.parse().map_err(|_| {
            BuildError::new(
                BuildErrorKind::Dockerfile,
                format!("{NAME} is '{text}', and not a number of seconds since 1970"),
            )
            .with_hint("for the commit's time: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)")
        })
    })
    .transpose()
}
