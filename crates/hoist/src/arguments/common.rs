//! What most commands are told: which project, which AWS, how the image is built.

use std::path::PathBuf;

use clap::Args;

use super::values::{agent, context, pair};

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
    /// BuildKit at tcp://HOST:PORT or unix:///SOCKET, or the name of a builder of `docker buildx`
    #[arg(long, value_name = "ADDRESS", env = "BUILDKIT_HOST")]
    pub builder: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem for a builder that asks for certificates
    #[arg(long, value_name = "FOLDER", env = "HOIST_BUILDER_CERTS")]
    pub builder_certs: Option<PathBuf>,
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
    /// BuildKit: that of --builder, or in a Docker Engine
    Buildkit,
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
