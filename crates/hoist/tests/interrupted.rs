//! What becomes of deployments that are killed, or that meet each other.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use support::project::{SHORT, write};
use support::sandbox::{Run, Sandbox};

/// Waits until a deployment of the service is under way.
fn wait_for_flight(sandbox: &Sandbox) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "the deployment never began"
        );
        let arguments = [
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
        ];
        if sandbox.client("aws", &arguments).stdout.trim() == "1" {
            return;
        }
    }
}

/// The number of revisions and of service deployments there are.
fn made(sandbox: &Sandbox) -> (usize, usize) {
    let count = |arguments: &[&str]| {
        let run = sandbox.client("aws", arguments);
        run.expect(0);
        run.stdout.trim().parse().unwrap()
    };
    (
        count(&[
            "ecs",
            "list-task-definitions",
            "--family-prefix",
            "shop-web",
            "--query",
            "length(taskDefinitionArns)",
        ]),
        count(&[
            "ecs",
            "list-service-deployments",
            "--cluster",
            "default",
            "--service",
            "shop-web",
            "--query",
            "length(serviceDeployments)",
        ]),
    )
}

#[test]
fn a_run_that_was_killed_is_resumed_and_another_deployment_is_told_to_wait() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    let url = sandbox.deploy(&[]).expect(0).url();

    // A version that never becomes healthy keeps the deployment in flight.
    write(&sandbox.project(), SHORT, "ENV GREETING=two UNHEALTHY=1");
    let mut killed = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    wait_for_flight(&sandbox);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = made(&sandbox);

    // Two at once: another revision is not started while that one is on its way.
    write(&sandbox.project(), SHORT, "ENV GREETING=three");
    sandbox
        .deploy(&[])
        .expect(26)
        .says("ended without a word")
        .says("that deployment is still in flight")
        .says("another deployment of shop-web is in flight");

    let resumed = sandbox.run(&["deploy", "--local", "--resume"]);
    resumed
        .expect(20)
        .says("it is still in flight; watching it");
    assert_eq!(made(&sandbox).1, before.1, "nothing was deployed again");
    assert_eq!(support::load::get(&url).unwrap().1, "one\n");
    sandbox
        .run(&["deploy", "--local", "--resume"])
        .expect(0)
        .says("nothing to resume");
}

#[test]
fn a_deployment_that_another_replaces_ends_as_replaced() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    sandbox.deploy(&[]).expect(0);
    write(&sandbox.project(), SHORT, "ENV GREETING=two");
    sandbox.deploy(&[]).expect(0);
    write(&sandbox.project(), SHORT, "ENV GREETING=three UNHEALTHY=1");
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    wait_for_flight(&sandbox);
    let other = sandbox.client(
        "aws",
        &[
            "ecs",
            "update-service",
            "--cluster",
            "default",
            "--service",
            "shop-web",
            "--task-definition",
            "shop-web:1",
            "--force-new-deployment",
        ],
    );
    other.expect(0);
    Run::of(child.wait_with_output().unwrap())
        .expect(22)
        .says("another deployment replaced");
}
