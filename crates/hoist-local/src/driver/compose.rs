//! A container definition, the overrides of its task and the configuration of its image, put together as Docker and ECS do.

use std::net::IpAddr;

use hoist_fargate::Task;
use hoist_oci::spec::ContainerConfig;
use hoist_runtime::{Limits, Mount, MountSource, PreparedImage, TaskContainer, Ulimit};
use serde_json::{Map, Value};

/// What the task definition says of one container, with the task's overrides on top.
pub struct Definition<'a> {
    container: &'a Value,
    overrides: Option<&'a Value>,
}

impl<'a> Definition<'a> {
    /// The container of that name in a task definition's document; `None` if it has none.
    pub fn find(
        document: &'a Map<String, Value>,
        task: &'a Task,
        name: &str,
    ) -> Option<Definition<'a>> {
        let containers = document.get("containerDefinitions")?.as_array()?;
        let container = containers.iter().find(|it| it["name"] == name)?;
        let overrides = task
            .request
            .get("overrides")
            .and_then(|it| it.get("containerOverrides")?.as_array())
            .and_then(|list| list.iter().find(|it| it["name"] == name));
        Some(Definition {
            container,
            overrides,
        })
    }

    /// A member, from the overrides if they have it.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let present = |value: &&Value| !value.is_null();
        self.overrides
            .and_then(|it| it.get(name))
            .filter(present)
            .or_else(|| self.container.get(name).filter(present))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> &'a [Value] {
        self.get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn strings(&self, name: &str) -> Option<Vec<String>> {
        let items = self.get(name)?.as_array()?;
        Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// The options of the `awslogs` driver, if that is where its output goes.
    pub fn log_options(&self) -> Option<&'a Map<String, Value>> {
        let log = self.container.get("logConfiguration")?;
        (log.get("logDriver")? == "awslogs")
            .then(|| log.get("options")?.as_object())
            .flatten()
    }

    /// The ARNs of its environment files, in their order.
    pub fn environment_files(&self) -> Vec<&'a str> {
        let files = self.list("environmentFiles").iter();
        files.filter_map(|it| it["value"].as_str()).collect()
    }

    /// The secret with user and password for the registry of its image.
    pub fn registry_secret(&self) -> Option<&'a str> {
        self.container
            .pointer("/repositoryCredentials/credentialsParameter")?
            .as_str()
    }

    /// Its secrets: the variable and where its value is from.
    pub fn secrets(&self) -> Vec<(&'a str, &'a str)> {
        named(self.list("secrets"))
    }

    /// The secrets of its log driver: the option and where its value is from.
    pub fn log_secrets(&self) -> Vec<(&'a str, &'a str)> {
        let options = self.container.pointer("/logConfiguration/secretOptions");
        named(options.and_then(Value::as_array).map_or(&[], Vec::as_slice))
    }

    /// The environment: the image's, the task definition's, the overrides', that of secrets, each over the one before.
    pub fn environment(
        &self,
        image: &ContainerConfig,
        around: &[(&str, String)],
        secrets: &[(String, String)],
    ) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        let mut set =
            |name: &str, value: &str| match env.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => value.clone_into(old),
                None => env.push((name.to_owned(), value.to_owned())),
            };
        for line in &image.env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            set(name, value);
        }
        for (name, value) in around {
            set(name, value);
        }
        for source in [Some(self.container), self.overrides].into_iter().flatten() {
            for pair in source["environment"].as_array().into_iter().flatten() {
                set(
                    pair["name"].as_str().unwrap_or_default(),
                    pair["value"].as_str().unwrap_or_default(),
                );
            }
        }
        for (name, value) in secrets {
            set(name, value);
        }
        env.retain(|(name, _)| !name.is_empty());
        env
    }

    /// The program and its arguments. An entry point in the definition drops the image's command, as in Docker.
    pub fn arguments(&self, image: &ContainerConfig) -> Vec<String> {
        let own_entry = self.strings("entryPoint").filter(|list| !list.is_empty());
        let own_command = self.strings("command").filter(|list| !list.is_empty());
        let command = match (&own_entry, own_command) {
            (_, Some(command)) => command,
            (Some(_), None) => Vec::new(),
            (None, None) => image.cmd.clone().unwrap_or_default(),
        };
        let mut arguments =
            own_entry.unwrap_or_else(|| image.entrypoint.clone().unwrap_or_default());
        arguments.extend(command);
        arguments
    }

    /// The container to start.
    pub fn compose(
        &self,
        name: &str,
        prepared: PreparedImage,
        image: &ContainerConfig,
        around: &[(&str, String)],
        secrets: &[(String, String)],
    ) -> TaskContainer {
        let mut container = TaskContainer::new(name, prepared, self.arguments(image));
        container.env = self.environment(image, around, secrets);
        container.cwd = self
            .text("workingDirectory")
            .unwrap_or(&image.working_dir)
            .to_owned();
        container.user = self.text("user").unwrap_or(&image.user).to_owned();
        container.read_only = self.get("readonlyRootFilesystem") == Some(&Value::Bool(true));
        container.limits = Limits {
            memory_bytes: self
                .get("memory")
                .and_then(Value::as_u64)
                .map(|mib| mib << 20),
            // A container's units are its share of the task's, not a limit (API reference, `cpu`).
            cpu_shares: self
                .get("cpu")
                .and_then(Value::as_u64)
                .filter(|units| *units > 0),
            ..Limits::default()
        };
        container.ulimits = self.ulimits();
        container.extra_hosts = self.extra_hosts();
        container.dns = self
            .strings("dnsServers")
            .unwrap_or_default()
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect();
        container.sysctls = self
            .list("systemControls")
            .iter()
            .filter_map(|it| {
                Some((
                    it["namespace"].as_str()?.to_owned(),
                    it["value"].as_str()?.to_owned(),
                ))
            })
            .collect();
        let capabilities = |name: &str| -> Vec<String> {
            let listed = self
                .container
                .pointer(&format!("/linuxParameters/capabilities/{name}"));
            listed
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect()
        };
        container.init = self
            .container
            .pointer("/linuxParameters/initProcessEnabled")
            == Some(&Value::Bool(true));
        container.cap_add = capabilities("add");
        container.cap_drop = capabilities("drop");
        container
    }

    /// Fargate gives 65535 open files (developer guide, "Fargate task definition differences"); a definition may ask for others.
    fn ulimits(&self) -> Vec<Ulimit> {
        let mut limits: Vec<Ulimit> = self
            .list("ulimits")
            .iter()
            .filter_map(|it| {
                Some(Ulimit {
                    name: it["name"].as_str()?.to_owned(),
                    soft: it["softLimit"].as_u64()?,
                    hard: it["hardLimit"].as_u64()?,
                })
            })
            .collect();
        if !limits.iter().any(|it| it.name == "nofile") {
            limits.push(Ulimit {
                name: "nofile".to_owned(),
                soft: 65535,
                hard: 65535,
            });
        }
        limits
    }

    fn extra_hosts(&self) -> Vec<(String, IpAddr)> {
        self.list("extraHosts")
            .iter()
            .filter_map(|it| {
                Some((
                    it["hostname"].as_str()?.to_owned(),
                    it["ipAddress"].as_str()?.parse().ok()?,
                ))
            })
            .collect()
    }

    /// Memory mounted as a file system: what `linuxParameters.tmpfs` asks for. Of its options only `ro` and `mode=` mean anything
    /// here; device nodes and set-user-id programs never work in it.
    pub fn tmpfs(&self) -> Vec<Mount> {
        let listed = self.container.pointer("/linuxParameters/tmpfs");
        let mounts = listed.and_then(Value::as_array).into_iter().flatten();
        mounts
            .filter_map(|it| {
                let options = || {
                    let options = it["mountOptions"].as_array().into_iter().flatten();
                    options.filter_map(Value::as_str)
                };
                let mode = options().find_map(|option| option.strip_prefix("mode="));
                Some(Mount {
                    target: it["containerPath"].as_str()?.to_owned(),
                    source: MountSource::Tmpfs {
                        size_bytes: it["size"].as_u64().map(|mib| mib << 20),
                        mode: mode.and_then(|mode| u32::from_str_radix(mode, 8).ok()),
                    },
                    read_only: options().any(|option| option == "ro"),
                })
            })
            .collect()
    }

    /// The containers whose volumes it mounts, too, at the same places: their names, and whether read-only.
    pub fn volumes_from(&self) -> Vec<(&'a str, bool)> {
        self.list("volumesFrom")
            .iter()
            .filter_map(|it| Some((it["sourceContainer"].as_str()?, it["readOnly"] == true)))
            .collect()
    }

    /// Where volumes are mounted: volume, path in the container, read-only.
    pub fn mount_points(&self) -> Vec<(&'a str, &'a str, bool)> {
        self.list("mountPoints")
            .iter()
            .filter_map(|it| {
                Some((
                    it["sourceVolume"].as_str()?,
                    it["containerPath"].as_str()?,
                    it["readOnly"] == true,
                ))
            })
            .collect()
    }
}

