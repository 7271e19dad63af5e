//! Where `hoist.yaml` is found, what its environments change, and what its templates become.

use std::fs;

use hoist_project::{
    Command, Compression, Definition, Engine, Platform, Project, ProjectError, TaskDefinition,
    Variables,
};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The example of the design document, word for word.
const LONG: &str = r#"# hoist.yaml: the long form; every key but `services` has a default
app: shop
region: eu-central-1                 # else from the AWS configuration
image:
  context: .
  dockerfile: Dockerfile
  repository: shop                   # in ECR
  platforms: [linux/amd64]
  before: ./build.sh                 # a hook on the host, where a build needs one
  test: { target: test }             # or { command: [...] } in the built image; must pass before the push
services:
  web:
    cluster: default
    task-definition: ecs/task-definition.json   # verbatim AWS JSON or YAML; or `live`: what runs now is the base
    service-definition: ecs/service.json        # created from it if absent
    container: web                              # gets the image
    url: { path: /healthz, expect: 200 }
    scaling: { min: 2, max: 20, cpu: 60 }       # registers the target and the policy
  worker: { task-definition: ecs/worker.json }
environments:                        # hoist deploy -e production
  production: { region: us-east-1, services: { web: { cluster: prod } } }
"#;

fn long() -> TempDir {
    folder(&[
        ("hoist.yaml", LONG),
        (
            "ecs/task-definition.json",
            r#"{ "family": "shop", "containerDefinitions": [{ "name": "web" }] }"#,
        ),
        (
            "ecs/service.json",
            r#"{ "serviceName": "shop-web", "cluster": "from-the-file" }"#,
        ),
        (
            "ecs/worker.json",
            r#"{ "family": "worker", "containerDefinitions": [{ "name": "worker" }] }"#,
        ),
    ])
}

#[test]
fn the_long_form_is_read_as_the_design_shows_it() {
    let folder = long();
    let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
    assert_eq!(
        (project.app.as_str(), project.region.as_deref()),
        ("shop", Some("eu-central-1"))
    );
    assert_eq!(project.image.platforms, [Platform::LinuxAmd64]);
    assert_eq!(
        project.image.before,
        Some(Command::Shell("./build.sh".to_owned()))
    );
    assert_eq!(
        project.image.test.as_ref().unwrap().target.as_deref(),
        Some("test")
    );
    assert_eq!(
        (project.image.engine, project.image.compression),
        (Engine::Auto, Compression::Gzip)
    );
    assert!(project.image.create_repository);
    let web = project.service("web").unwrap();
    assert_eq!(
        (web.name.as_str(), web.cluster.as_str()),
        ("shop-web", "default")
    );
    assert_eq!(web.url.path, "/healthz");
    assert!(web.url.expect.accepts(200) && !web.url.expect.accepts(204));
    assert_eq!(web.scaling.as_ref().unwrap().max, 20);
    let definitions = web.definitions("eu-central-1", None);
    assert_eq!(definitions.task.unwrap().value()["family"], "shop");
    assert!(definitions.load_balancer.is_none());
    let worker = project.service("worker").unwrap();
    assert_eq!(
        (worker.name.as_str(), worker.cluster.as_str()),
        ("worker", "default")
    );
    assert!(worker.url.expect.accepts(404) && !worker.url.expect.accepts(502));
    assert!(project.warnings.is_empty());
}

#[test]
fn an_environment_is_laid_over_the_file_key_by_key() {
    let folder = long();
    let project = Project::load_with(folder.path(), Some("production"), &Variables::new()).unwrap();
    assert_eq!(project.region.as_deref(), Some("us-east-1"));
    let web = project.service("web").unwrap();
    assert_eq!(web.cluster, "prod");
    assert_eq!(
        web.url.path, "/healthz",
        "what the environment does not name stays"
    );
    assert_eq!(project.services.len(), 2);
}

#[test]
fn null_in_an_environment_removes_and_lists_are_replaced() {
    let text = "services:\n  web: { port: 80, scaling: { min: 1, max: 4, cpu: 50 }, command: [a, b] }\n  cron: { cpu: 256 }\n\
                environments:\n  dev:\n    services: { web: { scaling: null, command: [c] }, cron: null }\n";
    let folder = folder(&[("hoist.yaml", text)]);
    let project = Project::load_with(folder.path(), Some("dev"), &Variables::new()).unwrap();
    assert_eq!(project.services.len(), 1);
    assert!(project.services[0].scaling.is_none());
    let Definition::Short(web) = &project.services[0].definition else {
        panic!("the short form")
    };
    assert_eq!(web.command.as_deref(), Some(&["c".to_owned()][..]));
}

#[test]
fn an_environment_that_is_not_there_is_refused_with_the_nearest() {
    let folder = long();
    let error =
        Project::load_with(folder.path(), Some("prodcution"), &Variables::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("hoist.yaml has no environment `prodcution`"),
        "{error}"
    );
    assert_eq!(error.hint().unwrap(), "did you mean `production`?");
}

