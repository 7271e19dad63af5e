//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::render::Output;

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
    /// Print the definitions that would be registered
    Render(Render),
    /// Check hoist.yaml and the definitions it names
    Check(Render),
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
    after_help = "The URL is the last line of standard output; everything else goes to standard error.\n\nExamples:\n  hoist deploy --local examples/hello\n  hoist deploy -e production --timeout 20m\n  hoist deploy --service web --count 4"
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
    /// How progress is shown
    #[arg(short, long, value_enum, default_value = "auto")]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Files that exist are kept.\n\nExample:\n  hoist init && hoist deploy --local"
)]
pub struct Init {
    /// Folder with the Dockerfile
    #[arg(default_value = ".")]
    pub folder: PathBuf,
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
    #[arg(long, value_name = "native|docker")]
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
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))
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
