//! What becomes of deployments that are killed, that meet each other, or that lose their credentials or the time.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use support::eyes::Eyes;
use support::project::{SHORT, write};
use support::proxy::{Call, Moment, Proxy};
use support::sandbox::{Run, Sandbox};

/// Waits for something that must come to be.
fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

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

/// A service that is checked at this path.
fn checked_at(path: &str) -> String {
    format!(
        "app: shop
services:
  web:
    port: 8080
    count: 1
    failure-budget: 1
    deregistration-delay: 0
    health: {{ path: {path}, expect: '200', unhealthy: 2 }}
    url: {{ path: /healthz }}
"
    )
}

#[test]
fn a_health_check_that_a_killed_run_changed_is_put_back_and_a_rollback_brings_its_own() {
    let sandbox = Sandbox::new();
    write(
        &sandbox.project(),
        &checked_at("/healthz"),
        "ENV GREETING=one",
    );
    sandbox.deploy(&[]).expect(0);
    let (eyes, proxy) = (Eyes::on(&sandbox), Proxy::before(&sandbox));
    let path = || {
        let query = "TargetGroups[0].HealthCheckPath";
        let arguments = ["elbv2", "describe-target-groups", "--query", query];
        let run = sandbox.client("aws", &arguments);
        run.expect(0).stdout.trim().trim_matches('"').to_owned()
    };

    // It was changed, and ECS never asked: the next deployment puts it back before it begins.
    let two = || write(&sandbox.project(), &checked_at("/"), "ENV GREETING=two");
    two();
    deploy_until(&sandbox, &proxy, "UpdateService", 0, Moment::Unsent);
    assert_eq!(path(), "/");
    write(
        &sandbox.project(),
        &checked_at("/healthz"),
        "ENV GREETING=one",
    );
    sandbox
        .deploy(&[])
        .expect(0)
        .says("ECS never began that deployment")
        .says("put the settings of the target group shop-web back");
    assert_eq!(path(), "/healthz");

    // ECS was asked, and no task passes the new check: who goes on with it puts it back with the revision before.
    write(
        &sandbox.project(),
        &checked_at("/nowhere"),
        "ENV GREETING=three",
    );
    deploy_until(&sandbox, &proxy, "UpdateService", 0, Moment::Unanswered);
    assert_eq!(path(), "/nowhere");
    sandbox
        .run(&["deploy", "--local", "--resume"])
        .expect(20)
        .says("put the settings of the target group shop-web back");
    assert_eq!(path(), "/healthz");

    // A revision that comes back is checked as it was.
    two();
    sandbox.deploy(&[]).expect(0);
    assert_eq!(path(), "/");
    let planned = sandbox.run(&["plan", "--local", "--revision", "1", "--output", "json"]);
    let planned: serde_json::Value = serde_json::from_str(&planned.expect(0).stdout).unwrap();
    let service = &planned["services"][0];
    assert_eq!(service["action"], "update");
    assert!(
        service["targetGroup"].to_string().contains("/healthz"),
        "{planned}"
    );
    assert!(
        service["taskDefinition"].to_string().contains("image"),
        "{planned}"
    );
    sandbox
        .run(&["rollback", "--local"])
        .expect(0)
        .says("changed the target group shop-web");
    assert_eq!(path(), "/healthz");
    assert!(eyes.primary("shop-web").serves(1));
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

/// Three services in two waves, with a task that comes first; `b` has an environment of its own.
fn fleet(b: &str) -> String {
    format!(
        "app: fleet
services:
  a: {{ cpu: 256, memory: 512, count: 1, deregistration-delay: 0 }}
  b: {{ cpu: 256, memory: 512, count: 1, failure-budget: 1, environment: {{ {b} }} }}
tasks:
  migrate: {{ service: a, command: [exit, '0'] }}
release: {{ before: [migrate], waves: [[a], [b]], all-or-nothing: true }}
"
    )
}

/// Deploys until the process is killed at a call.
fn deploy_until(sandbox: &Sandbox, proxy: &Proxy, call: &str, nth: usize, moment: Moment) {
    proxy.begin(Some((Call::Of(call.to_owned(), nth), moment)));
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    proxy.caller(child.id());
    Run::of(child.wait_with_output().unwrap()).expect(137);
    proxy.begin(None);
}

#[test]
fn a_release_that_was_killed_runs_no_task_twice_and_goes_on_taking_back() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), &fleet(""), "ENV GREETING=one");
    sandbox.deploy(&[]).expect(0);
    let (eyes, proxy) = (Eyes::on(&sandbox), Proxy::before(&sandbox));
    let tasks = || {
        let ask = |state: &str| {
            let asked = serde_json::json!({ "cluster": "default", "startedBy": "hoist", "desiredStatus": state });
            eyes.ask("ListTasks", asked)["taskArns"]
                .as_array()
                .unwrap()
                .len()
        };
        ask("RUNNING") + ask("STOPPED")
    };
    assert_eq!(tasks(), 1);

    // The task was started, and nobody heard of it.
    write(&sandbox.project(), &fleet(""), "ENV GREETING=two");
    deploy_until(&sandbox, &proxy, "RunTask", 0, Moment::Unanswered);
    sandbox
        .run(&["deploy", "--local", "--resume"])
        .expect(0)
        .says("0 of 2 services were begun")
        .says("it is not started twice")
        .says("migrate succeeded");
    assert_eq!(tasks(), 2);
    assert!(eyes.primary("fleet-a").serves(2) && eyes.primary("fleet-b").serves(2));

    // It succeeded, and the next deployment of the same revision does not run it again.
    write(&sandbox.project(), &fleet(""), "ENV GREETING=three");
    deploy_until(&sandbox, &proxy, "UpdateService", 0, Moment::Unsent);
    sandbox
        .deploy(&[])
        .expect(0)
        .says("ended without a word while it deployed fleet-a:3 to fleet-a: ECS never began that deployment")
        .says("that run had not begun with fleet-b")
        .says("migrate succeeded already");
    assert_eq!(tasks(), 3);

    // The second wave fails, and the first is on its way back when the end comes.
    write(
        &sandbox.project(),
        &fleet("PORT: no-port"),
        "ENV GREETING=four",
    );
    deploy_until(&sandbox, &proxy, "UpdateService", 2, Moment::Unanswered);
    sandbox
        .run(&["deploy", "--local", "--resume"])
        .expect(20)
        .says("the release had failed")
        .says("fleet-a went back to fleet-a:3")
        .says("fleet-b: ECS has rolled that deployment back");
    assert!(eyes.primary("fleet-a").serves(3) && eyes.primary("fleet-b").serves(3));
    assert_eq!(eyes.deployments("fleet-a").len(), 5);
    sandbox
        .run(&["deploy", "--local", "--resume"])
        .expect(0)
        .says("nothing to resume");
}

