//! Options of the commands that change something.

use std::path::PathBuf;

use clap::Args;

use super::common::{At, Aws, Building, Project};
use super::values::{age, duration, pair, repository};
use crate::render::{Format, Output};

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
    /// Go on with the last run, which was killed, from where it came; build nothing new
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
    after_help = "Nothing is changed; the build hook is run, because what is built may depend on it. With --detailed-exitcode, 30 means that there\nare changes, 0 that there are none.\n\nExamples:\n  hoist plan -e production\n  hoist plan --output markdown > comment.md\n  hoist plan --local --detailed-exitcode examples/hello\n  hoist plan -e production --revision 41"
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
    /// Plan a revision of the task definition that exists
    #[arg(long, value_name = "N", conflicts_with = "image")]
    pub revision: Option<u32>,
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
    after_help = "The deployment that waits is found by itself; from another terminal or another job than the one that deploys, which goes on watching.\nWithout --wait it returns as soon as ECS has taken the word.\n\nExamples:\n  hoist continue -e production\n  hoist continue -e production --service web --roll-back\n  hoist continue --local --wait 10m"
)]
pub struct Continue {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Roll back instead of going on
    #[arg(long)]
    pub roll_back: bool,
    /// Wait this long for a deployment that has not come to its pause yet, such as `90s` or `20m`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<std::time::Duration>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
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
    after_help = "The service needs `enableExecuteCommand: true` in its service definition. On AWS the session goes through AWS's session-manager-plugin where\nthat is installed; hoist needs it only for sessions that are encrypted with a key of KMS. hoist exits with the program's code where the channel tells it.\n\nExamples:\n  hoist exec -e production\n  hoist exec --local --task 0123abcd -- /bin/ls -l"
)]
pub struct Exec {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub aws: Aws,
    /// The service; may be left out where there is one
    #[arg(short, long, value_name = "NAME")]
    pub service: Option<String>,
    /// Task whose id begins with this; any running one if not named
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
    /// Container
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Program and arguments
    #[arg(last = true, value_name = "COMMAND", default_value = "/bin/sh")]
    pub command: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "hoist scale [OPTIONS] <COUNT>\n       hoist scale [OPTIONS] --min <TASKS> --max <TASKS>",
    after_help = "Returns when that many tasks run.\n\nExamples:\n  hoist scale 4 -e production\n  hoist scale 0 --local --service worker\n  hoist scale --min 2 --max 20 -e production"
)]
pub struct Scale {
    /// Number of tasks
    #[arg(required_unless_present_any = ["min", "max"])]
    pub count: Option<u32>,
    /// The fewest tasks that auto scaling leaves
    #[arg(long, value_name = "TASKS")]
    pub min: Option<u32>,
    /// The most tasks that auto scaling makes
    #[arg(long, value_name = "TASKS")]
    pub max: Option<u32>,
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
#[command(
    after_help = "Without --yes it only says what is there and what it would make; with it, it makes that, and a second time nothing. For the short form it\nuses the default VPC. The role for GitHub Actions trusts the jobs of one branch, or of one GitHub environment.\n\nExamples:\n  hoist bootstrap\n  hoist bootstrap --yes --github acme/shop\n  hoist bootstrap -e production --yes --github acme/shop --github-environment production"
)]
pub struct Bootstrap {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Make what is absent
    #[arg(long)]
    pub yes: bool,
    /// Repository at GitHub whose jobs may deploy; else that of git's `origin`
    #[arg(long, value_name = "OWNER/REPOSITORY", value_parser = repository)]
    pub github: Option<String>,
    /// Branch whose jobs may deploy
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub branch: String,
    /// GitHub environment whose jobs may deploy, instead of a branch
    #[arg(long, value_name = "NAME", conflicts_with = "branch")]
    pub github_environment: Option<String>,
    /// No role for GitHub Actions
    #[arg(long, conflicts_with_all = ["github", "branch", "github_environment"])]
    pub no_github: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
}

#[derive(Args, Debug)]
pub struct Render {
    #[command(flatten)]
    pub project: Project,
    /// AWS region
    #[arg(long)]
    pub region: Option<String>,
}
