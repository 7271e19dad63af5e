//! Blue/green, linear and canary deployments, each rule as a story on the stage.

use hoist_fargate::*;
use serde_json::{Value, json};

use crate::stage::*;

const FUNCTION: &str = "arn:aws:lambda:eu-central-1:000000000000:function:look";

fn strategy(name: &str, more: Value) -> Value {
    let configuration = with(json!({ "strategy": name, "bakeTimeInMinutes": 1 }), more);
    with(
        two_groups(),
        json!({ "deploymentConfiguration": configuration }),
    )
}

/// A service of two tasks whose first deployment is done, and a second definition.
fn standing(shape: Value) -> (Stage, Arn) {
    standing_at(Pace::fast(), shape)
}

fn standing_at(pace: Pace, shape: Value) -> (Stage, Arn) {
    let mut stage = Stage::at_pace(1, pace);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, shape);
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    (stage, two)
}

/// Lets time pass until the deployment ends; returns each stage with the share of production and test traffic that the new revision had
/// in it, and how long it took in seconds.
fn walk(stage: &mut Stage) -> Vec<(&'static str, u32, u32, u64)> {
    let target = stage.primary().revision.clone();
    let mut seen: Vec<(&'static str, u32, u32, u64)> = Vec::new();
    let mut since = stage.now;
    let limit = stage.now + 4 * 3_600_000;
    while let Some(course) = stage.service().course.clone() {
        let traffic = &stage.service().traffic;
        let now = (
            course.stage.as_str(),
            Traffic::of(&traffic.production, &target),
            Traffic::of(&traffic.test, &target),
        );
        match seen.last_mut() {
            Some(last) if (last.0, last.1, last.2) == now => {}
            last => {
                if let Some(last) = last {
                    last.3 = (stage.now - since) / 1_000;
                }
                since = stage.now;
                seen.push((now.0, now.1, now.2, 0));
            }
        }
        assert!(stage.now < limit, "never ended:\n{}", stage.picture());
        stage.run_for(10);
    }
    if let Some(last) = seen.last_mut() {
        last.3 = (stage.now - since) / 1_000;
    }
    seen
}

fn stages(walked: &[(&'static str, u32, u32, u64)]) -> Vec<&'static str> {
    let mut names: Vec<_> = walked.iter().map(|it| it.0).collect();
    names.dedup();
    names
}

#[test]
fn blue_green_goes_through_every_stage_and_changes_the_target_group() {
    let hooks = json!([{ "hookTargetArn": FUNCTION, "lifecycleStages": [
        "PRE_SCALE_UP", "POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT",
        "PRE_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT",
    ]}]);
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({ "lifecycleHooks": hooks })));
    let blue = stage.primary().revision.clone();
    assert_eq!(
        stage.rules[PRODUCTION_RULE],
        [(GROUP.to_owned(), 100), (OTHER_GROUP.to_owned(), 0)]
    );
    stage.commands.clear();
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    let walked = walk(&mut stage);
    assert_eq!(
        stages(&walked),
        [
            "PRE_SCALE_UP",
            "SCALE_UP",
            "POST_SCALE_UP",
            "TEST_TRAFFIC_SHIFT",
            "POST_TEST_TRAFFIC_SHIFT",
            "PRE_PRODUCTION_TRAFFIC_SHIFT",
            "PRODUCTION_TRAFFIC_SHIFT",
            "POST_PRODUCTION_TRAFFIC_SHIFT",
            "BAKE_TIME",
            "CLEAN_UP",
        ]
    );
    let at = |name: &str| *walked.iter().find(|it| it.0 == name).unwrap();
    assert_eq!((at("POST_SCALE_UP").1, at("POST_SCALE_UP").2), (0, 0));
    let tested = at("POST_TEST_TRAFFIC_SHIFT");
    assert_eq!((tested.1, tested.2), (0, 1_000));
    let baked = at("BAKE_TIME");
    assert_eq!((baked.1, baked.2, baked.3), (1_000, 1_000, 60));
    let calls: Vec<LifecycleStage> = stage
        .commands
        .iter()
        .filter_map(|(_, it)| match it {
            Command::CallHook { stage, target, .. } if target == FUNCTION => Some(*stage),
            _ => None,
        })
        .collect();
    assert_eq!(calls.len(), 7, "each hook once: {calls:?}");
    let record = stage.world.service_deployment(&record).unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::Successful);
    assert_eq!(record.target_revision.production, Some(1_000));
    assert_eq!(record.source_revisions[0].arn, blue);
    assert_eq!(record.source_revisions[0].production, Some(0));
    for rule in [PRODUCTION_RULE, TEST_RULE] {
        assert_eq!(
            stage.rules[rule],
            [(GROUP.to_owned(), 0), (OTHER_GROUP.to_owned(), 100)]
        );
    }
    let running: Vec<_> = stage
        .tasks()
        .into_iter()
        .filter(|it| it.is_wanted())
        .collect();
    assert_eq!(running.len(), 2);
    for task in running {
        assert_eq!(task.targets[0].target_group, OTHER_GROUP);
        assert_eq!(task.task_definition, two);
    }
    // And back into the first group the next time.
    stage.update(json!({ "forceNewDeployment": true }));
    walk(&mut stage);
    assert_eq!(stage.rules[PRODUCTION_RULE][0].1, 100);
}

#[test]
fn a_linear_deployment_shifts_in_equal_steps_with_bake_times_between() {
    let hook = json!({
        "hookTargetArn": FUNCTION,
        "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"],
    });
    let linear = json!({
        "linearConfiguration": { "stepPercent": 30.0, "stepBakeTimeInMinutes": 2 },
        "lifecycleHooks": [hook],
    });
    let (mut stage, two) = standing(strategy("LINEAR", linear));
    stage.update(json!({ "taskDefinition": two }));
    let walked = walk(&mut stage);
    let shifts: Vec<_> = walked
        .iter()
        .filter(|it| it.0 == "PRODUCTION_TRAFFIC_SHIFT")
        .map(|it| (it.1, it.3))
        .collect();
    assert_eq!(shifts, [(300, 120), (600, 120), (900, 120), (1_000, 0)]);
    stage.run_for(1_000);
    for hooked in [
        LifecycleStage::PreProductionTrafficShift,
        LifecycleStage::ProductionTrafficShift,
    ] {
        let record = &stage.record().arn;
        let calls = stage.commands.iter().filter(|(_, it)| {
            matches!(it, Command::CallHook { service_deployment, stage, .. }
                if service_deployment == record && *stage == hooked)
        });
        assert_eq!(calls.count(), 4, "at every step");
    }
}

