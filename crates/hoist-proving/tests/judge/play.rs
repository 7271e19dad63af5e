//! One deployment, watched from its beginning to the verdict, while everything that can go wrong does.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hoist_fargate::{Action, Arn, Pace, ServiceDeploymentStatus, TaskStatus};
use hoist_local::ecs::wire as answers;
use hoist_pipeline::{Lookout, Observer, note_answer};
use hoist_rollout::{Intent, Rollout, Verdict, judge};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::adversary;
use crate::stage::{App, Dice, GROUP, Stage, balanced, merge, target_health};
use crate::tally::Tally;
use crate::wire::{Inner, STALE, Wire, moment};

/// How often, in milliseconds, it is noted whether our revision serves.
const GLANCE: u64 = 250;

/// What kind of trouble the observer gets.
#[derive(Clone, Copy, PartialEq)]
pub enum Story {
    /// Every answer comes, and is true.
    Truthful,
    /// Calls fail, and answers are up to [`STALE`] old.
    Troubled,
    /// What was seen comes in another order, in part, and again.
    Scrambled,
}

fn random_app(dice: &mut Dice, drain: u64) -> App {
    let mut app = App {
        pull: (500, 8_000),
        start: (50, 1_000),
        target: (1_000, 15_000),
        stop: (100, 3_000),
        drain: (drain * 1_000, drain * 1_000),
        ..App::good()
    };
    match dice.between((0, 11)) {
        0 => app.pull_fails = dice.between((20, 100)),
        1 => app.start_fails = dice.between((20, 100)),
        2 | 3 => {
            app.exits = Some(((100, dice.between((200, 60_000))), 1));
            app.exit_chance = dice.between((20, 100));
            app.oom = dice.percent(20);
        }
        4 => app.target_fails = dice.between((20, 100)),
        5 => app.target_flaps = dice.between((20, 70)),
        6 => app.check_fails = dice.between((20, 100)),
        7 => app.stop = (30_000, 30_000),
        8 => app.pull = (30_000, 120_000),
        _ => {}
    }
    app
}

/// The first thing that is ready: everything that the stage answers is.
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the stage never lets anyone wait"),
    }
}

/// Things that others do while the deployment goes on.
fn meddle(stage: &mut Stage, dice: &mut Dice, definitions: &[Arn]) {
    match dice.between((0, 9)) {
        0 => {
            let other = &definitions[dice.next() as usize % definitions.len()];
            stage
                .update(json!({ "taskDefinition": other, "forceNewDeployment": dice.percent(50) }));
        }
        1 => stage.update(json!({ "desiredCount": dice.between((0, 5)) })),
        2 => stage.restart(),
        3 => {
            let record = stage.record().arn.clone();
            // Whether there is something to roll back to is its own business.
            let _ = stage.ask(
                Action::StopServiceDeployment,
                json!({ "serviceDeploymentArn": record }),
            );
        }
        4..=6 => {
            let tasks: Vec<Arn> = stage
                .tasks()
                .iter()
                .filter(|it| it.status < TaskStatus::Stopped)
                .map(|it| it.arn.clone())
                .collect();
            if !tasks.is_empty() {
                let victim = &tasks[dice.next() as usize % tasks.len()];
                stage
                    .ask(Action::StopTask, json!({ "task": victim }))
                    .unwrap();
            }
        }
        _ => {
            let target = stage
                .tasks()
                .iter()
                .find(|it| it.status == TaskStatus::Running && !it.targets.is_empty())
                .map(|it| it.arn.clone());
            if let Some(task) = target {
                stage.happen(target_health(
                    task,
                    GROUP.to_owned(),
                    8080,
                    dice.percent(50),
                ));
            }
        }
    }
}

