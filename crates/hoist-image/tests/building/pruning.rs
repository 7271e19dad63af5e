//! Looking into images, and making room: what has a name stays, what was used last stays longest.

use std::time::Duration;

use hoist_image::{Change, PruneOptions, diff, history, name, prune, why};

use crate::support::Bench;

const NOTHING: PruneOptions = PruneOptions {
    limit: 0,
    grace: Duration::ZERO,
    unpacked: true,
};

#[tokio::test(flavor = "multi_thread")]
async fn pruning_keeps_what_has_a_name_and_what_was_used_last() {
    let bench = Bench::with_busybox().await;
    bench.write("big", &"0123456789abcdef".repeat(20_000));
    let named = bench.build("FROM scratch\nCOPY big /named\n").await;
    name(&bench.workspace, "kept:1", &named.built().manifest).unwrap();
    for n in 0..3 {
        bench
            .build(&format!(
                "FROM busybox\nRUN --mount=type=cache,target=/c echo {n} > /c/f; echo {n} > /out\n"
            ))
            .await
            .built();
    }
    // A generous limit, and what is young, remove nothing.
    let all = prune(
        &bench.workspace,
        &PruneOptions {
            unpacked: true,
            ..PruneOptions::default()
        },
    )
    .unwrap();
    assert_eq!((all.removed, all.freed), (0, 0));
    // Used again, the first is the last to go.
    bench
        .build("FROM busybox\nRUN --mount=type=cache,target=/c echo 0 > /c/f; echo 0 > /out\n")
        .await;
    let some = prune(
        &bench.workspace,
        &PruneOptions {
            limit: all.kept * 3 / 5,
            ..NOTHING
        },
    )
    .unwrap();
    assert!(
        some.removed >= 1 && some.kept <= all.kept * 3 / 5,
        "{some:?} of {all:?}"
    );
    let again = bench
        .build("FROM busybox\nRUN --mount=type=cache,target=/c echo 0 > /c/f; echo 0 > /out\n")
        .await;
    assert_eq!(again.built().steps_cached, 1);

    let none = prune(&bench.workspace, &NOTHING).unwrap();
    assert_eq!(none.kept, 0);
    // Named images, and the bases that have a name, are whole; everything else is built again.
    let image = hoist_image::inspect(&bench.workspace, "kept:1").unwrap();
    for layer in &image.manifest.layers {
        bench.workspace.store.verify(&layer.digest).unwrap();
    }
    let outcome = bench
        .build("FROM busybox\nRUN --mount=type=cache,target=/c test ! -e /c/f; echo 0 > /out\n")
        .await;
    assert_eq!(outcome.built().steps_run, 1);
    assert_eq!(bench.files(outcome.built())["out"].content, "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pruned_under_a_running_build() {
    let bench = Bench::with_busybox().await;
    bench.write("Dockerfile", "FROM busybox\nRUN echo begun; sleep 60\n");
    let (request, workspace) = (bench.request(), bench.workspace.clone());
    let (begun, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let build = tokio::spawn(async move {
        let tell = move |event| {
            if matches!(&event, hoist_image::BuildEvent::Output { line, .. } if line == "begun") {
                begun.send(()).unwrap();
            }
        };
        hoist_image::build(&workspace, &request, &tell).await
    });
    heard.recv().await.unwrap();
    let error = prune(&bench.workspace, &NOTHING).unwrap_err();
    assert_eq!(
        error.message(),
        "a build is running, and its files must stay"
    );
    build.abort();
    let _ = build.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_tells_its_steps_its_differences_and_why_it_is_large() {
    let bench = Bench::new();
    let large = "0123456789abcdef".repeat(50_000);
    bench
        .write("a", "one")
        .write("b", &large)
        .write(".git/objects", &large);
    let one = bench
        .build("FROM scratch\nCOPY a b /d/\nENV X=1\nCOPY a /d/b\n")
        .await;
    name(&bench.workspace, "one", &one.built().manifest).unwrap();
    let two = bench
        .build("FROM scratch\nCOPY a /d/a\nCOPY --chmod=600 a /d/b\nCOPY . /app\n")
        .await;
    name(&bench.workspace, "two", &two.built().manifest).unwrap();

    let lines = history(&bench.workspace, "one").unwrap();
    let steps: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.created_by.as_str(),
                line.layer.is_some(),
                line.size > 0,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("COPY a b /d/", true, true),
            ("ENV X=1", false, false),
            ("COPY a /d/b", true, true)
        ]
    );
    let differences = diff(&bench.workspace, "one", "two").unwrap();
    let found: Vec<_> = differences
        .iter()
        .map(|difference| (difference.path.to_str().unwrap(), difference.change))
        .collect();
    assert!(
        found.contains(&("d/b", Change::Changed))
            && found.contains(&("app/.git/objects", Change::Added)),
        "{found:?}"
    );
    assert!(!found.iter().any(|(path, _)| *path == "d/a"), "{found:?}");
    assert_eq!(diff(&bench.workspace, "one", "one").unwrap(), []);

    let one = why(&bench.workspace, "one").unwrap();
    assert_eq!((one.visible, one.hidden), (6, 800_000));
    assert!(
        one.advice[0]
            .text
            .contains("`COPY a /d/b` deletes or covers files"),
        "{:?}",
        one.advice
    );
    assert_eq!(one.advice[0].bytes, 800_000);
    let two = why(&bench.workspace, "two").unwrap();
    assert!(
        two.advice.iter().any(|advice| advice
            .text
            .starts_with("/app/.git: name .git in .dockerignore")),
        "{:?}",
        two.advice
    );
    assert_eq!(two.files[0].1, 800_000);
}
