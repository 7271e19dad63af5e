//! The embedded engine: from stage to stage and from step to step.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use hoist_oci::{Compression, Digest, Image};
use tokio::runtime::Handle;

use crate::cache::{Lock, Record, Records};
use crate::config;
use crate::container::Group;
use crate::context::Context;
use crate::dockerfile::instruction::{Dockerfile, Instruction, Kind};
use crate::dockerfile::lines::SourceText;
use crate::dockerfile::parser;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::event::{BuildEvent, Step};
use crate::inputs::{epoch, inputs};
use crate::layer::{self, Entries, StoredLayer};
use crate::report::Reporter;
use crate::request::{BuildRequest, BuiltImage};
use crate::scope::{PROXIES, platform_arguments};
use crate::stages::{Origin, StagePlans};
use crate::tree::{Rootfs, Tree};
use crate::workspace::Workspace;

/// What a stage has come to.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    pub config: ImageConfig,
    pub layers: Vec<Layer>,
    /// `ARG`s with a value, in their order.
    pub args: Vec<(String, String)>,
    /// `CMD` was given in this stage, so that `ENTRYPOINT` leaves it alone.
    pub cmd_set: bool,
    /// All files, as long as this process made every layer itself: nothing needs to be unpacked to look at them.
    pub known: Option<Entries>,
}

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub diff_id: Digest,
    pub blob: Descriptor,
}

/// Where an instruction stands: in the Dockerfile, or in a trigger of a base image.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub source: &'a SourceText,
    pub escape: char,
    pub stage: usize,
}

/// One build.
pub(crate) struct Build<'a> {
    pub workspace: &'a Workspace,
    pub request: &'a BuildRequest,
    pub file: &'a Dockerfile,
    pub plans: StagePlans,
    pub context: &'a Context,
    pub report: &'a Reporter,
    pub runtime: Handle,
    pub steps: Records,
    pub selections: Records,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
    pub images: HashMap<(String, String), Image>,
    pub containers: Option<Group>,
    done: Vec<Option<StageState>>,
    step: usize,
    total: usize,
    steps_run: usize,
    steps_cached: usize,
    pub used_args: Vec<String>,
}

/// Builds with this engine. Blocks; `runtime` is for pulls and containers.
pub(crate) fn build(
    workspace: &Workspace,
    request: &BuildRequest,
    report: &Reporter,
    runtime: Handle,
    reason: &str,
) -> Result<BuiltImage> {
    let mut inputs = inputs(workspace, request)?;
    let plans = inputs.plans;
    if let Some((_, error)) = std::mem::take(&mut inputs.file.unsupported)
        .into_iter()
        .find(|(stage, _)| plans.stages[*stage].needed)
    {
        return Err(error);
    }
    let layered = |instruction: &Instruction| {
        matches!(
            instruction.kind,
            Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_)
        )
    };
    let needed = || {
        inputs
            .file
            .stages
            .iter()
            .zip(&plans.stages)
            .filter(|(_, plan)| plan.needed)
    };
    let total = needed()
        .map(|(stage, _)| 1 + stage.instructions.iter().filter(|i| layered(i)).count())
        .sum();
    let stage_count = plans.stages.len();
    let used_args = plans.used_args.clone();
    let mut build = Build {
        workspace,
        request,
        file: &inputs.file,
        plans,
        context: &inputs.context,
        report,
        runtime,
        steps: Records::new(workspace.cache("steps")),
        selections: Records::new(workspace.cache("selections")),
        epoch: epoch(request)?,
        images: HashMap::new(),
        containers: None,
        done: (0..stage_count).map(|_| None).collect(),
        step: 0,
        total,
        steps_run: 0,
        steps_cached: 0,
        used_args,
    };
    for index in 0..stage_count {
        if build.plans.stages[index].needed {
            let state = build.stage(index)?;
            build.done[index] = Some(state);
        }
    }
    build.warn_unused_args();
    inputs.context.save();
    let target = build.plans.target;
    let state = build.done[target].take().expect("the target was built");
    build.finish(state, inputs.digest, reason)
}

