//! What a container of a task gets, one behaviour at a time, on whichever runtime it runs.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hoist_runtime::{
    ExecSpec, Exit, Guard, Limits, Mount, MountSource, PreparedImage, Runtime, StartError, Stdin,
    TaskContainer, TaskProcess, Ulimit,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::image;
use crate::story::task;
use crate::support::{Lab, text};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Root,
    Rootless,
    Docker,
}

/// What a runtime says that tasks lack, by its first words, and why that is its nature. Whatever else one lacks is a mistake.
const EXCEPTIONS: &[(Kind, &str, &str)] = &[
    (Kind::Root, "a way out", "these tests ask for none"),
    (Kind::Rootless, "a way out", "these tests ask for none"),
    (
        Kind::Rootless,
        "limits of memory",
        "control groups are root's, where none of version 2 was handed to the user",
    ),
    (
        Kind::Rootless,
        "users besides root",
        "a user without ranges in /etc/subuid has one id",
    ),
    (
        Kind::Docker,
        "security groups",
        "the bridge is the engine's own",
    ),
    (
        Kind::Docker,
        "limits of all containers together",
        "the engine knows containers, no groups of them",
    ),
];

/// A runtime, an image, and a task that behaviours share.
pub struct Bench {
    kind: Kind,
    runtime: Arc<dyn Runtime>,
    image: PreparedImage,
    folder: PathBuf,
    number: AtomicU8,
}

/// The names that tasks find, and no other resolver knows.
struct Ours;

impl hoist_runtime::Names for Ours {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        (name == "api.shop.local").then(|| vec![Ipv4Addr::new(172, 31, 0, 77)])
    }
}

/// What one behaviour is checked by.
type Check = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! table {
    ($($name:ident),+ $(,)?) => {
        const TABLE: &[(&str, Check)] = &[$((stringify!($name), |bench| Box::pin($name(bench)))),+];
    };
}

table![
    exit_codes_and_both_streams_come_out,
    much_output_comes_whole_and_a_last_line_without_an_end,
    the_program_is_process_1_and_sees_only_its_own_processes,
    process_1_obeys_its_handlers_and_ignores_what_it_has_none_for,
    directory_home_and_path_are_as_docker_has_them,
    long_and_odd_values_of_the_environment_arrive,
    the_user_comes_from_the_image_with_its_groups,
    a_program_of_another_user_has_no_powers,
    what_cannot_start_says_why,
    calls_on_the_machine_are_refused,
    what_shows_or_changes_the_machine_is_masked,
    capabilities_can_be_added_and_taken_away,
    an_init_process_passes_signals_on_and_reaps_orphans,
    the_kernels_own_places_are_there,
    a_root_that_is_read_only_refuses_writes_and_mounts_do_not,
    two_containers_share_a_volume_and_nothing_else,
    an_added_program_has_the_containers_surroundings,
    an_added_program_ends_with_its_container,
    memory_beyond_the_limit_is_the_end,
    limits_are_seen_from_inside,
    what_is_used_is_counted,
    hosts_resolvers_and_kernel_parameters_are_as_asked,
    an_ordinary_user_may_listen_on_port_80,
    tasks_have_addresses_of_their_own_and_reach_each_other,
    tasks_reach_what_listens_at_their_router,
    tasks_find_names_of_ours,
    what_tasks_send_to_nobodys_addresses_is_taken,
    what_is_not_allowed_does_not_pass,
    a_task_that_is_removed_takes_its_containers_with_it,
];

