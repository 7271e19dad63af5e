//! What must hold of the judge for any observations, in any order. A failure prints its seed.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::{
    ContainerSeen, DeploymentSeen, EventSeen, Intent, Observation, Rollout, RolloutSeen,
    ServiceSeen, TargetGroups, TargetSeen, TaskSeen, Verdict, diagnose, judge,
};

const OURS: &str = "arn:td/web:8";
const OTHER: &str = "arn:td/web:7";
const OUR_DEPLOYMENT: &str = "arn:service-deployment/ours";
const DIGEST: &str = "sha256:ours";
const GROUP: &str = "arn:tg";

fn start() -> Timestamp {
    Timestamp::from_second(1_764_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn intent() -> Intent {
    let mut intent = Intent::new("web", OURS, start());
    intent.previous_task_definition = Some(OTHER.into());
    intent.service_deployment = Some(OUR_DEPLOYMENT.into());
    intent.made_at = Some(start());
    intent
        .digests
        .insert("web".into(), vec![DIGEST.into(), "sha256:platform".into()]);
    intent
}

/// Mostly the first, sometimes one of the others.
fn mostly<'a>(rng: &mut Rng, usual: &'a str, others: &[&'a str]) -> &'a str {
    if rng.u8(..10) < 7 {
        usual
    } else {
        others[rng.usize(..others.len())]
    }
}

fn any_observation(rng: &mut Rng) -> Observation {
    let at = later(rng.i64(0..100));
    match rng.u8(..10) {
        0..=2 => {
            let desired = rng.i64(0..3);
            let primary = RolloutSeen {
                id: mostly(rng, "ecs-svc/2", &["ecs-svc/1", "ecs-svc/3"]).into(),
                status: mostly(rng, "PRIMARY", &["ACTIVE", "INACTIVE"]).into(),
                task_definition: mostly(rng, OURS, &[OTHER, "arn:td/web:9"]).into(),
                rollout_state: mostly(
                    rng,
                    "COMPLETED",
                    &["IN_PROGRESS", "FAILED", "", "NEW_STATE"],
                )
                .into(),
                rollout_reason: mostly(
                    rng,
                    "",
                    &["ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."],
                )
                .into(),
                desired,
                running: desired - i64::from(rng.u8(..5) == 0),
                ..RolloutSeen::default()
            };
            let mut deployments = vec![primary];
            if rng.u8(..4) == 0 {
                deployments.push(RolloutSeen {
                    id: "ecs-svc/1".into(),
                    status: "ACTIVE".into(),
                    task_definition: OTHER.into(),
                    ..RolloutSeen::default()
                });
            }
            let target_groups = if rng.bool() {
                vec![TargetGroups {
                    arn: GROUP.into(),
                    alternate: None,
                }]
            } else {
                vec![]
            };
            let events = (0..rng.usize(..3)).map(|number| EventSeen {
                id: format!("e{number}"),
                at: later(number as i64),
                message: [
                    "(service web) has started 1 tasks: (task t0).",
                    "(service web) rolling back to deployment ecs-svc/1.",
                ][number % 2]
                    .into(),
            });
            let events = events.collect();
            let status = if rng.u8(..30) == 0 {
                "DRAINING"
            } else {
                "ACTIVE"
            };
            Observation::Service(ServiceSeen {
                at,
                status: status.into(),
                desired,
                running: desired,
                pending: 0,
                deployments,
                events,
                target_groups,
                ..ServiceSeen::default()
            })
        }
        3 | 4 => Observation::Deployment(DeploymentSeen {
            at,
            arn: mostly(rng, OUR_DEPLOYMENT, &["arn:service-deployment/other"]).into(),
            status: mostly(
                rng,
                "SUCCESSFUL",
                &[
                    "PENDING",
                    "IN_PROGRESS",
                    "IN_PROGRESS",
                    "STOP_REQUESTED",
                    "STOPPED",
                    "ROLLBACK_REQUESTED",
                    "ROLLBACK_IN_PROGRESS",
                    "ROLLBACK_SUCCESSFUL",
                    "ROLLBACK_FAILED",
                    "FAILED",
                    "INVENTED",
                ],
            )
            .into(),
            task_definition: OURS.into(),
            created: Some(later(1)),
            ..DeploymentSeen::default()
        }),
        5..=7 => {
            let number = rng.u8(..3);
            Observation::Task(TaskSeen {
                at,
                arn: format!("arn:task/t{number}"),
                task_definition: mostly(rng, OURS, &[OTHER]).into(),
                last_status: mostly(rng, "RUNNING", &["PROVISIONING", "PENDING", "STOPPED"]).into(),
                desired_status: mostly(rng, "RUNNING", &["STOPPED"]).into(),
                health: mostly(rng, "UNKNOWN", &["HEALTHY", "UNHEALTHY"]).into(),
                stop_code: mostly(rng, "", &["EssentialContainerExited", "SpotInterruption"])
                    .into(),
                address: format!("10.0.0.{number}"),
                containers: vec![ContainerSeen {
                    name: "web".into(),
                    digest: mostly(rng, DIGEST, &["sha256:platform", "sha256:wrong", ""]).into(),
                    exit_code: (rng.u8(..5) == 0).then_some(1),
                    ..ContainerSeen::default()
                }],
                ..TaskSeen::default()
            })
        }
        8 => Observation::Target(TargetSeen {
            at,
            group: GROUP.into(),
            address: format!("10.0.0.{}", rng.u8(..3)),
            port: 80,
            state: mostly(
                rng,
                "healthy",
                &["initial", "unhealthy", "draining", "unused", "new-state"],
            )
            .into(),
            ..TargetSeen::default()
        }),
        _ => match rng.u8(..40) {
            0 => Observation::ServiceMissing { at },
            1..=3 => Observation::NoServiceDeployments,
            _ => Observation::Target(TargetSeen {
                at,
                group: "arn:other-tg".into(),
                address: "10.0.0.0".into(),
                state: "healthy".into(),
                ..TargetSeen::default()
            }),
        },
    }
}

fn history(rng: &mut Rng) -> Vec<Observation> {
    (0..rng.usize(1..30))
        .map(|_| any_observation(rng))
        .collect()
}

fn seen(observations: &[Observation]) -> Rollout {
    let mut rollout = Rollout::new(intent());
    rollout.see(observations);
    rollout
}

/// Whether our revision serves, worked out from the bare observations, in another way than the judge does.
fn truly_serves(observations: &[Observation]) -> Result<(), String> {
    let ours: Vec<&DeploymentSeen> = observations
        .iter()
        .filter_map(|seen| {
            if let Observation::Deployment(one) = seen {
                Some(one)
            } else {
                None
            }
        })
        .filter(|one| one.arn == OUR_DEPLOYMENT)
        .collect();
    let fallback = ours.is_empty() && observations.contains(&Observation::NoServiceDeployments);
    let good = [
        "PENDING",
        "IN_PROGRESS",
        "STOP_REQUESTED",
        "ROLLBACK_REQUESTED",
        "ROLLBACK_IN_PROGRESS",
        "SUCCESSFUL",
    ];
    if !fallback {
        if !ours.iter().any(|one| one.status == "SUCCESSFUL") {
            return Err("our deployment was never SUCCESSFUL".into());
        }
        if let Some(bad) = ours.iter().find(|one| !good.contains(&one.status.as_str())) {
            return Err(format!("our deployment was {}", bad.status));
        }
    }
    let services: Vec<&ServiceSeen> = observations
        .iter()
        .filter_map(|seen| {
            if let Observation::Service(one) = seen {
                Some(one)
            } else {
                None
            }
        })
        .collect();
    let newest = services
        .iter()
        .map(|one| one.at)
        .max()
        .ok_or("no service was seen")?;
    // Two snapshots of one moment may differ; either may be believed.
    let last: Vec<&&ServiceSeen> = services.iter().filter(|one| one.at == newest).collect();
    let missing = observations
        .iter()
        .any(|seen| matches!(seen, Observation::ServiceMissing { at } if *at > newest));
    if missing {
        return Err("the service is gone".into());
    }
    let serves = last.iter().any(|service| {
        let primary = service
            .deployments
            .iter()
            .find(|one| one.status == "PRIMARY");
        let Some(primary) = primary else { return false };
        let primary_is_good = primary.task_definition == OURS
            && primary.running >= service.desired
            && if fallback {
                primary.rollout_state == "COMPLETED"
            } else {
                primary.rollout_state != "FAILED"
            };
        let running = running_tasks(observations);
        let targets_are_good = service.target_groups.is_empty()
            || running
                .iter()
                .all(|task| target_state(observations, &task.address).contains("healthy"))
            || (fallback
                && !observations
                    .iter()
                    .any(|seen| matches!(seen, Observation::Target(_))));
        service.status == "ACTIVE"
            && primary_is_good
            && running.len() as i64 >= service.desired
            && running.iter().all(|task| {
                task.containers
                    .iter()
                    .all(|one| [DIGEST, "sha256:platform"].contains(&one.digest.as_str()))
            })
            && targets_are_good
    });
    if serves {
        Ok(())
    } else {
        Err(format!("the last snapshot does not serve: {last:#?}"))
    }
}

/// The tasks of ours that run, by their newest view; of two views of one moment, both.
fn running_tasks(observations: &[Observation]) -> Vec<&TaskSeen> {
    let all: Vec<&TaskSeen> = observations
        .iter()
        .filter_map(|seen| {
            if let Observation::Task(one) = seen {
                Some(one)
            } else {
                None
            }
        })
        .collect();
    let mut arns: BTreeSet<&str> = all.iter().map(|one| one.arn.as_str()).collect();
    arns.retain(|arn| {
        !all.iter()
            .any(|one| one.arn == *arn && one.last_status == "STOPPED")
    });
    arns.into_iter()
        .filter_map(|arn| {
            let newest = all
                .iter()
                .filter(|one| one.arn == arn)
                .map(|one| one.at)
                .max()?;
            let views: Vec<&&TaskSeen> = all
                .iter()
                .filter(|one| one.arn == arn && one.at == newest)
                .collect();
            let last = views.iter().max_by_key(|one| format!("{one:?}"))?;
            (last.task_definition == OURS
                && last.last_status == "RUNNING"
                && last.desired_status == "RUNNING")
                .then_some(**last)
        })
        .collect()
}

fn target_state<'a>(observations: &'a [Observation], address: &str) -> BTreeSet<&'a str> {
    let of_task = |seen: &'a Observation| match seen {
        Observation::Target(one) if one.address == address && one.group == GROUP => Some(one),
        _ => None,
    };
    let newest = observations
        .iter()
        .filter_map(of_task)
        .map(|one| one.at)
        .max();
    observations
        .iter()
        .filter_map(of_task)
        .filter(|one| Some(one.at) == newest)
        .map(|one| one.state.as_str())
        .collect()
}

