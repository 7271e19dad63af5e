//! The rules of the rolling update, each as a story on the stage.

use hoist_fargate::*;
use serde_json::json;

use crate::stage::*;

#[test]
fn a_new_service_starts_its_tasks_and_reaches_a_steady_state() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 2, json!({}));
    stage.run_to("completion", completed);
    assert_eq!(
        stage.story(),
        [
            "(service web) has started 2 tasks: (task T1) (task T2).",
            "(service web) (deployment ecs-svc/D1) deployment completed.",
            "(service web) has reached a steady state.",
        ]
    );
    let service = stage.service();
    assert_eq!((service.running_count, service.pending_count), (2, 0));
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
    let id = &stage.primary().id;
    assert_eq!(
        stage.primary().rollout_state_reason,
        format!("ECS deployment {id} completed.")
    );
    for task in stage.tasks() {
        assert_eq!(task.started_by.as_ref(), Some(id));
        assert_eq!(task.group, "service:web");
        assert_eq!(
            task.containers[0].image_digest.as_deref(),
            Some("sha256:app:1")
        );
    }
}

#[test]
fn a_task_without_checks_counts_as_healthy_once_it_has_settled() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_to("running", |world| {
        world
            .clusters(REGION)
            .flat_map(|it| world.tasks(&it.arn))
            .any(|it| it.status == TaskStatus::Running)
    });
    let started = stage.tasks()[0].started_at.unwrap();
    stage.run_until(started + 999);
    assert!(!completed(&stage.world));
    stage.run_until(started + 1_000);
    assert!(completed(&stage.world));
}

#[test]
fn a_rolling_update_behind_a_load_balancer_replaces_one_by_one_in_the_words_of_ecs() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_to("completion", completed);
    let definition = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": definition }));
    assert_eq!(stage.service().deployments.len(), 2);
    stage.run_to("completion", completed);
    assert_eq!(
        stage.story(),
        [
            "(service web) has started 1 tasks: (task T1).",
            "(service web) registered 1 targets in (target-group GROUP)",
            "(service web) (deployment ecs-svc/D1) deployment completed.",
            "(service web) has reached a steady state.",
            "(service web) has started 1 tasks: (task T2).",
            "(service web) registered 1 targets in (target-group GROUP)",
            "(service web) has stopped 1 running tasks: (task T1).",
            "(service web) deregistered 1 targets in (target-group GROUP)",
            "(service web, taskSet ecs-svc/D1) has begun draining connections on 1 tasks.",
            "(service web) (deployment ecs-svc/D2) deployment completed.",
            "(service web) has reached a steady state.",
        ]
    );
    let tasks = stage.tasks();
    let old = tasks[0];
    assert_eq!(old.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    assert_eq!(
        old.stopped_reason.as_deref(),
        Some(
            format!(
                "Scaling activity initiated by (deployment {})",
                old.started_by.as_deref().unwrap()
            )
            .as_str()
        )
    );
    assert_eq!(old.containers[0].exit_code, Some(143));
    assert_eq!(stage.service().deployments.len(), 1);
}

#[test]
fn a_target_is_drained_before_its_task_gets_the_stop_signal() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_to("completion", completed);
    stage.commands.clear();
    stage.update(json!({ "desiredCount": 0 }));
    stage.run_for(60_000);
    let at = |which: fn(&Command) -> bool| {
        stage
            .commands
            .iter()
            .find(|(_, it)| which(it))
            .map(|(at, _)| *at)
            .unwrap()
    };
    let deregistered = at(|it| matches!(it, Command::DeregisterTarget { .. }));
    let stopped = at(|it| matches!(it, Command::StopContainer { .. }));
    assert_eq!(stopped - deregistered, 500);
    assert_eq!(stage.tasks()[0].status, TaskStatus::Stopped);
}

