//! Configurations, base images and names.

use std::fs;

use crate::support::Bench;
use hoist_image::{BuildErrorKind, export, import, inspect, list, name, remove};

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_what_docker_would_make() {
    let bench = Bench::new();
    let outcome = bench
        .build_with(
            "ARG TAG=7\nFROM scratch\nARG TAG\nARG TARGETARCH\nENV A=1 B=\"two words\"\nENV A=$A$TAG C=${A}x\nWORKDIR /w\nWORKDIR sub\nUSER app:staff\n\
             EXPOSE 80 53/udp 9000-9001\nVOLUME [\"/data\"] \nVOLUME /x /y\nLABEL one=1 \"two\"=\"$B\"\nMAINTAINER me <me@example.com>\nSTOPSIGNAL SIGINT\n\
             HEALTHCHECK --interval=5s --retries=2 CMD curl -f localhost\nCMD [\"early\"]\nENTRYPOINT [\"/app\", \"$A\"]\nCMD run it\nONBUILD RUN make\n",
            |request| request.labels = vec![("one".into(), "over".into())],
        )
        .await;
    let image = bench.image(outcome.built());
    let config = &image.config.config;
    assert_eq!(
        config.env,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A=17",
            "B=two words",
            "C=1x"
        ],
        "values are those from before the instruction"
    );
    assert_eq!(
        (
            config.working_dir.as_str(),
            config.user.as_str(),
            config.stop_signal.as_deref()
        ),
        ("/w/sub", "app:staff", Some("SIGINT"))
    );
    assert_eq!(
        config
            .exposed_ports
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["53/udp", "80/tcp", "9000/tcp", "9001/tcp"]
    );
    assert_eq!(
        config
            .volumes
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["/data", "/x", "/y"]
    );
    assert_eq!(
        (config.labels["one"].as_str(), config.labels["two"].as_str()),
        ("over", "two words")
    );
    assert_eq!(
        config.entrypoint.as_deref().unwrap(),
        ["/app", "$A"],
        "exec forms are not expanded"
    );
    assert_eq!(config.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "run it"]);
    let check = config.healthcheck.as_ref().unwrap();
    assert_eq!(
        (check.test.as_slice(), check.interval, check.retries),
        (
            &["CMD-SHELL".to_owned(), "curl -f localhost".to_owned()][..],
            Some(5_000_000_000),
            Some(2)
        )
    );
    assert_eq!(config.on_build, ["RUN make"]);
    assert_eq!(image.config.extra["author"], "me <me@example.com>");
    let history = &image.config.history;
    assert_eq!(
        history.iter().filter(|line| !line.empty_layer).count(),
        image.manifest.layers.len()
    );
    assert_eq!(history[4].created_by.as_deref(), Some("WORKDIR /w"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_resets_the_command_of_its_base_only() {
    let bench = Bench::new();
    let config = async |text: &str| bench.image(bench.build(text).await.built()).config.config;
    let base = "FROM scratch AS base\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\n";
    assert_eq!(
        config(&format!("{base}FROM base\nENTRYPOINT [\"c\"]\n"))
            .await
            .cmd,
        None
    );
    assert_eq!(
        config(&format!(
            "{base}FROM base\nCMD [\"d\"]\nENTRYPOINT [\"c\"]\n"
        ))
        .await
        .cmd
        .unwrap(),
        ["d"]
    );
    let same = config(&format!("{base}FROM base\nENV X=1\n")).await;
    assert_eq!(
        (same.entrypoint.unwrap(), same.cmd.unwrap()),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(
        config(&format!("{base}FROM base\nENTRYPOINT []\n"))
            .await
            .entrypoint,
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_scoped_as_in_docker() {
    let bench = Bench::new();
    let label = async |text: &str, args: &[(&str, &str)]| {
        let args: Vec<(String, String)> = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let outcome = bench
            .build_with(text, |request| request.build_args = args)
            .await;
        let config = bench.image(outcome.built()).config.config;
        (config.labels["l"].clone(), outcome.warnings())
    };
    assert_eq!(
        label("ARG G=1\nFROM scratch\nLABEL l=[$G]\n", &[]).await.0,
        "[]",
        "a global argument must be declared again"
    );
    assert_eq!(
        label("ARG G=1\nFROM scratch\nARG G\nLABEL l=[$G]\n", &[])
            .await
            .0,
        "[1]"
    );
    assert_eq!(
        label("ARG G=1\nFROM scratch\nARG G=2\nLABEL l=[$G]\n", &[])
            .await
            .0,
        "[2]"
    );
    assert_eq!(
        label(
            "ARG G=1\nFROM scratch\nARG G=2\nLABEL l=[$G]\n",
            &[("G", "3")]
        )
        .await
        .0,
        "[3]"
    );
    assert_eq!(
        label("FROM scratch\nLABEL l=[$A]\nARG A=1\n", &[]).await.0,
        "[]",
        "an argument counts from its line on"
    );
    assert_eq!(
        label("FROM scratch\nENV A=env\nARG A=arg\nLABEL l=[$A]\n", &[])
            .await
            .0,
        "[env]"
    );
    assert_eq!(
        label("FROM scratch AS b\nARG A=1\nFROM b\nLABEL l=[$A]\n", &[])
            .await
            .0,
        "[1]",
        "stages inherit"
    );
    assert_eq!(
        label(
            "FROM scratch\nARG TARGETOS\nARG TARGETPLATFORM=x\nLABEL l=$TARGETOS$TARGETPLATFORM\n",
            &[]
        )
        .await
        .0,
        "linuxx"
    );
    let (value, warnings) = label("FROM scratch\nLABEL l=[$A]\n", &[("A", "1")]).await;
    assert_eq!(
        (value.as_str(), warnings),
        (
            "[]",
            vec![
                "the variable $A is not set (UndefinedVar)".to_owned(),
                "the build argument A is used by no ARG".to_owned()
            ]
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_of_a_base_run_in_its_heirs_once() {
    let bench = Bench::new();
    bench.write("f", "x");
    let base = bench
        .build("FROM scratch\nONBUILD COPY f /triggered/\nONBUILD LABEL t=1\n")
        .await;
    name(&bench.workspace, "base", &base.built().manifest).unwrap();
    let heir = bench.build("FROM base\nLABEL own=1\n").await;
    assert!(bench.files(heir.built()).contains_key("triggered/f"));
    let config = bench.image(heir.built()).config.config;
    assert_eq!((config.on_build.len(), config.labels.len()), (0, 2));
    let broken = bench.build("FROM scratch\nONBUILD COPY gone /\n").await;
    name(&bench.workspace, "base", &broken.built().manifest).unwrap();
    let outcome = bench.build("FROM base\n").await;
    assert_eq!(
        outcome.error().file().unwrap().to_str(),
        Some("base (ONBUILD)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_file_systems_become_images_with_names() {
    let bench = Bench::new();
    let root = bench.folder.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/hello"), "hi").unwrap();
    let from_folder = import(&bench.workspace, &root, "local/base:1")
        .await
        .unwrap();
    assert_eq!(
        import(&bench.workspace, &root, "local/base:1")
            .await
            .unwrap(),
        from_folder
    );
    let archive = bench.folder.path().join("root.tar.gz");
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        fs::File::create(&archive).unwrap(),
        flate2::Compression::fast(),
    ));
    builder.append_dir_all(".", &root).unwrap();
    builder.into_inner().unwrap().finish().unwrap();
    import(&bench.workspace, &archive, "fromtar").await.unwrap();
    for base in ["local/base:1", "fromtar", "fromtar:latest"] {
        let outcome = bench.build(&format!("FROM {base}\nLABEL x=y\n")).await;
        let files = bench.files(outcome.built());
        let hello = files
            .iter()
            .find(|(path, _)| path.ends_with("etc/hello"))
            .unwrap();
        assert_eq!(hello.1.content, "hi", "{base}");
    }
    let names: Vec<String> = list(&bench.workspace)
        .unwrap()
        .into_iter()
        .map(|image| image.name)
        .collect();
    assert_eq!(names, ["fromtar:latest", "local/base:1"]);
    assert_eq!(
        inspect(&bench.workspace, "fromtar")
            .unwrap()
            .manifest
            .layers
            .len(),
        1
    );
    let inputs = async || {
        hoist_image::inputs_digest(&bench.workspace, &bench.request())
            .await
            .unwrap()
    };
    let before = inputs().await;
    fs::write(root.join("etc/hello"), "changed").unwrap();
    import(&bench.workspace, &root, "fromtar").await.unwrap();
    assert_ne!(
        before,
        inputs().await,
        "another base under the same name is another input"
    );
    remove(&bench.workspace, "fromtar").unwrap();
    let error = inspect(&bench.workspace, "fromtar").unwrap_err();
    assert_eq!(error.message(), "there is no local image fromtar");
    fs::write(&archive, "no archive at all").unwrap();
    assert!(
        import(&bench.workspace, &archive, "bad")
            .await
            .unwrap_err()
            .message()
            .ends_with("is no tar archive")
    );
    assert_eq!(
        list(&bench.workspace).unwrap().len(),
        1,
        "nothing half-imported has a name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_found_by_digest_too_and_what_is_wrong_with_one_is_told() {
    let bench = Bench::new();
    let (workspace, folder) = (&bench.workspace, bench.folder.path());
    let root = folder.join("root");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("hello"), "hi").unwrap();
    let image = import(workspace, &root, "shop/web").await.unwrap();
    let (whole, short) = (image.digest.to_string(), image.digest.short());
    for name in ["shop/web", "shop/web:latest", &whole, &short, &whole[..20]] {
        let found = hoist_image::find(workspace, name).unwrap();
        assert_eq!(found.digest, image.digest, "{name}");
    }
    let layer = inspect(workspace, &whole).unwrap().manifest.layers[0].digest;
    let blob = layer.to_string();
    for (name, message, hint) in [
        (
            "shop/wep",
            "there is no local image shop/wep",
            "did you mean shop/web?",
        ),
        (
            "other",
            "there is no local image other",
            "the local images are shop/web:latest",
        ),
        ("", "'' is no name of an image", "write it as"),
        (
            blob.as_str(),
            &format!("there is no local image {blob}"),
            "the local images are",
        ),
    ] {
        let error = inspect(workspace, name).unwrap_err();
        assert_eq!(error.message(), message);
        assert!(
            error.hint().unwrap().starts_with(hint),
            "{:?}",
            error.hint()
        );
    }
    let error = import(workspace, &folder.join("none"), "x")
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().starts_with("give a folder"));

    let export = |target: &str| hoist_image::export(workspace, &short, &folder.join(target));
    export("whole.tar").unwrap();
    assert!(
        export("packed.tar.gz")
            .unwrap_err()
            .hint()
            .unwrap()
            .contains(".tar")
    );
    assert!(!folder.join("packed.tar.gz").exists());
    assert!(
        export("none/a.tar")
            .unwrap_err()
            .hint()
            .unwrap()
            .starts_with("make the folder")
    );
    let file = fs::File::options()
        .write(true)
        .open(workspace.store.blob_path(&layer));
    file.unwrap().set_len(10).unwrap();
    for target in ["damaged.tar", "damaged"] {
        assert!(export(target).is_err(), "{target}");
    }
    assert!(!folder.join("damaged.tar").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let bench = Bench::new();
    let refused = async |text: &str, change: fn(&mut hoist_image::BuildRequest)| {
        let outcome = bench.build_with(text, change).await;
        let error = outcome.error();
        (
            error.kind(),
            error.line(),
            error.message().to_owned(),
            error.hint().unwrap_or_default().to_owned(),
        )
    };
    let (kind, line, message, hint) = refused("FROM 127.0.0.1:1/no/such:1\n", |request| {
        request.registry.retries = 0;
    })
    .await;
    assert_eq!(
        (kind, line, message.as_str()),
        (
            BuildErrorKind::Image,
            Some(1),
            "failed to pull the base image 127.0.0.1:1/no/such:1"
        )
    );
    assert!(hint.contains("hoist image import"), "{hint}");
    assert_eq!(
        refused("FROM Upper\n", |_| {}).await.2,
        "'Upper' is no name of an image"
    );
    assert_eq!(
        refused("FROM scratch\n", |request| request.target =
            Some("x".into()))
        .await
        .2,
        "the Dockerfile has no stage x"
    );
    fs::rename(
        bench.context().join("Dockerfile"),
        bench.context().join("dockerfile.prod"),
    )
    .unwrap();
    let error = hoist_image::build(&bench.workspace, &bench.request(), &|_| {})
        .await
        .unwrap_err();
    assert!(error.message().starts_with("there is no Dockerfile in "));
    assert_eq!(
        error.hint(),
        Some("there is dockerfile.prod: name it as `image.dockerfile` in hoist.yaml")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_archive_has_no_zstd_and_is_the_same_image() {
    let bench = Bench::new();
    bench.write("file", "content");
    let outcome = bench
        .build_with("FROM scratch\nCOPY file /\n", |request| {
            request.compression = hoist_oci::Compression::Zstd
        })
        .await;
    let image = bench.image(outcome.built());
    name(&bench.workspace, "app:v1", &image.descriptor).unwrap();
    let file = bench.context().join("app.tar");
    export(&bench.workspace, "app:v1", &file).unwrap();
    let mut archive = tar::Archive::new(fs::File::open(&file).unwrap());
    let (mut manifest, mut beginnings) = (String::new(), Vec::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        if path == "manifest.json" {
            manifest = String::from_utf8(content).unwrap();
        } else if path.starts_with("blobs/") {
            beginnings.push(content[..2].to_vec());
        }
    }
    assert!(manifest.contains(&image.config_digest.hex()), "{manifest}");
    assert!(beginnings.contains(&vec![0x1f, 0x8b]), "{beginnings:?}");
    assert!(!beginnings.contains(&vec![0x28, 0xb5]), "{beginnings:?}");
}
