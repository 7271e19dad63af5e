//! What runs today, as the files of a project: for a service that something else made.

use hoist_aws::{Client, read};
use hoist_project::scaffold::{self, Planned};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::service;
use crate::status::describe_definition;
use crate::table::tail;

/// The files that stand for a service as it runs, and what is worth knowing about them.
#[derive(Debug)]
pub struct Imported {
    /// hoist.yaml, the definitions, the workflow.
    pub files: Vec<Planned>,
    /// In words, a line each.
    pub notes: Vec<String>,
}

/// Reads the service `name` of `cluster`. hoist.yaml names `app`.
///
/// # Errors
/// `Check` where it does not exist; AWS refused a call.
pub async fn import(
    aws: &Client,
    cluster: &str,
    name: &str,
    app: &str,
) -> Result<Imported, Failure> {
    let live = service::describe(aws, cluster, name)
        .await?
        .ok_or_else(|| {
            Failure::new(
                Kind::Check,
                format!(
                    "the service {name} does not exist in the cluster {cluster} ({})",
                    aws.region()
                ),
            )
            .hint("`aws ecs list-services --cluster ...` lists them; is the region right?")
        })?;
    let running = read::text(&live, "taskDefinition");
    let described = describe_definition(aws, running).await?;
    let mut task = hoist_ecs::strip_describe_only(&described["taskDefinition"]);
    let tags: Vec<Value> = read::list(&described, "tags")
        .filter(|tag| !read::text(tag, "key").starts_with("hoist:"))
        .cloned()
        .collect();
    if !tags.is_empty() {
        task["tags"] = json!(tags);
    }
    prune_empty(&mut task);
    let mut definition = hoist_ecs::strip_describe_only_service(&live);
    if let Some(members) = definition.as_object_mut() {
        for member in ["taskDefinition", "desiredCount", "deploymentController"] {
            members.shift_remove(member);
        }
    }
    // A describe shows alarms that nobody asked for, and a create wants names for them.
    let alarms = &definition["deploymentConfiguration"]["alarms"];
    if read::list(alarms, "alarmNames").as_slice().is_empty()
        && let Some(configuration) = definition["deploymentConfiguration"].as_object_mut()
    {
        configuration.shift_remove("alarms");
    }
    prune_empty(&mut definition);
    definition["serviceName"] = json!(name);
    let containers: Vec<&str> = read::list(&task, "containerDefinitions")
        .map(|container| read::text(container, "name"))
        .collect();
    let served = read::list(&live, "loadBalancers")
        .map(|link| read::text(link, "containerName"))
        .find(|container| !container.is_empty());
    let container = match (served, containers.as_slice()) {
        (_, [only]) => (*only).to_owned(),
        (Some(served), _) => served.to_owned(),
        (None, several) => several.first().copied().unwrap_or_default().to_owned(),
    };
    let mut notes = Vec::new();
    if containers.len() > 1 {
        notes.push(format!(
            "of the containers {} the image goes into {container}: change `container` in hoist.yaml if that is wrong",
            containers.join(", ")
        ));
    }
    let image = read::list(&task, "containerDefinitions")
        .find(|one| one["name"] == container.as_str())
        .map(|one| read::text(one, "image").to_owned())
        .unwrap_or_default();
    let repository = repository_of(&image);
    if repository.is_none() {
        notes.push(format!(
            "{container} runs {image}, which is not in ECR: the image is going to be built into the repository {app}"
        ));
    }
    match live["deploymentController"]["type"].as_str() {
        Some("EXTERNAL") => notes.push(
            "the service is deployed by an external controller, which hoist does not drive".to_owned(),
        ),
        Some("CODE_DEPLOY") => notes.push(
            "the service is deployed by CodeDeploy: if its application or deployment group has an unusual name, say it as `codedeploy` in hoist.yaml".to_owned(),
        ),
        _ => {}
    }
    for one in read::list(&task, "containerDefinitions") {
        for variable in read::list(one, "environment") {
            if looks_secret(read::text(variable, "name")) {
                notes.push(format!(
                    "the value of {} is written into the file as it is: move it to `secrets` before you commit it",
                    read::text(variable, "name")
                ));
            }
        }
    }
    let key = "app".to_owned();
    let mut yaml = format!(
        "# What hoist deploys; imported from {}\napp: {app}\nregion: {}\n",
        tail(running),
        aws.region()
    );
    if let Some(repository) = repository.filter(|repository| *repository != app) {
        yaml.push_str(&format!("image: {{ repository: {repository} }}\n"));
    }
    yaml.push_str(&format!(
        "services:\n  {key}:\n    name: {name}\n    cluster: {}\n    task-definition: ecs/task-definition.json\n    service-definition: ecs/service.json\n    container: {container}\n",
        tail(cluster)
    ));
    let pretty = |value: &Value| {
        let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
        text.push('\n');
        text
    };
    let file = |path: &str, text: String| Planned {
        path: path.into(),
        text,
    };
    let mut files = vec![
        file("hoist.yaml", yaml),
        file("ecs/task-definition.json", pretty(&task)),
        file("ecs/service.json", pretty(&definition)),
    ];
    files.push(scaffold::workflow());
    Ok(Imported { files, notes })
}