#[test]
fn without_headroom_old_tasks_go_first_as_far_as_the_minimum_allows() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    let halves = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": 50, "maximumPercent": 100
    }});
    stage.create(&definition, 4, halves);
    stage.run_to("completion", completed);
    let definition = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": definition }));
    stage.run_for(5);
    let wanted = stage.tasks().iter().filter(|it| it.is_wanted()).count();
    let old = stage
        .tasks()
        .iter()
        .filter(|it| it.is_wanted() && it.task_definition != definition)
        .count();
    assert_eq!(
        (wanted, old),
        (4, 4),
        "nothing stops before the images are resolved"
    );
    stage.run_for(10);
    let wanted = stage.tasks().iter().filter(|it| it.is_wanted()).count();
    let old = stage
        .tasks()
        .iter()
        .filter(|it| it.is_wanted() && it.task_definition != definition)
        .count();
    assert_eq!((wanted, old), (4, 2));
    stage.run_to("completion", completed);
}

#[test]
fn a_configuration_that_leaves_no_way_is_announced_once() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    let tight = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": 100, "maximumPercent": 125
    }});
    stage.create(&definition, 3, tight);
    stage.run_to("completion", completed);
    let definition = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": definition }));
    stage.run_for(600_000);
    let blocked = "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";
    assert_eq!(stage.story().iter().filter(|it| *it == blocked).count(), 1);
    assert_eq!(stage.service().running_count, 3);
    stage.update(json!({ "deploymentConfiguration": { "maximumPercent": 200 } }));
    stage.run_to("completion", completed);
    assert_eq!(stage.record().status, ServiceDeploymentStatus::Successful);
}

#[test]
fn an_unhealthy_task_is_replaced_before_it_is_stopped() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_to("completion", completed);
    let first = stage.tasks()[0].arn.clone();
    stage.happen(target_health(first.clone(), GROUP.to_owned(), 8080, false));
    assert!(stage.world.task(&first).unwrap().is_wanted());
    assert_eq!(stage.tasks().len(), 2);
    stage.run_to("steady state", |world| {
        world.every_service().all(|it| it.steady)
    });
    let old = stage.world.task(&first).unwrap();
    assert_eq!(
        old.status,
        TaskStatus::Deactivating,
        "what still drains is no matter"
    );
    assert_eq!(
        old.stopped_reason,
        Some(format!(
            "Task failed ELB health checks in (target-group {GROUP})"
        ))
    );
    assert_eq!(
        stage.story()[4..],
        [
            "(service web) has started 1 tasks: (task T2). Amazon ECS replaced 1 tasks due to an unhealthy status.",
            "(service web) registered 1 targets in (target-group GROUP)",
            "(service web) (task T1) (port 8080) is unhealthy in (target-group GROUP) due to (reason Health checks failed with these codes: [404]).",
            "(service web) has stopped 1 running tasks: (task T1).",
            "(service web) deregistered 1 targets in (target-group GROUP)",
            "(service web, taskSet ecs-svc/D1) has begun draining connections on 1 tasks.",
            "(service web) has reached a steady state.",
        ]
    );
}

/// A public log: the replacement's start, the failed checks and the stop come within 40 ms for a task that never was healthy.
#[test]
fn an_unhealthy_task_that_never_was_healthy_goes_as_soon_as_it_is_replaced() {
    let mut stage = Stage::new(1);
    let check = json!({ "command": ["CMD", "true"], "interval": 5, "retries": 1 });
    let container = json!([{ "name": "web", "image": "app:1", "healthCheck": check }]);
    let definition = stage.register_with("web", container);
    let failing = App {
        check_fails: 100,
        ..App::good()
    };
    stage.app("app:1", failing);
    stage.create(&definition, 1, json!({}));
    stage.run_for(6_000);
    assert_eq!(
        stage.story(),
        [
            "(service web) has started 1 tasks: (task T1).",
            "(service web) has started 1 tasks: (task T2). Amazon ECS replaced 1 tasks due to an unhealthy status.",
            "(service web) (task T1) failed container health checks.",
            "(service web) has stopped 1 running tasks: (task T1).",
        ]
    );
}