#[test]
fn a_canary_gets_a_little_first_and_then_everything() {
    let canary =
        json!({ "canaryConfiguration": { "canaryPercent": 2.5, "canaryBakeTimeInMinutes": 3 } });
    let (mut stage, two) = standing(strategy("CANARY", canary));
    stage.commands.clear();
    stage.update(json!({ "taskDefinition": two }));
    let walked = walk(&mut stage);
    let shifts: Vec<_> = walked
        .iter()
        .filter(|it| it.0 == "PRODUCTION_TRAFFIC_SHIFT")
        .map(|it| (it.1, it.3))
        .collect();
    assert_eq!(shifts, [(25, 180), (1_000, 0)]);
    // Tenths of a per cent need weights of a thousand.
    let weights: Vec<Vec<u32>> = stage
        .commands
        .iter()
        .filter_map(|(_, it)| match it {
            Command::ShiftTraffic { rules, .. } => {
                rules.iter().find(|it| it.rule == PRODUCTION_RULE)
            }
            _ => None,
        })
        .map(|it| it.weights.iter().map(|(_, weight)| *weight).collect())
        .collect();
    assert!(weights.contains(&vec![975, 25]), "{weights:?}");
}

#[test]
fn the_defaults_of_linear_and_canary_are_as_documented() {
    let (stage, _) = standing(strategy("LINEAR", json!({})));
    let read = &stage.service().configuration;
    assert_eq!((read.step, read.step_bake_time), (100, 6 * 60_000));
    let (stage, _) = standing(strategy("CANARY", json!({})));
    let read = &stage.service().configuration;
    assert_eq!((read.step, read.step_bake_time), (50, 10 * 60_000));
}

fn check_rolled_back(stage: &Stage, record: &str, blue: &str) {
    let record = stage.world.service_deployment(record).unwrap();
    assert_eq!(
        record.status,
        ServiceDeploymentStatus::RollbackSuccessful,
        "{}",
        stage.picture()
    );
    assert_eq!(stage.primary().revision, blue);
    assert_eq!(stage.service().running_count, 2);
    assert_eq!(stage.rules[PRODUCTION_RULE][0], (GROUP.to_owned(), 100));
    assert_eq!(stage.rules[TEST_RULE][0], (GROUP.to_owned(), 100));
}

