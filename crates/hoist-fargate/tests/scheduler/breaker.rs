//! The circuit breaker, rollback and restart back-off, each as a story on the stage.

use hoist_fargate::*;
use serde_json::json;

use crate::stage::*;

/// A service with `count` good tasks and the breaker on, and a second definition whose image is `app:2`.
fn standing(count: u32, more: serde_json::Value) -> (Stage, Arn, Arn) {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, count, with(breaker(true), more));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    (stage, one, two)
}

#[test]
fn a_deployment_that_keeps_failing_rolls_back_in_the_words_of_ecs() {
    let (mut stage, one, two) = standing(1, json!({}));
    stage.world.set_pace(Pace {
        verdict: 100,
        rollback: 1_000,
        ..Pace::fast()
    });
    let good = stage.primary().clone();
    stage.app("app:2", App::exiting(20, 1));
    stage.update(json!({ "taskDefinition": two }));
    let bad = stage.primary().clone();
    stage.run_to("the rollback", |world| {
        world
            .clusters(REGION)
            .flat_map(|it| world.services(&it.arn))
            .any(|it| it.deployments.iter().any(|it| it.is_rollback))
    });
    let service = stage.service();
    assert_eq!(
        service
            .deployments
            .iter()
            .map(|it| (it.status, it.rollout_state, it.rollout_state_reason.clone()))
            .collect::<Vec<_>>(),
        [
            (
                DeploymentStatus::Primary,
                RolloutState::InProgress,
                format!(
                    "ECS deployment circuit breaker: rolling back to deploymentId {}.",
                    good.id
                )
            ),
            (
                DeploymentStatus::Active,
                RolloutState::Failed,
                "ECS deployment circuit breaker: tasks failed to start.".to_owned()
            ),
        ]
    );
    assert_eq!(service.deployments[1].failed_tasks, 3);
    assert_eq!(
        stage.record().status,
        ServiceDeploymentStatus::RollbackInProgress
    );
    stage.run_to("completion", completed);
    assert_eq!(
        stage.story()[3..],
        [
            "(service web) has started 1 tasks: (task T2).",
            "(service web) has started 1 tasks: (task T3).",
            "(service web) has started 1 tasks: (task T4).",
            "(service web) has started 1 tasks: (task T5).",
            "(service web) (deployment ecs-svc/D2) deployment failed: tasks failed to start.",
            "(service web) rolling back to deployment ecs-svc/D1.",
            "(service web) stopped 1 pending tasks.",
            "(service web) (deployment ecs-svc/D1) deployment completed.",
            "(service web) has reached a steady state.",
        ]
    );
    let record = stage
        .world
        .service_deployment(&bad.service_deployment)
        .unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(record.target_revision.arn, bad.revision);
    assert_eq!(record.rollback.as_ref().unwrap().revision, good.revision);
    assert_eq!(record.breaker_status, BreakerStatus::Triggered);
    assert_eq!((record.failure_count, record.threshold), (3, 3));
    assert_eq!(stage.primary().id, good.id);
    assert_eq!(stage.primary().created_at, good.created_at);
    assert_eq!(stage.service().task_definition, one);
    // The task that served all the time still does.
    let served = stage.tasks()[0];
    assert_eq!(
        (served.status, &served.task_definition),
        (TaskStatus::Running, &one)
    );
    assert_eq!(stage.service().deployments.len(), 1);
}

#[test]
fn with_nothing_to_roll_back_to_it_stalls_and_launches_nothing() {
    let mut stage = Stage::new(1);
    stage.app("app:1", App::exiting(20, 1));
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 2, breaker(true));
    stage.run_to("the end", failed);
    let launched = stage.tasks().len();
    assert_eq!(
        stage.record().status,
        ServiceDeploymentStatus::RollbackFailed
    );
    stage.update(json!({ "desiredCount": 3 }));
    stage.run_for(300_000);
    assert_eq!(stage.tasks().len(), launched);
    assert_eq!(stage.service().running_count, 0);
    // A new deployment gets a new chance.
    let two = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("completion", completed);
    assert_eq!(stage.service().running_count, 3);
}

#[test]
fn without_rollback_the_old_tasks_go_on_serving() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, breaker(false));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    stage.app("app:2", App::exiting(20, 1));
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("the end", failed);
    stage.run_for(60_000);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Stopped);
    let running: Vec<_> = stage
        .tasks()
        .into_iter()
        .filter(|it| it.status == TaskStatus::Running)
        .map(|it| it.task_definition.clone())
        .collect();
    assert_eq!(running, [one.clone(), one]);
}

