//! The other engine, for real: Debian's Docker Engine, on a socket and at an address with certificates, builds what it is asked to, from bases that
//! only this machine has. So does a BuildKit at an address.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hoist_image::{
    BuildRequest, Builder, Engine, NamedContext, RegistryCache, Secret, SecretSource, Workspace,
    build, export,
};
use hoist_oci::{ExistingTag, ImageRef, PushOptions, Registry, RegistryOptions, Silent};

use crate::engines::Docker;
use crate::shared::DockerRegistry;
use crate::support::Bench;

const FOLDER: &str = "HOIST_TEST_BUILDKIT_FOLDER";
const ADDRESS: &str = "HOIST_TEST_BUILDER";
/// A cache in a registry: its reference, and user and password of the registry.
const CACHE: &str = "HOIST_TEST_BUILDER_CACHE";
const CERTIFICATES: &str = "HOIST_TEST_BUILDER_CERTS";
/// A folder with an unpacked Docker of version 24 or newer and its plug-in buildx (`scripts/newer-docker.sh` makes one).
const NEWER: &str = "HOIST_TEST_DOCKER";

const DOCKERFILE: &str = "ARG BASE=busybox\nFROM $BASE AS one\nARG WORD\nRUN --mount=type=secret,id=key echo $WORD $(wc -c < /run/secrets/key) > /out\n\
     FROM scratch\nCOPY --from=one /out /out\nCOPY --from=busybox /etc/group /group\nCOPY --from=other /etc/group /other\nCOPY a /a\nCMD [\"/x\"]\n";

/// No test of its own: the tests below run it with the environment that the engine is found by.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "read by the test that started it")]
async fn a_client_builds_when_it_is_told_to() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let workspace = Workspace::open(&folder.join("home")).unwrap();
    let builder = std::env::var(ADDRESS).ok().map(|address| Builder {
        address,
        certificates: std::env::var_os(CERTIFICATES).map(PathBuf::from),
    });
    let cache = std::env::var(CACHE).ok().map(|place| {
        let reference: ImageRef = place.parse().unwrap();
        let credentials = ("hoist".to_owned(), "secret".to_owned());
        RegistryCache {
            registry: RegistryOptions {
                credentials: [(reference.host().to_owned(), credentials)].into(),
                ..RegistryOptions::default()
            },
            reference,
            lazy: false,
        }
    });
    let request = BuildRequest {
        engine: Engine::Buildkit,
        builder,
        registry_cache: cache.clone(),
        build_args: vec![("WORD".into(), "given".into())],
        annotations: vec![("note".into(), "kept".into())],
        secrets: vec![Secret {
            id: "key".into(),
            source: SecretSource::File(folder.join("secret")),
        }],
        contexts: vec![(
            "other".into(),
            NamedContext::Layout(folder.join("layout"), None),
        )],
        ..BuildRequest::new(folder.join("context"))
    };
    match build(&workspace, &request, &|_| {}).await {
        Ok(built) => {
            hoist_image::name(&workspace, "built", &built.manifest).unwrap();
            println!("built: {}", built.engine_reason);
            println!("cached: {}.", built.steps_cached);
            let options = PushOptions {
                existing_tag: ExistingTag::Move,
                ..PushOptions::default()
            };
            for (place, content) in &built.caches {
                Registry::new(cache.as_ref().unwrap().registry.clone())
                    .push(&workspace.store, content, place, &options, &Silent)
                    .await
                    .unwrap();
            }
        }
        Err(error) => println!("failed: {error}: {:?}\n{:#?}", error.hint(), error.output()),
    }
}

