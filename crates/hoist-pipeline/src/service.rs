//! The service: what is live, what would change, and the one call that changes it.

use hoist_aws::read::{self, ServiceView};
use hoist_aws::{AwsError, Client, Service};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::express;
use crate::failure::{Failure, Kind};
use crate::refusal::{has_code, refused};

/// Members of a service definition that UpdateService takes too. `desiredCount` is not among them: a deployment must not undo
/// what auto scaling set.
/// Source: botocore 1.44.5, `ecs/2014-11-13/service-2.json`, shape UpdateServiceRequest.
const UPDATABLE: [&str; 16] = [
    "capacityProviderStrategy",
    "deploymentConfiguration",
    "availabilityZoneRebalancing",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "healthCheckGracePeriodSeconds",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "loadBalancers",
    "propagateTags",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];

/// How ECS says that there is no such cluster.
const NO_CLUSTER: &str = "ClusterNotFoundException";

/// States of a service deployment that has not ended.
const IN_FLIGHT: [&str; 5] = [
    "PENDING",
    "IN_PROGRESS",
    "STOP_REQUESTED",
    "ROLLBACK_REQUESTED",
    "ROLLBACK_IN_PROGRESS",
];

/// Describes a service; `None` where it is absent or no longer active.
///
/// # Errors
/// AWS refused the call; a missing cluster is told as such.
pub async fn describe(aws: &Client, cluster: &str, name: &str) -> Result<Option<Value>, Failure> {
    match ask(aws, cluster, name).await {
        Ok(answer) => active(answer, name),
        Err(error) if has_code(&error, NO_CLUSTER) => {
            let known = aws
                .json(Service::Ecs, "ListClusters", json!({}))
                .await
                .unwrap_or_default();
            let names: Vec<&str> = read::list(&known, "clusterArns")
                .filter_map(|arn| arn.as_str()?.rsplit('/').next())
                .collect();
            let failure = Failure::new(
                Kind::Check,
                format!("the cluster {cluster} does not exist in {}", aws.region()),
            );
            Err(match names.as_slice() {
                [] => failure
                    .hint("there is no cluster in this region and account; is the region right?"),
                names => failure.hint(format!("clusters here: {}", names.join(", "))),
            })
        }
        Err(error) => Err(refused(
            format!("failed to describe the service {name}"),
            &error,
        )),
    }
}

/// As [`describe`], but an absent cluster only means an absent service: the provision step may still make it.
///
/// # Errors
/// AWS refused the call.
pub async fn describe_if_cluster(
    aws: &Client,
    cluster: &str,
    name: &str,
) -> Result<Option<Value>, Failure> {
    match ask(aws, cluster, name).await {
        Ok(answer) => active(answer, name),
        Err(error) if has_code(&error, NO_CLUSTER) => Ok(None),
        Err(error) => Err(refused(
            format!("failed to describe the service {name}"),
            &error,
        )),
    }
}

/// Asks ECS about a service, its tags included.
pub async fn ask(aws: &Client, cluster: &str, name: &str) -> Result<Value, AwsError> {
    let request = json!({ "cluster": cluster, "services": [name], "include": ["TAGS"] });
    aws.json(Service::Ecs, "DescribeServices", request).await
}

/// The service of a DescribeServices answer, if it can be deployed to.
fn active(mut answer: Value, name: &str) -> Result<Option<Value>, Failure> {
    // Only MISSING means that there is none; whatever else could not be told is no reason to create one.
    let failed = read::list(&answer, "failures").find(|failure| failure["reason"] != "MISSING");
    if let Some(failed) = failed {
        let (reason, detail) = (read::text(failed, "reason"), read::text(failed, "detail"));
        let message = format!("ECS could not describe the service {name}: {reason} {detail}");
        return Err(Failure::new(Kind::Rejected, message.trim_end()));
    }
    let service = answer
        .pointer_mut("/services/0")
        .map_or(Value::Null, Value::take);
    match service["status"].as_str() {
        Some("ACTIVE") => Ok(Some(service)),
        Some("DRAINING") => Err(Failure::new(
            Kind::Check,
            format!("the service {name} is being deleted (it is DRAINING)"),
        )
        .hint("deploy again once it is gone: `aws ecs wait services-inactive` waits for that")),
        _ => Ok(None),
    }
}

