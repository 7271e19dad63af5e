//! The types of `hoist.yaml`. Their doc comments are the descriptions in the JSON schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{Command, Expect, HealthConfig, Ordered, Text};

/// `hoist.yaml`: what to build and where it runs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Name of the application: lower-case letters, digits and hyphens. Default: the name of the folder.
    pub app: Option<String>,
    /// AWS region. Default: what the AWS configuration says.
    pub region: Option<String>,
    /// How the image is built.
    #[serde(default)]
    pub image: ImageConfig,
    /// Registries to ask instead of others: host (or host and path) to URL, such as `docker.io: http://127.0.0.1:5000`.
    #[serde(default)]
    pub mirrors: BTreeMap<String, String>,
    /// The services of the application, by name.
    pub services: Ordered<ServiceConfig>,
    /// Tasks that run to their end, by name: `hoist run NAME` runs one, and a release can begin with some.
    #[serde(default)]
    pub tasks: Ordered<TaskConfig>,
    /// Schedules whose tasks get the new image or revision with the services, by name.
    #[serde(default)]
    pub schedules: Ordered<ScheduleConfig>,
    /// In which order and how far together the services are deployed.
    #[serde(default)]
    pub release: ReleaseConfig,
    /// What must hold before a deployment counts as done.
    #[serde(default)]
    pub gates: GatesConfig,
    /// Prices that `plan` and `cost` reckon with, where they are not AWS's published ones.
    #[serde(default)]
    pub prices: PricesConfig,
}

/// What must hold before a deployment counts as done. What fails after the new revision serves brings the old one back.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GatesConfig {
    /// Worst finding of the image scan that is let through: nothing is deployed where there is a worse one.
    pub scan: Option<ScanConfig>,
    /// A smoke test that runs on this machine when the new revision serves, with its URL as HOIST_URL: a shell line, or a list of
    /// program and arguments.
    pub command: Option<Command>,
    /// CloudWatch alarms that must not ring.
    pub alarms: Vec<String>,
    /// Seconds for which the alarms are watched. Default 0: they are looked at once.
    pub watch: u32,
}

/// Severities of an image scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScanConfig {
    /// No finding of a known severity is let through.
    None,
    /// Findings up to low are.
    Low,
    /// Findings up to medium are.
    Medium,
    /// Findings up to high are.
    High,
}

/// Prices in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PricesConfig {
    /// One vCPU for an hour. Default: the published price of the region.
    pub vcpu_hour: Option<f64>,
    /// One GB of memory for an hour. Default: the published price of the region.
    pub gb_hour: Option<f64>,
    /// What part of the full price a task on FARGATE_SPOT costs, 0 to 1.
    pub spot: Option<f64>,
}

/// A task that runs to its end, on the network and with the roles of a service.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Service whose task definition, cluster and network it has. Default: the only one.
    pub service: Option<String>,
    /// Container that runs the command. Default: the one that gets the image.
    pub container: Option<String>,
    /// What it runs instead of the container's command: a shell line, or a list of program and arguments.
    pub command: Option<Command>,
    /// Environment variables over those of the container.
    pub environment: Ordered<Text>,
    /// CPU units of the task. Default: those of the service.
    pub cpu: Option<u32>,
    /// Memory of the task in MiB. Default: that of the service.
    pub memory: Option<u32>,
    /// Seconds after which it is stopped. Default 3600.
    pub timeout: Option<u32>,
}

/// A schedule that starts tasks: a rule of EventBridge, or a schedule of EventBridge Scheduler. hoist changes what it runs, not when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Name of a rule of EventBridge.
    pub rule: Option<String>,
    /// Event bus of the rule. Default: `default`.
    pub bus: Option<String>,
    /// Name of a schedule of EventBridge Scheduler.
    pub schedule: Option<String>,
    /// Group of the schedule. Default: `default`.
    pub group: Option<String>,
    /// Service whose revision it runs. Default: the task definition that it names now stays, with the new image in it.
    pub service: Option<String>,
    /// Container that gets the image. Needed where that task definition has several.
    pub container: Option<String>,
}

/// How the services of a run belong together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ReleaseConfig {
    /// Tasks that must succeed, with the new image, before the first service moves: migrations.
    pub before: Vec<String>,
    /// Services and schedules that move together, wave by wave. What no wave names comes last, together, schedules after services.
    /// Default: one service after the other, in the order of the file, then the schedules.
    pub waves: Vec<Vec<String>>,
    /// Most services of a wave that move at the same time, 1 to 50.
    pub parallel: u32,
    /// Whether services that moved already go back when another one fails.
    pub all_or_nothing: bool,
}

