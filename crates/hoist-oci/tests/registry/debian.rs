//! The registry client against Debian's `docker-registry`, with `skopeo` as the second opinion. Both must be installed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::proxy::{Cut, Proxy};
use super::support::{client, image, noise, store};
use hoist_oci::{Digest, ImageRef, PushOptions, Silent};

struct DockerRegistry {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl DockerRegistry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed (Debian package docker-registry)");
        let registry = Self {
            process,
            address,
            _folder: folder,
        };
        // The client waits for it: a refused connection is tried again.
        let waiting = super::support::client_with(|options| {
            options.pause_millis = 50;
            options.retries = 40;
        });
        waiting
            .head(&registry.reference("not-there:v1"))
            .await
            .unwrap();
        registry
    }

    fn reference(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn skopeo(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("skopeo")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("skopeo is installed (Debian package skopeo)");
    assert!(
        output.status.success(),
        "skopeo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_push_skopeo_reads_and_what_skopeo_copies_we_pull() {
    let registry = DockerRegistry::start().await;
    let (folder, ours) = store();
    let pushed = image(&ours, "linux/amd64", &[&noise(1, 200_000), b"second"]);
    let to = registry.reference("shop/web:v1");
    client()
        .push(&ours, &pushed, &to, &PushOptions::default(), &Silent)
        .await
        .unwrap();
    let inspected = skopeo(
        &["inspect", "--tls-verify=false", &format!("docker://{to}")],
        folder.path(),
    );
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], pushed.digest.to_string());

    let copy = registry.reference("shop/copy:v1");
    let (from, to) = (format!("docker://{to}"), format!("docker://{copy}"));
    skopeo(
        &[
            "copy",
            "--preserve-digests",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &from,
            &to,
        ],
        folder.path(),
    );
    let (_folder, theirs) = store();
    let pulled = client()
        .pull(&copy, &"linux/amd64".parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.digest);
    assert_eq!(theirs.read(&Digest::of(b"second")).unwrap(), b"second");
    assert_eq!(client().tags(&copy).await.unwrap(), ["v1"]);

    // A store is an OCI layout that other tools read.
    ours.tag("v1", &pushed).unwrap();
    let inspected = skopeo(
        &["inspect", &format!("oci:{}:v1", ours.root().display())],
        folder.path(),
    );
    assert!(
        inspected.contains(&pushed.digest.to_string()),
        "{inspected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_gets_there_and_layers_are_mounted() {
    let registry = DockerRegistry::start().await;
    let (_folder, ours) = store();
    let layer = noise(2, 3_000_000);
    let pushed = image(&ours, "linux/amd64", &[&layer]);
    let proxy = Proxy::start(registry.address, Cut::Upload, 1_000_000, 2).await;
    let through: ImageRef = format!("{}/base:v1", proxy.address).parse().unwrap();
    client()
        .push(&ours, &pushed, &through, &PushOptions::default(), &Silent)
        .await
        .unwrap();
    assert_eq!(proxy.cuts_left(), 0);

    let app = image(&ours, "linux/amd64", &[&layer, b"app"]);
    let options = PushOptions {
        mount_from: vec!["base".to_owned()],
        ..PushOptions::default()
    };
    let report = client()
        .push(
            &ours,
            &app,
            &registry.reference("app:v1"),
            &options,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!((report.mounted, report.sent), (1, 2));
    let (_folder, theirs) = store();
    client()
        .pull(
            &registry.reference("app:v1"),
            &"linux/amd64".parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(theirs.read(&Digest::of(&layer)).unwrap(), layer);
}
