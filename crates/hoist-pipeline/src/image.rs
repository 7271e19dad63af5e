//! From the source to an image in the repository: hook, build, test, push; or the image that is there already.

use std::sync::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;

use hoist_aws::Client;
use hoist_image::{BuildError, BuildErrorKind, BuildEvent, BuildRequest, BuiltImage, Workspace};
use hoist_oci::{Digest, How, ImageRef, Progress, ProgressEvent, PushOptions, Registry, RegistryError, RegistryOptions};
use hoist_project::{Project, Source, TestStep};

use crate::cancel::Cancel;
use crate::ecr::{self, Repository};
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::hook;

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
    /// Whether every step runs again.
    pub no_cache: bool,
    /// Build arguments over those of hoist.yaml.
    pub build_args: Vec<(String, String)>,
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
        let mut request = BuildRequest::new(self.project.root.join(&image.context));
        request.dockerfile = match &image.dockerfile {
            Some(dockerfile) => self.project.root.join(dockerfile),
            None => PathBuf::from("Dockerfile"),
        };
        request.target = target.or(image.target.as_deref()).map(str::to_owned);
        request.build_args = image.build_args.clone();
        request.build_args.extend(self.options.build_args.iter().cloned());
        request.platform = image
            .platform()
            .parse()
            .map_err(|error| Failure::because(Kind::Configuration, "failed to read `image: { platforms }`", &error))?;
        request.no_cache = self.options.no_cache;
        request.engine = self.options.engine.unwrap_or_else(|| engine(image.engine));
        request.compression = compression(image.compression);
        request.registry = RegistryOptions { mirrors: self.project.mirrors.clone(), ..RegistryOptions::default() };
        request.init_program = self.options.init_program.clone();
        Ok(request)
    }

    /// Runs the hook, if there is one, and tells the digest of everything the image is built from.
    ///
    /// # Errors
    /// The hook failed, or the context or the Dockerfile cannot be read.
    pub async fn inputs(&self) -> Result<Digest, Failure> {
        if let Some(command) = &self.project.image.before {
            hook::run(command, &self.project.root, self.cancel, self.events).await?;
        }
        let request = self.request(None)?;
        let work = async { hoist_image::inputs_digest(self.workspace, &request).await.map_err(|error| build_failure(&error)) };
        self.cancel.or(work).await
    }

    /// Builds the image and runs its tests.
    ///
    /// # Errors
    /// `Build` or `Test`; cancellation.
    pub async fn build(&self) -> Result<BuiltImage, Failure> {
        let step = self.events.start(Step::Build, format!("build {}", self.project.image.name()));
        let image = self.run_build(Step::Build, None).await?;
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

    async fn run_build(&self, step: Step, target: Option<&str>) -> Result<BuiltImage, Failure> {
        let request = self.request(target)?;
        let say = |event: BuildEvent| self.say(step, event);
        let work = async {
            hoist_image::build(self.workspace, &request, &say).await.map_err(|error| build_failure(&error))
        };
        self.cancel.or(work).await
    }

    async fn test(&self, image: &BuiltImage) -> Result<(), Failure> {
        match &self.project.image.test {
            None => Ok(()),
            Some(TestStep::Target(target)) => {
                let step = self.events.start(Step::Test, format!("build the target {target}"));
                self.run_build(Step::Test, Some(target)).await.map_err(|mut failure| {
                    if failure.kind == Kind::Build {
                        failure.kind = Kind::Test;
                    }
                    failure
                })?;
                step.finish(format!("the target {target} passed"));
                Ok(())
            }
            Some(TestStep::Command(command)) => {
                let step = self.events.start(Step::Test, command.join(" "));
                let last = Mutex::new(Vec::new());
                let say = |event: BuildEvent| {
                    if let BuildEvent::Output { line, .. } = &event {
                        last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line.clone());
                    }
                    self.say(Step::Test, event);
                };
                let work = async {
                    hoist_image::run(self.workspace, image, command, &[], &self.options.init_program, &say)
                        .await
                        .map_err(|error| build_failure(&error))
                };
                let code = self.cancel.or(work).await?;
                if code == 0 {
                    step.finish("passed");
                    return Ok(());
                }
                let lines = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
                Err(Failure::new(Kind::Test, format!("the test `{}` exited with {code}", command.join(" ")))
                    .detail(lines[lines.len().saturating_sub(20)..].join("\n"))
                    .hint("nothing was pushed"))
            }
        }
    }

    fn say(&self, step: Step, event: BuildEvent) {
        match event {
            BuildEvent::Engine { name, why } => self.events.note(step, format!("engine {name}: {why}")),
            BuildEvent::StepStarted(at) => self.events.note(step, format!("[{}/{}] {}", at.index, at.total, at.text)),
            BuildEvent::StepCached(at) => self.events.note(step, format!("[{}/{}] {} (cached)", at.index, at.total, at.text)),
            BuildEvent::Output { line, .. } => self.events.emit(Event::Output { step, line }),
            BuildEvent::Pulling { digest, received, size } => {
                self.events.emit(Event::Transfer { digest: digest.to_string(), done: received, size });
            }
            BuildEvent::Warning { message, location } => match location {
                Some(location) => self.events.warn(step, format!("{location}: {message}")),
                None => self.events.warn(step, message),
            },
            _ => {}
        }
    }

    /// Has the image in the repository: the one of the same inputs if it is there, else a fresh build that passed its tests.
    ///
    /// # Errors
    /// Any end of build, test and push.
    pub async fn publish(&self, aws: &Client, source: &Source) -> Result<Published, Failure> {
        let inputs = self.inputs().await?;
        let name = self.project.image.name();
        let create = self.project.image.create_repository;
        let repository = self.cancel.or(ecr::open(aws, name, &self.project.app, create, self.events)).await?;
        let registry = registry(&repository);
        let tag = source.tag(&inputs);
        let inputs_tag = format!("inputs-{}", &inputs.hex()[..INPUTS_DIGITS]);
        let target: ImageRef = repository
            .uri
            .parse()
            .map_err(|error| Failure::because(Kind::Unexpected, format!("ECR's repository URI is `{}`", repository.uri), &error))?;

        if !self.options.no_cache {
            let known = ImageRef { tag: Some(inputs_tag.clone()), ..target.clone() };
            let head = self.cancel.or(async { registry.head(&known).await.map_err(|error| push_failure(name, &error)) }).await?;
            if let Some(found) = head {
                self.events.start(Step::Build, "look for an image of the same inputs").skip(format!(
                    "{} was built from the same inputs",
                    found.digest.short()
                ));
                let work = async {
                    registry.put_tag(&target, &found, &tag).await.map_err(|error| push_failure(name, &error))
                };
                self.cancel.or(work).await?;
                return Ok(Published { reference: format!("{}@{}", repository.uri, found.digest), tag, digest: found.digest, reused: true });
            }
        }

        let image = self.build().await?;
        let step = self.events.start(Step::Push, format!("{}:{tag}", repository.uri));
        let watch = Watch { events: self.events, sent: Mutex::new(HashMap::new()) };
        let tags = [tag.clone(), inputs_tag];
        let work = async {
            registry
                .push(&self.workspace.store, &image.manifest, &target, &tags, &PushOptions::default(), &watch)
                .await
                .map_err(|error| push_failure(name, &error))
        };
        let report = self.cancel.or(work).await?;
        step.finish(format!(
            "{} sent, {} mounted, {} already there",
            report.sent, report.mounted, report.existing
        ));
        let digest = image.manifest.digest;
        Ok(Published { reference: format!("{}@{digest}", repository.uri), tag, digest, reused: false })
    }
}

