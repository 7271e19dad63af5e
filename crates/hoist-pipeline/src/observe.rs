//! Looks at a rollout: which calls are made, and when which of them is due.
//!
//! One DescribeServices is the heartbeat. Everything else is read when the heartbeat shows a change that concerns it, when something that it
//! does not show is on its way (a task that starts, a target that is checked), and now and then in case a change was missed.

use std::collections::{BTreeMap, BTreeSet};

use hoist_aws::{AwsError, Client, Service, read};
use hoist_rollout::{LogsSeen, Observation, Rollout};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::refusal::has_code;
use crate::seen::{deployment_seen, service_seen, targets_seen, task_seen};
use crate::service::is_unknown_operation;

/// Lines of a container's log that a diagnosis gets.
const LOG_LINES: u32 = 20;
/// Tasks that one DescribeTasks call takes.
const TASKS_A_CALL: usize = 100;
/// Everything is read again after this long, should the heartbeat have hidden a change.
const REFRESH: SignedDuration = SignedDuration::from_mins(5);
/// A deployment in stages is read this often: a stage may begin or wait without a task that moves.
const STAGED: SignedDuration = SignedDuration::from_secs(15);
/// Targets that are checked are read this often, whatever the heartbeat says.
const ON_THE_WAY: SignedDuration = SignedDuration::from_secs(9);
/// Tasks that start or end are read this often: the heartbeat shows when they run, but not where they are between.
const MOVING: SignedDuration = SignedDuration::from_secs(9);
/// So many services can be watched as if each were the only one: one DescribeServices call is the heartbeat of all.
pub const FEW: usize = 10;
/// With more of them, the targets of each are read so much more rarely that half of what Elastic Load Balancing lets in a second (10) is kept.
const OF_MANY: SignedDuration = SignedDuration::from_millis(200);

/// Who answers: a client of AWS, or a simulation of it.
pub trait Asks {
    /// Calls an operation of a JSON service.
    fn json(
        &self,
        service: Service,
        operation: &'static str,
        body: Value,
    ) -> impl Future<Output = Result<Value, AwsError>> + Send;

    /// Calls an action of a query service.
    fn query(
        &self,
        service: Service,
        action: &'static str,
        params: Value,
    ) -> impl Future<Output = Result<Value, AwsError>> + Send;

    /// The time that observations are stamped with.
    fn now(&self) -> Timestamp;

    /// How many watch by the same limits, this one included.
    fn watching(&self) -> usize {
        1
    }
}

impl Asks for Client {
    async fn json(
        &self,
        service: Service,
        operation: &'static str,
        body: Value,
    ) -> Result<Value, AwsError> {
        Client::json(self, service, operation, body).await
    }

    async fn query(
        &self,
        service: Service,
        action: &'static str,
        params: Value,
    ) -> Result<Value, AwsError> {
        Client::query(self, service, action, &params).await
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Who looks, and at what.
pub struct Observer<'a, A> {
    aws: &'a A,
    cluster: &'a str,
    service: &'a str,
    /// Our task definition, whose log configuration names the streams.
    definition: &'a Value,
    /// Whether the endpoint knows service deployments, once that is clear.
    knows_deployments: Option<bool>,
    /// Stopped tasks that were described once; nothing about them changes any more.
    done: BTreeSet<String>,
    /// Tasks that had not stopped when they were described.
    active: BTreeSet<String>,
    /// The task definition of each service revision: it never changes.
    revisions: BTreeMap<String, String>,
    /// The last heartbeat after which all was read that it called for.
    last: Option<Heartbeat>,
    /// When everything was read.
    whole_at: Option<Timestamp>,
    deployment_at: Timestamp,
    tasks_at: Timestamp,
    targets_at: Timestamp,
}

/// One of a service's deployments, as far as its change is news: id, status, rollout state, counts, time of its last change.
type Beat = (String, String, String, [i64; 4], Option<Timestamp>);

/// What of DescribeServices tells that something changed.
#[derive(Clone, PartialEq)]
struct Heartbeat {
    status: String,
    counts: (i64, i64, i64),
    deployments: Vec<Beat>,
    newest_event: String,
    current: String,
}

/// What the events tell that came since the last heartbeat.
#[derive(Default)]
struct Told {
    /// The ARNs of tasks that were started.
    started: Vec<String>,
    /// Whether more were started than are named.
    has_more: bool,
    /// Whether targets were registered, drained, or found unhealthy.
    targets: bool,
}

/// What a heartbeat shows that the last one did not.
#[derive(Clone, Copy)]
struct Change {
    any: bool,
    /// Of the deployments: which there are, their states, their failures.
    outcome: bool,
    /// The number of tasks that failed.
    failures: bool,
}

impl Heartbeat {
    fn of(service: &read::ServiceView<'_>) -> Heartbeat {
        Heartbeat {
            status: service.status().to_owned(),
            counts: (service.desired(), service.running(), service.pending()),
            deployments: service
                .deployments()
                .map(|one| {
                    (
                        one.id().to_owned(),
                        one.status().to_owned(),
                        one.rollout_state().to_owned(),
                        [one.desired(), one.running(), one.pending(), one.failed()],
                        one.updated(),
                    )
                })
                .collect(),
            newest_event: service
                .events()
                .next()
                .map(|event| event.id().to_owned())
                .unwrap_or_default(),
            current: service.current_service_deployment().to_owned(),
        }
    }