/// The name of an ECR repository in an image reference.
fn repository_of(image: &str) -> Option<String> {
    let name = image.split('@').next()?;
    let (host, path) = name.split_once('/')?;
    let known = host.contains(".dkr.ecr.") || host.starts_with("127.0.0.1:");
    let path = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path,
        _ => path,
    };
    known.then(|| path.to_owned())
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["PASSWORD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY"]
        .iter()
        .any(|word| name.contains(word))
}

/// Removes what a describe adds but nobody wrote: null members, empty lists and objects.
fn prune_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(prune_empty);
            members.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune_empty),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hoist_project::{Project, Variables};

    use super::*;
    use crate::testing::Endpoint;

    #[tokio::test]
    async fn an_imported_service_is_a_project_that_would_change_nothing() {
        let task = json!({
            "taskDefinitionArn": "arn:aws:ecs:eu-central-1:1:task-definition/web:7", "family": "web", "revision": 7, "status": "ACTIVE",
            "cpu": "256", "memory": "512", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "arn:aws:iam::1:role/x",
            "compatibilities": ["EC2", "FARGATE"], "registeredBy": "arn:x", "volumes": [], "placementConstraints": [],
            "containerDefinitions": [
                { "name": "web", "image": "1.dkr.ecr.eu-central-1.amazonaws.com/team/shop:abc", "essential": true, "cpu": 0, "mountPoints": [],
                  "environment": [{ "name": "DB_PASSWORD", "value": "x" }], "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }] },
                { "name": "sidecar", "image": "busybox:1", "essential": false },
            ],
        });
        let registered = task.clone();
        let endpoint = Endpoint::answering(move |operation, _, _| match operation {
            "DescribeServices" => (200, json!({ "services": [{
                "serviceName": "web", "serviceArn": "arn:s", "status": "ACTIVE", "desiredCount": 3, "runningCount": 3, "launchType": "FARGATE",
                "taskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/web:7", "events": [{}], "deployments": [{}],
                "deploymentController": { "type": "ECS" }, "serviceRegistries": [],
                "loadBalancers": [{ "targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1", "containerName": "web", "containerPort": 8080 }],
                "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"], "assignPublicIp": "DISABLED" } },
            }] })),
            _ => (200, json!({ "taskDefinition": registered, "tags": [{ "key": "team", "value": "a" }, { "key": "hoist:app", "value": "b" }] })),
        })
        .await;
        let imported = import(&endpoint.client, "prod", "web", "shop")
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        scaffold::write(folder.path(), &imported.files).unwrap();
        let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
        let works = crate::work::works(&project, "eu-central-1", &[]).unwrap();
        crate::work::check(&works).unwrap();
        assert_eq!(
            (works[0].name(), works[0].cluster(), project.repository()),
            ("web", "prod", "team/shop")
        );
        assert!(hoist_ecs::same_task_definition(
            &task,
            &works[0].task_definition
        ));
        assert_eq!(
            works[0].task_definition["tags"],
            json!([{ "key": "team", "value": "a" }])
        );
        assert!(works[0].service_definition["desiredCount"].is_null());
        assert!(works[0].service_definition["events"].is_null());
        assert!(
            imported
                .notes
                .iter()
                .any(|note| note.contains("DB_PASSWORD")),
            "{:?}",
            imported.notes
        );
        assert!(
            imported
                .notes
                .iter()
                .any(|note| note.contains("web, sidecar")),
            "{:?}",
            imported.notes
        );
    }

    #[test]
    fn the_repository_is_read_from_an_image_of_ecr() {
        for (image, repository) in [
            (
                "1.dkr.ecr.eu-central-1.amazonaws.com/team/shop:abc",
                Some("team/shop"),
            ),
            ("127.0.0.1:4000/shop@sha256:1", Some("shop")),
            ("docker.io/library/busybox:1", None),
            ("busybox", None),
        ] {
            assert_eq!(repository_of(image).as_deref(), repository, "{image}");
        }
    }
}