/// Checks the whole table, and then says all that is wrong.
#[allow(clippy::print_stderr, reason = "says what is stuck")]
pub async fn play(kind: Kind, runtime: Arc<dyn Runtime>, lab: &Lab) {
    for lack in runtime.lacks() {
        let known = EXCEPTIONS
            .iter()
            .any(|(whose, start, _)| *whose == kind && lack.starts_with(start));
        assert!(known, "{kind:?} lacks {lack}");
    }
    let (store, image) = image(lab);
    let bench = Bench {
        kind,
        image: runtime.prepare(&store, &image).await.unwrap(),
        runtime,
        folder: lab.directory.path().join("table"),
        number: AtomicU8::new(20),
    };
    std::fs::create_dir_all(&bench.folder).unwrap();
    bench.runtime.set_names(Arc::new(Ours));
    bench
        .runtime
        .create_task(task("shared", "172.31.0.250"))
        .await
        .unwrap();
    // Parts of names, with commas between.
    let only = std::env::var("HOIST_BEHAVIOUR").unwrap_or_default();
    let is_meant = |name: &str| only.split(',').any(|part| name.contains(part));
    let checks = TABLE
        .iter()
        .filter(|(name, _)| is_meant(name))
        .map(|(name, check)| {
            let bench = &bench;
            async move {
                let checked = std::panic::AssertUnwindSafe(check(bench));
                let checked = futures_util::FutureExt::catch_unwind(checked);
                // Nothing takes that long; it is stuck.
                match tokio::time::timeout(std::time::Duration::from_secs(120), checked).await {
                    Ok(Ok(())) => None,
                    Ok(Err(_)) => Some(*name),
                    Err(_) => Some(*name).inspect(|name| eprintln!("{name} never ends")),
                }
            }
        });
    // Some at a time: they mostly wait for the engine.
    let wrong: Vec<&str> = futures_util::StreamExt::collect::<Vec<_>>(
        futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(checks), 6),
    )
    .await
    .into_iter()
    .flatten()
    .collect();
    assert!(wrong.is_empty(), "{kind:?}: {wrong:#?}");
}

impl Bench {
    fn lacks(&self, start: &str) -> bool {
        let lacks = self.runtime.lacks();
        lacks.iter().any(|lack| lack.starts_with(start))
    }

    fn next(&self) -> u8 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    fn container(&self, args: &[&str]) -> TaskContainer {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let name = format!("c{}", self.next());
        TaskContainer::new(name, self.image.clone(), args)
    }

    fn shell(&self, script: &str) -> TaskContainer {
        self.container(&["sh", "-c", script])
    }

    async fn start(&self, container: TaskContainer) -> Box<dyn TaskProcess> {
        self.runtime.start("shared", container).await.unwrap()
    }

    /// Runs it to its end: standard output, standard error, and how it ended.
    async fn whole(&self, container: TaskContainer) -> (String, String, Exit) {
        let mut process = self.start(container).await;
        let (stdout, stderr) = both(&mut *process).await;
        (stdout, stderr, process.wait().await)
    }

    /// What a shell script prints.
    async fn sh(&self, script: &str) -> String {
        self.whole(self.shell(script)).await.0
    }

    /// A task of its own, in one of both subnets.
    async fn task(&self, third: u8) -> (String, Ipv4Addr) {
        let number = self.next();
        let (id, ip) = (format!("t{number}"), Ipv4Addr::new(172, 31, third, number));
        let made = self.runtime.create_task(task(&id, &ip.to_string())).await;
        made.unwrap();
        (id, ip)
    }
}

async fn both(process: &mut dyn TaskProcess) -> (String, String) {
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    tokio::join!(text(stdout), text(stderr))
}

fn exec(args: &[&str]) -> ExecSpec {
    ExecSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ExecSpec::default()
    }
}

/// Waits for a line of the output.
async fn await_line(process: &mut dyn TaskProcess, expected: &str) {
    let mut lines = BufReader::new(process.take_stdout().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    // What comes later must not block the program.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

async fn exit_codes_and_both_streams_come_out(bench: &Bench) {
    let spec = bench.shell("echo out; echo err >&2; exit 7");
    let (stdout, stderr, exit) = bench.whole(spec).await;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
}

async fn much_output_comes_whole_and_a_last_line_without_an_end(bench: &Bench) {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo -n end";
    let output = bench.sh(script).await;
    assert_eq!(output.len(), 3_000_004);
    assert!(output.ends_with("x\nend"));
}

async fn the_program_is_process_1_and_sees_only_its_own_processes(bench: &Bench) {
    let output = bench
        .sh("echo $$; ls /proc | grep -c '^[0-9]*$'; hostname")
        .await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[2]), ("1", "host-shared"));
    assert!(lines[1].parse::<u32>().unwrap() <= 4, "{output}");
}

