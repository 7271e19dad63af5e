//! The life of single tasks, each as a story on the stage.

use hoist_fargate::*;
use serde_json::{Value, json};

use crate::stage::*;

fn run(stage: &mut Stage, definition: &str) -> Arn {
    let request = json!({ "taskDefinition": definition, "startedBy": "me" });
    match stage.ask(Action::RunTask, request) {
        Ok(Answer::Tasks(arns)) => arns[0].clone(),
        other => panic!("run {other:?}"),
    }
}

/// The commands that were given about containers, as words.
fn doings(stage: &Stage) -> Vec<String> {
    stage
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::StartContainer { container, .. } => Some(format!("start {container}")),
            Command::StopContainer { container, .. } => Some(format!("stop {container}")),
            Command::RemoveTask { .. } => Some("remove".to_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_standalone_task_lives_and_ends_with_the_exit_code_of_its_container() {
    let mut stage = Stage::new(1);
    stage.app("job:1", App::exiting(5_000, 3));
    let definition = stage.register("job", "job:1");
    let arn = run(&mut stage, &definition);
    let began = stage.now;
    stage.run_for(60_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(task.status, TaskStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(
        task.stopped_reason.as_deref(),
        Some("Essential container in task exited")
    );
    assert_eq!(task.containers[0].exit_code, Some(3));
    assert_eq!(task.group, "family:job");
    assert_eq!(task.started_by.as_deref(), Some("me"));
    let since = |at: Option<Millis>| at.unwrap() - began;
    assert_eq!(
        [
            since(task.connectivity_at),
            since(task.pull_started_at),
            since(task.pull_stopped_at),
            since(task.started_at),
            since(task.stopping_at),
            since(task.execution_stopped_at),
            since(task.stopped_at),
        ],
        [20, 20, 120, 170, 5_170, 5_170, 5_190]
    );
}

#[test]
fn a_task_stopped_by_a_user_says_so() {
    let mut stage = Stage::new(1);
    let definition = stage.register("job", "job:1");
    for (reason, said) in [
        (json!({}), "Task stopped by user"),
        (json!({ "reason": "enough" }), "enough"),
    ] {
        let arn = run(&mut stage, &definition);
        stage.run_for(5_000);
        stage
            .ask(Action::StopTask, with(json!({ "task": arn }), reason))
            .unwrap();
        stage.run_for(5_000);
        let task = stage.world.task(&arn).unwrap();
        assert_eq!(task.status, TaskStatus::Stopped);
        assert_eq!(task.stop_code, Some(StopCode::UserInitiated));
        assert_eq!(task.stopped_reason.as_deref(), Some(said));
        assert_eq!(task.containers[0].exit_code, Some(143));
    }
}

#[test]
fn a_task_can_be_stopped_at_every_moment_of_its_life() {
    for after in (0..300).step_by(5) {
        let mut stage = Stage::new(after);
        let definition = stage.register("job", "job:1");
        let arn = run(&mut stage, &definition);
        stage.run_for(after);
        stage.ask(Action::StopTask, json!({ "task": arn })).unwrap();
        stage.run_for(5_000);
        let task = stage.world.task(&arn).unwrap();
        assert_eq!(task.status, TaskStatus::Stopped, "after {after} ms");
        assert_eq!(doings(&stage).last().map(String::as_str), Some("remove"));
    }
}

fn ordered(condition: &str, essential: bool) -> Value {
    json!([
        { "name": "web", "image": "web:1", "dependsOn": [
            { "containerName": "first", "condition": condition }
        ]},
        { "name": "first", "image": "first:1", "essential": essential,
          "healthCheck": { "command": ["CMD", "true"], "interval": 5 } },
    ])
}

#[test]
fn containers_start_in_the_order_of_their_dependencies_and_stop_in_reverse() {
    let mut stage = Stage::new(1);
    let definition = stage.register_with("job", ordered("START", true));
    let arn = run(&mut stage, &definition);
    stage.run_for(2_000);
    stage.ask(Action::StopTask, json!({ "task": arn })).unwrap();
    stage.run_for(5_000);
    assert_eq!(
        doings(&stage),
        [
            "start first",
            "start web",
            "stop web",
            "stop first",
            "remove"
        ]
    );
}

#[test]
fn a_dependency_on_health_waits_for_the_first_passed_check() {
    let mut stage = Stage::new(1);
    let definition = stage.register_with("job", ordered("HEALTHY", true));
    let arn = run(&mut stage, &definition);
    stage.run_for(5_000);
    assert_eq!(doings(&stage), ["start first"]);
    assert_eq!(
        stage.world.task(&arn).unwrap().status,
        TaskStatus::Activating
    );
    stage.run_for(1_000);
    assert_eq!(doings(&stage), ["start first", "start web"]);
    assert_eq!(stage.world.task(&arn).unwrap().status, TaskStatus::Running);
}

#[test]
fn a_dependency_on_success_waits_for_exit_code_zero() {
    for (code, started) in [(0, true), (1, false)] {
        let mut stage = Stage::new(1);
        stage.app("first:1", App::exiting(1_000, code));
        let definition = stage.register_with("job", ordered("SUCCESS", false));
        let arn = run(&mut stage, &definition);
        stage.run_for(5_000);
        let task = stage.world.task(&arn).unwrap();
        assert_eq!(
            doings(&stage).contains(&"start web".to_owned()),
            started,
            "exit code {code}"
        );
        if !started {
            assert_eq!(task.status, TaskStatus::Stopped);
            assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
            assert_eq!(
                task.stopped_reason.as_deref(),
                Some(
                    "dependency graph: failed to resolve container ordering dependency [first] for target [web] as dependency did not exit successfully."
                )
            );
        }
    }
}

#[test]
fn a_dependency_on_completion_takes_any_exit_code() {
    let mut stage = Stage::new(1);
    stage.app("first:1", App::exiting(1_000, 9));
    let definition = stage.register_with("job", ordered("COMPLETE", false));
    let arn = run(&mut stage, &definition);
    stage.run_for(5_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(task.status, TaskStatus::Running);
    assert_eq!(task.container("first").unwrap().exit_code, Some(9));
}

#[test]
fn a_dependency_that_takes_longer_than_its_start_timeout_fails_the_task() {
    let mut stage = Stage::new(1);
    let mut containers = ordered("COMPLETE", false);
    containers[1]["startTimeout"] = json!(2);
    let definition = stage.register_with("job", containers);
    let arn = run(&mut stage, &definition);
    stage.run_for(60_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(task.status, TaskStatus::Stopped);
    let first = task.container("first").unwrap();
    assert_eq!(task.stopping_at.unwrap(), first.started_at.unwrap() + 2_000);
}

#[test]
fn a_container_that_is_not_essential_may_go_while_the_task_stays() {
    let mut stage = Stage::new(1);
    stage.app("side:1", App::exiting(1_000, 1));
    let definition = stage.register_with(
        "job",
        json!([
            { "name": "web", "image": "web:1" },
            { "name": "side", "image": "side:1", "essential": false },
        ]),
    );
    let arn = run(&mut stage, &definition);
    stage.run_for(60_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(task.status, TaskStatus::Running);
    assert_eq!(
        task.container("side").unwrap().status,
        ContainerStatus::Stopped
    );
}

#[test]
fn an_essential_container_takes_the_others_with_it() {
    let mut stage = Stage::new(1);
    stage.app("web:1", App::exiting(1_000, 1));
    let definition = stage.register_with(
        "job",
        json!([
            { "name": "web", "image": "web:1" },
            { "name": "side", "image": "side:1", "essential": false, "stopTimeout": 7 },
        ]),
    );
    let arn = run(&mut stage, &definition);
    stage.run_for(60_000);
    assert_eq!(
        stage.world.task(&arn).unwrap().stop_code,
        Some(StopCode::EssentialContainerExited)
    );
    assert!(stage.commands.iter().any(|(_, it)| matches!(
        it,
        Command::StopContainer { container, timeout: 7_000, .. } if container == "side"
    )));
}

#[test]
fn a_container_killed_for_its_memory_says_so() {
    let mut stage = Stage::new(1);
    stage.app(
        "job:1",
        App {
            oom: true,
            ..App::exiting(1_000, 137)
        },
    );
    let definition = stage.register("job", "job:1");
    let arn = run(&mut stage, &definition);
    stage.run_for(60_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(
        task.containers[0].reason.as_deref(),
        Some("OutOfMemoryError: Container killed due to memory usage")
    );
    assert_eq!(task.containers[0].exit_code, Some(137));
}

#[test]
fn a_container_that_cannot_start_fails_its_task() {
    let mut stage = Stage::new(1);
    stage.app(
        "job:1",
        App {
            start_fails: 100,
            ..App::good()
        },
    );
    let definition = stage.register("job", "job:1");
    let arn = run(&mut stage, &definition);
    stage.run_for(60_000);
    let task = stage.world.task(&arn).unwrap();
    assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
    assert_eq!(
        task.stopped_reason.as_deref(),
        Some("CannotStartContainerError: exec format error")
    );
    assert_eq!(doings(&stage), ["start web", "remove"]);
}

#[test]
fn health_checks_run_at_their_interval_and_the_start_period_forgives() {
    let mut stage = Stage::new(1);
    stage.app(
        "job:1",
        App {
            check_fails: 100,
            ..App::good()
        },
    );
    let definition = stage.register_with(
        "job",
        json!([{ "name": "web", "image": "job:1", "healthCheck": {
            "command": ["CMD-SHELL", "curl -f localhost"],
            "interval": 10, "timeout": 3, "retries": 2, "startPeriod": 15
        }}]),
    );
    let arn = run(&mut stage, &definition);
    stage.run_to("unhealthy", |world| {
        world
            .task(&arn)
            .is_some_and(|it| it.health == Health::Unhealthy)
    });
    let task = stage.world.task(&arn).unwrap();
    let started = task.containers[0].started_at.unwrap();
    let checks: Vec<_> = stage
        .commands
        .iter()
        .filter(|(_, it)| {
            matches!(it, Command::RunHealthCheck { command, timeout: 3_000, .. }
                if command == &["CMD-SHELL", "curl -f localhost"])
        })
        .map(|(at, _)| at - started)
        .collect();
    // The first falls into the start period; each answer takes 20 ms.
    assert_eq!(checks, [10_000, 20_020, 30_040]);
    // A standalone task is only reported; nobody replaces it.
    assert!(task.is_wanted());
    stage.app("job:1", App::good());
    stage.run_for(11_000);
    assert_eq!(stage.world.task(&arn).unwrap().health, Health::Healthy);
}

#[test]
fn a_task_whose_container_exited_does_not_wait_for_its_target_to_drain() {
    let mut stage = Stage::new(1);
    stage.app(
        "app:1",
        App {
            exits: Some(((2_000, 2_000), 1)),
            exit_chance: 100,
            drain: (300_000, 300_000),
            ..App::good()
        },
    );
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_for(3_000);
    let first = stage.tasks()[0];
    assert_eq!(first.status, TaskStatus::Stopped);
    assert!(first.targets[0].deregistered_at.is_some());
}

#[test]
fn a_target_group_that_refuses_fails_the_task_and_the_service_says_why() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_to("registration", |world| {
        world
            .clusters(REGION)
            .flat_map(|it| world.tasks(&it.arn))
            .any(|it| it.targets.iter().any(|it| it.registered_at.is_some()))
    });
    let task = stage.tasks()[0].arn.clone();
    stage.happen(Event::TargetRefused {
        task: task.clone(),
        target_group: GROUP.to_owned(),
        port: 8080,
        reason: "TargetGroupNotFound".to_owned(),
    });
    assert_eq!(
        stage.world.task(&task).unwrap().stop_code,
        Some(StopCode::TaskFailedToStart)
    );
    assert_eq!(stage.primary().failed_tasks, 1);
    assert!(stage.story().iter().any(|it| it
        == "(service web) failed to register targets in (target-group GROUP) with (error TargetGroupNotFound)"));
}

#[test]
fn stopped_tasks_are_forgotten_after_an_hour() {
    let mut stage = Stage::new(1);
    let definition = stage.register("job", "job:1");
    let arn = run(&mut stage, &definition);
    stage.run_for(1_000);
    stage.ask(Action::StopTask, json!({ "task": arn })).unwrap();
    stage.run_for(3_599_000);
    assert!(stage.world.task(&arn).is_some());
    stage.run_for(10_000);
    assert!(stage.world.task(&arn).is_none());
    assert_eq!(stage.world.next_wakeup(), None);
}

#[test]
fn late_and_repeated_reports_change_nothing() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    stage.create(&definition, 1, balanced());
    stage.run_to("completion", completed);
    let task = stage.tasks()[0].clone();
    let (arn, container) = (task.arn.clone(), "web".to_owned());
    for event in [
        Event::TaskProvisioned {
            task: arn.clone(),
            ip: "10.9.9.9".into(),
            availability_zone: "x".into(),
            zones: vec!["y".into()],
            attachments: vec![],
        },
        Event::ImagePulled {
            task: arn.clone(),
            container: container.clone(),
            digest: Some("sha256:other".into()),
        },
        Event::PullFailed {
            task: arn.clone(),
            container: container.clone(),
            reason: "late".into(),
        },
        Event::ContainerStarted {
            task: arn.clone(),
            container: container.clone(),
            runtime_id: "other".into(),
        },
        Event::StartFailed {
            task: arn.clone(),
            container,
            reason: "late".into(),
        },
        Event::TaskRemoved { task: arn.clone() },
        Event::TargetDrained {
            task: arn.clone(),
            target_group: GROUP.into(),
            port: 8080,
        },
        Event::TaskRemoved {
            task: "arn:of:nothing".into(),
        },
    ] {
        stage.happen(event);
        assert_eq!(stage.world.task(&arn), Some(&task));
    }
}

#[test]
fn a_spot_task_that_is_interrupted_says_so_and_is_replaced_without_counting_as_a_failure() {
    let mut stage = Stage::new(1);
    let definition = stage.register("web", "app:1");
    let strategy = json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]);
    stage.create(
        &definition,
        1,
        json!({ "capacityProviderStrategy": strategy }),
    );
    stage.run_for(500);
    let task = stage.tasks()[0].arn.clone();
    stage.happen(Event::SpotInterrupted { task: task.clone() });
    stage.run_for(10_000);
    let stopped = stage.world.task(&task).unwrap();
    assert_eq!(stopped.capacity_provider.as_deref(), Some("FARGATE_SPOT"));
    assert_eq!(stopped.stop_code, Some(StopCode::SpotInterruption));
    assert_eq!(
        stopped.stopped_reason.as_deref(),
        Some("Your Spot Task was interrupted.")
    );
    assert_eq!(stopped.containers[0].exit_code, Some(143));
    assert_eq!(stage.service().running_count, 1);
    assert_eq!(stage.primary().failed_tasks, 0);
}

/// What an older release wrote lacks the members that came later, and may have some that went.
#[test]
fn records_of_an_older_release_are_read() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, balanced());
    stage.run_to("completion", completed);
    let service = stage.service().arn.clone();
    let record = |kind: Kind, key: &str| {
        let json = stage.world.record(kind, key).unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let members = record.as_object_mut().unwrap();
        for newer in [
            "task_sets",
            "unsettled",
            "protected_until",
            "capacity_provider",
            "alarms",
        ] {
            members.remove(newer);
        }
        members.insert("gone".to_owned(), json!({ "of": "an older release" }));
        (kind, key.to_owned(), serde_json::to_vec(&record).unwrap())
    };
    let mut records = vec![record(Kind::Settings, ""), record(Kind::Service, &service)];
    records.push(record(Kind::TaskDefinition, &one));
    let revision = stage.primary().revision.clone();
    records.push(record(Kind::ServiceRevision, &revision));
    records.extend(stage.tasks().iter().map(|it| record(Kind::Task, &it.arn)));
    let cluster = stage.world.find_cluster(REGION, None).unwrap().arn.clone();
    records.push(record(Kind::Cluster, &cluster));
    let mut world = World::restore(records).unwrap();
    let commands = step(&mut world, Event::Restarted, stage.now);
    let launched = commands
        .iter()
        .filter(|it| matches!(it, Command::ProvisionTask { .. }));
    assert_eq!(launched.count(), 2, "the service comes back");
    let broken = vec![(Kind::Task, "x".to_owned(), b"7".to_vec())];
    let refused = World::restore(broken).unwrap_err();
    assert_eq!(refused.to_string(), "cannot read the stored task \"x\"");
}

#[test]
fn what_service_connect_offers_must_be_a_named_port() {
    let mut stage = Stage::new(1);
    let port = |port: Value| json!([{ "name": "web", "image": "app:1", "portMappings": [{ "containerPort": 80 }, port] }]);
    let named = port(json!({ "containerPort": 8080, "name": "http" }));
    let named = stage.register_with("web", named);
    let nameless = stage.register_with("web", port(json!({ "containerPort": 8080 })));
    let connect = json!({ "serviceConnectConfiguration": {
        "enabled": true, "services": [{ "portName": "http" }],
    } });
    let ask = |definition: &str| {
        let service = json!({ "serviceName": "web", "taskDefinition": definition });
        with(service, connect.clone())
    };
    let message =
        "portName(http) does not refer to any named PortMapping in the container definitions";
    let refused = stage.ask(Action::CreateService, ask(&nameless));
    assert_eq!(refused.unwrap_err(), invalid(message));
    stage.ask(Action::CreateService, ask(&named)).unwrap();
    let update = json!({ "service": "web", "taskDefinition": nameless });
    let refused = stage.ask(Action::UpdateService, update.clone());
    assert_eq!(refused.unwrap_err(), invalid(message));
    let off = json!({ "serviceConnectConfiguration": { "enabled": false } });
    stage.ask(Action::UpdateService, with(update, off)).unwrap();
    assert_eq!(stage.primary().task_definition, nameless);
}

#[test]
fn the_start_period_forgives_nothing_after_the_first_success() {
    let mut stage = Stage::new(1);
    let definition = stage.register_with(
        "web",
        json!([{ "name": "web", "image": "app:1", "healthCheck": {
            "command": ["CMD", "true"], "interval": 5, "retries": 1, "startPeriod": 300,
        }}]),
    );
    let task = run(&mut stage, &definition);
    stage.run_for(7_000);
    assert_eq!(stage.world.task(&task).unwrap().health, Health::Healthy);
    let fails = App {
        check_fails: 100,
        ..App::good()
    };
    stage.app("app:1", fails);
    stage.run_for(5_000);
    assert_eq!(stage.world.task(&task).unwrap().health, Health::Unhealthy);
}

#[test]
fn scaling_in_takes_what_starts_and_then_the_newest_of_the_fullest_zone() {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let service = stage.create(&one, 6, json!({}));
    stage.run_to("completion", completed);
    // In the order of their launch, with their zones.
    let wanted = |stage: &Stage| -> Vec<(Arn, Option<String>)> {
        let tasks = stage.world.tasks_of(&service);
        tasks
            .filter(|it| it.is_wanted())
            .map(|it| (it.arn.clone(), it.availability_zone.clone()))
            .collect()
    };
    // One more is on its way, and nobody knows yet where to; it goes first.
    let before = wanted(&stage);
    stage.update(json!({ "desiredCount": 7 }));
    stage.run_for(5);
    stage.update(json!({ "desiredCount": 6 }));
    assert_eq!(wanted(&stage), before);
    // Three in each zone; then one less where the newest is.
    let (newest, older) = before.split_last().unwrap();
    let beside: Vec<_> = older.iter().filter(|it| it.1 == newest.1).collect();
    assert_eq!(beside.len(), 2);
    let stop = json!({ "task": beside[0].0 });
    stage.ask(Action::StopTask, stop).unwrap();
    stage.update(json!({ "desiredCount": 5 }));
    stage.update(json!({ "desiredCount": 4 }));
    let left = wanted(&stage);
    let mut gone = before.iter().filter(|it| !left.contains(it));
    assert_eq!(gone.clone().count(), 2);
    let elsewhere = gone.find(|it| it.1 != newest.1);
    assert_eq!(elsewhere, older.iter().rfind(|it| it.1 != newest.1));
    // Later ones are newer, whatever their zone.
    stage.run_for(60_000);
    stage.update(json!({ "desiredCount": 6 }));
    stage.run_to("steady", |world| world.every_service().all(|it| it.steady));
    stage.update(json!({ "desiredCount": 4 }));
    assert_eq!(wanted(&stage), left);
}

#[test]
fn a_task_that_a_user_stops_leaves_running_at_once_and_a_surplus_one_does_not() {
    let mut stage = Stage::at_pace(1, Pace::fargate());
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    stage.run_to("completion", completed);
    let victim = stage.tasks()[0].arn.clone();
    stage
        .ask(Action::StopTask, json!({ "task": victim }))
        .unwrap();
    assert!(stage.world.task(&victim).unwrap().status > TaskStatus::Running);
    stage.update(json!({ "desiredCount": 0 }));
    let surplus = |it: &&&Task| !it.is_wanted() && it.status == TaskStatus::Running;
    assert_eq!(stage.tasks().iter().filter(surplus).count(), 1);
}

#[test]
fn a_task_ends_with_the_last_of_its_containers() {
    let mut stage = Stage::new(1);
    stage.app("app:1", App::exiting(1_000, 0));
    stage.app("app:2", App::exiting(2_000, 0));
    let definition = stage.register_with(
        "web",
        json!([
            { "name": "one", "image": "app:1", "essential": false },
            { "name": "two", "image": "app:2", "essential": false },
        ]),
    );
    let task = run(&mut stage, &definition);
    stage.run_for(1_500);
    assert_eq!(stage.world.task(&task).unwrap().status, TaskStatus::Running);
    stage.run_for(5_000);
    let task = stage.world.task(&task).unwrap();
    assert_eq!(task.status, TaskStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
}

#[test]
fn of_two_pulls_of_a_tag_the_first_decides() {
    let mut stage = Stage::new(1);
    stage.resolves = false;
    let one = stage.register("web", "app:1");
    stage.create(&one, 2, json!({}));
    let revision = stage.primary().revision.clone();
    stage.happen(Event::ImagesResolved {
        revision: revision.clone(),
        digests: Default::default(),
    });
    stage.run_for(20);
    for (task, digest) in [(0, "sha256:a"), (1, "sha256:b")] {
        let task = stage.tasks()[task].arn.clone();
        stage.happen(Event::ImagePulled {
            task,
            container: "web".to_owned(),
            digest: Some(digest.to_owned()),
        });
    }
    let revision = stage.world.service_revision(&revision).unwrap();
    assert_eq!(revision.image_digests["web"], "sha256:a");
}

fn invalid(message: &str) -> Refusal {
    Refusal {
        code: "InvalidParameterException".to_owned(),
        message: message.to_owned(),
    }
}
