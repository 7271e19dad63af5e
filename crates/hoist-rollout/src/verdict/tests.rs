//! One scenario each: how rollouts end.

use jiff::SignedDuration;

use super::*;
use crate::budget::Budget;
use crate::observation::{
    ContainerSeen, DeploymentSeen, Observation, RolloutSeen, TargetGroups, TargetSeen,
};
use crate::rollout::Intent;

const OURS: &str = "arn:td/web:8";
const BEFORE: &str = "arn:td/web:7";
const ARN: &str = "arn:service-deployment/ours";
const DIGEST: &str = "sha256:ours";

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + seconds).unwrap()
}

fn rollout() -> Rollout {
    let mut intent = Intent::new("web", OURS, time(0));
    intent.previous_task_definition = Some(BEFORE.into());
    intent.service_deployment = Some(ARN.into());
    intent.deployment_id = Some("ecs-svc/2".into());
    intent.made_at = Some(time(0));
    intent.digests.insert("web".into(), vec![DIGEST.into()]);
    Rollout::new(intent)
}

fn entry(id: &str, status: &str, task_definition: &str, state: &str, running: i64) -> RolloutSeen {
    RolloutSeen {
        id: id.into(),
        status: status.into(),
        task_definition: task_definition.into(),
        rollout_state: state.into(),
        desired: 1,
        running,
        ..RolloutSeen::default()
    }
}

fn service(at: i64, deployments: Vec<RolloutSeen>) -> Observation {
    let target_groups = vec![TargetGroups {
        arn: "arn:tg".into(),
        alternate: None,
    }];
    Observation::Service(ServiceSeen {
        at: time(at),
        status: "ACTIVE".into(),
        desired: 1,
        running: 1,
        deployments,
        target_groups,
        ..ServiceSeen::default()
    })
}

fn deployment(at: i64, status: &str, reason: &str) -> Observation {
    Observation::Deployment(DeploymentSeen {
        at: time(at),
        arn: ARN.into(),
        status: status.into(),
        reason: reason.into(),
        ..DeploymentSeen::default()
    })
}

fn task(at: i64, id: &str, status: &str, digest: &str) -> TaskSeen {
    TaskSeen {
        at: time(at),
        arn: format!("arn:task/{id}"),
        task_definition: OURS.into(),
        last_status: status.into(),
        desired_status: "RUNNING".into(),
        address: format!("10.0.0.{}", id.len()),
        containers: vec![ContainerSeen {
            name: "web".into(),
            digest: digest.into(),
            ..ContainerSeen::default()
        }],
        ..TaskSeen::default()
    }
}

fn target(at: i64, address: &str, state: &str) -> Observation {
    Observation::Target(TargetSeen {
        at: time(at),
        group: "arn:tg".into(),
        address: address.into(),
        port: 80,
        state: state.into(),
        ..TargetSeen::default()
    })
}

fn verdict(rollout: &mut Rollout, seen: &[Observation]) -> Verdict {
    rollout.see(seen);
    judge(rollout, time(100))
}

fn waits_for(verdict: &Verdict, words: &str) -> bool {
    matches!(verdict, Verdict::InProgress { waiting_for, .. } if waiting_for.iter().any(|one| one.contains(words)))
}

#[test]
fn a_deployment_that_waits_in_a_hook_says_in_which_since_when_and_what_ends_it() {
    let mut rollout = rollout();
    let primary = || vec![entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 1)];
    let paused = |at| {
        let mut seen = deployment(at, "IN_PROGRESS", "");
        if let Observation::Deployment(seen) = &mut seen {
            seen.stage = "POST_TEST_TRAFFIC_SHIFT".into();
            seen.pause = Some(crate::observation::PauseSeen {
                hook: "look".into(),
                ..crate::observation::PauseSeen::default()
            });
        }
        seen
    };
    let since = time(20).strftime("%H:%M:%S UTC");
    let seen = [service(19, primary()), paused(20), paused(35)];
    let words = format!(
        "somebody's word in the PAUSE hook look (post test traffic shift) since {since}: `hoist continue` lets it go on"
    );
    assert!(waits_for(&verdict(&mut rollout, &seen), &words));
    let gone_on = [deployment(50, "IN_PROGRESS", "")];
    assert!(!waits_for(&verdict(&mut rollout, &gone_on), "hook"));
}

