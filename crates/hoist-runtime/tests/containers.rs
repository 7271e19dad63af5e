//! Containers as a program sees them from inside, and as their starter sees them from outside.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use hoist_runtime::{ExecSpec, Limits, Mount, MountSource, Network, StartError, Stdin, Ulimit};
use support::{Lab, both, is_root, text};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

hoist_runtime::init_in_tests!();

#[tokio::test]
async fn exit_codes_and_output_streams_come_out() {
    let lab = Lab::new("exit");
    let mut running = lab
        .containers
        .start(lab.spec("a", &["sh", "-c", "echo out; echo err >&2; exit 7"]))
        .await
        .unwrap();
    let (stdout, stderr) = (running.take_stdout(), running.take_stderr());
    assert_eq!(
        (text(stdout).await.as_str(), text(stderr).await.as_str()),
        ("out\n", "err\n")
    );
    let exit = running.wait().await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert_eq!(running.wait().await, exit, "waiting again gives the same");
}

#[tokio::test]
async fn the_program_is_process_1_and_sees_only_its_own_processes() {
    let lab = Lab::new("pid");
    let (output, _) = lab
        .sh("a", "echo $$; ls /proc | grep -c '^[0-9]*$'; hostname")
        .await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "1");
    assert!(lines[1].parse::<u32>().unwrap() <= 4, "{output}");
    assert_eq!(lines[2], "a");
}

#[tokio::test]
async fn process_1_ignores_sigterm_without_a_handler_and_obeys_its_own() {
    let lab = Lab::new("signals");
    let script =
        "trap 'echo got it; exit 3' TERM; echo ready; while true; do sleep 1 & wait $!; done";
    let mut running = lab
        .containers
        .start(lab.spec("handles", &["sh", "-c", script]))
        .await
        .unwrap();
    let mut lines = BufReader::new(running.take_stdout().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    running.signal(libc::SIGTERM).unwrap();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("got it"));
    assert_eq!(running.wait().await.code, 3);

    let mut running = lab
        .containers
        .start(lab.spec("ignores", &["sh", "-c", "echo ready; exec sleep 1000"]))
        .await
        .unwrap();
    let mut lines = BufReader::new(running.take_stdout().unwrap()).lines();
    lines.next_line().await.unwrap();
    running.signal(libc::SIGSTOP).unwrap();
    running.kill().unwrap();
    let exit = running.wait().await;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed),
        (137, Some(9), false)
    );
    running.signal(libc::SIGTERM).unwrap();
}

#[tokio::test]
async fn sigterm_without_a_handler_leaves_process_1_running() {
    let lab = Lab::new("term");
    let mut spec = lab.spec("a", &["cat"]);
    spec.stdin = Stdin::Pipe;
    let mut running = lab.containers.start(spec).await.unwrap();
    running.signal(libc::SIGTERM).unwrap();
    let mut stdin = running.take_stdin().unwrap();
    stdin.write_all(b"still here\n").await.unwrap();
    drop(stdin);
    assert_eq!(text(running.take_stdout()).await, "still here\n");
    assert_eq!(running.wait().await.code, 0);
}

#[tokio::test]
async fn environment_directory_and_user_are_as_asked() {
    let lab = Lab::new("env");
    let mut spec = lab.spec(
        "a",
        &[
            "sh",
            "-c",
            "pwd; echo $A; echo $HOME; echo $HOSTNAME; echo $PATH",
        ],
    );
    spec.env = vec![("A".into(), "b c".into())];
    spec.cwd = "/made/for/this".into();
    let (output, _) = lab.run(spec).await;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        ["/made/for/this", "b c", "/root", "a", path]
    );
}

#[tokio::test]
async fn the_user_comes_from_the_image_with_its_groups() {
    let lab = Lab::new("user");
    let mut spec = lab.spec(
        "a",
        &[
            "sh",
            "-c",
            "id -u; id -g; id -G; echo $HOME; echo again > /dev/stdout",
        ],
    );
    spec.user = "app".into();
    let (output, exit) = lab.run(spec).await;
    // A user namespace of one id has no further groups.
    let groups = if is_root() { "1000 1500" } else { "1000" };
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        ["1000", "1000", groups, "/home/app", "again"]
    );
    assert_eq!(exit.code, 0);
}

