//! Projects of ecspresso, as they stand: `ecspresso.yml`, and definition files with its template functions.
//!
//! See <https://github.com/kayac/ecspresso>. Its configuration is turned into the text of a `hoist.yaml`; `env` and `must_env` are filled in
//! before a definition file is parsed, as ecspresso does. What is not supported is said where it stands.

use std::borrow::Cow;
use std::path::Path;

use hoist_ecs::{Document, Problem, Severity, Span};

use crate::error::ProjectError;
use crate::jsonnet;
use crate::template::Variables;

/// Names that the configuration may have.
pub(crate) const FILE_NAMES: [&str; 3] = ["ecspresso.yml", "ecspresso.yaml", "ecspresso.jsonnet"];

/// The keys that have a meaning here.
const KNOWN: [&str; 9] = [
    "region",
    "cluster",
    "service",
    "service_definition",
    "task_definition",
    "timeout",
    "required_version",
    "appspec",
    "codedeploy",
];

/// The `hoist.yaml` that an ecspresso configuration in `file` stands for, and what of it is left out.
pub(crate) fn config(
    shown: &str,
    file: &Path,
    text: &str,
    variables: &Variables,
) -> Result<(String, Vec<Problem>), ProjectError> {
    let text = match jsonnet::is_jsonnet(shown) {
        true => Cow::Owned(jsonnet::evaluate(shown, file, text, variables)?),
        false => Cow::Borrowed(text),
    };
    let expanded = expand(shown, &text, variables)?;
    let document = Document::parse(shown, &expanded)?;
    let root = document.root();
    let text_of = |key: &str| root.get(key).and_then(|node| node.as_str());
    let (Some(service), Some(task)) = (text_of("service"), text_of("task_definition")) else {
        let problem = document
            .error(
                root.span,
                "the configuration names no `service` and `task_definition`",
            )
            .label("ecspresso needs both");
        return Err(Box::new(problem).into());
    };
    let mut warnings = Vec::new();
    for entry in root.entries() {
        if !KNOWN.contains(&entry.key.as_str()) {
            let what = match entry.key.as_str() {
                "plugins" => {
                    "hoist has no plugins: their functions are refused where they are used"
                }
                _ => "hoist does not know this key of ecspresso, and leaves it out",
            };
            warnings.push(document.warning(entry.key_span, what).label("left out"));
        }
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut yaml = format!("app: {}\n", app_name(service));
    if let Some(region) = text_of("region").filter(|region| !region.is_empty()) {
        yaml.push_str(&format!("region: {}\n", quoted(region)));
    }
    yaml.push_str(&format!(
        "services:\n  {}:\n    name: {}\n    task-definition: {}\n",
        app_name(service),
        quoted(service),
        quoted(task)
    ));
    for (key, ours) in [
        ("cluster", "cluster"),
        ("service_definition", "service-definition"),
    ] {
        if let Some(value) = text_of(key) {
            yaml.push_str(&format!("    {ours}: {}\n", quoted(value)));
        }
    }
    let codedeploy = root.get("codedeploy");
    let of = |key: &str| codedeploy.and_then(|node| node.get(key)?.as_str());
    let told: Vec<String> = [
        ("application", of("application_name")),
        ("group", of("deployment_group_name")),
        ("config", of("deployment_config_name")),
        ("appspec", text_of("appspec")),
    ]
    .into_iter()
    .filter_map(|(ours, value)| Some(format!("{ours}: {}", quoted(value?))))
    .collect();
    if !told.is_empty() {
        yaml.push_str(&format!("    codedeploy: {{ {} }}\n", told.join(", ")));
    }
    Ok((yaml, warnings))
}

/// Lower-case letters, digits and hyphens, 64 at most.
fn app_name(service: &str) -> String {
    let name: String = service
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    match name.trim_matches('-') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

/// Fills in the template functions of a text.
pub(crate) fn expand(
    shown: &str,
    text: &str,
    variables: &Variables,
) -> Result<String, Box<Problem>> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        let start = text.len() - rest.len() + begin;
        let Some(length) = rest[begin..].find("}}") else {
            return Err(wrong(
                shown,
                text,
                start,
                start + 2,
                "the template has no end",
                "add `}}`",
            ));
        };
        let end = start + length + 2;
        let inner = text[start + 2..end - 2].trim_matches('-').trim();
        let value = value(inner, variables)
            .map_err(|(message, help)| wrong(shown, text, start, end, &message, &help))?;
        expanded.push_str(&rest[..begin]);
        expanded.push_str(&value);
        rest = &text[end..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What a template comes to, or what is wrong with it and what would be right.
fn value(inner: &str, variables: &Variables) -> Result<String, (String, String)> {
    let words = words(inner);
    let set = |name: &str| {
        variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    };
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["must_env", name] => variables.get(*name).cloned().ok_or_else(|| {
            (
                format!("the environment variable `{name}` is not set"),
                "set it: `must_env` has no default".to_owned(),
            )
        }),
        // The first variable that is set; the last word is the default.
        ["env", names @ .., default] if !names.is_empty() => Ok(names
            .iter()
            .find_map(|name| set(name))
            .unwrap_or_else(|| (*default).to_owned())),
        ["env", name] => Ok(set(name).unwrap_or_default()),
        [function, ..] => Err((
            format!("hoist does not know the function `{function}` of ecspresso"),
            "it knows `env` and `must_env`: put what the function looks up into the environment"
                .to_owned(),
        )),
        [] => Err(("the template is empty".to_owned(), "remove it".to_owned())),
    }
}

/// Words between spaces; those in double quotes or backticks are one.
fn words(inner: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' => {}
            quote @ ('"' | '`') => {
                words.push(
                    letters
                        .by_ref()
                        .take_while(|letter| *letter != quote)
                        .collect(),
                );
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = letters.next_if(|next| !next.is_whitespace()) {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    words
}

fn wrong(
    shown: &str,
    text: &str,
    start: usize,
    end: usize,
    message: &str,
    help: &str,
) -> Box<Problem> {
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let span = Span {
        line: before.matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        start,
        end,
    };
    Box::new(
        Problem::new(Severity::Error, shown, text, span, message)
            .label("this template")
            .help(help),
    )
}

#[cfg(test)]
mod tests {
    use crate::{Project, Variables};

    fn variables() -> Variables {
        [("TAG", "abc"), ("EMPTY", "")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn project(config: &str, task: &str) -> Result<Project, crate::ProjectError> {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ecspresso.yml", config);
        write("task.json", task);
        write(
            "service.json",
            r#"{ "launchType": "FARGATE", "desiredCount": {{ env `COUNT` `2` }} }"#,
        );
        Project::find_with(folder.path(), None, &variables())
    }

    const CONFIG: &str = "region: {{ env `REGION` `ap-northeast-1` }}\ncluster: prod\nservice: My_Service\nservice_definition: service.json\ntask_definition: task.json\ntimeout: 10m\n";

    #[test]
    fn a_project_of_ecspresso_is_read_as_it_stands() {
        let task = r#"{ "family": "x", "cpu": "{{ env "CPU" "EMPTY" "256" }}", "containerDefinitions": [{ "name": "app", "image": "repo:{{ must_env `TAG` }}" }] }"#;
        let project = project(&format!("{CONFIG}plugins: [{{ name: tfstate }}]\n"), task).unwrap();
        assert!(project.as_written);
        assert_eq!(project.region.as_deref(), Some("ap-northeast-1"));
        let service = &project.services[0];
        assert_eq!(
            (service.name.as_str(), service.cluster.as_str()),
            ("My_Service", "prod")
        );
        let definitions = service.definitions("ap-northeast-1", None);
        let task = definitions.task.unwrap();
        assert_eq!(task.value()["containerDefinitions"][0]["image"], "repo:abc");
        assert_eq!(task.value()["cpu"], "256");
        assert_eq!(definitions.service.unwrap().value()["desiredCount"], 2);
        assert_eq!(project.warnings.len(), 1);
        assert!(
            project.warnings[0].message.contains("plugins"),
            "{:?}",
            project.warnings
        );
    }

    #[test]
    fn a_project_in_jsonnet_is_read_as_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "ecspresso.jsonnet",
            "{ region: 'eu-west-1', cluster: 'prod', service: 'web', task_definition: 'task.jsonnet', timeout: '5m' }",
        );
        write(
            "task.jsonnet",
            "local image = 'repo:' + std.native('must_env')('TAG');\n{ family: 'web', containerDefinitions: [{ name: 'app', image: image }] }",
        );
        let project = Project::find_with(folder.path(), None, &variables()).unwrap();
        assert_eq!(project.region.as_deref(), Some("eu-west-1"));
        let task = project.services[0].definitions("eu-west-1", None).task;
        let task = task.unwrap();
        assert_eq!(task.value()["containerDefinitions"][0]["image"], "repo:abc");
        write(
            "task.jsonnet",
            "{\n  family: std.native('must_env')('GONE') }",
        );
        let error = Project::find_with(folder.path(), None, &variables()).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!((problem.line, problem.column), (2, 11), "{problem:?}");
        assert!(problem.file.ends_with("task.jsonnet"), "{problem:?}");
    }

    #[test]
    fn applications_of_codedeploy_are_taken_over() {
        let task =
            r#"{ "family": "x", "containerDefinitions": [{ "name": "app", "image": "repo:1" }] }"#;
        let config =
            format!("{CONFIG}codedeploy: {{ application_name: A, deployment_group_name: G }}\n");
        let project = project(&config, task).unwrap();
        let codedeploy = project.services[0].codedeploy.as_ref().unwrap();
        assert_eq!(
            (
                codedeploy.application.as_deref(),
                codedeploy.group.as_deref(),
                &codedeploy.appspec
            ),
            (Some("A"), Some("G"), &None)
        );
        assert!(project.warnings.is_empty(), "{:?}", project.warnings);
    }

    #[test]
    fn what_is_not_supported_is_said_where_it_stands() {
        for (config, task, place, said) in [
            (
                CONFIG,
                "{\n  \"family\": \"{{ must_env `FAMILY` }}\" }",
                "2:14",
                "`FAMILY` is not set",
            ),
            (
                CONFIG,
                "{ \"family\": \"{{ tfstate `aws_x.y` }}\" }",
                "1:14",
                "does not know the function `tfstate`",
            ),
            (
                CONFIG,
                "{ \"family\": \"{{ env `A` \" }",
                "1:14",
                "has no end",
            ),
            ("cluster: a\n", "", "1:1", "names no `service`"),
        ] {
            let error = project(config, task).unwrap_err();
            let problem = &error.problems()[0];
            assert_eq!(
                format!("{}:{}", problem.line, problem.column),
                place,
                "{problem:?}"
            );
            assert!(problem.message.contains(said), "{problem:?}");
        }
    }
}
