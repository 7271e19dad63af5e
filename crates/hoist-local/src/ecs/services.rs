//! Services.

use hoist_fargate::{Action, Answer, ServiceStatus};
use serde_json::{Map, Value, json};

use super::page::page;
use super::words::{includes, invalid, is_name, missing, names, need, request};
use super::{service_check, service_json};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = need(call, "serviceName", "Service name can not be blank.")?;
    if !is_name(name) {
        return Err(invalid(
            "Invalid service name. Up to 255 letters (uppercase and lowercase), numbers, hyphens, and underscores are allowed.",
        ));
    }
    if !service_check::is_external(call) {
        need(call, "taskDefinition", "TaskDefinition can not be blank.")?;
    }
    service_check::create(ctx, call).await?;
    let mut request = request(call);
    request.insert("createdBy".to_owned(), call.key.arn.clone().into());
    change(ctx, call, Action::CreateService, request).await
}

pub async fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "service", "Service can not be blank.")?;
    service_check::update(ctx, call).await?;
    change(ctx, call, Action::UpdateService, request(call)).await
}

pub async fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "service", "Service can not be blank.")?;
    change(ctx, call, Action::DeleteService, request(call)).await
}

async fn change(
    ctx: &Ctx,
    call: &Call,
    action: Action,
    request: Map<String, Value>,
) -> Result<Value, ApiError> {
    let Answer::Service(arn) = ctx.driver.call(&call.region, action, request).await? else {
        return Err(ApiError::internal(
            "the scheduler answered something that is no service",
        ));
    };
    ctx.driver.read(|world| {
        let service = world.service(&arn).ok_or_else(|| ApiError::internal("the service is gone"))?;
        // CreateService answers the tags it was given; the others answer them only to DescribeServices.
        Ok(json!({"service": service_json::render(world, service, action == Action::CreateService)}))
    })
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted = names(call, "services", 10)?;
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in wanted {
            match world.find_service(cluster, name) {
                Some(service) => {
                    found.push(service_json::render(world, service, includes(call, "TAGS")))
                }
                None if name.starts_with("arn:") => failures.push(missing(name)),
                None => {
                    let resource = format!("service/{}/{name}", cluster.name);
                    failures.push(missing(ctx.arn("ecs", &call.region, &resource)));
                }
            }
        }
        Ok(json!({"services": found, "failures": failures}))
    })
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let launch_type = call.str("launchType");
    let scheduling = call.str("schedulingStrategy").unwrap_or("REPLICA");
    let arns = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let kept = |service: &&hoist_fargate::Service| {
            service.status != ServiceStatus::Inactive
                && scheduling == "REPLICA"
                && launch_type.is_none_or(|wanted| {
                    service
                        .request
                        .get("launchType")
                        .is_some_and(|it| it == wanted)
                })
        };
        Ok::<_, ApiError>(
            world
                .services(&cluster.arn)
                .filter(kept)
                .map(|it| it.arn.clone().into())
                .collect(),
        )
    })?;
    page(call, "serviceArns", arns, 10)
}

/// Services of all clusters that are in a namespace through Service Connect, by its name or ARN.
pub fn list_by_namespace(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted = need(call, "namespace", "Namespace can not be blank.")?;
    let arns = ctx.driver.read(|world| {
        let mut found: Vec<Value> = Vec::new();
        for cluster in world.clusters(&call.region).filter(|it| it.active) {
            let defaults = cluster.request.get("serviceConnectDefaults");
            let default = defaults.and_then(|it| it["namespace"].as_str());
            for service in world.services(&cluster.arn) {
                let connect = service.request.get("serviceConnectConfiguration");
                let named = connect.and_then(|it| it["namespace"].as_str());
                let enabled = connect.is_some_and(|it| it["enabled"] == true);
                if enabled
                    && service.status != ServiceStatus::Inactive
                    && named.or(default) == Some(wanted)
                {
                    found.push(service.arn.clone().into());
                }
            }
        }
        found
    });
    page(call, "serviceArns", arns, 10)
}
