//! Both runtimes by one measure: what a daemon does with tasks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use hoist_oci::{Compression, Digest, Image, Store};
use hoist_runtime::{
    Docker, DockerConfig, ExecSpec, Limits, Native, NativeConfig, Runtime, StartError, Stdin,
    TaskContainer, TaskProcess, TaskSpec, TerminalSize, Ulimit,
};
use support::{Lab, is_root, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

hoist_runtime::init_in_tests!();

/// An image of the lab's root file system.
fn image(lab: &Lab) -> (Store, Image) {
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

fn task(id: &str, ip: &str) -> TaskSpec {
    let ip: std::net::Ipv4Addr = ip.parse().unwrap();
    let [a, b, c, _] = ip.octets();
    TaskSpec {
        id: id.into(),
        ip,
        prefix: 20,
        gateway: [a, b, c & 0xf0, 1].into(),
        hostname: format!("host-{id}"),
        limits: Limits::default(),
        ports: vec![7000],
    }
}

/// Everything that a daemon does, in the order in which it does it.
async fn serves_a_daemon(runtime: &dyn Runtime, lab: &Lab, has_limits: bool) {
    let (store, image) = image(lab);
    let prepared = runtime.prepare(&store, &image).await.unwrap();
    let container = |name: &str, script: &str| {
        TaskContainer::new(
            name,
            prepared.clone(),
            ["sh", "-c", script].map(str::to_owned).to_vec(),
        )
    };

    runtime
        .create_task(task("one", "172.31.0.10"))
        .await
        .unwrap();
    assert!(
        runtime
            .create_task(task("one", "172.31.0.11"))
            .await
            .is_err(),
        "ids are unique"
    );

    // What goes in and what comes out.
    let mut spec = container(
        "talks",
        "echo \"$SECRET\"; echo \"$LINES2\"; pwd; hostname; cat /etc/hosts; echo oops >&2; exit 5",
    );
    spec.env = vec![
        ("SECRET".into(), "s3cret = # x ".into()),
        ("LINES2".into(), "first\nsecond".into()),
    ];
    spec.cwd = "/work/here".into();
    // Beyond what any machine allows: a runtime gives what it can.
    spec.ulimits = vec![Ulimit {
        name: "nofile".into(),
        soft: 1024,
        hard: 1 << 40,
    }];
    spec.extra_hosts = vec![("db.internal".into(), "10.0.0.9".parse().unwrap())];
    let mut talks = runtime.start("one", spec).await.unwrap();
    let (stdout, stderr) = (talks.take_stdout(), talks.take_stderr());
    let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
    assert!(
        stdout.starts_with("s3cret = # x \nfirst\nsecond\n/work/here\nhost-one\n"),
        "{stdout}"
    );
    assert!(stdout.contains("10.0.0.9\tdb.internal"), "{stdout}");
    assert_eq!(stderr, "oops\n");
    let exit = talks.wait().await;
    assert_eq!((exit.code, exit.signal), (5, None));

    // No power beyond Docker's default set, and no way to get any.
    let script = "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; wc -c < /proc/keys; \
                  for place in /proc/sys/kernel/sysrq /proc/sysrq-trigger; do (echo 0 > $place) 2>/dev/null && echo open; done";
    let mut shut = runtime
        .start("one", container("shut", script))
        .await
        .unwrap();
    let stdout = text(shut.take_stdout()).await;
    let powers = "00000000a80425fb";
    assert_eq!(
        stdout,
        format!("CapEff:\t{powers}\nCapBnd:\t{powers}\nNoNewPrivs:\t1\nSeccomp:\t2\n0\n")
    );

    // A server that its neighbour reaches on localhost, and this process at the task's address.
    let server = runtime
        .start(
            "one",
            container(
                "server",
                "trap 'exit 8' TERM; while true; do echo hello | nc -l -p 7000 & wait $!; done",
            ),
        )
        .await
        .unwrap();
    let mut neighbour = runtime
        .start(
            "one",
            container(
                "neighbour",
                "until nc 127.0.0.1 7000 < /dev/null; do :; done 2>/dev/null",
            ),
        )
        .await
        .unwrap();
    assert_eq!(text(neighbour.take_stdout()).await, "hello\n");
    let address: SocketAddr = "172.31.0.10:7000".parse().unwrap();
    let mut answer = String::new();
    while answer.is_empty() {
        if let Ok(mut stream) = runtime.connect(address).await {
            let _ = stream.read_to_string(&mut answer).await;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer, "hello\n");

    // A program beside it, as a health check is.
    let script = "echo $EXTRA; hostname; exit 4";
    let exec = ExecSpec {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("EXTRA".into(), "more".into())],
        ..ExecSpec::default()
    };
    let mut added = server.exec(exec).await.unwrap();
    assert_eq!(text(added.take_stdout()).await, "more\nhost-one\n");
    assert_eq!(added.wait().await.code, 4);
    let stats = server.stats().await.unwrap();
    assert!(stats.memory_bytes > 0 && stats.pids > 0, "{stats:?}");

    a_shell_can_be_used(&*server).await;

    // Its own end, and one that is forced.
    server.signal(libc::SIGTERM).await.unwrap();
    assert_eq!(server.wait().await.code, 8);
    server.signal(libc::SIGTERM).await.unwrap();
    let stubborn = runtime
        .start("one", container("stubborn", "exec sleep 1000"))
        .await
        .unwrap();
    stubborn.signal(libc::SIGKILL).await.unwrap();
    let exit = stubborn.wait().await;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed),
        (137, Some(9), false)
    );

    if has_limits {
        let mut spec = container(
            "greedy",
            "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}",
        );
        spec.limits.memory_bytes = Some(16 << 20);
        let exit = runtime.start("one", spec).await.unwrap().wait().await;
        assert_eq!((exit.code, exit.oom_killed), (137, true));
    }

    // What cannot start says why.
    let mut spec = container("missing", "");
    spec.args = vec!["no-such-program".into()];
    let error = runtime.start("one", spec).await.unwrap_err();
    assert!(
        matches!(error, StartError::NoSuchExecutable { .. }),
        "{error:?}"
    );
    let mut spec = container("ghost", "true");
    spec.user = "ghost".into();
    let error = runtime.start("one", spec).await.unwrap_err();
    assert!(matches!(error, StartError::NoSuchUser { .. }), "{error:?}");

    // A second task has an address of its own; removing it ends what runs in it.
    runtime
        .create_task(task("two", "172.31.16.10"))
        .await
        .unwrap();
    let sleeper = runtime
        .start("two", container("sleeper", "exec sleep 1000"))
        .await
        .unwrap();
    runtime.remove_task("two").await.unwrap();
    assert_eq!(sleeper.wait().await.code, 137);
    runtime.remove_task("two").await.unwrap();
    assert!(matches!(
        runtime.start("two", container("late", "true")).await,
        Err(StartError::NotRunning { .. })
    ));
    runtime
        .create_task(task("two", "172.31.16.10"))
        .await
        .unwrap();
    runtime.clean_up().await.unwrap();
}