#[test]
fn the_file_is_found_upwards_and_named_as_seen_from_there() {
    let folder = folder(&[
        ("hoist.yaml", "services:\n  web: { port: 0 }\n"),
        ("src/deep/x", ""),
    ]);
    let error =
        Project::find_with(&folder.path().join("src/deep"), None, &Variables::new()).unwrap_err();
    assert_eq!(error.problems()[0].file, "../../hoist.yaml");
    let error = Project::find_with(folder.path(), None, &Variables::new()).unwrap_err();
    assert_eq!(error.problems()[0].file, "hoist.yaml");
}

#[test]
fn a_folder_with_only_a_dockerfile_is_told_of_hoist_init() {
    let folder = folder(&[("Dockerfile", "FROM scratch\n")]);
    for error in [
        Project::find_with(folder.path(), None, &Variables::new()).unwrap_err(),
        Project::load_with(folder.path(), None, &Variables::new()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("hoist.yaml"), "{error}");
        assert_eq!(
            error.hint().unwrap(),
            "there is a Dockerfile: `hoist init` writes a hoist.yaml for it"
        );
    }
    let error = Project::load_with(&folder.path().join("nowhere.yaml"), None, &Variables::new())
        .unwrap_err();
    assert!(matches!(error, ProjectError::Read { .. }));
}

#[test]
fn templates_are_filled_in_where_the_chosen_environment_needs_them() {
    let text = "app: shop\nregion: \"{{ env.REGION | default('eu-west-1') }}\"\n\
                services:\n  web: { port: \"{{ env.PORT }}\", environment: { URL: \"https://{{ env.HOST }}/\" }, task-role: \"{{env.ROLE}}\" }\n\
                environments:\n  production: { region: \"{{ env.PRODUCTION_REGION }}\" }\n";
    let folder = folder(&[("hoist.yaml", text)]);
    let given = variables(&[
        ("PORT", "8080"),
        ("HOST", "shop.example"),
        ("ROLE", "shop-task"),
    ]);
    let project = Project::load_with(folder.path(), None, &given).unwrap();
    assert_eq!(project.region.as_deref(), Some("eu-west-1"));
    let Definition::Short(web) = &project.services[0].definition else {
        panic!("the short form")
    };
    assert_eq!(web.port, Some(8080), "a number may come out of a template");
    assert_eq!(
        web.environment,
        [("URL".to_owned(), "https://shop.example/".to_owned())]
    );
    let error = Project::load_with(folder.path(), Some("production"), &given).unwrap_err();
    assert!(
        error.to_string().contains("`PRODUCTION_REGION` is not set"),
        "{error}"
    );
    assert_eq!(error.problems()[0].line, 6);
}

#[test]
fn a_definition_file_keeps_its_order_and_its_own_braces() {
    let task = r#"{"zzz":"{{ env.TAG }}","family":"web","containerDefinitions":[{"name":"web","logConfiguration":{"options":{"tag":"{{.Name}}"}}}]}"#;
    let folder = folder(&[
        (
            "hoist.yaml",
            "services:\n  web: { task-definition: t.json }\n",
        ),
        ("t.json", task),
    ]);
    let project = Project::load_with(folder.path(), None, &variables(&[("TAG", "1\"2")])).unwrap();
    let Definition::Files {
        task: TaskDefinition::File(document),
        ..
    } = &project.services[0].definition
    else {
        panic!("a file")
    };
    assert_eq!(
        document.value().to_string(),
        task.replace("{{ env.TAG }}", "1\\\"2")
    );
}

#[test]
fn the_image_has_defaults_and_takes_every_key() {
    let text = "app: shop\nimage:\n  context: app\n  dockerfile: docker/Dockerfile\n  create-repository: false\n  platforms: [linux/arm64, linux/amd64]\n\
                \x20 before: [make, -j2]\n  test: { command: npm test }\n  build-args: { VERSION: 3, DEBUG: true, NAME: x }\n  target: final\n\
                \x20 engine: embedded\n  compression: zstd\nmirrors: { docker.io: \"http://127.0.0.1:5000\" }\nservices:\n  web: { port: 80 }\n";
    let folder = folder(&[("hoist.yaml", text)]);
    let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
    let image = &project.image;
    assert_eq!(project.context(), project.root.join("app"));
    assert_eq!(project.repository(), "shop");
    assert!(!image.create_repository);
    assert_eq!(
        image.platforms,
        [Platform::LinuxArm64, Platform::LinuxAmd64]
    );
    assert_eq!(image.before.as_ref().unwrap().to_args(), ["make", "-j2"]);
    assert_eq!(
        image
            .test
            .as_ref()
            .unwrap()
            .command
            .as_ref()
            .unwrap()
            .to_args(),
        ["/bin/sh", "-c", "npm test"]
    );
    let arguments: Vec<_> = image
        .build_args
        .iter()
        .map(|(name, value)| format!("{name}={}", value.0))
        .collect();
    assert_eq!(arguments, ["DEBUG=true", "NAME=x", "VERSION=3"]);
    assert_eq!(
        (image.engine, image.compression),
        (Engine::Embedded, Compression::Zstd)
    );
    assert_eq!(project.mirrors["docker.io"], "http://127.0.0.1:5000");
    let task = project.services[0]
        .definitions("eu-central-1", None)
        .task
        .unwrap();
    assert_eq!(task.value()["runtimePlatform"]["cpuArchitecture"], "ARM64");
}
