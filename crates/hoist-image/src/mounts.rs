//! `RUN --mount`: files of the context and of other stages, caches, memory and secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hoist_oci::Digest;
use hoist_runtime::{Mount, MountSource};

use crate::agent;
use crate::cache::{KeyBuilder, Lock};
use crate::config;
use crate::context::Context;
use crate::dockerfile::flags::{MountKind, RunMount, Sharing};
use crate::dockerfile::instruction::Run;
use crate::dockerfile::lines::Spanned;
use crate::embedded::{Build, Place, StageState};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::Ignore;
use crate::request::{Secret, SecretSource};
use crate::running::write_with_mode;
use crate::select::{self, Selected};
use crate::spool;
use crate::stages::{Origin, origin_of};
use crate::steps::scope;
use crate::stored::{Layer, layers_of};
use crate::tree::{Node, NodeKind, Rootfs, Tree};

/// A mount that a step asks for, with its variables replaced.
pub(crate) struct Wanted<'a> {
    mount: RunMount,
    /// Absolute; empty for a secret that is only a variable.
    target: String,
    source: String,
    id: String,
    from: From<'a>,
    /// What the step depends on. Neither caches nor secrets add their contents.
    pub key: Vec<u8>,
}

/// Where the files of a mount come from.
enum From<'a> {
    Folder(&'a Context),
    Layers(Vec<Layer>),
    /// Nowhere: a cache begins empty.
    Nothing,
}

/// Mounts that are ready, and what must live as long as they are used.
pub(crate) struct Ready {
    pub mounts: Vec<Mount>,
    pub env: Vec<(String, String)>,
    /// Secret values.
    pub hidden: Vec<String>,
    pub held: Held,
}

#[derive(Default)]
pub(crate) struct Held {
    _agents: Vec<agent::Forward>,
    _locks: Vec<Lock>,
    _folders: Vec<tempfile::TempDir>,
}

