//! From the source to an image in the repository: hook, build, test, push; or the image that is there already.

mod beside;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hoist_aws::Client;
use hoist_image::{
    BuildError, BuildEvent, BuildRequest, BuiltImage, NamedContext, RegistryCache, Secret,
    SecretSource, Workspace,
};
use hoist_oci::{
    Compression, Digest, EarlyUploads, ExistingTag, How, ImageRef, Progress, ProgressEvent,
    PushOptions, Registry, RegistryError, RegistryOptions,
};
use hoist_project::{Project, Source};

use crate::cancel::Cancel;
use crate::ecr::{self, Repository};
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::hook;
use crate::plan::ImagePlan;
use crate::waits;

/// The tag of the cache of steps in a repository.
const CACHE_TAG: &str = "hoist-cache";

/// Hexadecimal digits of the inputs digest in its tag.
const INPUTS_DIGITS: usize = 32;

/// An image that the registry holds.
#[derive(Clone, Debug)]
pub struct Published {
    /// `repository@sha256:...`, what the task definition carries.
    pub reference: String,
    /// The commit's tag.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// Whether an image of the same inputs was there already.
    pub reused: bool,
}

/// How images are built, beyond what hoist.yaml says.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Which engine builds.
    pub engine: Option<hoist_image::Engine>,
    /// Where BuildKit is, over hoist.yaml: an address, or the name of a builder of buildx.
    pub builder: Option<String>,
    /// The folder with this machine's certificates for that address.
    pub builder_certs: Option<PathBuf>,
    /// Whether every step runs again.
    pub no_cache: bool,
    /// Build arguments over those of hoist.yaml.
    pub build_args: Vec<(String, String)>,
    /// The stage to build, over that of hoist.yaml.
    pub target: Option<String>,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
    /// Secrets that steps may mount.
    pub secrets: Vec<hoist_image::Secret>,
    /// Agents that steps may mount: ids and sockets.
    pub ssh: Vec<(String, PathBuf)>,
    /// Named contexts.
    pub contexts: Vec<(String, hoist_image::NamedContext)>,
    /// A shell where a step fails.
    pub debug_shell: bool,
    /// Whether the cache of steps is kept in the repository too.
    pub registry_cache: bool,
    /// Whether a list of the image's packages is attached to it.
    pub sbom: bool,
    /// Whether it is attached how the image came to be.
    pub provenance: bool,
    /// What the image is for, over hoist.yaml; several make an index.
    pub platforms: Vec<hoist_oci::spec::Platform>,
    /// Whether the image gets a SOCI index.
    pub soci: bool,
    /// The private key that signs the image in the repository.
    pub sign: Option<PathBuf>,
    /// The program that becomes a container's first process.
    pub init_program: PathBuf,
}

/// What the image steps work with.
pub struct Builder<'a> {
    /// The project.
    pub project: &'a Project,
    /// Store and cache of the engine.
    pub workspace: &'a Workspace,
    /// Options of this run.
    pub options: &'a BuildOptions,
    /// The event stream.
    pub events: &'a Events,
    /// The signal to stop.
    pub cancel: &'a Cancel,
}

