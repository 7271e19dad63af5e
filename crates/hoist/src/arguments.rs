//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::render::{Format, Output};

/// From a Dockerfile to healthy on AWS Fargate, in one binary
#[derive(Debug, Parser)]
#[command(
    name = "hoist",
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:\n  hoist deploy --local examples/hello   deploy to the embedded AWS, no account needed\n  hoist deploy -e production            deploy to AWS\n  hoist local env                       lines for a shell, so that the AWS CLI speaks to the embedded AWS\n\nExit codes: docs/exit-codes.md"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write hoist.yaml and a GitHub workflow for a folder with a Dockerfile
    Init(Init),
    /// Build, test, push, register, deploy, verify
    Deploy(Deploy),
    /// Build and test the image; print its digest
    Build(Build),
    /// Build, test and push the image; print its reference
    Push(Step),
    /// Show what a deployment would change, cost and take
    Plan(Plan),
    /// Show what the services cost in a month
    Cost(Look),
    /// Build, test, push and register the task definitions; print their ARNs
    Register(Step),
    /// Go back to the last good revision, or to one that is named
    Rollback(Rollback),
    /// Replace all tasks by new ones of the same revision
    Refresh(Refresh),
    /// Remove old revisions and images that nothing needs
    Prune(Prune),
    /// Run a task of hoist.yaml, or a command, to its end on a service's network
    Run(Run),
    /// Set the number of tasks of a service
    Scale(Scale),
    /// Show counts, revisions, targets and URL of the services
    Status(Look),
    /// Show what ECS says has happened to the services
    Events(EventLog),
    /// Show the tasks of the services
    Tasks(TaskList),
    /// Show what the containers print
    Logs(Logs),
    /// Show what was deployed, by whom, and what became of it
    History(Past),
    /// Say what this machine can do
    Doctor(Doctor),
    /// Print the definitions that would be registered
    Render(Render),
    /// Say what would make a deployment fail, before anything is built
    Check(Check),
    /// Print the URL of a service
    Url(Url),
    /// The embedded AWS on this machine
    #[command(subcommand)]
    Local(Local),
    /// Images of the build engine on this machine
    #[command(subcommand)]
    Image(Image),
    /// Print the JSON schema of hoist.yaml
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// How progress and failures are shown.
    pub fn output(&self) -> Output {
        match self {
            Command::Deploy(options) => options.output,
            Command::Build(options) => options.output,
            Command::Push(options) | Command::Register(options) => options.output,
            Command::Rollback(options) => options.output,
            Command::Run(options) => options.output,
            Command::Refresh(options) => options.output,
            Command::Scale(options) => options.output,
            _ => Output::Auto,
        }
    }
}

/// Which project, and which of its environments.
#[derive(Args, Clone, Debug)]
pub struct Project {
    /// Folder to look for hoist.yaml from, upwards
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// The hoist.yaml itself, instead of looking for it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Environment of hoist.yaml
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
}

/// Which AWS.
#[derive(Args, Clone, Debug)]
pub struct Aws {
    /// The embedded AWS, started if it does not run
    #[arg(long)]
    pub local: bool,
    /// AWS region
    #[arg(long)]
    pub region: Option<String>,
    /// Profile of the AWS configuration
    #[arg(long, conflicts_with = "local")]
    pub profile: Option<String>,
    /// ARN of a role to sign in as with GitHub's OIDC token
    #[arg(long, value_name = "ARN", conflicts_with_all = ["local", "profile"])]
    pub role: Option<String>,
}

