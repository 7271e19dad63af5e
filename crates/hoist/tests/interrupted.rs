//! What becomes of deployments that are killed, that meet each other, or that lose their credentials or the time.
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

#[test]
fn a_first_deployment_that_is_hopeless_is_scaled_to_nothing_and_the_next_one_serves_again() {
    let sandbox = Sandbox::new();
    let config = "app: shop
services:
  web: { port: 8080, cpu: 256, memory: 512, count: 2, health: /healthz, failure-budget: 1 }
";
    write(&sandbox.project(), config, "ENV PORT=not-a-port");
    sandbox
        .deploy(&[])
        .expect(21)
        .says("there is no earlier revision to go back to")
        .says("scaled to 0 tasks");
    let arguments = [
        "ecs",
        "describe-services",
        "--cluster",
        "default",
        "--services",
        "shop-web",
        "--query",
        "services[0].desiredCount",
    ];
    assert_eq!(sandbox.client("aws", &arguments).stdout.trim(), "0");

    write(&sandbox.project(), config, "ENV GREETING=good");
    let run = sandbox.deploy(&[]);
    run.expect(0);
    assert_eq!(support::load::get(&run.url()).unwrap().1, "good\n");
    assert_eq!(sandbox.client("aws", &arguments).stdout.trim(), "2");
}

/// Makes a session known to the embedded AWS, which is stopped, that ends in so many milliseconds.
fn session(sandbox: &Sandbox, id: &str, lasts: i64) {
    let key = hoist_local::keys::Key {
        id: id.to_owned(),
        secret: "secret".to_owned(),
        session_token: Some(format!("token-of-{id}")),
        arn: "arn:aws:sts::000000000000:assumed-role/deploy/ci".to_owned(),
        user_id: "AROA:ci".to_owned(),
        expires: Some(hoist_local::clock::now() + lasts),
    };
    hoist_local::state::State::open(&sandbox.home().join("local/state.redb"))
        .unwrap()
        .table("keys")
        .put("", id, &key)
        .unwrap();
}

#[test]
fn credentials_that_expire_in_the_middle_are_renewed() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    let url = sandbox.deploy(&[]).expect(0).url();
    sandbox.run(&["local", "stop"]).expect(0);
    // The deployment waits five seconds for the connections of the old tasks alone.
    session(&sandbox, "ASIAFIRST00000000000", 3_000);
    session(&sandbox, "ASIASECOND0000000000", 3_600_000);
    sandbox.run(&["local", "start"]).expect(0);

    // Whoever gives the credentials out says that they last, so that only AWS tells that they do not.
    let home = sandbox.home();
    let (script, config, asked) = (
        home.join("keys.sh"),
        home.join("config"),
        home.join("asked"),
    );
    let text = r#"echo asked >> ASKED
id=ASIASECOND0000000000
[ "$(wc -l < ASKED)" -gt 1 ] || id=ASIAFIRST00000000000
echo '{"Version": 1, "AccessKeyId": "'$id'", "SecretAccessKey": "secret", "SessionToken": "token-of-'$id'", "Expiration": "2999-01-01T00:00:00Z"}'
"#;
    std::fs::write(&script, text.replace("ASKED", asked.to_str().unwrap())).unwrap();
    let profile = format!("[default]\ncredential_process = sh {}\n", script.display());
    std::fs::write(&config, profile).unwrap();
    write(&sandbox.project(), SHORT, "ENV GREETING=two");
    let mut command = sandbox.command(&["deploy"]);
    for (name, value) in sandbox.aws_env() {
        if ["AWS_ENDPOINT_URL", "AWS_REGION"].contains(&name.as_str()) {
            command.env(name, value.trim_matches('\''));
        }
    }
    command.env("AWS_CONFIG_FILE", &config);
    Run::of(command.output().unwrap()).expect(0);
    assert_eq!(support::load::get(&url).unwrap().1, "two\n");
    let asked = std::fs::read_to_string(asked).unwrap();
    assert_eq!(asked.lines().count(), 2, "the process was not asked again");
}

#[test]
fn a_clock_that_is_an_hour_fast_misleads_nobody() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    let url = sandbox.deploy(&[]).expect(0).url();
    let (source, library) = (
        sandbox.home().join("fast.c"),
        sandbox.home().join("fast.so"),
    );
    let text = "#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += 3600;
    return result;
}
";
    std::fs::write(&source, text).unwrap();
    let status = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(status.success(), "cc failed");
    let fast = |extra: &str| {
        write(&sandbox.project(), SHORT, extra);
        let mut command = sandbox.command(&["deploy", "--local"]);
        command.env("LD_PRELOAD", &library);
        Run::of(command.output().unwrap())
    };
    fast("ENV GREETING=two").expect(0);
    assert_eq!(support::load::get(&url).unwrap().1, "two\n");
    fast("ENV PORT=not-a-port")
        .expect(20)
        .says("Essential container in task exited");
    assert_eq!(support::load::get(&url).unwrap().1, "two\n");
    // The first calls are sent at the same time, and all are refused.
    let mut command = sandbox.command(&["status", "--local"]);
    command.env("LD_PRELOAD", &library);
    Run::of(command.output().unwrap()).expect(0);
    let journal = std::fs::read_to_string(sandbox.home().join("journal.jsonl")).unwrap();
    let last: serde_json::Value =
        serde_json::from_str(journal.lines().next_back().unwrap()).unwrap();
    let written: jiff::Timestamp = last["at"].as_str().unwrap().parse().unwrap();
    let ahead = jiff::Timestamp::now().duration_until(written);
    assert!(ahead.as_mins() > 50, "the clock was not wrong: {ahead}");
}