/// What the client says with that environment: `built: ...`, or `failed: ...`.
fn client(bench: &Bench, environment: &[(&str, &str)]) -> String {
    let test = "buildkit::a_client_builds_when_it_is_told_to";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, bench.folder.path())
        .env("DOCKER_CONFIG", bench.folder.path().join("docker"))
        .env_remove("DOCKER_HOST")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn assert_built(bench: &Bench, said: &str, reason: &str) {
    assert!(said.contains("built: ") && said.contains(reason), "{said}");
    let image = hoist_image::inspect(&bench.workspace, "built").unwrap();
    assert_eq!(image.config.config.cmd, Some(vec!["/x".to_owned()]));
    assert_eq!(image.manifest.annotations["note"], "kept");
    let mut files = BTreeMap::new();
    for layer in &image.manifest.layers {
        for (path, file) in bench.layer(&layer.digest) {
            files.insert(path, file.content);
        }
    }
    assert_eq!(files["out"], "given 6\n");
    assert_eq!(files["a"], "from the context");
    assert!(files["group"].starts_with("root:x:0:"));
    assert_eq!(files["group"], files["other"]);
    hoist_image::remove(&bench.workspace, "built").unwrap();
}

async fn bench() -> Bench {
    let bench = Bench::with_busybox().await;
    bench
        .write("a", "from the context")
        .write("../secret", "hidden")
        .write("Dockerfile", DOCKERFILE);
    let folder = bench.folder.path();
    export(&bench.workspace, "busybox", &folder.join("base.tar")).unwrap();
    export(&bench.workspace, "busybox", &folder.join("layout")).unwrap();
    certificates(&folder.join("tls"));
    bench
}

