use serde_json::{Value, json};

use super::instances;
use super::map::{Entry, Namespace, Operation};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;

/// Answers one call of the Cloud Map API.
///
/// # Errors
/// As the service answers them.
pub fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "CreatePrivateDnsNamespace" => create_namespace(ctx, call, "DNS_PRIVATE"),
        "CreateHttpNamespace" => create_namespace(ctx, call, "HTTP"),
        "GetNamespace" => Ok(
            json!({"Namespace": shown_namespace(ctx, call, &namespace(ctx, call, text(call, "Id"))?)?}),
        ),
        "ListNamespaces" => list_namespaces(ctx, call),
        "DeleteNamespace" => delete_namespace(ctx, call),
        "GetOperation" => operation(ctx, call),
        "CreateService" => create_service(ctx, call),
        "GetService" => Ok(json!({"Service": shown(ctx, &entry(ctx, call, text(call, "Id"))?)})),
        "ListServices" => list_services(ctx, call),
        "DeleteService" => delete_service(ctx, call),
        "UpdateService" => update_service(ctx, call),
        "UpdatePrivateDnsNamespace" | "UpdateHttpNamespace" => update_namespace(ctx, call),
        "ListOperations" => list_operations(ctx, call),
        "RegisterInstance" => instances::register(ctx, call),
        "DeregisterInstance" => instances::deregister(ctx, call),
        "GetInstance" => instances::get(ctx, call),
        "ListInstances" => instances::list(ctx, call),
        "GetInstancesHealthStatus" => instances::health(ctx, call),
        "UpdateInstanceCustomHealthStatus" => instances::set_health(ctx, call),
        "DiscoverInstancesRevision" => instances::revision(ctx, call),
        "TagResource" => tag(ctx, call),
        "UntagResource" => untag(ctx, call),
        "ListTagsForResource" => Ok(json!({"Tags": tags(ctx, call)?})),
        "DiscoverInstances" => instances::discover(ctx, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn text<'a>(call: &'a Call, name: &str) -> &'a str {
    call.str(name).unwrap_or_default()
}

/// The last part of an id or an ARN.
fn id(given: &str) -> &str {
    given.rsplit('/').next().unwrap_or(given)
}

fn namespace(ctx: &Ctx, call: &Call, given: &str) -> Result<Namespace, ApiError> {
    let known = ctx.map.namespaces.get(&call.region, id(given))?;
    known.ok_or_else(|| ApiError::new("NamespaceNotFound", format!("Namespace not found: {given}")))
}

pub(super) fn entry(ctx: &Ctx, call: &Call, given: &str) -> Result<Entry, ApiError> {
    let known = ctx.map.entries.get(&call.region, id(given))?;
    known.ok_or_else(|| ApiError::new("ServiceNotFound", format!("Service not found: {given}")))
}

pub(super) fn entries(ctx: &Ctx, call: &Call, namespace: &str) -> Result<Vec<Entry>, ApiError> {
    let all = ctx.map.entries.list(&call.region)?;
    Ok(all
        .into_iter()
        .map(|(_, it)| it)
        .filter(|it| it.namespace == namespace)
        .collect())
}

/// Records that something that takes a while on the real service is done; the answer names the record.
pub(super) fn done(ctx: &Ctx, call: &Call, kind: &str, targets: Value) -> Result<Value, ApiError> {
    let operation = Operation {
        kind: kind.to_owned(),
        targets,
        at: clock::now(),
    };
    let id = format!("{}-{}", ids::hex(32), ids::hex(8));
    ctx.map.operations.put(&call.region, &id, &operation)?;
    Ok(json!({"OperationId": id}))
}

fn operation(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let id = text(call, "OperationId");
    let known = ctx.map.operations.get(&call.region, id)?;
    let known = known
        .ok_or_else(|| ApiError::new("OperationNotFound", format!("Operation not found: {id}")))?;
    let at = clock::epoch_seconds(known.at);
    Ok(json!({"Operation": {
        "Id": id, "OwnerAccount": ACCOUNT, "Type": known.kind, "Status": "SUCCESS", "CreateDate": at, "UpdateDate": at,
        "Targets": known.targets,
    }}))
}