#[test]
fn a_rolling_deployment_is_a_success_only_with_its_last_proof() {
    let mut rollout = rollout();
    let old = || entry("ecs-svc/1", "ACTIVE", BEFORE, "COMPLETED", 1);
    let first = verdict(
        &mut rollout,
        &[
            service(
                1,
                vec![entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 0), old()],
            ),
            deployment(1, "IN_PROGRESS", ""),
        ],
    );
    assert!(
        waits_for(&first, "the service deployment to end")
            && waits_for(&first, "1 of 1 tasks to run"),
        "{first:?}"
    );
    let done = [
        service(
            10,
            vec![entry("ecs-svc/2", "PRIMARY", OURS, "COMPLETED", 1)],
        ),
        deployment(9, "SUCCESSFUL", ""),
    ];
    assert!(waits_for(
        &verdict(&mut rollout, &done),
        "running tasks to be seen"
    ));
    let no_digest = verdict(
        &mut rollout,
        &[Observation::Task(task(11, "t", "RUNNING", ""))],
    );
    assert!(
        waits_for(&no_digest, "digest of container web"),
        "{no_digest:?}"
    );
    let registering = verdict(
        &mut rollout,
        &[
            Observation::Task(task(12, "t", "RUNNING", DIGEST)),
            target(12, "10.0.0.1", "initial"),
        ],
    );
    assert!(
        waits_for(&registering, "10.0.0.1:80 is initial"),
        "{registering:?}"
    );
    assert_eq!(
        verdict(&mut rollout, &[target(13, "10.0.0.1", "healthy")]),
        Verdict::Succeeded
    );
}

#[test]
fn another_digest_than_ours_is_a_failure() {
    let mut rollout = rollout();
    let seen = [
        service(
            10,
            vec![entry("ecs-svc/2", "PRIMARY", OURS, "COMPLETED", 1)],
        ),
        deployment(9, "SUCCESSFUL", ""),
        Observation::Task(task(11, "t", "RUNNING", "sha256:theirs")),
        target(12, "10.0.0.1", "healthy"),
    ];
    let found = verdict(&mut rollout, &seen);
    assert!(
        matches!(&found, Verdict::Failed { reason } if reason.contains("sha256:theirs")),
        "{found:?}"
    );
}

#[test]
fn a_rollback_is_watched_to_its_end_and_is_no_success() {
    let mut rollout = rollout();
    let back = vec![
        entry("ecs-svc/1", "PRIMARY", BEFORE, "IN_PROGRESS", 1),
        entry("ecs-svc/2", "ACTIVE", OURS, "FAILED", 0),
    ];
    let going_back = verdict(
        &mut rollout,
        &[
            deployment(5, "ROLLBACK_IN_PROGRESS", "circuit breaker"),
            service(6, back),
        ],
    );
    assert!(
        matches!(
            going_back,
            Verdict::InProgress {
                rolling_back: true,
                hopeless: None,
                ..
            }
        ),
        "{going_back:?}"
    );
    let end = [
        service(
            10,
            vec![entry("ecs-svc/1", "PRIMARY", BEFORE, "COMPLETED", 1)],
        ),
        deployment(
            10,
            "ROLLBACK_SUCCESSFUL",
            "the circuit breaker was triggered",
        ),
    ];
    assert_eq!(
        verdict(&mut rollout, &end),
        Verdict::RolledBack {
            reason: "the circuit breaker was triggered".into()
        }
    );
}