impl Default for ReleaseConfig {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            waves: Vec::new(),
            parallel: 10,
            all_or_nothing: false,
        }
    }
}

/// How the image is built, tested and stored.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Folder with the files that the build may copy, relative to hoist.yaml.
    pub context: String,
    /// Dockerfile, relative to the context.
    pub dockerfile: String,
    /// Repository in ECR. Default: the name of the application.
    pub repository: Option<String>,
    /// Make the repository if it does not exist.
    pub create_repository: bool,
    /// Platforms to build for. The first one decides the processor of short-form services.
    pub platforms: Vec<Platform>,
    /// A hook that runs on this machine before the build: a shell line, or a list of program and arguments.
    pub before: Option<Command>,
    /// What must pass before anything is pushed.
    pub test: Option<TestConfig>,
    /// Values of `ARG` instructions.
    pub build_args: BTreeMap<String, Text>,
    /// Stage to build. Default: the last one.
    pub target: Option<String>,
    /// Secrets for `RUN --mount=type=secret`: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`; files relative to hoist.yaml.
    pub secrets: Vec<String>,
    /// What names mean in `FROM` and `--from`: a folder relative to hoist.yaml, `docker-image://NAME` or `oci-layout://FOLDER[:TAG]`.
    pub contexts: BTreeMap<String, String>,
    /// Add a SOCI index, so that Fargate starts a container before it has the whole image; worth it from about 250 MB.
    pub soci: bool,
    /// What builds the image.
    pub engine: Engine,
    /// A BuildKit that builds elsewhere: `tcp://HOST:PORT`, `unix:///SOCKET`, or the name of a builder of `docker buildx`.
    pub builder: Option<String>,
    /// How layers are compressed.
    pub compression: Compression,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            context: ".".to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            repository: None,
            create_repository: true,
            platforms: vec![Platform::LinuxAmd64],
            before: None,
            test: None,
            build_args: BTreeMap::new(),
            target: None,
            secrets: Vec::new(),
            contexts: BTreeMap::new(),
            soci: false,
            engine: Engine::Auto,
            builder: None,
            compression: Compression::Gzip,
        }
    }
}

/// A platform that Fargate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Platform {
    /// 64-bit x86: `X86_64` in a task definition.
    #[serde(rename = "linux/amd64")]
    LinuxAmd64,
    /// 64-bit ARM (Graviton): `ARM64` in a task definition.
    #[serde(rename = "linux/arm64")]
    LinuxArm64,
}

impl Platform {
    /// `linux/amd64` or `linux/arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm64 => "linux/arm64",
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What builds the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The builder if one is named, else the embedded engine where this machine can run it, else a Docker Engine.
    #[default]
    Auto,
    /// The embedded engine.
    Embedded,
    /// BuildKit: that of the builder, or of a Docker Engine.
    Buildkit,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, which every runtime reads.
    #[default]
    Gzip,
    /// zstd, which starts up to 27 % faster on Fargate.
    Zstd,
}

/// What must pass before anything is pushed: a build stage, or a command in the built image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TestConfig {
    /// Stage of the Dockerfile that must build.
    pub target: Option<String>,
    /// Command that must exit with 0 in the built image: a shell line, or a list of program and arguments.
    pub command: Option<Command>,
}

