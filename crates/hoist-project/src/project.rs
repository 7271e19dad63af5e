//! A project: `hoist.yaml`, found, filled in and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hoist_ecs::{Document, Kind, Node, Problem, Span};

use crate::config::{Config, GatesConfig, ImageConfig, PricesConfig};
use crate::ecspresso;
use crate::error::ProjectError;
use crate::release::{self, Release};
use crate::schedule::{self, Schedule};
use crate::service::{self, Service};
use crate::source::Source;
use crate::task::{self, Task};
use crate::template::{self, Variables};
use crate::{overlay, read};

/// Names that the file may have.
const FILE_NAMES: [&str; 2] = ["hoist.yaml", "hoist.yml"];

/// What `hoist.yaml` says, with its definition files loaded.
#[derive(Debug, Clone)]
pub struct Project {
    /// Folder of `hoist.yaml`; every path in it is relative to this.
    pub root: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// Environment that was laid over it.
    pub environment: Option<String>,
    /// Name of the application.
    pub app: String,
    /// Region, if the file names one.
    pub region: Option<String>,
    /// How the image is built.
    pub image: ImageConfig,
    /// Whether the definitions name their own images, so that none is built: a project of ecspresso.
    pub as_written: bool,
    /// Services in the order of the file.
    pub services: Vec<Service>,
    /// Tasks that run to their end, in the order of the file.
    pub tasks: Vec<Task>,
    /// Schedules whose tasks get what is deployed, in the order of the file.
    pub schedules: Vec<Schedule>,
    /// In which order the services are deployed.
    pub release: Release,
    /// What must hold before a deployment counts as done.
    pub gates: GatesConfig,
    /// Prices that are not AWS's published ones.
    pub prices: PricesConfig,
    /// Registries to ask instead of others: host (or host and path) to URL.
    pub mirrors: BTreeMap<String, String>,
    /// What is odd but not wrong.
    pub warnings: Vec<Problem>,
}

impl Project {
    /// Finds `hoist.yaml` in `start` or the nearest folder above it, and loads it.
    ///
    /// # Errors
    /// There is none, or something in it is wrong.
    pub fn find(start: &Path, environment: Option<&str>) -> Result<Self, ProjectError> {
        Self::find_with(start, environment, &process_variables())
    }

    /// [`Project::find`] with variables for templates other than the environment of the process.
    ///
    /// # Errors
    /// As [`Project::find`].
    pub fn find_with(
        start: &Path,
        environment: Option<&str>,
        variables: &Variables,
    ) -> Result<Self, ProjectError> {
        let absolute = std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
        for (up, folder) in absolute.ancestors().enumerate() {
            if let Some(name) = file_names().find(|name| folder.join(name).is_file()) {
                return Self::open(
                    &folder.join(name),
                    &format!("{}{name}", "../".repeat(up)),
                    environment,
                    variables,
                );
            }
        }
        Err(ProjectError::NotFound {
            dockerfile: start.join("Dockerfile").is_file(),
            start: start.to_owned(),
        })
    }