    /// What changed since `last`; without one, everything.
    fn since(&self, last: Option<&Heartbeat>) -> Change {
        let outcome = |beat: &Heartbeat| -> Vec<(String, String, String, i64)> {
            let all = beat.deployments.iter();
            all.map(|(id, status, state, [.., failed], _)| {
                (id.clone(), status.clone(), state.clone(), *failed)
            })
            .collect()
        };
        let failed = |beat: &Heartbeat| -> i64 {
            let all = beat.deployments.iter();
            all.map(|(.., [.., failed], _)| *failed).sum()
        };
        let Some(last) = last else {
            return Change {
                any: true,
                outcome: true,
                // Tasks that leave already are found with those that failed.
                failures: true,
            };
        };
        Change {
            any: self != last,
            outcome: outcome(self) != outcome(last) || self.current != last.current,
            failures: failed(self) != failed(last),
        }
    }

    /// Whether the entries of `deployments` say that something has ended.
    fn has_ended(&self) -> bool {
        self.deployments.iter().any(|(_, status, state, ..)| {
            status == "PRIMARY" && matches!(state.as_str(), "COMPLETED" | "FAILED")
        })
    }
}

impl Told {
    /// The events of this service that are newer than the one with the id `last`; before a first look, nothing that could be relied on.
    fn of(service: &read::ServiceView<'_>, last: Option<&str>) -> Told {
        let mut told = Told::default();
        let Some(last) = last else {
            told.has_more = true;
            return told;
        };
        let cluster = read::text(service.raw(), "clusterArn");
        for event in service.events().take_while(|event| event.id() != last) {
            let words = event.message();
            told.targets |= ["target", "draining"].iter().any(|it| words.contains(it));
            if let Some((_, started)) = words.split_once(") has started ") {
                let count = started.split(' ').next().and_then(|it| it.parse().ok());
                let ids = started.split("(task ").skip(1);
                let ids = ids.filter_map(|it| Some(it.split_once(')')?.0));
                let from = told.started.len();
                let arn = |id| format!("{}/{id}", cluster.replacen(":cluster/", ":task/", 1));
                told.started.extend(ids.map(arn));
                told.has_more |= count != Some(told.started.len() - from);
            }
        }
        told
    }
}

impl<'a, A: Asks> Observer<'a, A> {
    /// One who has not looked yet.
    pub fn new(
        aws: &'a A,
        cluster: &'a str,
        service: &'a str,
        definition: &'a Value,
    ) -> Observer<'a, A> {
        Observer {
            aws,
            cluster,
            service,
            definition,
            knows_deployments: None,
            done: BTreeSet::new(),
            active: BTreeSet::new(),
            revisions: BTreeMap::new(),
            last: None,
            whole_at: None,
            deployment_at: Timestamp::MIN,
            tasks_at: Timestamp::MIN,
            targets_at: Timestamp::MIN,
        }
    }

