//! `Pace::fargate` against what was measured on the real service (facts, "How long things take"), on the virtual clock.

use hoist_fargate::*;
use serde_json::json;

use crate::stage::*;

/// A container that takes the middle of the measured times: pull 20 s, start 10 s, first target check within the default interval,
/// 30 s of draining.
fn measured() -> App {
    App {
        pull: (20_000, 20_000),
        start: (10_000, 10_000),
        target: (25_000, 25_000),
        drain: (30_000, 30_000),
        stop: (1_000, 1_000),
        ..App::good()
    }
}

#[track_caller]
fn within_15_percent(what: &str, (low, high): (u64, u64), millis: u64) {
    let seconds = millis as f64 / 1_000.0;
    let (low, high) = (low as f64 * 0.85, high as f64 * 1.15);
    assert!(
        (low..=high).contains(&seconds),
        "{what}: {seconds} s, expected {low} to {high}"
    );
}

/// When the service said something, for the first time after `from`.
fn said(stage: &Stage, from: Millis, what: &str) -> Millis {
    let events = &stage.service().events;
    let mut event = events
        .iter()
        .rev()
        .filter(|it| it.created_at > from && it.message.contains(what));
    event
        .next()
        .unwrap_or_else(|| panic!("never said {what}"))
        .created_at
}

#[test]
fn a_rolling_deploy_behind_a_load_balancer_takes_as_long_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", measured());
    stage.app("app:2", measured());
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, balanced());
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    let from = stage.now;
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("completion", completed);
    let started = said(&stage, from, "has started 1 tasks");
    let registered = said(&stage, from, "registered 1 targets");
    let stopped = said(&stage, from, "has stopped 1 running tasks");
    let draining = said(&stage, from, "has begun draining");
    let completed = said(&stage, from, "deployment completed");
    within_15_percent("started to registered", (40, 60), registered - started);
    within_15_percent("registered to stopped", (50, 50), stopped - registered);
    within_15_percent("stopped to draining", (10, 10), draining - stopped);
    within_15_percent("draining to completed", (52, 52), completed - draining);
    within_15_percent("the whole", (153, 173), completed - started);
}

#[test]
fn a_bad_tag_with_the_breaker_on_takes_as_long_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", measured());
    // The agent tries again before it gives up.
    stage.app(
        "app:2",
        App {
            pull: (114_000, 114_000),
            pull_fails: 100,
            ..App::good()
        },
    );
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, breaker(true));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    let from = stage.now;
    stage.update(json!({ "taskDefinition": two }));
    let mut failures = Vec::new();
    for count in 1..=3 {
        stage.run_to("a failure", |world| {
            let mut services = world
                .clusters(REGION)
                .flat_map(|it| world.services(&it.arn));
            services.any(|it| it.deployments[0].failed_tasks == count)
        });
        failures.push(stage.now - from);
    }
    within_15_percent("the first failure", (154, 154), failures[0]);
    within_15_percent("the second failure", (286, 286), failures[1]);
    within_15_percent("the third failure", (660, 660), failures[2]);
    stage.run_to("completion", completed);
    let rollback = said(&stage, from, "rolling back to deployment");
    within_15_percent("the rollback", (704, 704), rollback - from);
    let ended = stage.record().finished_at.unwrap();
    within_15_percent("its end", (810, 810), ended - from);
    assert_eq!(
        stage.record().status,
        ServiceDeploymentStatus::RollbackSuccessful
    );
}