impl Build<'_> {
    fn stage(&mut self, index: usize) -> Result<StageState> {
        let file = self.file;
        let stage = &file.stages[index];
        let place = Place {
            source: &file.source,
            escape: file.escape,
            stage: index,
        };
        let mut state = self.base(index).map_err(|error| {
            error.at(place
                .source
                .location(self.plans.stages[index].origin_word.range.clone()))
        })?;
        self.triggers(&mut state, index)?;
        for instruction in &stage.instructions {
            self.report.check()?;
            self.instruction(&mut state, instruction, place)
                .map_err(|error| error.at(place.source.location(instruction.range.clone())))?;
        }
        Ok(state)
    }

    /// What a stage starts with.
    fn base(&mut self, index: usize) -> Result<StageState> {
        let plan = &self.plans.stages[index];
        let (origin, platform) = (plan.origin.clone(), plan.platform.clone());
        let step = self.next_step(index, &self.file.stages[index].text);
        let started = Instant::now();
        let mut state = match origin {
            Origin::Scratch => {
                self.report.send(BuildEvent::StepCached(step));
                StageState {
                    config: config::scratch(&platform),
                    layers: Vec::new(),
                    args: Vec::new(),
                    cmd_set: false,
                    known: Some(Entries::new()),
                }
            }
            Origin::Stage(base) => {
                self.report.send(BuildEvent::StepCached(step));
                let mut state = self.done[base]
                    .clone()
                    .expect("a needed stage is built before those that need it");
                state.cmd_set = false;
                state
            }
            Origin::Image(name) => {
                self.report.send(BuildEvent::StepStarted(step.clone()));
                let image = self.image(&name, &platform)?;
                self.report.send(BuildEvent::StepFinished {
                    step,
                    millis: millis(started),
                });
                let layers = layers_of(&image)?;
                let mut config = image.config;
                config::complete(&mut config);
                StageState {
                    config,
                    layers,
                    args: Vec::new(),
                    cmd_set: false,
                    known: None,
                }
            }
        };
        state.config.extra.shift_remove("author");
        Ok(state)
    }

    /// Runs what the base image asks its heirs to run.
    fn triggers(&mut self, state: &mut StageState, index: usize) -> Result<()> {
        let triggers = std::mem::take(&mut state.config.config.on_build);
        for trigger in triggers {
            let name = PathBuf::from(format!(
                "{} (ONBUILD)",
                self.plans.stages[index].origin_word.text
            ));
            let parsed = parser::parse(&name, format!("FROM scratch\n{trigger}\n"))?;
            if let Some((_, error)) = parsed.unsupported.into_iter().next() {
                return Err(error);
            }
            let place = Place {
                source: &parsed.source,
                escape: parsed.escape,
                stage: index,
            };
            for instruction in &parsed.stages[0].instructions {
                self.total += usize::from(matches!(
                    instruction.kind,
                    Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_)
                ));
                self.instruction(state, instruction, place)
                    .map_err(|error| error.at(place.source.location(instruction.range.clone())))?;
            }
        }
        Ok(())
    }

    pub(crate) fn next_step(&mut self, stage: usize, text: &str) -> Step {
        self.step += 1;
        Step {
            stage: self.plans.stages[stage].name.clone(),
            index: self.step,
            total: self.total,
            text: text.into(),
        }
    }

    /// The platform arguments as a stage sees them.
    pub(crate) fn platform_arguments(&self, stage: usize) -> Vec<(String, String)> {
        let target = &self.file.stages[self.plans.target];
        let _ = stage;
        platform_arguments(
            &self.request.platform,
            target.from.name.as_deref().unwrap_or_default(),
        )
    }

    /// Does a step that makes a layer, unless its result is in the cache.
    pub(crate) fn layer_step(
        &mut self,
        state: &mut StageState,
        key: &Digest,
        instruction: &Instruction,
        place: Place<'_>,
        created_by: String,
        make: impl FnOnce(&mut Self, &mut StageState) -> Result<Option<StoredLayer>>,
    ) -> Result<()> {
        let step = self.next_step(place.stage, &instruction.text);
        let history = |empty| config::history(&self.created(), created_by.clone(), empty);
        if let Some(found) = self.cached(key)? {
            state.known = if found.is_some() {
                None
            } else {
                state.known.take()
            };
            state.config.history.push(history(found.is_none()));
            state.layers.extend(found);
            self.steps_cached += 1;
            self.report.send(BuildEvent::StepCached(step));
            return Ok(());
        }
        let started = Instant::now();
        let report = self.report;
        let text = &instruction.text;
        let _lock = Lock::take(&self.workspace.cache("locks"), &key.hex(), || {
            report.warn(
                format!("another build is doing the same step; waiting for it: {text}"),
                None,
            );
        })?;
        // Whoever had the lock may have done it.
        if let Some(found) = self.cached(key)? {
            state.known = None;
            state.config.history.push(history(found.is_none()));
            state.layers.extend(found);
            self.steps_cached += 1;
            self.report.send(BuildEvent::StepCached(step));
            return Ok(());
        }
        self.report.send(BuildEvent::StepStarted(step.clone()));
        let history = config::history(&self.created(), created_by, false);
        let made = make(self, state)?;
        self.steps.put(
            key,
            &Record {
                diff_id: made.as_ref().map(|layer| layer.diff_id),
            },
        )?;
        state.config.history.push(hoist_oci::spec::History {
            empty_layer: made.is_none(),
            ..history
        });
        if let Some(layer) = made {
            if layer.fresh {
                self.report.send(BuildEvent::LayerStored {
                    digest: layer.blob.digest,
                    size: layer.blob.size,
                });
            }
            state.layers.push(Layer {
                diff_id: layer.diff_id,
                blob: layer.blob,
            });
        }
        self.steps_run += 1;
        self.report.send(BuildEvent::StepFinished {
            step,
            millis: millis(started),
        });
        Ok(())
    }

    /// A step's layer from the cache: `Some(None)` is a step that made none.
    fn cached(&self, key: &Digest) -> Result<Option<Option<Layer>>> {
        if self.request.no_cache {
            return Ok(None);
        }
        let Some(record) = self.steps.get::<Record>(key) else {
            return Ok(None);
        };
        let Some(diff_id) = record.diff_id else {
            return Ok(Some(None));
        };
        Ok(self.layer(&diff_id)?.map(Some))
    }

    /// A layer of the store in the form that is asked for; made from another form if only that is there.
    fn layer(&self, diff_id: &Digest) -> Result<Option<Layer>> {
        let failed = |error| {
            BuildError::from_source(
                BuildErrorKind::Io,
                format!("look up the layer {diff_id}"),
                error,
            )
        };
        let store = &self.workspace.store;
        let forms = store.layer_forms(diff_id).map_err(failed)?;
        if let Some((_, blob)) = forms
            .iter()
            .find(|(form, _)| *form == self.request.compression)
        {
            return Ok(Some(Layer {
                diff_id: *diff_id,
                blob: blob.clone(),
            }));
        }
        let Some((form, blob)) = forms.into_iter().next() else {
            return Ok(None);
        };
        let stored = recompress(self.workspace, form, &blob, self.request.compression)?;
        Ok((stored.diff_id == *diff_id).then_some(Layer {
            diff_id: *diff_id,
            blob: stored.blob,
        }))
    }

    /// The files of a stage, for reading them: its layers are unpacked.
    pub(crate) fn rootfs(&self, layers: &[Layer]) -> Result<Rootfs> {
        let mut folders = Vec::new();
        for layer in layers.iter().rev() {
            self.report.check()?;
            let folder = self
                .workspace
                .snapshots
                .layer_dir(&self.workspace.store, &layer.blob, &layer.diff_id)
                .map_err(|error| {
                    BuildError::from_source(
                        BuildErrorKind::Image,
                        format!("unpack the layer {}", layer.blob.digest),
                        error,
                    )
                })?;
            folders.push(folder);
        }
        Ok(Rootfs { layers: folders })
    }

    /// The files of a stage, for looking at names and attributes.
    pub(crate) fn listing(&self, state: &StageState) -> Result<Box<dyn Tree>> {
        match &state.known {
            Some(entries) => Ok(Box::new(crate::listed::Listed {
                entries: entries.clone(),
            })),
            None => Ok(Box::new(self.rootfs(&state.layers)?)),
        }
    }

    /// A finished earlier stage.
    pub(crate) fn finished(&self, stage: usize) -> &StageState {
        self.done[stage]
            .as_ref()
            .expect("a needed stage is built before those that need it")
    }

    /// The time that config and history carry: one that does not differ from build to build.
    pub(crate) fn created(&self) -> String {
        config::rfc3339(self.epoch.unwrap_or(0))
    }

    fn warn_unused_args(&self) {
        const KNOWN: [&str; 2] = ["SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE"];
        for (name, _) in &self.request.build_args {
            if !self.used_args.contains(name)
                && !PROXIES.contains(&name.as_str())
                && !KNOWN.contains(&name.as_str())
            {
                self.report
                    .warn(format!("the build argument {name} is used by no ARG"), None);
            }
        }
    }

    /// Writes config and manifest.
    fn finish(
        &mut self,
        mut state: StageState,
        inputs: Digest,
        reason: &str,
    ) -> Result<BuiltImage> {
        for (name, value) in &self.request.labels {
            state
                .config
                .config
                .labels
                .insert(name.clone(), value.clone());
        }
        state.config.created = Some(self.created());
        state.config.rootfs.diff_ids = state.layers.iter().map(|layer| layer.diff_id).collect();
        let platform = self.plans.stages[self.plans.target].platform.clone();
        let layers = state
            .layers
            .iter()
            .map(|layer| oci_layer(&layer.blob))
            .collect();
        let (manifest, config_digest) =
            store_image(self.workspace, &state.config, layers, &platform)?;
        Ok(BuiltImage {
            manifest,
            config_digest,
            platform,
            inputs,
            steps_run: self.steps_run,
            steps_cached: self.steps_cached,
            engine: "embedded",
            engine_reason: reason.into(),
        })
    }
}

