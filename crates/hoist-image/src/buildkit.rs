//! The other engine: BuildKit, in a Docker Engine or at an address of its own, driven through the command of its maker.
//!
//! The context goes to it as it is; it reads the same ignore files. The finished image comes back as an archive of `docker save` and is
//! stored like every other, its layers compressed by us, so that the pusher does not know who built it.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use hoist_oci::spec::{ImageConfig, Platform};
use hoist_oci::{Compression, Digest};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::runtime::Handle;

use crate::builder::{Layout, docker_options};
use crate::engine::Buildkit;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::event::{BuildEvent, OutputStream};
use crate::inputs;
use crate::kit_cache;
use crate::layer;
use crate::layouts;
use crate::lent::{Lent, lend};
use crate::prune;
use crate::report::{Reporter, cancelled};
use crate::request::{BuildRequest, BuiltImage};
use crate::stored::store_image;
use crate::workspace::Workspace;

/// How many of the last lines an error shows.
const TAIL: usize = 30;

/// Builds with a BuildKit.
pub(crate) fn build(
    workspace: &Workspace,
    request: &BuildRequest,
    place: &Buildkit,
    report: &Reporter,
    runtime: &Handle,
    reason: &str,
) -> Result<BuiltImage> {
    kit_cache::check(request)?;
    let _in_use = prune::in_use(workspace)?;
    // What is wrong with the Dockerfile or the context is said in our words, before anything is sent.
    let inputs = inputs::inputs(workspace, request)?;
    let spool = workspace.cache("spool");
    let folder = crate::spool::folder(&spool, "buildkit")
        .map_err(|error| BuildError::io("make a folder for the build", error))?;
    let folder = folder.path();
    let lent = lend(workspace, request, &inputs)?;
    let mut dockerfile = request.dockerfile_path();
    if !lent.is_empty() {
        dockerfile = lent.write(&inputs.file.source, &dockerfile, folder)?;
    }
    let archive = folder.join("image.tar");
    let config = kit_cache::docker_config(request, folder)?;
    let run = |mut command: Command| {
        if let Some(config) = &config {
            command.env("DOCKER_CONFIG", config);
        }
        runtime.block_on(streamed(command, report))
    };
    let mut command = match place {
        Buildkit::Remote(remote) => {
            let layouts = layouts_of(workspace, &lent, folder)?;
            remote.build(request, &dockerfile, &layouts, &archive)
        }
        Buildkit::Docker(docker) => {
            for (name, image) in &lent.images {
                let base = folder.join("base.tar");
                layouts::export_archive(workspace, image, &base, name)?;
                let mut load = Command::new(&docker.program);
                load.args(["load", "--quiet", "--input"]).arg(&base);
                run(load)?;
            }
            let mut command = Command::new(&docker.program);
            command.env("DOCKER_BUILDKIT", "1").args(arguments(
                request,
                &dockerfile,
                docker.no_bridge,
                &folder.join("id"),
            ));
            command
        }
    };
    if let Some(epoch) = inputs::epoch(request)? {
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    }
    let cached = run(command)?;
    if let Buildkit::Docker(docker) = place {
        let failed = |error| BuildError::io("read what docker built", error);
        let id = std::fs::read_to_string(folder.join("id")).map_err(failed)?;
        let mut save = Command::new(&docker.program);
        save.args(["save", "--output"]).arg(&archive).arg(id.trim());
        run(save)?;
    }
    let (manifest, config_digest, platform) = load(workspace, &archive, request, report)?;
    // A builder has written its cache; that of a Docker Engine is in the image.
    let caches = match (place, &request.registry_cache) {
        (Buildkit::Docker(_), Some(at)) => {
            vec![(kit_cache::place(at, &request.platform), manifest.clone())]
        }
        _ => Vec::new(),
    };
    let stages = inputs.file.stages.iter();
    let steps: usize = stages.map(|stage| 1 + stage.instructions.len()).sum();
    let steps_cached = cached.min(steps);
    Ok(BuiltImage {
        manifest,
        config_digest,
        platform,
        inputs: inputs.digest,
        bases: Vec::new(),
        caches,
        steps_run: steps - steps_cached,
        steps_cached,
        engine: "buildkit",
        engine_reason: reason.into(),
    })
}

/// Writes what a builder is lent where its client reads it.
fn layouts_of(workspace: &Workspace, lent: &Lent, folder: &Path) -> Result<Vec<Layout>> {
    let mut layouts = Vec::new();
    for (name, image) in &lent.images {
        let digest = image.descriptor.digest;
        let folder = folder.join(digest.hex());
        layouts::export(workspace, &image.descriptor, &folder, "base")?;
        layouts.push(Layout {
            name: name.clone(),
            folder,
            digest,
        });
    }
    Ok(layouts)
}