/// Sets the stage: a service that serves (mostly), and the deployment that is watched. Returns our revision and the answer.
fn begin(stage: &mut Stage, dice: &mut Dice, drain: u64) -> (Vec<Arn>, Option<Arn>, Value) {
    stage.keep_commands = false;
    for image in ["app:a", "app:b", "app:c"] {
        let app = random_app(dice, drain);
        stage.app(image, app);
    }
    let checked = dice.percent(30);
    let register = |stage: &mut Stage, image: &str| {
        let mut container = json!({ "name": "web", "image": image });
        if checked {
            container["healthCheck"] =
                json!({ "command": ["CMD", "true"], "interval": 5, "retries": 2 });
        }
        stage.register_with("web", json!([container]))
    };
    let definitions: Vec<Arn> = ["app:a", "app:b", "app:c"]
        .into_iter()
        .map(|image| register(stage, image))
        .collect();
    let minimum = 50 * dice.between((0, 2));
    let maximum = 150 + 50 * dice.between((0, 1));
    let bake = dice.between((1, 5)) * u64::from(dice.percent(20));
    let mut shape = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": minimum,
        "maximumPercent": maximum,
        "bakeTimeInMinutes": bake,
        "deploymentCircuitBreaker": { "enable": dice.percent(70), "rollback": dice.percent(80) },
    }});
    if dice.percent(60) {
        merge(&mut shape, balanced());
    }
    let desired = dice.between((1, 4)) as u32;
    let is_first = dice.percent(15);
    if is_first {
        stage.create(&definitions[1], desired, shape);
    } else {
        if dice.percent(90) {
            let mut good = App::good();
            good.drain = (drain * 1_000, drain * 1_000);
            stage.app("app:a", good);
        }
        stage.create(&definitions[0], desired, shape);
        stage.run_for(240_000);
        stage.update(
            json!({ "taskDefinition": definitions[1], "forceNewDeployment": dice.percent(10) }),
        );
    }
    let previous = (!is_first).then(|| definitions[0].clone());
    let answer = answers::service(&stage.world, stage.service(), false);
    (definitions, previous, answer)
}

