//! What a daemon does with tasks.

use std::net::SocketAddr;

use hoist_runtime::{
    ExecSpec, Limits, Runtime, StartError, Stdin, TaskContainer, TaskProcess, TaskSpec,
    TerminalSize, Ulimit,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::image;
use crate::support::{Lab, text};

pub fn task(id: &str, ip: &str) -> TaskSpec {
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
pub async fn serves_a_daemon(runtime: &dyn Runtime, lab: &Lab, has_limits: bool) {
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
                // The server may end its side before it has said anything.
                "until nc 127.0.0.1 7000 < /dev/null 2>/dev/null | grep hello; do :; done",
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