    /// One look. What was seen until an error is in `seen` all the same.
    ///
    /// # Errors
    /// AWS refused a call; the next look makes up for it.
    pub async fn look(
        &mut self,
        rollout: &Rollout,
        seen: &mut Vec<Observation>,
    ) -> Result<(), AwsError> {
        let Some((mut heartbeat, mut told)) = self.heartbeat(seen).await? else {
            return Ok(());
        };
        let now = self.aws.now();
        let is_whole = self
            .whole_at
            .is_none_or(|at| at.duration_until(now) >= REFRESH);
        let change = heartbeat.since(self.last.as_ref().filter(|_| !is_whole));
        let is_over = rollout.has_ended() || heartbeat.has_ended();
        let mut has_ended = rollout.has_ended();
        let ours = rollout.our_deployment();
        // Only the service deployment tells in which stage it is.
        let is_staged = ours.is_some_and(|ours| !ours.stage.is_empty());
        let is_stale = is_staged && self.deployment_at.duration_until(now) >= STAGED;
        if change.outcome || change.any && is_staged || is_stale || ours.is_none() || is_over {
            let from = seen.len();
            self.deployments(rollout, seen).await?;
            self.deployment_at = now;
            has_ended |= rollout.would_end(&seen[from..]);
            if has_ended {
                // What a final status is believed with is at least as fresh as the status.
                match self.heartbeat(seen).await? {
                    Some(fresh) => (heartbeat, told) = fresh,
                    None => return Ok(()),
                }
            }
        }
        let watching = self.aws.watching();
        let is_crowd = watching > FEW;
        let crowd = OF_MANY * i32::try_from(watching).unwrap_or(i32::MAX);
        let is_due = |last: Timestamp, every| last.duration_until(now) >= every;
        let is_new = |arn: &String| !self.active.contains(arn) && !self.done.contains(arn);
        told.started.retain(is_new);
        if change.any || has_ended {
            let (_, running, pending) = heartbeat.counts;
            let known = self.active.len() + told.started.len();
            // As many as are known, and those that were started since are named: then no other is new.
            let is_known = known as i64 >= running + pending && !told.has_more && !is_whole;
            // One that was started and ended meanwhile is in neither list but this.
            let may_have_failed = if has_ended {
                rollout.would_fail(seen)
            } else {
                change.failures
            };
            let desired: &[&str] = match may_have_failed {
                true => &["RUNNING", "STOPPED"],
                false if has_ended || !is_known => &["RUNNING"],
                false => &[],
            };
            self.tasks(told.started, desired, seen).await?;
            self.tasks_at = now;
        } else if (rollout.awaits_tasks() || rollout.awaits_ends(now))
            && is_due(self.tasks_at, MOVING)
        {
            // There is none that the heartbeat would not have shown.
            self.tasks(Vec::new(), &[], seen).await?;
            self.tasks_at = now;
        }
        if (told.targets || is_whole) && !is_crowd
            || has_ended
            || rollout.awaits_targets() && is_due(self.targets_at, ON_THE_WAY.max(crowd))
        {
            let groups = seen.iter().rev().find_map(|seen| match seen {
                Observation::Service(service) => Some(service.groups()),
                _ => None,
            });
            for group in groups.unwrap_or_default() {
                self.targets(&group, seen).await?;
            }
            self.targets_at = now;
        }
        self.last = Some(heartbeat);
        if is_whole {
            self.whole_at = Some(now);
        }
        Ok(())
    }

    async fn heartbeat(
        &self,
        seen: &mut Vec<Observation>,
    ) -> Result<Option<(Heartbeat, Told)>, AwsError> {
        let at = self.aws.now();
        let request = json!({ "cluster": self.cluster, "services": [self.service] });
        let answer = self
            .aws
            .json(Service::Ecs, "DescribeServices", request)
            .await?;
        let Some(service) = read::services(&answer).next() else {
            seen.push(Observation::ServiceMissing { at });
            return Ok(None);
        };
        seen.push(Observation::Service(service_seen(&service, at)));
        let last = self.last.as_ref().map(|last| last.newest_event.as_str());
        let told = Told::of(&service, last);
        Ok(Some((Heartbeat::of(&service), told)))
    }

