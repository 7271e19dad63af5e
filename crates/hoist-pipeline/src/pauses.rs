//! Deployments that wait in a PAUSE hook: found, and let go on or rolled back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hoist_aws::{Client, Service as Aws, read};
use hoist_project::Service;
use hoist_rollout::PauseSeen;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::refusal::refused;
use crate::{select, service};

/// What a deployment that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To go on.
    GoOn,
    /// To go back.
    RollBack,
}

/// The deployments that were answered.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Answered {
    /// One for each service that waited.
    pub deployments: Vec<AnsweredOne>,
}

/// A deployment that was answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredOne {
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// Service deployment ARN.
    pub deployment: String,
    /// The stage in which it waited.
    pub stage: String,
    /// What it was told.
    pub answer: Answer,
}

/// The PAUSE hook that a deployment of DescribeServiceDeployments waits in.
pub fn waiting(deployment: &Value) -> Option<PauseSeen> {
    let hook = read::list(deployment, "lifecycleHookDetails")
        .find(|hook| hook["targetType"] == "PAUSE" && hook["status"] == "AWAITING_ACTION")?;
    Some(PauseSeen {
        hook: read::text(hook, "hookId").to_owned(),
        expires: read::moment(hook, "expiresAt"),
        then: read::text(hook, "timeoutAction").to_owned(),
    })
}

/// Answers the deployments of `services` that wait in a PAUSE hook. With `patience`, waits that long for one that has not come to it.
///
/// # Errors
/// `Check` where no deployment waits; AWS refused a call.
pub fn answer_pauses<'a>(
    aws: &'a Client,
    services: &'a [&'a Service],
    answer: Answer,
    patience: Option<Duration>,
    pause: Duration,
) -> Pin<Box<dyn Future<Output = Result<Answered, Failure>> + Send + 'a>> {
    Box::pin(async move {
        let began = Instant::now();
        loop {
            let (mut deployments, mut moving) = (Vec::new(), Vec::new());
            for service in services {
                if patience.is_none() {
                    select::live(aws, service).await?;
                } else if service::describe_if_cluster(aws, &service.cluster, &service.name)
                    .await?
                    .is_none()
                {
                    // The deployment that is waited for is going to make it.
                    moving.push(format!("{} does not exist yet", service.name));
                    continue;
                }
                let Some(flying) = service::in_flight(aws, &service.cluster, &service.name).await?
                else {
                    continue;
                };
                match answered(aws, service, &flying.arn, answer).await? {
                    Some(done) => deployments.push(done),
                    None => moving.push(format!("{} is {}", service.name, flying.status)),
                }
            }
            if !deployments.is_empty() {
                return Ok(Answered { deployments });
            }
            if patience.is_none_or(|patience| began.elapsed() >= patience) {
                return Err(none_waits(&moving, patience.is_some()));
            }
            tokio::time::sleep(pause).await;
        }
    })
}

async fn answered(
    aws: &Client,
    service: &Service,
    arn: &str,
    answer: Answer,
) -> Result<Option<AnsweredOne>, Failure> {
    let described = aws
        .json(
            Aws::Ecs,
            "DescribeServiceDeployments",
            json!({ "serviceDeploymentArns": [arn] }),
        )
        .await
        .map_err(|error| refused("failed to describe the deployment", &error))?;
    let deployment = &described["serviceDeployments"][0];
    let Some(pause) = waiting(deployment) else {
        return Ok(None);
    };
    let action = match answer {
        Answer::GoOn => "CONTINUE",
        Answer::RollBack => "ROLLBACK",
    };
    let request = json!({ "serviceDeploymentArn": arn, "hookId": pause.hook, "action": action });
    aws.json(Aws::Ecs, "ContinueServiceDeployment", request)
        .await
        .map_err(|error| {
            refused(
                format!("failed to answer the deployment of {}", service.name),
                &error,
            )
        })?;
    Ok(Some(AnsweredOne {
        service: service.key.clone(),
        name: service.name.clone(),
        deployment: arn.to_owned(),
        stage: read::text(deployment, "lifecycleStage").to_owned(),
        answer,
    }))
}