impl Build<'_> {
    /// Resolves the mounts of a step.
    pub(crate) fn mounts(
        &self,
        state: &StageState,
        run: &Run,
        place: Place<'_>,
    ) -> Result<Vec<Wanted<'_>>> {
        let mut all = Vec::new();
        for mount in &run.mounts {
            let at = |error: BuildError| error.at(place.source.location(mount.range.clone()));
            let word = Spanned {
                text: String::new(),
                range: mount.range.clone(),
            };
            let expand = |text: &Option<String>| {
                text.as_ref()
                    .map(|text| scope(state, place).expand_text(text, &word))
                    .transpose()
            };
            let (target, source, id) = (
                expand(&mount.target)?,
                expand(&mount.source)?,
                expand(&mount.id)?,
            );
            let cwd = &state.config.config.working_dir;
            let from = match &mount.from {
                None if mount.kind == MountKind::Bind => From::Folder(self.context),
                None => From::Nothing,
                Some(from) => match origin_of(self.file, self.request, from, place.stage)? {
                    Origin::Scratch => From::Layers(Vec::new()),
                    Origin::Stage(stage) => From::Layers(self.finished(stage)?.layers.clone()),
                    Origin::Folder(name) => From::Folder(&self.folders[&name]),
                    Origin::Image(name) => {
                        let platform = self.plans.stages[place.stage].platform.clone();
                        From::Layers(layers_of(&self.image(&name, &platform).map_err(at)?)?)
                    }
                },
            };
            let id = match mount.kind {
                MountKind::Secret => id
                    .or_else(|| source.clone())
                    .or_else(|| file_name(target.as_deref()))
                    .unwrap_or_default(),
                MountKind::Ssh => id.unwrap_or_else(|| "default".into()),
                _ => id.or_else(|| target.clone()).unwrap_or_default(),
            };
            let target = match (mount.kind, target) {
                (MountKind::Secret, None) if mount.env.is_some() => String::new(),
                (MountKind::Secret, None) => format!("/run/secrets/{id}"),
                (MountKind::Ssh, None) => format!("/run/buildkit/ssh_agent.{}", all.len()),
                (_, target) => config::working_dir(cwd, &target.unwrap_or_default()),
            };
            if target == "/" {
                return Err(at(BuildError::new(
                    BuildErrorKind::Dockerfile,
                    "nothing can be mounted over the root of the image",
                )));
            }
            let source = source.unwrap_or_else(|| "/".into());
            let mut key = KeyBuilder::new("mount");
            key.field(target.as_bytes()).field(
                format!(
                    "{:?} {:?} {:?} {}",
                    mount.kind, mount.mode, mount.read_only, mount.required
                )
                .as_bytes(),
            );
            key.field(
                format!(
                    "{} {} {:?} {:?}",
                    mount.uid, mount.gid, mount.size, mount.env
                )
                .as_bytes(),
            );
            match mount.kind {
                MountKind::Bind => {
                    key.field(self.bound_content(&from, &source).map_err(at)?.as_bytes());
                }
                MountKind::Cache | MountKind::Secret | MountKind::Ssh => {
                    key.field(id.as_bytes());
                }
                MountKind::Tmpfs => {}
            }
            let key = key.key().as_bytes().to_vec();
            all.push(Wanted {
                mount: mount.clone(),
                target,
                source,
                id,
                from,
                key,
            });
        }
        Ok(all)
    }

    fn bound_content(&self, from: &From<'_>, source: &str) -> Result<Digest> {
        match from {
            From::Folder(context) => select::digest(
                *context,
                &select::select(*context, source)?,
                &Ignore::default(),
            ),
            // The layers stand for their content: nothing needs to be unpacked to know it.
            From::Layers(layers) => {
                let mut key = KeyBuilder::new("bound");
                key.field(Self::content_key(layers).as_bytes())
                    .field(source.as_bytes());
                Ok(key.key())
            }
            From::Nothing => Ok(KeyBuilder::new("nothing").key()),
        }
    }

    /// Makes the mounts ready for a container.
    pub(crate) fn prepare_mounts(&self, wanted: &[Wanted<'_>], place: Place<'_>) -> Result<Ready> {
        let mut ready = Ready {
            mounts: Vec::new(),
            env: Vec::new(),
            hidden: Vec::new(),
            held: Held::default(),
        };
        for want in wanted {
            self.prepare(want, &mut ready)
                .map_err(|error| error.at(place.source.location(want.mount.range.clone())))?;
        }
        Ok(ready)
    }

    fn prepare(&self, want: &Wanted<'_>, ready: &mut Ready) -> Result<()> {
        let mount = &want.mount;
        let source = match mount.kind {
            MountKind::Tmpfs => MountSource::Tmpfs {
                size_bytes: mount.size,
                mode: mount.mode,
            },
            MountKind::Cache => MountSource::Bind(self.cache_folder(want, &mut ready.held)?),
            MountKind::Bind => MountSource::Bind(self.bound(want, &mut ready.held)?),
            MountKind::Secret => {
                let Some(value) = self.secret(&want.id)? else {
                    if mount.required {
                        return Err(BuildError::new(
                            BuildErrorKind::Context,
                            format!("the secret {} is required and was not given", want.id),
                        )
                        .with_hint(format!(
                            "pass it with --secret id={},src=FILE or --secret id={},env=NAME",
                            want.id, want.id
                        )));
                    }
                    return Ok(());
                };
                let text = String::from_utf8_lossy(&value).into_owned();
                ready.hidden.extend(
                    text.lines()
                        .map(|line| line.trim().to_owned())
                        .filter(|line| line.len() > 3),
                );
                if let Some(name) = &mount.env {
                    ready.env.push((name.clone(), text));
                }
                if want.target.is_empty() {
                    return Ok(());
                }
                MountSource::Bind(self.secret_file(want, &value, &mut ready.held)?)
            }
            MountKind::Ssh => match self.agent(want, &mut ready.held)? {
                None => return Ok(()),
                Some(socket) => {
                    // As in BuildKit, the first agent is the one that `ssh` finds.
                    if !ready.env.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
                        ready
                            .env
                            .push(("SSH_AUTH_SOCK".into(), want.target.clone()));
                    }
                    MountSource::Bind(socket)
                }
            },
        };
        let read_only = match mount.kind {
            MountKind::Bind => mount.read_only.unwrap_or(true),
            MountKind::Secret => true,
            MountKind::Ssh => false,
            _ => mount.read_only.unwrap_or(false),
        };
        ready.mounts.push(Mount {
            target: want.target.clone(),
            source,
            read_only,
        });
        Ok(())
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let Some(Secret { source, .. }) =
            self.request.secrets.iter().find(|secret| secret.id == id)
        else {
            return Ok(None);
        };
        match source {
            SecretSource::File(path) => fs::read(path).map(Some).map_err(|error| {
                BuildError::io(
                    format!("read the secret {id} from {}", path.display()),
                    error,
                )
            }),
            SecretSource::Environment(name) => match std::env::var_os(name) {
                Some(value) => Ok(Some(value.into_encoded_bytes())),
                None => Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!(
                        "the secret {id} is to come from the variable {name}, which is not set"
                    ),
                )),
            },
        }
    }

    /// A socket that leads to an agent of the caller: the container never sees the agent's own.
    fn agent(&self, want: &Wanted<'_>, held: &mut Held) -> Result<Option<PathBuf>> {
        let id = &want.id;
        let Some((_, agent)) = self.request.ssh.iter().rev().find(|(known, _)| known == id) else {
            if want.mount.required {
                return Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!("the SSH agent {id} is required and was not given"),
                )
                .with_hint(format!(
                    "pass it with --ssh {id}, while SSH_AUTH_SOCK names the socket of ssh-agent"
                )));
            }
            return Ok(None);
        };
        let failed =
            |error| BuildError::io(format!("forward the SSH agent {}", agent.display()), error);
        // The name of a socket has little room.
        let folder = spool::folder(Path::new("/dev/shm"), "ssh")
            .or_else(|_| spool::folder(&self.workspace.cache("spool"), "ssh"))
            .map_err(failed)?;
        let socket = folder.path().join("agent");
        let forward = agent::forward(&self.runtime, &socket, agent).map_err(failed)?;
        fs::set_permissions(
            &socket,
            fs::Permissions::from_mode(want.mount.mode.unwrap_or(0o600)),
        )
        .map_err(failed)?;
        own(&socket, &want.mount).map_err(failed)?;
        held._agents.push(forward);
        held._folders.push(folder);
        Ok(Some(socket))
    }

    fn secret_file(&self, want: &Wanted<'_>, value: &[u8], held: &mut Held) -> Result<PathBuf> {
        let failed = |error| BuildError::io(format!("make the secret {} ready", want.id), error);
        // In memory where that is possible.
        let memory = Path::new("/dev/shm");
        let disk = self.workspace.cache("spool");
        let folder = spool::folder(memory, "secret")
            .or_else(|_| spool::folder(&disk, "secret"))
            .map_err(failed)?;
        let path = write_with_mode(
            &folder.path().join("value"),
            value,
            want.mount.mode.unwrap_or(0o400),
        )
        .map_err(failed)?;
        own(&path, &want.mount).map_err(failed)?;
        held._folders.push(folder);
        Ok(path)
    }

    fn cache_folder(&self, want: &Wanted<'_>, held: &mut Held) -> Result<PathBuf> {
        let root = self.workspace.cache("mounts");
        // A cache that begins with files of a stage is another one when they change.
        let name = match &want.from {
            From::Nothing => Digest::of(want.id.as_bytes()).hex(),
            from => {
                let mut key = KeyBuilder::new("cache");
                key.field(want.id.as_bytes())
                    .field(self.bound_content(from, &want.source)?.as_bytes());
                key.key().hex()
            }
        };
        let id = &want.id;
        let report = self.report;
        let folder = match want.mount.sharing {
            Sharing::Shared => root.join(&name),
            Sharing::Locked => {
                let lock = Lock::take(
                    &self.workspace.cache("locks"),
                    &format!("mount-{name}"),
                    || {
                        report.warn(
                            format!("another build uses the cache {id}; waiting for it"),
                            None,
                        );
                    },
                )?;
                held._locks.push(lock);
                root.join(&name)
            }
            Sharing::Private => {
                // Each of several builds at once has one of its own, and finds it again later.
                let mut number = 0;
                let lock = loop {
                    match Lock::attempt(
                        &self.workspace.cache("locks"),
                        &format!("mount-{name}-{number}"),
                    )? {
                        Some(lock) => break lock,
                        None => number += 1,
                    }
                };
                held._locks.push(lock);
                root.join(format!("{name}-{number}"))
            }
        };
        let failed = |error| BuildError::io(format!("make the cache {id}"), error);
        let stamp = format!(
            "used-{}",
            folder.file_name().unwrap_or_default().to_string_lossy()
        );
        fs::write(self.workspace.cache("locks").join(stamp), "").map_err(failed)?;
        let fresh = !folder.exists();
        if fresh && !matches!(want.from, From::Nothing) {
            let tree = self.tree(&want.from)?;
            let selected = select::select(&*tree, &want.source)?;
            let [Selected::Node { path, node, .. }] = selected.as_slice() else {
                return Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!("{} is not one folder", want.source),
                ));
            };
            // Whole or not at all: a build that is killed leaves no half of a cache.
            let half = spool::folder(&root, "new").map_err(failed)?;
            materialize(&*tree, path, node, &half.path().join("cache"))?;
            match fs::rename(half.path().join("cache"), &folder) {
                Err(error) if !folder.exists() => return Err(failed(error)),
                _ => return Ok(folder),
            }
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        if fresh {
            fs::set_permissions(
                &folder,
                fs::Permissions::from_mode(want.mount.mode.unwrap_or(0o755)),
            )
            .map_err(failed)?;
            own(&folder, &want.mount).map_err(failed)?;
        }
        Ok(folder)
    }

    fn tree<'t>(&'t self, from: &From<'t>) -> Result<Box<dyn Tree + 't>> {
        Ok(match from {
            From::Folder(context) => Box::new(*context),
            From::Layers(layers) => Box::new(self.rootfs(layers)?),
            From::Nothing => Box::new(Rootfs::default()),
        })
    }

    /// A file or folder of the context or of another stage. What the command writes there is gone afterwards.
    fn bound(&self, want: &Wanted<'_>, held: &mut Held) -> Result<PathBuf> {
        let tree = self.tree(&want.from)?;
        let selected = select::select(&*tree, &want.source)?;
        let [Selected::Node { path, node, .. }] = selected.as_slice() else {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{} is not one file or folder", want.source),
            ));
        };
        let writable = want.mount.read_only == Some(false);
        let one_layer = matches!(&want.from, From::Layers(layers) if layers.len() == 1);
        if !writable && (node.kind == NodeKind::File || one_layer) {
            return Ok(node.real.clone());
        }
        let folder = spool::folder(&self.workspace.cache("spool"), "bound")
            .map_err(|error| BuildError::io("make a folder for a mount", error))?;
        let target = folder.path().join("root");
        materialize(&*tree, path, node, &target)?;
        held._folders.push(folder);
        Ok(target)
    }
}