#[test]
fn a_hook_that_fails_rolls_back_at_any_stage() {
    for hooked in LifecycleStage::ALL
        .into_iter()
        .filter(|it| it.takes_hooks())
    {
        if hooked == LifecycleStage::ReconcileService {
            continue;
        }
        let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
        let blue = stage.primary().revision.clone();
        stage.neighbours.hook_fails = 100;
        let hook = json!({ "hookTargetArn": FUNCTION, "lifecycleStages": [hooked.as_str()] });
        stage.update(json!({
            "taskDefinition": two, "deploymentConfiguration": { "lifecycleHooks": [hook] },
        }));
        let record = stage.record().arn.clone();
        walk(&mut stage);
        check_rolled_back(&stage, &record, &blue);
        let reason = format!(
            "Service deployment rolled back because {} lifecycle hook(s) failed. Lifecycle hook target {FUNCTION} returned FAILED status.",
            hooked.as_str()
        );
        let failed = format!("(service web) (deployment ecs-svc/D2) deployment failed: {reason}");
        assert!(stage.story().contains(&failed), "{:?}", stage.story());
        let record = stage.world.service_deployment(&record).unwrap();
        assert_eq!(record.status_reason.as_ref(), Some(&reason));
        assert_eq!(record.rollback.as_ref().unwrap().reason, reason);
    }
}

#[test]
fn a_first_deployment_whose_hook_cannot_be_used_has_nothing_to_go_back_to() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let hook = json!({ "hookTargetArn": FUNCTION, "lifecycleStages": ["PRE_SCALE_UP"] });
    stage.neighbours.hook_asks_again = 100;
    stage.create(
        &one,
        2,
        strategy("BLUE_GREEN", json!({ "lifecycleHooks": [hook] })),
    );
    stage.run_for(1_000);
    let service = stage.service().arn.clone();
    let hook = stage.service().course.as_ref().unwrap().hooks[0].id.clone();
    assert!(hook.starts_with("ecs-lambda-"), "{hook}");
    stage.run_for(4_050);
    let said = "ECS was unable to parse the response from F due to: HookStatus must not be null.";
    let answer = HookAnswer::Broken(said.to_owned());
    stage.happen(Event::HookAnswered {
        service,
        hook,
        answer,
    });
    let record = stage.record();
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackFailed);
    let reason = "No rollback candidate was found to run the rollback.";
    assert_eq!(record.status_reason.as_deref(), Some(reason));
    let event = format!(
        "(service web) (deployment ecs-svc/D1) deployment failed: Service deployment rolled back because PRE_SCALE_UP lifecycle hook(s) failed. {said}"
    );
    assert_eq!(stage.story(), [event]);
}

#[test]
fn the_breaker_ends_a_deployment_that_shifts_traffic_too() {
    for name in ["BLUE_GREEN", "CANARY"] {
        let shape = with(strategy(name, json!({})), breaker(true));
        let (mut stage, two) = standing(shape);
        let blue = stage.primary().revision.clone();
        stage.app("app:2", App::exiting(50, 1));
        stage.update(json!({ "taskDefinition": two }));
        let record = stage.record().arn.clone();
        walk(&mut stage);
        check_rolled_back(&stage, &record, &blue);
        let record = stage.world.service_deployment(&record).unwrap();
        assert_eq!(record.breaker_status, BreakerStatus::Triggered);
        assert!(record.failure_count >= 3, "{}", record.failure_count);
        let reason =
            "Service deployment rolled back because the circuit breaker threshold was exceeded.";
        assert_eq!(record.status_reason.as_deref(), Some(reason));
    }
}

#[test]
fn a_rule_that_cannot_be_changed_rolls_back_and_says_what_the_load_balancer_said() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.neighbours.shift_refused = 100;
    stage.run_to("the way back", |world| {
        let mut courses = world.every_service().filter_map(|it| it.course.as_ref());
        courses.any(|it| it.back)
    });
    stage.neighbours.shift_refused = 0;
    walk(&mut stage);
    check_rolled_back(&stage, &record, &blue);
    let reason = "Service deployment rolled back because of invalid networking configuration. One or more rules not found";
    let record = stage.world.service_deployment(&record).unwrap();
    assert_eq!(record.status_reason.as_deref(), Some(reason));
}

