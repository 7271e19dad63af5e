//! `RUN` as a step: a real container, and what it changed as a layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use hoist_oci::spec::ImageConfig;
use hoist_runtime::{ContainerSpec, Mount, MountSource, Network, RootFs};

use crate::config;
use crate::container::{self, Group, unique_id};
use crate::dockerfile::instruction::{Command, Instruction, Run};
use crate::embedded::{Build, Place, StageState};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{self, StoredLayer};
use crate::scope::PROXIES;
use crate::stages::given;
use crate::steps::key;
use crate::upper;

/// A command, ready to run.
pub(crate) struct Script {
    pub args: Vec<String>,
    /// What the history says of it.
    pub text: String,
    /// A heredoc that begins with `#!`: it runs as a file of its own.
    pub file: Option<(String, String)>,
}

/// Where heredocs with an interpreter line lie while they run, as in BuildKit.
const PIPES: &str = "/dev/pipes";

impl Build<'_> {
    pub(crate) fn run_step(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        run: &Run,
        place: Place<'_>,
    ) -> Result<()> {
        let script = script(&state.config, run);
        let mounts = self.mounts(state, run, place)?;
        let variables = variables(state);
        let mut key = key("run", &state.layers);
        key.list(&script.args);
        key.list(script.file.iter().flat_map(|(name, body)| [name, body]));
        key.list(&state.config.config.env);
        key.list(
            variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        key.field(state.config.config.user.as_bytes())
            .field(state.config.config.working_dir.as_bytes());
        key.field(&[u8::from(run.no_network)])
            .field(self.epoch_field().as_bytes());
        key.field(state.config.platform().to_string().as_bytes());
        key.list(mounts.iter().map(|mount| mount.key.clone()));
        let shown: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let arguments = if shown.is_empty() {
            String::new()
        } else {
            format!("|{} {} ", shown.len(), shown.join(" "))
        };
        let created_by = format!("RUN {arguments}{}", script.text);
        self.layer_step(
            state,
            &key.key(),
            instruction,
            place,
            created_by,
            |build, state| build.execute(state, run, &script, &variables, &mounts, place),
        )
    }

    fn execute(
        &self,
        state: &mut StageState,
        run: &Run,
        script: &Script,
        variables: &[(String, String)],
        wanted: &[crate::mounts::Wanted<'_>],
        place: Place<'_>,
    ) -> Result<Option<StoredLayer>> {
        let runtime_failed = |doing: &str| {
            let doing = doing.to_owned();
            move |error: hoist_runtime::RuntimeError| {
                BuildError::from_source(BuildErrorKind::Io, doing, error)
            }
        };
        let below = self.rootfs(&state.layers)?;
        let scratch = self
            .workspace
            .snapshots
            .scratch()
            .map_err(runtime_failed("make a folder for a step"))?;
        let ready = self.prepare_mounts(wanted, place)?;
        let mut mounts = ready.mounts;
        let mut env: Vec<(String, String)> = state
            .config
            .config
            .env
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        env.extend(variables.iter().cloned());
        for name in PROXIES {
            if let Some(value) =
                given(self.request, name).filter(|_| !env.iter().any(|(key, _)| key == name))
            {
                env.push((name.into(), value.clone()));
            }
        }
        env.extend(ready.env);
        let mut targets: Vec<String> = mounts.iter().map(|mount| mount.target.clone()).collect();
        let _pipes = match &script.file {
            None => None,
            Some((name, body)) => {
                let folder = crate::spool::folder(&self.workspace.cache("spool"), "pipes")
                    .map_err(|error| BuildError::io("write a heredoc", error))?;
                let path = folder.path().join(name);
                write_with_mode(&path, body.as_bytes(), 0o755)
                    .map_err(|error| BuildError::io("write a heredoc", error))?;
                fs::set_permissions(
                    folder.path(),
                    std::os::unix::fs::PermissionsExt::from_mode(0o755),
                )
                .map_err(|error| BuildError::io("write a heredoc", error))?;
                mounts.push(Mount {
                    target: PIPES.into(),
                    source: MountSource::Bind(folder.path().into()),
                    read_only: true,
                });
                Some(folder)
            }
        };
        targets.sort();
        let cwd = &state.config.config.working_dir;
        let spec = ContainerSpec {
            id: unique_id("run"),
            rootfs: RootFs {
                lower: below.layers.clone(),
                upper: scratch.upper(),
                work: scratch.work(),
            },
            args: script.args.clone(),
            env,
            cwd: if cwd.is_empty() {
                "/".into()
            } else {
                cwd.clone()
            },
            user: state.config.config.user.clone(),
            hostname: given(self.request, "BUILDKIT_SANDBOX_HOSTNAME")
                .cloned()
                .unwrap_or_else(|| "buildkitsandbox".into()),
            mounts,
            network: if run.no_network {
                Network::None
            } else {
                Network::Host
            },
            // sudo and the like work in builds, as they do with Docker.
            allow_new_privileges: true,
            ..ContainerSpec::default()
        };
        let containers = {
            let mut group = self
                .containers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match &*group {
                Some(group) => group.containers.clone(),
                None => group
                    .insert(Group::new(self.workspace, self.request)?)
                    .containers
                    .clone(),
            }
        };
        let report = self.report;
        #[cfg(target_os = "linux")]
        let again = spec.clone();
        let outcome = self.runtime.block_on(container::run(
            &containers,
            spec,
            report,
            &ready.hidden,
            &state.config,
        ))?;
        if let Err(error) = container::check(outcome, "the command") {
            #[cfg(target_os = "linux")]
            if self.request.debug_shell {
                // Why there was no shell matters less than why there should be one.
                if let Err(trouble) = self
                    .runtime
                    .block_on(crate::debug::shell(&containers, again))
                {
                    report.warn(trouble.to_string(), None);
                }
                return Err(error);
            }
            return Err(error.and_hint("`--debug-shell` opens a shell at this point"));
        }
        drop(ready.held);

        let mut entries = upper::entries(&scratch.upper())?;
        for path in upper::drop_mount_points(&mut entries, &below, &targets)? {
            let real = scratch.upper().join(path);
            let _ = fs::remove_dir(&real).or_else(|_| fs::remove_file(&real));
        }
        if let Some(epoch) = self.epoch {
            upper::clamp(&mut entries, epoch);
        }
        state.known = None;
        if entries.is_empty() {
            return Ok(None);
        }
        let stored = layer::store_layer(&self.workspace.store, self.form(place.stage), &entries)?;
        // What was written is the unpacked layer already. With changed times it is not, and is unpacked if it is needed.
        if self.epoch.is_none() {
            self.workspace
                .snapshots
                .commit(scratch, &stored.diff_id)
                .map_err(runtime_failed("keep what a step wrote"))?;
        }
        Ok(Some(stored))
    }
}

/// `ARG`s that a command sees: those that no `ENV` covers.
fn variables(state: &StageState) -> Vec<(String, String)> {
    let covered = |name: &str| {
        state
            .config
            .config
            .env
            .iter()
            .any(|pair| pair.split_once('=').is_some_and(|(key, _)| key == name))
    };
    state
        .args
        .iter()
        .filter(|(name, _)| !covered(name))
        .cloned()
        .collect()
}

fn script(config: &ImageConfig, run: &Run) -> Script {
    let words = |line: String| {
        let args = config::command(config, &Command::Shell(line));
        Script {
            text: args.join(" "),
            args,
            file: None,
        }
    };
    match (&run.command, run.heredocs.first()) {
        (Command::Exec(args), _) => Script {
            args: args.clone(),
            text: args.join(" "),
            file: None,
        },
        (Command::Shell(line), None) => words(line.clone()),
        (Command::Shell(line), Some(first)) => {
            let only = crate::dockerfile::lines::heredoc_name(line.trim()).is_some()
                && run.heredocs.len() == 1;
            if only && first.content().starts_with("#!") {
                let path = format!("{PIPES}/{}", first.name);
                Script {
                    text: path.clone(),
                    args: vec![path],
                    file: Some((first.name.clone(), first.content())),
                }
            } else if only {
                words(first.content())
            } else {
                // The shell reads these heredocs itself.
                let mut text = line.clone();
                for heredoc in &run.heredocs {
                    text.push('\n');
                    text.push_str(&heredoc.body);
                    text.push_str(&heredoc.name);
                }
                words(text)
            }
        }
    }
}

pub(crate) fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<PathBuf> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    // The mask of this process does not count.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(path.to_owned())
}