/// Public logs: UpdateService answers with a new PRIMARY that wants nothing yet.
#[test]
fn a_new_primary_wants_nothing_until_it_can_launch() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 2, json!({}));
    let wants = |stage: &Stage| {
        let of = stage.service().deployments.iter();
        of.map(|it| it.desired_count).collect::<Vec<_>>()
    };
    assert_eq!(wants(&stage), [0]);
    stage.run_to("completion", completed);
    assert_eq!(wants(&stage), [2]);
    stage.update(json!({ "forceNewDeployment": true }));
    assert_eq!(wants(&stage), [0, 2]);
    assert_eq!(stage.record().target_revision.requested, 0);
    stage.run_for(20);
    assert_eq!(wants(&stage), [2, 2]);
}

/// Public logs: the event comes again every 6 h while the service is steady.
#[test]
fn a_steady_service_says_so_every_six_hours() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_to("completion", completed);
    let first = stage.now;
    stage.run_for(13 * 3_600_000);
    let events = stage.service().events.iter();
    let steady = events.filter(|it| it.message.ends_with("has reached a steady state."));
    let hours: Vec<u64> = steady
        .map(|it| (it.created_at - first) / 3_600_000)
        .collect();
    assert_eq!(hours, [12, 6, 0]);
}

#[test]
fn an_unhealthy_target_is_ignored_during_the_grace_period() {
    let mut stage = Stage::new(1);
    stage.app(
        "app:1",
        App {
            target_fails: 100,
            ..App::good()
        },
    );
    let definition = stage.register("web", "app:1");
    stage.create(
        &definition,
        1,
        with(balanced(), json!({ "healthCheckGracePeriodSeconds": 30 })),
    );
    stage.run_for(20_000);
    assert_eq!(stage.tasks().len(), 1);
    let first = stage.tasks()[0];
    assert_eq!(first.targets[0].state, TargetState::Unhealthy);
    assert_eq!(first.unhealthy_at, None);
    let over = first.started_at.unwrap() + 30_000;
    stage.run_until(over);
    assert_eq!(stage.tasks()[0].unhealthy_at, Some(over));
}

#[test]
fn scaling_in_and_out_needs_no_deployment() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_to("completion", completed);
    let deployment = stage.primary().id.clone();
    stage.update(json!({ "desiredCount": 4 }));
    stage.run_for(10_000);
    assert_eq!(stage.service().running_count, 4);
    stage.update(json!({ "desiredCount": 2 }));
    stage.run_for(10_000);
    assert_eq!(stage.service().running_count, 2);
    assert_eq!(stage.primary().id, deployment);
    assert_eq!(
        stage
            .world
            .service_deployments(&stage.service().arn)
            .count(),
        1
    );
    let steady = stage
        .story()
        .iter()
        .filter(|it| it.ends_with("has reached a steady state."))
        .count();
    assert_eq!(steady, 3);
}

#[test]
fn an_update_that_changes_nothing_that_runs_starts_no_deployment_unless_forced() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_to("completion", completed);
    let first = stage.primary().id.clone();
    stage.update(json!({ "taskDefinition": definition, "enableExecuteCommand": true }));
    assert_eq!(stage.primary().id, first);
    stage.update(json!({ "forceNewDeployment": true }));
    assert_ne!(stage.primary().id, first);
    stage.run_to("completion", completed);
    let tasks = stage.tasks();
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0].status, TaskStatus::Stopped);
}

#[test]
fn a_newer_update_supersedes_the_one_in_flight() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    stage.app("app:2", App::exiting(50, 1));
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(300);
    let superseded = stage.record().arn.clone();
    let three = stage.register("web", "app:3");
    stage.update(json!({ "taskDefinition": three }));
    assert_eq!(
        stage.world.service_deployment(&superseded).unwrap().status,
        ServiceDeploymentStatus::Stopped
    );
    stage.run_to("completion", completed);
    assert!(
        stage
            .tasks()
            .iter()
            .filter(|it| it.is_wanted())
            .all(|it| it.task_definition == three)
    );
}

