//! The embedded engine: from stage to stage and from step to step.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hoist_oci::spec::{Descriptor, ImageConfig};
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
use crate::layer::{self, Entries, Form, StoredLayer};
use crate::prune;
use crate::remote_cache::RemoteCache;
use crate::report::Reporter;
use crate::request::{BuildRequest, BuiltImage};
use crate::scope::{PROXIES, platform_arguments};
use crate::stages::{Origin, StagePlans};
use crate::stored::{Layer, layers_of, oci_layer, recompress, store_image};
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

/// Where an instruction stands: in the Dockerfile, or in a trigger of a base image.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub source: &'a SourceText,
    pub escape: char,
    pub stage: usize,
}

/// Images by name and platform; whoever holds the lock of one is looking for it.
type Images = Mutex<HashMap<(String, String), Arc<Mutex<Option<Image>>>>>;

/// One build. Its stages run in threads of their own, so that those that do not need each other run at once.
pub(crate) struct Build<'a> {
    pub workspace: &'a Workspace,
    pub request: &'a BuildRequest,
    pub file: &'a Dockerfile,
    pub plans: StagePlans,
    pub context: &'a Context,
    /// Folders of `--build-context`, by their names.
    pub folders: &'a HashMap<String, Context>,
    pub report: &'a Reporter,
    pub runtime: Handle,
    pub steps: Records,
    pub selections: Records,
    pub remote: RemoteCache,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
    pub images: Images,
    pub containers: Mutex<Option<Group>>,
    /// What each stage has come to. Whoever holds the lock of a stage builds it; all others wait.
    done: Vec<Mutex<Option<Arc<StageState>>>>,
    /// The number of each stage's next step.
    next: Vec<AtomicUsize>,
    total: AtomicUsize,
    steps_run: AtomicUsize,
    steps_cached: AtomicUsize,
    /// Steps that this build does or did itself, by their keys.
    ours: Mutex<HashSet<Digest>>,
    pub used_args: Mutex<Vec<String>>,
    /// What went wrong first.
    failure: Mutex<Option<BuildError>>,
}

/// Builds with this engine. Blocks; `runtime` is for pulls and containers.
pub(crate) fn build(
    workspace: &Workspace,
    request: &BuildRequest,
    report: &Reporter,
    runtime: Handle,
    reason: &str,
) -> Result<BuiltImage> {
    let _in_use = prune::in_use(workspace)?;
    let mut inputs = inputs(workspace, request)?;
    let plans = inputs.plans;
    if let Some((_, error)) = std::mem::take(&mut inputs.file.unsupported)
        .into_iter()
        .find(|(stage, _)| plans.stages[*stage].needed)
    {
        return Err(error);
    }
    for finding in &inputs.file.findings {
        report.warn(
            format!("{} ({})", finding.message, finding.rule),
            Some(inputs.file.source.location(finding.range.clone())),
        );
    }
    let mut first = 1;
    let mut next = Vec::new();
    for (stage, plan) in inputs.file.stages.iter().zip(&plans.stages) {
        next.push(AtomicUsize::new(first));
        if plan.needed {
            first += 1 + stage.instructions.iter().filter(|i| makes_layer(i)).count();
        }
    }
    let stage_count = plans.stages.len();
    let used_args = Mutex::new(plans.used_args.clone());
    let build = Build {
        workspace,
        request,
        file: &inputs.file,
        plans,
        context: &inputs.context,
        folders: &inputs.folders,
        report,
        runtime: runtime.clone(),
        steps: Records::new(workspace.cache("steps")),
        selections: Records::new(workspace.cache("selections")),
        remote: match &request.registry_cache {
            None => RemoteCache::default(),
            Some(at) => RemoteCache::open(workspace, &runtime, at).unwrap_or_else(|trouble| {
                report.warn(trouble, None);
                RemoteCache::default()
            }),
        },
        epoch: epoch(request)?,
        images: Mutex::default(),
        containers: Mutex::default(),
        done: (0..stage_count).map(|_| Mutex::default()).collect(),
        next,
        total: AtomicUsize::new(first - 1),
        steps_run: AtomicUsize::new(0),
        steps_cached: AtomicUsize::new(0),
        ours: Mutex::default(),
        used_args,
        failure: Mutex::default(),
    };
    let target = build.plans.target;
    let others =
        || (0..stage_count).filter(|index| *index != target && build.plans.stages[*index].needed);
    let last = std::thread::scope(|scope| {
        for index in others() {
            let build = &build;
            scope.spawn(move || drop(build.finished(index)));
        }
        build.finished(target)
    });
    let failure = build
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let state = match (last, failure) {
        (_, Some(failure)) => return Err(failure),
        (state, None) => state?,
    };
    build.warn_unused_args();
    inputs.context.save();
    build.finish((*state).clone(), inputs.digest, reason)
}

