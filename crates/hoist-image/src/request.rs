//! What a caller asks for and gets.

use std::path::PathBuf;

use hoist_oci::spec::{Descriptor, Platform};
use hoist_oci::{Compression, Digest, EarlyUploads, ImageRef, RegistryOptions};

use crate::layer::Form;

/// Which engine builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// The embedded one where this machine can run it, else a Docker Engine.
    #[default]
    Auto,
    /// The engine of this crate: Linux, no daemon.
    Embedded,
    /// BuildKit: that of a [`Builder`], or of a Docker Engine through the `docker` command.
    Buildkit,
}

/// A BuildKit that is not that of the Docker Engine in use: builds leave the machine by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// `tcp://HOST:PORT`, `unix:///SOCKET`, or the name of a builder that `docker buildx ls` lists.
    pub address: String,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem` (or `ca.crt`, `tls.crt` and `tls.key`) for mutual TLS.
    pub certificates: Option<PathBuf>,
}

/// A secret for `RUN --mount=type=secret`. It never reaches a layer, a log or a cache key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name that the Dockerfile uses.
    pub id: String,
    /// Where its value is.
    pub source: SecretSource,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable of this process.
    Environment(String),
}

impl std::str::FromStr for Secret {
    type Err = String;

    /// Reads `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, or `id=NAME` alone, which stands for the variable of that name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut id, mut source) = (None, None);
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("`{field}` is not of the form KEY=VALUE"))?;
            match key {
                "id" => id = Some(value.to_owned()),
                "src" | "source" => source = Some(SecretSource::File(value.into())),
                "env" => source = Some(SecretSource::Environment(value.into())),
                "type" if matches!(value, "file" | "env") => {}
                _ => {
                    return Err(format!(
                        "`{key}` is no field of a secret: they are id, src and env"
                    ));
                }
            }
        }
        let id = id
            .filter(|id| !id.is_empty())
            .ok_or("a secret needs an id: --secret id=NAME,src=FILE")?;
        Ok(Secret {
            source: source.unwrap_or_else(|| SecretSource::Environment(id.clone())),
            id,
        })
    }
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder of this machine, with its own `.dockerignore`.
    Folder(PathBuf),
    /// Another image.
    Image(String),
    /// An image in an OCI layout on disk; the tag, where there are several.
    Layout(PathBuf, Option<String>),
}

impl std::str::FromStr for NamedContext {
    type Err = std::convert::Infallible;

    /// Reads `docker-image://NAME`, `oci-layout://FOLDER[:TAG]`, or a folder.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("docker-image://") {
            return Ok(NamedContext::Image(name.into()));
        }
        if let Some(rest) = text.strip_prefix("oci-layout://") {
            let named = rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
            return Ok(match named {
                Some((folder, tag)) => NamedContext::Layout(folder.into(), Some(tag.into())),
                None => NamedContext::Layout(rest.into(), None),
            });
        }
        Ok(NamedContext::Folder(text.into()))
    }
}

/// Where a registry keeps the cache of steps.
#[derive(Debug, Clone)]
pub struct RegistryCache {
    /// How the registry is reached.
    pub registry: RegistryOptions,
    /// Repository and tag.
    pub reference: ImageRef,
    /// Layers that only go into the image are not fetched: whoever pushes it finds them there.
    pub lazy: bool,
}