fn file_name(target: Option<&str>) -> Option<String> {
    Path::new(target?)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

fn own(path: &Path, mount: &RunMount) -> std::io::Result<()> {
    if mount.uid == 0 && mount.gid == 0 {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(mount.uid), Some(mount.gid))
}

/// Copies a part of a tree into a folder of this machine.
fn materialize(tree: &dyn Tree, path: &Path, node: &Node, target: &Path) -> Result<()> {
    let failed = |error| BuildError::io(format!("copy {} for a mount", path.display()), error);
    match &node.kind {
        NodeKind::Folder => {
            fs::create_dir(target).map_err(failed)?;
            for name in tree.list(path)? {
                let path = path.join(&name);
                if let Some(node) = tree.lookup(&path)? {
                    materialize(tree, &path, &node, &target.join(&name))?;
                }
            }
        }
        NodeKind::File => {
            fs::copy(&node.real, target).map_err(failed)?;
        }
        NodeKind::Symlink(to) => return std::os::unix::fs::symlink(to, target).map_err(failed),
        // Devices and pipes have no content to bring along.
        _ => return Ok(()),
    }
    fs::set_permissions(target, fs::Permissions::from_mode(node.mode)).map_err(failed)?;
    if tree.keeps_owners() {
        std::os::unix::fs::lchown(target, Some(node.uid), Some(node.gid)).map_err(failed)?;
    }
    Ok(())
}