/// How the image is built.
#[derive(Args, Clone, Debug)]
pub struct Building {
    /// Build engine
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: Engine,
    /// Run every build step again
    #[arg(long)]
    pub no_cache: bool,
    /// A value for an ARG of the Dockerfile
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub build_args: Vec<(String, String)>,
    /// Stage of the Dockerfile to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// A label of the image
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// An annotation of the image's manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = pair)]
    pub annotations: Vec<(String, String)>,
    /// A secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE
    #[arg(long = "secret", value_name = "SECRET")]
    pub secrets: Vec<hoist_image::Secret>,
    /// An agent for RUN --mount=type=ssh: `default` is that of SSH_AUTH_SOCK
    #[arg(long, value_name = "ID[=SOCKET]", value_parser = agent)]
    pub ssh: Vec<(String, PathBuf)>,
    /// What a name means in FROM and --from: a folder, docker-image://NAME or oci-layout://FOLDER[:TAG]
    #[arg(long = "build-context", value_name = "NAME=CONTEXT", value_parser = context)]
    pub contexts: Vec<(String, hoist_image::NamedContext)>,
    /// Open a shell where a step fails
    #[arg(long)]
    pub debug_shell: bool,
    /// Keep the cache of steps in the repository too, for machines that begin empty (when deploying)
    #[arg(long)]
    pub registry_cache: bool,
    /// Attach a list of the image's packages to it, as SPDX (when deploying)
    #[arg(long)]
    pub sbom: bool,
    /// Attach how the image came to be, as SLSA provenance (when deploying)
    #[arg(long)]
    pub provenance: bool,
    /// What the image is for, such as linux/amd64,linux/arm64; several make an index
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub platforms: Vec<hoist_oci::spec::Platform>,
    /// Add a SOCI index (version 2), so that Fargate starts before it has the whole image; worth it from about 250 MB
    #[arg(long)]
    pub soci: bool,
    /// Sign the pushed image with this private key, as cosign does (when deploying)
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The embedded engine where this machine can run it, else a Docker Engine
    Auto,
    /// hoist's own engine: Linux, no daemon
    Embedded,
    /// BuildKit in a Docker Engine
    Buildkit,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The URL is the last line of standard output; everything else goes to standard error.\n\nExamples:\n  hoist deploy --local examples/hello\n  hoist deploy -e production --timeout 20m\n  hoist deploy --service web --count 4\n  hoist deploy -e production --image 3f786850e387550fdab836ed7e6dc881de23001b"
)]
pub struct Deploy {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    #[command(flatten)]
    pub building: Building,
    /// Deploy only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Set the number of tasks; without it a deployment leaves the count as it is
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Deploy even if nothing changed
    #[arg(long)]
    pub force: bool,
    /// Deploy an image that exists instead of building one: a tag or digest of the project's repository, or a reference
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Deploy a revision of the task definition that exists
    #[arg(long, value_name = "N", conflicts_with = "image")]
    pub revision: Option<u32>,
    /// Follow the last run, which was killed, to its end; deploy nothing new
    #[arg(long, conflicts_with_all = ["force", "count", "image", "revision"])]
    pub resume: bool,
    /// Longest time for the rollout of a service, such as `90s` or `20m`
    #[arg(long, default_value = "30m", value_parser = duration)]
    pub timeout: std::time::Duration,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The image's digest is the last line of standard output.\n\nExamples:\n  hoist build\n  hoist build --engine buildkit --no-cache services/web"
)]
pub struct Build {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub building: Building,
    /// A name for the image on this machine, which `FROM` finds (may be repeated)
    #[arg(short, long = "tag", value_name = "NAME")]
    pub tags: Vec<String>,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is changed; the build hook is run, because what is built may depend on it. With --detailed-exitcode, 30 means that there\nare changes, 0 that there are none.\n\nExamples:\n  hoist plan -e production\n  hoist plan --output markdown > comment.md\n  hoist plan --local --detailed-exitcode examples/hello"
)]
pub struct Plan {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    #[command(flatten)]
    pub building: Building,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Plan with this number of tasks
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Plan an image that exists instead of building one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Exit with 30 if anything would change
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// How the plan is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: PlanFormat,
}

/// How a plan is written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFormat {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// For a comment of a pull request
    Markdown,
}

