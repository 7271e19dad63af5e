//! `RUN --mount`: files of the context and of other stages, caches, memory and secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hoist_oci::Digest;
use hoist_runtime::{Mount, MountSource};

use crate::cache::{KeyBuilder, Lock};
use crate::config;
use crate::dockerfile::flags::{MountKind, RunMount, Sharing};
use crate::dockerfile::instruction::Run;
use crate::dockerfile::lines::Spanned;
use crate::embedded::{Build, Layer, Place, StageState, layers_of};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::Ignore;
use crate::request::{Secret, SecretSource};
use crate::running::write_with_mode;
use crate::select::{self, Selected};
use crate::spool;
use crate::stages::{Origin, origin_of};
use crate::steps::scope;
use crate::tree::{Node, NodeKind, Tree};

/// A mount that a step asks for, with its variables replaced.
pub(crate) struct Wanted {
    mount: RunMount,
    /// Absolute; empty for a secret that is only a variable.
    target: String,
    source: String,
    id: String,
    layers: Option<Vec<Layer>>,
    /// What the step depends on. Neither caches nor secrets add their contents.
    pub key: Vec<u8>,
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
    _locks: Vec<Lock>,
    _folders: Vec<tempfile::TempDir>,
}

impl Build<'_> {
    /// Resolves the mounts of a step.
    pub(crate) fn mounts(
        &mut self,
        state: &StageState,
        run: &Run,
        place: Place<'_>,
    ) -> Result<Vec<Wanted>> {
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
            let layers = match &mount.from {
                None => None,
                Some(from) => Some(match origin_of(self.file, from, place.stage)? {
                    Origin::Scratch => Vec::new(),
                    Origin::Stage(stage) => self.finished(stage).layers.clone(),
                    Origin::Image(name) => {
                        let platform = self.plans.stages[place.stage].platform.clone();
                        layers_of(&self.image(&name, &platform).map_err(at)?)?
                    }
                }),
            };
            let id = match mount.kind {
                MountKind::Secret => id
                    .or_else(|| source.clone())
                    .or_else(|| file_name(target.as_deref()))
                    .unwrap_or_default(),
                _ => id.or_else(|| target.clone()).unwrap_or_default(),
            };
            let target = match (mount.kind, target) {
                (MountKind::Secret, None) if mount.env.is_some() => String::new(),
                (MountKind::Secret, None) => format!("/run/secrets/{id}"),
                (_, target) => config::working_dir(cwd, &target.unwrap_or_default()),
            };
            if target == "/" {
                return Err(at(BuildError::new(
                    BuildErrorKind::Dockerfile,
                    "nothing can be mounted over the root of the image",
                )));
            }
            if mount.kind == MountKind::Cache && layers.is_some() {
                return Err(at(BuildError::new(
                    BuildErrorKind::Unsupported,
                    "a cache mount with `from` is not supported by the embedded engine",
                )
                .with_hint(
                    "fill the cache in a step of its own, or build with --engine buildkit",
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
                    key.field(self.bound_content(&layers, &source).map_err(at)?.as_bytes());
                }
                MountKind::Cache | MountKind::Secret => {
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
                layers,
                key,
            });
        }
        Ok(all)
    }

    fn bound_content(&self, layers: &Option<Vec<Layer>>, source: &str) -> Result<Digest> {
        match layers {
            None => select::digest(
                self.context,
                &select::select(self.context, source)?,
                &Ignore::default(),
            ),
            // The layers stand for their content: nothing needs to be unpacked to know it.
            Some(layers) => {
                let mut key = KeyBuilder::new("bound");
                key.field(Self::content_key(layers).as_bytes())
                    .field(source.as_bytes());
                Ok(key.key())
            }
        }
    }

    /// Makes the mounts ready for a container.
    pub(crate) fn prepare_mounts(&self, wanted: &[Wanted], place: Place<'_>) -> Result<Ready> {
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

    fn prepare(&self, want: &Wanted, ready: &mut Ready) -> Result<()> {
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
        };
        let read_only = match mount.kind {
            MountKind::Bind => mount.read_only.unwrap_or(true),
            MountKind::Secret => true,
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

    fn secret_file(&self, want: &Wanted, value: &[u8], held: &mut Held) -> Result<PathBuf> {
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

    fn cache_folder(&self, want: &Wanted, held: &mut Held) -> Result<PathBuf> {
        let root = self.workspace.cache("mounts");
        let name = Digest::of(want.id.as_bytes()).hex();
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
        let fresh = !folder.exists();
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

    /// A file or folder of the context or of another stage. What the command writes there is gone afterwards.
    fn bound(&self, want: &Wanted, held: &mut Held) -> Result<PathBuf> {
        let tree: Box<dyn Tree + '_> = match &want.layers {
            None => Box::new(self.context),
            Some(layers) => Box::new(self.rootfs(layers)?),
        };
        let selected = select::select(&*tree, &want.source)?;
        let [Selected::Node { path, node, .. }] = selected.as_slice() else {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{} is not one file or folder", want.source),
            ));
        };
        let writable = want.mount.read_only == Some(false);
        let one_layer = want.layers.as_ref().is_some_and(|layers| layers.len() == 1);
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
