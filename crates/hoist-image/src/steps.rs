//! What each instruction does to its stage.

use std::sync::PoisonError;

use hoist_oci::Digest;

use crate::cache::KeyBuilder;
use crate::config;
use crate::copy;
use crate::dockerfile::expand;
use crate::dockerfile::instruction::{Command, CopySource, Instruction, Kind, Pair};
use crate::dockerfile::lines::Spanned;
use crate::embedded::{Build, Place, StageState};
use crate::error::{BuildError, BuildErrorKind, Result, did_you_mean};
use crate::layer;
use crate::scope::Scope;
use crate::stages::given;
use crate::stored::Layer;
use crate::users;

/// The variables at this point of a stage.
pub(crate) fn scope<'a>(state: &'a StageState, place: Place<'a>) -> Scope<'a> {
    Scope {
        source: place.source,
        escape: place.escape,
        args: &state.args,
        env: &state.config.config.env,
    }
}

/// Begins a key with what every step builds on: the content below it.
pub(crate) fn key(kind: &str, layers: &[Layer]) -> KeyBuilder {
    let mut key = KeyBuilder::new(kind);
    key.list(layers.iter().map(|layer| layer.diff_id.hex()));
    key
}

impl Build<'_> {
    pub(crate) fn instruction(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        place: Place<'_>,
    ) -> Result<()> {
        let refused = |word: &Spanned, message: String| {
            BuildError::new(BuildErrorKind::Dockerfile, message)
                .at(place.source.location(word.range.clone()))
        };
        self.warn_unset(state, instruction, place)?;
        let created_by = match &instruction.kind {
            Kind::Run(run) => return self.run_step(state, instruction, run, place),
            Kind::Copy(copy) => return self.copy_step(state, instruction, copy, place),
            Kind::Workdir(path) => return self.workdir(state, instruction, path, place),
            Kind::Arg(args) => self.arg(state, args, place)?,
            Kind::Env(pairs) => {
                let pairs = expand_pairs(&scope(state, place), pairs)?;
                for (name, value) in &pairs {
                    config::set_env(&mut state.config.config.env, name, value);
                }
                format!("ENV {}", join_pairs(&pairs))
            }
            Kind::Label(pairs) => {
                let pairs = expand_pairs(&scope(state, place), pairs)?;
                state.config.config.labels.extend(pairs.iter().cloned());
                format!("LABEL {}", join_pairs(&pairs))
            }
            Kind::Cmd(command) => {
                let words = config::command(&state.config, command);
                let is_empty = matches!(command, Command::Shell(line) if line.is_empty());
                state.config.config.cmd = Some(if is_empty { Vec::new() } else { words.clone() });
                state.cmd_set = true;
                format!("CMD {words:?}")
            }
            Kind::Entrypoint(command) => {
                let words = config::command(&state.config, command);
                state.config.config.entrypoint = if words.is_empty() {
                    None
                } else {
                    Some(words.clone())
                };
                // Arguments for another program would make no sense.
                if !state.cmd_set {
                    state.config.config.cmd = None;
                }
                format!("ENTRYPOINT {words:?}")
            }
            Kind::Shell(words) => {
                state.config.config.shell.clone_from(words);
                format!("SHELL {words:?}")
            }
            Kind::Expose(args) => {
                let word = Spanned {
                    text: args.text.clone(),
                    range: args.range(0..args.text.len()),
                };
                let mut ports = Vec::new();
                for text in scope(state, place).words(&word)? {
                    ports.extend(config::ports(&text).map_err(|message| {
                        refused(&word, message)
                            .with_hint("write EXPOSE 8080, 8080/udp or 8000-8010")
                    })?);
                }
                state
                    .config
                    .config
                    .exposed_ports
                    .extend(ports.iter().cloned());
                format!("EXPOSE {}", ports.join(" "))
            }
            Kind::Volume(paths) => {
                let scope = scope(state, place);
                let paths = paths
                    .iter()
                    .map(|path| scope.expand(path))
                    .collect::<Result<Vec<_>>>()?;
                state.config.config.volumes.extend(paths.iter().cloned());
                format!("VOLUME {paths:?}")
            }
            Kind::User(word) => {
                let user = scope(state, place).expand(word)?;
                if user.is_empty() {
                    return Err(refused(
                        word,
                        format!(
                            "the user {} is empty once its variables are replaced",
                            word.text
                        ),
                    ));
                }
                state.config.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Kind::StopSignal(word) => {
                let signal = scope(state, place).expand(word)?;
                if !config::is_signal(&signal) {
                    return Err(refused(word, format!("'{signal}' is no signal"))
                        .with_hint("write a name such as SIGTERM, or a number"));
                }
                state.config.config.stop_signal = Some(signal.clone());
                format!("STOPSIGNAL {signal}")
            }
            Kind::Maintainer(word) => {
                state
                    .config
                    .extra
                    .insert("author".into(), word.text.clone().into());
                format!("MAINTAINER {}", word.text)
            }
            Kind::Healthcheck(check) => {
                state.config.config.healthcheck = Some(config::healthcheck(check));
                instruction.text.clone()
            }
            Kind::Onbuild(trigger) => {
                state.config.config.on_build.push(trigger.clone());
                return Ok(());
            }
        };
        let created = self.created();
        state
            .config
            .history
            .push(config::history(&created, created_by, true));
        Ok(())
    }

    /// Tells of variables that nothing sets: the build check `UndefinedVar`.
    fn warn_unset(
        &self,
        state: &StageState,
        instruction: &Instruction,
        place: Place<'_>,
    ) -> Result<()> {
        if !self.file.check.wants("UndefinedVar") {
            return Ok(());
        }
        for word in expanded_words(&instruction.kind) {
            let scope = scope(state, place);
            for name in expand::unset(&word.text, place.escape, &scope) {
                let known = state
                    .config
                    .config
                    .env
                    .iter()
                    .filter_map(|pair| pair.split_once('=').map(|(name, _)| name))
                    .chain(state.args.iter().map(|(name, _)| name.as_str()));
                let message = match did_you_mean(&name, known) {
                    Some(near) => format!(
                        "the variable ${name} is not set; did you mean ${near}? (UndefinedVar)"
                    ),
                    None => format!("the variable ${name} is not set (UndefinedVar)"),
                };
                let location = place.source.location(word.range.clone());
                if self.file.check.error {
                    return Err(BuildError::new(BuildErrorKind::Dockerfile, message).at(location));
                }
                self.report.warn(message, Some(location));
            }
        }
        Ok(())
    }

    fn arg(
        &self,
        state: &mut StageState,
        args: &[(Spanned, Option<Spanned>)],
        place: Place<'_>,
    ) -> Result<String> {
        let mut shown = Vec::new();
        for (name, default) in args {
            let name = scope(state, place).expand(name)?;
            self.used_args
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(name.clone());
            let default = match default {
                Some(default) => Some(scope(state, place).expand(default)?),
                None => None,
            };
            let global = || {
                self.plans
                    .global_args
                    .iter()
                    .rev()
                    .find(|(key, _)| *key == name)
                    .and_then(|(_, value)| value.clone())
            };
            let platform = || {
                self.platform_arguments(place.stage)
                    .into_iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value)
            };
            let value = given(self.request, &name)
                .cloned()
                .or(default)
                .or_else(global)
                .or_else(platform);
            match &value {
                Some(value) => {
                    shown.push(format!("{name}={value}"));
                    state.args.retain(|(key, _)| *key != name);
                    state.args.push((name, value.clone()));
                }
                None => shown.push(name),
            }
        }
        Ok(format!("ARG {}", shown.join(" ")))
    }

    fn workdir(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        word: &Spanned,
        place: Place<'_>,
    ) -> Result<()> {
        let path = scope(state, place).expand(word)?;
        if path.is_empty() {
            return Err(BuildError::new(
                BuildErrorKind::Dockerfile,
                format!(
                    "the folder {} is empty once its variables are replaced",
                    word.text
                ),
            )
            .at(place.source.location(word.range.clone())));
        }
        let path = config::working_dir(&state.config.config.working_dir, &path);
        state.config.config.working_dir.clone_from(&path);
        let mut key = key("workdir", &state.layers);
        key.field(path.as_bytes())
            .field(state.config.config.user.as_bytes())
            .field(self.epoch_field().as_bytes());
        let created_by = format!("WORKDIR {path}");
        self.layer_step(
            state,
            &key.key(),
            instruction,
            place,
            created_by,
            |build, state| {
                let user = state.config.config.user.clone();
                let owner = if user.is_empty() {
                    (0, 0)
                } else {
                    users::owner(&build.rootfs(&state.layers)?, &user)?
                };
                let entries =
                    copy::make_folder(&*build.listing(state)?, &path, owner, build.epoch)?;
                if entries.is_empty() {
                    return Ok(None);
                }
                let stored =
                    layer::store_layer(&build.workspace.store, build.form(place.stage), &entries)?;
                remember(state, entries);
                Ok(Some(stored))
            },
        )
    }

    pub(crate) fn epoch_field(&self) -> String {
        self.epoch
            .map(|epoch| epoch.to_string())
            .unwrap_or_default()
    }

    /// The content that a list of layers stands for.
    pub(crate) fn content_key(layers: &[Layer]) -> Digest {
        key("content", layers).key()
    }
}

/// The words of an instruction in which variables are replaced.
fn expanded_words(kind: &Kind) -> Vec<&Spanned> {
    match kind {
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().map(|pair| &pair.value).collect(),
        Kind::Arg(args) => args
            .iter()
            .filter_map(|(_, value)| value.as_ref())
            .collect(),
        Kind::Copy(copy) => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                CopySource::Path(word) => Some(word),
                CopySource::Heredoc(_) => None,
            })
            .chain([&copy.dest])
            .chain(&copy.chown)
            .chain(&copy.chmod)
            .collect(),
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => vec![word],
        Kind::Volume(words) => words.iter().collect(),
        _ => Vec::new(),
    }
}

/// Adds a new layer to what is known of a stage's files.
pub(crate) fn remember(state: &mut StageState, entries: layer::Entries) {
    if let Some(known) = &mut state.known {
        known.extend(entries);
    }
}

fn expand_pairs(scope: &Scope<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
    // All words of one instruction see the values from before it.
    let expand = |pair: &Pair| Ok((scope.expand(&pair.name)?, scope.expand(&pair.value)?));
    pairs.iter().map(expand).collect()
}

fn join_pairs(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}