#[test]
fn a_hook_is_called_again_while_it_is_in_progress() {
    let hook = json!({ "hookTargetArn": FUNCTION, "lifecycleStages": ["POST_SCALE_UP"] });
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    stage.neighbours.hook_asks_again = 100;
    stage.update(json!({
        "taskDefinition": two, "deploymentConfiguration": { "lifecycleHooks": [hook] },
    }));
    stage.run_for(62_000);
    let calls = |stage: &Stage| {
        let calls = stage.commands.iter().filter_map(|(_, it)| match it {
            Command::CallHook { hook, .. } => Some(hook.clone()),
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    let ids = calls(&stage);
    assert!(
        (10..=13).contains(&ids.len()),
        "every five seconds: {}",
        ids.len()
    );
    assert!(ids.iter().all(|it| *it == ids[0]), "the same execution");
    stage.neighbours.hook_asks_again = 0;
    stage.run_to("completion", completed);
}

fn pausing(timeout: Value) -> (Stage, Arn, Arn) {
    let hook = json!({ "targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": timeout });
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({ "lifecycleHooks": [hook] })));
    // The first deployment passed it by time-out.
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.run_to("the pause", |world| {
        let mut services = world
            .clusters(REGION)
            .flat_map(|it| world.services(&it.arn));
        services.any(|it| it.course.as_ref().is_some_and(|it| !it.hooks.is_empty()))
    });
    (stage, blue, record)
}

#[test]
fn a_pause_waits_for_continue_service_deployment() {
    let timeout = json!({ "timeoutInMinutes": 5, "action": "CONTINUE" });
    for (action, goes_on) in [("CONTINUE", true), ("ROLLBACK", false)] {
        let (mut stage, blue, record) = pausing(timeout.clone());
        stage.run_for(120_000);
        let deployment = stage.world.service_deployment(&record).unwrap();
        assert_eq!(
            deployment.lifecycle_stage,
            Some(LifecycleStage::PostTestTrafficShift)
        );
        let hook = deployment.hooks[0].clone();
        assert_eq!(hook.status, HookStatus::AwaitingAction);
        assert!(hook.id.starts_with("ecs-pause-"), "{}", hook.id);
        for (id, message) in [
            (
                "look",
                "Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}",
            ),
            (
                "ecs-pause-0",
                "Provided hookId is either completed, unavailable, or not associated with the given Resource ARN",
            ),
        ] {
            let ask = json!({ "serviceDeploymentArn": record, "hookId": id, "action": action });
            let refused = stage.ask(Action::ContinueServiceDeployment, ask);
            assert_eq!(refused.unwrap_err().message, message);
        }
        let ask = json!({ "serviceDeploymentArn": record, "hookId": hook.id, "action": action });
        stage
            .ask(Action::ContinueServiceDeployment, ask.clone())
            .unwrap();
        let again = stage.ask(Action::ContinueServiceDeployment, ask);
        assert_eq!(again.unwrap_err().code, "InvalidParameterException");
        walk(&mut stage);
        if goes_on {
            let record = stage.world.service_deployment(&record).unwrap();
            assert_eq!(record.status, ServiceDeploymentStatus::Successful);
        } else {
            check_rolled_back(&stage, &record, &blue);
        }
    }
}

#[test]
fn a_pause_that_nobody_ends_takes_its_time_out_action() {
    let (mut stage, _, record) = pausing(json!({ "timeoutInMinutes": 5, "action": "CONTINUE" }));
    let walked = walk(&mut stage);
    let pause = walked.iter().find(|it| it.0 == "POST_TEST_TRAFFIC_SHIFT");
    assert_eq!(pause.unwrap().3, 300);
    let record = stage.world.service_deployment(&record).unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::Successful);
}

#[test]
fn a_pause_that_runs_out_rolls_back_in_the_words_of_ecs() {
    let (mut stage, _, record) = pausing(json!({ "timeoutInMinutes": 5, "action": "CONTINUE" }));
    stage.update(json!({ "deploymentConfiguration": { "lifecycleHooks": [{
        "targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": { "timeoutInMinutes": 1 },
    }] } }));
    walk(&mut stage);
    let blue = stage.primary().revision.clone();
    assert_eq!(
        stage.world.service_deployment(&record).unwrap().status,
        ServiceDeploymentStatus::Successful,
        "what waits keeps the time-out that it began with"
    );
    stage.update(json!({ "forceNewDeployment": true }));
    let record = stage.record().arn.clone();
    walk(&mut stage);
    assert_eq!(stage.primary().revision, blue);
    let reason =
        "Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT pause hook timed out.";
    let record = stage.world.service_deployment(&record).unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(record.status_reason.as_deref(), Some(reason));
}

