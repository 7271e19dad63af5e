//! Layers of several gzip members, read by those who run and copy images: Docker, buildah, skopeo, and Python for good measure.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use hoist_image::export;
use hoist_oci::{Compression, Digest, PushOptions, Registry, RegistryOptions, Silent};

use crate::engines::Docker;
use crate::shared::DockerRegistry;
use crate::support::Bench;

/// What is said by a program that must work.
fn said(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

/// The digest of the archive's only layer.
fn saved_layer(archive: &Path, to: &Path) -> Digest {
    let file = std::fs::File::open(archive).unwrap();
    tar::Archive::new(file).unpack(to).unwrap();
    let manifest = std::fs::read(to.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    Digest::of(&std::fs::read(to.join(layers[0].as_str().unwrap())).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_buildah_skopeo_and_python_read_a_layer_of_several_members() {
    let server = DockerRegistry::start().await;
    let bench = Bench::with_busybox().await;
    // Numbers, so that no two members are alike.
    let text: String = (0..600_000).map(|n| format!("{n} ")).collect();
    bench.write("numbers", &text);
    let outcome = bench
        .build("FROM scratch\nCOPY numbers /numbers\nCMD [\"/x\"]\n")
        .await;
    let built = outcome.built();
    let image = bench.image(built);
    let diff_id = image.config.rootfs.diff_ids[0];
    let layer = &image.manifest.layers[0];
    assert_eq!(layer.media_type, Compression::Gzip.media_type());
    let blob = bench.workspace.store.blob_path(&layer.digest);
    let folder = bench.folder.path();

    let script = "import gzip, hashlib, sys
members = open(sys.argv[1], 'rb').read().count(b'\\x1f\\x8b\\x08\\0\\0\\0\\0\\0')
print(members, 'sha256:' + hashlib.sha256(gzip.open(sys.argv[1]).read()).hexdigest())";
    let read = said(Command::new("python3").args(["-c", script]).arg(&blob));
    let (members, digest) = read.split_once(' ').unwrap();
    assert!(members.parse::<usize>().unwrap() >= 4, "{members}");
    assert_eq!(digest, diff_id.to_string());

    let target = server.reference("app:v1");
    Registry::new(RegistryOptions::default())
        .push(
            &bench.workspace.store,
            &built.manifest,
            &target,
            &PushOptions::default(),
            &Silent,
        )
        .await
        .unwrap();
    let source = format!("docker://{target}");
    let archive = folder.join("skopeo.tar");
    said(
        Command::new("skopeo")
            .args(["copy", "--src-tls-verify=false", &source])
            .arg(format!("docker-archive:{}", archive.display())),
    );
    assert_eq!(saved_layer(&archive, &folder.join("skopeo")), diff_id);

    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(folder.join("root"));
        command.arg("--runroot").arg(folder.join("run"));
        said(command.args(["--storage-driver", "vfs"]).args(arguments))
    };
    let container = buildah(&["from", "-q", "--tls-verify=false", &source]);
    let root = buildah(&["mount", &container]);
    let there = std::fs::read_to_string(Path::new(&root).join("numbers")).unwrap();
    buildah(&["rm", &container]);
    assert!(there == text, "buildah has other content");

    let base = folder.join("base.tar");
    export(&bench.workspace, "busybox", &base).unwrap();
    let docker = Docker::start(&base);
    let name = target.to_string();
    said(&mut docker.command(&["pull", "-q", &name]));
    let archive = folder.join("docker.tar");
    said(docker.command(&["save", "-o"]).arg(&archive).arg(&name));
    assert_eq!(saved_layer(&archive, &folder.join("docker-save")), diff_id);
}