impl Builder<'_> {
    /// What the engine is asked for; `target` overrides that of hoist.yaml.
    fn request(&self, target: Option<&str>) -> Result<BuildRequest, Failure> {
        let image = &self.project.image;
        let mut request = BuildRequest::new(self.project.context());
        request.dockerfile = PathBuf::from(&image.dockerfile);
        request.target = target
            .or(self.options.target.as_deref())
            .or(image.target.as_deref())
            .map(str::to_owned);
        request.labels.clone_from(&self.options.labels);
        request.annotations.clone_from(&self.options.annotations);
        request.secrets = self.secrets()?;
        request.ssh.clone_from(&self.options.ssh);
        request.contexts = self.contexts();
        request.debug_shell = self.options.debug_shell;
        request.build_args = image
            .build_args
            .iter()
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect();
        request
            .build_args
            .extend(self.options.build_args.iter().cloned());
        let mut platforms = self.options.platforms.clone();
        if platforms.is_empty() {
            for platform in &image.platforms {
                platforms.push(platform.as_str().parse().map_err(|error| {
                    Failure::because(
                        Kind::Configuration,
                        "failed to read `image: { platforms }`",
                        &error,
                    )
                })?);
            }
        }
        if !platforms.is_empty() {
            request.platform = platforms.remove(0);
            request.more_platforms = platforms;
        }
        request.no_cache = self.options.no_cache;
        request.engine = self.options.engine.unwrap_or_else(|| engine(image.engine));
        let address = self.options.builder.as_ref().or(image.builder.as_ref());
        request.builder = address.map(|address| hoist_image::Builder {
            address: address.clone(),
            certificates: self.options.builder_certs.clone(),
        });
        request.compression = compression(image.compression);
        request.soci = self.options.soci || image.soci;
        request.registry = RegistryOptions {
            mirrors: self.project.mirrors.clone(),
            ..RegistryOptions::default()
        };
        request.init_program = self.options.init_program.clone();
        Ok(request)
    }

    /// Secrets of hoist.yaml, and those of the command line over them.
    fn secrets(&self) -> Result<Vec<Secret>, Failure> {
        let mut secrets = Vec::new();
        for text in &self.project.image.secrets {
            let mut secret: Secret = text.parse().map_err(|why: String| {
                let what = format!("failed to read the secret `{text}` of `image: {{ secrets }}`");
                Failure::new(Kind::Configuration, format!("{what}: {why}"))
            })?;
            if let SecretSource::File(path) = &mut secret.source {
                *path = self.project.root.join(&*path);
            }
            secrets.push(secret);
        }
        let ours = &self.options.secrets;
        secrets.retain(|known| ours.iter().all(|secret| secret.id != known.id));
        secrets.extend(ours.iter().cloned());
        Ok(secrets)
    }

    /// Named contexts of hoist.yaml, and those of the command line over them.
    fn contexts(&self) -> Vec<(String, NamedContext)> {
        let root = &self.project.root;
        let read = |text: &String| match text.parse() {
            Ok(NamedContext::Folder(folder)) => NamedContext::Folder(root.join(folder)),
            Ok(NamedContext::Layout(folder, tag)) => NamedContext::Layout(root.join(folder), tag),
            Ok(image) => image,
            Err(never) => match never {},
        };
        let configured = self.project.image.contexts.iter();
        let configured = configured.map(|(name, text)| (name.clone(), read(text)));
        configured
            .chain(self.options.contexts.iter().cloned())
            .collect()
    }

    /// Runs the hook and tells the digest of everything the image is built from.
    ///
    /// # Errors
    /// The hook failed, or the context or the Dockerfile cannot be read.
    pub async fn inputs(&self) -> Result<Digest, Failure> {
        self.hook().await?;
        let request = self.request(None)?;
        let work = async {
            hoist_image::inputs_digest(self.workspace, &request)
                .await
                .map_err(|error| build_failure("failed to build the image", &error))
        };
        self.cancel.or(work).await
    }

    /// Runs the hook on this machine, if hoist.yaml names one.
    ///
    /// # Errors
    /// `Build` if it fails; cancellation.
    pub async fn hook(&self) -> Result<(), Failure> {
        match &self.project.image.before {
            Some(command) => hook::run(command, &self.project.root, self.cancel, self.events).await,
            None => Ok(()),
        }
    }

    /// Builds the image and runs its tests.
    ///
    /// # Errors
    /// `Build` or `Test`; cancellation.
    pub async fn build(&self) -> Result<BuiltImage, Failure> {
        self.build_with(None, None).await
    }

    async fn build_with(
        &self,
        cache: Option<RegistryCache>,
        early: Option<EarlyUploads>,
    ) -> Result<BuiltImage, Failure> {
        let step = self
            .events
            .start(Step::Build, format!("build {}", self.project.repository()));
        let image = self.run_build(Step::Build, None, cache, early).await?;
        step.finish(format!(
            "{} by the {} engine, {} steps run, {} cached",
            image.manifest.digest.short(),
            image.engine,
            image.steps_run,
            image.steps_cached
        ));
        self.test(&image).await?;
        Ok(image)
    }

    async fn run_build(
        &self,
        step: Step,
        target: Option<&str>,
        cache: Option<RegistryCache>,
        early: Option<EarlyUploads>,
    ) -> Result<BuiltImage, Failure> {
        let mut request = self.request(target)?;
        request.registry_cache = cache;
        request.early = early;
        let say = |event: BuildEvent| self.say(step, event);
        let work = async {
            hoist_image::build(self.workspace, &request, &say)
                .await
                .map_err(|error| build_failure("failed to build the image", &error))
        };
        self.cancel.or(work).await
    }

    async fn test(&self, image: &BuiltImage) -> Result<(), Failure> {
        let Some(test) = &self.project.image.test else {
            return Ok(());
        };
        if let Some(target) = &test.target {
            let step = self
                .events
                .start(Step::Test, format!("build the target {target}"));
            self.run_build(Step::Test, Some(target), None, None)
                .await
                .map_err(|mut failure| {
                    if failure.kind == Kind::Build {
                        failure.kind = Kind::Test;
                    }
                    failure
                })?;
            step.finish(format!("the target {target} passed"));
        }
        if let Some(command) = &test.command {
            let step = self.events.start(Step::Test, command.to_string());
            let last = Mutex::new(Vec::new());
            let say = |event: BuildEvent| {
                if let BuildEvent::Output { line, .. } = &event {
                    last.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line.clone());
                }
                self.say(Step::Test, event);
            };
            let (arguments, request) = (command.to_args(), self.request(None)?);
            let work = async {
                hoist_image::run(self.workspace, &request, image, &arguments, &[], &say)
                    .await
                    .map_err(|error| build_failure("failed to run the test", &error))
            };
            let code = self.cancel.or(work).await?;
            if code != 0 {
                let lines = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                return Err(Failure::new(
                    Kind::Test,
                    format!("the test `{command}` exited with {code}"),
                )
                .detail(lines[lines.len().saturating_sub(20)..].join("\n"))
                .hint("nothing was pushed"));
            }
            step.finish("passed");
        }
        Ok(())
    }

    /// The image of the same inputs, if the repository has it; it gets this commit's tag.
    async fn reuse(
        &self,
        repository: &Repository,
        inputs_tag: &str,
        tag: &str,
    ) -> Result<Option<Published>, Failure> {
        let name = self.project.repository();
        let (registry, target) = (registry(repository, self.events), target(repository)?);
        let known = ImageRef {
            tag: Some(inputs_tag.to_owned()),
            ..target.clone()
        };
        let work = async {
            let Some(found) = registry.head(&known).await? else {
                return Ok(None);
            };
            let known = ImageRef {
                tag: None,
                digest: Some(found.digest),
                ..target.clone()
            };
            registry.put_tag(&known, tag, ExistingTag::Refuse).await?;
            Ok(Some(found))
        };
        let work = async {
            work.await
                .map_err(|error: RegistryError| push_failure(name, &error))
        };
        let Some(found) = self.cancel.or(work).await? else {
            return Ok(None);
        };
        let step = self
            .events
            .start(Step::Build, "look for an image of the same inputs");
        step.skip(format!(
            "{} was built from the same inputs",
            found.digest.short()
        ));
        let reference = format!("{}@{}", repository.uri, found.digest);
        Ok(Some(Published {
            reference,
            tag: tag.to_owned(),
            digest: found.digest,
            reused: true,
        }))
    }

    fn say(&self, step: Step, event: BuildEvent) {
        match event {
            BuildEvent::Engine { name, why } => {
                self.events.note(step, format!("engine {name}: {why}"))
            }
            BuildEvent::StepStarted(at) => self
                .events
                .note(step, format!("[{}/{}] {}", at.index, at.total, at.text)),
            BuildEvent::StepCached(at) => self.events.note(
                step,
                format!("[{}/{}] {} (cached)", at.index, at.total, at.text),
            ),
            BuildEvent::Output { line, .. } => self.events.emit(Event::Output { step, line }),
            BuildEvent::Pulling {
                digest,
                received,
                size,
            } => {
                self.events.emit(Event::Transfer {
                    digest: digest.to_string(),
                    done: received,
                    size,
                });
            }
            BuildEvent::Warning { message, location } => match location {
                Some(location) => self.events.warn(step, format!("{location}: {message}")),
                None => self.events.warn(step, message),
            },
            _ => {}
        }
    }

    /// What [`Builder::publish`] would do, without doing more than running the hook.
    ///
    /// # Errors
    /// The hook failed, the context cannot be read, or AWS refused a call.
    pub async fn planned(&self, aws: &Client) -> Result<ImagePlan, Failure> {
        let inputs = self.inputs().await?;
        let name = self.project.repository();
        let Some(repository) = self.cancel.or(ecr::find(aws, name)).await? else {
            let why = format!("the repository {name} does not exist yet");
            return Ok(ImagePlan::to_build(name, why));
        };
        let tag = inputs_tag(&inputs);
        let known = ImageRef {
            tag: Some(tag.clone()),
            ..target(&repository)?
        };
        let registry = registry(&repository, self.events);
        let look = async {
            registry
                .head(&known)
                .await
                .map_err(|error| push_failure(name, &error))
        };
        let found = self.cancel.or(look).await?;
        Ok(match found {
            _ if self.options.no_cache => {
                ImagePlan::to_build(&repository.uri, "--no-cache asks for it".to_owned())
            }
            Some(found) => ImagePlan {
                built: false,
                why: format!("{} was built from the same inputs", found.digest.short()),
                reference: format!("{}@{}", repository.uri, found.digest),
            },
            None => ImagePlan::to_build(
                &repository.uri,
                format!("{name} has no image of these inputs ({tag})"),
            ),
        })
    }

    /// Has the image in the repository: the one of the same inputs if it is there, else a fresh build that passed its tests.
    ///
    /// # Errors
    /// Any end of build, test and push.
    pub async fn publish(&self, aws: &Client, source: &Source) -> Result<Published, Failure> {
        let inputs = self.inputs().await?;
        let name = self.project.repository();
        let found = self.cancel.or(ecr::find(aws, name)).await?;
        let tag = source.tag(&inputs.to_string());
        let inputs_tag = inputs_tag(&inputs);
        let key = match &self.options.sign {
            None => None,
            Some(path) => Some(crate::image_push::signing_key(path)?),
        };
        if let Some(repository) = &found
            && !self.options.no_cache
            && let Some(published) = self.reuse(repository, &inputs_tag, &tag).await?
        {
            if let Some(key) = &key {
                self.sign(repository, &published.digest, key).await?;
            }
            return Ok(published);
        }

        let cache = match &found {
            Some(repository) if self.options.registry_cache => Some(RegistryCache {
                registry: registry(repository, self.events).options().clone(),
                reference: target(repository)?.with_tag(CACHE_TAG),
                // A test that runs in the image needs all of it, and a list of its packages too.
                lazy: self.project.image.test.is_none() && !self.options.sbom,
            }),
            _ => None,
        };
        // Layers of a repository that exists travel while they are compressed. Nothing names them before the tests have passed.
        let early = match &found {
            None => None,
            Some(found) => Some(EarlyUploads::new(
                registry(found, self.events),
                self.workspace.store.clone(),
                target(found)?,
            )),
        };
        let mut image = self.build_with(cache, early.clone()).await?;
        // What its provenance says is what its tag says: with what names of the outside meant when it was decided to build.
        image.inputs = inputs;
        let repository = match found {
            Some(repository) => repository,
            None => {
                let create = self.project.image.create_repository;
                self.cancel
                    .or(ecr::create(
                        aws,
                        name,
                        &self.project.app,
                        create,
                        self.events,
                    ))
                    .await?
            }
        };
        let (registry, target) = (registry(&repository, self.events), target(&repository)?);
        let step = self
            .events
            .start(Step::Push, format!("{}:{tag}", repository.uri));
        let watch = Watch::new(self.events);
        let work = async {
            let options = PushOptions {
                tags: vec![tag.clone(), inputs_tag],
                sent_early: match &early {
                    Some(early) => early.ended().await,
                    None => BTreeSet::new(),
                },
                ..PushOptions::default()
            };
            registry
                .push(
                    &self.workspace.store,
                    &image.manifest,
                    &target,
                    &options,
                    &watch,
                )
                .await
                .map_err(|error| push_failure(name, &error))
        };
        let report = self.cancel.or(work).await?;
        let work = async {
            self.attach(&image, source, &registry, &target)
                .await
                .map_err(|error| push_failure(name, &error))
        };
        let mut attached = self.cancel.or(work).await?;
        if let Some(key) = &key {
            self.sign(&repository, &image.manifest.digest, key).await?;
            attached.push_str(", signature");
        }
        step.finish(format!(
            "{} sent, {} mounted, {} already there{attached}",
            report.sent, report.mounted, report.present
        ));
        let digest = image.manifest.digest;
        Ok(Published {
            reference: format!("{}@{digest}", repository.uri),
            tag,
            digest,
            reused: false,
        })
    }
}