/// "For pause hooks, you can configure the timeout up to 20,160 minutes (14 days)": longer than a stage may take otherwise.
#[test]
fn a_pause_may_last_a_fortnight() {
    let (mut stage, _, record) = pausing(json!({ "timeoutInMinutes": 5, "action": "CONTINUE" }));
    walk(&mut stage);
    stage.update(json!({ "deploymentConfiguration": { "lifecycleHooks": [{
        "targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": { "timeoutInMinutes": 20_160 },
    }] } }));
    assert!(completed(&stage.world));
    stage.keep_commands = false;
    let blue = stage.primary().revision.clone();
    for (days, action) in [(13, Some("CONTINUE")), (14, None)] {
        stage.update(json!({ "forceNewDeployment": true }));
        let current = stage.record().arn.clone();
        assert_ne!(current, record);
        let began = stage.now;
        stage.run_for(2_000);
        let hook = stage.service().course.as_ref().unwrap().hooks[0].id.clone();
        stage.run_until(began + days * DAY);
        let open = stage.world.service_deployment(&current).unwrap();
        assert_eq!(open.hooks[0].status, HookStatus::AwaitingAction);
        if let Some(action) = action {
            let ask = json!({ "serviceDeploymentArn": current, "hookId": hook, "action": action });
            stage.ask(Action::ContinueServiceDeployment, ask).unwrap();
        }
        walk(&mut stage);
        let status = stage.world.service_deployment(&current).unwrap().status;
        let expected = match action {
            Some(_) => ServiceDeploymentStatus::Successful,
            None => ServiceDeploymentStatus::RollbackSuccessful,
        };
        assert_eq!(status, expected);
        assert_ne!(stage.primary().revision, blue);
    }
}

/// The longest bake time is as long as a stage may take; being baked comes first.
#[test]
fn a_deployment_may_bake_for_a_whole_day() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({ "bakeTimeInMinutes": 0 })));
    stage.keep_commands = false;
    stage.update(json!({
        "taskDefinition": two, "deploymentConfiguration": { "bakeTimeInMinutes": 1_440 },
    }));
    let record = stage.record().arn.clone();
    stage.run_until(stage.now + DAY - 60_000);
    let status = |stage: &Stage| stage.world.service_deployment(&record).unwrap().status;
    assert_eq!(status(&stage), ServiceDeploymentStatus::InProgress);
    stage.run_for(120_000);
    assert_eq!(status(&stage), ServiceDeploymentStatus::Successful);
}

#[test]
fn stopping_rolls_back_or_leaves_everything_at_any_stage() {
    for (kind, rolls_back) in [("ROLLBACK", true), ("ABORT", false)] {
        for step in 0..14 {
            let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
            let blue = stage.primary().revision.clone();
            stage.update(json!({ "taskDefinition": two }));
            let record = stage.record().arn.clone();
            // From before the scale-up into the clean-up.
            stage.run_for(step * 300 + if step > 8 { 59_000 } else { 0 });
            if completed(&stage.world) {
                continue;
            }
            let stop = json!({ "serviceDeploymentArn": record, "stopType": kind });
            stage.ask(Action::StopServiceDeployment, stop).unwrap();
            if rolls_back {
                walk(&mut stage);
                check_rolled_back(&stage, &record, &blue);
            } else {
                let status = stage.world.service_deployment(&record).unwrap().status;
                assert_eq!(status, ServiceDeploymentStatus::Stopped);
                assert_eq!(stage.service().course, None);
            }
            // The next one works, whatever was left.
            stage.update(json!({ "forceNewDeployment": true }));
            walk(&mut stage);
            assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
        }
    }
}

#[test]
fn a_newer_deployment_first_puts_away_what_the_older_left() {
    let (mut stage, two) = standing(strategy(
        "LINEAR",
        json!({ "linearConfiguration": {
            "stepPercent": 50.0, "stepBakeTimeInMinutes": 10
        }}),
    ));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    let green = stage.primary().revision.clone();
    stage.run_for(60_000);
    assert_eq!(
        Traffic::of(&stage.service().traffic.production, &green),
        500
    );
    let three = stage.register("web", "app:3");
    stage.update(json!({ "taskDefinition": three }));
    let reconciling = stage.service().course.as_ref().unwrap().stage;
    assert_eq!(reconciling, LifecycleStage::ReconcileService);
    stage.run_for(100);
    let traffic = &stage.service().traffic;
    assert_eq!(Traffic::of(&traffic.production, &blue), ALL_TRAFFIC);
    stage.run_for(900);
    assert!(
        stage
            .service()
            .deployments
            .iter()
            .all(|it| it.revision != green)
    );
    let walked = walk(&mut stage);
    assert_eq!(walked.last().unwrap().1, 1_000);
    assert_eq!(stage.primary().task_definition, three);
}

