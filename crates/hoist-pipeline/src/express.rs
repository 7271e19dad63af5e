//! Express services: ECS makes and keeps their load balancer, security groups and scaling; hoist gives them a task definition, and the
//! few settings that are theirs.
//!
//! Source: botocore 1.44.5, `ecs/2014-11-13/service-2.json`, shapes CreateExpressGatewayServiceRequest and
//! UpdateExpressGatewayServiceRequest.

use hoist_aws::{Client, Service, read};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::refusal::refused;
use crate::service::{self, Move, not_answered};

/// Whether a service that is live is one whose parts ECS manages.
pub fn is(live: &Value) -> bool {
    live["resourceManagementType"] == "ECS"
}

/// How many tasks a service definition of one asks for.
pub fn count(definition: &Value) -> Option<u64> {
    match hoist_ecs::is_express(definition) {
        true => Some(
            definition["scalingTarget"]["minTaskCount"]
                .as_u64()
                .unwrap_or(1),
        ),
        false => None,
    }
}

/// Creates one. Its name is its own in the cluster: a call whose answer was lost is looked for before it is made again.
///
/// # Errors
/// AWS refused the call.
pub async fn create(
    aws: &Client,
    cluster: &str,
    name: &str,
    definition: &Value,
    task_definition: &str,
) -> Result<Value, Failure> {
    let mut request = definition.clone();
    request["cluster"] = json!(cluster);
    request["serviceName"] = json!(name);
    request["taskDefinitionArn"] = json!(task_definition);
    let find = || async {
        let seen = service::ask(aws, cluster, name).await?;
        let is_there = seen["services"][0]["status"] == "ACTIVE";
        Ok(is_there.then(|| json!({})))
    };
    aws.json_or_find(Service::Ecs, "CreateExpressGatewayService", request, find)
        .await
        .map_err(|error| {
            let what = format!("failed to create the Express service {name}");
            let failure = not_answered(what, &error);
            match failure.hint {
                Some(_) => failure,
                None => failure.hint("the infrastructure role needs AWS's policy AmazonECSInfrastructureRoleforExpressGatewayServices, and must trust ecs.amazonaws.com"),
            }
        })?;
    // What it answers is about the Express service; the deployment is found by looking.
    Ok(json!({}))
}

/// Members of a service definition of one that UpdateExpressGatewayService takes too, and that the task definition does not say.
const UPDATABLE: [&str; 3] = ["healthCheckPath", "networkConfiguration", "scalingTarget"];

/// How one that exists is set up: its newest active configuration.
///
/// # Errors
/// AWS refused the call.
pub async fn configuration(aws: &Client, live: &Value) -> Result<Value, Failure> {
    let request = json!({ "serviceArn": live["serviceArn"] });
    let described = aws
        .json(Service::Ecs, "DescribeExpressGatewayService", request)
        .await
        .map_err(|error| {
            let name = read::text(live, "serviceName");
            refused(
                format!("failed to describe the Express service {name}"),
                &error,
            )
        })?;
    let newest = read::list(&described["service"], "activeConfigurations")
        .max_by_key(|one| read::moment(one, "createdAt"));
    Ok(newest.cloned().unwrap_or_default())
}

/// What UpdateExpressGatewayService would have to be told, beyond the task definition: the members of `definition` that the
/// configuration that `runs` does not say.
pub fn changes(runs: &Value, definition: &Value) -> Vec<(&'static str, Value)> {
    UPDATABLE
        .into_iter()
        .filter_map(|member| {
            let wanted = definition.get(member)?;
            (!says(&runs[member], wanted)).then(|| (member, wanted.clone()))
        })
        .collect()
}

/// Whether `runs` holds everything that `wanted` says, in whatever order.
fn says(runs: &Value, wanted: &Value) -> bool {
    match (runs, wanted) {
        (runs, Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| says(&runs[name], value))
        }
        (Value::Array(runs), Value::Array(wanted)) => {
            runs.len() == wanted.len() && wanted.iter().all(|one| runs.contains(one))
        }
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (runs, wanted) => runs == wanted,
    }
}

