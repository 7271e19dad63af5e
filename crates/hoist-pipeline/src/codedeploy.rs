//! Services of CodeDeploy: a deployment from an appspec, watched to its end.
//!
//! ECS does not let UpdateService move such a service. CodeDeploy makes a second task set, moves the traffic, and takes the first one away;
//! a deployment ends as Succeeded, Failed or Stopped.
//! Source: AWS CodeDeploy User Guide, "AppSpec file structure for Amazon ECS deployments"; botocore 1.44.5,
//! `codedeploy/2014-10-06/service-2.json`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hoist_aws::{AwsError, Client, Service, read};
use hoist_oci::Digest;
use hoist_project::CodeDeploy;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};
use crate::service;
use crate::table::tail;

/// How long looking may fail before the run gives up watching.
const BLIND: Duration = Duration::from_secs(120);
/// How long a cancelled run takes to ask for the stop.
const FAREWELL: Duration = Duration::from_secs(4);
/// How long is waited for the deployment that rolls back.
const WAY_BACK: Duration = Duration::from_secs(1800);
/// Deployments that are looked at for ours, newest first.
const NEWEST: usize = 10;
/// States of a deployment that has not ended.
const MOVING: [&str; 5] = ["Created", "Queued", "InProgress", "Baking", "Ready"];

/// Whether CodeDeploy owns the deployments of `live`.
pub fn owns(live: &Value) -> bool {
    live["deploymentController"]["type"] == "CODE_DEPLOY"
}

/// One deployment by CodeDeploy.
pub struct Blue<'a> {
    pub aws: &'a Client,
    pub cluster: &'a str,
    /// What DescribeServices says of the service.
    pub live: &'a Value,
    /// ARN of the task definition.
    pub revision: &'a str,
    pub config: Option<&'a CodeDeploy>,
    /// What is found again in the deployment's description.
    pub mark: &'a str,
    /// Whether it may have been asked for before, by a run that was killed.
    pub is_asked: bool,
    pub pause: Duration,
    pub timeout: Duration,
}

