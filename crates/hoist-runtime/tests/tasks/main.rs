//! Every runtime by one measure: native as root, native without root, and a Docker Engine.
//!
//! `story.rs` is what a daemon does with tasks, in the order in which it does it; `table.rs` is what each container of a task gets, one
//! behaviour at a time, and what a runtime cannot do by its nature.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod engine;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use hoist_oci::{Compression, Digest, Image, Store};
use hoist_runtime::{Docker, DockerConfig, Native, NativeConfig, Runtime};
use support::{Lab, is_root};
use table::Kind;

hoist_runtime::init_in_tests!();

/// An image of the lab's root file system.
pub fn image(lab: &Lab) -> (Store, Image) {
    let store = Store::open(&lab.directory.path().join("store")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", lab.base()).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut encoder = Compression::Gzip.encoder(Vec::new()).unwrap();
    std::io::Write::write_all(&mut encoder, &tar).unwrap();
    let blob = encoder.finish().unwrap();
    let layer = Descriptor::new(
        Compression::Gzip.media_type(),
        store.put(&blob).unwrap(),
        blob.len() as u64,
    );
    let platform = Platform::host();
    let mut config = ImageConfig::empty(&platform);
    config.rootfs.diff_ids = vec![Digest::of(&tar)];
    let put = |bytes: Vec<u8>, kind: &str| {
        Descriptor::new(kind, store.put(&bytes).unwrap(), bytes.len() as u64)
    };
    let config = put(serde_json::to_vec(&config).unwrap(), media_type::CONFIG);
    let manifest = put(
        serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap(),
        media_type::MANIFEST,
    );
    let image = store.image(&manifest, &platform).unwrap();
    (store, image)
}

fn subnets() -> Vec<(std::net::Ipv4Addr, u8)> {
    vec![
        ("172.31.0.1".parse().unwrap(), 20),
        ("172.31.16.1".parse().unwrap(), 20),
    ]
}

#[tokio::test]
async fn the_native_runtime_serves_a_daemon() {
    let lab = Lab::new("native");
    let snapshots = lab.directory.path().join("snapshots");
    let native = Native::new(NativeConfig {
        init_program: "/proc/self/exe".into(),
        cgroup_parent: lab.parent.clone(),
        snapshots: snapshots.clone(),
        subnets: subnets(),
        resolver: Some("172.31.0.2".parse().unwrap()),
        way_out: false,
    });
    let runtime: Arc<dyn Runtime> = Arc::new(native.await.unwrap());
    let has_limits = lab.containers.without_limits().is_none();
    assert!(has_limits || !is_root(), "root has control groups");
    story::serves_a_daemon(&*runtime, &lab, has_limits).await;
    let kind = if is_root() {
        Kind::Root
    } else {
        Kind::Rootless
    };
    table::play(kind, runtime.clone(), &lab).await;
    runtime.close().await.unwrap();
    let scratch = std::fs::read_dir(snapshots.join("scratch")).unwrap();
    assert_eq!(scratch.count(), 0);
}

#[test]
fn the_native_runtime_works_without_root_too() {
    support::again_without_root("the_native_runtime_works_without_root_too");
}

#[test]
#[allow(clippy::print_stderr, reason = "says why it is skipped")]
fn docker_serves_a_daemon_as_well() {
    if !engine::is_installed() {
        eprintln!(
            "skipped: dockerd is not installed here (apt-get install docker.io iptables), or this is not root"
        );
        return;
    }
    let lab = Lab::new("docker");
    let engine = Engine::start(lab.directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle
            .link()
            .set(rtnetlink::LinkUnspec::new_with_index(1).up().build())
            .execute()
            .await
            .unwrap();
        // The one home as on a Mac, where addresses of tasks cannot be reached. The other one can have its addresses afterwards.
        for (home, publish) in [("mac", true), ("linux", false)] {
            let config = DockerConfig {
                program: "docker".into(),
                host: Some(engine.socket.clone()),
                home: home.into(),
                files: lab.directory.path().join(home),
                subnets: subnets(),
                publish,
            };
            // The engine says nowhere else that it is ready.
            let mut docker = Docker::new(config.clone()).await;
            for _ in 0..300 {
                if docker.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                docker = Docker::new(config.clone()).await;
            }
            let docker: Arc<dyn Runtime> = Arc::new(docker.unwrap_or_else(|error| {
                let log =
                    std::fs::read_to_string(lab.directory.path().join("dockerd.log")).unwrap();
                panic!("{error}\n{log}")
            }));
            if publish {
                story::serves_a_daemon(&*docker, &lab, true).await;
            } else {
                table::play(Kind::Docker, docker.clone(), &lab).await;
                engine_of_a_killed_daemon(&engine, config).await;
            }
            docker.close().await.unwrap();
        }
    });
}

/// What a daemon that was killed has begun comes to an end, and the next one removes it: also what the engine had still to make.
async fn engine_of_a_killed_daemon(engine: &Engine, config: DockerConfig) {
    let late = config.files.join("late");
    let docker = |args: &[&str]| {
        let mut command = std::process::Command::new("docker");
        command.arg("--host").arg(&engine.socket).args(args);
        command
    };
    // Such a command of it: it holds the lock, waits, and then makes a container.
    let script = "until [ -e \"$0\" ]; do sleep 0.01; done; exec docker --host \"$1\" create --label io.hoist.home=linux --name hoist-linux-late \"$2\"";
    let lock = std::fs::File::options()
        .append(true)
        .open(config.files.join("making"))
        .unwrap();
    lock.lock_shared().unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", script])
        .arg(&late)
        .arg(&engine.socket)
        .arg("hoist.local/pause:1");
    command.stdin(lock).stdout(std::process::Stdio::null());
    let mut begun = command.spawn().unwrap();
    drop(command);
    let next = Docker::new(config).await.unwrap();
    let cleaning = next.clean_up();
    let letting = async {
        // Not before the other has looked once.
        tokio::task::yield_now().await;
        std::fs::write(&late, "").unwrap();
    };
    let (cleaned, ()) = tokio::join!(cleaning, letting);
    cleaned.unwrap();
    assert!(begun.wait().unwrap().success());
    let left = docker(&["ps", "--all", "--quiet"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