#[test]
fn a_task_of_an_older_deployment_that_dies_is_replaced_within_its_own_revision() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    stage.app(
        "app:2",
        App {
            pull: (60_000, 60_000),
            ..App::good()
        },
    );
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(1_000);
    let victim = stage.tasks()[0].clone();
    assert_eq!(victim.task_definition, one);
    // The maximum leaves no room while both new ones are pending, but the dead one made some.
    stage.happen(Event::ContainerExited {
        task: victim.arn.clone(),
        container: "web".to_owned(),
        exit_code: 1,
        oom: false,
    });
    stage.run_for(5_000);
    let of_one = stage
        .tasks()
        .iter()
        .filter(|it| it.status == TaskStatus::Running && it.task_definition == one)
        .count();
    assert_eq!(of_one, 2);
    stage.run_to("completion", completed);
}

#[test]
fn a_deleted_service_drains_and_becomes_inactive() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 2, balanced());
    stage.run_to("completion", completed);
    let refused = stage.ask(Action::DeleteService, json!({ "service": "web" }));
    assert_eq!(
        refused.unwrap_err().message,
        "The service cannot be stopped while it is scaled above 0."
    );
    stage
        .ask(
            Action::DeleteService,
            json!({ "service": "web", "force": true }),
        )
        .unwrap();
    assert_eq!(stage.service().status, ServiceStatus::Draining);
    stage.run_for(10_000);
    assert_eq!(stage.service().status, ServiceStatus::Inactive);
    assert!(
        stage
            .tasks()
            .iter()
            .all(|it| it.status == TaskStatus::Stopped)
    );
    // The name is free again.
    stage.create(&definition, 1, json!({}));
    stage.run_to("completion", completed);
    assert_eq!(stage.service().running_count, 1);
}

#[test]
fn tags_are_resolved_once_for_a_whole_deployment() {
    let mut stage = Stage::new(1);
    stage.tags.insert("app:1".into(), "sha256:first".into());
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    stage.run_to("completion", completed);
    stage.tags.insert("app:1".into(), "sha256:second".into());
    stage.update(json!({ "desiredCount": 3 }));
    stage.run_for(10_000);
    assert!(
        stage
            .tasks()
            .iter()
            .all(|it| it.containers[0].image_digest.as_deref() == Some("sha256:first"))
    );
    stage.update(json!({ "forceNewDeployment": true }));
    stage.run_to("completion", completed);
    assert!(
        stage
            .tasks()
            .iter()
            .filter(|it| it.is_wanted())
            .all(|it| it.containers[0].image_digest.as_deref() == Some("sha256:second"))
    );
    let revision = stage
        .world
        .service_revision(&stage.primary().revision)
        .unwrap();
    assert_eq!(revision.image_digests["web"], "sha256:second");
}

#[test]
fn a_deployment_bakes_before_it_is_completed() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(
        &definition,
        1,
        json!({ "deploymentConfiguration": { "bakeTimeInMinutes": 2 } }),
    );
    stage.run_to("completion", completed);
    let healthy = stage.tasks()[0].healthy_at.unwrap();
    assert_eq!(stage.record().finished_at, Some(healthy + 120_000));
}

#[test]
fn the_newest_hundred_events_are_kept_and_conditions_repeat_after_six_hours() {
    let mut stage = Stage::new(1);
    stage.app(
        "app:1",
        App {
            pull_fails: 100,
            pull: (60_000, 60_000),
            ..App::good()
        },
    );
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, json!({}));
    let said = |stage: &Stage| {
        let announced = &stage.service().announced;
        announced
            .iter()
            .find(|(condition, _)| *condition == "inconsistent")
            .map(|(_, at)| *at)
    };
    let count = |stage: &Stage, what: &str| {
        let story = stage.story();
        story.iter().filter(|it| it.contains(what)).count()
    };
    stage.run_for(200_000);
    assert_eq!(count(&stage, "was unable to place a task."), 3);
    assert_eq!(said(&stage), None, "three in a row are not enough");
    stage.run_for(600_000);
    let first = said(&stage).unwrap();
    assert!(count(&stage, "was unable to place a task.") > 8, "each");
    assert_eq!(count(&stage, "is unable to consistently start tasks"), 1);
    stage.run_for(5 * 3_600_000);
    assert_eq!(said(&stage), Some(first));
    assert_eq!(stage.service().events.len(), 100);
    stage.run_for(2 * 3_600_000);
    assert!(said(&stage).unwrap() >= first + 6 * 3_600_000);
    let newest = stage.service().events.front().unwrap().created_at;
    assert!(newest > stage.now - 70_000);
}