async fn process_1_obeys_its_handlers_and_ignores_what_it_has_none_for(bench: &Bench) {
    let script = "trap 'exit 3' USR1; echo ready; while true; do sleep 1 & wait $!; done";
    let mut process = bench.start(bench.shell(script)).await;
    await_line(&mut *process, "ready").await;
    process.signal(libc::SIGTERM).await.unwrap();
    process.signal(libc::SIGUSR1).await.unwrap();
    assert_eq!(process.wait().await.code, 3);
    process.signal(libc::SIGTERM).await.unwrap();
}

async fn directory_home_and_path_are_as_docker_has_them(bench: &Bench) {
    let mut spec = bench.shell("pwd; echo $A; echo $HOME; echo $HOSTNAME; echo $PATH");
    spec.env = vec![("A".into(), "b c".into())];
    spec.cwd = "/made/for/this".into();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        bench.whole(spec).await.0.lines().collect::<Vec<_>>(),
        ["/made/for/this", "b c", "/root", "host-shared", path]
    );
}

async fn long_and_odd_values_of_the_environment_arrive(bench: &Bench) {
    let mut spec =
        bench.shell("echo ${#LONG}; echo \"[$LINES2]\"; echo \"[$ODD]\"; echo \"[$EMPTY]\"");
    spec.env = vec![
        ("LONG".into(), "x".repeat(100_000)),
        ("LINES2".into(), "first\nsecond\n".into()),
        ("ODD".into(), " # $HOME 'a' \"b\" = \\ é ".into()),
        ("EMPTY".into(), String::new()),
    ];
    assert_eq!(
        bench.whole(spec).await.0,
        "100000\n[first\nsecond\n]\n[ # $HOME 'a' \"b\" = \\ é ]\n[]\n"
    );
}

async fn the_user_comes_from_the_image_with_its_groups(bench: &Bench) {
    let mut spec = bench.shell("id -u; id -g; id -G; echo $HOME; echo again > /dev/stdout");
    spec.user = "app".into();
    // A user namespace of one id has no further groups.
    let groups = if bench.lacks("users besides root") {
        "1000"
    } else {
        "1000 1500"
    };
    let (output, _, exit) = bench.whole(spec).await;
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        ["1000", "1000", groups, "/home/app", "again"]
    );
    assert_eq!(exit.code, 0);
}

async fn a_program_of_another_user_has_no_powers(bench: &Bench) {
    let script = "grep -E 'Cap(Eff|Prm)' /proc/self/status; mount -t tmpfs none /tmp 2>/dev/null; echo $?; touch /bin/x 2>/dev/null; echo $?";
    let mut spec = bench.shell(script);
    spec.user = "1000:1000".into();
    let output = bench.whole(spec).await.0;
    // Without ranges that one user owns all files.
    let writes = if bench.lacks("users besides root") {
        "0"
    } else {
        "1"
    };
    let none = "0".repeat(16);
    assert_eq!(
        output,
        format!("CapPrm:\t{none}\nCapEff:\t{none}\n1\n{writes}\n")
    );
}

async fn what_cannot_start_says_why(bench: &Bench) {
    let start = async |spec| bench.runtime.start("shared", spec).await.unwrap_err();
    for program in ["no-such", "/no/such", "not-executable"] {
        let error = start(bench.container(&[program])).await;
        assert!(
            matches!(&error, StartError::NoSuchExecutable { program: it } if it == program),
            "{error:?}"
        );
    }
    for program in ["/bin/not-executable", "/etc"] {
        let error = start(bench.container(&[program])).await;
        assert!(
            matches!(error, StartError::PermissionDenied { .. }),
            "{program}: {error:?}"
        );
    }
    let spec = bench.container(&["/bin/not-a-program"]);
    match bench.runtime.start("shared", spec).await {
        // The engine's runtime finds it out when it is no more to be stopped, and says so in the program's place.
        Ok(mut process) => {
            assert_eq!(bench.kind, Kind::Docker);
            let (stdout, stderr) = both(&mut *process).await;
            let said = stdout + &stderr;
            assert!(said.contains("exec format error"), "{said}");
            assert_ne!(process.wait().await.code, 0);
        }
        Err(error) => assert!(matches!(error, StartError::ExecFormat { .. }), "{error:?}"),
    }
    for (user, what, name) in [
        ("ghost", "user", "ghost"),
        ("root:ghosts", "group", "ghosts"),
    ] {
        let mut spec = bench.container(&["true"]);
        spec.user = user.into();
        let error = start(spec).await;
        assert!(
            matches!(&error, StartError::NoSuchUser { what: it, name: who, .. } if it == what && who == name),
            "{error:?}"
        );
    }
    let mut spec = bench.container(&["true"]);
    spec.cwd = "/bin/busybox".into();
    let error = start(spec).await;
    assert!(
        matches!(error, StartError::WorkingDirectory { .. }),
        "{error:?}"
    );
    let error = start(bench.container(&[])).await;
    assert!(matches!(error, StartError::Invalid(_)), "{error:?}");
}