fn registry(repository: &Repository) -> Registry {
    Registry::new(RegistryOptions {
        credentials: [(repository.host.clone(), repository.credentials.clone())].into(),
        ..RegistryOptions::default()
    })
}

struct Watch<'a> {
    events: &'a Events,
    sent: Mutex<HashMap<Digest, (u64, u64)>>,
}

impl Progress for Watch<'_> {
    fn event(&self, event: ProgressEvent) {
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            ProgressEvent::Started { digest, size } => {
                sent.insert(digest, (0, size));
            }
            ProgressEvent::Advanced { digest, bytes } => {
                if let Some((done, size)) = sent.get_mut(&digest) {
                    *done = (*done + bytes).min(*size);
                    self.events.emit(Event::Transfer { digest: digest.to_string(), done: *done, size: *size });
                }
            }
            ProgressEvent::Finished { digest, how } => {
                if let (Some((_, size)), How::Sent) = (sent.remove(&digest), how) {
                    self.events.emit(Event::Transfer { digest: digest.to_string(), done: size, size });
                }
            }
        }
    }
}

fn build_failure(error: &BuildError) -> Failure {
    let kind = match error.kind() {
        BuildErrorKind::Environment => Kind::Unexpected,
        _ => Kind::Build,
    };
    let mut failure = Failure::because(kind, "failed to build the image", error);
    if !error.output().is_empty() {
        failure = failure.detail(error.output().join("\n"));
    }
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn push_failure(name: &str, error: &RegistryError) -> Failure {
    let failure = Failure::because(Kind::Push, format!("failed to push {name}"), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
