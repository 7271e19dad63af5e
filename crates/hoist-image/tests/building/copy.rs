//! Copying: from the context, from stages and from archives. Nothing here starts a container.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Bench;
use hoist_image::{BuildErrorKind, inputs_digest};

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_come_to_lie_where_docker_puts_them() {
    let bench = Bench::new();
    bench
        .write("a.txt", "a")
        .write("b.txt", "b")
        .write("d/x", "x")
        .write("d/sub/y", "y")
        .write("e/z.go", "z")
        .write("e/z.rs", "z");
    let outcome = bench
        .build(
            "FROM scratch\nWORKDIR /w\nCOPY a.txt renamed\nCOPY a.txt b.txt into/\nCOPY d /dir\nCOPY d/ .\nCOPY e/*.go [a-b].txt /glob/\n\
             COPY d/sub /dir/\nCOPY [\"a.txt\", \"/with space/\"]\nCOPY ./d/../a.txt /up/../top\nCOPY package.json* /optional/\n",
        )
        .await;
    let files = bench.files(outcome.built());
    let names: Vec<&str> = files
        .iter()
        .filter(|(_, file)| file.kind == 'f')
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "dir/sub/y",
            "dir/x",
            "dir/y",
            "glob/a.txt",
            "glob/b.txt",
            "glob/z.go",
            "top",
            "w/into/a.txt",
            "w/into/b.txt",
            "w/renamed",
            "w/sub/y",
            "w/x",
            "with space/a.txt"
        ]
    );
    assert_eq!(
        outcome.warnings(),
        ["nothing in the context matches package.json*"]
    );
    assert!(files["w"].kind == 'd' && files["w"].mode == 0o755);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_modes_and_times_are_those_of_the_file_or_of_the_flags() {
    let bench = Bench::with_busybox().await;
    bench.write("f", "x").write("d/g", "y");
    let path = bench.context();
    fs::set_permissions(path.join("f"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(path.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    filetime::set_file_mtime(
        path.join("f"),
        filetime::FileTime::from_unix_time(1_234_567, 890),
    )
    .unwrap();
    std::os::unix::fs::lchown(path.join("f"), Some(77), Some(78)).unwrap();
    let outcome = bench
        .build(
            "FROM busybox\nARG WHO=app\nCOPY f /plain\nCOPY --chown=$WHO f /new/named\nCOPY --chown=5 f /five\nCOPY --chown=app:staff --chmod=4755 f /both\n\
             COPY --chmod=u=rwX,go= d /d\nCOPY f /bin/linked\n",
        )
        .await;
    let files = bench.files(outcome.built());
    assert_eq!(
        (
            files["plain"].owner,
            files["plain"].mode,
            files["plain"].mtime
        ),
        ((0, 0), 0o640, 1_234_567)
    );
    assert_eq!(
        (files["new/named"].owner, files["new"].owner),
        ((1000, 1001), (1000, 1001))
    );
    assert_eq!(files["five"].owner, (5, 5));
    assert_eq!(
        (files["both"].owner, files["both"].mode),
        ((1000, 50), 0o4755)
    );
    assert_eq!(files["d/g"].mode, 0o600);
    // `/bin` is a link to `usr/bin` in the image: it stays one.
    assert_eq!(
        (files["bin"].kind, files["usr/bin/linked"].content.as_str()),
        ('l', "x")
    );
    let unknown = bench
        .build("FROM busybox\nCOPY --chown=nobody f /x\n")
        .await;
    assert_eq!(
        (unknown.error().line(), unknown.error().column()),
        (Some(2), Some(6))
    );
    assert_eq!(
        unknown.error().message(),
        "the user nobody is not in /etc/passwd of the image"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_give_files_with_their_owners() {
    let bench = Bench::with_busybox().await;
    bench.write("f", "x").write("later", "");
    let outcome = bench
        .build(
            "FROM scratch AS one\nCOPY --chown=7:8 f /deep/f\nFROM busybox AS unused\nCOPY later /nothing\nFROM one AS two\nCOPY f /second\n\
             FROM scratch\nCOPY --from=one /deep/ /a/\nCOPY --from=2 /second /deep/f /b/\nCOPY --from=busybox /etc/pass* /etc/\nCOPY --from=busybox bin/sh /sh\n",
        )
        .await;
    let built = outcome.built();
    let files = bench.files(built);
    assert_eq!(
        (
            files["a/f"].owner,
            files["b/f"].owner,
            files["b/second"].content.as_str()
        ),
        ((7, 8), (7, 8), "x")
    );
    assert!(files["etc/passwd"].content.contains("app:x:1000"));
    assert_eq!(
        files["sh"].kind, 'f',
        "a link that is named itself is followed"
    );
    assert!(
        outcome
            .events
            .iter()
            .all(|event| !format!("{event:?}").contains("later")),
        "a stage that nobody needs is not built"
    );
    assert_eq!(
        bench
            .build("FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /missing /\n")
            .await
            .error()
            .line(),
        Some(4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_the_context_lead_nowhere_outside() {
    let bench = Bench::new();
    bench.write("in/file", "inside");
    let path = bench.context();
    fs::write(bench.folder.path().join("outside"), "secret").unwrap();
    symlink("../outside", path.join("relative")).unwrap();
    symlink(bench.folder.path().join("outside"), path.join("absolute")).unwrap();
    symlink("in", path.join("folder")).unwrap();
    for (source, hint) in [
        ("relative", "it is a link to ../outside"),
        ("absolute", "it is a link to /"),
        ("../outside", "nothing above it can be copied"),
    ] {
        let outcome = bench
            .build(&format!("FROM scratch\nCOPY {source} /x\n"))
            .await;
        let error = outcome.error();
        assert_eq!(
            (error.kind(), error.line(), error.column()),
            (BuildErrorKind::Context, Some(2), Some(6)),
            "{source}"
        );
        assert!(
            error.hint().unwrap().contains(hint),
            "{source}: {:?}",
            error.hint()
        );
    }
    let files = bench.files(
        bench
            .build("FROM scratch\nCOPY . /all/\nCOPY folder /f/\n")
            .await
            .built(),
    );
    assert_eq!(
        (
            files["all/relative"].kind,
            files["all/relative"].content.as_str()
        ),
        ('l', "../outside")
    );
    assert_eq!(files["f/file"].content, "inside");
    assert!(!files.values().any(|file| file.content == "secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_the_image_stay_in_the_image() {
    let bench = Bench::new();
    bench.write("f", "x");
    symlink("/../../../../etc", bench.context().join("evil")).unwrap();
    let outcome = bench
        .build("FROM scratch\nCOPY evil f /\nCOPY f /evil/passwd\n")
        .await;
    // `evil` is followed when it is named, and there is no /etc in the context.
    assert!(outcome.error().message().contains("evil does not exist"));
    bench.write("d/keep", "");
    symlink("/../../../../etc", bench.context().join("d/evil")).unwrap();
    let outcome = bench
        .build("FROM scratch\nCOPY d /\nCOPY f /evil/passwd\n")
        .await;
    assert_eq!(bench.files(outcome.built())["etc/passwd"].content, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_unpacked_by_add_and_not_by_copy() {
    let bench = Bench::new();
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o600);
    header.set_uid(9);
    header.set_mtime(77);
    header.set_cksum();
    builder
        .append_data(&mut header, "deep/er/file", &b"hello"[..])
        .unwrap();
    fs::write(
        bench.context().join("a.tar.gz"),
        builder.into_inner().unwrap().finish().unwrap(),
    )
    .unwrap();
    let outcome = bench.build("FROM scratch\nADD a.tar.gz /un\nADD --chown=3:4 a.tar.gz /owned/\nADD --unpack=false a.tar.gz /packed/\nCOPY a.tar.gz /copied/\n").await;
    let files = bench.files(outcome.built());
    assert_eq!(
        (
            files["un/deep/er/file"].content.as_str(),
            files["un/deep/er/file"].owner,
            files["un/deep/er/file"].mtime
        ),
        ("hello", (9, 0), 77)
    );
    assert_eq!(
        (
            files["owned/deep/er/file"].owner,
            files["owned"].owner,
            files["owned/deep"].owner
        ),
        ((9, 0), (3, 4), (0, 0))
    );
    assert!(files.contains_key("packed/a.tar.gz") && files.contains_key("copied/a.tar.gz"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_files_at_two_places_give_the_same_image() {
    let build = async |bench: &Bench| {
        bench.write("z", "1").write("a/b", "2").write("a/c", "3");
        for (path, time) in [("z", 1000), ("a/b", 2000), ("a/c", 3000), ("a", 4000)] {
            filetime::set_file_mtime(
                bench.context().join(path),
                filetime::FileTime::from_unix_time(time, 0),
            )
            .unwrap();
        }
        let outcome = bench
            .build("FROM scratch\nWORKDIR /srv/app\nCOPY . .\nLABEL a=b\n")
            .await;
        let digest = inputs_digest(&bench.workspace, &bench.request())
            .await
            .unwrap();
        assert_eq!(outcome.built().inputs, digest);
        (outcome.built().manifest.digest, digest)
    };
    let (one, two) = (Bench::new(), Bench::new());
    // The Dockerfile's own time is part of `COPY . .`.
    for bench in [&one, &two] {
        bench.write(".dockerignore", "Dockerfile\n.dockerignore\n");
    }
    assert_eq!(build(&one).await, build(&two).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_source_date_the_times_of_files_do_not_matter() {
    let build = async |time: i64| {
        let bench = Bench::new();
        bench
            .write("z", "1")
            .write("a/b", "2")
            .write(".dockerignore", "Dockerfile");
        filetime::set_file_mtime(
            bench.context().join("z"),
            filetime::FileTime::from_unix_time(time, 0),
        )
        .unwrap();
        let outcome = bench
            .build_with("FROM scratch\nCOPY . /\n", |request| {
                request.build_args = vec![("SOURCE_DATE_EPOCH".into(), "1700000000".into())]
            })
            .await;
        assert_eq!(outcome.warnings(), Vec::<String>::new());
        let files = bench.files(outcome.built());
        assert!(files.values().all(|file| file.mtime == 1_700_000_000));
        assert_eq!(
            bench.image(outcome.built()).config.created.as_deref(),
            Some("2023-11-14T22:13:20Z")
        );
        outcome.built().manifest.digest
    };
    assert_eq!(build(5).await, build(2_000_000_000).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_copied_again() {
    let bench = Bench::new();
    bench.write("one", "1").write("two", "2");
    let text = "FROM scratch\nCOPY one /\nCOPY two /\n";
    let first = bench.build(text).await;
    assert_eq!(first.built().steps_run, 2);
    let same = bench.build(text).await;
    assert_eq!((same.built().steps_run, same.built().steps_cached), (0, 2));
    assert_eq!(same.built().manifest.digest, first.built().manifest.digest);
    // A time alone changes nothing, as after a fresh checkout.
    filetime::set_file_mtime(
        bench.context().join("one"),
        filetime::FileTime::from_unix_time(9, 0),
    )
    .unwrap();
    assert_eq!(bench.build(text).await.built().steps_run, 0);
    bench.write("two", "changed");
    let changed = bench.build(text).await;
    assert_eq!(
        (changed.built().steps_run, changed.built().steps_cached),
        (1, 1)
    );
    assert_ne!(changed.built().inputs, first.built().inputs);
    assert_eq!(bench.files(changed.built())["two"].content, "changed");
    // Another compression reuses what is there: nothing is copied again.
    let zstd = bench
        .build_with(text, |request| {
            request.compression = hoist_oci::Compression::Zstd
        })
        .await;
    assert_eq!(zstd.built().steps_run, 0);
    let layers = &bench.image(zstd.built()).manifest.layers;
    assert!(
        layers
            .iter()
            .all(|layer| layer.media_type.ends_with("+zstd"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_files_are_missing_and_the_rule_is_named() {
    let bench = Bench::new();
    bench
        .write("secret.env", "x")
        .write("shown", "y")
        .write(".dockerignore", "# no secrets\n*.env\n");
    let outcome = bench
        .build("FROM scratch\nCOPY shown /\nCOPY secret.env /\n")
        .await;
    let error = outcome.error();
    assert!(
        error
            .message()
            .contains("secret.env is hidden from the build by ")
            && error.message().ends_with(".dockerignore:2 (*.env)"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("!secret.env"));
    assert_eq!((error.line(), error.column()), (Some(3), Some(6)));
    // A Dockerfile's own ignore file comes first.
    bench.write("Dockerfile.dockerignore", "shown\n");
    let outcome = bench.build("FROM scratch\nCOPY . /\n").await;
    let files = bench.files(outcome.built());
    assert!(files.contains_key("secret.env") && !files.contains_key("shown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn excludes_and_parents_choose_what_is_copied_and_where() {
    let bench = Bench::new();
    bench
        .write("src/a/x.rs", "")
        .write("src/a/x.log", "")
        .write("src/b.log", "")
        .write("src/keep.log", "");
    let outcome = bench
        .build("FROM scratch\nCOPY --exclude=**/*.log --exclude=!keep.log src /one/\nCOPY --parents src/a/x.rs /two/\nCOPY --parents src/./a/*.rs /three/\n")
        .await;
    let files = bench.files(outcome.built());
    let names: Vec<&str> = files
        .iter()
        .filter(|(_, file)| file.kind == 'f')
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "one/a/x.rs",
            "one/keep.log",
            "three/a/x.rs",
            "two/src/a/x.rs"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_copies_are_refused() {
    let bench = Bench::new();
    bench
        .write("f", "x")
        .write("d/g", "y")
        .write("tree/f/inner", "");
    let refused = async |text: &str| {
        let outcome = bench.build(text).await;
        let error = outcome.error();
        (
            error.line().unwrap_or_default(),
            error.message().to_owned(),
            error.hint().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        refused("FROM scratch\nCOPY f d /x\n").await.1,
        "/x is no folder, and there are several sources"
    );
    let (line, message, hint) = refused("FROM scratch\nCOPY ff /x\n").await;
    assert_eq!(
        (line, message.as_str(), hint.as_str()),
        (2, "ff does not exist", "did you mean f?")
    );
    assert!(
        refused("FROM scratch\nCOPY f /\nCOPY tree /\n")
            .await
            .1
            .contains("/f in the image is not a folder")
    );
    assert!(
        refused("FROM scratch\nCOPY d /f/\nCOPY f /\n")
            .await
            .1
            .contains("/f is a folder in the image")
    );
    assert_eq!(
        refused("FROM scratch\nCOPY --chmod=999 f /\n").await.1,
        "'999' is no mode"
    );
    assert_eq!(
        refused("FROM scratch\nCOPY [a-.txt /\n").await.1,
        "the pattern [a-.txt is not closed"
    );
}
