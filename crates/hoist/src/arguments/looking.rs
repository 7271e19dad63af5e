//! Options of the commands that look.

use clap::Args;

use super::common::{Aws, Project};
use super::values::duration;
use crate::render::Format;

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
#[command(
    after_help = "For vCPU, memory and storage of tasks that always run, at AWS's published prices or those of hoist.yaml. Without a region --offline takes\nus-east-1.\n\nExamples:\n  hoist cost -e production\n  hoist cost --offline --output json"
)]
pub struct Cost {
    #[command(flatten)]
    pub look: Look,
    /// Only the definitions, without a call
    #[arg(long)]
    pub offline: bool,
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
#[command(
    after_help = "The time line goes from the build to the URL where this machine's journal knows the run, else from ECS's own times. ECS keeps stopped tasks for\nabout an hour: explain a deployment soon after it.\n\nExamples:\n  hoist explain -e production\n  hoist explain --local --output html > deployment.html\n  hoist explain --revision 7 --output json"
)]
pub struct Explain {
    #[command(flatten)]
    pub project: Project,
    #[command(flatten)]
    pub aws: Aws,
    /// Only this service (may be repeated)
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// A service deployment, by ARN or id, instead of the last one
    #[arg(long, value_name = "ID", conflicts_with = "revision")]
    pub deployment: Option<String>,
    /// The last deployment of this revision
    #[arg(long, value_name = "N")]
    pub revision: Option<u32>,
    /// How the time line is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Picture,
}

/// How a time line is written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Picture {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// A picture
    Svg,
    /// A page with the picture
    Html,
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
