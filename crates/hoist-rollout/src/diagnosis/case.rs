//! A rollout made of single facts, for the tests of causes.

use jiff::Timestamp;

use super::*;
use crate::observation::{LogsSeen, Observation, ServiceSeen, TargetGroups};
use crate::rollout::Intent;

pub const OURS: &str = "arn:aws:ecs:eu-central-1:123456789012:task-definition/web:8";
pub const GROUP: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/1";

pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + second).unwrap()
}

pub struct Case(pub Rollout);

impl Case {
    pub fn new() -> Case {
        let mut intent = Intent::new("web", OURS, time(0));
        intent.containers.push(ContainerFacts {
            name: "web".into(),
            image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/web@sha256:aa".into(),
            port: Some(8080),
            health_path: Some("/healthz".into()),
            memory: Some(512),
            log_group: Some("/ecs/web".into()),
        });
        Case(Rollout::new(intent))
    }

    pub fn previous(mut self) -> Case {
        self.0.intent.previous_task_definition =
            Some("arn:aws:ecs:eu-central-1:123456789012:task-definition/web:7".into());
        self
    }

    pub fn see(mut self, observation: Observation) -> Case {
        self.0.see(&[observation]);
        self
    }

    /// A stopped task with one container.
    pub fn stopped(
        self,
        stop_code: &str,
        reason: &str,
        exit_code: Option<i64>,
        container_reason: &str,
    ) -> Case {
        self.see(Observation::Task(TaskSeen {
            at: time(60),
            arn: "arn:aws:ecs:eu-central-1:123456789012:task/default/0af1".into(),
            task_definition: OURS.into(),
            last_status: "STOPPED".into(),
            desired_status: "STOPPED".into(),
            health: "UNKNOWN".into(),
            stop_code: stop_code.into(),
            stopped_reason: reason.into(),
            address: "10.0.0.7".into(),
            stopped: Some(time(59)),
            containers: vec![ContainerSeen {
                name: "web".into(),
                exit_code,
                reason: container_reason.into(),
                ..ContainerSeen::default()
            }],
            ..TaskSeen::default()
        }))
    }

    /// A task that did not start.
    pub fn not_started(self, reason: &str) -> Case {
        self.stopped("TaskFailedToStart", reason, None, "")
    }

    /// A task whose container exited.
    pub fn exited(self, code: i64) -> Case {
        self.stopped(
            "EssentialContainerExited",
            "Essential container in task exited",
            Some(code),
            "",
        )
    }

    pub fn printed(self, lines: &[&str]) -> Case {
        self.see(Observation::Logs(LogsSeen {
            at: time(61),
            task: "arn:aws:ecs:eu-central-1:123456789012:task/default/0af1".into(),
            container: "web".into(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }))
    }

    pub fn target(self, state: &str, reason: &str, description: &str) -> Case {
        let stopped = self.stopped(
            "ServiceSchedulerInitiated",
            &format!("Task failed ELB health checks in (target-group {GROUP})"),
            Some(143),
            "",
        );
        stopped.see(Observation::Target(TargetSeen {
            at: time(62),
            group: GROUP.into(),
            address: "10.0.0.7".into(),
            port: 8080,
            state: state.into(),
            reason: reason.into(),
            description: description.into(),
        }))
    }

    pub fn event(self, message: &str) -> Case {
        let number = self.0.events.len() as i64;
        let service = ServiceSeen {
            at: time(70 + number),
            status: "ACTIVE".into(),
            desired: 1,
            events: vec![EventSeen {
                id: format!("e{number}"),
                at: time(50 + number),
                message: message.into(),
            }],
            target_groups: vec![TargetGroups {
                arn: GROUP.into(),
                alternate: None,
            }],
            ..ServiceSeen::default()
        };
        self.see(Observation::Service(service))
    }

    pub fn diagnose(self) -> Diagnosis {
        diagnose(&self.0)
    }
}