/// Whether an instruction counts as a step: it may make a layer.
fn makes_layer(instruction: &Instruction) -> bool {
    matches!(
        instruction.kind,
        Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_)
    )
}

impl Build<'_> {
    /// What a stage has come to; built here and now if nobody did, waited for if somebody does.
    pub(crate) fn finished(&self, index: usize) -> Result<Arc<StageState>> {
        let mut slot = self.done[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = &*slot {
            return Ok(Arc::clone(state));
        }
        self.report.check()?;
        match self.stage(index) {
            Ok(state) => Ok(Arc::clone(slot.insert(Arc::new(state)))),
            Err(error) => {
                // The first trouble is what people want to hear of; the others only say that they were stopped.
                self.report.stop();
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                if error.kind() != BuildErrorKind::Cancelled && failure.is_none() {
                    *failure = Some(error);
                    return Err(crate::report::cancelled());
                }
                Err(error)
            }
        }
    }

    fn stage(&self, index: usize) -> Result<StageState> {
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
    fn base(&self, index: usize) -> Result<StageState> {
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
                let mut state = (*self.finished(base)?).clone();
                state.cmd_set = false;
                // Arguments of a stage reach those that are based on it
                // (<https://docs.docker.com/build/building/variables/#scoping>).
                state
            }
            Origin::Folder(name) => {
                self.report.send(BuildEvent::StepStarted(step.clone()));
                let (layer, entries) = self.folder_layer(index, &name)?;
                self.report.send(BuildEvent::StepFinished {
                    step,
                    millis: millis(started),
                });
                let mut config = config::scratch(&platform);
                config.history.push(config::history(
                    &self.created(),
                    format!("FROM {name}"),
                    false,
                ));
                StageState {
                    config,
                    layers: vec![layer],
                    args: Vec::new(),
                    cmd_set: false,
                    known: Some(entries),
                }
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
    fn triggers(&self, state: &mut StageState, index: usize) -> Result<()> {
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
                self.total
                    .fetch_add(usize::from(makes_layer(instruction)), Ordering::Relaxed);
                self.instruction(state, instruction, place)
                    .map_err(|error| error.at(place.source.location(instruction.range.clone())))?;
            }
        }
        Ok(())
    }

    /// A folder of the command line as the only layer of an image.
    fn folder_layer(&self, stage: usize, name: &str) -> Result<(Layer, Entries)> {
        let folder = &self.folders[name];
        let selected = crate::select::select(folder, "/")?;
        let options = crate::copy::Options {
            dest: "/".into(),
            epoch: self.epoch,
            ..crate::copy::Options::default()
        };
        let plan = crate::copy::plan(
            &[(folder as &dyn Tree, selected)],
            &crate::listed::Listed {
                entries: Entries::new(),
            },
            &options,
            &self.workspace.cache("spool"),
        )?;
        let stored = layer::store_layer(&self.workspace.store, self.form(stage), &plan.entries)?;
        let layer = Layer {
            diff_id: stored.diff_id,
            blob: stored.blob,
        };
        Ok((layer, plan.entries))
    }

    /// How layers of a stage are stored: those that do not become layers of the image go nowhere, and need no table of contents.
    pub(crate) fn form(&self, stage: usize) -> Form<'_> {
        let mut part = self.plans.target;
        while part != stage {
            match self.plans.stages[part].origin {
                Origin::Stage(base) => part = base,
                _ => return self.request.compression.into(),
            }
        }
        self.request.form()
    }

    pub(crate) fn next_step(&self, stage: usize, text: &str) -> Step {
        Step {
            stage: self.plans.stages[stage].name.clone(),
            index: self.next[stage].fetch_add(1, Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
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
        &self,
        state: &mut StageState,
        key: &Digest,
        instruction: &Instruction,
        place: Place<'_>,
        created_by: String,
        make: impl FnOnce(&Self, &mut StageState) -> Result<Option<StoredLayer>>,
    ) -> Result<()> {
        let step = self.next_step(place.stage, &instruction.text);
        let history = |empty| config::history(&self.created(), created_by.clone(), empty);
        if let Some(found) = self.cached(key)? {
            state.known = if found.is_some() {
                None
            } else {
                state.known.take()
            };
            self.note(key, found.as_ref());
            state.config.history.push(history(found.is_none()));
            state.layers.extend(found);
            self.steps_cached.fetch_add(1, Ordering::Relaxed);
            self.report.send(BuildEvent::StepCached(step));
            return Ok(());
        }
        let started = Instant::now();
        let report = self.report;
        let text = &instruction.text;
        // Two stages may begin alike: then one does it for both, and that is nobody's business.
        let ours = !self
            .ours
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*key);
        let _lock = Lock::take(&self.workspace.cache("locks"), &key.hex(), || {
            if !ours {
                report.warn(
                    format!("another build is doing the same step; waiting for it: {text}"),
                    None,
                );
            }
        })?;
        // Whoever had the lock may have done it.
        if let Some(found) = self.cached(key)? {
            state.known = None;
            self.note(key, found.as_ref());
            state.config.history.push(history(found.is_none()));
            state.layers.extend(found);
            self.steps_cached.fetch_add(1, Ordering::Relaxed);
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
            let layer = Layer {
                diff_id: layer.diff_id,
                blob: layer.blob,
            };
            self.note(key, Some(&layer));
            state.layers.push(layer);
        } else {
            self.note(key, None);
        }
        self.steps_run.fetch_add(1, Ordering::Relaxed);
        self.report.send(BuildEvent::StepFinished {
            step,
            millis: millis(started),
        });
        Ok(())
    }

    fn note(&self, key: &Digest, layer: Option<&Layer>) {
        self.remote
            .note_step(key, layer.map(|layer| (&layer.diff_id, &layer.blob)));
    }

    /// A step's layer from the cache: `Some(None)` is a step that made none.
    fn cached(&self, key: &Digest) -> Result<Option<Option<Layer>>> {
        if self.request.no_cache {
            return Ok(None);
        }
        let record = match self.steps.get::<Record>(key) {
            Some(record) => record,
            None => match self.remote.step(key) {
                Some(record) => record,
                None => return Ok(None),
            },
        };
        self.steps.touch(key);
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
            let form = |blob: &Descriptor| Compression::of_media_type(&blob.media_type);
            let offered = self
                .remote
                .layer(diff_id)
                .filter(|blob| form(blob) == Some(self.request.compression));
            return Ok(offered.map(|blob| Layer {
                diff_id: *diff_id,
                blob,
            }));
        };
        let stored = recompress(self.workspace, form, &blob, self.request.compression.into())?;
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
            if !self.workspace.store.has(&layer.blob.digest)
                && self.workspace.snapshots.existing(&layer.diff_id).is_none()
            {
                self.remote
                    .fetch(&self.runtime, self.workspace, &layer.blob)?;
            }
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

    /// The time that config and history carry: one that does not differ from build to build.
    pub(crate) fn created(&self) -> String {
        config::rfc3339(self.epoch.unwrap_or(0))
    }

    /// The images that stages were built from, sorted by name.
    fn bases(&self) -> Vec<(String, Digest)> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bases: Vec<_> = images
            .iter()
            .filter_map(|((name, _), image)| {
                let image = image.lock().unwrap_or_else(PoisonError::into_inner);
                image
                    .as_ref()
                    .map(|image| (name.clone(), image.descriptor.digest))
            })
            .collect();
        bases.sort();
        bases
    }

    fn warn_unused_args(&self) {
        let used = self
            .used_args
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, _) in &self.request.build_args {
            if !used.contains(name)
                && !PROXIES.contains(&name.as_str())
                && name != "SOURCE_DATE_EPOCH"
                && !name.starts_with("BUILDKIT_")
            {
                self.report
                    .warn(format!("the build argument {name} is used by no ARG"), None);
            }
        }
    }

    /// Writes config and manifest.
    fn finish(&self, mut state: StageState, inputs: Digest, reason: &str) -> Result<BuiltImage> {
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
        let caches = match &self.request.registry_cache {
            None => Vec::new(),
            Some(at) => {
                let absent = state
                    .layers
                    .iter()
                    .filter(|layer| !at.lazy && !self.workspace.store.has(&layer.blob.digest));
                for layer in absent {
                    self.remote
                        .fetch(&self.runtime, self.workspace, &layer.blob)?;
                }
                vec![(at.reference.clone(), self.remote.store(self.workspace)?)]
            }
        };
        let layers = state
            .layers
            .iter()
            .map(|layer| oci_layer(&layer.blob))
            .collect();
        let (manifest, config_digest) = store_image(
            self.workspace,
            &state.config,
            layers,
            &platform,
            &self.request.annotations,
        )?;
        Ok(BuiltImage {
            manifest,
            config_digest,
            platform,
            inputs,
            bases: self.bases(),
            caches,
            steps_run: self.steps_run.load(Ordering::Relaxed),
            steps_cached: self.steps_cached.load(Ordering::Relaxed),
            engine: "embedded",
            engine_reason: reason.into(),
        })
    }
}

pub(crate) fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