/// What UpdateService would have to be told, beyond the task definition: the members of `definition` that `live` does not say.
pub fn changes(live: &Value, definition: &Value) -> Vec<(&'static str, Value)> {
    // Of these two UpdateService takes nothing of it: they are moved by other calls, which know the revision only.
    if express::is(live) || crate::codedeploy::owns(live) {
        return Vec::new();
    }
    UPDATABLE
        .into_iter()
        .filter_map(|member| {
            let wanted = definition.get(member)?;
            (!says(&live[member], wanted, member)).then(|| (member, wanted.clone()))
        })
        .collect()
}

/// Whether `live` holds everything that `wanted` says. Defaults that AWS adds on read-back do not count as a difference.
fn says(live: &Value, wanted: &Value, member: &str) -> bool {
    match (live, wanted) {
        (_, Value::String(text)) if member == "platformVersion" && text == "LATEST" => true,
        (live, Value::Object(members)) => members
            .iter()
            .all(|(name, value)| says(&live[name], value, name)),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && wanted
                    .iter()
                    .all(|wanted| live.iter().any(|live| says(live, wanted, member)))
        }
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Bool(wanted)) => !wanted,
        (Value::Null, Value::Number(wanted)) => wanted.as_i64() == Some(0),
        (live, wanted) => live == wanted,
    }
}

/// The deployment of a service that has not ended.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Service deployment ARN.
    pub arn: String,
    /// Task definition that it deploys.
    pub task_definition: Option<String>,
    /// Its status.
    pub status: String,
}