#[test]
fn tasks_carry_the_tags_that_are_propagated_to_them() {
    let tag = |key: &str, value: &str| json!({ "key": key, "value": value });
    for (propagate, expected) in [
        ("NONE", json!(null)),
        ("SERVICE", json!([tag("of", "service")])),
        ("TASK_DEFINITION", json!([tag("of", "definition")])),
    ] {
        let mut stage = Stage::new(1);
        stage
            .ask(
                Action::RegisterTaskDefinition,
                json!({
                    "family": "web",
                    "containerDefinitions": [{ "name": "web", "image": "app:1" }],
                    "tags": [tag("of", "definition")],
                }),
            )
            .unwrap();
        stage.create(
            "web",
            1,
            json!({ "propagateTags": propagate, "tags": [tag("of", "service")] }),
        );
        stage.run_to("completion", completed);
        let tags = stage.tasks()[0].request.get("tags").cloned();
        assert_eq!(tags.unwrap_or_default(), expected, "{propagate}");
    }
}

#[test]
fn after_a_restart_tasks_have_stopped_truthfully_and_services_converge() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 2, with(balanced(), breaker(true)));
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(100);
    for _ in 0..5 {
        stage.restart();
        stage.run_for(100);
    }
    for task in stage.tasks() {
        if task.stop_code.is_some() {
            assert_eq!(task.stop_code, Some(StopCode::InfrastructureHealth));
            assert_eq!(
                task.stopped_reason.as_deref(),
                Some("The host that ran this task was restarted")
            );
        }
    }
    stage.run_to("completion", completed);
    assert_eq!(stage.primary().failed_tasks, 0);
    assert_eq!(stage.primary().task_definition, two);
    assert_eq!(stage.service().running_count, 2);
}

fn protect(stage: &mut Stage, task: &str, minutes: u64) -> Vec<Arn> {
    let request = json!({
        "tasks": [task], "protectionEnabled": minutes > 0, "expiresInMinutes": minutes.max(1),
    });
    match stage.ask(Action::UpdateTaskProtection, request) {
        Ok(Answer::Tasks(tasks)) => tasks,
        other => panic!("protected {other:?}"),
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection.html>
#[test]
fn a_protected_task_is_spared_until_its_time_is_over_by_scaling_in_and_by_deployments() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 3, json!({}));
    stage.run_to("completion", completed);
    // Scaling in would take the newest.
    let newest = stage.tasks().last().unwrap().arn.clone();
    assert_eq!(
        protect(&mut stage, &newest, 1),
        std::slice::from_ref(&newest)
    );
    stage.update(json!({ "desiredCount": 1 }));
    stage.run_for(20_000);
    let wanted = |stage: &Stage| -> Vec<Arn> {
        let tasks = stage.tasks();
        tasks
            .iter()
            .filter(|it| it.is_wanted())
            .map(|it| it.arn.clone())
            .collect()
    };
    assert_eq!(wanted(&stage), std::slice::from_ref(&newest));
    // A deployment waits for it.
    let two = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(20_000);
    assert!(wanted(&stage).contains(&newest), "{}", stage.picture());
    assert_eq!(stage.primary().rollout_state, RolloutState::InProgress);
    let said = "(service web) was unable to reach steady state because (taskSet ecs-svc/D1) was unable to scale in due to (reason 1 tasks under protection)";
    assert_eq!(stage.story().iter().filter(|it| *it == said).count(), 1);
    // No further one is protected meanwhile.
    let new = wanted(&stage).into_iter().find(|it| *it != newest).unwrap();
    assert_eq!(protect(&mut stage, &new, 1), [""; 0]);
    stage.run_for(30_000);
    assert_eq!(wanted(&stage), std::slice::from_ref(&new));
    assert!(completed(&stage.world), "{}", stage.picture());
    assert_eq!(
        stage.world.task(&newest).and_then(|it| it.protected_until),
        None
    );
    // And the protection can be ended early.
    protect(&mut stage, &new, 2_880);
    stage.update(json!({ "desiredCount": 0 }));
    stage.run_for(5_000);
    assert_eq!(wanted(&stage), std::slice::from_ref(&new));
    protect(&mut stage, &new, 0);
    stage.run_for(5_000);
    assert_eq!(wanted(&stage), [""; 0]);
    for minutes in [0, 2_881] {
        let request =
            json!({ "tasks": [new], "protectionEnabled": true, "expiresInMinutes": minutes });
        let refused = stage
            .ask(Action::UpdateTaskProtection, request)
            .unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException");
    }
}

