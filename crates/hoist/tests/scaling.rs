//! Auto scaling under a real load, watched as the console watches it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::load::{Load, ask};
use support::project::{SHORT, write};
use support::sandbox::Sandbox;

/// What the console sees of the service.
fn seen(endpoint: &str) -> Value {
    let (status, body) = ask(
        &format!("{endpoint}/_hoist/console/state"),
        "x-hoist-console: 1\r\n",
    )
    .unwrap();
    assert_eq!(status, 200, "{body}");
    let state: Value = serde_json::from_str(&body).unwrap();
    state["services"][0].clone()
}

/// Waits until the service has as many running tasks as it wants, and those are `count`.
fn until(endpoint: &str, count: u64) -> Value {
    let began = Instant::now();
    loop {
        let now = seen(endpoint);
        let service = &now["service"];
        if service["desiredCount"] == count && service["runningCount"] == count {
            return now;
        }
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "not {count} tasks: {service}"
        );
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn tasks_grow_in_number_under_load_and_go_again() {
    let sandbox = Sandbox::new();
    let config = SHORT.replace(
        "count: 2,",
        "count: 1, scaling: { min: 1, max: 3, requests: 900 },",
    );
    write(&sandbox.project(), &config, "");
    let run = sandbox.deploy(&[]);
    let url = run.expect(0).url();
    run.says("scales between 1 and 3 tasks");
    let endpoint = sandbox.endpoint();

    // Fifteen requests a second and task are wanted, and a hundred come.
    let load = Load::start(&url, 100);
    let grown = until(&endpoint, 3);
    assert_eq!(grown["traffic"][0]["groups"][0]["share"], 100);
    let load = load.stop();
    assert!(load.failed.is_empty(), "{:?}", load.failed);
    until(&endpoint, 1);

    // By hand, until the next deployment.
    let scale = |arguments: &[&str]| sandbox.run(&[&["scale", "--local"], arguments].concat());
    scale(&["--max", "5"])
        .expect(0)
        .says("auto scaling keeps 1 to 5 tasks of shop-web")
        .says("sets the bounds that `scaling` in hoist.yaml names");
    scale(&["--min", "6"])
        .expect(14)
        .says("cannot be kept between 6 and 5 tasks");
    scale(&[]).expect(2).says("--min");

    // A page of another origin gets nothing, a browser gets the page.
    let (status, _) = ask(&format!("{endpoint}/_hoist/console/state"), "").unwrap();
    assert_eq!(status, 403);
    let (status, page) = ask(&format!("{endpoint}/"), "Accept: text/html\r\n").unwrap();
    assert!(
        status == 200 && page.starts_with("<!doctype html>"),
        "{status}"
    );
    let lines =
        format!("{endpoint}/_hoist/console/logs?region=us-east-1&group=/ecs/shop-web&since=0");
    let (_, lines) = ask(&lines, "x-hoist-console: 1\r\n").unwrap();
    assert!(lines.contains("GET /"), "{lines}");
}