#[test]
fn an_alarm_during_the_bake_time_rolls_back() {
    let alarms =
        json!({ "alarms": { "alarmNames": ["errors"], "enable": true, "rollback": true } });
    let (mut stage, two) = standing(strategy("BLUE_GREEN", alarms));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.run_for(30_000);
    assert_eq!(
        stage.service().course.as_ref().unwrap().stage,
        LifecycleStage::BakeTime
    );
    stage.happen(alarm(true));
    walk(&mut stage);
    check_rolled_back(&stage, &record, &blue);
    let triggered = &stage
        .world
        .service_deployment(&record)
        .unwrap()
        .triggered_alarms;
    assert_eq!(triggered, &["errors"]);
}

#[test]
fn a_rule_that_cannot_be_changed_rolls_back() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.neighbours.shift_refused = 100;
    stage.run_for(10_000);
    let said = "(service web) was unable to shift traffic. Reason: One or more rules not found";
    assert!(stage.story().iter().any(|it| it == said));
    stage.neighbours.shift_refused = 0;
    stage.run_for(60_000);
    walk(&mut stage);
    check_rolled_back(&stage, &record, &blue);
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    for after in [100, 1_000, 1_600, 30_000] {
        let (mut stage, two) = standing(strategy(
            "CANARY",
            json!({ "canaryConfiguration": {
                "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1
            }}),
        ));
        stage.update(json!({ "taskDefinition": two }));
        stage.run_for(after);
        stage.restart();
        let walked = walk(&mut stage);
        assert_eq!(walked.last().unwrap().0, "CLEAN_UP");
        assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
        assert_eq!(stage.service().running_count, 2);
    }
}

#[test]
fn both_revisions_have_all_their_tasks_until_the_clean_up() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(30_000);
    let of_blue = stage
        .tasks()
        .iter()
        .filter(|it| it.is_wanted() && it.revision.as_ref() == Some(&blue))
        .count();
    assert_eq!((of_blue, stage.service().running_count), (2, 4));
    // One of blue's that dies is replaced in blue.
    let victim = stage.tasks()[0].arn.clone();
    stage
        .ask(Action::StopTask, json!({ "task": victim }))
        .unwrap();
    stage.run_for(5_000);
    assert_eq!(stage.service().running_count, 4);
    stage.run_to("completion", completed);
}

#[test]
fn wrong_settings_are_refused() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let hook = |hook: Value| json!({ "strategy": "BLUE_GREEN", "lifecycleHooks": [hook] });
    for (configuration, message) in [
        (
            json!({ "strategy": "LINEAR", "linearConfiguration": { "stepPercent": 2.9 } }),
            "stepPercent must be between 3.0 and 100.0.",
        ),
        (
            json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 0.04 } }),
            "canaryPercent must be between 0.1 and 100.0.",
        ),
        (
            json!({ "strategy": "LINEAR", "linearConfiguration": { "stepBakeTimeInMinutes": 1_441 } }),
            "stepBakeTimeInMinutes must be between 0 and 1440.",
        ),
        (
            hook(json!({ "hookTargetArn": FUNCTION, "lifecycleStages": ["BAKE_TIME"] })),
            "Lifecycle hooks are not supported at BAKE_TIME.",
        ),
        (
            hook(json!({ "targetType": "PAUSE", "lifecycleStages": ["TEST_TRAFFIC_SHIFT"] })),
            "Invalid lifecycle stage provided for Pause Hook",
        ),
        (
            hook(json!({ "targetType": "WAIT", "lifecycleStages": ["PRE_SCALE_UP"] })),
            "Invalid targetType. Valid values are: AWS_LAMBDA, PAUSE",
        ),
        (
            hook(
                json!({ "targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"],
                "timeoutConfiguration": { "timeoutInMinutes": 20_161 } }),
            ),
            "timeoutInMinutes must be between 1 and 20160.",
        ),
        (
            hook(json!({ "lifecycleStages": ["PRE_SCALE_UP"] })),
            "hookTargetArn must be specified for lifecycle hooks of type AWS_LAMBDA.",
        ),
        (
            json!({ "earlySuccessCriteria": { "enable": true, "healthyPercent": 50 } }),
            "healthyPercent must be between minimumHealthyPercent and 100.",
        ),
    ] {
        let request = json!({
            "serviceName": "web", "taskDefinition": one, "deploymentConfiguration": configuration,
        });
        let refused = stage.ask(Action::CreateService, request).unwrap_err();
        assert_eq!(refused.message, message);
    }
}

const DAY: u64 = 24 * 3_600_000;

/// Lets time pass up to the day's end, and a little on.
fn pass_a_day(stage: &mut Stage) {
    let end = stage.now + DAY + 1_000;
    stage.run_until(end);
}

