//! Schedules that start tasks with what is deployed.

use crate::config::ScheduleConfig;
use crate::project::{Faults, escape};
use crate::task::known_service;
use crate::values::Ordered;

/// A schedule whose tasks get what is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Key in `hoist.yaml`.
    pub key: String,
    /// What starts the tasks.
    pub starter: Starter,
    /// Key of the service whose revision it runs; none where its own task definition only gets the image.
    pub service: Option<String>,
    /// Container that gets the image; none where the task definition has only one.
    pub container: Option<String>,
}

/// What starts tasks at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Starter {
    /// A rule of EventBridge.
    Rule {
        /// Its name.
        name: String,
        /// Its event bus.
        bus: String,
    },
    /// A schedule of EventBridge Scheduler.
    Schedule {
        /// Its name.
        name: String,
        /// Its group.
        group: String,
    },
}

impl std::fmt::Display for Starter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Starter::Rule { name, bus } if bus == DEFAULT => write!(f, "the rule {name}"),
            Starter::Rule { name, bus } => write!(f, "the rule {name} of the bus {bus}"),
            Starter::Schedule { name, group } if group == DEFAULT => {
                write!(f, "the schedule {name}")
            }
            Starter::Schedule { name, group } => write!(f, "the schedule {group}/{name}"),
        }
    }
}

/// Bus and group where nothing is said.
const DEFAULT: &str = "default";

/// The schedules of the file, checked.
pub(crate) fn schedules(
    faults: &mut Faults<'_>,
    services: &[&str],
    config: &Ordered<ScheduleConfig>,
) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for (key, given) in config.iter() {
        let at = format!("/schedules/{}", escape(key));
        if services.contains(&key) {
            let span = faults.key_span(&at);
            faults.error(
                span,
                format!("`{key}` is a service too"),
                "",
                "waves name both by their keys: give one another key",
            );
        }
        if let Some(service) = &given.service {
            known_service(faults, &format!("{at}/service"), service, services);
        }
        let or_default = |name: &Option<String>| name.as_deref().unwrap_or(DEFAULT).to_owned();
        let starter = match (&given.rule, &given.schedule) {
            (Some(name), None) => Starter::Rule {
                name: name.clone(),
                bus: or_default(&given.bus),
            },
            (None, Some(name)) => Starter::Schedule {
                name: name.clone(),
                group: or_default(&given.group),
            },
            _ => {
                let span = faults.key_span(&at);
                faults.error(
                    span,
                    format!("`{key}` names no rule and no schedule, or both"),
                    "",
                    "name one: `rule:` of EventBridge, or `schedule:` of EventBridge Scheduler",
                );
                continue;
            }
        };
        let misplaced = match starter {
            Starter::Rule { .. } => given.group.as_ref().map(|_| ("group", "schedule")),
            Starter::Schedule { .. } => given.bus.as_ref().map(|_| ("bus", "rule")),
        };
        if let Some((member, of)) = misplaced {
            let span = faults.key_span(&format!("{at}/{member}"));
            faults.error(
                span,
                format!("`{member}` belongs to a `{of}`"),
                "",
                "remove it",
            );
        }
        schedules.push(Schedule {
            key: key.to_owned(),
            starter,
            service: given.service.clone(),
            container: given.container.clone(),
        });
    }
    schedules
}

#[cfg(test)]
mod tests {
    use crate::{Project, Variables};

    fn load(schedules: &str) -> Result<Project, crate::ProjectError> {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("app: shop\nservices: {{ web: {{ port: 80 }} }}\nschedules:\n{schedules}");
        std::fs::write(folder.path().join("hoist.yaml"), text).unwrap();
        Project::load_with(folder.path(), None, &Variables::new())
    }

    #[test]
    fn rules_and_schedules_are_named_in_words() {
        let project = load(
            "  a: { rule: nightly }\n  b: { rule: hourly, bus: own }\n  c: { schedule: report, group: all, service: web }\n",
        )
        .unwrap();
        let said: Vec<String> = project
            .schedules
            .iter()
            .map(|one| one.starter.to_string())
            .collect();
        assert_eq!(
            said,
            [
                "the rule nightly",
                "the rule hourly of the bus own",
                "the schedule all/report"
            ]
        );
        assert_eq!(project.schedules[2].service.as_deref(), Some("web"));
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said_where_it_stands() {
        let error =
            load("  web: { rule: a }\n  b: {}\n  c: { schedule: d, bus: e, service: wep }\n")
                .unwrap_err();
        let said: Vec<String> = error
            .problems()
            .iter()
            .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
            .collect();
        assert_eq!(
            said,
            [
                "4:3 `web` is a service too",
                "5:3 `b` names no rule and no schedule, or both",
                "6:38 there is no service `wep`",
                "6:21 `bus` belongs to a `rule`",
            ]
        );
    }
}
