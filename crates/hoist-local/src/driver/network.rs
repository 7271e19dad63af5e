//! The network of tasks: an interface in one of the service's subnets, and the name and address that go with it.

use std::path::PathBuf;

use hoist_fargate::{Event, Task};
use hoist_runtime::TaskSpec;
use serde_json::{Map, Value, json};

use super::compose::{Definition, task_limits};
use super::crew::Crew;
use super::{injected, proxies};
use crate::api::ApiError;
use crate::ctx::Ctx;
use crate::ec2::{Interface, NewInterface};
use crate::ids;
use crate::metadata::Held;

impl Crew {
    /// Where the files of a task lie: its volumes.
    pub fn folder(&self, task_id: &str) -> PathBuf {
        self.ctx.home.file("tasks").join(task_id)
    }
}

/// Makes the interface and the network of a task.
pub async fn provision(crew: &Crew, task: &str) {
    let run = crew.begin(task);
    let event = match try_provision(crew, task).await {
        Ok(event) => event,
        Err(reason) => Event::ProvisionFailed {
            task: task.to_owned(),
            reason,
        },
    };
    if run.gone.is_cancelled() {
        // It was removed meanwhile, and whoever did that found nothing yet.
        if let Event::TaskProvisioned { attachments, .. } = &event {
            take_down(crew, task, attachments).await;
        }
        return;
    }
    crew.tell(event);
}

async fn try_provision(crew: &Crew, arn: &str) -> Result<Event, String> {
    let record = crew.ctx.driver.read(|world| {
        let task = world.task(arn)?.clone();
        let document = world
            .task_definition(&task.task_definition)?
            .document
            .clone();
        let siblings: Vec<String> = task
            .service
            .iter()
            .flat_map(|service| world.tasks_of(service))
            .filter(|it| it.is_wanted() && it.unhealthy_at.is_none())
            .filter(|it| it.revision == task.revision)
            .map(|it| it.arn.clone())
            .collect();
        Some((task, document, siblings))
    });
    let failed =
        |what: &str| format!("ResourceInitializationError: failed to configure ENI: {what}");
    let (task, document, siblings) = record.ok_or_else(|| failed("the task is gone"))?;
    let subnets = subnets(crew, &task);
    let subnet = crew
        .place(&task, &siblings, &subnets)
        .ok_or_else(|| failed("no subnet in the network configuration"))?;
    for container in &task.containers {
        let Some(definition) = Definition::find(&document, &task, &container.name) else {
            continue;
        };
        let credentials = injected::registry_credentials(&crew.ctx, &definition)?;
        let secrets = injected::resolve(&crew.ctx, &task.region, &definition)?;
        let files = injected::files(&crew.ctx, &definition)?;
        if let Some(run) = crew.run(arn) {
            run.keep_secrets(&container.name, secrets);
            run.keep_files(&container.name, files, credentials);
        }
    }
    hold_credentials(crew, &task, &document);
    let network = awsvpc(&task).cloned().unwrap_or_default();
    let strings = |name: &str| -> Vec<String> {
        let list = network.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let attachment = ids::uuid();
    let interface = crew
        .ctx
        .ec2
        .enis()
        .create(
            &task.region,
            &NewInterface {
                subnet,
                security_groups: strings("securityGroups"),
                public: network
                    .get("assignPublicIp")
                    .is_some_and(|it| it == "ENABLED"),
                description: crew
                    .ctx
                    .arn("ecs", &task.region, &format!("attachment/{attachment}")),
            },
        )
        .map_err(|error| failed(&error.to_string()))?;
    match set_up(crew, &task, &document, &interface).await {
        Ok(()) => Ok(Event::TaskProvisioned {
            task: arn.to_owned(),
            ip: interface.private_ip.to_string(),
            availability_zone: interface.zone.clone(),
            zones: zones(subnets),
            attachments: vec![attached(&attachment, &interface)],
        }),
        Err(reason) => {
            delete_interface(crew, &task.region, &interface.id);
            Err(failed(&reason))
        }
    }
}

/// Gives the task a path to the keys of its role, if it has one.
fn hold_credentials(crew: &Crew, task: &Task, document: &Map<String, Value>) {
    let overridden = task
        .request
        .get("overrides")
        .and_then(|it| it.get("taskRoleArn"));
    let role = overridden
        .filter(|it| !it.is_null())
        .or_else(|| document.get("taskRoleArn"))
        .and_then(Value::as_str);
    if let (Some(role), Some(run)) = (role, crew.run(&task.arn)) {
        run.keep_credentials(Held {
            id: ids::uuid(),
            role: role.to_owned(),
            key: None,
        });
    }
}

async fn set_up(
    crew: &Crew,
    task: &Task,
    document: &Map<String, Value>,
    interface: &Interface,
) -> Result<(), String> {
    let ports = ports(document);
    let spec = TaskSpec {
        id: task.id.clone(),
        ip: interface.private_ip,
        prefix: interface.prefix,
        gateway: interface.gateway,
        hostname: host_name(interface),
        limits: task_limits(document, task),
        ports: ports.clone(),
    };
    crew.ctx
        .runtime
        .create_task(spec)
        .await
        .map_err(|error| described(&error))?;
    guard(&crew.ctx).await;
    if let Some(run) = crew.run(&task.arn) {
        proxies::open(crew, &run, task).await;
    }
    if let Err(error) = crew.ctx.ec2.enis().forward(interface, &ports).await {
        if let Err(error) = crew.ctx.runtime.remove_task(&task.id).await {
            tracing::warn!(task = task.id, %error, "what was made of a task cannot be removed");
        }
        return Err(described(&error));
    }
    Ok(())
}

/// Lets the runtime enforce the security groups as they are now. Where it cannot, tasks run without; it has said so at the start.
pub async fn guard(ctx: &Ctx) {
    // One after the other, so that the last word is the newest.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    match ctx.ec2.guards() {
        Ok(guards) => {
            if let Err(error) = ctx.runtime.guard(guards).await {
                tracing::debug!(
                    error = described(&error),
                    "security groups are not enforced"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "the security groups cannot be read"),
    }
}

/// An error with its causes.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

fn host_name(interface: &Interface) -> String {
    let dashed = interface.private_ip.to_string().replace('.', "-");
    format!("ip-{dashed}.{}.compute.internal", interface.region)
}

fn awsvpc(task: &Task) -> Option<&Map<String, Value>> {
    task.request
        .get("networkConfiguration")?
        .get("awsvpcConfiguration")?
        .as_object()
}

/// The subnets that a task may be in.
fn subnets(crew: &Crew, task: &Task) -> Vec<(String, String)> {
    let listed = awsvpc(task).and_then(|it| it.get("subnets")?.as_array());
    let zone = |id: &str| {
        let subnet = crew.ctx.ec2.subnet(&task.region, id).ok().flatten();
        subnet.map(|it| it.availability_zone).unwrap_or_default()
    };
    listed
        .into_iter()
        .flatten()
        .filter_map(|it| it.as_str())
        .map(|id| (id.to_owned(), zone(id)))
        .collect()
}

/// The zones of subnets, each once.
fn zones(subnets: Vec<(String, String)>) -> Vec<String> {
    let mut zones: Vec<String> = subnets.into_iter().map(|(_, zone)| zone).collect();
    zones.sort();
    zones.dedup();
    zones
}

/// A detail of a task's interface, such as `networkInterfaceId`.
fn detail<'a>(attachments: &'a [Value], name: &str) -> Option<&'a str> {
    let interface = attachments
        .iter()
        .find(|it| it["type"] == "ElasticNetworkInterface")?;
    interface["details"]
        .as_array()?
        .iter()
        .find(|it| it["name"] == name)?["value"]
        .as_str()
}