async fn calls_on_the_machine_are_refused(bench: &Bench) {
    let script = "grep -E '^(CapBnd|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status; \
                  mount -t tmpfs none /tmp; echo mount=$?; unshare -n true; echo unshare=$?; hostname other; echo hostname=$?; \
                  mknod /tmp/disk b 7 0 && head -c1 /tmp/disk; echo device=$?; echo 1 > /proc/sys/kernel/sysrq; echo sysrq=$?";
    let output = bench.sh(script).await;
    let value = |name: &str| {
        let mut lines = output.lines();
        let found = lines.find_map(|line| line.strip_prefix(name));
        found
            .unwrap_or_else(|| panic!("{name} in {output}"))
            .trim()
            .to_owned()
    };
    for set in ["CapBnd:", "CapEff:"] {
        assert_eq!(value(set), "00000000a80425fb", "{set}");
    }
    assert_eq!(value("CapAmb:"), "0".repeat(16));
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1".into(), "2".into())
    );
    for refused in ["mount=", "unshare=", "hostname=", "device=", "sysrq="] {
        assert_ne!(value(refused), "0", "{refused} in {output}");
    }
}

async fn what_shows_or_changes_the_machine_is_masked(bench: &Bench) {
    let script = "for place in acpi interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats; do \
                    place=/proc/$place; [ -e $place ] || continue; \
                    if [ -d $place ]; then echo $place $(ls -A $place | wc -l); else echo $place $(wc -c < $place); fi; done; \
                  echo firmware $(ls -A /sys/firmware | wc -l); \
                  for place in /proc/bus /proc/fs /proc/irq /proc/sys /sys /sys/fs/cgroup; do [ -e $place ] || continue; \
                    mkdir $place/new 2>/dev/null && echo $place open; touch $place/file 2>/dev/null && echo $place open; done; \
                  (echo b > /proc/sysrq-trigger) 2>/dev/null && echo sysrq open; echo end";
    let output = bench.sh(script).await;
    assert!(
        output.starts_with("/proc/") && output.ends_with("end\n"),
        "{output}"
    );
    for line in output.lines().filter(|line| *line != "end") {
        // An engine from before these were masked (Docker 27.1) shows the interrupts; the folder in which it shows control groups of
        // version 1 is the container's own.
        let is_known = line.starts_with("/proc/interrupts ") || line == "/sys/fs/cgroup open";
        assert!(
            bench.kind == Kind::Docker && is_known || line.ends_with(" 0"),
            "{line}"
        );
    }
}

async fn capabilities_can_be_added_and_taken_away(bench: &Bench) {
    let mut spec = bench.container(&["grep", "CapEff", "/proc/self/status"]);
    spec.cap_drop = vec!["ALL".into()];
    spec.cap_add = vec!["NET_BIND_SERVICE".into()];
    assert_eq!(bench.whole(spec).await.0, "CapEff:\t0000000000000400\n");
}

async fn an_init_process_passes_signals_on_and_reaps_orphans(bench: &Bench) {
    let script = "sh -c 'true & exit'; while grep -q '(zombie)' /proc/[0-9]*/status 2>/dev/null; do :; done; \
                  [ $$ = 1 ] && exit 1; trap 'exit 9' TERM; echo ready; sleep 1000 & wait";
    let mut spec = bench.shell(script);
    spec.init = true;
    let mut process = bench.start(spec).await;
    await_line(&mut *process, "ready").await;
    process.signal(libc::SIGTERM).await.unwrap();
    assert_eq!(process.wait().await.code, 9);
    let mut spec = bench.container(&["no-such"]);
    spec.init = true;
    match bench.runtime.start("shared", spec).await {
        // The engine's init starts, and then the program does not.
        Ok(process) => {
            assert_eq!(bench.kind, Kind::Docker);
            assert_eq!(process.wait().await.code, 127);
        }
        Err(error) => assert!(
            matches!(error, StartError::NoSuchExecutable { .. }),
            "{error:?}"
        ),
    }
}

