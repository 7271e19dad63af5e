//! Steps that run commands, in real containers. They need root or a user namespace, and busybox-static.

use std::fs;

use crate::support::Bench;
use hoist_image::{BuildErrorKind, Secret, SecretSource, Workspace, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_its_image_and_leaves_a_layer() {
    let bench = Bench::with_busybox().await;
    bench.write("file", "from the context");
    let outcome = bench
        .build(
            "FROM busybox\nARG WORD=hello\nENV KEY=value\nWORKDIR /work\nCOPY file .\n\
             RUN echo $WORD $KEY > out && cat file >> out && pwd && id -u\n\
             RUN [\"/bin/sh\", \"-c\", \"rm file && mkdir -p a/b && ln -s b a/l && chmod 700 a/b\"]\n",
        )
        .await;
    let built = outcome.built();
    let files = bench.files(built);
    assert_eq!(files["work/out"].content, "hello value\nfrom the context");
    assert!(!files.contains_key("work/file"));
    assert_eq!(
        (files["work/a/b"].mode, files["work/a/l"].content.as_str()),
        (0o700, "b")
    );
    assert_eq!(outcome.output(), ["/work", "0"]);
    assert_eq!(built.steps_run, 4);
    let image = bench.image(built);
    let created_by = image.config.history.last().unwrap().created_by.as_deref();
    assert_eq!(
        created_by,
        Some(
            "RUN |1 WORD=hello /bin/sh -c rm file && mkdir -p a/b && ln -s b a/l && chmod 700 a/b"
        )
    );
    for left in ["proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"] {
        assert!(
            !files.contains_key(left),
            "{left} is only there while a command runs"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_step_is_not_run_again_even_by_another_process() {
    let bench = Bench::with_busybox().await;
    let text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN true\n";
    let first = bench.build(text).await;
    assert_eq!(
        (first.built().steps_run, first.built().steps_cached),
        (2, 0)
    );
    // Another workspace object knows only what is on disk, as another process does.
    let again = Bench {
        workspace: Workspace::open(bench.workspace.home()).unwrap(),
        folder: bench.folder,
    };
    let second = again.build(text).await;
    assert_eq!(
        (second.built().steps_run, second.built().steps_cached),
        (0, 2)
    );
    assert_eq!(
        second.built().manifest.digest,
        first.built().manifest.digest
    );
    let third = again
        .build_with(text, |request| request.no_cache = true)
        .await;
    assert_eq!(third.built().steps_run, 2);
    assert_ne!(third.built().manifest.digest, first.built().manifest.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_shows_its_place_its_last_words_and_its_code() {
    let bench = Bench::with_busybox().await;
    let outcome = bench
        .build("FROM busybox\nRUN true\nRUN echo one && \\\n    echo two >&2 && exit 7\n")
        .await;
    let error = outcome.error();
    assert_eq!(
        (error.kind(), error.exit_code(), error.line()),
        (BuildErrorKind::Command, Some(7), Some(3))
    );
    assert_eq!(error.message(), "the command ended with exit code 7");
    let mut output = error.output().to_vec();
    output.sort();
    assert_eq!(output, ["one", "two"]);
    // It is not kept: the next build runs it again.
    assert_eq!(
        bench
            .build("FROM busybox\nRUN true\nRUN exit 3\n")
            .await
            .error()
            .exit_code(),
        Some(3)
    );
    let missing = bench.build("FROM busybox\nRUN no-such-thing\n").await;
    assert_eq!(missing.error().exit_code(), Some(127));
    assert!(missing.error().hint().unwrap().contains("127"));
    let missing = bench.build("FROM busybox\nRUN [\"/no/such\"]\n").await;
    assert!(
        missing
            .error()
            .message()
            .contains("no such file or directory"),
        "{}",
        missing.error()
    );
    let no_shell = bench.build("FROM scratch\nRUN echo hi\n").await;
    assert!(
        no_shell
            .error()
            .hint()
            .unwrap()
            .contains("the image has no shell"),
        "{:?}",
        no_shell.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_shells_of_the_image_count() {
    let bench = Bench::with_busybox().await;
    let outcome = bench
        .build("FROM busybox\nRUN mkdir -p /home/app && chown app /home/app\nUSER app\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN id -u; id -g; echo $HOME; touch /home/app/x\nUSER 4242:staff\nRUN id -u; id -g\n")
        .await;
    assert_eq!(
        outcome.output(),
        ["1000", "1001", "/home/app", "4242", "50"]
    );
    assert_eq!(
        bench.files(outcome.built())["home/app/x"].owner,
        (1000, 1001)
    );
    let unknown = bench.build("FROM busybox\nUSER nobody\nRUN true\n").await;
    assert!(
        unknown
            .error()
            .message()
            .contains("unable to find user nobody"),
        "{}",
        unknown.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_replacements_reach_the_image() {
    let bench = Bench::with_busybox().await;
    let outcome = bench
        .build("FROM busybox AS base\nRUN mkdir -p /d/e && echo 1 > /d/a && echo 2 > /d/e/b && echo 3 > /f\nFROM base\nRUN rm -r /d && mkdir /d && echo 4 > /d/new && rm /f && mkdir /f\n")
        .await;
    let files = bench.files(outcome.built());
    assert_eq!(files["d/new"].content, "4\n");
    assert!(!files.contains_key("d/a") && !files.contains_key("d/e/b"));
    assert_eq!(files["f"].kind, 'd');
}

#[tokio::test(flavor = "multi_thread")]
async fn heredocs_run_as_scripts_and_copy_as_files() {
    let bench = Bench::with_busybox().await;
    let outcome = bench
        .build(
            "FROM busybox\nENV N=5\nCOPY <<one.txt <<\"two.txt\" /d/\nvalue $N\none.txt\nraw $N\ntwo.txt\n\
             RUN <<EOF\nset -e\nx=shell\necho $x-$N\nEOF\n\
             RUN <<EOF\n#!/bin/cat\nprinted\nEOF\n\
             RUN cat <<EOF > /mixed && echo done\nbody $N\nEOF\n",
        )
        .await;
    let files = bench.files(outcome.built());
    assert_eq!(
        (
            files["d/one.txt"].content.as_str(),
            files["d/two.txt"].content.as_str()
        ),
        ("value 5\n", "raw $N\n")
    );
    assert_eq!(files["mixed"].content, "body 5\n");
    assert_eq!(
        outcome.output(),
        ["shell-5", "#!/bin/cat", "printed", "done"]
    );
    assert!(!files.keys().any(|path| path.starts_with("dev")));
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_there_while_a_command_runs_and_leave_nothing() {
    let bench = Bench::with_busybox().await;
    bench
        .write("src/a", "context file")
        .write("src/hidden", "")
        .write(".dockerignore", "src/hidden");
    let text = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\n\
        RUN --mount=target=/ctx,source=src --mount=from=tools,source=/tool,target=/t/tool \
            --mount=type=cache,target=/cache --mount=type=tmpfs,target=/mem,size=1m \
            ls /ctx && cat /ctx/a /t/tool > /out && echo x >> /cache/n && cat /cache/n && touch /mem/y\n";
    let first = bench.build(text).await;
    assert_eq!(first.output(), ["a", "x"]);
    let files = bench.files(first.built());
    assert_eq!(files["out"].content, "context filetool\n");
    for left in ["ctx", "t", "cache", "mem"] {
        assert!(!files.contains_key(left), "{left}");
    }
    // The cache lives on; a change of what is bound runs the step again.
    bench.write("src/a", "changed ");
    let second = bench.build(text).await;
    assert_eq!(second.output(), ["a", "x", "x"]);
    assert_eq!(bench.build(text).await.built().steps_run, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_seen_by_their_step_and_by_nobody_else() {
    let bench = Bench::with_busybox().await;
    let file = bench.folder.path().join("token");
    fs::write(&file, "hunter2-secret\n").unwrap();
    let text = "FROM busybox\nRUN --mount=type=secret,id=token --mount=type=secret,id=token,env=TOKEN,target=/x \
        cat /run/secrets/token && echo \"env\" $TOKEN && stat -c %a /run/secrets/token && wc -c < /x > /size\n";
    let secret = |path: &std::path::Path| {
        vec![Secret {
            id: "token".into(),
            source: SecretSource::File(path.into()),
        }]
    };
    let outcome = bench
        .build_with(text, |request| request.secrets = secret(&file))
        .await;
    assert_eq!(outcome.output(), ["***", "env ***", "400"]);
    let files = bench.files(outcome.built());
    assert_eq!(files["size"].content, "15\n");
    assert!(!files.contains_key("run") && !files.contains_key("x"));
    // Another value is not another build.
    fs::write(&file, "other-secret\n").unwrap();
    assert_eq!(
        bench
            .build_with(text, |request| request.secrets = secret(&file))
            .await
            .built()
            .steps_run,
        0
    );
    for entry in walkdir::WalkDir::new(bench.folder.path().join("home")) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(
                !bytes.windows(14).any(|window| window == b"hunter2-secret"),
                "{}",
                entry.path().display()
            );
        }
    }
    let required = bench
        .build("FROM busybox\nRUN --mount=type=secret,id=gone,required=true true\n")
        .await;
    assert_eq!(
        (required.error().line(), required.error().column()),
        (Some(2), Some(5))
    );
    assert!(
        required
            .error()
            .hint()
            .unwrap()
            .contains("--secret id=gone")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_run_a_step_once() {
    let bench = Bench::with_busybox().await;
    bench.write("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/count && cat /c/count && sleep 1\n");
    let request = bench.request();
    let (one, two) = (
        bench.workspace.clone(),
        Workspace::open(bench.workspace.home()).unwrap(),
    );
    let (first, second) = tokio::join!(
        hoist_image::build(&one, &request, &|_| {}),
        hoist_image::build(&two, &request, &|_| {})
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.manifest.digest, second.manifest.digest);
    assert_eq!(first.steps_run + second.steps_run, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_build_stops_its_command() {
    let bench = Bench::with_busybox().await;
    bench.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c echo started && sleep 600\n",
    );
    let (started, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let request = bench.request();
    let events = move |event| {
        if let hoist_image::BuildEvent::Output { line, .. } = event {
            let _ = started.send(line);
        }
    };
    {
        let building = hoist_image::build(&bench.workspace, &request, &events);
        tokio::select! {
            result = building => panic!("the build ended: {result:?}"),
            line = seen.recv() => assert_eq!(line.as_deref(), Some("started")),
        }
    }
    // The step's lock is free once its command is gone: the same step can be tried at once.
    bench.write("Dockerfile", "FROM busybox\nRUN true\n");
    assert!(
        hoist_image::build(&bench.workspace, &request, &|_| {})
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_command_runs_in_the_built_image() {
    let bench = Bench::with_busybox().await;
    let built = bench
        .build("FROM busybox\nENV A=1\nWORKDIR /w\nCMD [\"never\"]\n")
        .await;
    let words = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let lines = std::sync::Mutex::new(Vec::new());
    let events = |event| {
        if let hoist_image::BuildEvent::Output { line, .. } = event {
            lines.lock().unwrap().push(line);
        }
    };
    let env = vec![("B".to_owned(), "2".to_owned())];
    let code = run(
        &bench.workspace,
        &bench.request(),
        built.built(),
        &words("echo $A$B; pwd; touch /gone; exit 4"),
        &env,
        &events,
    )
    .await
    .unwrap();
    assert_eq!(
        (code, lines.into_inner().unwrap()),
        (4, vec!["12".to_owned(), "/w".to_owned()])
    );
    let code = run(
        &bench.workspace,
        &bench.request(),
        built.built(),
        &words("test ! -e /gone"),
        &[],
        &|_| {},
    )
    .await
    .unwrap();
    assert_eq!(code, 0);
}