/// One service: `task-definition` for verbatim AWS documents, or the short form.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServiceConfig {
    /// ECS cluster. Default: the one of the service definition, else `default`.
    pub cluster: Option<String>,
    /// Name of the ECS service. Default: `serviceName` of the service definition, else the key; in the short form
    /// application, environment and key joined by hyphens.
    pub name: Option<String>,
    /// Task definition: a JSON or YAML file relative to hoist.yaml, or `live` for the one that runs now.
    pub task_definition: Option<String>,
    /// Service definition: a JSON or YAML file relative to hoist.yaml. The service is made from it if absent.
    pub service_definition: Option<String>,
    /// Container that gets the image. Needed where the task definition has several.
    pub container: Option<String>,
    /// What the URL must answer before the deployment counts as done.
    pub url: Option<UrlConfig>,
    /// Auto scaling.
    pub scaling: Option<ScalingConfig>,
    /// How many tasks of a new revision may fail to start or exit in the same way before the deployment is taken back, without
    /// waiting for ECS's own circuit breaker: a number from 1, or `unlimited`. Default: 2 or a tenth of the desired count,
    /// whichever is more. Void once a task of the revision was healthy.
    pub failure_budget: Option<FailureBudget>,
    /// How CodeDeploy deploys it, where CodeDeploy owns its deployments.
    pub codedeploy: Option<CodeDeployConfig>,
    /// Environment variables. With a task definition they are added to those of the container.
    pub environment: Ordered<Text>,
    /// Secrets: environment variable to ARN of a secret or name of a parameter.
    pub secrets: Ordered<String>,
    /// Short form: port on which the container listens. None for a worker.
    pub port: Option<u16>,
    /// Short form: CPU units, 1024 to a vCPU. Default 256.
    pub cpu: Option<u32>,
    /// Short form: memory in MiB. Default: the least that goes with the CPU.
    pub memory: Option<u32>,
    /// Short form: tasks to start with. Default 1. A later deployment does not change the count.
    pub count: Option<u32>,
    /// Short form: path that the load balancer checks, or a mapping with the details.
    pub health: Option<HealthConfig>,
    /// Short form: replaces the image's command; a shell line, or a list of program and arguments.
    pub command: Option<Command>,
    /// Short form: how the service is reached. Default `load-balancer` where there is a port, else `private`.
    pub access: Option<AccessConfig>,
    /// Short form: IAM role of the application, name or ARN.
    pub task_role: Option<String>,
    /// Short form: seconds from the stop signal to the kill, 2 to 120. Default: ECS's 30.
    pub stop_timeout: Option<u32>,
    /// Short form: seconds for which a leaving task still gets its open requests served, 0 to 3600. Default 5.
    pub deregistration_delay: Option<u32>,
    /// Short form: whether `hoist exec` can run programs in the containers.
    pub exec: Option<bool>,
}

/// Where CodeDeploy knows a service, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CodeDeployConfig {
    /// Application. Default: `AppECS-CLUSTER-SERVICE`.
    pub application: Option<String>,
    /// Deployment group. Default: `DgpECS-CLUSTER-SERVICE`.
    pub group: Option<String>,
    /// Deployment configuration, such as `CodeDeployDefault.ECSAllAtOnce`. Default: that of the deployment group.
    pub config: Option<String>,
    /// Appspec: a JSON or YAML file relative to hoist.yaml, into which the revision is put. Default: one for the service's own load
    /// balancer, without hooks.
    pub appspec: Option<String>,
}

/// How a short-form service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessConfig {
    /// Through an application load balancer.
    LoadBalancer,
    /// At the public address of its task.
    PublicIp,
    /// Not from outside.
    Private,
}

/// What the URL must answer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UrlConfig {
    /// Path that is asked.
    pub path: String,
    /// Status that counts: `200`, a range `200-399`, or a list of both.
    pub expect: Expect,
    /// Seconds to try for, 1 to 3600.
    pub timeout: u32,
}

impl Default for UrlConfig {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            expect: Expect::between(200, 399),
            timeout: 60,
        }
    }
}

/// How many equal failures a deployment may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FailureBudget {
    /// This many.
    Tasks(#[schemars(range(min = 1))] u32),
    /// As many as ECS allows.
    Word(Unlimited),
}

/// The word for no failure budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unlimited {
    /// ECS alone decides.
    Unlimited,
}

/// Auto scaling: bounds, and the averages that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScalingConfig {
    /// Fewest tasks.
    pub min: u32,
    /// Most tasks.
    pub max: u32,
    /// Average CPU to keep, percent.
    pub cpu: Option<u32>,
    /// Average memory to keep, percent.
    pub memory: Option<u32>,
    /// Requests a minute and target to keep.
    pub requests: Option<u32>,
}

/// The JSON schema of `hoist.yaml` (draft 2020-12).
pub fn schema() -> serde_json::Value {
    let mut schema =
        serde_json::to_value(schemars::schema_for!(Config)).expect("a schema is plain JSON");
    // An environment is the same file with every key optional, laid over it; one value that is null removes.
    let mut overlay = serde_json::json!({
        "type": ["object", "null"],
        "description": "What is different in this environment: keys of hoist.yaml, laid over it.",
        "additionalProperties": false,
    });
    let mut properties = schema["properties"].clone();
    for property in properties
        .as_object_mut()
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        if let Some(object) = property.as_object_mut() {
            object.shift_remove("default");
        }
    }
    overlay["properties"] = properties;
    schema["properties"]["environments"] = serde_json::json!({
        "type": "object",
        "description": "Environments by name; `hoist deploy -e NAME` lays one over the file.",
        "additionalProperties": { "$ref": "#/$defs/Overlay" },
    });
    schema["$defs"]["Overlay"] = overlay;
    schema["title"] = "hoist.yaml".into();
    schema
}
