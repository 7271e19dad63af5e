//! What CreateService, UpdateService and RunTask refuse before the scheduler sees them: what they refer to must be there.

use hoist_fargate::TaskDefinition;
use serde_json::Value;

use super::words::{client, invalid};
use super::{clusters, tags};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn create(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    check_region(ctx, call)?;
    tags::check(call)?;
    if !is_external(call) {
        check_launch_type(ctx, call)?;
    }
    if call.integer("desiredCount").is_some_and(|count| count < 0) {
        return Err(invalid("Desired count must not be negative."));
    }
    if call.str("schedulingStrategy") == Some("DAEMON") {
        return Err(invalid(
            "Fargate services do not support the DAEMON scheduling strategy.",
        ));
    }
    let controller = call
        .params
        .pointer("/deploymentController/type")
        .and_then(Value::as_str)
        .unwrap_or("ECS");
    if controller == "EXTERNAL" {
        // What else there is to say, its task sets say.
        return check_deployment(call);
    }
    if controller != "ECS" {
        return Err(invalid(format!(
            "The deployment controller {controller} is not part of the embedded ECS."
        )));
    }
    let definition = find_definition(ctx, call)?;
    check_network(ctx, call, &definition)?;
    check_deployment(call)?;
    check_balancers(ctx, call, &definition)
}

/// Whether CreateService makes a service that deploys by task sets.
pub fn is_external(call: &Call) -> bool {
    let controller = call.params.pointer("/deploymentController/type");
    controller.is_some_and(|it| it == "EXTERNAL")
}

pub fn create_task_set(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    check_launch_type(ctx, call)?;
    let definition = find_definition(ctx, call)?;
    check_network(ctx, call, &definition)?;
    check_balancers(ctx, call, &definition)
}

pub async fn update(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let name = call.str("service").unwrap_or_default();
    let known = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let service = world
            .find_service(cluster, name)
            .ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
        let strategy = service.request.get("capacityProviderStrategy").cloned();
        let definition = service.task_definition.clone();
        Ok::<_, ApiError>((definition, service.is_external(), strategy))
    })?;
    let (known, is_external, strategy) = known;
    check_new_strategy(ctx, call, strategy.as_ref())?;
    if call.integer("desiredCount").is_some_and(|count| count < 0) {
        return Err(invalid("Desired count must not be negative."));
    }
    if is_external {
        // The scheduler refuses what is a task set's.
        return check_deployment(call);
    }
    let definition = match call.str("taskDefinition") {
        Some(_) => find_definition(ctx, call)?,
        None => ctx
            .driver
            .read(|world| world.task_definition(&known).cloned())
            .ok_or_else(|| client("TaskDefinition not found."))?,
    };
    if call
        .params
        .get("networkConfiguration")
        .is_some_and(Value::is_object)
    {
        check_network(ctx, call, &definition)?;
    }
    check_deployment(call)?;
    check_balancers(ctx, call, &definition)
}

pub async fn run_task(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    check_region(ctx, call)?;
    tags::check(call)?;
    check_launch_type(ctx, call)?;
    let definition = find_definition(ctx, call)?;
    for name in call
        .params
        .pointer("/overrides/containerOverrides")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = name["name"].as_str().unwrap_or_default();
        if definition.container(name).is_none() {
            return Err(invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    check_network(ctx, call, &definition)
}

/// The cluster comes first: a call that is wrong in several ways learns of the cluster.
fn check_region(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    ctx.driver.read(|world| {
        world
            .find_cluster(&call.region, call.str("cluster"))
            .map(drop)
    })?;
    Ok(())
}

/// Without a word ECS means EC2, and there is none here; saying so is better than a service that waits for ever.
fn check_launch_type(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let strategy = call.list("capacityProviderStrategy");
    let launch_type = call.str("launchType");
    if launch_type.is_some() && !strategy.is_empty() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    match launch_type {
        Some("FARGATE") => Ok(()),
        None if !strategy.is_empty() => check_strategy(ctx, call, strategy),
        None => check_default_strategy(ctx, call),
        _ => Err(no_instances()),
    }
}

fn no_instances() -> ApiError {
    invalid("No Container Instances were found in your cluster.")
}

fn has_weight(strategy: &[Value]) -> bool {
    strategy
        .iter()
        .any(|it| it["weight"].as_i64().is_some_and(|weight| weight > 0))
}

/// Where nothing is said, the cluster's strategy counts; without one ECS means EC2.
fn check_default_strategy(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let strategy = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let strategy = cluster.request.get("defaultCapacityProviderStrategy");
        Ok::<_, ApiError>(strategy.and_then(Value::as_array).cloned())
    })?;
    match strategy.as_deref() {
        None | Some([]) => Err(no_instances()),
        Some(strategy) if has_weight(strategy) => Ok(()),
        // github.com/terraform-aws-modules/terraform-aws-ecs, issue 27
        Some(_) => Err(invalid(
            "There are no capacity providers with a weight value greater than zero defined in the default capacity provider strategy. \
             At least one capacity provider must have a weight value greater than zero specified. Update the cluster's default capacity \
             provider strategy or specify a valid capacity provider strategy and try again.",
        )),
    }
}