#[test]
fn tasks_that_never_run_trip_the_breaker_and_the_reason_of_each_is_announced() {
    let (mut stage, _, two) = standing(1, json!({}));
    stage.app(
        "app:2",
        App {
            pull_fails: 100,
            ..App::good()
        },
    );
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("completion", completed);
    let failed: Vec<_> = stage
        .tasks()
        .into_iter()
        .filter(|it| it.task_definition == two)
        .collect();
    assert_eq!(failed.len(), 3);
    for task in failed {
        assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
        let reason = "CannotPullContainerError: app:2: not found";
        assert_eq!(task.stopped_reason.as_deref(), Some(reason));
        assert_eq!(task.containers[0].reason.as_deref(), Some(reason));
        assert_eq!(task.started_at, None);
    }
    let said = "(service web) was unable to place a task. Reason: CannotPullContainerError: app:2: not found";
    assert_eq!(stage.story().iter().filter(|it| *it == said).count(), 3);
}

#[test]
fn failed_target_checks_trip_the_breaker_in_its_second_stage() {
    let (mut stage, one, two) = standing(2, balanced());
    stage.app(
        "app:2",
        App {
            target_fails: 100,
            ..App::good()
        },
    );
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("completion", completed);
    let record = stage
        .world
        .service_deployments(&stage.service().arn)
        .find(|it| it.rollback.is_some())
        .unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(stage.service().task_definition, one);
    let failed = stage
        .tasks()
        .into_iter()
        .filter(|it| it.unhealthy_at.is_some())
        .inspect(|it| {
            assert_eq!(
                it.stopped_reason,
                Some(format!(
                    "Task failed ELB health checks in (target-group {GROUP})"
                ))
            );
        })
        .count();
    assert!(failed >= 3, "{failed}");
}

#[test]
fn failed_container_checks_trip_the_breaker_too() {
    let mut stage = Stage::new(1);
    let checked = |image: &str| {
        json!([{ "name": "web", "image": image, "healthCheck": {
            "command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2
        }}])
    };
    let one = stage.register_with("web", checked("app:1"));
    stage.create(&one, 1, breaker(true));
    stage.run_to("completion", completed);
    assert_eq!(stage.tasks()[0].health, Health::Healthy);
    let two = stage.register_with("web", checked("app:2"));
    stage.app(
        "app:2",
        App {
            check_fails: 100,
            ..App::good()
        },
    );
    stage.update(json!({ "taskDefinition": two }));
    stage.run_to("completion", completed);
    assert_eq!(stage.service().task_definition, one);
    let failed: Vec<_> = stage
        .tasks()
        .into_iter()
        .filter(|it| it.task_definition == two)
        .collect();
    assert_eq!(failed.len(), 3);
    for task in failed {
        assert_eq!(
            task.stopped_reason.as_deref(),
            Some("Task failed container health checks")
        );
        assert_eq!(task.health, Health::Unhealthy);
    }
    assert!(
        stage
            .story()
            .contains(&"(service web) (task T2) failed container health checks.".to_owned())
    );
}

#[test]
fn a_healthy_task_resets_the_count_only_if_asked_to() {
    for (reset, expected) in [(true, 0), (false, 2)] {
        let mut stage = Stage::new(1);
        let one = stage.register("web", "app:1");
        stage.app("app:1", App::exiting(20, 1));
        stage.create(
            &one,
            1,
            json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": {
                "enable": true, "rollback": false, "resetOnHealthyTask": reset,
            }}}),
        );
        stage.run_to("two failures", |world| {
            world
                .clusters(REGION)
                .flat_map(|it| world.services(&it.arn))
                .any(|it| it.deployments[0].failed_tasks == 2)
        });
        stage.app("app:1", App::good());
        stage.run_to("completion", completed);
        assert_eq!(stage.primary().failed_tasks, expected);
    }
}

#[test]
fn a_task_that_was_healthy_and_exits_later_does_not_count() {
    let (mut stage, _, two) = standing(3, json!({}));
    // One of three dies again and again, but only after it had settled.
    stage.app(
        "app:2",
        App {
            exits: Some(((1_500, 1_500), 1)),
            exit_chance: 100,
            ..App::good()
        },
    );
    // Nothing resets the count, and the bake time keeps the deployment from its end.
    stage.update(json!({ "taskDefinition": two, "deploymentConfiguration": {
        "bakeTimeInMinutes": 60,
        "deploymentCircuitBreaker": { "enable": true, "rollback": true, "resetOnHealthyTask": false },
    }}));
    stage.run_for(20_000);
    assert_eq!(stage.service().task_definition, two);
    let newest = &stage.service().deployments[0];
    assert_eq!(newest.rollout_state, RolloutState::InProgress);
    assert_eq!(newest.failed_tasks, 0);
}