#[tokio::test]
async fn a_program_of_another_user_has_no_powers() {
    let lab = Lab::new("weak");
    let mut spec = lab.spec(
        "a",
        &[
            "sh",
            "-c",
            "grep -E 'Cap(Eff|Prm|Inh|Amb)' /proc/self/status; exec sleep 1000",
        ],
    );
    spec.user = "1000:1000".into();
    spec.allow_new_privileges = true;
    let mut running = lab.containers.start(spec).await.unwrap();
    let mut lines = BufReader::new(running.take_stdout().unwrap()).lines();
    for name in ["Inh", "Prm", "Eff", "Amb"] {
        assert_eq!(
            lines.next_line().await.unwrap().unwrap(),
            format!("Cap{name}:\t0000000000000000")
        );
    }
    let args = [
        "sh",
        "-c",
        "id -u; mount -t tmpfs none /tmp 2>/dev/null; echo $?; kill -0 1; echo $?",
    ];
    let exec = ExecSpec {
        args: args.map(str::to_owned).to_vec(),
        ..ExecSpec::default()
    };
    let mut added = running.exec(exec).await.unwrap();
    assert_eq!(both(&mut added).await, "1000\n1\n0\n");
}

#[tokio::test]
async fn a_program_that_cannot_start_says_why() {
    let lab = Lab::new("refused");
    let start =
        async |id: &str, args: &[&str]| lab.containers.start(lab.spec(id, args)).await.unwrap_err();
    assert!(
        matches!(start("a", &["no-such"]).await, StartError::NoSuchExecutable { program } if program == "no-such")
    );
    assert!(matches!(
        start("b", &["/no/such"]).await,
        StartError::NoSuchExecutable { .. }
    ));
    assert!(matches!(
        start("c", &["/bin/not-a-program"]).await,
        StartError::ExecFormat { .. }
    ));
    assert!(matches!(
        start("d", &["/bin/not-executable"]).await,
        StartError::PermissionDenied { .. }
    ));
    // As Docker's runtime has it, which looks for executable files only.
    assert!(matches!(
        start("e", &["not-executable"]).await,
        StartError::NoSuchExecutable { .. }
    ));
    let mut spec = lab.spec("f", &["true"]);
    spec.user = "ghost".into();
    assert!(
        matches!(lab.containers.start(spec).await.unwrap_err(), StartError::NoSuchUser { name, .. } if name == "ghost")
    );
    let mut spec = lab.spec("g", &["true"]);
    spec.cwd = "/bin/sh".into();
    assert!(matches!(
        lab.containers.start(spec).await.unwrap_err(),
        StartError::WorkingDirectory { .. }
    ));
}

#[tokio::test]
async fn powers_are_dockers_and_calls_on_the_machine_are_refused() {
    let lab = Lab::new("powers");
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
                  mount -t tmpfs none /tmp; echo mount=$?; unshare -n true; echo unshare=$?; hostname other; echo hostname=$?; \
                  mknod /tmp/disk b 7 0 && head -c1 /tmp/disk; echo device=$?; echo 1 > /proc/sys/kernel/sysrq; echo sysrq=$?";
    let (output, _) = lab.sh("a", script).await;
    let value = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} in {output}"))
            .trim()
            .to_owned()
    };
    for set in ["CapBnd:", "CapPrm:", "CapEff:"] {
        assert_eq!(value(set), "00000000a80425fb", "{set}");
    }
    assert_eq!(
        (value("CapInh:"), value("CapAmb:")),
        ("0".repeat(16), "0".repeat(16))
    );
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1".into(), "2".into())
    );
    for refused in ["mount=", "unshare=", "hostname=", "device=", "sysrq="] {
        assert_ne!(value(refused), "0", "{refused} in {output}");
    }
}

