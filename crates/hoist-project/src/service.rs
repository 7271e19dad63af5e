//! One service of a project: verbatim definitions, or the short form and what it stands for.

use std::fs;
use std::path::Path;

use hoist_ecs::{
    Document, LoadBalancer, Names, OverlayError, Surroundings, WebService, suggest,
    with_environment, with_image,
};
use serde_json::Value;

use crate::checks::{check_environment, check_path, check_range, check_scaling};
use crate::config::{FailureBudget, Platform, ScalingConfig, ServiceConfig, UrlConfig};
use crate::ecspresso;
use crate::jsonnet;
use crate::project::{Faults, escape};
use crate::short::short;
use crate::template::{self, Variables};
use crate::values::Expect;

/// One service of a project.
#[derive(Debug, Clone)]
pub struct Service {
    /// Key in `hoist.yaml`.
    pub key: String,
    /// Name of the ECS service.
    pub name: String,
    /// Name or ARN of the cluster.
    pub cluster: String,
    /// Container that gets the image; none where the task definition has only one.
    pub container: Option<String>,
    /// What the URL must answer.
    pub url: UrlConfig,
    /// Auto scaling.
    pub scaling: Option<ScalingConfig>,
    /// When a deployment is hopeless.
    pub failure_budget: Option<FailureBudget>,
    /// How CodeDeploy deploys it.
    pub codedeploy: Option<CodeDeploy>,
    /// Environment variables that are added to a verbatim task definition.
    pub environment: Vec<(String, String)>,
    /// Secrets that are added to a verbatim task definition.
    pub secrets: Vec<(String, String)>,
    /// What it is made from.
    pub definition: Definition,
    /// Names of the short form are made from these; the region is filled in later.
    app: String,
    app_environment: Option<String>,
}

/// Where CodeDeploy knows a service, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeDeploy {
    /// Application, if it has not the usual name.
    pub application: Option<String>,
    /// Deployment group, if it has not the usual name.
    pub group: Option<String>,
    /// Deployment configuration, if not that of the group.
    pub config: Option<String>,
    /// Appspec, without our revision.
    pub appspec: Option<Value>,
}

/// What a service is made from.
#[derive(Debug, Clone)]
pub enum Definition {
    /// The short form.
    Short(WebService),
    /// Verbatim documents.
    Files {
        /// Task definition.
        task: TaskDefinition,
        /// Service definition, from which the service is made if it is absent.
        service: Option<Document>,
    },
}

/// Where a verbatim task definition comes from.
#[derive(Debug, Clone)]
pub enum TaskDefinition {
    /// A file.
    File(Document),
    /// What runs now is the base.
    Live,
}

/// The documents of a service.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// Task definition; none for `live`.
    pub task: Option<Document>,
    /// Service definition, if there is one.
    pub service: Option<Document>,
    /// Load balancer that goes with the short form.
    pub load_balancer: Option<LoadBalancer>,
}

/// What a service needs to know of its project.
pub(crate) struct Context<'a> {
    pub root: &'a Path,
    /// `root` as it is shown in messages.
    pub shown_root: &'a Path,
    pub app: &'a str,
    pub environment: Option<&'a str>,
    pub platform: Option<Platform>,
    pub variables: &'a Variables,
    /// Whether definition files have the template functions of ecspresso.
    pub as_written: bool,
}

impl Service {
    /// Names of what belongs to the service in a region.
    pub fn names(&self, region: &str) -> Names {
        Names {
            app: self.app.clone(),
            service: self.key.clone(),
            environment: self.app_environment.clone(),
            cluster: self.cluster.clone(),
            region: region.to_owned(),
        }
    }

    /// The documents of the service: as they were written, or what the short form stands for. `around` has the identifiers of
    /// an account for the short form; without it the documents carry the names that the provision step gives them.
    pub fn definitions(&self, region: &str, around: Option<&Surroundings>) -> Definitions {
        match &self.definition {
            Definition::Short(web) => {
                let names = self.names(region);
                let named = Surroundings::named(&names);
                let around = around.unwrap_or(&named);
                let mut service = web.service_definition(&names, around);
                service["serviceName"] = Value::from(self.name.as_str());
                Definitions {
                    task: Some(Document::from_value(
                        &format!("{}.task-definition.json", self.key),
                        &web.task_definition(&names, around),
                    )),
                    service: Some(Document::from_value(
                        &format!("{}.service-definition.json", self.key),
                        &service,
                    )),
                    load_balancer: web.load_balancer(&names),
                }
            }
            Definition::Files { task, service } => Definitions {
                task: match task {
                    TaskDefinition::File(document) => Some(document.clone()),
                    TaskDefinition::Live => None,
                },
                service: service.clone(),
                load_balancer: None,
            },
        }
    }