async fn the_kernels_own_places_are_there(bench: &Bench) {
    let script = "cat /etc/hostname; touch /new; ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; touch /dev/shm/a; \
                  df -k /dev/shm | tail -1; cat /proc/kcore | wc -c; grep -c localhost /etc/hosts; ls /sys | wc -l; ls -l /dev/stdout /dev/ptmx";
    let output = bench.sh(script).await;
    for part in [
        "host-shared\n",
        "null\n",
        "urandom\n",
        "full\n",
        "pts\n",
        "65536",
        "\n3\n",
        "/dev/stdout",
    ] {
        assert!(output.contains(part), "{part:?} in {output}");
    }
    let mut spec = bench.shell("df -k /dev/shm | tail -1");
    spec.shm_bytes = Some(3 << 20);
    let output = bench.whole(spec).await.0;
    assert!(output.contains(" 3072 "), "{output}");
}

fn mount(target: &str, source: MountSource, read_only: bool) -> Mount {
    Mount {
        target: target.into(),
        source,
        read_only,
    }
}

async fn a_root_that_is_read_only_refuses_writes_and_mounts_do_not(bench: &Bench) {
    let shared = bench.folder.join("one, \"two\"");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from outside\n").unwrap();
    let script = "cat /data/in; echo back > /data/out; touch /fixed/x 2>/dev/null; echo $?; touch /memory/x; \
                  stat -c %a /memory /open; touch /x 2>/dev/null; echo $?; cat /one; df -k /memory | tail -1 | grep -c ' 4096 '";
    let mut spec = bench.shell(script);
    let memory = |size_bytes, mode| MountSource::Tmpfs { size_bytes, mode };
    spec.mounts = vec![
        mount("/data", MountSource::Bind(shared.clone()), false),
        mount("/fixed", MountSource::Bind(shared.clone()), true),
        mount("/one", MountSource::Bind(shared.join("in")), true),
        mount("/memory", memory(Some(4 << 20), Some(0o700)), false),
        mount("/open", memory(None, None), false),
    ];
    spec.read_only = true;
    assert_eq!(
        bench.whole(spec).await.0,
        "from outside\n1\n700\n1777\n1\nfrom outside\n1\n"
    );
    assert_eq!(
        std::fs::read_to_string(shared.join("out")).unwrap(),
        "back\n"
    );
}

async fn two_containers_share_a_volume_and_nothing_else(bench: &Bench) {
    let volume = bench.folder.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let share = || vec![mount("/volume", MountSource::Bind(volume.clone()), false)];
    let mut spec = bench.shell("touch /own; until [ -e /volume/asked ]; do :; done; echo data > /volume/.new; mv /volume/.new /volume/answer; sleep 1000");
    spec.mounts = share();
    let writer = bench.start(spec).await;
    let mut spec = bench.shell("touch /volume/asked; until [ -e /volume/answer ]; do :; done; cat /volume/answer; ls / | grep -c '^own$'; ls /tmp | wc -l");
    spec.mounts = share();
    assert_eq!(bench.whole(spec).await.0, "data\n0\n0\n");
    writer.signal(libc::SIGKILL).await.unwrap();
    writer.wait().await;
}