#[tokio::test]
async fn what_shows_or_changes_the_machine_is_masked() {
    let lab = Lab::new("masked");
    let script = "for place in acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats; do \
                    place=/proc/$place; [ -e $place ] || continue; \
                    if [ -d $place ]; then echo $place $(ls -A $place | wc -l); else echo $place $(wc -c < $place); fi; done; \
                  echo firmware $(ls -A /sys/firmware | wc -l); \
                  for place in /proc/bus /proc/fs /proc/irq /proc/sys /sys /sys/fs/cgroup; do [ -e $place ] || continue; \
                    mkdir $place/new 2>/dev/null && echo $place open; touch $place/file 2>/dev/null && echo $place open; done; \
                  (echo b > /proc/sysrq-trigger) 2>/dev/null && echo sysrq open; echo end";
    let (output, _) = lab.sh("a", script).await;
    assert!(
        output.starts_with("/proc/") && output.ends_with("end\n"),
        "{output}"
    );
    for line in output.lines().filter(|line| *line != "end") {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[tokio::test]
async fn a_process_1_of_ours_passes_signals_on_reaps_orphans_and_cannot_be_written_to() {
    let lab = Lab::new("init");
    let program = std::fs::read("/proc/self/exe").unwrap();
    let script = "echo $$; sh -c 'true & exit'; \
                  while grep -q '(zombie)' /proc/[0-9]*/status 2>/dev/null; do :; done; \
                  echo evil > /proc/1/exe; trap 'exit 9' TERM; echo ready; sleep 1000 & wait";
    let mut spec = lab.spec("a", &["sh", "-c", script]);
    spec.init = true;
    spec.merge_output = true;
    let mut running = lab.containers.start(spec).await.unwrap();
    let mut lines = BufReader::new(running.take_stdout().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "2");
    let said = lines.next_line().await.unwrap().unwrap();
    // Without root the program is not ours to write to in the first place.
    let refusal = if is_root() {
        "Read-only file system"
    } else {
        "/proc/1/exe"
    };
    assert!(said.contains(refusal), "{said}");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ready");
    running.signal(libc::SIGTERM).unwrap();
    assert_eq!(running.wait().await.code, 9);
    assert!(std::fs::read("/proc/self/exe").unwrap() == program);

    let mut spec = lab.spec("b", &["no-such"]);
    spec.init = true;
    assert!(matches!(
        lab.containers.start(spec).await.unwrap_err(),
        StartError::NoSuchExecutable { .. }
    ));
}

#[tokio::test]
async fn capabilities_can_be_added_and_taken_away() {
    let lab = Lab::new("caps");
    let mut spec = lab.spec("a", &["grep", "CapEff", "/proc/self/status"]);
    spec.cap_drop = vec!["ALL".into()];
    spec.cap_add = vec!["NET_BIND_SERVICE".into()];
    assert_eq!(lab.run(spec).await.0, "CapEff:\t0000000000000400\n");
}

#[tokio::test]
async fn the_file_system_is_the_images_with_the_kernels_own_places() {
    let lab = Lab::new("files");
    let script = "ls /; cat /etc/hostname; touch /new; ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; touch /dev/shm/a; \
                  df -k /dev/shm | tail -1; cat /proc/kcore | wc -c; grep localhost /etc/hosts | head -1; ls /sys | wc -l";
    let (output, _) = lab.sh("a", script).await;
    for part in [
        "bin\n",
        "proc\n",
        "sys\n",
        "a\n",
        "null\n",
        "pts\n",
        "65536",
        "127.0.0.1\tlocalhost",
    ] {
        assert!(output.contains(part), "{part:?} in {output}");
    }
    assert!(lab.upper("a").join("new").exists());
    let changed: Vec<_> = std::fs::read_dir(lab.upper("a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        changed,
        ["new"],
        "mount points leave no trace in the upper directory"
    );
}

#[tokio::test]
async fn an_image_of_nothing_but_a_program_runs() {
    let lab = Lab::new("scratch");
    let mut spec = lab.spec(
        "a",
        &["/busybox", "sh", "-c", "echo hello; /busybox ls /etc"],
    );
    spec.rootfs.lower = Vec::new();
    std::fs::copy(
        lab.base().join("bin/busybox"),
        lab.upper("a").join("busybox"),
    )
    .unwrap();
    let (output, exit) = lab.run(spec).await;
    assert_eq!(
        (output.as_str(), exit.code),
        ("hello\nhostname\nhosts\nresolv.conf\n", 0)
    );
}

#[tokio::test]
async fn mounts_bind_and_memory_are_where_asked_and_read_only_means_it() {
    let lab = Lab::new("mounts");
    let shared = lab.directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from outside\n").unwrap();
    let script = "cat /data/in; echo back > /data/out; touch /fixed/x 2>/dev/null; echo $?; touch /memory/x; touch /x 2>/dev/null; echo $?; cat /one";
    let mut spec = lab.spec("a", &["sh", "-c", script]);
    let mount = |target: &str, source: MountSource, read_only| Mount {
        target: target.into(),
        source,
        read_only,
    };
    spec.mounts = vec![
        mount("/data", MountSource::Bind(shared.clone()), false),
        mount("/fixed", MountSource::Bind(shared.clone()), true),
        mount("/one", MountSource::Bind(shared.join("in")), true),
        mount(
            "/memory",
            MountSource::Tmpfs {
                size_bytes: Some(4096),
                mode: Some(0o700),
            },
            false,
        ),
    ];
    spec.read_only = true;
    let (output, _) = lab.run(spec).await;
    assert_eq!(output, "from outside\n1\n1\nfrom outside\n");
    assert_eq!(
        std::fs::read_to_string(shared.join("out")).unwrap(),
        "back\n"
    );
}

#[tokio::test]
async fn a_link_in_the_image_does_not_lead_a_mount_out_of_the_root() {
    let lab = Lab::new("escape");
    let outside = lab.directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, lab.base().join("link")).unwrap();
    std::os::unix::fs::symlink("../../../../../..", lab.base().join("up")).unwrap();
    for (id, target) in [("a", "/link/made"), ("b", "/up/tmp/made-by-hoist")] {
        let mut spec = lab.spec(id, &["true"]);
        spec.mounts = vec![Mount {
            target: target.into(),
            source: MountSource::Bind(lab.base()),
            read_only: true,
        }];
        let _ = lab.containers.start(spec).await;
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!std::path::Path::new("/tmp/made-by-hoist").exists());
}

#[tokio::test]
async fn exec_joins_the_container() {
    let lab = Lab::new("exec");
    let mut spec = lab.spec("a", &["sleep", "1000"]);
    spec.env = vec![("A".into(), "1".into())];
    let running = lab.containers.start(spec).await.unwrap();
    let exec = async |script: &str| {
        let mut added = running
            .exec(ExecSpec {
                args: vec!["sh".into(), "-c".into(), script.into()],
                env: vec![("B".into(), "2".into())],
                cwd: "/tmp".into(),
                ..ExecSpec::default()
            })
            .await
            .unwrap();
        (both(&mut added).await, added.wait().await.code)
    };
    let (output, code) = exec("echo $A$B; pwd; hostname; cat /proc/1/cmdline | tr '\\0' ' '; grep CapEff /proc/self/status; exit 9").await;
    assert_eq!(
        output,
        "12\n/tmp\na\nsleep 1000 CapEff:\t00000000a80425fb\n"
    );
    assert_eq!(code, 9);
    let missing = running
        .exec(ExecSpec {
            args: vec!["no-such".into()],
            ..ExecSpec::default()
        })
        .await
        .unwrap_err();
    assert!(matches!(missing, StartError::NoSuchExecutable { .. }));

    let mut left = running
        .exec(ExecSpec {
            args: vec!["sleep".into(), "1000".into()],
            ..ExecSpec::default()
        })
        .await
        .unwrap();
    running.kill().unwrap();
    running.wait().await;
    assert_eq!(both(&mut left).await, "");
    assert_eq!(
        left.wait().await.code,
        137,
        "an added program ends with process 1"
    );
    let late = running
        .exec(ExecSpec {
            args: vec!["true".into()],
            ..ExecSpec::default()
        })
        .await
        .unwrap_err();
    assert!(matches!(late, StartError::NotRunning { .. }), "{late:?}");
}

#[tokio::test]
async fn memory_beyond_the_limit_kills_with_137_and_says_so() {
    let lab = Lab::new("oom");
    if let Some(why) = lab.containers.without_limits() {
        assert!(!is_root(), "root must have control groups: {why}");
        return;
    }
    let mut spec = lab.spec(
        "a",
        &[
            "sh",
            "-c",
            "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}",
        ],
    );
    spec.limits = Limits {
        memory_bytes: Some(16 << 20),
        ..Limits::default()
    };
    let exit = lab.run(spec).await.1;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed),
        (137, Some(9), true)
    );
}