impl Blue<'_> {
    fn service(&self) -> &str {
        read::text(self.live, "serviceName")
    }

    /// Application and deployment group: as hoist.yaml says, else by the names that the console and AWS's action give them.
    fn place(&self) -> (String, String) {
        let of = |given: fn(&CodeDeploy) -> Option<&String>, start: &str| {
            self.config
                .and_then(given)
                .cloned()
                .unwrap_or_else(|| format!("{start}-{}-{}", tail(self.cluster), self.service()))
        };
        (
            of(|config| config.application.as_ref(), "AppECS"),
            of(|config| config.group.as_ref(), "DgpECS"),
        )
    }

    /// Deploys, and watches to the end. Returns a sentence on success.
    ///
    /// # Errors
    /// Each end that is no success, by its kind.
    pub async fn carry(&self, cancel: &Cancel, events: &Events) -> Result<String, Failure> {
        let appspec = appspec(
            self.config.and_then(|config| config.appspec.as_ref()),
            self.live,
            self.revision,
        )?;
        let (application, group) = self.place();
        events.note(
            Step::Deploy,
            format!("CodeDeploy, application {application}, deployment group {group}"),
        );
        let found = match self.is_asked {
            true => {
                let looked = async {
                    self.marked(&application, &group).await.map_err(|error| {
                        refused(
                            "failed to look for the deployment that was asked for",
                            &error,
                        )
                    })
                };
                cancel.or(looked).await?
            }
            false => None,
        };
        let id = match found {
            Some(found) => read::text(&found, "deploymentId").to_owned(),
            None => {
                cancel
                    .or(self.create(&application, &group, &appspec))
                    .await?
            }
        };
        events.note(Step::Deploy, format!("deployment {id}"));
        match self.follow(&id, self.timeout, cancel, events).await? {
            (end, _) if read::text(&end, "status") == "Succeeded" => {
                self.serves(cancel).await?;
                Ok(format!("{} serves", tail(self.revision)))
            }
            (end, last) => Err(self.failed(&end, &last, cancel, events).await),
        }
    }

    async fn create(
        &self,
        application: &str,
        group: &str,
        appspec: &str,
    ) -> Result<String, Failure> {
        let mut request = json!({
            "applicationName": application,
            "deploymentGroupName": group,
            "description": self.mark,
            "revision": {
                "revisionType": "AppSpecContent",
                "appSpecContent": { "content": appspec, "sha256": Digest::of(appspec.as_bytes()).hex() },
            },
        });
        if let Some(config) = self.config.and_then(|config| config.config.as_ref()) {
            request["deploymentConfigName"] = json!(config);
        }
        let find = || self.marked(application, group);
        let created = self
            .aws
            .json_or_find(Service::CodeDeploy, "CreateDeployment", request, find)
            .await;
        match created {
            Ok(answer) => Ok(read::text(&answer, "deploymentId").to_owned()),
            Err(error) if has_code(&error, "DeploymentLimitExceededException") => Err(
                Failure::because(
                    Kind::InFlight,
                    format!("another deployment of {} is in flight", self.service()),
                    &error,
                )
                .hint("wait for its end, or stop it with `aws deploy stop-deployment`"),
            ),
            Err(error)
                if has_code(&error, "ApplicationDoesNotExistException")
                    || has_code(&error, "DeploymentGroupDoesNotExistException") =>
            {
                Err(Failure::because(
                    Kind::Check,
                    format!("CodeDeploy knows no {application} with the deployment group {group}"),
                    &error,
                )
                .hint("name them: `codedeploy: { application: ..., group: ... }` of the service in hoist.yaml"))
            }
            Err(error) => Err(refused("failed to create the deployment", &error)),
        }
    }

    /// The deployment with our mark, if there is one among the newest: one whose answer was lost is found again by it.
    async fn marked(&self, application: &str, group: &str) -> Result<Option<Value>, AwsError> {
        let request = json!({ "applicationName": application, "deploymentGroupName": group });
        let listed = self
            .aws
            .json(Service::CodeDeploy, "ListDeployments", request)
            .await?;
        for id in read::list(&listed, "deployments").take(NEWEST) {
            let described = self
                .aws
                .json(
                    Service::CodeDeploy,
                    "GetDeployment",
                    json!({ "deploymentId": id }),
                )
                .await?;
            if described["deploymentInfo"]["description"] == self.mark {
                return Ok(Some(json!({ "deploymentId": id })));
            }
        }
        Ok(None)
    }

    /// Watches a deployment until it ends. Returns it, and what its last lifecycle event said.
    async fn follow(
        &self,
        id: &str,
        limit: Duration,
        cancel: &Cancel,
        events: &Events,
    ) -> Result<(Value, String), Failure> {
        let began = Instant::now();
        let mut blind: Option<Instant> = None;
        let mut told = BTreeSet::new();
        let mut last = String::new();
        loop {
            let looked = tokio::select! {
                biased;
                signal = cancel.wait() => return Err(self.stop(id, signal.failure()).await),
                looked = self.look(id) => looked,
            };
            match looked {
                Ok((info, target)) => {
                    blind = None;
                    for line in news(&info, &target) {
                        if told.insert(line.clone()) {
                            events.note(Step::Deploy, line.clone());
                            last = line;
                        }
                    }
                    let status = read::text(&info, "status");
                    if !MOVING.contains(&status) {
                        return Ok((info, last));
                    }
                }
                Err(error) => {
                    let since = *blind.get_or_insert_with(Instant::now);
                    if since.elapsed() > BLIND || error.is_access_denied() {
                        let mut failure = refused("failed to look at the deployment", &error);
                        failure.kind = match failure.kind {
                            Kind::Unexpected | Kind::Rejected => Kind::TimedOut,
                            kind => kind,
                        };
                        return Err(failure.detail("the deployment goes on; its end was not seen"));
                    }
                    events.warn(
                        Step::Deploy,
                        format!("cannot look at the deployment, trying again: {error}"),
                    );
                }
            }
            if began.elapsed() > limit {
                return Err(Failure::new(
                    Kind::TimedOut,
                    format!(
                        "{}: the deployment {id} was still moving after {} s",
                        self.service(),
                        limit.as_secs()
                    ),
                )
                .hint("the deployment goes on; `--timeout` gives it longer"));
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn look(&self, id: &str) -> Result<(Value, Value), AwsError> {
        let request = json!({ "deploymentId": id });
        let mut seen = self
            .aws
            .json(Service::CodeDeploy, "GetDeployment", request.clone())
            .await?;
        let info = seen["deploymentInfo"].take();
        let mut target = Value::Null;
        // What moves is asked for as far as it can be told; the deployment itself decides.
        let listed = self
            .aws
            .json(Service::CodeDeploy, "ListDeploymentTargets", request)
            .await;
        if let Ok(listed) = listed
            && read::list(&listed, "targetIds").len() > 0
        {
            let request = json!({ "deploymentId": id, "targetIds": listed["targetIds"] });
            if let Ok(mut answer) = self
                .aws
                .json(Service::CodeDeploy, "BatchGetDeploymentTargets", request)
                .await
            {
                target = answer["deploymentTargets"][0]["ecsTarget"].take();
            }
        }
        Ok((info, target))
    }

    /// Whether the task set that has the traffic runs our revision.
    async fn serves(&self, cancel: &Cancel) -> Result<(), Failure> {
        let primary = cancel.or(self.primary()).await?;
        if primary == self.revision {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Superseded,
            format!(
                "{}: the deployment succeeded, and {} has the traffic",
                self.service(),
                tail(&primary)
            ),
        ))
    }

    /// Task definition of the task set that has the traffic.
    async fn primary(&self) -> Result<String, Failure> {
        let live = service::describe(self.aws, self.cluster, self.service()).await?;
        let live = live.unwrap_or_default();
        Ok(read::list(&live, "taskSets")
            .find(|set| set["status"] == "PRIMARY")
            .map_or_else(
                || read::text(&live, "taskDefinition").to_owned(),
                |set| read::text(set, "taskDefinition").to_owned(),
            ))
    }

    /// What a deployment that did not succeed comes to: the revision before has the traffic again, or not.
    async fn failed(&self, end: &Value, last: &str, cancel: &Cancel, events: &Events) -> Failure {
        let back = read::text(&end["rollbackInfo"], "rollbackDeploymentId");
        if !back.is_empty() {
            events.warn(
                Step::Deploy,
                format!("CodeDeploy rolls back: deployment {back}"),
            );
            if let Err(failure) = Box::pin(self.follow(back, WAY_BACK, cancel, events)).await {
                return failure;
            }
        }
        let name = tail(self.revision);
        let service = self.service();
        let (kind, what) = match self.primary().await {
            Ok(primary) if primary != self.revision => (
                Kind::RolledBack,
                format!(
                    "{service}: {name} failed, and {} serves again",
                    tail(&primary)
                ),
            ),
            Ok(_) => (
                Kind::NotRolledBack,
                format!("{service}: {name} failed, and was not rolled back"),
            ),
            Err(failure) => (
                Kind::NotRolledBack,
                format!("{service}: {name} failed, and what serves could not be seen ({failure})"),
            ),
        };
        let error = &end["errorInformation"];
        let lines = [
            format!(
                "{} {}",
                read::text(end, "status"),
                read::text(error, "code")
            ),
            read::text(error, "message").to_owned(),
            read::text(&end["rollbackInfo"], "rollbackMessage").to_owned(),
            last.to_owned(),
        ];
        let lines: Vec<&str> = lines
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
            .collect();
        Failure::new(kind, what).detail(lines.join("\n"))
    }

    async fn stop(&self, id: &str, failure: Failure) -> Failure {
        let request = json!({ "deploymentId": id, "autoRollbackEnabled": true });
        let asked = self
            .aws
            .json(Service::CodeDeploy, "StopDeployment", request);
        match tokio::time::timeout(FAREWELL, asked).await {
            Ok(Ok(_)) => failure
                .hint("CodeDeploy was asked to stop and to roll back; it goes on without hoist"),
            Ok(Err(error)) => failure
                .detail(error.to_string())
                .hint("the stop could not be asked for: the deployment may go on"),
            Err(_) => failure.hint("CodeDeploy did not answer in time: the deployment may go on"),
        }
    }
}

/// What can be said of a deployment now; said before or not.
fn news(info: &Value, target: &Value) -> Vec<String> {
    let mut lines = vec![match read::text(info, "status") {
        "Ready" => "deployment is ready: it waits for the traffic to be moved; `aws deploy continue-deployment` moves it".to_owned(),
        status => format!("deployment {}", status.to_lowercase()),
    }];
    for event in read::list(target, "lifecycleEvents") {
        let (name, status) = (
            read::text(event, "lifecycleEventName"),
            read::text(event, "status"),
        );
        if matches!(status, "" | "Pending" | "Unknown") {
            continue;
        }
        let why = read::text(&event["diagnostics"], "message");
        lines.push(match why {
            "" => format!("{name} {}", status.to_lowercase()),
            why => format!("{name} {}: {why}", status.to_lowercase()),
        });
    }
    for set in read::list(target, "taskSetsInfo") {
        if let Some(weight) = set["trafficWeight"].as_f64() {
            lines.push(format!(
                "{} has {weight} % of the traffic",
                read::text(set, "taskSetLabel").to_lowercase()
            ));
        }
    }
    lines
}

/// The appspec with our revision in it: the user's, else one for the service's own load balancer.
fn appspec(given: Option<&Value>, live: &Value, revision: &str) -> Result<String, Failure> {
    let wrong = |what: &str| {
        Failure::new(Kind::Configuration, format!("the appspec {what}"))
            .hint("it needs `Resources` with one of the type AWS::ECS::Service, as CodeDeploy's user guide shows")
    };
    let Some(given) = given else {
        let link = &live["loadBalancers"][0];
        if !link.is_object() {
            return Err(Failure::new(
                Kind::Configuration,
                "the service has no load balancer that an appspec could be made from",
            )
            .hint("name an appspec: `codedeploy: { appspec: appspec.yaml }`"));
        }
        let made = json!({ "version": 0.0, "Resources": [{ "TargetService": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "TaskDefinition": revision,
                "LoadBalancerInfo": { "ContainerName": link["containerName"], "ContainerPort": link["containerPort"] },
            } } }] });
        return Ok(made.to_string());
    };
    // CodeDeploy reads keys in any case.
    fn member<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Value> {
        value
            .as_object_mut()?
            .iter_mut()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
    let mut document = given.clone();
    let resources =
        member(&mut document, "resources").ok_or_else(|| wrong("names no resources"))?;
    let mut found = false;
    for resource in resources.as_array_mut().into_iter().flatten() {
        for (_, target) in resource.as_object_mut().into_iter().flatten() {
            let properties = member(target, "properties")
                .ok_or_else(|| wrong("has a resource without properties"))?;
            match member(properties, "taskdefinition") {
                Some(place) => *place = json!(revision),
                None => properties["TaskDefinition"] = json!(revision),
            }
            found = true;
        }
    }
    if !found {
        return Err(wrong("names no resource"));
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::{Signal, cancellation};
    use crate::testing::{Endpoint, refusal};

    const OLD: &str = "arn:aws:ecs:eu-central-1:1:task-definition/web:1";
    const NEW: &str = "arn:aws:ecs:eu-central-1:1:task-definition/web:2";

    fn live() -> Value {
        json!({ "serviceName": "web", "status": "ACTIVE", "deploymentController": { "type": "CODE_DEPLOY" },
            "taskDefinition": OLD, "loadBalancers": [{ "containerName": "app", "containerPort": 8080 }] })
    }

    /// Answers as CodeDeploy does: two looks until `end`, then the task set of `primary` has the traffic.
    async fn ends(end: &'static str, primary: &'static str) -> Endpoint {
        Endpoint::answering(move |operation, body, nth| match operation {
            "CreateDeployment" => (200, json!({ "deploymentId": "d-1" })),
            "GetDeployment" if body["deploymentId"] == "d-back" => {
                (200, json!({ "deploymentInfo": { "status": "Succeeded" } }))
            }
            "GetDeployment" => {
                let mut info = json!({ "status": if nth < 1 { "InProgress" } else { end } });
                if end == "Failed" {
                    info["errorInformation"] =
                        json!({ "code": "HEALTH_CONSTRAINTS", "message": "too few tasks are healthy" });
                    info["rollbackInfo"] = json!({ "rollbackDeploymentId": "d-back" });
                }
                (200, json!({ "deploymentInfo": info }))
            }
            "ListDeploymentTargets" => (200, json!({ "targetIds": ["c:web"] })),
            "BatchGetDeploymentTargets" => (
                200,
                json!({ "deploymentTargets": [{ "deploymentTargetType": "ECSTarget", "ecsTarget": {
                    "lifecycleEvents": [
                        { "lifecycleEventName": "Install", "status": "Succeeded" },
                        { "lifecycleEventName": "AllowTraffic", "status": "InProgress" },
                        { "lifecycleEventName": "AfterAllowTraffic", "status": "Pending" }],
                    "taskSetsInfo": [{ "taskSetLabel": "Green", "trafficWeight": 10.0 }] } }] }),
            ),
            "DescribeServices" => {
                let mut seen = live();
                seen["taskSets"] = json!([{ "status": "PRIMARY", "taskDefinition": primary }]);
                (200, json!({ "services": [seen] }))
            }
            "StopDeployment" => (200, json!({ "status": "Pending" })),
            other => refusal(400, "UnknownOperationException", other),
        })
        .await
    }

    async fn deployed(
        endpoint: &Endpoint,
        cancel: &Cancel,
    ) -> (Result<String, Failure>, Vec<String>) {
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = std::sync::Arc::clone(&lines);
        let events = Events::new(vec![Box::new(move |event| {
            if let crate::event::Event::Note { text, .. } = event {
                log.lock().unwrap().push(text.clone());
            }
        })]);
        let live = live();
        let blue = Blue {
            aws: &endpoint.client,
            cluster: "prod",
            live: &live,
            revision: NEW,
            config: None,
            mark: "hoist-1",
            is_asked: false,
            pause: Duration::from_millis(1),
            timeout: Duration::from_secs(60),
        };
        let done = blue.carry(cancel, &events).await;
        let lines = lines.lock().unwrap().clone();
        (done, lines)
    }

    #[tokio::test]
    async fn a_deployment_is_made_from_an_appspec_and_told_event_by_event() {
        let endpoint = ends("Succeeded", NEW).await;
        let (_canceller, cancel) = cancellation();
        let (done, lines) = deployed(&endpoint, &cancel).await;
        assert_eq!(done.unwrap(), "web:2 serves");
        for line in [
            "Install succeeded",
            "AllowTraffic inprogress",
            "green has 10 % of the traffic",
        ] {
            assert_eq!(
                lines.iter().filter(|said| *said == line).count(),
                1,
                "{lines:?}"
            );
        }
        let asked = &endpoint.asked("CreateDeployment")[0];
        assert_eq!(asked["applicationName"], "AppECS-prod-web");
        assert_eq!(asked["deploymentGroupName"], "DgpECS-prod-web");
        let content = asked["revision"]["appSpecContent"]["content"]
            .as_str()
            .unwrap();
        assert_eq!(
            asked["revision"]["appSpecContent"]["sha256"],
            Digest::of(content.as_bytes()).hex()
        );
        let appspec: Value = serde_json::from_str(content).unwrap();
        let properties = &appspec["Resources"][0]["TargetService"]["Properties"];
        assert_eq!(properties["TaskDefinition"], NEW);
        assert_eq!(properties["LoadBalancerInfo"]["ContainerPort"], 8080);
    }

    #[tokio::test]
    async fn a_deployment_that_fails_is_followed_back_and_says_why() {
        let endpoint = ends("Failed", OLD).await;
        let (_canceller, cancel) = cancellation();
        let failure = deployed(&endpoint, &cancel).await.0.unwrap_err();
        assert_eq!(failure.kind, Kind::RolledBack);
        assert_eq!(failure.message, "web: web:2 failed, and web:1 serves again");
        assert!(
            failure
                .detail
                .unwrap()
                .contains("too few tasks are healthy")
        );
        endpoint.is_understood_by_botocore();
        // Ours still having the traffic is no rollback, and another's having it no success.
        let stuck = ends("Stopped", NEW).await;
        let failure = deployed(&stuck, &cancel).await.0.unwrap_err();
        assert_eq!(failure.kind, Kind::NotRolledBack);
        let replaced = ends("Succeeded", OLD).await;
        let failure = deployed(&replaced, &cancel).await.0.unwrap_err();
        assert_eq!(failure.kind, Kind::Superseded);
    }

    #[tokio::test]
    async fn a_signal_asks_for_the_stop_and_one_in_flight_is_said() {
        let endpoint = ends("InProgress", OLD).await;
        let (canceller, cancel) = cancellation();
        let watching = deployed(&endpoint, &cancel);
        let signal = async {
            while endpoint.asked("GetDeployment").is_empty() {
                tokio::task::yield_now().await;
            }
            canceller.cancel(Signal::Terminate);
        };
        let ((done, _), ()) = tokio::join!(watching, signal);
        let failure = done.unwrap_err();
        assert_eq!(failure.kind, Kind::Terminated);
        assert_eq!(
            endpoint.asked("StopDeployment"),
            [json!({ "deploymentId": "d-1", "autoRollbackEnabled": true })]
        );
        endpoint.is_understood_by_botocore();
        let busy = Endpoint::answering(|_, _, _| {
            refusal(
                400,
                "DeploymentLimitExceededException",
                "The Deployment Group already has an active Deployment",
            )
        })
        .await;
        let (_canceller, cancel) = cancellation();
        let failure = deployed(&busy, &cancel).await.0.unwrap_err();
        assert_eq!(failure.kind, Kind::InFlight);
    }

    #[test]
    fn the_users_appspec_keeps_its_hooks_and_gets_the_revision() {
        let given = json!({ "version": 0.0, "resources": [{ "web": { "type": "AWS::ECS::Service",
            "properties": { "taskDefinition": "<TASK_DEFINITION>", "loadBalancerInfo": { "containerName": "a" } } } }],
            "hooks": [{ "BeforeInstall": "f" }] });
        let text = appspec(Some(&given), &live(), NEW).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            document["resources"][0]["web"]["properties"]["taskDefinition"],
            NEW
        );
        assert_eq!(document["hooks"][0]["BeforeInstall"], "f");
        for wrong in [
            json!({}),
            json!({ "Resources": [] }),
            json!({ "Resources": [{ "a": {} }] }),
        ] {
            let failure = appspec(Some(&wrong), &live(), NEW).unwrap_err();
            assert_eq!(failure.kind, Kind::Configuration);
        }
        assert!(appspec(None, &json!({}), NEW).is_err());
    }
}