/// Every container port that the task definition names.
fn ports(document: &Map<String, Value>) -> Vec<u16> {
    let containers = document
        .get("containerDefinitions")
        .and_then(Value::as_array);
    let mappings = containers
        .into_iter()
        .flatten()
        .filter_map(|it| it["portMappings"].as_array())
        .flatten();
    let mut ports: Vec<u16> = mappings
        .filter_map(|it| {
            it["containerPort"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn attached(id: &str, interface: &Interface) -> Value {
    let detail = |name: &str, value: &str| json!({"name": name, "value": value});
    json!({
        "id": id,
        "type": "ElasticNetworkInterface",
        "status": "ATTACHED",
        "details": [
            detail("subnetId", &interface.subnet_id),
            detail("networkInterfaceId", &interface.id),
            detail("macAddress", &interface.mac),
            detail("privateDnsName", &host_name(interface)),
            detail("privateIPv4Address", &interface.private_ip.to_string()),
        ],
    })
}

/// Removes what is left of a task, also of one that an earlier daemon ran.
pub async fn remove(crew: &Crew, task: String) {
    if let Some(run) = crew.forget(&task) {
        run.gone.cancel();
        if let Some(key) = run.credentials().and_then(|held| held.key)
            && let Err(error) = crew.ctx.keys.revoke(&key.id)
        {
            tracing::warn!(task, %error, "the keys of a task cannot be taken back");
        }
    }
    let attachments = crew
        .ctx
        .driver
        .read(|world| world.task(&task).map(|it| it.attachments.clone()))
        .unwrap_or_default();
    take_down(crew, &task, &attachments).await;
    crew.tell(Event::TaskRemoved { task });
}

async fn take_down(crew: &Crew, task: &str, attachments: &[Value]) {
    let id = task.rsplit('/').next().unwrap_or(task);
    if let Err(error) = crew.ctx.runtime.remove_task(id).await {
        tracing::warn!(task, %error, "what is left of a task cannot be removed");
    }
    let region = task.split(':').nth(3).unwrap_or_default();
    if let Some(interface) = detail(attachments, "networkInterfaceId") {
        delete_interface(crew, region, interface);
    }
    let folder = crew.folder(id);
    if folder.exists()
        && let Err(error) = std::fs::remove_dir_all(&folder)
    {
        tracing::warn!(task, %error, "the volumes of a task cannot be removed");
    }
}

/// Deletes the interfaces that no task has: what a daemon that was killed had made and not yet recorded.
///
/// # Errors
/// When the state cannot be read.
pub fn sweep(crew: &Crew) -> Result<(), ApiError> {
    for interface in crew.ctx.ec2.enis().all()? {
        let is_used = crew.ctx.driver.read(|world| {
            let mut tasks = world
                .clusters(&interface.region)
                .flat_map(|it| world.tasks(&it.arn));
            tasks.any(|it| detail(&it.attachments, "networkInterfaceId") == Some(&interface.id))
        });
        if !is_used {
            delete_interface(crew, &interface.region, &interface.id);
        }
    }
    Ok(())
}

fn delete_interface(crew: &Crew, region: &str, id: &str) {
    if let Err(error) = crew.ctx.ec2.enis().delete(region, id) {
        tracing::warn!(interface = id, %error, "a network interface cannot be deleted");
    }
}