    /// Loads a given `hoist.yaml`, or the one of a given folder.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn load(path: &Path, environment: Option<&str>) -> Result<Self, ProjectError> {
        Self::load_with(path, environment, &process_variables())
    }

    /// [`Project::load`] with variables for templates other than the environment of the process.
    ///
    /// # Errors
    /// As [`Project::load`].
    pub fn load_with(
        path: &Path,
        environment: Option<&str>,
        variables: &Variables,
    ) -> Result<Self, ProjectError> {
        let file = if path.is_dir() {
            match file_names()
                .map(|name| path.join(name))
                .find(|file| file.is_file())
            {
                Some(file) => file,
                None => {
                    let dockerfile = path.join("Dockerfile").is_file();
                    return Err(ProjectError::NoFile {
                        folder: path.to_owned(),
                        dockerfile,
                    });
                }
            }
        } else {
            path.to_owned()
        };
        let shown = file.display().to_string();
        Self::open(&file, &shown, environment, variables)
    }

    /// `shown` is the file's name in messages.
    fn open(
        file: &Path,
        shown: &str,
        environment: Option<&str>,
        variables: &Variables,
    ) -> Result<Self, ProjectError> {
        let mut text = fs::read_to_string(file).map_err(|source| ProjectError::Read {
            path: file.to_owned(),
            source,
        })?;
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let root = std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned());
        let as_written = file
            .file_name()
            .is_some_and(|name| ecspresso::FILE_NAMES.iter().any(|known| name == *known));
        let mut left_out = Vec::new();
        if as_written {
            (text, left_out) = ecspresso::config(shown, file, &text, variables)?;
        }
        let (document, config) = configuration(shown, &text, environment, variables)?;
        let mut faults = Faults {
            document: &document,
            problems: Vec::new(),
        };
        let app = app_name(&mut faults, &config, &root);
        check_names(&mut faults, &config);
        check_image(&mut faults, &config.image);
        check_mirrors(&mut faults, &config.mirrors);
        let mut services = Vec::new();
        for (key, service) in config.services.iter() {
            let context = service::Context {
                root: &root,
                shown_root: Path::new(shown).parent().unwrap_or(Path::new("")),
                app: &app,
                environment,
                platform: config.image.platforms.first().copied(),
                variables,
                as_written,
            };
            services.extend(Service::new(&mut faults, &context, key, service));
        }
        let keys: Vec<&str> = config.services.iter().map(|(key, _)| key).collect();
        let tasks = task::tasks(&mut faults, &keys, &config.tasks);
        let schedules = schedule::schedules(&mut faults, &keys, &config.schedules);
        let release = release::release(&mut faults, &keys, &config);
        faults.problems.extend(left_out);
        let (errors, warnings): (Vec<_>, Vec<_>) =
            faults.problems.into_iter().partition(Problem::is_error);
        if !errors.is_empty() {
            return Err(errors.into());
        }
        Ok(Self {
            root,
            file: file.to_owned(),
            environment: environment.map(str::to_owned),
            app,
            region: config.region,
            image: config.image,
            as_written,
            services,
            tasks,
            schedules,
            release,
            gates: config.gates,
            prices: config.prices,
            mirrors: config.mirrors,
            warnings,
        })
    }

    /// The folder from which the image is built.
    pub fn context(&self) -> PathBuf {
        match self.image.context.as_str() {
            // So that no path in an error has a dot in it.
            "." => self.root.clone(),
            folder => self.root.join(folder),
        }
    }

    /// Name of the repository in ECR.
    pub fn repository(&self) -> &str {
        self.image.repository.as_deref().unwrap_or(&self.app)
    }

    /// The service of a key or of an ECS name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.key == name || service.name == name)
    }

    /// The task of this name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.key == name)
    }

    /// The version of the project's source.
    pub fn source(&self) -> Source {
        Source::of(&self.root, &process_variables())
    }
}

/// Names of the files that make a folder a project, the first that is there.
fn file_names() -> impl Iterator<Item = &'static str> {
    FILE_NAMES.into_iter().chain(ecspresso::FILE_NAMES)
}

fn process_variables() -> Variables {
    // A variable whose name or value is no text cannot be written in a template anyway.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Problems found while a configuration is made into a project.
pub(crate) struct Faults<'a> {
    pub document: &'a Document,
    pub problems: Vec<Problem>,
}

impl Faults<'_> {
    /// The place of the value at a pointer; of its key, where the value is empty or not there.
    pub fn span(&self, pointer: &str) -> Span {
        let mut pointer = pointer;
        loop {
            match self.document.root().located(pointer) {
                Some((Some(key), node))
                    if node.span.start == node.span.end || !node.entries().is_empty() =>
                {
                    return key;
                }
                Some((_, node)) => return node.span,
                None => pointer = pointer.rsplit_once('/').map_or("", |(parent, _)| parent),
            }
        }
    }

    /// The place of the key at a pointer.
    pub fn key_span(&self, pointer: &str) -> Span {
        self.document
            .key_span(pointer)
            .unwrap_or_else(|| self.span(pointer))
    }

    /// Notes an error.
    pub fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: impl Into<String>,
    ) {
        let help = help.into();
        let problem = self.document.error(span, message).label(label);
        self.problems.push(if help.is_empty() {
            problem
        } else {
            problem.help(help)
        });
    }
}

