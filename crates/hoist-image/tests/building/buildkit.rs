//! The other engine, for real: Debian's Docker Engine builds what it is asked to, from bases that only this machine has.

use std::process::{Command, Stdio};

use hoist_image::{BuildRequest, Engine, Secret, SecretSource, Workspace, build, export};

use crate::engines::Docker;
use crate::support::Bench;

const FOLDER: &str = "HOIST_TEST_BUILDKIT_FOLDER";

/// No test of its own: the test below runs it with the environment that the engine is found by.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_builds_when_it_is_told_to() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = std::path::Path::new(&folder);
    let workspace = Workspace::open(&folder.join("home")).unwrap();
    let request = BuildRequest {
        engine: Engine::Buildkit,
        build_args: vec![("WORD".into(), "given".into())],
        annotations: vec![("note".into(), "kept".into())],
        secrets: vec![Secret {
            id: "key".into(),
            source: SecretSource::File(folder.join("secret")),
        }],
        ..BuildRequest::new(folder.join("context"))
    };
    let built = build(&workspace, &request, &|_| {})
        .await
        .unwrap_or_else(|error| {
            panic!("{error}\n{:#?}", error.output());
        });
    hoist_image::name(&workspace, "built", &built.manifest).unwrap();
    std::fs::write(folder.join("reason"), &built.engine_reason).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_runs_steps_on_a_base_that_only_this_machine_has() {
    let bench = Bench::with_busybox().await;
    bench
        .write("a", "from the context")
        .write("../secret", "hidden");
    bench.write(
        "Dockerfile",
        "ARG BASE=busybox\nFROM $BASE AS one\nARG WORD\nRUN --mount=type=secret,id=key echo $WORD $(wc -c < /run/secrets/key) > /out\n\
         FROM scratch\nCOPY --from=one /out /out\nCOPY --from=busybox /etc/group /group\nCOPY a /a\nCMD [\"/x\"]\n",
    );
    let archive = bench.folder.path().join("base.tar");
    export(&bench.workspace, "busybox", &archive).unwrap();
    let docker = Docker::start(&archive);
    let path = docker.client.parent().unwrap().display().to_string();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "buildkit::a_client_builds_when_it_is_told_to",
            "--nocapture",
        ])
        .env(FOLDER, bench.folder.path())
        .env("DOCKER_HOST", &docker.host)
        .env("PATH", format!("{path}:/usr/bin:/bin"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let reason = std::fs::read_to_string(bench.folder.path().join("reason")).unwrap();
    assert!(reason.contains("without a bridge network"), "{reason}");
    let image = hoist_image::inspect(&bench.workspace, "built").unwrap();
    assert_eq!(image.config.config.cmd, Some(vec!["/x".to_owned()]));
    assert_eq!(image.manifest.annotations["note"], "kept");
    let mut files = std::collections::BTreeMap::new();
    for layer in &image.manifest.layers {
        for (path, file) in bench.layer(&layer.digest) {
            files.insert(path, file.content);
        }
    }
    assert_eq!(files["out"], "given 6\n");
    assert_eq!(files["a"], "from the context");
    assert!(files["group"].starts_with("root:x:0:"));
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
}