/// Steps of a deployment up to a point, for pipelines that own the rest.
#[derive(Args, Debug)]
#[command(
    after_help = "The results are the last lines of standard output.\n\nExamples:\n  hoist push --local examples/hello\n  hoist register -e production --service web"
)]
pub struct Step {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    #[command(flatten)]
    pub building: Building,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A deployment in flight is taken back; else the newest revision whose deployment succeeded before the current one is deployed,\nand watched and judged as any other. The exit codes are those of a deployment.\n\nExamples:\n  hoist rollback -e production\n  hoist rollback --local --service web --revision 7"
)]
pub struct Rollback {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// The revision to go to
    #[arg(long, value_name = "N")]
    pub revision: Option<u32>,
    /// Longest time for the rollout of a service, such as `90s` or `20m`
    #[arg(long, default_value = "30m", value_parser = duration)]
    pub timeout: std::time::Duration,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "For tasks that should read a changed secret or parameter, or an image that is named by tag.\n\nExamples:\n  hoist refresh -e production --service web"
)]
pub struct Refresh {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Longest time for the rollout of a service, such as `90s` or `20m`
    #[arg(long, default_value = "30m", value_parser = duration)]
    pub timeout: std::time::Duration,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Without --yes it only says what would go. Never removed: revisions that run, are on their way, or that a rollback would go to; revisions\nand images that hoist did not make; images of revisions that stay.\n\nExamples:\n  hoist prune -e production\n  hoist prune --local --keep 3 --older-than 0s --yes"
)]
pub struct Prune {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Revisions of each family that stay
    #[arg(long, default_value = "10", value_name = "N")]
    pub keep: usize,
    /// Only what is older than this, such as `12h`; `0s` for any age
    #[arg(long, default_value = "168h", value_parser = age)]
    pub older_than: std::time::Duration,
    /// Remove them
    #[arg(long)]
    pub yes: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
}

/// Which project, where the positional argument is something else.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// Folder to look for hoist.yaml from, upwards
    #[arg(short = 'C', long, value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// The hoist.yaml itself, instead of looking for it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Environment of hoist.yaml
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
}

impl From<&At> for Project {
    fn from(at: &At) -> Project {
        Project {
            folder: at.folder.clone(),
            config: at.config.clone(),
            environment: at.environment.clone(),
        }
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "The task has the image, roles and network of the service as it runs now. What it prints goes to standard output.\nA task that fails ends the command with exit code 25; with --passthrough, with its own.\n\nExamples:\n  hoist run migrate -e production\n  hoist run --local --service web -- /app --version"
)]
pub struct Run {
    /// Task of hoist.yaml
    pub task: Option<String>,
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub aws: Aws,
    /// Service whose task definition is run, where no task is named
    #[arg(short, long, value_name = "NAME", conflicts_with = "task")]
    pub service: Option<String>,
    /// An environment variable of the task (may be repeated)
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub environment_variables: Vec<(String, String)>,
    /// Time after which the task is stopped, such as `90s` or `20m`
    #[arg(long, value_parser = duration)]
    pub timeout: Option<std::time::Duration>,
    /// Exit with the task's own code
    #[arg(long)]
    pub passthrough: bool,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
    /// Command, instead of the task's or the container's
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Returns when that many tasks run.\n\nExamples:\n  hoist scale 4 -e production\n  hoist scale 0 --local --service worker"
)]
pub struct Scale {
    /// Number of tasks
    pub count: u32,
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub aws: Aws,
    /// The service; may be left out where there is one
    #[arg(short, long, value_name = "NAME")]
    pub service: Option<String>,
    /// Longest time to wait, such as `90s` or `20m`
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub timeout: std::time::Duration,
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  hoist status -e production\n  hoist status --local --output json examples/hello"
)]
pub struct Look {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  hoist events -e production\n  hoist events --local --follow")]
pub struct EventLog {
    #[command(flatten)]
    pub look: Look,
    /// Go on with each new event
    #[arg(short, long)]
    pub follow: bool,
    /// Number of events
    #[arg(short = 'n', long, default_value = "20", value_name = "N")]
    pub limit: usize,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Stopped tasks are there for about an hour.\n\nExamples:\n  hoist tasks -e production\n  hoist tasks --local --all"
)]
pub struct TaskList {
    #[command(flatten)]
    pub look: Look,
    /// Stopped tasks too
    #[arg(short, long)]
    pub all: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  hoist logs -f -e production\n  hoist logs --local --since 1h --filter ERROR\n  hoist logs --local --task 0123abcd --container web"
)]
pub struct Logs {
    #[command(flatten)]
    pub look: Look,
    /// Go on with each new line
    #[arg(short, long)]
    pub follow: bool,
    /// From how long ago, such as `90s`, `20m` or `2h`
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub since: std::time::Duration,
    /// Filter pattern of CloudWatch Logs
    #[arg(long, value_name = "PATTERN")]
    pub filter: Option<String>,
    /// Only tasks whose id begins with this
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
    /// Only this container
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A star marks the revision that serves.\n\nExamples:\n  hoist history -e production\n  hoist history --local -n 50 --output json"
)]
pub struct Past {
    #[command(flatten)]
    pub look: Look,
    /// Number of deployments
    #[arg(short = 'n', long, default_value = "20", value_name = "N")]
    pub limit: usize,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  hoist doctor --output json")]
pub struct Doctor {
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Files that exist are kept.\n\nExamples:\n  hoist init && hoist deploy --local\n  hoist init --from-service web --cluster production"
)]
pub struct Init {
    /// Folder with the Dockerfile
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Write what runs today as this service: its task definition and its service definition
    #[arg(long, value_name = "NAME")]
    pub from_service: Option<String>,
    /// Cluster of that service
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        requires = "from_service"
    )]
    pub cluster: String,
    #[command(flatten)]
    pub aws: Aws,
}