/// The file with one environment laid over it and its templates filled in.
fn configuration(
    shown: &str,
    text: &str,
    environment: Option<&str>,
    variables: &Variables,
) -> Result<(Document, Config), ProjectError> {
    let parsed = Document::parse(shown, text)?;
    let mut root = parsed.root().clone();
    if !matches!(root.kind, Kind::Object(_)) {
        let problem = parsed
            .error(root.span, "hoist.yaml must be a mapping")
            .label("expected keys such as `services:`")
            .help(format!("write `{}`", read::AN_EXAMPLE));
        return Err(Box::new(problem).into());
    }
    check_environments(&parsed)?;
    let environments = overlay::take_environments(&mut root);
    let laid = |over: &Node| {
        let mut laid = root.clone();
        overlay::lay(&mut laid, over);
        laid
    };
    let chosen = match environment {
        None => root.clone(),
        Some(wanted) => match environments.iter().find(|entry| entry.key == wanted) {
            Some(entry) => laid(&entry.value),
            None => {
                return Err(ProjectError::NoSuchEnvironment {
                    file: shown.to_owned(),
                    wanted: wanted.to_owned(),
                    known: environments.iter().map(|entry| entry.key.clone()).collect(),
                });
            }
        },
    };
    let mut filled = chosen;
    template::fill_node(&parsed, &mut filled, variables)?;
    let document = Document::from_node(shown, text, filled);
    let config: Config = read::read(&document, document.root())?;
    // A slip in an environment should not wait for the day on which it is deployed.
    for other in environments
        .iter()
        .filter(|entry| Some(entry.key.as_str()) != environment)
    {
        let document = Document::from_node(shown, text, laid(&other.value));
        if let Err(problem) = read::read::<Config>(&document, document.root())
            && !problem.span_text.contains("{{")
        {
            return Err(problem.into());
        }
    }
    Ok((document, config))
}

fn check_environments(document: &Document) -> Result<(), Box<Problem>> {
    let Some(node) = document.root().get("environments") else {
        return Ok(());
    };
    let wrong = |node: &Node, message: &str| {
        Err(Box::new(
            document
                .error(node.span, message)
                .label("expected a mapping"),
        ))
    };
    if !matches!(node.kind, Kind::Object(_)) {
        return wrong(
            node,
            "`environments` must be a mapping of names to what is different there",
        );
    }
    for entry in node.entries() {
        if !matches!(entry.value.kind, Kind::Object(_) | Kind::Null) {
            return wrong(
                &entry.value,
                "an environment must be a mapping of what is different there",
            );
        }
        if let Some(inner) = entry.value.entry("environments") {
            return Err(Box::new(
                document
                    .error(inner.key_span, "an environment cannot hold `environments`")
                    .label("remove this"),
            ));
        }
    }
    Ok(())
}

/// Whether a name fits ECR, ECS, IAM and log groups alike.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn app_name(faults: &mut Faults<'_>, config: &Config, root: &Path) -> String {
    if let Some(app) = &config.app {
        if !is_name(app) {
            let span = faults.span("/app");
            faults.error(
                span,
                format!("`{app}` cannot name an application"),
                "",
                "use 1 to 64 lower-case letters, digits and hyphens, with no hyphen at the ends",
            );
        }
        return app.clone();
    }
    let folder = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let folder = folder
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name: String = folder
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name: String = name.trim_matches('-').chars().take(64).collect();
    if name.is_empty() {
        "app".to_owned()
    } else {
        name
    }
}

