//! Images and containers of tasks: resolved, pulled, started, stopped.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use hoist_fargate::{Event, Task};
use hoist_oci::spec::{ContainerConfig, Platform};
use hoist_oci::{Digest, ImageRef};
use hoist_runtime::{
    Exit, Mount, MountSource, PreparedImage, RuntimeError, StartError, TaskProcess,
};
use serde_json::{Map, Value};

use super::compose::Definition;
use super::crew::{Crew, Run};
use super::images::{self, PullError};
use super::output::{self, Destination};
use crate::api::ApiError;
use crate::ids;
use crate::metadata;

/// How long output may still come after its container has ended: somebody else may hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Finds the digests that the tags of a deployment stand for now. What cannot be found is left out; the tasks will say why.
pub async fn resolve(crew: &Crew, revision: String, region: &str, images: Vec<(String, String)>) {
    let mut digests = std::collections::BTreeMap::new();
    for (container, image) in images {
        let Ok(reference) = image.parse::<ImageRef>() else {
            continue;
        };
        match images::resolve(&crew.ctx, &crew.ctx.remote, region, &reference).await {
            Ok(descriptor) => drop(digests.insert(container, descriptor.digest.to_string())),
            Err(error) => tracing::debug!(image, %error, "not resolved"),
        }
    }
    crew.tell(Event::ImagesResolved { revision, digests });
}

/// Makes an image ready for a container.
pub async fn pull(
    crew: &Crew,
    task: String,
    container: String,
    image: &str,
    digest: Option<String>,
) {
    let Some(run) = crew.run(&task) else { return };
    let pulled = tokio::select! {
        () = run.gone.cancelled() => return,
        pulled = try_pull(crew, &run, &task, &container, image, digest.as_deref()) => pulled,
    };
    crew.tell(match pulled {
        Ok(digest) => Event::ImagePulled {
            task,
            container,
            digest: Some(digest.to_string()),
        },
        Err(error) => Event::PullFailed {
            task,
            container,
            reason: format!("CannotPullContainerError: {error}"),
        },
    });
}

async fn try_pull(
    crew: &Crew,
    run: &Run,
    task: &str,
    container: &str,
    image: &str,
    digest: Option<&str>,
) -> Result<Digest, PullError> {
    let region = crew
        .ctx
        .driver
        .read(|world| world.task(task).map(|it| it.region.clone()))
        .unwrap_or_default();
    let mut reference: ImageRef = image
        .parse()
        .map_err(|_| PullError::BadReference(image.to_owned()))?;
    if let Some(digest) = digest.and_then(|text| text.parse().ok()) {
        reference = reference.with_digest(digest);
    }
    let private = run.registry(container);
    let found = images::fetch(&crew.ctx, &region, &reference, &Platform::host(), private).await?;
    let ready = crew
        .ctx
        .runtime
        .prepare(&found.store, &found.image)
        .await
        .map_err(PullError::Unpack)?;
    run.keep_image(container, ready, found.image.config.config.clone());
    Ok(found.digest)
}

/// Starts a container whose image is there.
pub async fn start(crew: &Crew, task: String, container: String) {
    let Some(run) = crew.run(&task) else {
        let reason = "CannotStartContainerError: the task is gone".to_owned();
        return crew.tell(Event::StartFailed {
            task,
            container,
            reason,
        });
    };
    let runtime_id = format!(
        "{}-{}",
        task.rsplit('/').next().unwrap_or(&task),
        ids::digits(10)
    );
    run.keep_id(&container, &runtime_id);
    match try_start(crew, &run, &task, &container).await {
        Ok(Started { process, carrying }) => {
            crew.tell(Event::ContainerStarted {
                task: task.clone(),
                container: container.clone(),
                runtime_id,
            });
            let exit = process.wait().await;
            let _ = tokio::time::timeout(LAST_WORDS, carrying).await;
            crew.tell(Event::ContainerExited {
                task,
                container,
                exit_code: exit.code,
                oom: exit.oom_killed,
            });
        }
        Err(NotStarted::Ended { exit }) => {
            crew.tell(Event::ContainerStarted {
                task: task.clone(),
                container: container.clone(),
                runtime_id,
            });
            crew.tell(Event::ContainerExited {
                task,
                container,
                exit_code: exit.code,
                oom: false,
            });
        }
        Err(NotStarted::Failed { reason }) => crew.tell(Event::StartFailed {
            task,
            container,
            reason,
        }),
    }
}

struct Started {
    process: Arc<dyn TaskProcess>,
    carrying: tokio::task::JoinHandle<()>,
}