#[tokio::test]
async fn limits_are_seen_from_inside_and_used_is_counted() {
    let lab = Lab::new("limits");
    if let Some(why) = lab.containers.without_limits() {
        assert!(!is_root(), "root must have control groups: {why}");
        return;
    }
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
                  cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; \
                  cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; ulimit -n; echo ready; exec sleep 1000";
    let mut spec = lab.spec("a", &["sh", "-c", script]);
    spec.limits = Limits {
        memory_bytes: Some(64 << 20),
        cpu_units: Some(512),
        cpu_shares: Some(128),
        pids: Some(50),
    };
    spec.ulimits = vec![Ulimit {
        name: "nofile".into(),
        soft: 100,
        hard: u64::MAX,
    }];
    let mut running = lab.containers.start(spec).await.unwrap();
    let mut lines = BufReader::new(running.take_stdout().unwrap()).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines
        .next_line()
        .await
        .unwrap()
        .filter(|line| line != "ready")
    {
        seen.push(line);
    }
    assert_eq!(seen[0], (64 << 20).to_string());
    assert!(seen[1].starts_with("50000"), "{seen:?}");
    assert_eq!(seen[2..], ["50", "100"]);
    let stats = running.stats().unwrap();
    assert!(
        stats.memory_bytes > 0 && stats.cpu_nanos > 0 && stats.pids == 1,
        "{stats:?}"
    );
}

