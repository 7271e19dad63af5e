//! Availability Zone rebalancing, as stories on the stage.

use hoist_fargate::*;
use serde_json::{Value, json};

use crate::stage::*;

/// A service whose first deployment is done, and whose tasks all came into zone `a` of three.
fn crowded(count: u32, shape: Value) -> Stage {
    crowded_at(Pace::fast(), count, shape)
}

fn crowded_at(pace: Pace, count: u32, shape: Value) -> Stage {
    let mut stage = Stage::at_pace(1, pace);
    stage.zones = &["a", "b", "c"];
    stage.crowds = true;
    let one = stage.register("web", "app:1");
    stage.create(&one, count, shape);
    stage.run_to("completion", completed);
    assert_eq!(counts(&stage), [count as usize, 0, 0]);
    stage
}

/// How many tasks there are in each zone.
fn counts(stage: &Stage) -> [usize; 3] {
    let tasks = stage.tasks();
    ["a", "b", "c"].map(|zone| {
        let there = |it: &&&Task| it.is_wanted() && it.availability_zone.as_deref() == Some(zone);
        tasks.iter().filter(there).count()
    })
}

/// What the service said since its first deployment.
fn said(stage: &Stage) -> Vec<String> {
    let story = stage.story();
    let from = story.iter().position(|it| it.ends_with("steady state."));
    story[from.map_or(0, |it| it + 1)..].to_vec()
}

fn percent(minimum: u32, maximum: u32) -> Value {
    json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": minimum, "maximumPercent": maximum,
    }})
}

#[test]
fn a_steady_service_that_stands_unevenly_is_balanced_in_the_words_of_ecs() {
    let mut stage = crowded(2, balanced());
    stage.run_to("balance", |world| {
        world
            .every_service()
            .all(|it| it.events[0].message.contains("is AZ balanced"))
    });
    assert_eq!(
        said(&stage),
        [
            "(service web) is not AZ balanced with 2 tasks in a, 0 tasks in b, 0 tasks in c. AZ Rebalancing in progress.",
            "(service web) has started 1 tasks in c to AZ Rebalance: (task T3).",
            "(service web) registered 1 targets in (target-group GROUP)",
            "(service web) has stopped 1 running tasks in a due to AZ rebalancing: (task T2).",
            "(service web) deregistered 1 targets in (target-group GROUP)",
            "(service web, taskSet ecs-svc/D1) has begun draining connections on 1 tasks.",
            "(service web) has reached a steady state.",
            "(service web) is AZ balanced with 1 tasks in a, 1 tasks in c, 0 tasks in b.",
        ]
    );
    let gone = stage.tasks().into_iter().find(|it| !it.is_wanted());
    let deployment = &stage.primary().id;
    let gone = gone.unwrap();
    assert_eq!(
        gone.stopped_reason.as_deref(),
        Some(
            format!("Availability-zone rebalancing initiated by (deployment {deployment})")
                .as_str()
        )
    );
    assert_eq!(gone.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    // That was all.
    let events = said(&stage).len();
    stage.run_for(3_600_000);
    assert_eq!((said(&stage).len(), counts(&stage)), (events, [1, 0, 1]));
}

#[test]
fn as_many_tasks_move_at_once_as_the_maximum_leaves_room_for() {
    for (maximum, most) in [(200, 4), (120, 1), (150, 3)] {
        let mut stage = crowded(6, percent(50, maximum));
        let mut seen = 0;
        while counts(&stage) != [2, 2, 2] || !stage.service().steady {
            stage.run_for(50);
            let tasks = stage.tasks();
            let wanted = tasks.iter().filter(|it| it.is_wanted()).count();
            seen = seen.max(wanted - 6);
            assert!(wanted >= 6, "one leaves before its successor is healthy");
        }
        assert_eq!(seen, most, "{maximum} %");
        let told = said(&stage);
        let count = |what: &str| told.iter().filter(|it| it.contains(what)).count();
        assert_eq!(count("is not AZ balanced"), 1, "{told:?}");
    }
}

#[test]
fn without_room_or_where_it_is_turned_off_nothing_moves() {
    for shape in [
        // 133 % of 2 leave no room for a third.
        percent(50, 133),
        json!({ "availabilityZoneRebalancing": "DISABLED" }),
        percent(50, 100),
    ] {
        let mut stage = crowded(2, shape);
        stage.run_for(3_600_000);
        assert_eq!((counts(&stage), said(&stage)), ([2, 0, 0], vec![]));
    }
}

#[test]
fn one_zone_more_or_less_is_even() {
    let mut stage = crowded(1, json!({}));
    stage.run_for(60_000);
    assert_eq!(said(&stage), [""; 0]);
}

#[test]
fn a_new_service_has_it_on_where_it_can_and_an_impossible_one_is_refused() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let kept = |stage: &Stage| stage.service().request["availabilityZoneRebalancing"].clone();
    stage.create(&one, 0, percent(0, 100));
    assert_eq!(kept(&stage), "DISABLED");
    let ask = |stage: &mut Stage, action, more| {
        let named = json!({ "service": "web", "serviceName": "other", "taskDefinition": one });
        stage.ask(action, with(named, more))
    };
    let refused = |what: &str| Refusal {
        code: "InvalidParameterException".to_owned(),
        message: format!(
            "The service couldn't be {what} because Availability Zone Rebalancing does not support maximumPercent <= 100 % as deployment configuration."
        ),
    };
    let on = json!({ "availabilityZoneRebalancing": "ENABLED" });
    let created = ask(
        &mut stage,
        Action::CreateService,
        with(percent(0, 100), on.clone()),
    );
    assert_eq!(created, Err(refused("created")));
    assert_eq!(
        ask(&mut stage, Action::UpdateService, on.clone()),
        Err(refused("updated"))
    );
    assert_eq!(kept(&stage), "DISABLED", "what was refused changed nothing");
    ask(
        &mut stage,
        Action::UpdateService,
        with(percent(100, 200), on),
    )
    .unwrap();
    assert_eq!(kept(&stage), "ENABLED");
    assert_eq!(
        ask(&mut stage, Action::UpdateService, percent(50, 100)),
        Err(refused("updated"))
    );
    assert_eq!(
        stage
            .world
            .service_deployments(&stage.service().arn)
            .count(),
        1,
        "no new deployment"
    );
    let off = json!({ "availabilityZoneRebalancing": "DISABLED" });
    ask(
        &mut stage,
        Action::UpdateService,
        with(percent(50, 100), off),
    )
    .unwrap();
    assert!(!stage.service().balance.enabled);
}