/// The tag of an image by the inputs that it was built from.
fn inputs_tag(inputs: &Digest) -> String {
    format!("inputs-{}", &inputs.hex()[..INPUTS_DIGITS])
}

fn target(repository: &Repository) -> Result<ImageRef, Failure> {
    repository.uri.parse().map_err(|error| {
        Failure::because(
            Kind::Unexpected,
            format!("ECR's repository URI is `{}`", repository.uri),
            &error,
        )
    })
}

fn engine(configured: hoist_project::Engine) -> hoist_image::Engine {
    match configured {
        hoist_project::Engine::Auto => hoist_image::Engine::Auto,
        hoist_project::Engine::Embedded => hoist_image::Engine::Embedded,
        hoist_project::Engine::Buildkit => hoist_image::Engine::Buildkit,
    }
}

fn compression(configured: hoist_project::Compression) -> Compression {
    match configured {
        hoist_project::Compression::None => Compression::None,
        hoist_project::Compression::Gzip => Compression::Gzip,
        hoist_project::Compression::Zstd => Compression::Zstd,
    }
}

fn registry(repository: &Repository, events: &Events) -> Registry {
    let registry = Registry::new(RegistryOptions {
        credentials: [(repository.host.clone(), repository.credentials.clone())].into(),
        ..RegistryOptions::default()
    });
    waits::told(registry, events, Step::Push)
}