fn arguments(
    request: &BuildRequest,
    dockerfile: &Path,
    no_bridge: bool,
    id_file: &Path,
) -> Vec<String> {
    let mut arguments: Vec<String> = vec![
        "build".into(),
        "--progress=plain".into(),
        format!("--iidfile={}", id_file.display()),
    ];
    if no_bridge {
        arguments.push("--network=host".into());
    }
    // Without it the daemon builds for itself, and old ones ask for experimental features.
    if request.platform != Platform::host() {
        arguments.push(format!("--platform={}", request.platform));
    }
    arguments.extend(docker_options(request, dockerfile));
    arguments.extend(kit_cache::docker_options(request));
    arguments.push("--".into());
    arguments.push(request.context.display().to_string());
    arguments
}

/// Runs a command of a client, passing its output on. Tells how many steps it says were in a cache.
async fn streamed(mut command: Command, report: &Reporter) -> Result<usize> {
    let program = Path::new(command.as_std().get_program());
    let name = program
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string();
    let failed = |error| BuildError::io(format!("run {name}"), error);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let tail = std::sync::Mutex::new(VecDeque::new());
    let cached = AtomicUsize::new(0);
    let read = async |stream: Option<Box<dyn tokio::io::AsyncRead + Unpin>>, kind: OutputStream| {
        let Some(stream) = stream else { return };
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(mut tail) = tail.lock() {
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.clone());
            }
            if is_cached(&line) {
                cached.fetch_add(1, Ordering::Relaxed);
            }
            report.send(BuildEvent::Output { stream: kind, line });
        }
    };
    let status = tokio::select! {
        (status, (), ()) = async {
            tokio::join!(
                child.wait(),
                read(stdout.map(|stream| Box::new(stream) as _), OutputStream::Stdout),
                read(stderr.map(|stream| Box::new(stream) as _), OutputStream::Stderr)
            )
        } => status.map_err(failed)?,
        () = report.gone() => return Err(cancelled()),
    };
    if status.success() {
        return Ok(cached.into_inner());
    }
    let tail: Vec<String> = tail
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .into();
    let error = BuildError::new(
        BuildErrorKind::Command,
        format!("{name} failed to build the image ({status})"),
    );
    let says = |words: &str| tail.iter().any(|line| line.contains(words));
    let error = if says("buildx component is missing") {
        error.with_hint("install docker's buildx plug-in (docker-buildx-plugin, docker-buildx), or build with --engine embedded")
    } else if says("exporting cache") || says("ache export is not supported") {
        error.with_hint("BuildKit could not keep its cache in the registry: ECR takes that of version 0.12 and newer; leave out --registry-cache to build without")
    } else {
        error
    };
    Err(error.with_output(status.code().unwrap_or(1), tail))
}

