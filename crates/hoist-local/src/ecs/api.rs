use serde_json::Value;

use super::{
    account, clusters, definitions, deployments, execute, instances, protection, services, tags,
    task_sets, tasks,
};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// Answers one call of the ECS API.
///
/// # Errors
/// As ECS answers them.
pub async fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "CreateCluster" => clusters::create(ctx, call).await,
        "DescribeClusters" => clusters::describe(ctx, call),
        "ListClusters" => clusters::list(ctx, call),
        "UpdateCluster" | "UpdateClusterSettings" => clusters::update(ctx, call).await,
        "PutClusterCapacityProviders" => clusters::put_capacity_providers(ctx, call).await,
        "DescribeCapacityProviders" => clusters::describe_capacity_providers(ctx, call),
        "DeleteCluster" => clusters::delete(ctx, call).await,
        "ListContainerInstances" => instances::list(ctx, call),
        "DescribeContainerInstances" => instances::describe(ctx, call),
        "DeregisterContainerInstance" | "UpdateContainerAgent" => instances::of_one(ctx, call),
        "UpdateContainerInstancesState" => instances::set_states(ctx, call),
        "PutAttributes" => instances::put_attributes(ctx, call),
        "DeleteAttributes" => instances::delete_attributes(ctx, call),
        "ListAttributes" => instances::list_attributes(ctx, call),

        "ListDaemons" => instances::list_daemons(ctx, call),
        "ListDaemonTaskDefinitions" => instances::nothing(call, "daemonTaskDefinitions"),
        "ListGateways" => instances::nothing(call, "gateways"),
        "ListGatewayClusterAssociations" => instances::nothing(call, "gatewayClusterAssociations"),

        "RegisterTaskDefinition" => definitions::register(ctx, call).await,
        "DescribeTaskDefinition" => definitions::describe(ctx, call),
        "DeregisterTaskDefinition" => definitions::deregister(ctx, call).await,
        "DeleteTaskDefinitions" => definitions::delete(ctx, call).await,
        "ListTaskDefinitions" => definitions::list(ctx, call),
        "ListTaskDefinitionFamilies" => definitions::families(ctx, call),

        "CreateService" => services::create(ctx, call).await,
        "UpdateService" => services::update(ctx, call).await,
        "DeleteService" => services::delete(ctx, call).await,
        "DescribeServices" => services::describe(ctx, call),
        "ListServices" => services::list(ctx, call),
        "ListServicesByNamespace" => services::list_by_namespace(ctx, call),

        "CreateTaskSet" => task_sets::create(ctx, call).await,
        "UpdateTaskSet" => task_sets::update(ctx, call).await,
        "DeleteTaskSet" => task_sets::delete(ctx, call).await,
        "UpdateServicePrimaryTaskSet" => task_sets::make_primary(ctx, call).await,
        "DescribeTaskSets" => task_sets::describe(ctx, call),

        "RunTask" => tasks::run(ctx, call).await,
        "StartTask" => instances::start_task(ctx, call),
        "StopTask" => tasks::stop(ctx, call).await,
        "DescribeTasks" => tasks::describe(ctx, call),
        "ListTasks" => tasks::list(ctx, call),
        "GetTaskProtection" => protection::get(ctx, call),
        "UpdateTaskProtection" => protection::update(ctx, call).await,
        "ExecuteCommand" => execute::execute(ctx, call),

        "ListServiceDeployments" => deployments::list(ctx, call),
        "DescribeServiceDeployments" => deployments::describe(ctx, call),
        "DescribeServiceRevisions" => deployments::revisions(ctx, call),
        "StopServiceDeployment" => deployments::stop(ctx, call).await,
        "ContinueServiceDeployment" => deployments::carry_on(ctx, call).await,

        "TagResource" => tags::tag(ctx, call).await,
        "UntagResource" => tags::untag(ctx, call).await,
        "ListTagsForResource" => tags::list(ctx, call),

        "PutAccountSetting" | "PutAccountSettingDefault" => account::put(ctx, call),
        "ListAccountSettings" => account::list(ctx, call),
        "DeleteAccountSetting" => account::delete(ctx, call),

        other => Err(ApiError::unknown_operation(call.service, other)),
    }
}