/// A strategy names providers that there are and that the cluster has, one base at most, and where there are several a weight.
///
/// The rules are those of the API reference (`CapacityProviderStrategyItem`); how the last two are refused is not known (?).
fn check_strategy(ctx: &Ctx, call: &Call, strategy: &[Value]) -> Result<(), ApiError> {
    for item in strategy {
        let name = item["capacityProvider"].as_str().unwrap_or_default();
        if !["FARGATE", "FARGATE_SPOT"].contains(&name) {
            return Err(invalid(format!(
                "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
            )));
        }
    }
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let providers = cluster.request.get("capacityProviders");
        let providers = providers.and_then(Value::as_array).into_iter().flatten();
        let providers: Vec<&str> = providers.filter_map(Value::as_str).collect();
        clusters::check_associated(strategy, &providers)
    })?;
    let bases = strategy
        .iter()
        .filter(|it| it["base"].as_i64().is_some_and(|base| base > 0));
    if bases.count() > 1 {
        return Err(invalid(
            "Only one capacity provider in a capacity provider strategy can have a base value defined.",
        ));
    }
    if strategy.len() > 1 && !has_weight(strategy) {
        return Err(invalid(
            "At least one capacity provider in a capacity provider strategy must have a weight value greater than zero.",
        ));
    }
    Ok(())
}

/// A strategy with its defaults filled in.
fn plain(strategy: &[Value]) -> Vec<(&str, i64, i64)> {
    let number = |it: &Value, name: &str| it[name].as_i64().unwrap_or(0);
    strategy
        .iter()
        .map(|it| {
            let name = it["capacityProvider"].as_str().unwrap_or_default();
            (name, number(it, "base"), number(it, "weight"))
        })
        .collect()
}

/// Another strategy than before wants a new deployment, and the caller has to say so.
fn check_new_strategy(ctx: &Ctx, call: &Call, known: Option<&Value>) -> Result<(), ApiError> {
    let Some(strategy) = call.params["capacityProviderStrategy"].as_array() else {
        return Ok(());
    };
    check_strategy(ctx, call, strategy)?;
    let known = known
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if plain(known) != plain(strategy) && call.boolean("forceNewDeployment") != Some(true) {
        return Err(invalid(
            "When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity \
             provider strategy on a service that is already using one, you must force a new deployment.",
        ));
    }
    Ok(())
}

fn find_definition(ctx: &Ctx, call: &Call) -> Result<TaskDefinition, ApiError> {
    let name = call.str("taskDefinition").unwrap_or_default();
    let found = ctx
        .driver
        .read(|world| world.find_task_definition(&call.region, name).cloned());
    let definition = found.ok_or_else(|| client("TaskDefinition not found."))?;
    if !definition.active {
        return Err(client("TaskDefinition is inactive"));
    }
    let fargate = definition
        .document
        .get("compatibilities")
        .and_then(Value::as_array);
    if !fargate.is_some_and(|list| list.iter().any(|it| it == "FARGATE")) {
        return Err(invalid(
            "Task definition does not support launch_type FARGATE.",
        ));
    }
    Ok(definition)
}