/// A stage lasts at most 24 h (facts, "Blue/green, linear, canary").
#[test]
fn a_first_deployment_that_never_gets_healthy_ends_with_its_stage_after_a_day() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.keep_commands = false;
    stage.app("app:1", App::exiting(50, 1));
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, strategy("BLUE_GREEN", json!({})));
    let record = stage.record().arn.clone();
    stage.run_until(stage.now + DAY - 60_000);
    let status = |stage: &Stage| stage.world.service_deployment(&record).unwrap().status;
    assert_eq!(status(&stage), ServiceDeploymentStatus::InProgress);
    stage.run_for(120_000);
    assert_eq!(status(&stage), ServiceDeploymentStatus::RollbackFailed);
    assert_eq!(stage.primary().rollout_state, RolloutState::Failed);
    assert!(
        stage
            .story()
            .iter()
            .any(|it| it.ends_with("rolled back because it took too long.")),
        "{:?}",
        stage.story()
    );
}

#[test]
fn a_way_back_that_takes_longer_than_a_day_has_failed_and_is_still_tried() {
    let (mut stage, two) = standing_at(Pace::fargate(), strategy("BLUE_GREEN", json!({})));
    stage.keep_commands = false;
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.run_to("the bake time", |world| {
        let services = world.every_service();
        let mut stages = services
            .filter_map(|it| it.course.as_ref())
            .map(|it| it.stage);
        stages.any(|it| it == LifecycleStage::BakeTime)
    });
    // The old revision cannot start any more, and what ran of it dies.
    stage.app("app:1", App::exiting(50, 1));
    let old: Vec<Arn> = stage
        .tasks()
        .iter()
        .filter(|it| it.task_definition != two)
        .map(|it| it.arn.clone())
        .collect();
    for task in old {
        stage
            .ask(Action::StopTask, json!({ "task": task }))
            .unwrap();
    }
    let stop = json!({ "serviceDeploymentArn": record, "stopType": "ROLLBACK" });
    stage.ask(Action::StopServiceDeployment, stop).unwrap();
    pass_a_day(&mut stage);
    let ended = stage.world.service_deployment(&record).unwrap();
    assert_eq!(ended.status, ServiceDeploymentStatus::RollbackFailed);
    assert!(ended.finished_at.is_some());
    // It still serves by what it has, and comes back when it can.
    stage.app("app:1", App::good());
    stage.run_until(stage.now + 3_600_000);
    assert!(completed(&stage.world), "{}", stage.picture());
    assert_eq!(stage.service().running_count, 2);
}

/// Without the breaker nothing gives a rolling update up: the real one stays IN_PROGRESS, too.
#[test]
fn a_first_rolling_deployment_goes_on_until_it_is_aborted_or_its_breaker_trips() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    stage.keep_commands = false;
    stage.app("app:1", App::exiting(50, 1));
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    let record = stage.record().arn.clone();
    pass_a_day(&mut stage);
    assert_eq!(stage.primary().rollout_state, RolloutState::InProgress);
    let back = json!({ "serviceDeploymentArn": record, "stopType": "ROLLBACK" });
    let refused = stage.ask(Action::StopServiceDeployment, back).unwrap_err();
    assert_eq!(refused.code, "ConflictException");
    let abort = json!({ "serviceDeploymentArn": record, "stopType": "ABORT" });
    stage.ask(Action::StopServiceDeployment, abort).unwrap();
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Stopped);
}

/// "The overall deployment timeout is 30 days", whatever the pauses add up to.
#[test]
fn a_deployment_ends_after_thirty_days() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    stage.keep_commands = false;
    let pause = |stage: &str| {
        json!({ "targetType": "PAUSE", "lifecycleStages": [stage],
            "timeoutConfiguration": { "timeoutInMinutes": 20_160, "action": "CONTINUE" } })
    };
    let hooks = ["PRE_SCALE_UP", "POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT"].map(pause);
    let hooks = json!({ "lifecycleHooks": hooks });
    stage.update(json!({ "taskDefinition": two, "deploymentConfiguration": hooks }));
    let record = stage.record().arn.clone();
    let end = stage.now + 30 * DAY;
    stage.run_until(end - 60_000);
    let status = |stage: &Stage| stage.world.service_deployment(&record).unwrap().status;
    assert_eq!(status(&stage), ServiceDeploymentStatus::InProgress);
    stage.run_until(end + 60_000);
    assert_eq!(status(&stage), ServiceDeploymentStatus::RollbackSuccessful);
}