#[test]
fn stopping_a_service_deployment_rolls_it_back_even_without_the_breaker() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, balanced());
    let first = stage.record().arn.clone();
    let refused = stage.ask(
        Action::StopServiceDeployment,
        json!({ "serviceDeploymentArn": first }),
    );
    assert_eq!(refused.unwrap_err().code, "ConflictException");
    stage.run_to("completion", completed);
    let good = stage.primary().id.clone();
    let two = stage.register("web", "app:2");
    stage.app(
        "app:2",
        App {
            target: (60_000, 60_000),
            ..App::good()
        },
    );
    stage.update(json!({
        "taskDefinition": two,
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-2"] } },
    }));
    stage.run_for(1_000);
    let record = stage.record().arn.clone();
    let stop = json!({ "serviceDeploymentArn": record, "stopType": "ROLLBACK" });
    stage
        .ask(Action::StopServiceDeployment, stop.clone())
        .unwrap();
    // Asking again goes on with the rollback.
    stage.ask(Action::StopServiceDeployment, stop).unwrap();
    stage.run_to("completion", completed);
    assert_eq!(
        stage.world.service_deployment(&record).unwrap().status,
        ServiceDeploymentStatus::RollbackSuccessful
    );
    assert_eq!(stage.primary().id, good);
    assert_eq!(stage.service().request.get("networkConfiguration"), None);
    assert_eq!(stage.service().running_count, 2);
    assert!(
        stage
            .story()
            .contains(&"(service web) rolling back to deployment ecs-svc/D1.".to_owned())
    );
}

#[test]
fn launches_back_off_after_repeated_failures_up_to_the_cap() {
    let mut stage = Stage::new(1);
    stage.app("app:1", App::exiting(0, 1));
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_for(30_000);
    let failures: Vec<_> = stage.tasks().iter().map(|it| it.created_at).collect();
    let pauses: Vec<_> = failures.windows(2).map(|it| it[1] - it[0]).collect();
    // A life takes 170 ms: provisioned, pulled, started, gone.
    assert_eq!(pauses[..6], [170, 170, 670, 1_170, 2_170, 2_170]);
    assert!(stage.primary().rollout_state == RolloutState::InProgress);
    assert!(stage.primary().failed_tasks > 10);
}

/// A service that watches an alarm, with its first deployment done, and a second definition.
fn watching(rollback: bool) -> (Stage, Arn) {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let alarms = json!({ "alarmNames": ["errors"], "enable": true, "rollback": rollback });
    stage.create(
        &one,
        1,
        json!({ "deploymentConfiguration": { "alarms": alarms } }),
    );
    stage.run_to("completion", completed);
    stage.app(
        "app:2",
        App {
            pull: (60_000, 60_000),
            ..App::good()
        },
    );
    let two = stage.register("web", "app:2");
    (stage, two)
}

#[test]
fn an_alarm_fails_the_deployment_and_rolls_back_where_asked_to() {
    for rollback in [true, false] {
        let (mut stage, two) = watching(rollback);
        stage.happen(alarm(true));
        stage.happen(alarm(false));
        assert!(
            completed(&stage.world),
            "nothing is watched between deployments"
        );
        stage.update(json!({ "taskDefinition": two }));
        let record = stage.record().arn.clone();
        stage.run_for(5_000);
        stage.happen(alarm(true));
        let said = "(service web) (deployment ecs-svc/D2) deployment failed: alarm detected.";
        assert!(stage.story().iter().any(|it| it == said));
        stage.run_for(120_000);
        let record = stage.world.service_deployment(&record).unwrap();
        assert_eq!(record.triggered_alarms, ["errors"]);
        let (status, definition) = if rollback {
            (ServiceDeploymentStatus::RollbackSuccessful, "web:1")
        } else {
            (ServiceDeploymentStatus::Stopped, "web:2")
        };
        assert_eq!(record.status, status);
        assert!(stage.service().task_definition.ends_with(definition));
    }
}

#[test]
fn an_alarm_that_is_in_alarm_at_the_start_is_ignored() {
    let (mut stage, two) = watching(true);
    stage.happen(alarm(true));
    stage.update(json!({ "taskDefinition": two }));
    assert_eq!(stage.record().alarms, Vec::<String>::new());
    stage.happen(alarm(false));
    stage.happen(alarm(true));
    stage.run_to("completion", completed);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
}

