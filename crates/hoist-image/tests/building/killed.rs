//! Builds that are killed in the middle: the next one finds the truth.

use std::process::{Command, Stdio};
use std::time::Duration;

use hoist_image::{BuildRequest, Engine, Workspace};

use crate::support::Bench;

const HOME: &str = "HOIST_TEST_KILLED_HOME";

/// No test of its own: what the test below starts and kills.
#[tokio::test(flavor = "multi_thread")]
async fn a_victim_builds_when_it_is_told_to() {
    let Ok(folder) = std::env::var(HOME) else {
        return;
    };
    let folder = std::path::Path::new(&folder);
    let workspace = Workspace::open(&folder.join("home")).unwrap();
    let request = BuildRequest {
        engine: Engine::Embedded,
        ..BuildRequest::new(folder.join("context"))
    };
    let built = hoist_image::build(&workspace, &request, &|_| {})
        .await
        .unwrap();
    std::fs::write(folder.join("digest"), built.manifest.digest.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_after_kills_at_any_moment_is_right() {
    let bench = Bench::with_busybox().await;
    for n in 0..40 {
        bench.write(&format!("many/{n}"), &format!("{n}\n").repeat(4000));
    }
    bench.write(
        "Dockerfile",
        "FROM busybox AS one\nCOPY many /many\nRUN cat /many/* > /all && rm /many/1\nFROM busybox\nCOPY --from=one /many /all /d/\nRUN wc -c < /d/all > /size\n",
    );
    let victim = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::a_victim_builds_when_it_is_told_to"])
            .env(HOME, bench.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // From before the first step to after the last, on machines of any speed.
    let mut killed = Vec::new();
    for delay in [5, 20, 40, 60, 90, 130, 180, 250] {
        let mut child = victim();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        killed.push(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut last = victim();
    assert!(last.wait().unwrap().success());
    let survived = std::fs::read_to_string(bench.folder.path().join("digest")).unwrap();
    // The same steps in a home that nothing happened to give the same files.
    let request = bench.request();
    let built = hoist_image::build(&bench.workspace, &request, &|_| {})
        .await
        .unwrap();
    assert_eq!(built.manifest.digest.to_string(), survived);
    Workspace::open(bench.workspace.home()).unwrap();
    for left in ["cache/spool", "snapshots/scratch"] {
        let left = std::fs::read_dir(bench.workspace.home().join(left)).unwrap();
        assert_eq!(left.count(), 0, "what the killed ones left is gone");
    }
    let groups = walkdir::WalkDir::new("/sys/fs/cgroup")
        .max_depth(3)
        .into_iter()
        .filter_map(Result::ok);
    let ours = |name: &str| {
        killed
            .iter()
            .any(|id| name.starts_with("hoist-") && name.contains(&format!("-{id}-group-")))
    };
    let left: Vec<_> = groups
        .filter(|entry| ours(&entry.file_name().to_string_lossy()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let files = bench.files(&built);
    let expected: usize = (0..40).map(|n| format!("{n}\n").len() * 4000).sum();
    assert_eq!(files["size"].content.trim(), expected.to_string());
    assert!(!files.contains_key("d/1") && files.contains_key("d/39"));
}
