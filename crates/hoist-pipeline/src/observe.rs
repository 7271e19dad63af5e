//! Looks at a rollout: the calls that are made, and their answers as observations.

use hoist_aws::{AwsError, Client, Service, read};
use hoist_rollout::{
    ContainerSeen, DeploymentSeen, EventSeen, LogsSeen, Observation, RolloutSeen, ServiceSeen,
    TargetGroups, TargetSeen, TaskSeen,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::refusal::has_code;
use crate::service::is_unknown_operation;

/// Lines of a container's log that a diagnosis gets.
const LOG_LINES: u32 = 20;
/// Tasks that one DescribeTasks call takes.
const TASKS_A_CALL: usize = 100;

/// Who looks, and at what.
pub struct Observer<'a> {
    pub aws: &'a Client,
    pub cluster: &'a str,
    pub service: &'a str,
    /// Our task definition, whose log configuration names the streams.
    pub definition: &'a Value,
    /// Whether the endpoint knows service deployments, once that is clear.
    knows_deployments: Option<bool>,
    /// Stopped tasks that were described once; nothing about them changes any more.
    done: std::collections::BTreeSet<String>,
}

impl<'a> Observer<'a> {
    pub fn new(
        aws: &'a Client,
        cluster: &'a str,
        service: &'a str,
        definition: &'a Value,
    ) -> Observer<'a> {
        Observer {
            aws,
            cluster,
            service,
            definition,
            knows_deployments: None,
            done: Default::default(),
        }
    }

    /// One look at everything that decides: service, service deployments, tasks, targets.
    pub async fn look(&mut self) -> Result<Vec<Observation>, AwsError> {
        let mut seen = Vec::new();
        // In this order, so that what a final status is believed with (service, tasks, targets) is at least as fresh as the status.
        self.deployments(&mut seen).await?;
        let at = Timestamp::now();
        let request = json!({ "cluster": self.cluster, "services": [self.service] });
        let answer = self
            .aws
            .json(Service::Ecs, "DescribeServices", request)
            .await?;
        let Some(service) = read::services(&answer).next() else {
            return Ok(vec![Observation::ServiceMissing { at }]);
        };
        let service = service_seen(&service, at);
        let groups = service.target_groups.clone();
        seen.push(Observation::Service(service));
        self.tasks(&mut seen).await?;
        for groups in &groups {
            for group in std::iter::once(&groups.arn).chain(&groups.alternate) {
                self.targets(group, &mut seen).await?;
            }
        }
        Ok(seen)
    }

    async fn deployments(&mut self, seen: &mut Vec<Observation>) -> Result<(), AwsError> {
        if self.knows_deployments == Some(false) {
            seen.push(Observation::NoServiceDeployments);
            return Ok(());
        }
        let request = json!({ "cluster": self.cluster, "service": self.service, "maxResults": 5 });
        let listed = match self
            .aws
            .json(Service::Ecs, "ListServiceDeployments", request)
            .await
        {
            Ok(answer) => {
                self.knows_deployments = Some(true);
                answer
            }
            // What answered once is known: then it is an error like any other.
            Err(error) if is_unknown_operation(&error) && self.knows_deployments.is_none() => {
                self.knows_deployments = Some(false);
                seen.push(Observation::NoServiceDeployments);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let arns: Vec<&str> = read::service_deployment_briefs(&listed)
            .map(|brief| brief.arn())
            .collect();
        if arns.is_empty() {
            return Ok(());
        }
        let at = Timestamp::now();
        let described = self
            .aws
            .json(
                Service::Ecs,
                "DescribeServiceDeployments",
                json!({ "serviceDeploymentArns": arns }),
            )
            .await?;
        let revisions: Vec<&str> = read::service_deployments(&described)
            .map(|deployment| deployment.target_revision())
            .filter(|arn| !arn.is_empty())
            .collect();
        let revised = if revisions.is_empty() {
            Value::Null
        } else {
            self.aws
                .json(
                    Service::Ecs,
                    "DescribeServiceRevisions",
                    json!({ "serviceRevisionArns": revisions }),
                )
                .await?
        };
        for deployment in read::service_deployments(&described) {
            let definition = read::service_revisions(&revised)
                .find(|revision| revision.arn() == deployment.target_revision())
                .map(|revision| revision.task_definition().to_owned());
            let reason = [deployment.reason(), deployment.rollback_reason()]
                .into_iter()
                .find(|text| !text.is_empty());
            seen.push(Observation::Deployment(DeploymentSeen {
                at,
                arn: deployment.arn().to_owned(),
                status: deployment.status().to_owned(),
                reason: reason.unwrap_or_default().to_owned(),
                task_definition: definition.unwrap_or_default(),
                created: deployment.created(),
                stage: deployment.stage().to_owned(),
                breaker: deployment
                    .breaker()
                    .map(|(_, count, threshold)| (count, threshold)),
            }));
        }
        Ok(())
    }

    async fn tasks(&mut self, seen: &mut Vec<Observation>) -> Result<(), AwsError> {
        let mut arns: Vec<String> = Vec::new();
        for desired in ["RUNNING", "STOPPED"] {
            let mut next = Value::Null;
            loop {
                let mut request = json!({ "cluster": self.cluster, "serviceName": self.service, "desiredStatus": desired });
                if next.is_string() {
                    request["nextToken"] = next.clone();
                }
                let mut listed = self.aws.json(Service::Ecs, "ListTasks", request).await?;
                let found = read::list(&listed, "taskArns")
                    .filter_map(Value::as_str)
                    .map(str::to_owned);
                arns.extend(found.filter(|arn| !self.done.contains(arn)));
                next = listed["nextToken"].take();
                if !next.is_string() {
                    break;
                }
            }
        }
        for some in arns.chunks(TASKS_A_CALL) {
            let at = Timestamp::now();
            let described = self
                .aws
                .json(
                    Service::Ecs,
                    "DescribeTasks",
                    json!({ "cluster": self.cluster, "tasks": some }),
                )
                .await?;
            for task in read::tasks(&described) {
                let task = task_seen(&task, at);
                if task.is_stopped() {
                    self.done.insert(task.arn.clone());
                }
                seen.push(Observation::Task(task));
            }
        }
        Ok(())
    }

    async fn targets(&self, group: &str, seen: &mut Vec<Observation>) -> Result<(), AwsError> {
        let at = Timestamp::now();
        let answer = self
            .aws
            .query(
                Service::Elbv2,
                "DescribeTargetHealth",
                &json!({ "TargetGroupArn": group }),
            )
            .await?;
        for target in read::targets(&answer) {
            seen.push(Observation::Target(TargetSeen {
                at,
                group: group.to_owned(),
                address: target.id().to_owned(),
                port: target.port().unwrap_or_default(),
                state: target.state().to_owned(),
                reason: target.reason().to_owned(),
                description: target.description().to_owned(),
            }));
        }
        Ok(())
    }

    /// The last lines of each of these containers; empty where they cannot be had.
    pub async fn logs(&self, task: &str, containers: &[String]) -> Vec<Observation> {
        let mut seen = Vec::new();
        for container in containers {
            let at = Timestamp::now();
            let lines = self.lines(task, container).await.unwrap_or_default();
            seen.push(Observation::Logs(LogsSeen {
                at,
                task: task.to_owned(),
                container: container.clone(),
                lines,
            }));
        }
        seen
    }

    async fn lines(&self, task: &str, container: &str) -> Option<Vec<String>> {
        let definition = read::list(self.definition, "containerDefinitions")
            .find(|one| one["name"] == container)?;
        let logging = &definition["logConfiguration"];
        if logging["logDriver"] != "awslogs" {
            return None;
        }
        let group = logging["options"]["awslogs-group"].as_str()?;
        let prefix = logging["options"]["awslogs-stream-prefix"].as_str()?;
        let id = task.rsplit('/').next()?;
        let request = json!({
            "logGroupName": group,
            "logStreamName": format!("{prefix}/{container}/{id}"),
            "limit": LOG_LINES,
            "startFromHead": false,
        });
        match self.aws.json(Service::Logs, "GetLogEvents", request).await {
            Ok(answer) => Some(
                read::list(&answer, "events")
                    .map(|event| read::text(event, "message").to_owned())
                    .collect(),
            ),
            // A container that never started has no stream.
            Err(error) if has_code(&error, "ResourceNotFoundException") => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

fn service_seen(service: &read::ServiceView<'_>, at: Timestamp) -> ServiceSeen {
    ServiceSeen {
        at,
        status: service.status().to_owned(),
        desired: service.desired(),
        running: service.running(),
        pending: service.pending(),
        deployments: service
            .deployments()
            .map(|deployment| RolloutSeen {
                id: deployment.id().to_owned(),
                status: deployment.status().to_owned(),
                task_definition: deployment.task_definition().to_owned(),
                rollout_state: deployment.rollout_state().to_owned(),
                rollout_reason: deployment.rollout_reason().to_owned(),
                desired: deployment.desired(),
                running: deployment.running(),
                pending: deployment.pending(),
                failed: deployment.failed(),
            })
            .collect(),
        events: service
            .events()
            .filter_map(|event| {
                Some(EventSeen {
                    id: event.id().to_owned(),
                    at: event.created()?,
                    message: event.message().to_owned(),
                })
            })
            .collect(),
        target_groups: service
            .balancers()
            .filter(|link| !link.target_group().is_empty())
            .map(|link| TargetGroups {
                arn: link.target_group().to_owned(),
                alternate: Some(link.alternate_target_group().to_owned())
                    .filter(|arn| !arn.is_empty()),
            })
            .collect(),
    }
}

fn task_seen(task: &read::TaskView<'_>, at: Timestamp) -> TaskSeen {
    TaskSeen {
        at,
        arn: task.arn().to_owned(),
        task_definition: task.task_definition().to_owned(),
        last_status: task.last_status().to_owned(),
        desired_status: task.desired_status().to_owned(),
        health: task.health().to_owned(),
        stop_code: task.stop_code().to_owned(),
        stopped_reason: task.stopped_reason().to_owned(),
        address: task.private_ip().to_owned(),
        started: task.started(),
        stopped: task.stopped(),
        containers: task
            .containers()
            .map(|container| ContainerSeen {
                name: container.name().to_owned(),
                image: container.image().to_owned(),
                digest: container.digest().to_owned(),
                exit_code: container.exit_code(),
                reason: container.reason().to_owned(),
                health: container.health().to_owned(),
            })
            .collect(),
    }
}