enum NotStarted {
    /// It was started as far as ECS is concerned, and ended at once.
    Ended { exit: Exit },
    /// The task fails to start.
    Failed { reason: String },
}

async fn try_start(
    crew: &Crew,
    run: &Run,
    task: &str,
    container: &str,
) -> Result<Started, NotStarted> {
    let failed = |reason: String| NotStarted::Failed { reason };
    let record = crew.ctx.driver.read(|world| {
        let task = world.task(task)?.clone();
        let document = world
            .task_definition(&task.task_definition)?
            .document
            .clone();
        Some((task, document))
    });
    let (record, document) =
        record.ok_or_else(|| failed("CannotStartContainerError: the task is gone".to_owned()))?;
    let definition = Definition::find(&document, &record, container).ok_or_else(|| {
        failed(format!(
            "CannotStartContainerError: no container {container}"
        ))
    })?;
    let (prepared_from, image) = run
        .image(container)
        .ok_or_else(|| failed("CannotStartContainerError: the image is gone".to_owned()))?;
    let destination = log_stream(crew, &record, container, &definition)
        .await
        .map_err(failed)?;
    let files = run.files(container);
    let mut around: Vec<(&str, String)> = surroundings(crew, &record, container);
    around.extend(
        files
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let mut spec = definition.compose(
        container,
        prepared_from.clone(),
        &image,
        &around,
        &run.secrets(container),
    );
    if spec.args.is_empty() {
        return Err(failed(
            "CannotStartContainerError: Error response from daemon: no command specified"
                .to_owned(),
        ));
    }
    spec.extra_hosts.extend(run.hosts());
    spec.mounts = mounts(
        crew,
        &record,
        &document,
        &definition,
        (&prepared_from, &image),
    )
    .await
    .map_err(failed)?;
    match crew.ctx.runtime.start(&record.id, spec).await {
        Ok(mut process) => {
            let streams = [process.take_stdout(), process.take_stderr()]
                .into_iter()
                .flatten()
                .collect();
            let carrying = tokio::spawn(output::carry(crew.ctx.clone(), streams, destination));
            let process: Arc<dyn TaskProcess> = Arc::from(process);
            run.keep_process(container, process.clone());
            Ok(Started { process, carrying })
        }
        Err(error) => Err(refused(crew, error, destination).await),
    }
}

/// What ECS makes of a program that cannot be executed.
///
/// The kernel finds a wrong format only after the container was started, so the real service shows a container that ran, printed
/// `exec format error` and exited with 255; every other mistake is found before.
async fn refused(crew: &Crew, error: StartError, destination: Option<Destination>) -> NotStarted {
    if let StartError::ExecFormat { program } = &error {
        if let Some(to) = destination {
            let line = format!("exec {program}: exec format error");
            let event = vec![(crate::clock::now(), line)];
            if let Err(error) = crew
                .ctx
                .logs
                .append(&to.region, &to.group, &to.stream, event)
                .await
            {
                tracing::warn!(%error, "output is lost");
            }
        }
        return NotStarted::Ended {
            exit: Exit {
                code: 255,
                signal: None,
                oom_killed: false,
            },
        };
    }
    NotStarted::Failed {
        reason: format!(
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to create \
             shim task: OCI runtime create failed: runc create failed: unable to start container process: {error}: unknown"
        ),
    }
}

/// What Fargate adds to the environment of every container, and where the AWS is that it can call.
fn surroundings<'a>(crew: &Crew, task: &Task, container: &str) -> Vec<(&'a str, String)> {
    let mut around = vec![
        ("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE".to_owned()),
        ("AWS_REGION", task.region.clone()),
        ("AWS_DEFAULT_REGION", task.region.clone()),
    ];
    if let Some(host) = crew.metadata() {
        let base = format!("http://{host}");
        if let Some(id) = crew.runtime_id(&task.arn, container) {
            around.push(("ECS_CONTAINER_METADATA_URI_V4", format!("{base}/v4/{id}")));
            around.push(("ECS_AGENT_URI", format!("{base}/api/{id}")));
        }
        // SDKs put the address that they know before this path.
        if host == metadata::ADDRESS
            && let Some(held) = crew.run(&task.arn).and_then(|run| run.credentials())
        {
            let path = format!("/v2/credentials/{}", held.id);
            around.push(("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path));
        }
        around.push(("AWS_ENDPOINT_URL", base));
    }
    around
}

/// Makes the log stream of a container. The error is the stopped reason.
async fn log_stream(
    crew: &Crew,
    task: &Task,
    container: &str,
    definition: &Definition<'_>,
) -> Result<Option<Destination>, String> {
    let Some(options) = definition.log_options() else {
        return Ok(None);
    };
    let option = |name: &str| {
        options
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let to = Destination {
        region: option("awslogs-region").to_owned(),
        group: option("awslogs-group").to_owned(),
        stream: format!(
            "{}/{container}/{}",
            option("awslogs-stream-prefix"),
            task.id
        ),
    };
    let create_group = option("awslogs-create-group") == "true";
    match crew
        .ctx
        .logs
        .open_stream(&to.region, &to.group, &to.stream, create_group)
        .await
    {
        Ok(()) => Ok(Some(to)),
        Err(error) => Err(format!(
            "ResourceInitializationError: failed to initialize logging driver: failed to create Cloudwatch log stream: {}",
            ApiError::from(error)
        )),
    }
}

/// The volumes of a container. All are ephemeral directories of the task, which its containers share.
///
/// One that is mounted where the image has a `VOLUME` begins with what the image has there, if no container has been given it before
/// (developer guide, "Use bind mounts with Amazon ECS").
async fn mounts(
    crew: &Crew,
    task: &Task,
    document: &Map<String, Value>,
    definition: &Definition<'_>,
    (prepared, image): (&PreparedImage, &ContainerConfig),
) -> Result<Vec<Mount>, String> {
    // Containers that start at the same time may share volumes.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    let volumes = document
        .get("volumes")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut mounts = Vec::new();
    let mut wanted = definition.mount_points();
    for (source, read_only) in definition.volumes_from() {
        let from = Definition::find(document, task, source).ok_or_else(|| {
            format!("CannotCreateContainerError: no container {source} to mount the volumes of")
        })?;
        let points = from.mount_points().into_iter();
        wanted.extend(points.map(|(volume, path, own)| (volume, path, own || read_only)));
    }
    for (volume, path, read_only) in wanted {
        let Some(defined) = volumes.iter().find(|it| it["name"] == volume) else {
            return Err(format!(
                "CannotStartContainerError: no volume {volume} in the task definition"
            ));
        };
        if let Some(kind) = [
            "efsVolumeConfiguration",
            "fsxWindowsFileServerVolumeConfiguration",
            "s3filesVolumeConfiguration",
        ]
        .iter()
        .find(|kind| defined.get(**kind).is_some_and(Value::is_object))
        {
            return Err(format!(
                "ResourceInitializationError: failed to invoke {kind} of volume {volume}: not part of the embedded AWS"
            ));
        }
        let folder = crew.folder(&task.id).join(volume);
        let failed = |error: std::io::Error| {
            format!("ResourceInitializationError: failed to create the volume {volume}: {error}")
        };
        if !folder.exists() {
            // Owned by root, mode 755 (as above), whatever this process's mask is.
            std::fs::create_dir_all(&folder)
                .and_then(|()| {
                    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))
                })
                .map_err(failed)?;
            let same = |it: &String| it.trim_end_matches('/') == path.trim_end_matches('/');
            if image.volumes.iter().any(same) {
                let seeding = crew.ctx.runtime.seed(prepared, path, &folder);
                seeding.await.map_err(failed)?;
            }
        }
        mounts.push(Mount {
            target: path.to_owned(),
            source: MountSource::Bind(folder),
            read_only,
        });
    }
    mounts.extend(definition.tmpfs());
    Ok(mounts)
}

/// Asks a container to end, and makes it after `timeout` milliseconds. Its exit is reported by whoever waits for it.
pub async fn stop(crew: &Crew, task: &str, container: &str, timeout: u64) {
    let Some(run) = crew.run(task) else { return };
    let Some(process) = run.process(container) else {
        return;
    };
    let signal = run
        .image(container)
        .and_then(|(_, config)| config.stop_signal)
        .map_or(libc_term(), |name| number(&name));
    let log = |result: Result<(), RuntimeError>| {
        if let Err(error) = result {
            tracing::warn!(task, container, %error, "the container cannot be signalled");
        }
    };
    log(process.signal(signal).await);
    if tokio::time::timeout(Duration::from_millis(timeout), process.wait())
        .await
        .is_err()
    {
        log(process
            .signal(nix::sys::signal::Signal::SIGKILL as i32)
            .await);
    }
}

fn libc_term() -> i32 {
    nix::sys::signal::Signal::SIGTERM as i32
}

/// A signal as `STOPSIGNAL` writes it: `SIGINT`, `INT`, `2`. One that is unknown counts as SIGTERM.
fn number(name: &str) -> i32 {
    if let Ok(number) = name.parse() {
        return number;
    }
    let name = name.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    name.parse::<nix::sys::signal::Signal>()
        .map_or(libc_term(), |signal| signal as i32)
}