fn create_namespace(ctx: &Ctx, call: &Call, kind: &str) -> Result<Value, ApiError> {
    let name = text(call, "Name");
    let all = ctx.map.namespaces.list(&call.region)?;
    if let Some((_, known)) = all.iter().find(|(_, it)| it.name == name) {
        let error = ApiError::new(
            "NamespaceAlreadyExists",
            format!("A namespace with the name {name} already exists"),
        );
        return Err(error.with("NamespaceId", known.id.clone()));
    }
    let id = format!("ns-{}", ids::hex(16));
    let made = Namespace {
        arn: format!(
            "arn:aws:servicediscovery:{}:{ACCOUNT}:namespace/{id}",
            call.region
        ),
        id: id.clone(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        description: call.str("Description").map(str::to_owned),
        created: clock::now(),
    };
    ctx.map.namespaces.put(&call.region, &id, &made)?;
    keep_tags(ctx, call, &made.arn)?;
    done(ctx, call, "CREATE_NAMESPACE", json!({"NAMESPACE": id}))
}

fn shown_namespace(ctx: &Ctx, call: &Call, it: &Namespace) -> Result<Value, ApiError> {
    let mut shown = json!({
        "Id": it.id, "Arn": it.arn, "ResourceOwner": ACCOUNT, "Name": it.name, "Type": it.kind,
        "ServiceCount": entries(ctx, call, &it.id)?.len(),
        "Properties": {"HttpProperties": {"HttpName": it.name}, "DnsProperties": {}},
        "CreateDate": clock::epoch_seconds(it.created),
    });
    if it.kind == "DNS_PRIVATE" {
        let zone = it.id.trim_start_matches("ns-").to_uppercase();
        shown["Properties"]["DnsProperties"] =
            json!({"HostedZoneId": format!("Z{zone}"), "SOA": {"TTL": 15}});
    }
    if let Some(description) = &it.description {
        shown["Description"] = json!(description);
    }
    Ok(shown)
}

fn list_namespaces(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    for (_, it) in ctx.map.namespaces.list(&call.region)? {
        let fits = call.list("Filters").iter().all(|filter| {
            let values = filter["Values"].as_array().map_or(&[][..], Vec::as_slice);
            match filter["Name"].as_str() {
                Some("TYPE") => values.iter().any(|value| *value == it.kind.as_str()),
                Some("NAME" | "HTTP_NAME") => values.iter().any(|value| *value == it.name.as_str()),
                _ => true,
            }
        });
        if fits {
            found.push(shown_namespace(ctx, call, &it)?);
        }
    }
    Ok(json!({"Namespaces": found}))
}

fn delete_namespace(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let found = namespace(ctx, call, text(call, "Id"))?;
    if !entries(ctx, call, &found.id)?.is_empty() {
        return Err(ApiError::new(
            "ResourceInUse",
            "Namespace has associated services",
        ));
    }
    ctx.map.namespaces.delete(&call.region, &found.id)?;
    ctx.map.tags.delete(&call.region, &found.arn)?;
    done(
        ctx,
        call,
        "DELETE_NAMESPACE",
        json!({"NAMESPACE": found.id}),
    )
}

fn create_service(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = text(call, "Name");
    let given = call
        .str("NamespaceId")
        .or_else(|| call.params["DnsConfig"]["NamespaceId"].as_str());
    let found = namespace(ctx, call, given.unwrap_or_default())?;
    if let Some(known) = entries(ctx, call, &found.id)?
        .iter()
        .find(|it| it.name == name)
    {
        let error = ApiError::new(
            "ServiceAlreadyExists",
            format!(
                "A service with the name {name} already exists in the namespace {}",
                found.name
            ),
        );
        return Err(error
            .with("ServiceId", known.id.clone())
            .with("ServiceArn", known.arn.clone()));
    }
    let id = format!("srv-{}", ids::hex(16));
    let made = Entry {
        arn: format!(
            "arn:aws:servicediscovery:{}:{ACCOUNT}:service/{id}",
            call.region
        ),
        id: id.clone(),
        name: name.to_owned(),
        namespace: found.id,
        description: call.str("Description").map(str::to_owned),
        dns: call.params["DnsConfig"].clone(),
        custom_health: call.params["HealthCheckCustomConfig"].clone(),
        created: clock::now(),
    };
    ctx.map.entries.put(&call.region, &id, &made)?;
    keep_tags(ctx, call, &made.arn)?;
    Ok(json!({"Service": shown(ctx, &made)}))
}

fn shown(ctx: &Ctx, it: &Entry) -> Value {
    let mut shown = json!({
        "Id": it.id, "Arn": it.arn, "ResourceOwner": ACCOUNT, "Name": it.name, "NamespaceId": it.namespace,
        "InstanceCount": instances::of(ctx, it).len(),
        "Type": if it.dns.is_object() { "DNS_HTTP" } else { "HTTP" },
        "CreateDate": clock::epoch_seconds(it.created),
    });
    if it.dns.is_object() {
        let mut dns = it.dns.clone();
        if dns["RoutingPolicy"].is_null() {
            dns["RoutingPolicy"] = json!("MULTIVALUE");
        }
        dns["NamespaceId"] = json!(it.namespace);
        shown["DnsConfig"] = dns;
    }
    if it.custom_health.is_object() {
        shown["HealthCheckCustomConfig"] = it.custom_health.clone();
    }
    if let Some(description) = &it.description {
        shown["Description"] = json!(description);
    }
    shown
}

fn list_services(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted: Vec<&str> = call
        .list("Filters")
        .iter()
        .filter(|filter| filter["Name"] == "NAMESPACE_ID")
        .flat_map(|filter| {
            filter["Values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        })
        .collect();
    let all = ctx.map.entries.list(&call.region)?;
    let found: Vec<Value> = all
        .iter()
        .map(|(_, it)| it)
        .filter(|it| wanted.is_empty() || wanted.contains(&it.namespace.as_str()))
        .map(|it| {
            let mut summary = shown(ctx, it);
            if let Some(members) = summary.as_object_mut() {
                members.remove("NamespaceId");
            }
            summary
        })
        .collect();
    Ok(json!({"Services": found}))
}

fn delete_service(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let found = entry(ctx, call, text(call, "Id"))?;
    if !instances::of(ctx, &found).is_empty() {
        return Err(ApiError::new(
            "ResourceInUse",
            "Service contains registered instances; delete the instances before deleting the service",
        ));
    }
    ctx.map.entries.delete(&call.region, &found.id)?;
    ctx.map.tags.delete(&call.region, &found.arn)?;
    Ok(json!({}))
}

fn update_service(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut found = entry(ctx, call, text(call, "Id"))?;
    let change = &call.params["Service"];
    found.description = change["Description"].as_str().map(str::to_owned);
    if let Some(records) = change["DnsConfig"].get("DnsRecords")
        && found.dns.is_object()
    {
        found.dns["DnsRecords"] = records.clone();
    }
    ctx.map.entries.put(&call.region, &found.id, &found)?;
    done(ctx, call, "UPDATE_SERVICE", json!({"SERVICE": found.id}))
}

fn update_namespace(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut found = namespace(ctx, call, text(call, "Id"))?;
    if let Some(description) = call.params["Namespace"]["Description"].as_str() {
        found.description = Some(description.to_owned());
    }
    ctx.map.namespaces.put(&call.region, &found.id, &found)?;
    done(
        ctx,
        call,
        "UPDATE_NAMESPACE",
        json!({"NAMESPACE": found.id}),
    )
}

fn list_operations(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut all = ctx.map.operations.list(&call.region)?;
    all.sort_by_key(|(_, it)| std::cmp::Reverse(it.at));
    let fits = |it: &Operation| {
        call.list("Filters").iter().all(|filter| {
            let has = |value: &str| {
                filter["Values"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|it| *it == value))
            };
            match filter["Name"].as_str() {
                Some("TYPE") => has(&it.kind),
                Some("STATUS") => has("SUCCESS"),
                Some(name @ ("NAMESPACE_ID" | "SERVICE_ID")) => it.targets
                    [name.trim_end_matches("_ID")]
                .as_str()
                .is_some_and(has),
                _ => true,
            }
        })
    };
    let shown: Vec<Value> = all
        .iter()
        .filter(|(_, it)| fits(it))
        .map(|(id, _)| json!({"Id": id, "Status": "SUCCESS"}))
        .collect();
    Ok(json!({"Operations": shown}))
}

fn keep_tags(ctx: &Ctx, call: &Call, arn: &str) -> Result<(), ApiError> {
    let tags = call.list("Tags").to_vec();
    if !tags.is_empty() {
        ctx.map.tags.put(&call.region, arn, &tags)?;
    }
    Ok(())
}

fn tags(ctx: &Ctx, call: &Call) -> Result<Vec<Value>, ApiError> {
    let arn = text(call, "ResourceARN");
    let given = id(arn);
    let known = ctx
        .map
        .namespaces
        .get(&call.region, given)?
        .map(|it| it.arn);
    let known = known.or(ctx.map.entries.get(&call.region, given)?.map(|it| it.arn));
    if known.is_none_or(|it| it != arn) {
        return Err(ApiError::new(
            "ResourceNotFoundException",
            format!("Resource not found: {arn}"),
        ));
    }
    Ok(ctx.map.tags.get(&call.region, arn)?.unwrap_or_default())
}

fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut all = tags(ctx, call)?;
    for tag in call.list("Tags") {
        all.retain(|old| old["Key"] != tag["Key"]);
        all.push(tag.clone());
    }
    ctx.map
        .tags
        .put(&call.region, text(call, "ResourceARN"), &all)?;
    Ok(json!({}))
}

fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut all = tags(ctx, call)?;
    let keys = call.strings("TagKeys");
    all.retain(|tag| !keys.iter().any(|key| tag["Key"] == *key));
    ctx.map
        .tags
        .put(&call.region, text(call, "ResourceARN"), &all)?;
    Ok(json!({}))
}