    /// The task definition with the environment additions, and the images that it names.
    ///
    /// # Errors
    /// There is no such container, or several and none was named, where there is something to add.
    pub fn additions(&self, base: &Value) -> Result<Value, OverlayError> {
        if self.environment.is_empty() && self.secrets.is_empty() {
            return Ok(base.clone());
        }
        with_environment(
            base,
            self.container.as_deref(),
            &self.environment,
            &self.secrets,
        )
    }

    /// The task definition as it is registered: environment additions and the image put over `base`.
    ///
    /// # Errors
    /// There is no such container, or several and none was named.
    pub fn overlay(&self, base: &Value, image: &str) -> Result<Value, OverlayError> {
        let base = with_environment(
            base,
            self.container.as_deref(),
            &self.environment,
            &self.secrets,
        )?;
        with_image(&base, self.container.as_deref(), image)
    }

    /// Checks one service; `None` if something in it is wrong.
    pub(crate) fn new(
        faults: &mut Faults<'_>,
        context: &Context<'_>,
        key: &str,
        config: &ServiceConfig,
    ) -> Option<Self> {
        let before = faults.problems.len();
        let at = format!("/services/{}", escape(key));
        check_scaling(faults, &at, config);
        if let Some(FailureBudget::Tasks(tasks)) = config.failure_budget {
            let pointer = format!("{at}/failure-budget");
            check_range(faults, &pointer, "failure-budget", tasks, 1, 5000);
        }
        if let Some(url) = &config.url {
            check_path(faults, &format!("{at}/url/path"), &url.path);
            check_range(
                faults,
                &format!("{at}/url/timeout"),
                "timeout",
                url.timeout,
                1,
                3600,
            );
        }
        check_environment(faults, &at, config);
        if let Some(name) = &config.name {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > 255 || !name.bytes().all(fits) {
                let span = faults.span(&format!("{at}/name"));
                let help = "use 1 to 255 letters, digits, hyphens and underscores";
                faults.error(span, format!("`{name}` cannot name a service"), "", help);
            }
        }
        let definition = if config.task_definition.is_some() {
            files(faults, context, &at, config)
        } else {
            short(faults, context, &at, key, config)
        };
        if faults.problems.len() > before {
            return None;
        }
        let codedeploy = config.codedeploy.as_ref().map(|given| CodeDeploy {
            application: given.application.clone(),
            group: given.group.clone(),
            config: given.config.clone(),
            appspec: given
                .appspec
                .as_ref()
                .and_then(|path| {
                    document(faults, context, &format!("{at}/codedeploy/appspec"), path)
                })
                .map(|document| document.value().clone()),
        });
        let definition = definition?;
        let of_service = |member: &str| match &definition {
            Definition::Files {
                service: Some(document),
                ..
            } => document.value()[member]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
            _ => None,
        };
        let cluster = config
            .cluster
            .clone()
            .or_else(|| of_service("cluster"))
            .unwrap_or_else(|| "default".to_owned());
        let names = Names {
            app: context.app.to_owned(),
            service: key.to_owned(),
            environment: context.environment.map(str::to_owned),
            cluster: cluster.clone(),
            region: String::new(),
        };
        let is_short = matches!(definition, Definition::Short(_));
        let name = config
            .name
            .clone()
            .or_else(|| of_service("serviceName"))
            .unwrap_or_else(|| {
                if is_short {
                    names.full()
                } else {
                    key.to_owned()
                }
            });
        let url = config.url.clone().unwrap_or_else(|| match &definition {
            Definition::Short(web) => UrlConfig {
                path: web.health.path.clone(),
                ..UrlConfig::default()
            },
            // Of a verbatim service nothing is known: any answer that is not a server error proves that it serves.
            Definition::Files { .. } => UrlConfig {
                expect: Expect::between(200, 499),
                ..UrlConfig::default()
            },
        });
        let plain = |is_short: bool, pairs: Vec<(String, String)>| {
            if is_short { Vec::new() } else { pairs }
        };
        Some(Self {
            key: key.to_owned(),
            name,
            cluster,
            container: config
                .container
                .clone()
                .or_else(|| is_short.then(|| key.to_owned())),
            url,
            scaling: config.scaling.clone(),
            failure_budget: config.failure_budget,
            codedeploy,
            environment: plain(is_short, environment_of(config)),
            secrets: plain(is_short, config.secrets.0.clone()),
            definition,
            app: context.app.to_owned(),
            app_environment: context.environment.map(str::to_owned),
        })
    }
}