/// A program beside a container's own that is talked to, through pipes and in a terminal.
async fn a_shell_can_be_used(container: &dyn TaskProcess) {
    let exec = |args: &[&str]| ExecSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ExecSpec::default()
    };
    let mut filter = container
        .exec(ExecSpec {
            stdin: Stdin::Pipe,
            ..exec(&["tr", "a-z", "A-Z"])
        })
        .await
        .unwrap();
    let mut stdin = filter.take_stdin().unwrap();
    stdin.write_all(b"through a pipe\n").await.unwrap();
    stdin.flush().await.unwrap();
    drop(stdin);
    assert_eq!(text(filter.take_stdout()).await, "THROUGH A PIPE\n");
    assert_eq!(filter.wait().await.code, 0);

    let mut shell = container
        .exec(ExecSpec {
            terminal: Some(TerminalSize {
                columns: 91,
                rows: 33,
            }),
            env: vec![("PS1".into(), "> ".into())],
            ..exec(&["sh"])
        })
        .await
        .unwrap();
    let (mut typed, mut screen) = (shell.take_stdin().unwrap(), shell.take_stdout().unwrap());
    assert!(shell.take_stderr().is_none());
    let mut seen = String::new();
    // The terminal shows what is typed, too, so an answer is told from its question by what the shell makes of it.
    // An engine learns a terminal's size a little later than the program starts.
    let sized = |rows: u16, columns: u16, number: u16| {
        format!(
            "until [ \"$(stty size)\" = '{rows} {columns}' ]; do :; done; echo $(({number} * 7))! $TERM\n"
        )
    };
    let (columns, rows) = (120, 40);
    for (typing, answer) in [
        (sized(33, 91, 5), "35! xterm"),
        ("tty; echo $((6 * 7))!\n".to_owned(), "42!"),
        (sized(rows, columns, 8), "56! xterm"),
        (
            "sh -c 'echo $((9 * 7))!; exec sleep 1000'\n".to_owned(),
            "63!",
        ),
        ("\u{3}echo $((10 * 7))!\n".to_owned(), "70!"),
        ("exit 6\n".to_owned(), "exit 6"),
    ] {
        if answer.starts_with("56") {
            shell.resize(TerminalSize { columns, rows }).unwrap();
        }
        typed.write_all(typing.as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        while !seen.contains(answer) {
            let count = screen.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{answer:?} never came: {seen}");
            seen += &String::from_utf8_lossy(&buffer[..count]);
        }
    }
    assert_eq!(shell.wait().await.code, 6, "{seen}");
    assert!(
        seen.contains("/dev/pts/") && seen.contains("40 120"),
        "{seen}"
    );
    // What is still to come, and then the end.
    assert!(!text(Some(screen)).await.contains('!'), "{seen}");
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
    let runtime = Native::new(NativeConfig {
        init_program: "/proc/self/exe".into(),
        cgroup_parent: lab.parent.clone(),
        snapshots: snapshots.clone(),
        subnets: subnets(),
        resolver: None,
        way_out: false,
    })
    .await
    .unwrap();
    serves_a_daemon(&runtime, &lab, lab.containers.without_limits().is_none()).await;
    assert_eq!(
        std::fs::read_dir(snapshots.join("scratch"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_native_runtime_works_without_root_too() {
    support::again_without_root("the_native_runtime_works_without_root_too");
}

/// An engine of the test's own, in a network and mount namespace that vanish with it.
struct Engine {
    daemon: std::process::Child,
    socket: String,
}

impl Engine {
    fn start(directory: &Path) -> Engine {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        // Of this thread only; what it starts inherits them.
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(directory.join("dockerd.log")).unwrap();
        let daemon = std::process::Command::new("dockerd")
            .args([
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
                "--pidfile",
                &path("pid"),
            ])
            .args(["--host", &socket, "--bridge", "none"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Engine { daemon, socket }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SIGTERM makes it stop its containers and its containerd.
        let pid = nix::unistd::Pid::from_raw(self.daemon.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "says why it is skipped")]
fn docker_serves_a_daemon_as_well() {
    let path = std::env::var_os("PATH").unwrap();
    let installed =
        |name: &str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !installed("dockerd") || !installed("docker") || !is_root() {
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
        for publish in [false, true] {
            let config = DockerConfig {
                program: "docker".into(),
                host: Some(engine.socket.clone()),
                home: "test".into(),
                files: lab.directory.path().join("files"),
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
            let docker = docker.unwrap_or_else(|error| {
                let log =
                    std::fs::read_to_string(lab.directory.path().join("dockerd.log")).unwrap();
                panic!("{error}\n{log}")
            });
            serves_a_daemon(&docker, &lab, true).await;
        }
    });
}