/// Gives one that exists another task definition, and what of its own definition changed.
///
/// # Errors
/// AWS refused the call.
pub async fn update(aws: &Client, live: &Value, wanted: &Move) -> Result<Value, Failure> {
    let name = read::text(live, "serviceName");
    let mut request =
        json!({ "serviceArn": live["serviceArn"], "taskDefinitionArn": wanted.task_definition });
    for (member, value) in &wanted.changes {
        request[*member] = value.clone();
    }
    aws.json(Service::Ecs, "UpdateExpressGatewayService", request)
        .await
        .map_err(|error| {
            let failure = not_answered(format!("failed to update the Express service {name}"), &error);
            match failure.hint {
                Some(_) => failure,
                None => failure.hint("the task definition of an Express service needs a container named Main with one TCP port that has a name"),
            }
        })?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endpoint, refusal};

    #[tokio::test]
    async fn an_express_service_is_told_its_task_definition_and_what_changed_of_its_own() {
        let endpoint = Endpoint::answering(|operation, _, _| match operation {
            "DescribeExpressGatewayService" => (
                200,
                json!({ "service": { "serviceArn": "arn:s", "activeConfigurations": [
                    { "createdAt": 2.0, "healthCheckPath": "/healthz",
                      "networkConfiguration": { "subnets": ["subnet-2", "subnet-1"], "securityGroups": ["sg-1"] },
                      "scalingTarget": { "minTaskCount": 1, "maxTaskCount": 4, "autoScalingMetric": "AVERAGE_CPU" } },
                    { "createdAt": 1.0, "healthCheckPath": "/old" },
                ] } }),
            ),
            "UpdateExpressGatewayService" => (200, json!({ "service": { "serviceName": "web" } })),
            other => refusal(400, "UnknownOperationException", other),
        })
        .await;
        let live =
            json!({ "serviceName": "web", "serviceArn": "arn:s", "resourceManagementType": "ECS" });
        assert!(service::changes(&live, &json!({ "propagateTags": "SERVICE" })).is_empty());
        let runs = configuration(&endpoint.client, &live).await.unwrap();
        let mut definition = json!({
            "infrastructureRoleArn": "arn:aws:iam::1:role/infrastructure",
            "healthCheckPath": "/healthz",
            "networkConfiguration": { "subnets": ["subnet-1", "subnet-2"] },
            "scalingTarget": { "minTaskCount": 1, "maxTaskCount": 4 },
            "propagateTags": "SERVICE",
        });
        assert!(changes(&runs, &definition).is_empty());
        definition["scalingTarget"]["maxTaskCount"] = json!(8);
        definition["healthCheckPath"] = json!("/ready");
        let wanted = Move {
            task_definition: "arn:web:2".to_owned(),
            changes: changes(&runs, &definition),
            count: None,
            force: false,
        };
        service::update(&endpoint.client, "c", &live, wanted)
            .await
            .unwrap();
        assert_eq!(
            endpoint.asked("UpdateExpressGatewayService"),
            [
                json!({ "serviceArn": "arn:s", "taskDefinitionArn": "arn:web:2", "healthCheckPath": "/ready",
                    "scalingTarget": { "minTaskCount": 1, "maxTaskCount": 8 } })
            ]
        );
        assert!(endpoint.asked("UpdateService").is_empty());
        endpoint.is_understood_by_botocore();
    }

    #[tokio::test]
    async fn an_express_service_is_made_once_from_its_definition_and_our_revision() {
        // The answer of the first call is lost, and it was carried out.
        let endpoint = Endpoint::answering(|operation, _, _| match operation {
            "CreateExpressGatewayService" => refusal(500, "ServerException", "try later"),
            "DescribeServices" => (
                200,
                json!({ "services": [{ "serviceName": "web", "status": "ACTIVE" }] }),
            ),
            other => refusal(400, "UnknownOperationException", other),
        })
        .await;
        let definition = json!({
            "infrastructureRoleArn": "arn:aws:iam::1:role/infrastructure",
            "healthCheckPath": "/healthz",
            "networkConfiguration": { "subnets": ["subnet-1"], "securityGroups": ["sg-1"] },
            "scalingTarget": { "minTaskCount": 2, "maxTaskCount": 6, "autoScalingMetric": "AVERAGE_CPU", "autoScalingTargetValue": 60 },
            "tags": [{ "key": "team", "value": "shop" }],
        });
        assert_eq!(count(&definition), Some(2));
        let aws = &endpoint.client;
        service::create(aws, "prod", "web", &definition, "arn:web:1", None, "t")
            .await
            .unwrap();
        let asked = endpoint.asked("CreateExpressGatewayService");
        assert_eq!(asked.len(), 1);
        let mut wanted = definition.clone();
        for (member, value) in [
            ("cluster", "prod"),
            ("serviceName", "web"),
            ("taskDefinitionArn", "arn:web:1"),
        ] {
            wanted[member] = json!(value);
        }
        assert_eq!(asked[0], wanted);
        assert!(endpoint.asked("CreateService").is_empty());
        endpoint.is_understood_by_botocore();
    }
}