#[test]
fn the_other_ends_are_each_their_own() {
    let one = |status: &str, primary: RolloutSeen| {
        verdict(
            &mut rollout(),
            &[deployment(5, status, ""), service(6, vec![primary])],
        )
    };
    let ours = || entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 0);
    assert!(matches!(one("STOPPED", ours()), Verdict::Stopped { .. }));
    assert!(matches!(
        one("ROLLBACK_FAILED", ours()),
        Verdict::Failed { .. }
    ));
    let unknown = one("FAILED", ours());
    assert!(
        matches!(&unknown, Verdict::Failed { reason } if reason.contains("unknown status `FAILED`")),
        "{unknown:?}"
    );
    let newer = || entry("ecs-svc/3", "PRIMARY", "arn:td/web:9", "IN_PROGRESS", 0);
    for status in ["IN_PROGRESS", "STOPPED", "SUCCESSFUL"] {
        assert_eq!(
            one(status, newer()),
            Verdict::Superseded {
                by: "arn:td/web:9".into()
            },
            "{status}"
        );
    }
    // The same revision, deployed anew by somebody else.
    assert_eq!(
        one(
            "STOPPED",
            entry("ecs-svc/3", "PRIMARY", OURS, "IN_PROGRESS", 0)
        ),
        Verdict::Superseded {
            by: "ecs-svc/3".into()
        }
    );
}

#[test]
fn a_snapshot_from_before_the_end_does_not_make_a_success_superseded() {
    let mut rollout = rollout();
    let stale = verdict(
        &mut rollout,
        &[
            service(
                4,
                vec![entry(
                    "ecs-svc/1",
                    "PRIMARY",
                    "arn:td/web:6",
                    "COMPLETED",
                    1,
                )],
            ),
            deployment(5, "SUCCESSFUL", ""),
        ],
    );
    assert!(
        waits_for(&stale, "the service to be described"),
        "{stale:?}"
    );
}

#[test]
fn an_endpoint_without_service_deployments_is_judged_by_the_rollout_state() {
    let fallback = || {
        let mut rollout = rollout();
        rollout.intent.service_deployment = None;
        rollout.see(&[Observation::NoServiceDeployments]);
        rollout
    };
    let task = || Observation::Task(task(6, "t", "RUNNING", DIGEST));
    let with = |entries: Vec<RolloutSeen>| verdict(&mut fallback(), &[service(5, entries), task()]);
    assert_eq!(
        with(vec![entry("ecs-svc/2", "PRIMARY", OURS, "COMPLETED", 1)]),
        Verdict::Succeeded
    );
    // One deployment whose tasks run, as `aws ecs wait services-stable` takes for success, is none.
    let alone = with(vec![entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 1)]);
    assert!(waits_for(&alone, "the deployment to complete"), "{alone:?}");
    let back = with(vec![
        entry("ecs-svc/1", "PRIMARY", BEFORE, "COMPLETED", 1),
        entry("ecs-svc/2", "ACTIVE", OURS, "FAILED", 0),
    ]);
    assert!(matches!(back, Verdict::RolledBack { .. }), "{back:?}");
    let going_back = with(vec![
        entry("ecs-svc/1", "PRIMARY", BEFORE, "IN_PROGRESS", 1),
        entry("ecs-svc/2", "ACTIVE", OURS, "FAILED", 0),
    ]);
    assert!(
        matches!(
            going_back,
            Verdict::InProgress {
                rolling_back: true,
                ..
            }
        ),
        "{going_back:?}"
    );
    assert!(matches!(
        with(vec![entry("ecs-svc/2", "PRIMARY", OURS, "FAILED", 0)]),
        Verdict::Failed { .. }
    ));
    assert!(matches!(
        with(vec![entry("ecs-svc/2", "PRIMARY", OURS, "DRAINING", 0)]),
        Verdict::Failed { .. }
    ));
    assert!(matches!(
        with(vec![entry(
            "ecs-svc/3",
            "PRIMARY",
            "arn:td/web:9",
            "COMPLETED",
            1
        )]),
        Verdict::Superseded { .. }
    ));
}