/// Whether a line of plain progress says that a step was in a cache: `#7 CACHED`.
fn is_cached(line: &str) -> bool {
    let number = line
        .strip_prefix('#')
        .and_then(|rest| rest.strip_suffix(" CACHED"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One image of the `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Takes an image from an archive of `docker save`, of which new ones are an OCI layout too.
fn load(
    workspace: &Workspace,
    archive: &Path,
    request: &BuildRequest,
    report: &Reporter,
) -> Result<(hoist_oci::spec::Descriptor, Digest, Platform)> {
    let compression = request.compression;
    let failed = |error| BuildError::io("read the archive of docker save", error);
    let damaged = |what: &str| {
        BuildError::new(
            BuildErrorKind::Image,
            format!("the archive of docker save {what}"),
        )
    };
    let mut places = HashMap::new();
    let mut links = HashMap::new();
    let mut tar = tar::Archive::new(std::fs::File::open(archive).map_err(failed)?);
    for entry in tar.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.display().to_string();
        match entry.link_name().map_err(failed)? {
            // Layers that are there twice are links in old archives.
            Some(link) => {
                let folder = Path::new(&name)
                    .parent()
                    .unwrap_or(Path::new(""))
                    .join(link);
                links.insert(
                    name,
                    crate::tree::relative(&folder.display().to_string())
                        .display()
                        .to_string(),
                );
            }
            None => {
                places.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
    }
    let open = |name: &str| {
        let name = links.get(name).map_or(name, String::as_str);
        let (offset, size) = places
            .get(name)
            .copied()
            .ok_or_else(|| damaged(&format!("lacks {name}")))?;
        let mut file = std::fs::File::open(archive).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(file.take(size))
    };
    let read = |name: &str| {
        let mut bytes = Vec::new();
        open(name)?.read_to_end(&mut bytes).map_err(failed)?;
        Ok::<_, BuildError>(bytes)
    };
    let saved: Vec<Saved> = serde_json::from_slice(&read("manifest.json")?)
        .map_err(|error| damaged("has a damaged manifest.json").caused_by(error))?;
    let [saved] = saved.as_slice() else {
        return Err(damaged("does not hold one image"));
    };
    let config: ImageConfig = serde_json::from_slice(&read(&saved.config)?)
        .map_err(|error| damaged("has a damaged config").caused_by(error))?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != saved.layers.len() {
        return Err(damaged("has more layers than its config, or fewer"));
    }
    let store = &workspace.store;
    let mut layers = Vec::new();
    for (diff_id, name) in diff_ids.iter().zip(&saved.layers) {
        report.check()?;
        let forms = store.layer_forms(diff_id).map_err(|error| {
            BuildError::from_source(BuildErrorKind::Io, "look up a layer", error)
        })?;
        if let Some((_, blob)) = forms.into_iter().find(|(form, _)| *form == compression) {
            layers.push(blob);
            continue;
        }
        let mut start = [0; 4];
        let n = open(name)?.read(&mut start).map_err(failed)?;
        let form = Compression::of_magic(&start[..n]);
        let stored = layer::store_archive(store, request.form(), |out| {
            let mut plain = form.decoder(open(name)?).map_err(failed)?;
            std::io::copy(&mut plain, out).map_err(failed)?;
            Ok(())
        })?;
        if stored.diff_id != *diff_id {
            return Err(damaged(&format!(
                "holds a layer {} where its config says {diff_id}",
                stored.diff_id
            )));
        }
        report.send(BuildEvent::LayerStored {
            digest: stored.blob.digest,
            size: stored.blob.size,
        });
        layers.push(stored.blob);
    }
    let platform = config.platform();
    let (manifest, config_digest) =
        store_image(workspace, &config, layers, &platform, &request.annotations)?;
    Ok((manifest, config_digest, platform))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SecretSource;

    fn put(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }

    /// What `docker save` of an image with two equal layers writes: the second is a link to the first.
    fn saved(diff_id: &Digest, layer: &[u8]) -> Vec<u8> {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/x"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}","{diff_id}"]}}}}"#
        );
        let mut archive = tar::Builder::new(Vec::new());
        put(&mut archive, "aa/layer.tar", layer);
        let mut link = tar::Header::new_ustar();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive
            .append_link(&mut link, "bb/layer.tar", "../aa/layer.tar")
            .unwrap();
        put(&mut archive, "config.json", config.as_bytes());
        put(&mut archive, "manifest.json", br#"[{"Config":"config.json","RepoTags":null,"Layers":["aa/layer.tar","bb/layer.tar"]}]"#);
        archive.into_inner().unwrap()
    }

    fn load_bytes(
        bytes: &[u8],
    ) -> (
        tempfile::TempDir,
        Workspace,
        Result<(hoist_oci::spec::Descriptor, Digest, Platform)>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&dir.path().join("home")).unwrap();
        let path = dir.path().join("image.tar");
        std::fs::write(&path, bytes).unwrap();
        let (events, _heard) = tokio::sync::mpsc::unbounded_channel();
        let (_alive, cancelled) = tokio::sync::watch::channel(());
        let request = BuildRequest::new(dir.path());
        let report = Reporter::new(events, cancelled);
        let result = load(&workspace, &path, &request, &report);
        (dir, workspace, result)
    }

    #[test]
    fn a_saved_image_comes_into_the_store_as_it_is() {
        let layer = vec![0; 1024];
        let (_dir, workspace, result) = load_bytes(&saved(&Digest::of(&layer), &layer));
        let (manifest, config, platform) = result.unwrap();
        let image = workspace.store.image(&manifest, &platform).unwrap();
        assert_eq!(
            (image.config_digest, image.manifest.layers.len()),
            (config, 2)
        );
        assert_eq!(image.config.config.cmd, Some(vec!["/x".to_owned()]));
        assert_eq!(image.manifest.layers[0], image.manifest.layers[1]);
    }

    #[test]
    fn an_archive_whose_layers_are_not_what_it_says_is_refused() {
        let (_dir, workspace, result) =
            load_bytes(&saved(&Digest::of(b"something else"), &[0; 1024]));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), BuildErrorKind::Image);
        assert!(error.message().contains("holds a layer sha256:"), "{error}");
        assert!(workspace.store.tags().unwrap().is_empty());
        assert_eq!(
            load_bytes(b"").2.unwrap_err().message(),
            "the archive of docker save lacks manifest.json"
        );
    }

    #[test]
    fn the_same_options_reach_docker() {
        let mut request = BuildRequest::new("ctx");
        request.target = Some("t".into());
        request.build_args = vec![("A".into(), "1 2".into())];
        request.secrets = vec![crate::Secret {
            id: "s".into(),
            source: SecretSource::Environment("S".into()),
        }];
        request.no_cache = true;
        assert_eq!(
            arguments(
                &request,
                Path::new("ctx/Dockerfile"),
                true,
                Path::new("/id")
            ),
            [
                "build",
                "--progress=plain",
                "--iidfile=/id",
                "--network=host",
                "--file=ctx/Dockerfile",
                "--target=t",
                "--build-arg=A=1 2",
                "--secret=id=s,env=S",
                "--no-cache",
                "--",
                "ctx"
            ]
        );
    }
}
