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

fn failing_to_pull(after: u64) -> App {
    App {
        pull: (after, after),
        pull_fails: 100,
        ..App::good()
    }
}

/// When each event about that was written, the first first.
fn times(stage: &Stage, what: &str) -> Vec<Millis> {
    let events = &stage.service().events;
    let such = events.iter().rev().filter(|it| it.message.contains(what));
    such.map(|it| it.created_at).collect()
}

/// Facts: created to pull start 12 to 24 s.
#[test]
fn a_task_comes_to_its_pull_as_late_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    let definition = stage.register("job", "job:1");
    stage
        .ask(Action::RunTask, json!({ "taskDefinition": definition }))
        .unwrap();
    stage.run_for(60_000);
    let cluster = stage.world.find_cluster(REGION, None).unwrap();
    let task = stage.world.tasks(&cluster.arn).next().unwrap();
    let pull = task.pull_started_at.unwrap() - task.created_at;
    within_15_percent("created to pull", (12, 24), pull);
    assert_eq!(task.status, TaskStatus::Running);
}

/// Facts: stop requested to stopped 43 to 48 s (a container that does not heed its stop signal, so 30 s of it are the default
/// `stopTimeout`), then 23 to 25 s to STOPPED.
#[test]
fn a_task_stops_as_slowly_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    let deaf = App {
        stop: (30_000, 30_000),
        ..App::good()
    };
    stage.app("app:1", deaf);
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, json!({}));
    stage.run_to("completion", completed);
    stage.update(json!({ "desiredCount": 0 }));
    stage.run_for(120_000);
    let task = stage.tasks()[0];
    let ended = task.execution_stopped_at.unwrap();
    let requested = task.stopping_at.unwrap();
    within_15_percent("requested to stopped", (43, 48), ended - requested);
    let gone = task.stopped_at.unwrap();
    within_15_percent("stopped to STOPPED", (23, 25), gone - ended);
}

/// A public log of 2026: a task that cannot reach its registry, desired 1, breaker on. From each failure (289 s after the start) to the
/// next start 41, 30 and 297 s; the fourth had just started when the deployment failed, and was stopped as pending.
#[test]
fn the_pauses_between_failures_are_as_long_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", measured());
    stage.app("app:2", failing_to_pull(272_000));
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, breaker(true));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    let from = stage.now;
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(1_500_000);
    let starts = times(&stage, "has started 1 tasks");
    let failures = times(&stage, "was unable to place a task");
    assert_eq!(
        (starts.len(), failures.len()),
        (5, 3),
        "{:?}",
        stage.story()
    );
    within_15_percent("start to failure", (288, 289), failures[0] - starts[1]);
    within_15_percent("the first pause", (30, 41), starts[2] - failures[0]);
    within_15_percent("the second pause", (30, 41), starts[3] - failures[1]);
    within_15_percent("the third pause", (297, 297), starts[4] - failures[2]);
    let failed = said(&stage, from, "deployment failed: tasks failed to start.");
    // Another log has 64 s between the third failure, of a health check, and this.
    within_15_percent("the verdict", (3, 64), failed - starts[4]);
    let back = said(&stage, from, "rolling back to deployment");
    assert!(said(&stage, back - 1, "stopped 1 pending tasks.") >= back);
    let completed = said(&stage, back, "deployment completed");
    within_15_percent("the rollback", (53, 106), completed - back);
}

/// A public log of 2026: the same failure ten times without a breaker, each cycle 6.5 minutes with about 90 s to the failure. Nothing
/// grows any further.
#[test]
fn later_pauses_are_no_longer() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", failing_to_pull(73_000));
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, json!({}));
    stage.run_for(3_600_000);
    let starts = times(&stage, "has started 1 tasks");
    for pair in starts.windows(2).skip(2) {
        within_15_percent("a cycle", (390, 390), pair[1] - pair[0]);
    }
    assert!(starts.len() > 9, "{}", starts.len());
}

/// "Tasks that are stopped after they reach the RUNNING state don't start the throttle logic" (developer guide).
#[test]
fn tasks_that_ran_are_replaced_without_the_long_pause() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", App::exiting(5_000, 1));
    let one = stage.register("web", "app:1");
    stage.create(&one, 1, json!({}));
    stage.run_for(1_200_000);
    let tasks = stage.tasks();
    assert!(tasks.len() > 12, "{}", tasks.len());
    for pair in tasks.windows(2) {
        let exited = pair[0].execution_stopped_at.unwrap();
        assert_eq!(pair[1].created_at - exited, 30_000);
    }
    let said = times(&stage, "is unable to consistently start tasks");
    assert!(said.is_empty(), "and that is not said of them");
}

#[test]
fn a_bad_tag_with_the_breaker_on_takes_as_long_as_on_fargate() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.app("app:1", measured());
    // The agent tries again before it gives up: 85 to 92 s after the task was started.
    stage.app("app:2", failing_to_pull(72_000));
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
