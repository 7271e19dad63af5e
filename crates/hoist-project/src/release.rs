//! How the services of a run belong together: what runs first, what moves with what.

use hoist_ecs::suggest;

use crate::checks::check_range;
use crate::config::Config;
use crate::project::Faults;
use crate::task::known_service;

/// The order of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Keys of the tasks that must succeed before the first service moves.
    pub before: Vec<String>,
    /// Keys of the services and schedules, wave by wave; every one stands in exactly one.
    pub waves: Vec<Vec<String>>,
    /// Most services that move at the same time.
    pub parallel: usize,
    /// Whether services that moved already go back when another one fails.
    pub all_or_nothing: bool,
}

/// The release that the file describes, checked.
pub(crate) fn release(faults: &mut Faults<'_>, services: &[&str], config: &Config) -> Release {
    let given = &config.release;
    let schedules: Vec<&str> = config.schedules.iter().map(|(key, _)| key).collect();
    let movable: Vec<&str> = services.iter().chain(&schedules).copied().collect();
    check_range(
        faults,
        "/release/parallel",
        "parallel",
        given.parallel,
        1,
        200,
    );
    let tasks: Vec<&str> = config.tasks.iter().map(|(key, _)| key).collect();
    for (index, name) in given.before.iter().enumerate() {
        if !tasks.contains(&name.as_str()) {
            let span = faults.span(&format!("/release/before/{index}"));
            let help = match suggest::nearest(name, tasks.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("describe it: `tasks: {{ {name}: {{ command: [...] }} }}`"),
            };
            faults.error(span, format!("there is no task `{name}`"), "", help);
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (wave, names) in given.waves.iter().enumerate() {
        for (index, name) in names.iter().enumerate() {
            let pointer = format!("/release/waves/{wave}/{index}");
            known_service(faults, &pointer, name, &movable);
            if seen.contains(&name.as_str()) {
                let span = faults.span(&pointer);
                faults.error(
                    span,
                    format!("`{name}` stands in the waves twice"),
                    "",
                    "remove one",
                );
            }
            seen.push(name);
        }
    }
    let rest: Vec<String> = services
        .iter()
        .filter(|key| !seen.contains(key))
        .map(|key| (*key).to_owned())
        .collect();
    let mut waves = given.waves.clone();
    if waves.is_empty() {
        waves = rest.into_iter().map(|key| vec![key]).collect();
    } else if !rest.is_empty() {
        waves.push(rest);
    }
    let rest: Vec<String> = schedules
        .iter()
        .filter(|key| !seen.contains(key))
        .map(|key| (*key).to_owned())
        .collect();
    waves.push(rest);
    waves.retain(|wave| !wave.is_empty());
    Release {
        before: given.before.clone(),
        waves,
        parallel: given.parallel as usize,
        all_or_nothing: given.all_or_nothing,
    }
}

#[cfg(test)]
mod tests {
    use crate::{Project, Variables};

    fn load(text: &str) -> Result<Project, crate::ProjectError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hoist.yaml"), text).unwrap();
        Project::load_with(folder.path(), None, &Variables::new())
    }

    const SERVICES: &str =
        "services: { web: { port: 80 }, api: { port: 81 }, worker: { cpu: 256 } }\n";

    #[test]
    fn without_waves_the_services_follow_each_other() {
        let project = load(SERVICES).unwrap();
        assert_eq!(project.release.waves, [["web"], ["api"], ["worker"]]);
    }

    #[test]
    fn services_that_no_wave_names_come_last_together() {
        let text = format!(
            "{SERVICES}tasks: {{ migrate: {{ service: api, command: [/app, migrate] }} }}\nrelease: {{ before: [migrate], waves: [[worker]], all-or-nothing: true }}\n"
        );
        let project = load(&text).unwrap();
        assert_eq!(
            project.release.waves,
            [
                vec!["worker".to_owned()],
                vec!["web".to_owned(), "api".to_owned()]
            ]
        );
        assert!(project.release.all_or_nothing);
        let task = project.task("migrate").unwrap();
        assert_eq!((task.service.as_str(), task.timeout), ("api", 3600));
        assert_eq!(task.command.as_deref().unwrap(), ["/app", "migrate"]);
    }

    #[test]
    fn schedules_stand_in_waves_or_come_last() {
        let text = format!(
            "{SERVICES}schedules: {{ nightly: {{ rule: n }}, report: {{ schedule: r, service: api }} }}\nrelease: {{ waves: [[report, worker]] }}\n"
        );
        let project = load(&text).unwrap();
        assert_eq!(
            project.release.waves,
            [
                vec!["report", "worker"],
                vec!["web", "api"],
                vec!["nightly"]
            ]
        );
        assert_eq!(
            load(&format!("{SERVICES}schedules: {{ a: {{ rule: x }} }}\n"))
                .unwrap()
                .release
                .waves,
            [["web"], ["api"], ["worker"], ["a"]]
        );
    }

    #[test]
    fn names_that_do_not_exist_are_found_where_they_stand() {
        let text = format!(
            "{SERVICES}tasks: {{ migrate: {{ service: apo }} }}\nrelease: {{ before: [migrat], waves: [[web, web]] }}\n"
        );
        let error = load(&text).unwrap_err();
        let said: Vec<String> = error
            .problems()
            .iter()
            .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
            .collect();
        assert_eq!(
            said,
            [
                "2:30 there is no service `apo`",
                "3:21 there is no task `migrat`",
                "3:44 `web` stands in the waves twice"
            ]
        );
    }
}