/// An authority, and what it signed for a server on 127.0.0.1 (`server.pem`) and for a client (`client/cert.pem`).
fn certificates(folder: &Path) {
    std::fs::create_dir_all(folder.join("client")).unwrap();
    let script = "set -e
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=ca
        echo 'subjectAltName=IP:127.0.0.1' > names
        for who in server client; do
          openssl req $new -keyout $who-key.pem -out $who.csr -subj /CN=$who
          openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $who.pem -extfile names
        done
        cp ca.pem client/; mv client.pem client/cert.pem; mv client-key.pem client/key.pem";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "the tests need openssl: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_runs_steps_on_a_base_that_only_this_machine_has() {
    let bench = bench().await;
    let folder = bench.folder.path();
    let tls = folder.join("tls").display().to_string();
    let address = format!("tcp://127.0.0.1:{}", free_port());
    let options = [
        format!("--host={address}"),
        "--tlsverify".into(),
        format!("--tlscacert={tls}/ca.pem"),
        format!("--tlscert={tls}/server.pem"),
        format!("--tlskey={tls}/server-key.pem"),
    ];
    let docker = Docker::start_with(&folder.join("base.tar"), &options);
    let path = docker.client.parent().unwrap().display().to_string();
    let path = format!("{path}:/usr/bin:/bin");
    let said = client(&bench, &[("PATH", &path), ("DOCKER_HOST", &docker.host)]);
    assert_built(&bench, &said, "without a bridge network");
    // The user's own names stay what they were.
    let tags = docker
        .command(&["image", "ls", "--format", "{{.Repository}}"])
        .output()
        .unwrap();
    let tags = String::from_utf8_lossy(&tags.stdout).into_owned();
    assert!(
        tags.lines().any(|name| name == "hoist.local/base"),
        "{tags}"
    );
    // From elsewhere it takes those who show a certificate, and nobody else.
    let certificates = format!("{tls}/client");
    let mut remote = vec![
        ("PATH", path.as_str()),
        ("DOCKER_HOST", address.as_str()),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", certificates.as_str()),
    ];
    assert_built(&bench, &client(&bench, &remote), "it was asked for");
    remote.truncate(2);
    let said = client(&bench, &remote);
    assert!(said.contains("failed: the engine buildkit needs"), "{said}");
}

/// What differs with each run, so that it shows whether a step ran again.
const RANDOM: &str = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nCOPY a /a\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_docker_goes_on_where_another_one_was() {
    let server = DockerRegistry::start_closed().await;
    let bench = bench().await;
    bench.write("Dockerfile", RANDOM);
    let base = bench.folder.path().join("base.tar");
    let cache = server.reference("app:hoist-cache").to_string();
    let mut contents = Vec::new();
    for from_cache in [false, true, false] {
        let docker = Docker::start(&base);
        let path = docker.client.parent().unwrap().display().to_string();
        let path = format!("{path}:/usr/bin:/bin");
        let mut environment = vec![
            ("PATH", path.as_str()),
            ("DOCKER_HOST", &docker.host),
            (CACHE, &cache),
        ];
        if contents.len() == 2 {
            environment.truncate(2);
        }
        let said = client(&bench, &environment);
        assert_eq!(!said.contains("cached: 0."), from_cache, "{said}");
        let image = hoist_image::inspect(&bench.workspace, "built").unwrap();
        contents.push(image.config.rootfs.diff_ids);
    }
    assert_eq!(contents[0], contents[1], "the same layers");
    assert_ne!(contents[1], contents[2], "without the cache it runs again");
}

#[tokio::test(flavor = "multi_thread")]
async fn buildctl_is_told_what_the_request_says_and_its_archive_becomes_the_image() {
    let bench = bench().await;
    let folder = bench.folder.path();
    let programs = folder.join("bin");
    std::fs::create_dir(&programs).unwrap();
    let buildctl = programs.join("buildctl");
    // Keeps what it was told, and gives an image that was built before.
    let script = "#!/bin/sh
        case \"$*\" in *'debug workers') echo worker; exit ;; esac
        here=$(dirname $0)
        for word; do
          echo \"$word\" >> $here/told
          case $word in
            --output=*) cp $here/../base.tar ${word#*dest=} ;;
            --local=dockerfile=*) cp ${word#*=*=}/Dockerfile $here/ ;;
            --oci-layout=*) cat ${word#*=*=}/index.json >> $here/lent ;;
          esac
        done\n";
    std::fs::write(&buildctl, script).unwrap();
    std::fs::set_permissions(&buildctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let tls = folder.join("tls/client").display().to_string();
    let told = client(
        &bench,
        &[
            ("PATH", &path),
            (ADDRESS, "tcp://builds.example:1234"),
            (CERTIFICATES, &tls),
        ],
    );
    assert!(
        told.contains("BuildKit answers at tcp://builds.example:1234 (by buildctl, by mutual TLS)"),
        "{told}"
    );
    let base = hoist_image::inspect(&bench.workspace, "busybox").unwrap();
    let built = hoist_image::inspect(&bench.workspace, "built").unwrap();
    assert_eq!(
        built.config.rootfs.diff_ids, base.config.rootfs.diff_ids,
        "the archive"
    );
    let name = format!("hoist.local/base:{}", &base.config_digest.hex()[..16]);
    let told = std::fs::read_to_string(programs.join("told")).unwrap();
    let context = folder.join("context").display().to_string();
    let expected = [
        "--addr=tcp://builds.example:1234".to_owned(),
        format!("--tlscacert={tls}/ca.pem"),
        format!("--tlscert={tls}/cert.pem"),
        format!("--tlskey={tls}/key.pem"),
        "build".into(),
        "--frontend=dockerfile.v0".into(),
        format!("--local=context={context}"),
        "--opt=filename=Dockerfile".into(),
        "--opt=build-arg:WORD=given".into(),
        format!("--secret=id=key,src={}", folder.join("secret").display()),
        format!(
            "--opt=context:{name}=oci-layout://layout-0@{}",
            base.descriptor.digest
        ),
    ];
    for word in &expected {
        assert!(told.lines().any(|line| line == word), "{word} in\n{told}");
    }
    let lent = std::fs::read_to_string(programs.join("lent")).unwrap();
    assert!(lent.contains(&base.descriptor.digest.to_string()), "{lent}");
    let dockerfile = std::fs::read_to_string(programs.join("Dockerfile")).unwrap();
    assert!(
        dockerfile.contains(&format!("COPY --from={name} /etc/group /other")),
        "{dockerfile}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_cannot_be_reached_is_said_with_what_to_do() {
    let bench = bench().await;
    let tls = bench.folder.path().join("tls").display().to_string();
    let empty = bench.folder.path().join("empty").display().to_string();
    let path = ("PATH", empty.as_str());
    for (environment, said) in [
        (vec![(ADDRESS, "https://b:1")], "begins with https://"),
        (vec![(ADDRESS, "tcp://b")], "`tcp://b` has no port"),
        (vec![(ADDRESS, "b:1234")], "neither an address nor the name"),
        (
            vec![(ADDRESS, "tcp://b:1"), (CERTIFICATES, &tls)],
            "does not hold the certificates of a client: Some(\"put these files there: ca.pem, cert.pem, key.pem",
        ),
        (
            vec![(ADDRESS, "unix:///b"), (CERTIFICATES, &tls)],
            "certificates are for tcp:// addresses",
        ),
        (
            vec![(ADDRESS, "tcp://b:1")],
            "is reached by buildctl or docker's plug-in buildx, and neither is installed",
        ),
        (
            vec![(ADDRESS, "mine")],
            "the docker command with its plug-in buildx, which is not installed",
        ),
    ] {
        let environment: Vec<_> = environment.into_iter().chain([path]).collect();
        let answer = client(&bench, &environment);
        assert!(answer.contains(said), "{said} in\n{answer}");
    }
}

/// The bridge between an address and the BuildKit of a Docker Engine; ends with its value.
struct Bridge(Child);

impl Bridge {
    fn start(arguments: &[&str]) -> Bridge {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/building/builder.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Bridge(child)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the environment names a newer Docker: the BuildKit in it is put at addresses of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_buildkit_at_an_address_builds_by_socket_and_by_mutual_tls() {
    let Some(newer) = std::env::var_os(NEWER).map(PathBuf::from) else {
        return;
    };
    let bench = bench().await;
    // Steps of a BuildKit at an address have no network of this machine.
    let text = DOCKERFILE.replace("RUN --mount", "RUN --network=none --mount");
    bench.write("Dockerfile", &text);
    let folder = bench.folder.path();
    let docker = Docker::start_newer(&newer, &folder.join("base.tar"));
    let engine = docker.host.strip_prefix("unix://").unwrap();
    let tls = folder.join("tls").display().to_string();
    let certificates = format!("{tls}/client");
    let port = free_port().to_string();
    let socket = folder.join("buildkit").display().to_string();
    let _by_tls = Bridge::start(&[engine, &port, &tls]);
    let _by_socket = Bridge::start(&[engine, &socket]);
    let path = format!("{}:/usr/bin:/bin", newer.join("usr/bin").display());
    let plugins = folder.join("docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = newer.join("usr/libexec/docker/cli-plugins/docker-buildx");
    std::os::unix::fs::symlink(plugin, plugins.join("docker-buildx")).unwrap();

    let address = format!("tcp://127.0.0.1:{port}");
    let mut environment = vec![
        ("PATH", path.as_str()),
        (ADDRESS, address.as_str()),
        (CERTIFICATES, certificates.as_str()),
    ];
    let said = client(&bench, &environment);
    assert_built(&bench, &said, "(by buildx, by mutual TLS)");
    environment.truncate(2);
    let said = client(&bench, &environment);
    assert!(
        said.contains("failed: no BuildKit answers at tcp://127.0.0.1:")
            && said.contains("needs --builder-certs FOLDER"),
        "{said}"
    );
    let address = format!("unix://{socket}");
    environment[1] = (ADDRESS, &address);
    assert_built(&bench, &client(&bench, &environment), "(by buildx)");

    // The cache that it writes serves another one, which is empty.
    let server = DockerRegistry::start_closed().await;
    let text = RANDOM.replace("RUN", "RUN --network=none");
    bench.write("Dockerfile", &text);
    let cache = server.reference("app:hoist-cache").to_string();
    environment.push((CACHE, &cache));
    let built = || {
        // "docker builder" would want buildx.
        let prune = ["system", "prune", "--all", "--force"];
        assert!(docker.command(&prune).status().unwrap().success());
        let said = client(&bench, &environment);
        let (_, cached) = said.split_once("cached: ").expect(&said);
        let cached: usize = cached.split_once('.').unwrap().0.parse().unwrap();
        let image = hoist_image::inspect(&bench.workspace, "built").unwrap();
        (cached, image.config.rootfs.diff_ids)
    };
    let (_, first) = built();
    let (cached, again) = built();
    assert_eq!(again, first);
    assert!(cached > 0, "no step was in the cache");
}
