//! Task sets of a service with the EXTERNAL deployment controller, as a story on the stage.

use hoist_fargate::*;
use serde_json::{Value, json};

use crate::stage::*;

fn external(count: u32) -> (Stage, Arn, Arn) {
    let mut stage = Stage::new(1);
    let one = stage.register("web", "app:1");
    let two = stage.register("web", "app:2");
    let request = json!({
        "serviceName": "web", "desiredCount": count, "deploymentController": { "type": "EXTERNAL" },
    });
    stage.ask(Action::CreateService, request).unwrap();
    (stage, one, two)
}

fn ask(stage: &mut Stage, action: Action, more: Value) -> Result<String, Refusal> {
    let request = with(json!({ "cluster": "default", "service": "web" }), more);
    match stage.ask(action, request)? {
        Answer::TaskSet { id, .. } => Ok(id),
        other => panic!("answered {other:?}"),
    }
}

fn scaled(percent: f64) -> Value {
    json!({ "scale": { "value": percent, "unit": "PERCENT" } })
}

fn create(stage: &mut Stage, definition: &str, percent: f64) -> String {
    let request = with(
        json!({ "taskDefinition": definition, "launchType": "FARGATE" }),
        scaled(percent),
    );
    ask(stage, Action::CreateTaskSet, with(balanced(), request)).unwrap()
}

/// Of each set: what it should have, what runs of it, whether it is steady.
fn sets(stage: &Stage) -> Vec<(TaskSetStatus, u32, u32, bool)> {
    let service = stage.service();
    let sets = service.task_sets.iter().zip(&service.deployments);
    sets.map(|(set, inner)| {
        let wanted = set.computed_desired_count(service);
        (set.status, wanted, inner.running_count, set.steady)
    })
    .collect()
}

#[test]
fn whoever_deploys_moves_the_tasks_from_one_set_to_the_other() {
    use TaskSetStatus::{Active, Primary};
    let (mut stage, one, two) = external(3);
    stage.run_for(1_000);
    assert_eq!(
        stage.tasks().len(),
        0,
        "a service without sets has no tasks"
    );
    let blue = create(&mut stage, &one, 100.0);
    ask(
        &mut stage,
        Action::UpdateServicePrimaryTaskSet,
        json!({ "primaryTaskSet": blue }),
    )
    .unwrap();
    stage.run_for(5_000);
    assert_eq!(sets(&stage), [(Primary, 3, 3, true)]);
    assert_eq!(stage.service().task_definition, one);
    let steady = format!("(service web, taskSet {blue}) has reached a steady state.");
    let said =
        |stage: &Stage, what: &str| stage.service().events.iter().any(|it| it.message == what);
    assert!(said(&stage, &steady), "{:?}", stage.story());
    for task in stage.tasks() {
        assert_eq!(task.started_by.as_deref(), Some(blue.as_str()));
        assert_eq!(task.targets[0].state, TargetState::Healthy);
    }

    // Half of three is rounded up.
    let green = create(&mut stage, &two, 50.0);
    stage.run_for(5_000);
    assert_eq!(sets(&stage), [(Primary, 3, 3, true), (Active, 2, 2, true)]);
    assert_eq!(stage.service().running_count, 5);

    ask(
        &mut stage,
        Action::UpdateTaskSet,
        with(json!({ "taskSet": green }), scaled(100.0)),
    )
    .unwrap();
    ask(
        &mut stage,
        Action::UpdateServicePrimaryTaskSet,
        json!({ "primaryTaskSet": green }),
    )
    .unwrap();
    let refused = ask(
        &mut stage,
        Action::DeleteTaskSet,
        json!({ "taskSet": blue }),
    )
    .unwrap_err();
    assert_eq!(
        refused.message,
        "The task set cannot be deleted while it is scaled above 0."
    );
    ask(
        &mut stage,
        Action::DeleteTaskSet,
        json!({ "taskSet": blue, "force": true }),
    )
    .unwrap();
    stage.run_for(10_000);
    assert_eq!(sets(&stage), [(Primary, 3, 3, true)]);
    assert_eq!(stage.service().task_definition, two);
    let refused = ask(
        &mut stage,
        Action::DeleteTaskSet,
        json!({ "taskSet": blue }),
    )
    .unwrap_err();
    assert_eq!(refused.code, "TaskSetNotFoundException");

    // What dies is replaced, what is unhealthy start-first, and the service's count is everybody's.
    let victim = stage
        .tasks()
        .iter()
        .find(|it| it.is_wanted())
        .unwrap()
        .arn
        .clone();
    stage
        .ask(Action::StopTask, json!({ "task": victim }))
        .unwrap();
    stage.run_for(5_000);
    assert_eq!(sets(&stage), [(Primary, 3, 3, true)]);
    let sick = stage
        .tasks()
        .iter()
        .find(|it| it.is_wanted())
        .unwrap()
        .arn
        .clone();
    stage.happen(target_health(sick.clone(), GROUP.to_owned(), 8080, false));
    assert!(stage.world.task(&sick).unwrap().is_wanted());
    stage.run_for(10_000);
    assert!(!stage.world.task(&sick).unwrap().is_wanted());
    stage.update(json!({ "desiredCount": 1 }));
    stage.run_for(10_000);
    assert_eq!(sets(&stage), [(Primary, 1, 1, true)]);
}

#[test]
fn what_a_set_is_made_of_cannot_be_updated_at_the_service() {
    let (mut stage, one, _) = external(1);
    for changed in [
        json!({ "taskDefinition": one }),
        json!({ "forceNewDeployment": true }),
    ] {
        let request = with(json!({ "service": "web" }), changed);
        let refused = stage.ask(Action::UpdateService, request).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException");
        assert!(
            refused.message.ends_with("EXTERNAL deployment controller."),
            "{refused}"
        );
    }
    let token = json!({ "taskDefinition": one, "clientToken": "once" });
    let set = ask(&mut stage, Action::CreateTaskSet, token.clone()).unwrap();
    assert_eq!(
        ask(&mut stage, Action::CreateTaskSet, token),
        Ok(set),
        "a repeated call"
    );
    for _ in 1..5 {
        create(&mut stage, &one, 0.0);
    }
    let more = ask(
        &mut stage,
        Action::CreateTaskSet,
        json!({ "taskDefinition": one }),
    )
    .unwrap_err();
    assert_eq!(more.code, "InvalidParameterException");
}

#[test]
fn sets_survive_a_restart_and_go_with_their_service() {
    let (mut stage, one, two) = external(2);
    create(&mut stage, &one, 100.0);
    create(&mut stage, &two, 50.0);
    stage.run_for(300);
    stage.restart();
    stage.run_for(10_000);
    let running: Vec<_> = sets(&stage).iter().map(|it| (it.2, it.3)).collect();
    assert_eq!(running, [(2, true), (1, true)]);
    stage
        .ask(
            Action::DeleteService,
            json!({ "service": "web", "force": true }),
        )
        .unwrap();
    stage.run_for(10_000);
    assert_eq!(stage.service().status, ServiceStatus::Inactive);
    assert_eq!(stage.service().task_sets, []);
    assert!(
        stage
            .tasks()
            .iter()
            .all(|it| it.status == TaskStatus::Stopped)
    );
}
