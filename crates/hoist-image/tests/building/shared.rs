//! What goes to a registry beside an image: the cache of steps for empty machines, packages and provenance. The registry is Debian's.

use std::process::{Child, Command, Stdio};

use hoist_image::{RegistryCache, import, provenance, sbom};
use hoist_oci::spec::Platform;
use hoist_oci::{ExistingTag, ImageRef, PushOptions, Registry, RegistryOptions, Silent};

use crate::support::{Bench, busybox};

/// Debian's registry, empty.
pub struct DockerRegistry {
    process: Child,
    pub address: String,
    _folder: tempfile::TempDir,
}

impl DockerRegistry {
    pub async fn start() -> DockerRegistry {
        DockerRegistry::start_as(false).await
    }

    /// One that only the user `hoist` with the password `secret` may use.
    pub async fn start_closed() -> DockerRegistry {
        DockerRegistry::start_as(true).await
    }

    async fn start_as(closed: bool) -> DockerRegistry {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.path().join("data").display()
        );
        let auth = match closed {
            false => String::new(),
            true => {
                // "secret", as htpasswd -B writes it.
                let hash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
                let users = folder.path().join("users");
                std::fs::write(&users, format!("hoist:{hash}\n")).unwrap();
                format!(
                    "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
                    users.display()
                )
            }
        };
        std::fs::write(&config, text + &auth).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed (Debian package docker-registry)");
        let registry = DockerRegistry {
            process,
            address,
            _folder: folder,
        };
        // A refused connection is tried again.
        let patient = Registry::new(RegistryOptions {
            pause_millis: 50,
            retries: 40,
            ..RegistryOptions::default()
        });
        let answer = patient.head(&registry.reference("none:v1")).await;
        assert!(answer.is_ok() || closed, "{answer:?}");
        registry
    }

    pub fn reference(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const TEXT: &str = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\nRUN echo slow > /slow\nCOPY --from=tools /tool /\nCOPY a /a\nRUN cat /a /slow /tool > /all\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_machine_goes_on_where_another_one_was() {
    let server = DockerRegistry::start().await;
    let cache = |lazy| RegistryCache {
        registry: RegistryOptions::default(),
        reference: server.reference("app:hoist-cache"),
        lazy,
    };
    let registry = Registry::new(RegistryOptions::default());
    // The same base for all, with the same times.
    let root = tempfile::tempdir().unwrap();
    busybox(root.path());
    let machine = async || {
        let bench = Bench::new();
        import(&bench.workspace, root.path(), "busybox")
            .await
            .unwrap();
        bench
    };
    let first = machine().await;
    first.write("a", "one");
    let outcome = first
        .build_with(TEXT, |request| request.registry_cache = Some(cache(true)))
        .await;
    let built = outcome.built();
    assert_eq!((built.steps_run, outcome.warnings()), (5, vec![]));
    let push = async |bench: &Bench, built: &hoist_image::BuiltImage, tag: &str| {
        let store = &bench.workspace.store;
        let options = PushOptions {
            existing_tag: ExistingTag::Move,
            ..PushOptions::default()
        };
        let image = server.reference(&format!("app:{tag}"));
        registry
            .push(store, &built.manifest, &image, &options, &Silent)
            .await
            .unwrap();
        let [(place, cache)] = built.caches.as_slice() else {
            panic!("{:?}", built.caches);
        };
        assert_eq!(*place, server.reference("app:hoist-cache"));
        registry
            .push(store, cache, place, &options, &Silent)
            .await
            .unwrap();
    };
    push(&first, built, "v1").await;

    // Nothing changed: nothing runs, nothing is fetched, and the image can be pushed all the same.
    let second = machine().await;
    second.write("a", "one");
    let outcome = second
        .build_with(TEXT, |request| request.registry_cache = Some(cache(true)))
        .await;
    let again = outcome.built();
    assert_eq!((again.steps_run, again.steps_cached), (0, 5));
    assert_eq!(again.manifest.digest, built.manifest.digest);
    let image = second.image(again);
    let last = image.manifest.layers.last().unwrap();
    assert!(
        !second.workspace.store.has(&last.digest),
        "it was fetched for nothing"
    );
    push(&second, again, "v2").await;

    // One file changed: only what follows runs.
    let third = machine().await;
    third.write("a", "two");
    let outcome = third
        .build_with(TEXT, |request| request.registry_cache = Some(cache(false)))
        .await;
    let changed = outcome.built();
    assert_eq!((changed.steps_run, changed.steps_cached), (2, 3));
    assert_eq!(third.files(changed)["all"].content, "twoslow\ntool\n");

    // A cache that cannot be reached is worth a warning.
    let lost = machine().await;
    lost.write("a", "one");
    let outcome = lost
        .build_with(TEXT, |request| {
            request.registry_cache = Some(RegistryCache {
                registry: RegistryOptions {
                    retries: 0,
                    ..RegistryOptions::default()
                },
                reference: "127.0.0.1:9/app:hoist-cache".parse().unwrap(),
                lazy: false,
            });
        })
        .await;
    outcome.built();
    assert!(
        outcome.warnings()[0].starts_with("failed to read the cache 127.0.0.1:9/app:hoist-cache"),
        "{:?}",
        outcome.warnings()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_and_provenance_are_found_beside_the_image() {
    let server = DockerRegistry::start().await;
    let bench = Bench::with_busybox().await;
    bench
        .write("status", "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\nPackage: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2024a\n")
        .write("os", "ID=debian\n");
    let outcome = bench
        .build_with(
            "FROM busybox\nARG VERSION\nARG API_TOKEN\nCOPY status /var/lib/dpkg/status\nCOPY os /etc/os-release\n",
            |request| {
                request.build_args = vec![("VERSION".into(), "7".into()), ("API_TOKEN".into(), "hidden".into())];
            },
        )
        .await;
    let built = outcome.built();
    let mut request = bench.request();
    request.build_args = vec![
        ("VERSION".into(), "7".into()),
        ("API_TOKEN".into(), "hidden".into()),
    ];
    let source = (
        "git+https://example.com/shop".to_owned(),
        "gitCommit".to_owned(),
        "abc".to_owned(),
    );
    let mut lists = sbom(&bench.workspace, built, "shop").unwrap();
    let (subject, packages) = lists.remove(0);
    assert!(lists.is_empty() && subject == built.manifest);
    let origin = provenance(&request, built, "shop", &[source]);
    let json: serde_json::Value = serde_json::from_slice(&packages.content).unwrap();
    let listed: Vec<_> = json["predicate"]["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            package["externalRefs"][0]["referenceLocator"]
                .as_str()
                .unwrap()
        })
        // Where syft is installed it finds busybox.
        .filter(|url| url.starts_with("pkg:deb/"))
        .collect();
    assert_eq!(
        listed,
        [
            "pkg:deb/debian/libc6@2.36-9?arch=amd64",
            "pkg:deb/debian/tzdata@2024a?arch=all"
        ]
    );
    let text = String::from_utf8(origin.content.clone()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        json["subject"][0]["digest"]["sha256"],
        built.manifest.digest.hex()
    );
    assert_eq!(
        json["predicate"]["buildDefinition"]["externalParameters"]["buildArguments"]["VERSION"],
        "7"
    );
    assert!(!text.contains("hidden"), "{text}");
    assert_eq!(
        json["predicate"]["buildDefinition"]["resolvedDependencies"][1]["uri"],
        "pkg:docker/busybox"
    );

    // Debian's registry knows no subjects: the index under the image's digest names both, once.
    let registry = Registry::new(RegistryOptions::default());
    let (store, place) = (&bench.workspace.store, server.reference("shop:v1"));
    registry
        .push(
            store,
            &built.manifest,
            &place,
            &PushOptions::default(),
            &Silent,
        )
        .await
        .unwrap();
    for artifact in [&packages, &origin, &packages] {
        let stored = artifact.store(store, &built.manifest).unwrap();
        registry
            .attach(store, &built.manifest, &stored, &place)
            .await
            .unwrap();
    }
    let tag = format!(
        "shop:{}",
        built.manifest.digest.to_string().replace(':', "-")
    );
    let (_, index) = registry.manifest(&server.reference(&tag)).await.unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let kinds: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            entry["annotations"]["in-toto.io/predicate-type"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "https://spdx.dev/Document",
            "https://slsa.dev/provenance/v1"
        ]
    );
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let (_, manifest) = registry.manifest(&place.with_digest(digest)).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        manifest["subject"]["digest"],
        built.manifest.digest.to_string()
    );
    assert_eq!(manifest["artifactType"], "application/vnd.in-toto+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_two_platforms_has_the_packages_of_each_beside_its_manifest() {
    let bench = Bench::new();
    for processor in ["amd64", "arm64"] {
        let status = format!(
            "Package: only-{processor}\nStatus: install ok installed\nArchitecture: {processor}\nVersion: 1\n"
        );
        bench.write(&format!("status-{processor}"), &status);
    }
    let outcome = bench
        .build_with(
            "FROM scratch\nARG TARGETARCH\nCOPY status-$TARGETARCH /var/lib/dpkg/status\n",
            |request| {
                request.platform = Platform::new("linux", "amd64");
                request.more_platforms = vec![Platform::new("linux", "arm64")];
            },
        )
        .await;
    let built = outcome.built();
    let lists = sbom(&bench.workspace, built, "shop").unwrap();
    let index: hoist_oci::spec::Index = bench
        .workspace
        .store
        .read_json(&built.manifest.digest)
        .unwrap();
    let found: Vec<_> = lists
        .iter()
        .map(|(subject, list)| {
            let json: serde_json::Value = serde_json::from_slice(&list.content).unwrap();
            assert_eq!(json["subject"][0]["digest"]["sha256"], subject.digest.hex());
            let packages = json["predicate"]["packages"].as_array().unwrap();
            assert_eq!(packages.len(), 1);
            (
                subject.digest,
                packages[0]["name"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (index.manifests[0].digest, "only-amd64".to_owned()),
            (index.manifests[1].digest, "only-arm64".to_owned()),
        ]
    );
}

/// `scripts/test.sh` installs syft and puts it on `PATH`; a run of `cargo test` by hand may be without it.
#[tokio::test(flavor = "multi_thread")]
async fn syft_finds_the_packages_of_languages() {
    let installed = Command::new("syft").arg("--version").output();
    if !installed.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("HOIST_TEST_TOOLS").is_none(),
            "the test tools have syft (scripts/install-test-tools.sh), and their bin belongs on PATH"
        );
        return;
    }
    let bench = Bench::new();
    bench
        .write(
            "node_modules/left/package.json",
            r#"{"name": "left", "version": "1.3.0", "license": "MIT"}"#,
        )
        .write(
            "python3/site-packages/flask-3.0.3.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: flask\nVersion: 3.0.3\n",
        )
        .write(
            "status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n",
        );
    let outcome = bench
        .build("FROM scratch\nCOPY . /usr/lib/\nCOPY status /var/lib/dpkg/status\n")
        .await;
    let built = outcome.built();
    let list = || {
        let lists = sbom(&bench.workspace, built, "shop").unwrap();
        lists[0].1.content.clone()
    };
    let first = list();
    assert_eq!(list(), first, "the same list each time");
    let document: serde_json::Value = serde_json::from_slice(&first).unwrap();
    let document = &document["predicate"];
    let packages = document["packages"].as_array().unwrap();
    let names: Vec<_> = packages
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["libc6", "left", "flask"]);
    assert_eq!(
        document["relationships"].as_array().unwrap().len(),
        names.len()
    );
    let creators = document["creationInfo"]["creators"].to_string();
    assert!(creators.contains("Tool: syft-"), "{creators}");
}