#[test]
fn a_release_that_is_told_to_end_takes_back_what_is_in_flight_and_says_so_of_each() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["local", "start", "--runtime", "simulated"])
        .expect(0);
    let config = "app: fleet
services:
  a: { cpu: 256, memory: 512, count: 1 }
  b: { cpu: 256, memory: 512, count: 1 }
  c: { cpu: 256, memory: 512, count: 1 }
  d: { cpu: 256, memory: 512, count: 1 }
release: { parallel: 2, waves: [[a, b, c], [d]] }
";
    write(&sandbox.project(), config, "ENV VERSION=1");
    sandbox.deploy(&[]).expect(0);
    // At this pace tasks take half a minute to start.
    sandbox.run(&["local", "stop"]).expect(0);
    sandbox
        .run(&[
            "local",
            "start",
            "--runtime",
            "simulated",
            "--pace",
            "fargate",
        ])
        .expect(0);
    let eyes = Eyes::on(&sandbox);
    write(&sandbox.project(), config, "ENV VERSION=2");
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    wait_until("two deployments are in flight", || {
        ["fleet-a", "fleet-b"]
            .iter()
            .all(|name| eyes.primary(name).revision == 2)
    });
    let process = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = Run::of(child.wait_with_output().unwrap());
    ended
        .expect(143)
        .says("fleet-a: the rollback was asked for")
        .says("fleet-b: the rollback was asked for")
        .says("not touched: fleet-c, fleet-d");
    for name in ["fleet-a", "fleet-b"] {
        let newest = &eyes.deployments(name)[0]["status"];
        assert!(newest.as_str().unwrap().starts_with("ROLLBACK"), "{newest}");
    }
    for name in ["fleet-c", "fleet-d"] {
        assert_eq!(eyes.deployments(name).len(), 1, "{name}");
    }

    // A time that is up is told of each as well, and nothing is taken back.
    let config = config.replace("[[a, b, c], [d]]", "[[c, d], [a, b]]");
    write(&sandbox.project(), &config, "ENV VERSION=2");
    sandbox
        .deploy(&["--timeout", "2s"])
        .expect(23)
        .says("fleet-c: fleet-c:2 was still being deployed after 2 s")
        .says("fleet-d failed too: fleet-d:2 was still being deployed after 2 s")
        .says("not touched: fleet-a, fleet-b");
    assert_eq!(eyes.primary("fleet-c").state, "IN_PROGRESS");
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