#[tokio::test]
async fn nothing_is_left_of_a_container_that_has_ended() {
    let lab = Lab::new("leaks");
    let mounts = || {
        std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&*lab.directory.path().to_string_lossy()))
            .count()
    };
    for id in ["a", "b", "c"] {
        assert_eq!(lab.sh(id, "sleep 1000 & exit 0").await.1.code, 0);
    }
    assert!(
        lab.containers
            .start(lab.spec("d", &["no-such"]))
            .await
            .is_err()
    );
    assert_eq!(mounts(), 0);
    for top in ["memory", "pids", "cpu", "."] {
        let group = std::path::Path::new("/sys/fs/cgroup")
            .join(top)
            .join(&lab.parent);
        let children = std::fs::read_dir(group).map(|entries| {
            entries
                .flatten()
                .filter(|entry| entry.file_type().unwrap().is_dir())
                .count()
        });
        assert_eq!(children.unwrap_or(0), 0, "{top}");
    }
}

#[tokio::test]
async fn dropping_a_container_kills_it() {
    let lab = Lab::new("drop");
    let mut running = lab
        .containers
        .start(lab.spec("a", &["sleep", "1000"]))
        .await
        .unwrap();
    let mut stdout = running.take_stdout();
    drop(running);
    assert_eq!(text(stdout.take()).await, "");
}

#[tokio::test]
async fn the_hosts_network_can_be_shared_for_builds() {
    let lab = Lab::new("hostnet");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let mut spec = lab.spec("a", &["stat", "-c", "%N", "/proc/self/ns/net"]);
    spec.network = Network::Host;
    let (output, _) = lab.run(spec).await;
    assert!(output.contains(&*own.to_string_lossy()), "{output}");
    let (output, _) = lab
        .sh("b", "stat -c %N /proc/self/ns/net; ls /sys/class/net")
        .await;
    assert!(!output.contains(&*own.to_string_lossy()), "{output}");
}

#[test]
fn all_of_this_works_without_root_too() {
    support::again_without_root("all_of_this_works_without_root_too");
}