#[test]
fn a_deployment_of_our_revision_from_before_ours_is_not_taken_for_ours() {
    let mut rollout = rollout();
    rollout.intent.service_deployment = None;
    let earlier = DeploymentSeen {
        at: time(1),
        arn: "arn:old".into(),
        status: "SUCCESSFUL".into(),
        task_definition: OURS.into(),
        created: Some(time(-50)),
        ..DeploymentSeen::default()
    };
    rollout.see(&[Observation::Deployment(earlier.clone())]);
    assert!(rollout.our_deployment().is_none());
    rollout.see(&[Observation::Deployment(DeploymentSeen {
        arn: "arn:new".into(),
        created: Some(time(1)),
        ..earlier
    })]);
    assert_eq!(
        rollout
            .our_deployment()
            .map(|deployment| deployment.arn.as_str()),
        Some("arn:new")
    );
}

#[test]
fn equal_failures_use_up_the_budget_and_a_healthy_task_voids_it() {
    let failed = |id: &str, code: i64, stop_code: &str| {
        let mut task = task(5, id, "STOPPED", DIGEST);
        task.stop_code = stop_code.into();
        task.stopped_reason = "Essential container in task exited".into();
        task.containers[0].exit_code = Some(code);
        Observation::Task(task)
    };
    let in_progress = || {
        vec![
            service(
                4,
                vec![entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 0)],
            ),
            deployment(4, "IN_PROGRESS", ""),
        ]
    };
    let hopeless = |more: Vec<Observation>| {
        let mut seen = in_progress();
        seen.extend(more);
        match verdict(&mut rollout(), &seen) {
            Verdict::InProgress { hopeless, .. } => hopeless,
            other => panic!("{other:?}"),
        }
    };
    let exited = "EssentialContainerExited";
    let found = hopeless(vec![failed("a", 1, exited), failed("bb", 1, exited)]).unwrap();
    assert_eq!(
        (found.tasks, found.budget, found.kind.exit_code),
        (2, 2, Some(1))
    );
    assert!(found.to_string().contains("exit code 1"), "{found}");
    assert_eq!(
        hopeless(vec![failed("a", 1, exited), failed("bb", 2, exited)]),
        None,
        "two ways of failing"
    );
    assert_eq!(
        hopeless(vec![
            failed("a", 143, "SpotInterruption"),
            failed("bb", 143, "SpotInterruption")
        ]),
        None,
        "Spot is nobody's fault"
    );
    assert_eq!(
        hopeless(vec![
            failed("a", 1, exited),
            failed("bb", 1, exited),
            target(5, "10.0.0.2", "healthy")
        ]),
        None,
        "one was healthy"
    );
    let mut unlimited = rollout();
    unlimited.intent.budget = Budget::Unlimited;
    unlimited.see(&in_progress());
    assert!(matches!(
        verdict(
            &mut unlimited,
            &[failed("a", 1, exited), failed("bb", 1, exited)]
        ),
        Verdict::InProgress { hopeless: None, .. }
    ));
}

#[test]
fn a_rollout_that_goes_on_past_its_time_is_timed_out_with_what_was_missing() {
    let mut rollout = rollout();
    rollout.intent.timeout = SignedDuration::from_secs(60);
    let found = verdict(
        &mut rollout,
        &[
            service(
                1,
                vec![entry("ecs-svc/2", "PRIMARY", OURS, "IN_PROGRESS", 0)],
            ),
            deployment(1, "IN_PROGRESS", ""),
        ],
    );
    assert!(
        matches!(&found, Verdict::TimedOut { waiting_for } if !waiting_for.is_empty()),
        "{found:?}"
    );
}

#[test]
fn a_service_that_is_gone_or_going_is_a_failure() {
    let mut gone = rollout();
    assert!(matches!(
        verdict(&mut gone, &[Observation::ServiceMissing { at: time(1) }]),
        Verdict::Failed { .. }
    ));
    let draining = ServiceSeen {
        at: time(1),
        status: "DRAINING".into(),
        ..ServiceSeen::default()
    };
    assert!(matches!(
        verdict(&mut rollout(), &[Observation::Service(draining)]),
        Verdict::Failed { .. }
    ));
}