/// Plays one story; panics where something false is said.
pub fn play(seed: u64, story: Story) -> Tally {
    let loud = std::env::var_os("HOIST_SEED").is_some();
    let mut dice = Dice::new(seed ^ 0x00c0_ffee);
    let drain = [0, 5, 30, 300][dice.between((0, 3)) as usize];
    let mut stage = Stage::new(seed);
    stage.world.set_pace(if dice.percent(70) {
        Pace::fargate()
    } else {
        Pace::fast()
    });
    let is_fast = stage.world.pace().settle < 40_000;
    let (definitions, previous, answer) = begin(&mut stage, &mut dice, drain);
    let ours = definitions[1].clone();
    let record = stage.record().arn.clone();
    let wire = Wire::new(stage, seed, drain);
    let began = wire.with(|it| it.stage.now);
    if story == Story::Troubled {
        wire.with(|it| {
            it.fails = 20;
            it.stale = 40;
        });
    }
    let meddling = if dice.percent(50) {
        dice.between((1, 20))
    } else {
        0
    };

    let mut intent = Intent::new("web", &ours, moment(began));
    intent.previous_task_definition = previous.clone();
    let most = if is_fast { 3 } else { 20 };
    intent.timeout = SignedDuration::from_mins(dice.between((2, most)) as i64);
    intent
        .digests
        .insert("web".into(), vec!["sha256:app:b".into()]);
    note_answer(&mut intent, &answer);
    let definition = wire.with(|it| {
        let registered = it.stage.world.task_definition(&ours).unwrap();
        Value::from(registered.document.clone())
    });
    let timeout = intent.timeout.as_secs() as u64;
    // Below fargate's pace things happen sooner than anyone may expect of AWS: that is what the flag is for.
    let mut lookout = Lookout::new(
        &wire,
        "default",
        "web",
        &definition,
        intent.clone(),
        is_fast,
    );

    let mut tally = Tally {
        stories: 1,
        ..Tally::default()
    };
    let (mut all_seen, mut extra) = (
        Vec::new(),
        Observer::new(&wire, "default", "web", &definition),
    );
    let mut rollback_asked = false;
    // The last moment at which our revision alone did not serve.
    let mut lacking = began;
    // The last moment at which it did.
    let mut served = None;
    let verdict = loop {
        if story == Story::Scrambled {
            // A second pair of eyes, whose observations are kept.
            let from = all_seen.len();
            let _ = at_once(extra.look(lookout.rollout(), &mut all_seen));
            assert!(all_seen.len() >= from);
        }
        let look = at_once(lookout.look());
        tally.judged += 1;
        if loud {
            let at = wire.with(|it| it.stage.now) - began;
            for news in &look.news {
                eprintln!("{at:>8} {news}");
            }
            eprintln!("{at:>8} {:?}", look.verdict);
        }
        match look.verdict {
            Verdict::InProgress { hopeless, .. } => {
                if let Some(hopeless) = hopeless.filter(|_| !rollback_asked) {
                    rollback_asked = true;
                    tally.hopeless += 1;
                    wire.with(|it| {
                        // At the fast pace a task without checks is healthy sooner than on AWS, by whose clock is judged.
                        if story == Story::Truthful && !is_fast {
                            check_hopeless(&it.stage, &ours, &hopeless.to_string());
                        }
                        let _ = it.stage.ask(
                            Action::StopServiceDeployment,
                            json!({ "serviceDeploymentArn": record }),
                        );
                    });
                }
            }
            end => break end,
        }
        let pause = lookout.pause().as_millis() as u64;
        wire.with(|it| {
            let end = it.stage.now + pause;
            let mut glance = |it: &Inner| match it.serves(&ours) {
                Ok(()) => served = Some(it.stage.now),
                Err(_) => lacking = it.stage.now,
            };
            while meddling > 0 && it.stage.now < end && dice.percent(meddling) {
                let some = dice.between((0, end - it.stage.now));
                it.stage.run_for(some);
                // It may have served until just now.
                glance(it);
                meddle(&mut it.stage, &mut dice, &definitions);
            }
            while it.stage.now < end {
                it.stage.run_until((it.stage.now + GLANCE).min(end));
                glance(it);
            }
        });
    };
    let now = wire.with(|it| it.stage.now);
    let seconds = (now - began) / 1_000;
    assert!(
        now - began <= timeout * 1_000 + 10,
        "it took {seconds} s of {timeout}"
    );
    wire.with(|it| {
        // The embedded pace is looked at all the time, and two observers call twice.
        if !is_fast && story != Story::Scrambled {
            tally.calls = it.calls.values().sum();
            for (name, count) in &it.calls {
                *tally.by_operation.entry(name).or_default() += count;
            }
            tally.seconds = seconds;
            if meddling == 0 && matches!(verdict, Verdict::Succeeded | Verdict::RolledBack { .. }) {
                tally.by_themselves = (tally.calls, seconds);
            }
        }
        let recorded = it.stage.world.service_deployment(&record).unwrap();
        let (status, finished) = (recorded.status, recorded.finished_at);
        let picture = || format!("{verdict:?}, but {status:?}\n{}", it.stage.picture());
        let name = match &verdict {
            Verdict::Succeeded => {
                assert_eq!(status, ServiceDeploymentStatus::Successful, "{}", picture());
                if story == Story::Troubled {
                    let within = served.is_some_and(|at| at + STALE >= now);
                    assert!(within, "it did not serve lately: {}", picture());
                } else if let Err(why) = it.serves(&ours) {
                    panic!("{why}: {}", picture());
                }
                "succeeded"
            }
            Verdict::RolledBack { .. } => {
                assert_eq!(
                    status,
                    ServiceDeploymentStatus::RollbackSuccessful,
                    "{}",
                    picture()
                );
                "rolled back"
            }
            Verdict::Superseded { .. } => {
                let newest = it
                    .stage
                    .world
                    .service_deployments(&it.stage.service().arn)
                    .map(|it| it.created_at)
                    .max();
                let made = recorded.created_at;
                assert!(newest > Some(made), "{}", picture());
                "superseded"
            }
            Verdict::Failed { .. } | Verdict::Stopped { .. } => {
                use ServiceDeploymentStatus::{RollbackFailed, Stopped};
                assert!(matches!(status, RollbackFailed | Stopped), "{}", picture());
                "failed"
            }
            Verdict::TimedOut { .. } => "timed out",
            Verdict::InProgress { .. } => unreachable!(),
        };
        tally.ends.insert(name, 1);
        // How long after the end it was told.
        // What others do comes without notice.
        if story == Story::Truthful
            && meddling == 0
            && let (Some(finished), "succeeded" | "rolled back") = (finished, name)
        {
            let known = if name == "succeeded" {
                finished.max(lacking)
            } else {
                finished
            };
            tally.lags.push(now.saturating_sub(known));
            if std::env::var_os("HOIST_LATE").is_some() && now > known + 1_000 {
                eprintln!("HOIST_SEED={seed} {} ms late, {name}", now - known);
            }
        }
    });
    if story == Story::Scrambled {
        let is_success = wire.with(|it| {
            it.stage.world.service_deployment(&record).unwrap().status
                == ServiceDeploymentStatus::Successful
        });
        tally.judged += adversary::scramble(seed, &intent, &all_seen, moment(now), is_success);
        let straight = {
            let mut rollout = Rollout::new(intent.clone());
            rollout.see(&all_seen);
            judge(&rollout, moment(now))
        };
        assert!(
            straight != Verdict::Succeeded || is_success,
            "{straight:?} of what was seen in order"
        );
    }
    tally
}

/// The failure budget is only ever used up by a revision of which no task was healthy.
fn check_hopeless(stage: &Stage, ours: &str, what: &str) {
    let healthy = stage
        .tasks()
        .into_iter()
        .any(|it| it.task_definition == ours && it.healthy_at.is_some());
    assert!(!healthy, "{what}, but one was healthy\n{}", stage.picture());
}
