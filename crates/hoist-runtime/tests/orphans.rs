//! A process that is killed leaves nothing behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, unsafe_code)]

mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use hoist_runtime::{ExecSpec, Limits};
use support::Lab;

hoist_runtime::init_in_tests!();

/// The process that is killed: starts a container with a second program and a child that has left its session, and says who they are.
#[tokio::test]
#[ignore = "a part of the test below, which starts it"]
#[allow(clippy::print_stderr, reason = "this is how it tells its starter")]
async fn starts_containers_until_it_is_killed() {
    let lab = Lab::new("killed");
    let script = "setsid sleep 1000 & exec sleep 1001";
    let mut spec = lab.spec("a", &["sh", "-c", script]);
    spec.limits = Limits {
        pids: Some(20),
        ..Limits::default()
    };
    spec.allow_new_privileges = true;
    let running = lab.containers.start(spec).await.unwrap();
    let args = ["sleep", "1002"].map(str::to_owned).to_vec();
    let added = running
        .exec(ExecSpec {
            args,
            ..ExecSpec::default()
        })
        .await
        .unwrap();
    // One write: the reader takes this line for a promise that everything runs.
    eprintln!("runs {} {} {}", running.pid(), added.pid(), lab.parent);
    std::future::pending::<()>().await;
}

fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: takes numbers, and gives a new descriptor that nothing else knows.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "process {pid} does not exist");
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Waits for the end of a process, for a minute at most.
fn await_end(pidfd: &OwnedFd) -> bool {
    let mut wait = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one record, as said.
    unsafe { libc::poll(&raw mut wait, 1, 60_000) == 1 }
}

#[test]
fn killing_the_process_that_started_them_ends_all_containers() {
    let mut starter = Command::new("/proc/self/exe")
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "starts_containers_until_it_is_killed",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(starter.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let line = lines
        .find(|line| line.starts_with("runs "))
        .expect("the starter says what it started");
    let mut words = line.split(' ').skip(1);
    let main: i32 = words.next().unwrap().parse().unwrap();
    let added: i32 = words.next().unwrap().parse().unwrap();
    let parent = words.next().unwrap().to_owned();
    let namespace = std::fs::read_link(format!("/proc/{main}/ns/pid")).unwrap();
    let handles = [pidfd(main), pidfd(added)];

    starter.kill().unwrap();
    starter.wait().unwrap();

    assert!(
        handles.iter().all(await_end),
        "a program outlived its starter"
    );
    let left = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let of = |entry: &std::fs::DirEntry| std::fs::read_link(entry.path().join("ns/pid")).ok();
        entries
            .filter(|it| of(it).as_ref() == Some(&namespace))
            .count()
    };
    // The first process of the namespace is killed with the starter too, and may end a moment after those that it started.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while left() > 0 {
        let in_time = std::time::Instant::now() < deadline;
        assert!(in_time, "something is left in its process namespace");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }

    // What the kernel does not remove by itself, the next process of the same home does.
    let containers = hoist_runtime::Containers::new(hoist_runtime::Config {
        init_program: "/proc/self/exe".into(),
        cgroup_parent: parent.clone(),
    });
    containers.cleanup_orphans().unwrap();
    assert!(!Path::new("/sys/fs/cgroup/pids").join(&parent).exists());
}