#[test]
fn traffic_is_shifted_only_when_every_task_of_the_new_revision_is_healthy() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    let slow = App {
        target: (200, 60_000),
        ..App::good()
    };
    stage.app("app:2", slow);
    stage.update(json!({ "taskDefinition": two, "desiredCount": 4 }));
    stage.run_to("the shift", |world| {
        let mut courses = world.every_service().filter_map(|it| it.course.as_ref());
        courses.any(|it| it.stage > LifecycleStage::ScaleUp)
    });
    let green = |it: &&&Task| it.task_definition == two && it.healthy_at.is_some();
    assert_eq!(stage.tasks().iter().filter(green).count(), 4);
}

#[test]
fn a_rule_that_cannot_be_changed_on_the_way_back_is_tried_again_every_half_minute() {
    let (mut stage, two) = standing(strategy("BLUE_GREEN", json!({})));
    stage.update(json!({ "taskDefinition": two }));
    let record = stage.record().arn.clone();
    stage.run_for(2_000);
    stage.neighbours.shift_refused = 100;
    let from = stage.commands.len();
    let stop = json!({ "serviceDeploymentArn": record, "stopType": "ROLLBACK" });
    stage.ask(Action::StopServiceDeployment, stop).unwrap();
    stage.run_for(100_000);
    let shifts = stage.commands[from..].iter();
    let shifts = shifts.filter(|(_, it)| matches!(it, Command::ShiftTraffic { .. }));
    assert_eq!(shifts.count(), 4);
}

#[test]
fn what_stands_is_brought_up_before_it_gets_all_traffic_again() {
    let steps = json!({ "linearConfiguration": {
        "stepPercent": 50.0, "stepBakeTimeInMinutes": 10
    }});
    let (mut stage, two) = standing(strategy("LINEAR", steps));
    let blue = stage.primary().revision.clone();
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(60_000);
    let share = |stage: &Stage| Traffic::of(&stage.service().traffic.production, &blue);
    assert_eq!(share(&stage), 500);
    let victims: Vec<Arn> = stage
        .tasks()
        .iter()
        .filter(|it| it.revision.as_ref() == Some(&blue))
        .map(|it| it.arn.clone())
        .collect();
    for task in victims {
        stage
            .ask(Action::StopTask, json!({ "task": task }))
            .unwrap();
    }
    stage.update(json!({ "forceNewDeployment": true }));
    stage.run_for(20);
    assert_eq!(share(&stage), 500, "nobody is there yet");
    stage.run_to("blue's return", |world| {
        let mut services = world.every_service();
        services.all(|it| Traffic::of(&it.traffic.production, &blue) == ALL_TRAFFIC)
    });
    let stands = |it: &&&Task| it.revision.as_ref() == Some(&blue) && it.healthy;
    assert_eq!(stage.tasks().iter().filter(stands).count(), 2);
    walk(&mut stage);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
}

/// The other revision's health does not make up for tasks that half of the traffic goes to. Scaling in would take the healthy ones here, for
/// those that are not healthy yet are protected.
#[test]
fn what_has_traffic_may_not_go_while_it_is_shifted_however_healthy_the_other_revision_is() {
    let half =
        json!({ "linearConfiguration": { "stepPercent": 50.0, "stepBakeTimeInMinutes": 5 } });
    let (mut stage, two) = standing(strategy("LINEAR", half));
    stage.update(json!({ "taskDefinition": two }));
    let green = stage.primary().revision.clone();
    stage.run_to("the first step", |world| {
        let mut services = world.every_service();
        services.all(|it| Traffic::of(&it.traffic.production, &green) == 500)
    });
    // Two more of each, of which the new revision's are not healthy for a while.
    let slow = App {
        target: (60_000, 60_000),
        ..App::good()
    };
    stage.app("app:2", slow);
    stage.update(json!({ "desiredCount": 4 }));
    stage.run_for(2_000);
    let of_green = |stage: &Stage, healthy: bool| -> Vec<Arn> {
        let tasks = stage.tasks().into_iter().filter(|it| it.is_wanted());
        tasks
            .filter(|it| it.revision.as_ref() == Some(&green) && it.healthy == healthy)
            .map(|it| it.arn.clone())
            .collect()
    };
    let (served, young) = (of_green(&stage, true), of_green(&stage, false));
    assert_eq!((served.len(), young.len()), (2, 2));
    let protect = json!({ "tasks": young, "protectionEnabled": true, "expiresInMinutes": 2 });
    stage.ask(Action::UpdateTaskProtection, protect).unwrap();
    stage.update(json!({ "desiredCount": 2 }));
    stage.run_for(20_000);
    assert_eq!(
        of_green(&stage, true),
        served,
        "half of the traffic goes there"
    );
    walk(&mut stage);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
}
