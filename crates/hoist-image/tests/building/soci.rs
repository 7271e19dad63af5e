//! SOCI indexes: what lets a container start before its image is there, read by a reader that shares nothing with us.

use std::process::Command;

use hoist_image::BuildRequest;
use hoist_oci::Digest;
use hoist_oci::spec::{Descriptor, Index, Manifest, Platform, media_type};

use crate::support::Bench;

const SOCI: &str = "application/vnd.amazon.soci.index.v2+json";

/// Content that hardly compresses: the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn with_soci(request: &mut BuildRequest) {
    request.soci = true;
}

/// The image, its SOCI manifest, and both descriptors of the index.
fn parts(bench: &Bench, image: &Descriptor) -> (Manifest, Manifest, Vec<Descriptor>) {
    assert_eq!(image.media_type, media_type::INDEX);
    let store = &bench.workspace.store;
    let index: Index = store.read_json(&image.digest).unwrap();
    let [first, second] = index.manifests.as_slice() else {
        panic!("{index:?}");
    };
    let read = |descriptor: &Descriptor| store.read_json(&descriptor.digest).unwrap();
    (read(first), read(second), index.manifests.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_is_read_file_by_file_through_its_table_of_contents() {
    let bench = Bench::new();
    let big = noise(1, 11 << 20);
    let text = "a line that repeats\n".repeat(300_000);
    std::fs::write(bench.context().join("big"), &big).unwrap();
    bench.write("dir/text", &text);
    bench.write("dir/small", "small");
    bench.write("dir/empty", "");
    std::os::unix::fs::symlink("small", bench.context().join("dir/link")).unwrap();
    let long = format!("dir/{}", "n".repeat(120));
    bench.write(&long, "long");
    bench.write(".dockerignore", "Dockerfile\n");
    let dockerfile = "FROM scratch\nCOPY --chown=7:8 . /\nCOPY dir/small /second\n";
    let outcome = bench.build_with(dockerfile, with_soci).await;
    let built = outcome.built();
    let (image, soci, descriptors) = parts(&bench, &built.manifest);

    // The two manifests name each other, as AWS's reader follows them.
    let said = |descriptor: &Descriptor, key: &str| descriptor.annotations[key].clone();
    assert_eq!(
        image.annotations["com.amazon.soci.index-digest"],
        descriptors[1].digest.to_string()
    );
    assert_eq!(
        said(&descriptors[1], "com.amazon.soci.image-manifest-digest"),
        descriptors[0].digest.to_string()
    );
    assert_eq!(descriptors[1].extra["artifactType"], SOCI);
    assert_eq!(descriptors[0].platform, Some(Platform::host()));
    assert_eq!(descriptors[1].platform, Some(Platform::host()));
    assert_eq!(soci.config.media_type, SOCI);
    assert_eq!(
        bench.workspace.store.read(&soci.config.digest).unwrap(),
        b"{}"
    );
    // Only the large layer has a table.
    assert_eq!((image.layers.len(), soci.layers.len()), (2, 1));
    let (layer, table) = (&image.layers[0], &soci.layers[0]);
    assert_eq!(table.media_type, "application/octet-stream");
    assert_eq!(
        said(table, "com.amazon.soci.image-layer-digest"),
        layer.digest.to_string()
    );
    assert_eq!(
        said(table, "com.amazon.soci.image-layer-mediaType"),
        media_type::LAYER_GZIP
    );
    assert_eq!(said(table, "com.amazon.soci.span-size"), "4194304");

    let output = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/building/soci.py"
        ))
        .arg(bench.workspace.store.blob_path(&table.digest))
        .arg(bench.workspace.store.blob_path(&layer.digest))
        .output()
        .expect("the tests need python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (path, content) in [
        ("big", big.as_slice()),
        ("dir/text", text.as_bytes()),
        ("dir/small", b"small"),
        ("dir/empty", b""),
        (long.as_str(), b"long"),
    ] {
        let file = &files[path];
        assert_eq!(file["sha256"], Digest::of(content).hex(), "{path}: {file}");
        assert_eq!((&file["kind"], &file["uid"]), (&"reg".into(), &7.into()));
    }
    assert_eq!(files["dir/link"]["link"], "small");
    assert_eq!(files["dir/"]["kind"], "dir");
    assert_eq!(files["big"]["spans"], 5, "17 MB in spans of 4 MiB");

    // The same image again, all from the cache, and one without the index that shares the layers.
    let again = bench.build_with(dockerfile, with_soci).await;
    assert_eq!(again.built().manifest.digest, built.manifest.digest);
    let plain = bench.build(dockerfile).await;
    let layers = bench.image(plain.built()).manifest.layers;
    assert_eq!(layers[0].digest, layer.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_made_without_a_table_gets_one_and_small_images_stay_as_they_are() {
    let bench = Bench::new();
    std::fs::write(bench.context().join("big"), noise(2, 11 << 20)).unwrap();
    let dockerfile = "FROM scratch\nCOPY big /\n";
    bench.build(dockerfile).await.built();
    let outcome = bench.build_with(dockerfile, with_soci).await;
    assert_eq!(outcome.built().steps_run, 0);
    let (image, soci, _) = parts(&bench, &outcome.built().manifest);
    assert_eq!(
        soci.layers[0].annotations["com.amazon.soci.image-layer-digest"],
        image.layers[0].digest.to_string()
    );

    bench.write("small", "small");
    let small = bench
        .build_with("FROM scratch\nCOPY small /\n", with_soci)
        .await;
    assert_eq!(small.built().manifest.media_type, media_type::MANIFEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_platforms_make_an_index_of_images_each_of_its_own() {
    let bench = Bench::new();
    bench
        .write("amd64", "for amd64")
        .write("arm64", "for arm64");
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /which\n";
    let both = |request: &mut BuildRequest| {
        request.platform = "linux/amd64".parse().unwrap();
        request.more_platforms = vec!["linux/arm64".parse().unwrap()];
    };
    let outcome = bench.build_with(dockerfile, both).await;
    let built = outcome.built();
    assert_eq!(built.platform, Platform::host());
    let index: Index = bench
        .workspace
        .store
        .read_json(&built.manifest.digest)
        .unwrap();
    for name in ["amd64", "arm64"] {
        let platform: Platform = format!("linux/{name}").parse().unwrap();
        let one = hoist_image::BuiltImage {
            manifest: index.for_platform(&platform).unwrap().clone(),
            platform,
            ..built.clone()
        };
        assert_eq!(bench.image(&one).config.architecture, name);
        assert_eq!(bench.files(&one)["which"].content, format!("for {name}"));
    }
    // The order of platforms is part of what was asked for, so it is part of the inputs.
    let mut request = bench.request();
    both(&mut request);
    let inputs = hoist_image::inputs_digest(&bench.workspace, &request).await;
    assert_eq!(inputs.unwrap(), built.inputs);
    request.more_platforms.clear();
    let one = hoist_image::inputs_digest(&bench.workspace, &request).await;
    assert_ne!(one.unwrap(), built.inputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_travels_in_another_form_without_becoming_another() {
    let bench = Bench::new();
    bench.write("f", &"text ".repeat(10_000));
    let outcome = bench
        .build_with("FROM scratch\nCOPY f /\n", |request| {
            request.compression = hoist_oci::Compression::None;
        })
        .await;
    let built = outcome.built();
    let workspace = &bench.workspace;
    for form in [
        hoist_oci::Compression::Zstd,
        hoist_oci::Compression::Gzip,
        hoist_oci::Compression::Zstd,
    ] {
        let other = hoist_image::compressed(workspace, &built.manifest, form, None)
            .await
            .unwrap();
        let read = workspace.store.image(&other, &Platform::host()).unwrap();
        assert_eq!(read.config_digest, built.config_digest);
        assert_eq!(read.manifest.layers[0].media_type, form.media_type());
        let back = hoist_image::compressed(workspace, &other, hoist_oci::Compression::None, None)
            .await
            .unwrap();
        assert_eq!(back.digest, built.manifest.digest);
    }
}