fn check_network(ctx: &Ctx, call: &Call, definition: &TaskDefinition) -> Result<(), ApiError> {
    let awsvpc = definition
        .document
        .get("networkMode")
        .is_some_and(|mode| mode == "awsvpc");
    let Some(network) = call
        .params
        .pointer("/networkConfiguration/awsvpcConfiguration")
    else {
        return if awsvpc {
            Err(invalid(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            ))
        } else {
            Ok(())
        };
    };
    let strings = |name: &str| -> Vec<&str> {
        network
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    };
    let subnets = strings("subnets");
    if subnets.is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if subnets.len() > 16 {
        return Err(invalid("subnets can have at most 16 items."));
    }
    if strings("securityGroups").len() > 5 {
        return Err(invalid("securityGroups can have at most 5 items."));
    }
    for id in &subnets {
        if ctx.ec2.subnet(&call.region, id)?.is_none() {
            let all = subnets.join(", ");
            return Err(invalid(format!(
                "Error retrieving subnet information for [{all}]: The subnet ID '{id}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            )));
        }
    }
    for id in strings("securityGroups") {
        if ctx.ec2.security_group(&call.region, id)?.is_none() {
            let all = strings("securityGroups").join(", ");
            return Err(invalid(format!(
                "Error retrieving security group information for [{all}]: The security group '{id}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            )));
        }
    }
    Ok(())
}

fn check_deployment(call: &Call) -> Result<(), ApiError> {
    let Some(configuration) = call
        .params
        .get("deploymentConfiguration")
        .filter(|it| it.is_object())
    else {
        return Ok(());
    };
    let number = |name: &str| configuration.get(name).and_then(Value::as_i64);
    let (minimum, maximum) = (number("minimumHealthyPercent"), number("maximumPercent"));
    if minimum.is_some_and(|percent| !(0..=100).contains(&percent)) {
        return Err(invalid(
            "Minimum healthy percent must be between 0 and 100.",
        ));
    }
    if maximum.is_some_and(|percent| percent < 100) {
        return Err(invalid("Maximum percent must be at least 100."));
    }
    if minimum.unwrap_or(100) >= 100 && maximum == Some(100) {
        return Err(invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ));
    }
    let strategy = configuration
        .get("strategy")
        .and_then(Value::as_str)
        .unwrap_or("ROLLING");
    if !["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"].contains(&strategy) {
        return Err(invalid(format!("{strategy} is not a deployment strategy.")));
    }
    Ok(())
}

fn check_balancers(ctx: &Ctx, call: &Call, definition: &TaskDefinition) -> Result<(), ApiError> {
    let balancers = call.list("loadBalancers");
    if balancers.len() > 5 {
        return Err(invalid("load balancers can have at most 5 items."));
    }
    if call.action == "CreateService"
        && balancers.is_empty()
        && call
            .integer("healthCheckGracePeriodSeconds")
            .is_some_and(|it| it > 0)
    {
        return Err(invalid(
            "Health check grace period is only valid for services configured to use load balancers",
        ));
    }
    for balancer in balancers {
        let text = |name: &str| {
            balancer
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        if text("targetGroupArn").is_none() {
            return Err(invalid("Target group ARN can not be blank."));
        }
        let name =
            text("containerName").ok_or_else(|| invalid("Container name can not be blank."))?;
        let containers = definition
            .document
            .get("containerDefinitions")
            .and_then(Value::as_array);
        let container = containers
            .into_iter()
            .flatten()
            .find(|it| it["name"] == name);
        let Some(container) = container else {
            return Err(invalid(format!(
                "The container {name} does not exist in the task definition."
            )));
        };
        let port = balancer
            .get("containerPort")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let mapped = container["portMappings"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["containerPort"] == port);
        if !mapped {
            return Err(invalid(format!(
                "The container {name} did not have a container port {port} defined."
            )));
        }
        check_group(ctx, text("targetGroupArn").unwrap_or_default())?;
        check_advanced(ctx, call, balancer)?;
    }
    Ok(())
}

/// Where traffic is shifted, both target groups must be there and the rules must forward to them
/// (`advancedConfiguration`; facts, "Blue/green, linear, canary").
fn check_advanced(ctx: &Ctx, call: &Call, balancer: &Value) -> Result<(), ApiError> {
    let shifts = call
        .params
        .pointer("/deploymentConfiguration/strategy")
        .and_then(Value::as_str)
        .is_some_and(|it| it != "ROLLING");
    let Some(advanced) = balancer
        .get("advancedConfiguration")
        .filter(|it| it.is_object())
    else {
        return if shifts {
            Err(invalid(
                "advancedConfiguration is required for load balancers of a service that uses the BLUE_GREEN, LINEAR or CANARY deployment strategy.",
            ))
        } else {
            Ok(())
        };
    };
    let text = |name: &str| advanced.get(name).and_then(Value::as_str);
    let (Some(alternate), Some(production)) = (
        text("alternateTargetGroupArn"),
        text("productionListenerRule"),
    ) else {
        return Err(invalid(
            "alternateTargetGroupArn and productionListenerRule must be specified in advancedConfiguration.",
        ));
    };
    if text("roleArn").is_none() {
        return Err(invalid(
            "roleArn must be specified in advancedConfiguration.",
        ));
    }
    let first = balancer["targetGroupArn"].as_str().unwrap_or_default();
    let test = text("testListenerRule");
    for rule in [Some(production), test].into_iter().flatten() {
        let Some(weights) = ctx.balancers.weights(&call.region, rule)? else {
            return Err(invalid(format!(
                "The specified listener rule does not exist. ({rule})"
            )));
        };
        let forwards = |group: &str| weights.iter().any(|(it, _)| it == group);
        if !forwards(first) || !forwards(alternate) {
            return Err(invalid(
                "Both targetGroup and alternateTargetGroup must be associated with the productionListenerRule or testListenerRule.",
            ));
        }
    }
    check_group(ctx, alternate)
}

/// A target group must be there, take addresses, and be behind a load balancer.
fn check_group(ctx: &Ctx, arn: &str) -> Result<(), ApiError> {
    let Some(group) = ctx.balancers.standing(arn)? else {
        return Err(invalid(format!(
            "The specified target group does not exist. ({arn})"
        )));
    };
    if group.target_type != "ip" {
        return Err(invalid(format!(
            "The provided target group {arn} has target type {}, which is incompatible with the awsvpc network mode specified in the \
             task definition.",
            group.target_type
        )));
    }
    if !group.has_balancer {
        return Err(invalid(format!(
            "The target group with targetGroupArn {arn} does not have an associated load balancer."
        )));
    }
    Ok(())
}