#[test]
fn protected_tasks_stay_where_they_are_and_the_service_says_so() {
    let mut stage = crowded(2, json!({}));
    let tasks: Vec<Arn> = stage.tasks().iter().map(|it| it.arn.clone()).collect();
    let protect = json!({ "tasks": tasks, "protectionEnabled": true, "expiresInMinutes": 1 });
    stage.ask(Action::UpdateTaskProtection, protect).unwrap();
    stage.run_for(30_000);
    assert_eq!(counts(&stage), [2, 0, 0]);
    assert_eq!(
        said(&stage),
        [
            "(service web) was unable to AZ Rebalance because (taskSet ecs-svc/D1) was unable to scale in due to (reason 2 tasks under protection)"
        ]
    );
    stage.run_for(60_000);
    assert_eq!(counts(&stage), [1, 0, 1]);
}

#[test]
fn a_deployment_ends_the_moves_under_way() {
    let mut stage = crowded(3, json!({}));
    stage.run_to("the first move", |world| {
        world.every_service().all(|it| !it.balance.moves.is_empty())
    });
    stage.crowds = false;
    stage.update(json!({ "forceNewDeployment": true }));
    assert!(stage.service().balance.moves.is_empty());
    assert!(said(&stage).contains(&"(service web) stopped AZ Rebalancing.".to_owned()));
    stage.run_to("completion", completed);
    let tasks = stage.tasks();
    assert_eq!(tasks.iter().filter(|it| it.is_wanted()).count(), 3);
}

#[test]
fn a_newcomer_that_never_gets_healthy_costs_nobody_its_place() {
    let mut stage = crowded(2, json!({}));
    stage.app(
        "app:1",
        App {
            pull_fails: 100,
            ..App::good()
        },
    );
    stage.run_for(30_000);
    assert_eq!(counts(&stage)[0], 2, "{}", stage.picture());
    assert_eq!(stage.primary().rollout_state, RolloutState::Completed);
    stage.app("app:1", App::good());
    stage.run_for(30_000);
    assert_eq!(counts(&stage), [1, 0, 1]);
}

#[test]
fn a_deployment_has_ended_before_anything_moves_however_quick_the_pace_is() {
    let pace = Pace {
        rebalance: 0,
        ..Pace::fast()
    };
    let mut stage = crowded_at(pace, 2, json!({}));
    assert_eq!(counts(&stage), [2, 0, 0]);
    stage.run_for(60_000);
    assert_eq!(counts(&stage), [1, 0, 1]);
}
