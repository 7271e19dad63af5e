//! How fast the scheduler is by itself: the events of random schedules and of a fleet that rolls, replayed without a stage.
//!
//! `cargo test --release -p hoist-fargate --test scheduler -- --ignored --nocapture steps`

use std::io::Write as _;
use std::time::{Duration, Instant};

use hoist_fargate::*;
use serde_json::json;

use crate::simulation;
use crate::stage::*;

/// What is to be played on a world of its own.
type Recording = (u64, Vec<(Millis, Event)>);

/// So many steps are timed at once: too few for others on the same core to come between often, enough for the clock.
const TIMED: usize = 32;

/// Plays recordings again, one after the other, and keeps of each handful of steps the quickest time so far: on a busy machine the others
/// had company. Making a world and the events to play is not timed.
fn replay(recordings: &[Recording], quickest: &mut Vec<Duration>) {
    let mut handful = 0;
    for (seed, events) in recordings {
        let mut world = World::new("000000000000", *seed, Pace::fast());
        for some in events.chunks(TIMED) {
            let some = some.to_vec();
            let start = Instant::now();
            for (at, event) in some {
                std::hint::black_box(step(&mut world, event, at));
            }
            let took = start.elapsed();
            match quickest.get_mut(handful) {
                Some(least) => *least = took.min(*least),
                None => quickest.push(took),
            }
            handful += 1;
        }
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
        let mut quickest = Vec::new();
        for _ in 0..rounds {
            replay(&recordings, &mut quickest);
        }
        assert!(report(what, steps, quickest.iter().sum()) > 0.0);
    }
}