fn none_waits(moving: &[String], waited: bool) -> Failure {
    let failure = Failure::new(
        Kind::Check,
        match moving {
            [] => "no deployment is in flight".to_owned(),
            moving => format!("no deployment waits in a PAUSE hook: {}", moving.join(", ")),
        },
    );
    if waited {
        return failure;
    }
    failure.hint("`--wait 10m` waits for one that has not come to its pause yet")
}

impl fmt::Display for Answered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.deployments {
            let what = match one.answer {
                Answer::GoOn => "goes on",
                Answer::RollBack => "is rolled back",
            };
            let stage = one.stage.to_lowercase().replace('_', " ");
            writeln!(out, "{} {what}; it waited at {stage}", one.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endpoint, refusal};

    fn project() -> hoist_project::Project {
        let folder = tempfile::tempdir().unwrap();
        let text = "app: shop\nservices: { web: { port: 80 } }\n";
        std::fs::write(folder.path().join("hoist.yaml"), text).unwrap();
        hoist_project::Project::load_with(folder.path(), None, &hoist_project::Variables::new())
            .unwrap()
    }

    async fn asked(
        hook: Value,
        answer: Answer,
        patience: Option<Duration>,
    ) -> (Result<Answered, Failure>, Endpoint) {
        let endpoint = Endpoint::answering(move |operation, _, nth| match operation {
            "DescribeServices" => (200, json!({ "services": [{ "serviceName": "shop-web", "status": "ACTIVE" }] })),
            "ListServiceDeployments" => (200, json!({ "serviceDeployments": [
                { "serviceDeploymentArn": "d", "status": "IN_PROGRESS", "targetServiceRevisionArn": "r" }] })),
            "DescribeServiceRevisions" => (200, json!({ "serviceRevisions": [{ "taskDefinition": "web:2" }] })),
            // The pause comes at the second look.
            "DescribeServiceDeployments" => (200, json!({ "serviceDeployments": [{
                "serviceDeploymentArn": "d", "lifecycleStage": "POST_TEST_TRAFFIC_SHIFT",
                "lifecycleHookDetails": if nth == 0 { json!([]) } else { json!([hook]) } }] })),
            "ContinueServiceDeployment" => (200, json!({ "serviceDeploymentArn": "d" })),
            other => refusal(400, "UnknownOperationException", other),
        })
        .await;
        let project = project();
        let services = [&project.services[0]];
        let result = answer_pauses(
            &endpoint.client,
            &services,
            answer,
            patience,
            Duration::from_millis(1),
        )
        .await;
        (result, endpoint)
    }

    #[tokio::test]
    async fn the_deployment_that_waits_is_found_and_answered() {
        let hook = json!({ "hookId": "h", "targetType": "PAUSE", "status": "AWAITING_ACTION" });
        let (done, endpoint) = asked(hook, Answer::RollBack, Some(Duration::from_secs(60))).await;
        assert_eq!(
            done.unwrap().to_string(),
            "shop-web is rolled back; it waited at post test traffic shift\n"
        );
        assert_eq!(
            endpoint.asked("ContinueServiceDeployment"),
            [json!({ "serviceDeploymentArn": "d", "hookId": "h", "action": "ROLLBACK" })]
        );
    }

    #[tokio::test]
    async fn where_none_waits_that_is_said_and_nothing_is_answered() {
        let hook = json!({ "hookId": "h", "targetType": "AWS_LAMBDA", "status": "IN_PROGRESS" });
        let (done, endpoint) = asked(hook, Answer::GoOn, None).await;
        let failure = done.unwrap_err();
        assert_eq!(failure.kind, Kind::Check);
        assert!(
            failure.message.contains("shop-web is IN_PROGRESS"),
            "{failure}"
        );
        assert!(endpoint.asked("ContinueServiceDeployment").is_empty());
    }
}