#[derive(Args, Debug)]
pub struct Render {
    #[command(flatten)]
    pub project: Project,
    /// AWS region
    #[arg(long)]
    pub region: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The definitions are checked first, without a call; then the account. The checks are described in docs/checks.md and docs/account-checks.md.\n\nExamples:\n  hoist check -e production\n  hoist check --offline\n  hoist check --local --output json"
)]
pub struct Check {
    #[command(flatten)]
    pub look: Look,
    /// Only the files, without a call
    #[arg(long)]
    pub offline: bool,
}

#[derive(Args, Debug)]
pub struct Url {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// The service; may be left out where there is one
    #[arg(short, long, value_name = "NAME")]
    pub service: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Local {
    /// Start it; returns when it answers, also if it already runs
    Start(LocalStart),
    /// Stop it and its containers; its state stays
    Stop,
    /// Say whether it runs, and where
    Status,
    /// Print the lines that point a shell's AWS tools at it
    #[command(after_help = "Example:\n  eval \"$(hoist local env)\" && aws ecs list-clusters")]
    Env,
    /// Change its limits and faults while it runs, and for its next start; without options, say how they stand
    #[command(
        after_help = "Examples:\n  hoist local dials --limits aws\n  hoist local dials --faults throttling=10%,errors=5%,resets=2%,pulls=10%,seed=7\n  hoist local dials --faults errors=50%,services=ecs+registry\n  hoist local dials --faults none"
    )]
    Dials(LocalDials),
    /// Take the capacity of a FARGATE_SPOT task back, as AWS may at any time
    #[command(after_help = "Examples:\n  hoist local interrupt 0123456789abcdef0123456789abcdef")]
    Interrupt {
        /// The task's ARN or id
        task: String,
    },
    /// Put a CloudWatch alarm into ALARM, or back: deployments that watch it fail
    #[command(
        after_help = "Examples:\n  hoist local alarm too-many-errors\n  hoist local alarm too-many-errors --ok"
    )]
    Alarm {
        /// The alarm's name
        name: String,
        /// Out of ALARM again
        #[arg(long)]
        ok: bool,
        /// The region of the alarm
        #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
        region: String,
    },
    /// Stop it and forget everything it holds
    Reset,
    /// Run it in the foreground
    #[command(hide = true)]
    Serve(LocalStart),
}

#[derive(Args, Clone, Debug)]
pub struct LocalStart {
    /// Loopback port; else the one of the last start, else a free one
    #[arg(long)]
    pub port: Option<u16>,
    /// How long things take that nobody can set
    #[arg(long)]
    pub pace: Option<hoist_local::Pace>,
    /// How containers run
    #[arg(long, value_name = "native|docker|simulated")]
    pub runtime: Option<String>,
    /// How many calls are answered: as many as come, or by AWS's published rates
    #[arg(long, value_name = "none|aws")]
    pub limits: Option<hoist_local::Limiting>,
    /// Faults on purpose, such as throttling=10%,errors=5%,resets=2%,pulls=10%,seed=7; `none` ends them
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<hoist_local::FaultSpec>,
}