async fn an_added_program_has_the_containers_surroundings(bench: &Bench) {
    let mut spec = bench.shell("echo ready; exec sleep 1000");
    spec.env = vec![("A".into(), "1".into()), ("B".into(), "1".into())];
    spec.user = "app".into();
    spec.cwd = "/tmp".into();
    let mut process = bench.start(spec).await;
    await_line(&mut *process, "ready").await;
    let script = "echo $A$B; pwd; hostname; id -u; cat /proc/1/cmdline | tr '\\0' ' '; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; exit 9";
    let mut added = process
        .exec(ExecSpec {
            env: vec![("B".into(), "2".into())],
            ..exec(&["sh", "-c", script])
        })
        .await
        .unwrap();
    assert_eq!(
        both(&mut *added).await.0,
        "12\n/tmp\nhost-shared\n1000\nsleep 1000 NoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    assert_eq!(added.wait().await.code, 9);
    let elsewhere = ExecSpec {
        cwd: "/etc".into(),
        stdin: Stdin::Pipe,
        ..exec(&["sh", "-c", "pwd; cat"])
    };
    let mut added = process.exec(elsewhere).await.unwrap();
    let mut stdin = added.take_stdin().unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    stdin.flush().await.unwrap();
    drop(stdin);
    assert_eq!(both(&mut *added).await.0, "/etc\ntyped\n");
    match process.exec(exec(&["no-such"])).await {
        // The engine says so only by the code that a shell would give.
        Ok(mut added) => {
            assert_eq!(bench.kind, Kind::Docker);
            let (stdout, stderr) = both(&mut *added).await;
            assert!((stdout + &stderr).contains("no-such"));
            // 126 of old engines.
            assert!([126, 127].contains(&added.wait().await.code));
        }
        Err(error) => assert!(
            matches!(error, StartError::NoSuchExecutable { .. }),
            "{error:?}"
        ),
    }
    process.signal(libc::SIGKILL).await.unwrap();
    process.wait().await;
}

async fn an_added_program_ends_with_its_container(bench: &Bench) {
    let process = bench.start(bench.shell("exec sleep 1000")).await;
    let mut left = process
        .exec(exec(&["sh", "-c", "echo here; exec sleep 1000"]))
        .await
        .unwrap();
    await_line(&mut *left, "here").await;
    process.signal(libc::SIGKILL).await.unwrap();
    let exit = process.wait().await;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed),
        (137, Some(9), false)
    );
    assert_eq!(left.wait().await.code, 137);
    let late = process.exec(exec(&["true"])).await;
    assert!(matches!(late, Err(StartError::NotRunning { .. })));
}

async fn memory_beyond_the_limit_is_the_end(bench: &Bench) {
    let mut spec = bench.shell("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}");
    spec.limits.memory_bytes = Some(16 << 20);
    let (output, _, exit) = bench.whole(spec).await;
    if bench.lacks("limits of memory") {
        // It has said so at the start, and nothing is limited.
        assert_eq!((output.as_str(), exit.code), ("200000000\n", 0));
    } else {
        assert_eq!(
            (output.as_str(), exit.code, exit.oom_killed),
            ("", 137, true)
        );
    }
}

async fn limits_are_seen_from_inside(bench: &Bench) {
    let group = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
                 cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; cat pids/pids.max pids.max 2>/dev/null";
    let mut spec = bench.shell(&format!("ulimit -n; ulimit -Hn; {group}"));
    spec.limits = Limits {
        memory_bytes: Some(64 << 20),
        cpu_units: Some(512),
        cpu_shares: Some(128),
        pids: Some(50),
    };
    spec.ulimits = vec![Ulimit {
        name: "nofile".into(),
        soft: 100,
        hard: 200,
    }];
    let output = bench.whole(spec).await.0;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], ["100", "200"]);
    if bench.lacks("limits of memory") {
        assert_eq!(
            lines.len(),
            2,
            "no group is shown that does not limit: {output}"
        );
    } else {
        assert_eq!(lines[2], (64 << 20).to_string());
        assert!(lines[3].starts_with("50000"), "{output}");
        assert_eq!(lines[4], "50");
    }
}

async fn what_is_used_is_counted(bench: &Bench) {
    let mut process = bench
        .start(bench.shell(
            "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done; echo ready; exec sleep 1000",
        ))
        .await;
    await_line(&mut *process, "ready").await;
    match process.stats().await {
        Ok(stats) => assert!(
            stats.memory_bytes > 0
                && stats.pids == 1
                && (bench.kind == Kind::Docker || stats.cpu_nanos > 0),
            "{stats:?}"
        ),
        Err(error) => assert!(bench.lacks("limits of memory"), "{error}"),
    }
    process.signal(libc::SIGKILL).await.unwrap();
    process.wait().await;
}