fn check_names(faults: &mut Faults<'_>, config: &Config) {
    if config.services.is_empty() {
        let span = faults.key_span("/services");
        faults.error(
            span,
            "there is no service",
            "",
            "name one, such as `web: { port: 8080 }`",
        );
    }
    for (key, _) in config.services.iter() {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if key.is_empty() || key.len() > 255 || !key.bytes().all(fits) {
            let span = faults.key_span(&format!("/services/{}", escape(key)));
            faults.error(
                span,
                format!("`{key}` cannot name a service"),
                "",
                "use letters, digits, hyphens and underscores, 255 at most",
            );
        }
    }
    if let Some(region) = &config.region {
        let parts: Vec<&str> = region.split('-').collect();
        let fits = parts.len() >= 3
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && parts.last().is_some_and(|last| {
                !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
            });
        if !fits {
            let span = faults.span("/region");
            let help = match region.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
                zone if zone != region && zone.ends_with(|c: char| c.is_ascii_digit()) => {
                    format!("this looks like an availability zone: its region is `{zone}`")
                }
                _ => "a region is written like `eu-central-1`".to_owned(),
            };
            faults.error(
                span,
                format!("`{region}` is not the name of a region"),
                "",
                help,
            );
        }
    }
}

fn check_image(faults: &mut Faults<'_>, image: &ImageConfig) {
    if let Some(repository) = &image.repository {
        let part = |part: &str| {
            let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| alphanumeric(byte) || b"._-".contains(&byte))
                && part.bytes().next().is_some_and(alphanumeric)
                && part.bytes().last().is_some_and(alphanumeric)
        };
        let registry = repository.contains(".dkr.ecr.");
        if registry || !(2..=256).contains(&repository.len()) || !repository.split('/').all(part) {
            let span = faults.span("/image/repository");
            let help = if registry {
                "write only what follows the `/`: the registry is that of the account and region"
            } else {
                "use 2 to 256 lower-case letters and digits, with `.`, `_`, `-` and `/` between them"
            };
            faults.error(
                span,
                format!("`{repository}` cannot name a repository in ECR"),
                "",
                help,
            );
        }
    }
    if image.platforms.is_empty() {
        let span = faults.span("/image/platforms");
        faults.error(
            span,
            "no platform to build for",
            "",
            "write `linux/amd64`, `linux/arm64` or both",
        );
    }
    let mut seen = BTreeSet::new();
    for (i, platform) in image.platforms.iter().enumerate() {
        if !seen.insert(platform.as_str()) {
            let span = faults.span(&format!("/image/platforms/{i}"));
            faults.error(span, format!("`{platform}` stands twice"), "", "remove one");
        }
    }
    if let Some(test) = &image.test {
        let span = faults.key_span("/image/test");
        match (&test.target, &test.command) {
            (Some(_), Some(_)) => {
                let span = faults.key_span("/image/test/command");
                faults.error(
                    span,
                    "`test` has both `target` and `command`",
                    "",
                    "keep one of them",
                );
            }
            (None, None) => {
                faults.error(
                    span,
                    "`test` says nothing",
                    "",
                    "write `test: { target: STAGE }` or `test: { command: [...] }`",
                );
            }
            _ => {}
        }
    }
}

fn check_mirrors(faults: &mut Faults<'_>, mirrors: &BTreeMap<String, String>) {
    for (host, url) in mirrors {
        let pointer = format!("/mirrors/{}", escape(host));
        if !(url.starts_with("http://") || url.starts_with("https://"))
            || url.splitn(3, '/').nth(2).is_none_or(str::is_empty)
        {
            let span = faults.span(&pointer);
            faults.error(
                span,
                format!("`{url}` is not the URL of a registry"),
                "",
                "write `https://HOST` or `http://HOST:PORT`",
            );
        }
        if host.contains("://") || host.is_empty() {
            let span = faults.key_span(&pointer);
            faults.error(
                span,
                format!("`{host}` is not the name of a registry"),
                "",
                "write the host alone, such as `docker.io`",
            );
        }
    }
}

/// A key as a token of a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