#[derive(Args, Clone, Debug)]
pub struct LocalDials {
    /// How many calls are answered: as many as come, or by AWS's published rates
    #[arg(long, value_name = "none|aws")]
    pub limits: Option<hoist_local::Limiting>,
    /// Faults on purpose: shares of throttling, errors (5xx), resets and pulls that fail, a seed, the services meant
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<hoist_local::FaultSpec>,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Import a root file system as an image that `FROM NAME` finds
    #[command(
        after_help = "Examples:\n  hoist image import ./rootfs my/base:1\n  hoist image import rootfs.tar.gz my/base:1"
    )]
    Import {
        /// A folder, or a tar archive (gzip and zstd too)
        source: PathBuf,
        /// Name of the image
        name: String,
    },
    /// List the images
    Ls,
    /// Remove an image's name
    Rm {
        /// Name of the image
        name: String,
    },
    /// Print an image's manifest and configuration as JSON
    Inspect {
        /// Name of the image
        name: String,
    },
    /// Write an image to an archive (NAME.tar, for `docker load`), or to a folder as an OCI layout
    Export {
        /// Name of the image
        name: String,
        /// An archive that ends with .tar, or a folder
        target: PathBuf,
    },
    /// Push an image to a registry; its reference is the last line of standard output
    #[command(
        after_help = "Layers are compressed, hashed and sent as one stream, and a layer is compressed once ever.\n\nExamples:\n  hoist image push shop/web registry.example/shop/web:1\n  hoist image push --compression zstd --sign cosign.key shop/web registry.example/shop/web:1"
    )]
    Push {
        /// Name of the image on this machine
        name: String,
        /// Repository and tag
        target: String,
        /// How layers travel: none, gzip or zstd; without it as they are
        #[arg(long, value_name = "FORM")]
        compression: Option<hoist_oci::Compression>,
        /// Let the tag go over from another image
        #[arg(long)]
        force: bool,
        /// Sign the image with this private key, as cosign does
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
        /// How progress is shown
        #[arg(short, long, value_enum, default_value = "auto")]
        output: Output,
    },
    /// The steps that made an image, with the size of their layers
    History {
        /// Name of the image
        name: String,
    },
    /// The files that differ between two images
    Diff {
        /// Name of the first image
        before: String,
        /// Name of the second image
        after: String,
    },
    /// What makes an image large, and what would make it smaller
    Why {
        /// Name of the image
        name: String,
    },
    /// Remove what builds left and nobody used for longest; named images stay
    Prune {
        /// Size that the cache may keep, such as 5G; 0 keeps nothing
        #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = bytes)]
        keep: u64,
        /// Also remove what was used in the last hour
        #[arg(long)]
        now: bool,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))
}

/// `default`, or `ID=SOCKET`.
fn agent(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((id, socket)) => Ok((id.to_owned(), socket.into())),
        None => match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => Ok((text.to_owned(), socket.into())),
            None => Err(
                "SSH_AUTH_SOCK is not set: start ssh-agent, or name a socket with ID=SOCKET"
                    .to_owned(),
            ),
        },
    }
}

fn context(text: &str) -> Result<(String, hoist_image::NamedContext), String> {
    let (name, context) = pair(text)?;
    match context.parse() {
        Ok(context) => Ok((name, context)),
        Err(never) => match never {},
    }
}

/// `500M`, `20G`, or a plain number of bytes; units are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        unit => return Err(format!("`{unit}` is no unit of size; use K, M, G or T")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is no size, such as 500M or 20G"))
}

/// As [`duration`], and nothing is a length too.
fn age(text: &str) -> Result<std::time::Duration, String> {
    match text {
        "0" | "0s" => Ok(std::time::Duration::ZERO),
        text => duration(text),
    }
}

/// `90s`, `20m`, `1h`; a plain number is seconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let (number, unit) = match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
        number if number.len() == text.len() => (number, "s"),
        number => (number, &text[number.len()..]),
    };
    let factor = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("`{unit}` is no unit of time; use s, m or h")),
    };
    match number.parse::<u64>() {
        Ok(number) if number > 0 => Ok(std::time::Duration::from_secs(
            number.saturating_mul(factor),
        )),
        _ => Err(format!(
            "`{text}` is no length of time; write `90s` or `20m`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert_eq!(duration("20m").unwrap().as_secs(), 1200);
        assert_eq!(duration("1h").unwrap().as_secs(), 3600);
        assert!(duration("0s").is_err() && duration("5 parsecs").is_err() && duration("").is_err());
    }
}