    async fn deployments(
        &mut self,
        rollout: &Rollout,
        seen: &mut Vec<Observation>,
    ) -> Result<(), AwsError> {
        if self.knows_deployments == Some(false) {
            seen.push(Observation::NoServiceDeployments);
            return Ok(());
        }
        let arns: Vec<String> = match rollout.our_deployment() {
            Some(ours) => vec![ours.arn.clone()],
            None => match self.listed().await? {
                Some(arns) => arns,
                None => {
                    seen.push(Observation::NoServiceDeployments);
                    return Ok(());
                }
            },
        };
        if arns.is_empty() {
            return Ok(());
        }
        let at = self.aws.now();
        let described = self
            .aws
            .json(
                Service::Ecs,
                "DescribeServiceDeployments",
                json!({ "serviceDeploymentArns": arns }),
            )
            .await?;
        let unknown: Vec<&str> = read::service_deployments(&described)
            .map(|deployment| deployment.target_revision())
            .filter(|arn| !arn.is_empty() && !self.revisions.contains_key(*arn))
            .collect();
        if !unknown.is_empty() {
            let revised = self
                .aws
                .json(
                    Service::Ecs,
                    "DescribeServiceRevisions",
                    json!({ "serviceRevisionArns": unknown }),
                )
                .await?;
            self.revisions
                .extend(read::service_revisions(&revised).map(|revision| {
                    (
                        revision.arn().to_owned(),
                        revision.task_definition().to_owned(),
                    )
                }));
        }
        seen.extend(read::service_deployments(&described).map(|deployment| {
            let definition = self.revisions.get(deployment.target_revision());
            Observation::Deployment(deployment_seen(
                &deployment,
                definition.map(String::as_str),
                at,
            ))
        }));
        Ok(())
    }

    /// The newest service deployments; `None` where the endpoint does not know any.
    async fn listed(&mut self) -> Result<Option<Vec<String>>, AwsError> {
        let request = json!({ "cluster": self.cluster, "service": self.service, "maxResults": 5 });
        match self
            .aws
            .json(Service::Ecs, "ListServiceDeployments", request)
            .await
        {
            Ok(answer) => {
                self.knows_deployments = Some(true);
                let briefs = read::service_deployment_briefs(&answer);
                Ok(Some(briefs.map(|brief| brief.arn().to_owned()).collect()))
            }
            // What answered once is known: then it is an error like any other.
            Err(error) if is_unknown_operation(&error) && self.knows_deployments.is_none() => {
                self.knows_deployments = Some(false);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Describes the tasks that are known and have not stopped, these, and those of these desired states.
    async fn tasks(
        &mut self,
        started: Vec<String>,
        desired: &[&str],
        seen: &mut Vec<Observation>,
    ) -> Result<(), AwsError> {
        let mut arns = started;
        arns.extend(self.active.iter().cloned());
        for desired in desired {
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
        // What is known is in the lists too, and a task that was stopped between the two calls is in both.
        arns.sort();
        arns.dedup();
        for some in arns.chunks(TASKS_A_CALL) {
            let at = self.aws.now();
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
                    self.active.remove(&task.arn);
                    self.done.insert(task.arn.clone());
                } else {
                    self.active.insert(task.arn.clone());
                }
                seen.push(Observation::Task(task));
            }
            // ECS forgets a task an hour after it stopped.
            for failure in read::list(&described, "failures") {
                self.active.remove(read::text(failure, "arn"));
            }
        }
        Ok(())
    }

    async fn targets(&self, group: &str, seen: &mut Vec<Observation>) -> Result<(), AwsError> {
        let at = self.aws.now();
        let answer = self
            .aws
            .query(
                Service::Elbv2,
                "DescribeTargetHealth",
                json!({ "TargetGroupArn": group }),
            )
            .await?;
        seen.extend(targets_seen(&answer, group, at).map(Observation::Target));
        Ok(())
    }

    /// The last lines of each of these containers; empty where they cannot be had.
    pub async fn logs(&self, task: &str, containers: &[String]) -> Vec<Observation> {
        let mut seen = Vec::new();
        for container in containers {
            let at = self.aws.now();
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
