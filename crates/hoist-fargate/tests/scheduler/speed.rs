//! How fast the scheduler is by itself: the events of random schedules and of a fleet that rolls, replayed without a stage.
//!
//! `cargo test --release -p hoist-fargate --test scheduler -- --ignored --nocapture steps`

use std::io::Write as _;
use std::time::{Duration, Instant};

use hoist_fargate::*;
use serde_json::json;

use crate::simulation;
use crate::stage::*;

/// The time that this thread has had on a core, where the system tells; on a busy machine the clock on the wall tells another story.
fn on_core() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = told.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// What is to be played on a world of its own.
type Recording = (u64, Vec<(Millis, Event)>);

/// Plays recordings again, one after the other; returns how long the steps alone took.
fn replay(recordings: &[Recording]) -> Duration {
    let mut worlds: Vec<(World, Vec<(Millis, Event)>)> = recordings
        .iter()
        .map(|(seed, events)| {
            let world = World::new("000000000000", *seed, Pace::fast());
            (world, events.clone())
        })
        .collect();
    let (start, core) = (Instant::now(), on_core());
    for (world, events) in &mut worlds {
        for (at, event) in events.drain(..) {
            std::hint::black_box(step(world, event, at));
        }
    }
    match (core, on_core()) {
        (Some(before), Some(after)) => after - before,
        _ => start.elapsed(),
    }
}

/// A hundred services of four tasks behind load balancers, with container checks every ten seconds, for ten minutes; each rolls to a
/// new revision, is scaled out and in.
fn fleet() -> Vec<(Millis, Event)> {
    let mut stage = Stage::new(1);
    stage.keep_commands = false;
    let container = |image: &str| {
        json!([{ "name": "web", "image": image, "healthCheck": {
            "command": ["CMD-SHELL", "curl -f http://localhost/"], "interval": 10
        }}])
    };
    let one = stage.register_with("web", container("app:1"));
    let two = stage.register_with("web", container("app:2"));
    let names: Vec<String> = (0..100).map(|n| format!("service-{n}")).collect();
    for name in &names {
        stage.create(&one, 4, with(balanced(), json!({ "serviceName": name })));
        stage.run_for(97);
    }
    stage.run_to("completion", completed);
    for change in [
        json!({ "taskDefinition": two }),
        json!({ "desiredCount": 6 }),
        json!({ "desiredCount": 4 }),
    ] {
        for name in &names {
            stage.update(with(change.clone(), json!({ "service": name })));
            stage.run_for(89);
        }
        stage.run_for(190_000);
    }
    stage.recording
}

#[test]
#[ignore = "a benchmark"]
fn steps_a_second() {
    let mut out = std::io::stdout();
    let mut report = |what: &str, steps: usize, took: Duration| {
        let rate = steps as f64 / took.as_secs_f64();
        writeln!(out, "{what}: {steps} steps, {rate:.0} a second").unwrap();
        rate
    };
    let rounds = std::env::var("HOIST_ROUNDS").map_or(10, |it| it.parse().unwrap());
    let schedules: Vec<Recording> = (0..300)
        .map(|seed| (seed, simulation::record(seed, simulation::Mix::Rolling)))
        .collect();
    for (what, recordings) in [
        ("random schedules", schedules),
        ("a fleet of 100 services", vec![(1, fleet())]),
    ] {
        let steps = recordings.iter().map(|(_, events)| events.len()).sum();
        // The quickest: the others had company on their core.
        let took = (0..rounds).map(|_| replay(&recordings));
        assert!(report(what, steps, took.min().unwrap()) > 0.0);
    }
}