async fn hosts_resolvers_and_kernel_parameters_are_as_asked(bench: &Bench) {
    let mut spec =
        bench.shell("cat /etc/hosts /etc/resolv.conf; cat /proc/sys/kernel/shm_rmid_forced");
    spec.extra_hosts = vec![("db.internal".into(), "10.0.0.9".parse().unwrap())];
    spec.dns = vec!["10.0.0.53".parse().unwrap()];
    spec.sysctls = vec![("kernel.shm_rmid_forced".into(), "1".into())];
    let output = bench.whole(spec).await.0;
    for part in [
        "127.0.0.1\tlocalhost",
        "10.0.0.9\tdb.internal",
        "nameserver 10.0.0.53",
    ] {
        assert!(output.contains(part), "{part} in {output}");
    }
    assert!(output.ends_with("\n1\n"), "{output}");
}

async fn an_ordinary_user_may_listen_on_port_80(bench: &Bench) {
    let (id, ip) = bench.task(0).await;
    let mut spec = bench.shell("while true; do echo $(id -u) | nc -l -p 80; done");
    spec.user = "app".into();
    let server = bench.runtime.start(&id, spec).await.unwrap();
    let mut answer = String::new();
    while answer.is_empty() {
        if let Ok(mut stream) = bench.runtime.connect((ip, 80).into()).await {
            let _ = stream.read_to_string(&mut answer).await;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer, "1000\n");
    bench.runtime.remove_task(&id).await.unwrap();
    assert_eq!(server.wait().await.code, 137);
}

async fn tasks_have_addresses_of_their_own_and_reach_each_other(bench: &Bench) {
    let ((one, first), (two, second)) = (bench.task(0).await, bench.task(16).await);
    let script =
        "while true; do ip -4 addr show eth0 | grep -o 'inet [0-9.]*' | nc -l -p 7000; done";
    let server = bench
        .runtime
        .start(&one, bench.shell(script))
        .await
        .unwrap();
    let script = format!(
        "until nc {first} 7000 < /dev/null 2>/dev/null | grep inet; do :; done; ip -4 addr show eth0 | grep -o 'inet [0-9.]*'; ip route"
    );
    let mut client = bench
        .runtime
        .start(&two, bench.shell(&script))
        .await
        .unwrap();
    let output = both(&mut *client).await.0;
    assert!(
        output.starts_with(&format!("inet {first}\ninet {second}\ndefault via 172.31.")),
        "{output}"
    );
    for id in [&one, &two] {
        bench.runtime.remove_task(id).await.unwrap();
    }
    assert_eq!(server.wait().await.code, 137);
}

async fn tasks_reach_what_listens_at_their_router(bench: &Bench) {
    let listener = bench
        .runtime
        .listen("172.31.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let (id, ip) = bench.task(0).await;
    let script = format!("nc 172.31.0.1 {port} < /dev/null");
    let mut client = bench
        .runtime
        .start(&id, bench.shell(&script))
        .await
        .unwrap();
    let (mut stream, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip(), ip);
    stream.write_all(b"served\n").await.unwrap();
    drop(stream);
    assert_eq!(both(&mut *client).await.0, "served\n");
    bench.runtime.remove_task(&id).await.unwrap();
}

async fn tasks_find_names_of_ours(bench: &Bench) {
    // Also one that nobody knows, which is asked for outside, where perhaps nobody answers.
    let script = "nslookup api.shop.local; echo then; nslookup none.shop.local";
    let output = bench.whole(bench.shell(script)).await.0;
    let (of_ours, of_none) = output.split_once("then\n").expect(&output);
    assert!(of_ours.contains("172.31.0.77"), "{output}");
    assert!(!of_none.contains("172.31.0.77"), "{output}");
}

async fn what_tasks_send_to_nobodys_addresses_is_taken(bench: &Bench) {
    let fixed = "169.254.170.2:80".parse().unwrap();
    let keys = bench.runtime.listen(fixed).await.unwrap();
    let ((one, first), (two, second)) = (bench.task(0).await, bench.task(16).await);
    let addresses = ["127.255.0.1:80", "127.255.0.2:80"].map(|it| it.parse().unwrap());
    let listening = bench.runtime.intercept(&one, addresses.to_vec()).await;
    let listening = listening.unwrap();
    // A container may listen on the same port of all addresses.
    let script = "nc -l -p 80 & for it in 127.255.0.2 127.255.0.1 169.254.170.2; do nc $it 80 < /dev/null; done";
    let mut client = bench
        .runtime
        .start(&one, bench.shell(script))
        .await
        .unwrap();
    for (listener, word) in [
        (&listening[1], "b\n"),
        (&listening[0], "a\n"),
        (&keys, "c\n"),
    ] {
        let (mut stream, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip() == first, word == "c\n", "{from}");
        stream.write_all(word.as_bytes()).await.unwrap();
    }
    let mut printed = String::new();
    let mut stdout = client.take_stdout().unwrap();
    while printed.len() < 6 {
        let mut more = [0; 6];
        let read = stdout.read(&mut more).await.unwrap();
        printed += std::str::from_utf8(&more[..read]).unwrap();
    }
    assert_eq!(printed, "b\na\nc\n");
    // What a proxy sends on comes from the task.
    let server = bench.shell("while true; do echo hello | nc -l -p 7000; done");
    let server = bench.runtime.start(&two, server).await.unwrap();
    let mut text = String::new();
    while text.is_empty() {
        let to = (second, 7000).into();
        if let Ok(mut stream) = bench.runtime.connect_from(&one, to).await {
            assert_eq!(stream.local_addr().unwrap().ip(), first);
            let _ = stream.read_to_string(&mut text).await;
        }
        tokio::task::yield_now().await;
    }
    for task in [&one, &two] {
        bench.runtime.remove_task(task).await.unwrap();
    }
    assert_eq!(server.wait().await.code, 137);
}

async fn what_is_not_allowed_does_not_pass(bench: &Bench) {
    let ((one, first), (two, second)) = (bench.task(0).await, bench.task(16).await);
    let script = "while true; do echo hello | nc -l -p 7000; done";
    let server = bench
        .runtime
        .start(&one, bench.shell(script))
        .await
        .unwrap();
    // A connection of this process is nobody's to forbid, and shows that it listens.
    let mut answer = String::new();
    while answer.is_empty() {
        if let Ok(mut stream) = bench.runtime.connect((first, 7000).into()).await {
            let _ = stream.read_to_string(&mut answer).await;
        }
        tokio::task::yield_now().await;
    }
    let closed = |ip| Guard {
        ip,
        ingress: Vec::new(),
        egress: Vec::new(),
    };
    let guarded = bench
        .runtime
        .guard(vec![closed(first), closed(second)])
        .await;
    guarded.unwrap();
    let is_open = bench.lacks("security groups");
    let script = if is_open {
        format!("until nc {first} 7000 < /dev/null 2>/dev/null | grep hello; do :; done")
    } else {
        format!("nc -w 1 {first} 7000 < /dev/null 2>/dev/null || echo refused")
    };
    let mut client = bench
        .runtime
        .start(&two, bench.shell(&script))
        .await
        .unwrap();
    let expected = if is_open { "hello\n" } else { "refused\n" };
    assert_eq!(both(&mut *client).await.0, expected);
    bench.runtime.guard(Vec::new()).await.unwrap();
    for id in [&one, &two] {
        bench.runtime.remove_task(id).await.unwrap();
    }
    assert_eq!(server.wait().await.code, 137);
}

async fn a_task_that_is_removed_takes_its_containers_with_it(bench: &Bench) {
    let (id, ip) = bench.task(0).await;
    let mut left = Vec::new();
    for _ in 0..2 {
        let spec = bench.shell("trap '' TERM; sleep 1000 & echo ready; while true; do wait; done");
        let mut process = bench.runtime.start(&id, spec).await.unwrap();
        await_line(&mut *process, "ready").await;
        left.push(process);
    }
    let again = bench.runtime.create_task(task(&id, &ip.to_string())).await;
    assert!(again.is_err(), "ids are unique");
    bench.runtime.remove_task(&id).await.unwrap();
    for process in left {
        assert_eq!(process.wait().await.code, 137);
    }
    let late = bench.runtime.start(&id, bench.shell("true")).await;
    assert!(matches!(late, Err(StartError::NotRunning { .. })));
    bench.runtime.remove_task(&id).await.unwrap();
    // The address and the id are free at once.
    bench
        .runtime
        .create_task(task(&id, &ip.to_string()))
        .await
        .unwrap();
    bench.runtime.remove_task(&id).await.unwrap();
}
