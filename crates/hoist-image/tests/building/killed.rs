//! Builds that are killed in the middle: the next one finds the truth.

#![allow(clippy::print_stdout, reason = "a campaign says what it came to")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        build_args: epoch(),
        ..BuildRequest::new(folder.join("context"))
    };
    let built = hoist_image::build(&workspace, &request, &|_| {})
        .await
        .unwrap();
    std::fs::write(folder.join("digest"), built.manifest.digest.to_string()).unwrap();
}

/// The same files give the same image only if commands leave no times of their own.
fn epoch() -> Vec<(String, String)> {
    vec![("SOURCE_DATE_EPOCH".into(), "1000000000".into())]
}

/// Kills when nobody asks for another number; the campaign has ten times as many.
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_build_after_kills_at_any_moment_is_right() {
    let kills: usize = std::env::var("HOIST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let bench = Bench::with_busybox().await;
    for n in 0..40 {
        bench.write(&format!("many/{n}"), &format!("{n}\n").repeat(4000));
    }
    // Every victim finds something new, so that it has all steps to do.
    bench.write(
        "Dockerfile",
        "FROM busybox AS one\nCOPY nonce many /many/\nRUN cat /many/* > /all && rm /many/1\nFROM busybox\nCOPY --from=one /many /all /d/\nRUN wc -c < /d/all > /size\n",
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
    bench.write("nonce", "whole");
    let began = Instant::now();
    assert!(victim().wait().unwrap().success());
    // From before the first step to after the last, on machines of any speed.
    let whole = began.elapsed().as_micros() as u64;
    let seed = u64::from(std::process::id()) | 1;
    println!("{kills} kills within {whole} us, seed {seed}");
    let mut state = seed;
    let mut killed = Vec::new();
    for n in 0..kills {
        bench.write("nonce", &n.to_string());
        let mut child = victim();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        tokio::time::sleep(Duration::from_micros(state % (whole + whole / 10))).await;
        killed.push(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut last = victim();
    assert!(last.wait().unwrap().success());
    let survived = std::fs::read_to_string(bench.folder.path().join("digest")).unwrap();
    // Everything again, by this process, without what the cache says: the same image.
    let request = BuildRequest {
        no_cache: true,
        build_args: epoch(),
        ..bench.request()
    };
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
    let nonce = std::fs::read(bench.context().join("nonce")).unwrap().len();
    let expected: usize = (0..40).map(|n| format!("{n}\n").len() * 4000).sum();
    let expected = expected + nonce;
    assert_eq!(files["size"].content.trim(), expected.to_string());
    assert!(!files.contains_key("d/1") && files.contains_key("d/39"));
}