fn named(list: &[Value]) -> Vec<(&str, &str)> {
    list.iter()
        .filter_map(|it| Some((it["name"].as_str()?, it["valueFrom"].as_str()?)))
        .collect()
}

/// The limits of a whole task: `cpu` (units) and `memory` (MiB) of its definition or its overrides.
pub fn task_limits(document: &Map<String, Value>, task: &Task) -> Limits {
    let member = |name: &str| {
        let overridden = task.request.get("overrides").and_then(|it| it.get(name));
        overridden
            .or_else(|| document.get(name))
            .and_then(Value::as_str)
    };
    Limits {
        memory_bytes: member("memory")
            .and_then(crate::ecs::memory)
            .map(|mib| mib << 20),
        cpu_units: member("cpu").and_then(crate::ecs::cpu),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(container: Value) -> Map<String, Value> {
        let document = json!({"cpu": "512", "memory": "1024", "containerDefinitions": [{"name": "other"}, container]});
        document.as_object().unwrap().clone()
    }

    fn task(overrides: Value) -> Task {
        let request = json!({"overrides": overrides}).as_object().unwrap().clone();
        Task {
            request: request.into(),
            ..Task::default()
        }
    }

    fn image() -> ContainerConfig {
        let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect());
        ContainerConfig {
            env: vec!["PATH=/bin".to_owned(), "A=image".to_owned()],
            entrypoint: words("/entry"),
            cmd: words("-c image"),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn the_environment_of_the_overrides_lies_over_the_definition_and_that_over_the_image() {
        let document = document(json!({"name": "web", "environment": [
            {"name": "A", "value": "definition"}, {"name": "B", "value": "definition"}, {"name": "C", "value": "definition"},
        ]}));
        let task = task(
            json!({"containerOverrides": [{"name": "web", "environment": [{"name": "B", "value": "override"}]}]}),
        );
        let definition = Definition::find(&document, &task, "web").unwrap();
        let secrets = [("S".to_owned(), "hush".to_owned())];
        let env = definition.environment(&image(), &[("C", "around".to_owned())], &secrets);
        let line = env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            line,
            "PATH=/bin A=definition C=definition B=override S=hush"
        );
    }

    #[test]
    fn an_entry_point_drops_the_command_of_the_image_and_an_override_that_of_the_definition() {
        let arguments = |container: Value, overrides: Value| {
            let (document, task) = (document(container), task(overrides));
            Definition::find(&document, &task, "web")
                .unwrap()
                .arguments(&image())
                .join(" ")
        };
        assert_eq!(
            arguments(json!({"name": "web"}), Value::Null),
            "/entry -c image"
        );
        assert_eq!(
            arguments(json!({"name": "web", "command": ["own"]}), Value::Null),
            "/entry own"
        );
        assert_eq!(
            arguments(json!({"name": "web", "entryPoint": ["/own"]}), Value::Null),
            "/own"
        );
        let overridden = json!({"containerOverrides": [{"name": "web", "command": ["over"]}]});
        assert_eq!(
            arguments(json!({"name": "web", "command": ["own"]}), overridden),
            "/entry over"
        );
        assert_eq!(
            arguments(json!({"name": "web", "command": []}), Value::Null),
            "/entry -c image"
        );
    }

    #[test]
    fn limits_come_from_the_task_and_its_overrides() {
        let document = document(json!({"name": "web"}));
        let limits = task_limits(&document, &task(json!({"memory": "2 GB"})));
        assert_eq!(
            (limits.cpu_units, limits.memory_bytes),
            (Some(512), Some(2 << 30))
        );
    }
}