#[test]
fn the_threshold_follows_the_latest_desired_count() {
    let (mut stage, _, two) = standing(2, json!({}));
    stage.app("app:2", App::exiting(20, 1));
    stage.update(json!({ "taskDefinition": two }));
    stage.update(json!({ "desiredCount": 20 }));
    let record = stage.record().arn.clone();
    stage.run_to("completion", completed);
    let record = stage.world.service_deployment(&record).unwrap();
    assert_eq!(record.threshold, 10);
    assert!(record.failure_count >= 10);
}

/// At Fargate's pace there is a time between the failures and the verdict.
#[test]
fn a_breaker_that_is_turned_off_before_its_verdict_does_not_trip() {
    let (mut stage, _, two) = standing(1, json!({}));
    stage.world.set_pace(Pace {
        verdict: 10_000,
        ..Pace::fast()
    });
    stage.app("app:2", App::exiting(20, 1));
    stage.update(json!({ "taskDefinition": two }));
    let failures = |world: &World| {
        let mut services = world.every_service();
        services.any(|it| it.deployments[0].failed_tasks == 3)
    };
    stage.run_to("three failures", failures);
    stage.update(json!({ "deploymentConfiguration": {
        "deploymentCircuitBreaker": { "enable": false, "rollback": false }
    }}));
    stage.run_for(60_000);
    assert_eq!(stage.primary().rollout_state, RolloutState::InProgress);
    stage.app("app:2", App::good());
    stage.run_to("completion", completed);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
}

#[test]
fn a_deployment_that_meets_its_early_success_criteria_completes_before_it_is_steady() {
    for (cleanup, deployments) in [("DEFERRED", 2), ("BLOCKING", 1)] {
        let mut stage = Stage::new(1);
        let one = stage.register("web", "app:1");
        let early = json!({
            "enable": true, "healthyPercent": 75, "sourceServiceRevisionCleanup": cleanup,
        });
        stage.create(
            &one,
            4,
            json!({ "deploymentConfiguration": {
                "minimumHealthyPercent": 50, "earlySuccessCriteria": early
            }}),
        );
        stage.run_to("completion", completed);
        stage.app(
            "app:1",
            App {
                stop: (20_000, 20_000),
                ..App::good()
            },
        );
        let two = stage.register("web", "app:2");
        stage.update(json!({ "taskDefinition": two }));
        stage.run_to("completion", completed);
        assert_eq!(stage.service().deployments.len(), deployments, "{cleanup}");
        let new = |it: &&&Task| it.task_definition == two && it.healthy_at.is_some();
        assert!(stage.tasks().iter().filter(new).count() >= 3, "{cleanup}");
        stage.run_for(60_000);
        let service = stage.service();
        assert_eq!((service.deployments.len(), service.running_count), (1, 4));
        assert!(service.steady);
        let steady = "(service web) has reached a steady state.";
        assert_eq!(stage.story().last().map(String::as_str), Some(steady));
    }
}

/// What a deployment goes back to is not given up, however often it fails.
#[test]
fn a_rollback_never_trips_the_breaker() {
    let (mut stage, _, two) = standing(1, json!({}));
    stage.app("app:2", App::exiting(20, 1));
    stage.app("app:1", App::exiting(20, 1));
    let old = stage.tasks()[0].arn.clone();
    stage.update(json!({ "taskDefinition": two }));
    stage.ask(Action::StopTask, json!({ "task": old })).unwrap();
    let record = stage.record().arn.clone();
    stage.run_for(120_000);
    assert!(stage.primary().is_rollback);
    assert!(stage.primary().failed_tasks > 3);
    assert_eq!(stage.primary().rollout_state, RolloutState::InProgress);
    let status = stage.world.service_deployment(&record).unwrap().status;
    assert_eq!(status, ServiceDeploymentStatus::RollbackInProgress);
}

#[test]
fn an_older_deployment_pauses_between_failed_launches_too() {
    let mut stage = Stage::at_pace(
        1,
        Pace {
            retry: 30_000,
            backoff_base: 30_000,
            backoff_cap: 30_000,
            ..Pace::fast()
        },
    );
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    stage.run_to("completion", completed);
    let slow = App {
        pull: (600_000, 600_000),
        ..App::good()
    };
    let broken = App {
        start_fails: 100,
        ..App::good()
    };
    stage.app("app:2", slow);
    stage.app("app:1", broken);
    let two = stage.register("web", "app:2");
    let victim = stage.tasks()[0].arn.clone();
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(1_000);
    let stop = json!({ "task": victim });
    stage.ask(Action::StopTask, stop).unwrap();
    stage.run_for(100_000);
    let old = |it: &&&Task| it.task_definition == one;
    let launched = stage.tasks().iter().filter(old).count() - 2;
    assert_eq!(launched, 4);
}
