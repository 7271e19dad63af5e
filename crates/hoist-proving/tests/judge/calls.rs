//! How many calls it takes to watch the deployment that everyone has: two tasks behind a load balancer, another image, nothing goes wrong.

use hoist_fargate::Pace;
use hoist_local::ecs::wire as answers;
use hoist_pipeline::{Lookout, note_answer};
use hoist_rollout::{Intent, Verdict};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::play::at_once;
use crate::stage::{App, Stage, balanced};
use crate::wire::{Wire, moment};

/// Watches it at Fargate's pace with this deregistration delay, in seconds. Returns the seconds until its end, the calls, and by how many
/// milliseconds the end was told late.
fn watch(seed: u64, drain: u64) -> (u64, usize, u64) {
    let mut stage = Stage::new(seed);
    stage.keep_commands = false;
    stage.world.set_pace(Pace::fargate());
    for image in ["app:a", "app:b"] {
        let app = App {
            pull: (5_000, 20_000),
            start: (500, 3_000),
            target: (200, 5_000),
            stop: (200, 2_000),
            drain: (drain * 1_000, drain * 1_000),
            ..App::good()
        };
        stage.app(image, app);
    }
    let [old, ours] = ["app:a", "app:b"].map(|image| stage.register("web", image));
    stage.create(&old, 2, balanced());
    stage.run_for(240_000);
    stage.update(json!({ "taskDefinition": ours }));
    let answer = answers::service(&stage.world, stage.service(), false);
    let record = stage.record().arn.clone();
    let wire = Wire::new(stage, seed, drain);
    let began = wire.with(|it| it.stage.now);
    let mut intent = Intent::new("web", &ours, moment(began));
    intent.previous_task_definition = Some(old);
    intent.timeout = SignedDuration::from_mins(20);
    note_answer(&mut intent, &answer);
    let definition = wire.with(|it| {
        let registered = it.stage.world.task_definition(&ours).unwrap();
        Value::from(registered.document.clone())
    });
    let mut lookout = Lookout::new(&wire, "default", "web", &definition, intent, false);
    loop {
        let look = at_once(lookout.look());
        match look.verdict {
            Verdict::InProgress { .. } => {}
            Verdict::Succeeded => break,
            other => panic!("{other:?}"),
        }
        let pause = lookout.pause().as_millis() as u64;
        wire.with(|it| it.stage.run_for(pause));
    }
    wire.with(|it| {
        if std::env::var_os("HOIST_SEED").is_some() {
            for (at, operation) in &it.log {
                eprintln!("{:>7} {operation}", at - began);
            }
        }
        let recorded = it.stage.world.service_deployment(&record).unwrap();
        let finished = recorded.finished_at.unwrap();
        let late = it.stage.now - finished;
        ((finished - began) / 1_000, it.log.len(), late)
    })
}

#[test]
fn a_rollout_that_goes_its_way_takes_a_third_of_the_calls_of_asking_once_a_second() {
    let (mut seconds, mut calls, mut latest) = (0, 0, 0);
    for seed in 0..20 {
        for drain in [30, 300] {
            let (took, made, late) = watch(seed, drain);
            assert!(late <= 1_000, "told {late} ms late with seed {seed}");
            (seconds, calls) = (seconds + took, calls + made as u64);
            latest = late.max(latest);
        }
    }
    eprintln!("{calls} calls in {seconds} s; all told within {latest} ms");
    // A loop that asks DescribeServices alone makes one a second, and knows less.
    assert!(calls * 3 <= seconds, "{calls} calls in {seconds} s");
}
