use serde_json::Value;

use super::service::Iam;
use super::{policies, providers, roles};
use crate::api::{ApiError, Call};

/// Answers one call of the IAM API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let _changing = iam.changing.lock().await;
    match call.action.as_str() {
        "CreateRole" => roles::create(iam, call),
        "GetRole" => roles::get(iam, call),
        "ListRoles" => roles::list(iam, call),
        "UpdateRole" => roles::update(iam, call),
        "DeleteRole" => roles::delete(iam, call),
        "UpdateAssumeRolePolicy" => roles::update_trust(iam, call),
        "CreateServiceLinkedRole" => roles::create_service_linked(iam, call),
        "DeleteServiceLinkedRole" => roles::delete_service_linked(iam, call),
        "TagRole" => roles::tag(iam, call),
        "UntagRole" => roles::untag(iam, call),
        "ListRoleTags" => roles::list_tags(iam, call),
        "ListInstanceProfilesForRole" => roles::list_profiles(iam, call),
        "AttachRolePolicy" => policies::attach(iam, call),
        "DetachRolePolicy" => policies::detach(iam, call),
        "ListAttachedRolePolicies" => policies::list_attached(iam, call),
        "PutRolePolicy" => policies::put_inline(iam, call),
        "GetRolePolicy" => policies::get_inline(iam, call),
        "ListRolePolicies" => policies::list_inline(iam, call),
        "DeleteRolePolicy" => policies::delete_inline(iam, call),
        "CreatePolicy" => policies::create(iam, call),
        "GetPolicy" => policies::get(iam, call),
        "GetPolicyVersion" => policies::get_version(iam, call),
        "ListPolicies" => policies::list(iam, call),
        "DeletePolicy" => policies::delete(iam, call),
        "CreateOpenIDConnectProvider" => providers::create(iam, call),
        "GetOpenIDConnectProvider" => providers::get(iam, call),
        "ListOpenIDConnectProviders" => providers::list(iam),
        "DeleteOpenIDConnectProvider" => providers::delete(iam, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}
