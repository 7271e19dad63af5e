//! From a Dockerfile to a URL that answers, on real containers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use support::load::{Load, get};
use support::project::{SHORT, commit, write};
use support::sandbox::Sandbox;

#[test]
fn a_change_goes_out_under_load_without_a_failed_request_and_no_change_does_nothing() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    let first = commit(&sandbox.project(), "one");
    let run = sandbox.deploy(&[]);
    run.expect(0);
    let url = run.url();
    assert_eq!(get(&url).unwrap(), (200, "one\n".to_owned()));
    let tags = sandbox.client(
        "aws",
        &[
            "ecr",
            "list-images",
            "--repository-name",
            "shop",
            "--query",
            "imageIds[].imageTag",
            "--output",
            "text",
        ],
    );
    assert!(tags.expect(0).stdout.contains(&first), "{}", tags.stdout);

    let again = sandbox.deploy(&[]);
    again
        .expect(0)
        .says("nothing was deployed")
        .says("serves already")
        .never_says("registered ");
    assert_eq!(again.url(), url);

    write(&sandbox.project(), SHORT, "ENV GREETING=two");
    let second = commit(&sandbox.project(), "two");
    let load = Load::start(&url, 200);
    let run = sandbox.deploy(&[]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let seen = load.stop();
    run.expect(0);
    assert!(
        seen.failed.is_empty(),
        "{} of {} failed: {:?}",
        seen.failed.len(),
        seen.answered,
        &seen.failed[..seen.failed.len().min(5)]
    );
    assert!(
        seen.bodies.contains_key("one") && seen.bodies.contains_key("two"),
        "{:?}",
        seen.bodies
    );
    assert_eq!(get(&url).unwrap().1, "two\n");
    assert_eq!(run.url(), url);
    assert_ne!(first, second);
}

#[test]
fn a_version_that_crashes_is_rolled_back_with_its_last_words() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=good");
    let url = sandbox.deploy(&[]).expect(0).url();

    write(&sandbox.project(), SHORT, "ENV PORT=not-a-port");
    let run = sandbox.deploy(&[]);
    run.expect(20)
        .says("Essential container in task exited")
        .says("the port is free")
        .says("101");
    assert!(
        run.stdout.is_empty(),
        "a failed deployment prints no URL: {}",
        run.stdout
    );
    assert_eq!(get(&url).unwrap(), (200, "good\n".to_owned()));
}

#[test]
fn a_version_that_fails_its_health_check_is_rolled_back() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=good");
    let url = sandbox.deploy(&[]).expect(0).url();

    write(&sandbox.project(), SHORT, "ENV GREETING=bad UNHEALTHY=1");
    let run = sandbox.deploy(&[]);
    run.expect(20)
        .says("Health checks failed with these codes: [503]");
    assert_eq!(get(&url).unwrap().1, "good\n");
}

#[test]
fn sigterm_in_the_middle_asks_for_the_rollback_and_ends_at_once() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=good");
    let url = sandbox.deploy(&[]).expect(0).url();

    // A version whose health check never passes keeps the deployment in flight.
    write(&sandbox.project(), SHORT, "ENV GREETING=bad UNHEALTHY=1");
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "the deployment never began"
        );
        let listed = sandbox.client(
            "aws",
            &[
                "ecs",
                "list-service-deployments",
                "--cluster",
                "default",
                "--service",
                "shop-web",
                "--status",
                "IN_PROGRESS",
                "--query",
                "length(serviceDeployments)",
            ],
        );
        if listed.stdout.trim() == "1" {
            break;
        }
    }
    let asked = std::time::Instant::now();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let run = support::sandbox::Run::of(child.wait_with_output().unwrap());
    run.expect(143).says("rollback");
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(7),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(get(&url).unwrap().1, "good\n");
    sandbox
        .client(
            "aws",
            &[
                "ecs",
                "wait",
                "services-stable",
                "--cluster",
                "default",
                "--services",
                "shop-web",
            ],
        )
        .expect(0);
    assert_eq!(get(&url).unwrap().1, "good\n");
}

#[test]
fn a_verbatim_definition_with_a_sidecar_whose_image_does_not_exist_is_rolled_back() {
    let sandbox = Sandbox::new();
    let task = |sidecar: &str| {
        serde_json::json!({
            "family": "shop", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "executionRoleArn": "arn:aws:iam::111122223333:role/shop-execution",
            "containerDefinitions": [
                { "name": "web", "image": "filled-in", "essential": true,
                  "portMappings": [{ "containerPort": 8080, "protocol": "tcp" }] },
                { "name": "sidecar", "image": sidecar, "essential": false },
            ],
            "aMemberThatAwsAddsTomorrow": null,
        })
        .to_string()
    };
    let service = serde_json::json!({
        "serviceName": "shop", "launchType": "FARGATE", "desiredCount": 1,
        "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-0123456789abcdef0"], "assignPublicIp": "ENABLED" } },
    });
    let config = "app: shop
services:
  web: { task-definition: task.json, service-definition: service.json, container: web, url: { path: /healthz, expect: 200 } }
";
    write(&sandbox.project(), config, "ENV GREETING=good");
    std::fs::write(sandbox.project().join("service.json"), service.to_string()).unwrap();
    // The first deployment has no sidecar but the application's own image.
    let alone = task("x").replace(r#",{"name":"sidecar","image":"x","essential":false}"#, "");
    std::fs::write(sandbox.project().join("task.json"), alone).unwrap();
    let run = sandbox.deploy(&[]);
    // A task with a public address answers at one of this machine's own.
    run.expect(0).says("subnet-0123456789abcdef0 is subnet-");
    let url = run.url();
    assert!(
        url.starts_with("http://127.") && url.ends_with(":8080/"),
        "{url}"
    );
    assert_eq!(get(&url).unwrap().1, "good\n");

    std::fs::write(
        sandbox.project().join("task.json"),
        task("000000000000.dkr.ecr.us-east-1.amazonaws.com/nothing:1"),
    )
    .unwrap();
    let run = sandbox.deploy(&[]);
    run.expect(20)
        .says("CannotPullContainerError")
        .says("nothing:1");
    assert_eq!(
        get(&sandbox.run(&["url", "--local"]).expect(0).url())
            .unwrap()
            .1,
        "good\n"
    );
}

#[test]
fn the_example_with_stages_builds_on_an_imported_base_passes_its_test_and_serves() {
    let sandbox = Sandbox::new();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/stages")
        .canonicalize()
        .unwrap();
    let rootfs = sandbox.project().join("rootfs");
    let made = std::process::Command::new(example.join("make-base.sh"))
        .arg(&rootfs)
        .status()
        .unwrap();
    assert!(made.success());
    sandbox
        .run(&[
            "image",
            "import",
            rootfs.to_str().unwrap(),
            "example/base:1",
        ])
        .expect(0);
    let example = example.to_str().unwrap();
    let run = sandbox.run(&["deploy", "--local", "--output", "plain", example]);
    run.expect(0)
        .says("RUN /bin/render *.txt")
        .says("the target test passed");
    assert!(
        get(&run.url())
            .unwrap()
            .1
            .contains("<h1>Built in stages</h1>")
    );

    // The base is there no more, and neither is it needed: the repository has an image of the same inputs.
    let again = sandbox.run(&["deploy", "--local", "--output", "plain", example]);
    again
        .expect(0)
        .says("nothing was deployed")
        .never_says("RUN ");
    sandbox
        .run(&[
            "build",
            "--no-cache",
            "--build-arg",
            "BASE=example/none:1",
            example,
        ])
        .expect(10)
        .says("example/none");
}