/// Docker's media types have OCI names; the blobs are the same.
fn oci_layer(blob: &Descriptor) -> Descriptor {
    let mut blob = blob.clone();
    if let Some(form) = Compression::of_media_type(&blob.media_type).filter(|_| !blob.is_foreign())
    {
        blob.media_type = form.media_type().into();
    }
    blob
}

/// Stores a config and its manifest.
pub(crate) fn store_image(
    workspace: &Workspace,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    platform: &Platform,
) -> Result<(Descriptor, Digest)> {
    let json = |error| BuildError::io("write the image", std::io::Error::from(error));
    let put = |bytes: &[u8]| {
        workspace
            .store
            .put(bytes)
            .map_err(|error| BuildError::from_source(BuildErrorKind::Io, "store the image", error))
    };
    let config = serde_json::to_vec(config).map_err(json)?;
    let config_digest = put(&config)?;
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
    let manifest = serde_json::to_vec(&manifest).map_err(json)?;
    put(&manifest)?;
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
    descriptor.platform = Some(platform.clone());
    Ok((descriptor, config_digest))
}

pub(crate) fn recompress(
    workspace: &Workspace,
    form: Compression,
    blob: &Descriptor,
    wanted: Compression,
) -> Result<StoredLayer> {
    let store = &workspace.store;
    layer::store_archive(store, wanted, |out| {
        let failed = |error| BuildError::io(format!("read the layer {}", blob.digest), error);
        let file = store.open_blob(&blob.digest).map_err(|error| {
            BuildError::from_source(
                BuildErrorKind::Io,
                format!("open the layer {}", blob.digest),
                error,
            )
        })?;
        let mut archive = form.decoder(file).map_err(failed)?;
        std::io::copy(&mut archive, out).map_err(failed)?;
        Ok(())
    })
}

pub(crate) fn layers_of(image: &Image) -> Result<Vec<Layer>> {
    let (blobs, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    if blobs.len() != diff_ids.len() {
        return Err(BuildError::new(
            BuildErrorKind::Image,
            format!(
                "the image {} is damaged: its manifest has {} layers, its config {}",
                image.descriptor.digest,
                blobs.len(),
                diff_ids.len()
            ),
        ));
    }
    Ok(blobs
        .iter()
        .zip(diff_ids)
        .map(|(blob, diff_id)| Layer {
            diff_id: *diff_id,
            blob: blob.clone(),
        })
        .collect())
}

pub(crate) fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