/// Finds the deployment in flight. `None` also where the endpoint does not know service deployments.
///
/// # Errors
/// AWS refused a call.
pub async fn in_flight(
    aws: &Client,
    cluster: &str,
    name: &str,
) -> Result<Option<InFlight>, Failure> {
    let request = json!({ "cluster": cluster, "service": name, "status": IN_FLIGHT });
    let answer = match aws
        .json(Service::Ecs, "ListServiceDeployments", request)
        .await
    {
        Ok(answer) => answer,
        Err(error) if is_unknown_operation(&error) => return Ok(None),
        Err(error) => {
            return Err(refused(
                format!("failed to list the deployments of {name}"),
                &error,
            ));
        }
    };
    let Some(brief) = answer["serviceDeployments"]
        .as_array()
        .and_then(|all| all.first())
    else {
        return Ok(None);
    };
    Ok(Some(InFlight {
        arn: brief["serviceDeploymentArn"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        task_definition: revision_task_definition(aws, &brief["targetServiceRevisionArn"]).await?,
        status: brief["status"].as_str().unwrap_or_default().to_owned(),
    }))
}

/// The task definition of a service revision.
///
/// # Errors
/// AWS refused the call.
pub async fn revision_task_definition(
    aws: &Client,
    revision: &Value,
) -> Result<Option<String>, Failure> {
    let Some(arn) = revision.as_str() else {
        return Ok(None);
    };
    let answer = aws
        .json(
            Service::Ecs,
            "DescribeServiceRevisions",
            json!({ "serviceRevisionArns": [arn] }),
        )
        .await
        .map_err(|error| refused("failed to describe a service revision", &error))?;
    Ok(answer["serviceRevisions"][0]["taskDefinition"]
        .as_str()
        .map(str::to_owned))
}

/// Whether the endpoint does not know the operation at all, as other implementations of ECS do not know the newer ones.
pub fn is_unknown_operation(error: &AwsError) -> bool {
    error.is_unsupported_operation()
}

/// Creates the service. `token` names the call: the same one sent twice makes one service.
///
/// # Errors
/// AWS refused the call.
pub async fn create(
    aws: &Client,
    cluster: &str,
    name: &str,
    definition: &Value,
    task_definition: &str,
    count: Option<u32>,
    token: &str,
) -> Result<Value, Failure> {
    if hoist_ecs::is_express(definition) {
        return express::create(aws, cluster, name, definition, task_definition).await;
    }
    let mut request = hoist_ecs::strip_describe_only_service(definition);
    request["cluster"] = json!(cluster);
    request["serviceName"] = json!(name);
    request["taskDefinition"] = json!(task_definition);
    if let Some(count) = count {
        request["desiredCount"] = json!(count);
    } else if request["desiredCount"].is_null() && request["schedulingStrategy"] != "DAEMON" {
        request["desiredCount"] = json!(1);
    }
    request["clientToken"] = json!(token);
    let mut answer = aws
        .json(Service::Ecs, "CreateService", request)
        .await
        .map_err(|error| not_answered(format!("failed to create the service {name}"), &error))?;
    Ok(answer["service"].take())
}

/// What UpdateService is told.
pub struct Move {
    /// Task definition ARN.
    pub task_definition: String,
    /// Members that change.
    pub changes: Vec<(&'static str, Value)>,
    /// Number of tasks, if it is to be set.
    pub count: Option<u32>,
    /// Whether tasks are replaced although nothing changes.
    pub force: bool,
}

/// Moves the service, which was `live` before.
///
/// # Errors
/// AWS refused the call.
pub async fn update(
    aws: &Client,
    cluster: &str,
    live: &Value,
    wanted: Move,
) -> Result<Value, Failure> {
    let name = read::text(live, "serviceName");
    if express::is(live) {
        return express::update(aws, live, &wanted).await;
    }
    let Move {
        task_definition,
        changes,
        count,
        force,
    } = wanted;
    let mut request =
        json!({ "cluster": cluster, "service": name, "taskDefinition": task_definition });
    for (member, value) in changes {
        request[member] = value;
    }
    if let Some(count) = count {
        request["desiredCount"] = json!(count);
    }
    if force {
        request["forceNewDeployment"] = json!(true);
    }
    // Each call may begin a deployment, the same one sent twice too where ECS went back in between: one whose answer was lost is looked
    // for before it is made again.
    let find = || begun(aws, cluster, live, &task_definition);
    let answer = aws
        .json_or_find(Service::Ecs, "UpdateService", request, find)
        .await;
    let mut answer = answer
        .map_err(|error| not_answered(format!("failed to update the service {name}"), &error))?;
    if parked(live).is_some() {
        unpark(aws, live).await;
    }
    Ok(answer["service"].take())
}

/// What UpdateService would have answered had its answer not been lost: the service, with a PRIMARY of this task definition that was not
/// there `before`. `None` where no deployment was begun.
async fn begun(
    aws: &Client,
    cluster: &str,
    before: &Value,
    task_definition: &str,
) -> Result<Option<Value>, AwsError> {
    let mut seen = ask(aws, cluster, read::text(before, "serviceName")).await?;
    let mut service = seen
        .pointer_mut("/services/0")
        .map_or(Value::Null, Value::take);
    if moved_on(before, &service, task_definition) {
        return Ok(Some(json!({ "service": service })));
    }
    // It may have been rolled back already, and PRIMARY be what was live before.
    let Some(created) = begun_since(aws, cluster, before, task_definition).await? else {
        return Ok(None);
    };
    service["deployments"] =
        json!([{ "status": "PRIMARY", "taskDefinition": task_definition, "createdAt": created }]);
    Ok(Some(json!({ "service": service })))
}

/// When the newest service deployment of this task definition was made that is not older than PRIMARY of `before`, by the clock of ECS.
async fn begun_since(
    aws: &Client,
    cluster: &str,
    before: &Value,
    task_definition: &str,
) -> Result<Option<Value>, AwsError> {
    let primary = read::list(before, "deployments").find(|it| it["status"] == "PRIMARY");
    let Some(since) = primary.and_then(|primary| read::moment(primary, "createdAt")) else {
        return Ok(None);
    };
    // A deployment and its PRIMARY are not made at quite the same moment. Of another task definition, those of before are told by it.
    let same = primary.is_some_and(|primary| primary["taskDefinition"] == task_definition);
    let since = since + SignedDuration::from_secs(if same { 2 } else { 0 });
    let request = json!({ "cluster": cluster, "service": before["serviceName"] });
    let listed = aws
        .json(Service::Ecs, "ListServiceDeployments", request)
        .await;
    let listed = match listed {
        Err(error) if is_unknown_operation(&error) => return Ok(None),
        listed => listed?,
    };
    let later: Vec<&Value> = read::list(&listed, "serviceDeployments")
        .filter(|it| read::moment(it, "createdAt").is_some_and(|at| at > since))
        .collect();
    let revisions: Vec<&Value> = later
        .iter()
        .map(|it| &it["targetServiceRevisionArn"])
        .collect();
    if revisions.is_empty() {
        return Ok(None);
    }
    // At most 20 are described at once; newer ones than these were not begun by one call.
    let request = json!({ "serviceRevisionArns": revisions[..revisions.len().min(20)] });
    let described = aws
        .json(Service::Ecs, "DescribeServiceRevisions", request)
        .await?;
    let ours = |deployment: &Value| {
        read::list(&described, "serviceRevisions").any(|revision| {
            revision["serviceRevisionArn"] == deployment["targetServiceRevisionArn"]
                && revision["taskDefinition"] == task_definition
        })
    };
    let ours = later.into_iter().filter(|it| ours(it));
    let newest = ours.max_by_key(|it| read::moment(it, "createdAt"));
    Ok(newest.map(|deployment| deployment["createdAt"].clone()))
}

/// Whether PRIMARY became another deployment than in `before`, of this task definition.
fn moved_on(before: &Value, after: &Value, task_definition: &str) -> bool {
    let before = ServiceView::of(before).primary();
    ServiceView::of(after).primary().is_some_and(|after| {
        after.task_definition() == task_definition
            && before.is_none_or(|before| before.id() != after.id())
    })
}

/// As [`refused`], for a call that changes something: where it may have been carried out, that is said.
pub fn not_answered(what: String, error: &AwsError) -> Failure {
    let unsure = error.may_have_happened();
    let failure = refused(what, error);
    if unsure {
        failure.hint("the call may have been carried out although no answer came: deploy again, which looks before it changes anything")
    } else {
        failure
    }
}

/// Tag of a service that hoist scaled to 0 tasks: how many it had. The next deployment gives it as many again.
const PARKED: &str = "hoist:count";

/// How many tasks a service had before hoist scaled it to 0, if it did.
pub fn parked(live: &Value) -> Option<u32> {
    if live["desiredCount"] != 0 {
        return None;
    }
    read::list(live, "tags")
        .find(|tag| tag["key"] == PARKED)
        .and_then(|tag| tag["value"].as_str()?.parse().ok())
}

/// Scales a service that never served to 0 tasks, and notes how many it had.
///
/// # Errors
/// AWS refused a call.
pub async fn scale_to_nothing(
    aws: &Client,
    cluster: &str,
    name: &str,
    had: i64,
) -> Result<(), AwsError> {
    let seen = ask(aws, cluster, name).await?;
    let arn = seen.pointer("/services/0/serviceArn");
    let tag = json!({ "resourceArn": arn, "tags": [{ "key": PARKED, "value": had.to_string() }] });
    aws.json(Service::Ecs, "TagResource", tag).await?;
    let request = json!({ "cluster": cluster, "service": name, "desiredCount": 0 });
    aws.json(Service::Ecs, "UpdateService", request)
        .await
        .map(drop)
}

/// Forgets how many tasks a service had. Left undone it does no harm: the tag counts only where there are no tasks.
async fn unpark(aws: &Client, live: &Value) {
    let request = json!({ "resourceArn": live["serviceArn"], "tagKeys": [PARKED] });
    if let Err(error) = aws.json(Service::Ecs, "UntagResource", request).await {
        tracing::debug!(%error, "the tag {PARKED} stays");
    }
}

/// Asks ECS to roll a deployment back.
///
/// # Errors
/// AWS refused the call, as it does where the deployment has ended meanwhile or there is nothing to go back to.
pub async fn roll_back(aws: &Client, deployment: &str) -> Result<(), AwsError> {
    let request = json!({ "serviceDeploymentArn": deployment, "stopType": "ROLLBACK" });
    aws.json(Service::Ecs, "StopServiceDeployment", request)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endpoint, refusal};

    #[test]
    fn what_is_live_already_is_no_change() {
        let live = json!({
            "platformVersion": "1.4.0",
            "deploymentConfiguration": {
                "maximumPercent": 200, "minimumHealthyPercent": 100, "bakeTimeInMinutes": 0,
                "deploymentCircuitBreaker": { "enable": true, "rollback": true, "resetOnHealthyTask": true },
            },
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["b", "a"], "securityGroups": [], "assignPublicIp": "ENABLED" } },
            "healthCheckGracePeriodSeconds": 0,
        });
        let definition = json!({
            "desiredCount": 7,
            "launchType": "FARGATE",
            "platformVersion": "LATEST",
            "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true }, "maximumPercent": 200 },
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["a", "b"], "assignPublicIp": "ENABLED" } },
            "enableExecuteCommand": false,
        });
        assert_eq!(changes(&live, &definition), []);
    }

    #[test]
    fn only_what_differs_is_sent_and_never_the_count() {
        let live = json!({ "desiredCount": 9, "healthCheckGracePeriodSeconds": 0, "propagateTags": "SERVICE" });
        let definition = json!({ "desiredCount": 1, "healthCheckGracePeriodSeconds": 30, "propagateTags": "SERVICE" });
        assert_eq!(
            changes(&live, &definition),
            [("healthCheckGracePeriodSeconds", json!(30))]
        );
    }

    #[tokio::test]
    async fn only_a_missing_service_is_one_to_create() {
        let endpoint = Endpoint::answering(|_, body, _| {
            let name = body["services"][0].as_str().unwrap_or_default();
            let answer = match name {
                "absent" => json!({ "services": [], "failures": [{ "arn": "a", "reason": "MISSING" }] }),
                "hidden" => json!({ "services": [], "failures": [{ "arn": "a", "reason": "ACCESS_DENIED" }] }),
                "deleted" => json!({ "services": [{ "status": "INACTIVE" }] }),
                _ => json!({ "services": [{ "status": "DRAINING" }] }),
            };
            (200, answer)
        })
        .await;
        let aws = &endpoint.client;
        assert!(describe(aws, "c", "absent").await.unwrap().is_none());
        assert!(describe(aws, "c", "deleted").await.unwrap().is_none());
        let hidden = describe(aws, "c", "hidden").await.unwrap_err();
        assert_eq!(
            hidden.message,
            "ECS could not describe the service hidden: ACCESS_DENIED"
        );
        let going = describe(aws, "c", "going").await.unwrap_err();
        assert_eq!(going.kind, Kind::Check);
    }

    #[tokio::test]
    async fn a_forced_deployment_whose_answer_was_lost_is_found_and_not_made_twice() {
        let endpoint = Endpoint::answering(|operation, _, _| match operation {
            "UpdateService" => refusal(500, "ServerException", "try later"),
            _ => (
                200,
                json!({ "services": [{ "serviceName": "web", "status": "ACTIVE", "deployments": [
                    { "id": "ecs-svc/2", "status": "PRIMARY", "taskDefinition": "web:1" }] }] }),
            ),
        })
        .await;
        let live = json!({ "serviceName": "web", "deployments": [
            { "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": "web:1" }] });
        let wanted = Move {
            task_definition: "web:1".to_owned(),
            changes: Vec::new(),
            count: None,
            force: true,
        };
        let moved = update(&endpoint.client, "c", &live, wanted).await.unwrap();
        assert_eq!(moved["deployments"][0]["id"], "ecs-svc/2");
        assert_eq!(endpoint.asked("UpdateService").len(), 1);
    }

    /// Moves a service to `web:2` where the first answer is lost; `deployments` are the service deployments then. What came of it, and how
    /// often ECS was asked.
    async fn moved_without_an_answer(deployments: &'static [(&str, f64)]) -> (Value, usize) {
        let endpoint = Endpoint::answering(move |operation, body, nth| match operation {
            "UpdateService" if nth == 0 => refusal(500, "ServerException", "try later"),
            "ListServiceDeployments" => {
                let listed: Vec<Value> = deployments
                    .iter()
                    .map(|(revision, created)| json!({ "targetServiceRevisionArn": revision, "createdAt": created }))
                    .collect();
                (200, json!({ "serviceDeployments": listed }))
            }
            "DescribeServiceRevisions" => {
                let described: Vec<Value> = read::list(body, "serviceRevisionArns")
                    .map(|arn| json!({ "serviceRevisionArn": arn, "taskDefinition": arn }))
                    .collect();
                (200, json!({ "serviceRevisions": described }))
            }
            "UpdateService" => (
                200,
                json!({ "service": { "deployments": [{ "id": "ecs-svc/9", "status": "PRIMARY", "taskDefinition": "web:2" }] } }),
            ),
            _ => (
                200,
                json!({ "services": [{ "serviceName": "web", "status": "ACTIVE", "deployments": [
                    { "id": "ecs-svc/3", "status": "PRIMARY", "taskDefinition": "web:1", "createdAt": 130.0 }] }] }),
            ),
        })
        .await;
        let live = json!({ "serviceName": "web", "deployments": [
            { "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": "web:1", "createdAt": 100.0 }] });
        let wanted = Move {
            task_definition: "web:2".to_owned(),
            changes: Vec::new(),
            count: None,
            force: false,
        };
        let mut moved = update(&endpoint.client, "c", &live, wanted).await.unwrap();
        let calls = endpoint.asked("UpdateService").len();
        (moved["deployments"][0].take(), calls)
    }

    #[tokio::test]
    async fn a_deployment_that_was_rolled_back_before_its_answer_came_is_not_made_again() {
        let (found, calls) = moved_without_an_answer(&[("web:1", 99.9), ("web:2", 120.5)]).await;
        assert_eq!((&found["createdAt"], calls), (&json!(120.5), 1));
        // One of an earlier attempt is none of this call's.
        let (found, calls) = moved_without_an_answer(&[("web:2", 99.0), ("web:1", 100.1)]).await;
        assert_eq!((&found["id"], calls), (&json!("ecs-svc/9"), 2));
    }
}
