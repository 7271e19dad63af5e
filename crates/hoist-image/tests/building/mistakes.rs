//! Wrong Dockerfiles: each is refused with file, line and column, what is wrong, and what to do.

use hoist_image::{BuildRequest, Engine, build};
use hoist_oci::RegistryOptions;

use crate::cases::Group;
use crate::support::Bench;

/// `LINE:COLUMN message | hint`, as the cases have it.
fn said(error: &hoist_image::BuildError) -> String {
    let place = match error.location() {
        Some(at) => {
            assert!(
                at.file.ends_with("Dockerfile") || at.file.to_string_lossy().contains("ONBUILD")
            );
            format!("{}:{}", at.line, at.column)
        }
        None => "-".into(),
    };
    format!(
        "{place} {} | {}",
        error.message(),
        error.hint().unwrap_or("no hint")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_its_place_and_what_was_meant() {
    let bench = Bench::with_busybox().await;
    let group = Group::read("mistakes", include_str!("cases/mistakes.txt"));
    group.fill(&bench.context());
    let context = bench.context().display().to_string();
    let mut wrong = Vec::new();
    for case in &group.cases {
        case.write(&bench.context());
        let request = BuildRequest {
            engine: Engine::Embedded,
            registry: RegistryOptions {
                // Nobody answers there.
                mirrors: [("docker.io".to_owned(), "127.0.0.1:9".to_owned())].into(),
                retries: 0,
                ..RegistryOptions::default()
            },
            ..BuildRequest::new(bench.context())
        };
        let got = match build(&bench.workspace, &request, &|_| {}).await {
            Ok(_) => "an image".to_owned(),
            Err(error) => said(&error).replace(&context, "CONTEXT"),
        };
        let want = case
            .want
            .as_ref()
            .expect("every case says what it wants")
            .join("\n");
        if got != want {
            wrong.push(format!(
                "== {}\n{}%want\n{got}",
                case.title, case.dockerfile
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(group.cases.len() >= 120);
}