pub(crate) fn environment_of(config: &ServiceConfig) -> Vec<(String, String)> {
    config
        .environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.0.clone()))
        .collect()
}

/// A service made of verbatim documents.
fn files(
    faults: &mut Faults<'_>,
    context: &Context<'_>,
    at: &str,
    config: &ServiceConfig,
) -> Option<Definition> {
    let path = config.task_definition.as_deref()?;
    let short: [(&str, bool); 11] = [
        ("port", config.port.is_some()),
        ("cpu", config.cpu.is_some()),
        ("memory", config.memory.is_some()),
        ("count", config.count.is_some()),
        ("health", config.health.is_some()),
        ("command", config.command.is_some()),
        ("access", config.access.is_some()),
        ("task-role", config.task_role.is_some()),
        ("stop-timeout", config.stop_timeout.is_some()),
        (
            "deregistration-delay",
            config.deregistration_delay.is_some(),
        ),
        ("exec", config.exec.is_some()),
    ];
    for (name, _) in short.into_iter().filter(|(_, given)| *given) {
        let span = faults.key_span(&format!("{at}/{name}"));
        let belongs = if name == "count" {
            "`desiredCount` of the service definition"
        } else {
            "the definition files"
        };
        faults.error(
            span,
            format!("`{name}` belongs to the short form, and this service has a `task-definition`"),
            "",
            format!("say it in {belongs}, or remove `task-definition`"),
        );
    }
    let task = if path == "live" {
        Some(TaskDefinition::Live)
    } else {
        document(faults, context, &format!("{at}/task-definition"), path).map(TaskDefinition::File)
    };
    let service = match &config.service_definition {
        Some(path) => Some(document(
            faults,
            context,
            &format!("{at}/service-definition"),
            path,
        )?),
        None => None,
    };
    if let (Some(wanted), Some(TaskDefinition::File(document))) = (&config.container, &task)
        && let Err(error) = hoist_ecs::container_index(document.value(), Some(wanted))
    {
        let span = faults.span(&format!("{at}/container"));
        let names = hoist_ecs::container_names(document.value());
        let near = suggest::nearest(wanted, names.iter().map(String::as_str));
        faults.error(
            span,
            error.to_string(),
            "",
            near.map(|near| format!("did you mean `{near}`?"))
                .unwrap_or_default(),
        );
    }
    Some(Definition::Files {
        task: task?,
        service,
    })
}

/// Reads a definition file, templates filled in.
fn document(
    faults: &mut Faults<'_>,
    context: &Context<'_>,
    pointer: &str,
    path: &str,
) -> Option<Document> {
    let span = faults.span(pointer);
    if path.is_empty() {
        faults.error(span, "the name of the file is empty", "", "");
        return None;
    }
    let text = match fs::read_to_string(context.root.join(path)) {
        Ok(text) => text,
        Err(error) => {
            let help = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "paths are relative to hoist.yaml; `live` stands for the task definition that runs now"
                }
                _ => "",
            };
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
                _ => error.to_string(),
            };
            faults.error(
                span,
                format!("failed to read `{path}`: {why}"),
                "named here",
                help,
            );
            return None;
        }
    };
    let shown = context.shown_root.join(path).display().to_string();
    let parse = |text: &str| Document::parse(&shown, text).map_err(|problem| vec![*problem]);
    let text = match jsonnet::is_jsonnet(path) {
        false => Ok(text),
        true => jsonnet::evaluate(&shown, &context.root.join(path), &text, context.variables),
    };
    let text = match text {
        Ok(text) => text,
        Err(problem) => {
            faults.problems.push(*problem);
            return None;
        }
    };
    let filled = match context.as_written {
        true => ecspresso::expand(&shown, &text, context.variables)
            .map_err(|problem| vec![*problem])
            .and_then(|text| parse(&text)),
        false => parse(&text).and_then(|document| template::fill(&document, context.variables)),
    };
    match filled {
        Ok(document) => Some(document),
        Err(problems) => {
            faults.problems.extend(problems);
            None
        }
    }
}
