//! A BuildKit at an address of its own, and the client that reaches it: `buildctl`, or buildx of the `docker` command.
//!
//! Options of `buildctl`: <https://github.com/moby/buildkit/blob/master/docs/reference/buildctl.md>; of buildx' `remote` driver:
//! <https://docs.docker.com/build/builders/drivers/remote/>.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_oci::Digest;
use tokio::process::Command;

use crate::engine::{on_path, said};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::kit_cache;
use crate::request::{BuildRequest, Builder, NamedContext, SecretSource};

/// Where the files of a folder of certificates go by these names: Docker's and BuildKit's own, and those of a Kubernetes secret.
const CERTIFICATES: [[&str; 3]; 2] = [
    ["ca.pem", "cert.pem", "key.pem"],
    ["ca.crt", "tls.crt", "tls.key"],
];

/// How addresses begin.
const SCHEMES: [&str; 6] = [
    "tcp",
    "unix",
    "docker-container",
    "podman-container",
    "kube-pod",
    "ssh",
];

/// The builder's name in a folder of buildx that is only ours.
const OURS: &str = "hoist";

/// A BuildKit that answers at its address.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    client: Client,
    pub(crate) address: String,
    tls: Option<Certificates>,
}

/// What speaks to it.
#[derive(Debug, Clone)]
enum Client {
    Buildctl(PathBuf),
    Buildx {
        docker: PathBuf,
        name: String,
        /// Where buildx keeps what it knows of a builder of ours, so that the user's own builders stay as they are.
        state: Option<Arc<tempfile::TempDir>>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Certificates {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// An image that the builder gets from this machine.
pub(crate) struct Layout {
    /// What the Dockerfile calls it.
    pub name: String,
    /// Its OCI layout.
    pub folder: PathBuf,
    pub digest: Digest,
}

/// Finds the client and sees whether the builder answers.
pub(crate) async fn reach(builder: &Builder) -> Result<Remote> {
    let (address, tls) = checked(builder)?;
    let remote = Remote {
        client: client(&address, tls.as_ref()).await?,
        address,
        tls,
    };
    let answer = match &remote.client {
        Client::Buildctl(_) => remote.answer(&["debug", "workers"]).await,
        // One of the user's own that does not run yet is started by the build.
        Client::Buildx {
            name, state: None, ..
        } => remote.answer(&["buildx", "inspect", name]).await,
        Client::Buildx { name, .. } => remote.answer(&["buildx", "du", "--builder", name]).await,
    };
    match answer {
        Ok(_) => Ok(remote),
        Err(why) => Err(BuildError::new(
            BuildErrorKind::Machine,
            format!("no BuildKit answers at {}: {why}", remote.address),
        )
        .with_hint(remote.next_step())),
    }
}

/// An address that can be one, and the certificates for it.
fn checked(builder: &Builder) -> Result<(String, Option<Certificates>)> {
    let wrong = |message: String, hint: &str| {
        BuildError::new(BuildErrorKind::Machine, message).with_hint(hint)
    };
    let address = builder.address.as_str();
    if let Some((scheme, rest)) = address.split_once("://") {
        if !SCHEMES.contains(&scheme) {
            return Err(wrong(
                format!("`{address}` is no address of a BuildKit: it begins with {scheme}://"),
                "write tcp://HOST:PORT or unix:///SOCKET",
            ));
        }
        let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if scheme == "tcp" && !matches!(port, Some(Ok(_))) {
            return Err(wrong(
                format!("`{address}` has no port"),
                "write tcp://HOST:PORT; buildkitd usually listens on 1234",
            ));
        }
    } else if address.is_empty() || address.contains(['/', ':']) {
        return Err(wrong(
            format!("`{address}` is neither an address nor the name of a builder"),
            "write tcp://HOST:PORT, unix:///SOCKET, or a name that `docker buildx ls` lists",
        ));
    }
    let tls = match &builder.certificates {
        None => None,
        Some(_) if !address.starts_with("tcp://") => {
            return Err(wrong(
                format!("certificates are for tcp:// addresses, and the builder is {address}"),
                "leave out --builder-certs",
            ));
        }
        Some(folder) => Some(certificates(folder)?),
    };
    Ok((address.to_owned(), tls))
}

fn certificates(folder: &Path) -> Result<Certificates> {
    for names in CERTIFICATES {
        let [ca, cert, key] = names.map(|name| folder.join(name));
        if [&ca, &cert, &key].iter().all(|file| file.is_file()) {
            return Ok(Certificates { ca, cert, key });
        }
    }
    let lists = CERTIFICATES.map(|names| names.join(", "));
    Err(BuildError::new(
        BuildErrorKind::Machine,
        format!(
            "the folder {} does not hold the certificates of a client",
            folder.display()
        ),
    )
    .with_hint(format!(
        "put these files there: {} (or {})",
        lists[0], lists[1]
    )))
}

/// `buildctl` where it is installed, else buildx.
async fn client(address: &str, tls: Option<&Certificates>) -> Result<Client> {
    let named = !address.contains("://");
    if !named && let Some(buildctl) = on_path("buildctl").next() {
        return Ok(Client::Buildctl(buildctl));
    }
    for docker in on_path("docker") {
        if said(&docker, &["buildx", "version"], &[]).await.is_err() {
            continue;
        }
        if named {
            let name = address.to_owned();
            return Ok(Client::Buildx {
                docker,
                name,
                state: None,
            });
        }
        let failed = |error| BuildError::io("make a folder for buildx", error);
        let state = tempfile::tempdir().map_err(failed)?;
        let mut create = vec!["buildx", "create", "--name", OURS, "--driver", "remote"];
        let option = tls.map(|tls| {
            let fields = [("cacert", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)];
            fields
                .map(|(name, file)| field(&format!("{name}={}", file.display())))
                .join(",")
        });
        if let Some(option) = &option {
            create.extend(["--driver-opt", option]);
        }
        create.push(address);
        let known = [("BUILDX_CONFIG", state.path())];
        said(&docker, &create, &known).await.map_err(|why| {
            BuildError::new(
                BuildErrorKind::Machine,
                format!("buildx refuses the builder {address}: {why}"),
            )
        })?;
        return Ok(Client::Buildx {
            docker,
            name: OURS.into(),
            state: Some(Arc::new(state)),
        });
    }
    let (lacks, hint) = if named {
        (
            "the docker command with its plug-in buildx, which is not installed",
            "install docker-buildx, or name the builder by its address",
        )
    } else {
        (
            "buildctl or docker's plug-in buildx, and neither is installed",
            "install buildctl (https://github.com/moby/buildkit/releases) or docker-buildx, or build with --engine embedded",
        )
    };
    Err(BuildError::new(
        BuildErrorKind::Machine,
        format!("the builder {address} is reached by {lacks}"),
    )
    .with_hint(hint))
}

impl Remote {
    /// What the reason for the engine says of it.
    pub(crate) fn said(&self) -> String {
        let by = match &self.client {
            Client::Buildctl(_) => "buildctl",
            Client::Buildx { .. } => "buildx",
        };
        let how = match self.tls {
            Some(_) => ", by mutual TLS",
            None if self.address.starts_with("tcp://") => ", without encryption",
            None => "",
        };
        format!("BuildKit answers at {} (by {by}{how})", self.address)
    }

    fn next_step(&self) -> String {
        if !self.address.contains("://") {
            return "`docker buildx ls` lists the builders that there are".into();
        }
        let first = "see whether buildkitd listens there";
        match (&self.tls, self.address.starts_with("tcp://")) {
            (None, true) => {
                format!("{first}; one that asks for certificates needs --builder-certs FOLDER")
            }
            (Some(_), _) => {
                format!("{first}, and whether its certificates and ours are of one authority")
            }
            (None, false) => first.into(),
        }
    }

    async fn answer(&self, arguments: &[&str]) -> std::result::Result<String, String> {
        match &self.client {
            Client::Buildctl(program) => {
                let mut all = self.address_options();
                all.extend(arguments.iter().map(|word| (*word).to_owned()));
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                said(program, &all, &[]).await
            }
            Client::Buildx { docker, state, .. } => {
                let known = state.iter().map(|state| ("BUILDX_CONFIG", state.path()));
                said(docker, arguments, &known.collect::<Vec<_>>()).await
            }
        }
    }

    /// The options by which buildctl finds the builder.
    fn address_options(&self) -> Vec<String> {
        let mut options = vec![format!("--addr={}", self.address)];
        if let Some(tls) = &self.tls {
            options.extend([
                format!("--tlscacert={}", tls.ca.display()),
                format!("--tlscert={}", tls.cert.display()),
                format!("--tlskey={}", tls.key.display()),
            ]);
        }
        options
    }

    /// The command that builds, and writes the image into `archive` as `docker save` would.
    pub(crate) fn build(
        &self,
        request: &BuildRequest,
        dockerfile: &Path,
        layouts: &[Layout],
        archive: &Path,
    ) -> Command {
        let output = format!(
            "--output=type=docker,{}",
            field(&format!("dest={}", archive.display()))
        );
        let (read, written) = kit_cache::options(request);
        match &self.client {
            Client::Buildctl(program) => {
                let mut command = Command::new(program);
                command
                    .args(self.address_options())
                    .args(["build", "--progress=plain", &output])
                    .args(read.map(|cache| format!("--import-cache={cache}")))
                    .args(written.map(|cache| format!("--export-cache={cache}")))
                    .args(buildctl_options(request, dockerfile, layouts));
                command
            }
            Client::Buildx {
                docker,
                name,
                state,
            } => {
                let mut command = Command::new(docker);
                command
                    .args(["buildx", "build", "--progress=plain"])
                    .args([format!("--builder={name}"), output])
                    .arg(format!("--platform={}", request.platform))
                    .args(read.map(|cache| format!("--cache-from={cache}")))
                    .args(written.map(|cache| format!("--cache-to={cache}")))
                    .args(docker_options(request, dockerfile));
                for layout in layouts {
                    command.arg(format!(
                        "--build-context={}=oci-layout://{}@{}",
                        layout.name,
                        layout.folder.display(),
                        layout.digest
                    ));
                }
                command.arg("--").arg(&request.context);
                if let Some(state) = state {
                    command.env("BUILDX_CONFIG", state.path());
                }
                command
            }
        }
    }
}

/// What `docker build` and `docker buildx build` are told alike.
pub(crate) fn docker_options(request: &BuildRequest, dockerfile: &Path) -> Vec<String> {
    let mut options = vec![format!("--file={}", dockerfile.display())];
    let pair =
        |option: &str, (name, value): &(String, String)| format!("--{option}={name}={value}");
    options.extend(
        request
            .target
            .iter()
            .map(|target| format!("--target={target}")),
    );
    options.extend(request.build_args.iter().map(|arg| pair("build-arg", arg)));
    options.extend(request.labels.iter().map(|label| pair("label", label)));
    options.extend(agents_and_secrets(request));
    for (name, context) in &request.contexts {
        let context = match context {
            NamedContext::Folder(folder) => folder.display().to_string(),
            NamedContext::Image(image) => format!("docker-image://{image}"),
            // Lent, like the images of this machine.
            NamedContext::Layout(..) => continue,
        };
        options.push(format!("--build-context={name}={context}"));
    }
    if request.no_cache {
        options.push("--no-cache".into());
    }
    options
}

/// What `buildctl build` is told.
fn buildctl_options(request: &BuildRequest, dockerfile: &Path, layouts: &[Layout]) -> Vec<String> {
    let folder = dockerfile
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let file = dockerfile.file_name().unwrap_or(dockerfile.as_os_str());
    let mut options = vec![
        "--frontend=dockerfile.v0".to_owned(),
        format!("--local=context={}", request.context.display()),
        format!(
            "--local=dockerfile={}",
            folder.unwrap_or(Path::new(".")).display()
        ),
        format!("--opt=filename={}", file.display()),
        format!("--opt=platform={}", request.platform),
    ];
    let pair = |key: &str, (name, value): &(String, String)| format!("--opt={key}:{name}={value}");
    options.extend(
        request
            .target
            .iter()
            .map(|target| format!("--opt=target={target}")),
    );
    options.extend(request.build_args.iter().map(|arg| pair("build-arg", arg)));
    options.extend(request.labels.iter().map(|label| pair("label", label)));
    options.extend(agents_and_secrets(request));
    for (number, (name, context)) in request.contexts.iter().enumerate() {
        match context {
            NamedContext::Folder(folder) => options.extend([
                format!("--local=context-{number}={}", folder.display()),
                format!("--opt=context:{name}=local:context-{number}"),
            ]),
            NamedContext::Image(image) => {
                options.push(format!("--opt=context:{name}=docker-image://{image}"));
            }
            NamedContext::Layout(..) => continue,
        }
    }
    for (number, layout) in layouts.iter().enumerate() {
        options.extend([
            format!("--oci-layout=layout-{number}={}", layout.folder.display()),
            format!(
                "--opt=context:{}=oci-layout://layout-{number}@{}",
                layout.name, layout.digest
            ),
        ]);
    }
    if request.no_cache {
        options.push("--no-cache".into());
    }
    options
}

fn agents_and_secrets(request: &BuildRequest) -> Vec<String> {
    let mut options = Vec::new();
    for secret in &request.secrets {
        options.push(match &secret.source {
            SecretSource::File(path) => {
                let source = field(&format!("src={}", path.display()));
                format!("--secret=id={},{source}", secret.id)
            }
            SecretSource::Environment(name) => format!("--secret=id={},env={name}", secret.id),
        });
    }
    for (id, socket) in &request.ssh {
        options.push(format!("--ssh={id}={}", socket.display()));
    }
    options
}

/// A field of an option that is a line of comma-separated values.
fn field(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
