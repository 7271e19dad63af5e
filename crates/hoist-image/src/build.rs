//! Building, and running a command in what was built.

use std::path::PathBuf;

use hoist_oci::Digest;
use hoist_runtime::{ContainerSpec, Network, RootFs};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::buildkit;
use crate::container::{self, Group, unique_id};
use crate::embedded;
use crate::engine::{self, Chosen};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::event::BuildEvent;
use crate::inputs;
use crate::platforms;
use crate::prune;
use crate::report::Reporter;
use crate::request::{BuildRequest, BuiltImage};
use crate::resolved;
use crate::soci;
use crate::stored::layers_of;
use crate::workspace::Workspace;

/// Builds an image.
///
/// The image is in the workspace's store afterwards; it has no name there until [`name`](crate::name) gives it one. Events come while the
/// build runs, in their order. Dropping the future stops the build: its containers are killed, and nothing half-written is kept.
///
/// # Errors
/// Fails as the Dockerfile, its commands, the base images and the machine make it; see [`BuildErrorKind`].
pub async fn build(
    workspace: &Workspace,
    request: &BuildRequest,
    events: &(dyn Fn(BuildEvent) + Send + Sync),
) -> Result<BuiltImage> {
    let chosen = engine::choose(request.engine, request.builder.as_ref()).await?;
    let why = chosen.reason().to_owned();
    events(BuildEvent::Engine {
        name: chosen.name(),
        why: why.clone(),
    });
    let workspace = workspace.clone();
    let requests = platforms::requests(request);
    let runtime = Handle::current();
    reported(events, move |report| {
        let mut all = Vec::new();
        for request in &requests {
            all.push(match &chosen {
                Chosen::Embedded(_) => {
                    embedded::build(&workspace, request, &report, runtime.clone(), &why)
                }
                Chosen::Buildkit(place, _) => {
                    buildkit::build(&workspace, request, place, &report, &runtime, &why)
                }
            }?);
        }
        let mut built = platforms::joined(&workspace, all)?;
        if let Some(request) = requests.first().filter(|request| request.soci) {
            built.manifest = soci::indexed(&workspace, &built.manifest, request.early.as_ref())?;
        }
        prune::when_due(&workspace);
        Ok(built)
    })
    .await
}

/// The digest of everything that an image is built from: the files of the context that are not ignored, the Dockerfile, the arguments, the
/// target, the platform, and base images: those of this machine, and what the tags of others mean now. So do addresses of `ADD`. Times and
/// places do not count, and what cannot be asked for now counts by its name.
///
/// # Errors
/// Fails when the Dockerfile or the context cannot be read.
pub async fn inputs_digest(workspace: &Workspace, request: &BuildRequest) -> Result<Digest> {
    let workspace = workspace.clone();
    let requests = platforms::requests(request);
    let runtime = Handle::current();
    reported(&|_| {}, move |report| {
        let digest = |request: &BuildRequest| {
            let inputs = inputs::inputs(&workspace, request)?;
            resolved::digest(&workspace, request, &inputs, &report, &runtime)
        };
        let digests = requests.iter().map(digest).collect::<Result<Vec<_>>>()?;
        Ok(platforms::digest(&digests))
    })
    .await
}

/// Runs a command in a built image, in a real container with the network of this machine, and returns its exit code.
///
/// `command` takes the place of the image's `CMD` and entry point. What it writes is thrown away. `env` comes after the image's own.
///
/// # Errors
/// Fails when the command cannot be started; a command that fails is no error.
pub async fn run(
    workspace: &Workspace,
    request: &BuildRequest,
    image: &BuiltImage,
    command: &[String],
    env: &[(String, String)],
    events: &(dyn Fn(BuildEvent) + Send + Sync),
) -> Result<i32> {
    if command.is_empty() {
        return Err(BuildError::new(
            BuildErrorKind::Command,
            "there is no command to run in the image",
        ));
    }
    let (workspace, request, image) = (workspace.clone(), request.clone(), image.clone());
    let (command, env) = (command.to_vec(), env.to_vec());
    let runtime = Handle::current();
    reported(events, move |report| {
        let failed = |doing: &'static str| {
            move |error| BuildError::from_source(BuildErrorKind::Io, doing, error)
        };
        let read = workspace
            .store
            .image(&image.manifest, &image.platform)
            .map_err(|error| {
                BuildError::from_source(BuildErrorKind::Image, "read the built image", error)
            })?;
        let mut lower: Vec<PathBuf> = Vec::new();
        for layer in layers_of(&read)?.iter().rev() {
            report.check()?;
            lower.push(
                workspace
                    .snapshots
                    .layer_dir(&workspace.store, &layer.blob, &layer.diff_id)
                    .map_err(failed("unpack the image"))?,
            );
        }
        let scratch = workspace
            .snapshots
            .scratch()
            .map_err(failed("make a folder for the container"))?;
        let config = &read.config;
        let mut all: Vec<(String, String)> = config
            .config
            .env
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        for (name, value) in env {
            all.retain(|(key, _)| *key != name);
            all.push((name, value));
        }
        let cwd = &config.config.working_dir;
        let spec = ContainerSpec {
            id: unique_id("test"),
            rootfs: RootFs {
                lower,
                upper: scratch.upper(),
                work: scratch.work(),
            },
            args: command,
            env: all,
            cwd: if cwd.is_empty() {
                "/".into()
            } else {
                cwd.clone()
            },
            user: config.config.user.clone(),
            network: Network::Host,
            ..ContainerSpec::default()
        };
        let group = Group::new(&workspace, &request)?;
        let outcome = runtime.block_on(container::run(
            &group.containers,
            spec,
            &report,
            &[],
            config,
        ))?;
        Ok(outcome.exit.code)
    })
    .await
}

/// Runs blocking work and passes its events on. When the caller drops the future, the work hears of it.
async fn reported<T: Send + 'static>(
    events: &(dyn Fn(BuildEvent) + Send + Sync),
    work: impl FnOnce(Reporter) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let (alive, cancelled) = watch::channel(());
    let task = tokio::task::spawn_blocking(move || work(Reporter::new(sender, cancelled)));
    // Ends when the work has dropped its end.
    while let Some(event) = receiver.recv().await {
        events(event);
    }
    let result = joined(task.await);
    drop(alive);
    result
}

/// Runs blocking work off the threads that serve the network.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        Err(BuildError::new(BuildErrorKind::Io, "the build ended unexpectedly").caused_by(error))
    })
}