fn for_many_histories(name: &str, check: impl Fn(&mut Rng, Vec<Observation>)) {
    let base: u64 = std::env::var("HOIST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    for seed in base..base + 60_000 {
        let mut rng = Rng::with_seed(seed);
        let observations = history(&mut rng);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&mut rng, observations)
        }));
        if let Err(panic) = result {
            let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("{name}: fails with HOIST_SEED={seed}: {words}");
        }
    }
}

#[test]
fn success_is_only_said_when_our_revision_truly_serves() {
    let successes = std::sync::atomic::AtomicUsize::new(0);
    for_many_histories("truth", |_, observations| {
        if judge(&seen(&observations), later(100)) == Verdict::Succeeded {
            successes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Err(why) = truly_serves(&observations) {
                panic!("{why}\n{observations:#?}");
            }
        }
    });
    assert!(
        successes.into_inner() > 50,
        "the histories hardly ever succeed: they test nothing"
    );
}

#[test]
fn a_rollback_or_an_unknown_status_is_never_a_success() {
    for_many_histories("rollback", |rng, mut observations| {
        let bad = [
            "ROLLBACK_SUCCESSFUL",
            "ROLLBACK_FAILED",
            "STOPPED",
            "INVENTED",
        ][rng.usize(..4)];
        let at = rng.usize(..=observations.len());
        let fatal = DeploymentSeen {
            at: later(rng.i64(0..100)),
            arn: OUR_DEPLOYMENT.into(),
            status: bad.into(),
            ..DeploymentSeen::default()
        };
        observations.insert(at, Observation::Deployment(fatal));
        let verdict = judge(&seen(&observations), later(100));
        assert_ne!(verdict, Verdict::Succeeded, "after {bad}");
    });
}

#[test]
fn the_same_observations_give_the_same_verdict_in_any_order_and_number() {
    for_many_histories("order", |rng, observations| {
        let mut other = observations.clone();
        other.extend(
            (0..rng.usize(..5)).map(|_| observations[rng.usize(..observations.len())].clone()),
        );
        rng.shuffle(&mut other);
        let (one, two) = (seen(&observations), seen(&other));
        assert_eq!(judge(&one, later(100)), judge(&two, later(100)));
        // The catalogue is long: every eighth history is enough.
        if rng.u8(..8) == 0 {
            assert_eq!(diagnose(&one), diagnose(&two));
        }
    });
}

#[test]
fn what_was_told_once_is_not_told_again() {
    for_many_histories("news", |_, observations| {
        let mut rollout = Rollout::new(intent());
        rollout.see(&observations);
        assert_eq!(rollout.see(&observations), []);
    });
}

#[test]
fn every_watch_ends_with_its_time() {
    for_many_histories("time", |_, observations| {
        let rollout = seen(&observations);
        let verdict = judge(&rollout, start() + rollout.intent.timeout);
        assert!(verdict.is_final(), "{verdict:?}");
    });
}