/// Everything that a build needs to know.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The folder that `COPY` and `ADD` read.
    pub context: PathBuf,
    /// The Dockerfile, relative to the context unless it is absolute.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one by default.
    pub target: Option<String>,
    /// Values for `ARG`, in the order given.
    pub build_args: Vec<(String, String)>,
    /// What the image is for.
    pub platform: Platform,
    /// More platforms: the image becomes an index with a manifest for each.
    pub more_platforms: Vec<Platform>,
    /// Labels added to the image, over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
    /// Secrets that steps may mount.
    pub secrets: Vec<Secret>,
    /// Agents for `RUN --mount=type=ssh`: their ids (`default` is the usual one) and sockets.
    pub ssh: Vec<(String, PathBuf)>,
    /// Named contexts: what `FROM name` and `--from=name` mean before stages and registries are asked.
    pub contexts: Vec<(String, NamedContext)>,
    /// A cache in a registry, read before the build; what is to be written there comes back in [`BuiltImage::cache`].
    pub registry_cache: Option<RegistryCache>,
    /// Takes the layers of the image to their repository while they are compressed.
    pub early: Option<EarlyUploads>,
    /// Runs every step again.
    pub no_cache: bool,
    /// Where a command fails, a shell in the same place talks to the terminal of this process.
    pub debug_shell: bool,
    /// The engine.
    pub engine: Engine,
    /// Where BuildKit is; the embedded engine has no use for it.
    pub builder: Option<Builder>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Layers of 10 MiB and more get a table of contents, and the image becomes an index with a SOCI index (version 2), so that Fargate can start
    /// before it has all of it. Means gzip.
    pub soci: bool,
    /// How registries are reached.
    pub registry: RegistryOptions,
    /// The program that becomes a container's first process (see [`hoist_runtime::init`]).
    pub init_program: PathBuf,
}

impl BuildRequest {
    /// A request with defaults for everything but the context: `Dockerfile` in it, this machine's platform, gzip.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        BuildRequest {
            context: context.into(),
            dockerfile: PathBuf::from("Dockerfile"),
            target: None,
            build_args: Vec::new(),
            platform: Platform::host(),
            more_platforms: Vec::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            ssh: Vec::new(),
            contexts: Vec::new(),
            secrets: Vec::new(),
            registry_cache: None,
            early: None,
            no_cache: false,
            debug_shell: false,
            engine: Engine::default(),
            builder: None,
            compression: Compression::Gzip,
            soci: false,
            registry: RegistryOptions::default(),
            init_program: PathBuf::from("/proc/self/exe"),
        }
    }

    /// How the layers of the image are stored.
    pub(crate) fn form(&self) -> Form<'_> {
        Form {
            compression: self.compression,
            early: self.early.as_ref(),
            indexed: self.soci,
        }
    }

    /// The Dockerfile's path: relative ones start at the context.
    pub fn dockerfile_path(&self) -> PathBuf {
        self.context.join(&self.dockerfile)
    }
}

/// A finished image in the workspace's store.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Its manifest; the index, where it has several.
    pub manifest: Descriptor,
    /// Digest of its config, which `docker` calls the image id.
    pub config_digest: Digest,
    /// What it is for: of several platforms this machine's, or the first.
    pub platform: Platform,
    /// Digest of everything it was built from.
    pub inputs: Digest,
    /// Images that it was built from, with the digests of their manifests.
    pub bases: Vec<(String, Digest)>,
    /// What is to be pushed for [`BuildRequest::registry_cache`], and where to.
    pub caches: Vec<(ImageRef, Descriptor)>,
    /// Steps that ran.
    pub steps_run: usize,
    /// Steps whose result was in the cache.
    pub steps_cached: usize,
    /// `embedded` or `buildkit`.
    pub engine: &'static str,
    /// Why that engine was chosen.
    pub engine_reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_docker_writes_them() {
        let read = |text: &str| text.parse::<Secret>();
        let file = read("id=a,src=/x").unwrap();
        assert!(file.id == "a" && file.source == SecretSource::File("/x".into()));
        let environment = SecretSource::Environment("A".into());
        assert!(read("type=env,id=a,env=A").unwrap().source == environment);
        assert!(read("id=A").unwrap().source == environment);
        for wrong in ["a", "src=/x", "id=", "id=a,file=x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", read("id=a,src=/secret").unwrap()).contains("/secret"));
    }

    #[test]
    fn contexts_are_folders_images_or_layouts() {
        let read = |text: &str| text.parse::<NamedContext>().unwrap();
        assert_eq!(read("../x"), NamedContext::Folder("../x".into()));
        assert_eq!(
            read("docker-image://a:b"),
            NamedContext::Image("a:b".into())
        );
        assert_eq!(
            read("oci-layout:///l:v1"),
            NamedContext::Layout("/l".into(), Some("v1".into()))
        );
        assert_eq!(
            read("oci-layout://l/x"),
            NamedContext::Layout("l/x".into(), None)
        );
    }
}