/// Turns the transfer of blobs into events; only those that really travel.
pub(crate) struct Watch<'a> {
    events: &'a Events,
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(events: &'a Events) -> Self {
        Watch {
            events,
            sizes: Mutex::default(),
        }
    }
}

impl Progress for Watch<'_> {
    fn event(&self, event: ProgressEvent) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            ProgressEvent::Started { digest, size } => {
                sizes.insert(digest, size);
            }
            ProgressEvent::Advanced { digest, bytes } => {
                if let Some(size) = sizes.get(&digest).filter(|size| bytes < **size) {
                    self.events.emit(Event::Transfer {
                        digest: digest.to_string(),
                        done: bytes,
                        size: *size,
                    });
                }
            }
            ProgressEvent::Finished { digest, how } => {
                if let (Some(size), How::Sent) = (sizes.remove(&digest), how) {
                    self.events.emit(Event::Transfer {
                        digest: digest.to_string(),
                        done: size,
                        size,
                    });
                }
            }
        }
    }
}

/// What a build's end is to a run.
pub fn build_failure(what: &str, error: &BuildError) -> Failure {
    let mut failure = Failure::because(Kind::Build, what, error);
    if !error.output().is_empty() {
        failure = failure.detail(error.output().join("\n"));
    }
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(crate) fn push_failure(name: &str, error: &RegistryError) -> Failure {
    let failure = Failure::because(Kind::Push, format!("failed to push {name}"), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