#[test]
fn where_there_is_no_room_for_a_replacement_the_unhealthy_task_makes_it() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let tight = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": 50, "maximumPercent": 100
    }});
    stage.create(&one, 2, with(balanced(), tight));
    stage.run_to("completion", completed);
    let sick = stage.tasks()[0].arn.clone();
    stage.happen(target_health(sick.clone(), GROUP.to_owned(), 8080, false));
    stage.run_for(60_000);
    assert_eq!(stage.world.task(&sick).unwrap().status, TaskStatus::Stopped);
    assert_eq!(stage.service().running_count, 2);
    assert!(stage.service().steady);
}

#[test]
fn an_older_deployment_is_to_keep_what_the_minimum_asks() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let tight = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": 50, "maximumPercent": 100
    }});
    stage.create(&one, 4, tight);
    stage.run_to("completion", completed);
    let two = stage.register("web", "app:2");
    stage.update(json!({ "taskDefinition": two }));
    stage.run_for(50);
    let old = &stage.service().deployments[1];
    assert_eq!((old.desired_count, old.running_count), (2, 2));
}

#[test]
fn a_deployment_completes_only_when_nothing_of_the_service_stops_any_more() {
    let mut stage = Stage::new(1);
    let slow = App {
        stop: (20_000, 20_000),
        ..App::good()
    };
    stage.app("app:1", slow);
    let one = stage.register("web", "app:1");
    stage.create(&one, 3, json!({}));
    stage.run_for(500);
    assert_eq!(stage.service().running_count, 3);
    stage.update(json!({ "desiredCount": 2 }));
    stage.run_for(10_000);
    assert_eq!(stage.primary().rollout_state, RolloutState::InProgress);
    stage.run_for(15_000);
    assert_eq!(stage.primary().rollout_state, RolloutState::Completed);
}

#[test]
fn what_protected_tasks_hold_up_is_not_put_down_to_the_percentages() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let tight = json!({ "deploymentConfiguration": {
        "minimumHealthyPercent": 50, "maximumPercent": 100
    }});
    stage.create(&one, 2, tight);
    stage.run_to("completion", completed);
    let tasks: Vec<Arn> = stage.tasks().iter().map(|it| it.arn.clone()).collect();
    let protect = json!({ "tasks": tasks, "protectionEnabled": true });
    stage.ask(Action::UpdateTaskProtection, protect).unwrap();
    stage.update(json!({ "forceNewDeployment": true }));
    stage.run_for(10_000);
    let story = stage.story();
    let told = |what: &str| story.iter().any(|it| it.contains(what));
    assert!(told("tasks under protection"), "{story:?}");
    assert!(!told("was unable to stop or start tasks"), "{story:?}");
}
