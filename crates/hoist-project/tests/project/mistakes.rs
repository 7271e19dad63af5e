//! Mistakes in `hoist.yaml` and what is said of them.

use std::fs;

use hoist_project::{Project, Variables};

/// What is said of a `hoist.yaml`, as a person reads it.
fn said(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("hoist.yaml", text);
    write("broken.json", "{ \"family\": \"web\",, }");
    write("template.json", "{\n  \"family\": \"{{ env.FAMILY }}\"\n}");
    write(
        "good.json",
        r#"{ "family": "web", "containerDefinitions": [{ "name": "web", "image": "a" }] }"#,
    );
    match Project::find_with(folder.path(), None, &Variables::new()) {
        Ok(project) => panic!("nothing is wrong with {project:?}"),
        Err(error) => {
            let problems = error.problems().iter().map(|problem| problem.render(false));
            problems.collect::<Vec<_>>().join("\n\n")
        }
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    insta::assert_snapshot!(said("app: shop\nservices:\n  web: { port: 8080, helth: /healthz }\n"), @r#"
    error: unknown key `helth`
     --> hoist.yaml:3:22
      |
    3 |   web: { port: 8080, helth: /healthz }
      |                      ^^^^^
      |
      = help: did you mean `health`?
    "#);
}

#[test]
fn an_unknown_top_level_key() {
    insta::assert_snapshot!(said("app: shop\nservice:\n  web: { port: 8080 }\n"), @r#"
    error: unknown key `service`
     --> hoist.yaml:2:1
      |
    2 | service:
      | ^^^^^^^
      |
      = help: did you mean `services`?
    "#);
}

#[test]
fn a_key_with_no_near_one_lists_them() {
    insta::assert_snapshot!(said("services:\n  web: { port: 8080 }\nimage:\n  nonsense: 1\n"), @r#"
    error: unknown key `nonsense`
     --> hoist.yaml:4:3
      |
    4 |   nonsense: 1
      |   ^^^^^^^^
      |
      = help: known here: `context`, `dockerfile`, `repository`, `create-repository`, `platforms`, `before`, `test`, `build-args`, `target`, `secrets`, `contexts`, `soci`, `engine`, `builder`, `compression`
    "#);
}

#[test]
fn a_text_where_a_number_belongs() {
    insta::assert_snapshot!(said("services:\n  web: { port: http }\n"), @r#"
    error: expected a number from 0 to 65535, found a text
     --> hoist.yaml:2:16
      |
    2 |   web: { port: http }
      |                ^^^^ expected a number from 0 to 65535
      |
      = help: write a number from 0 to 65535
    "#);
}

#[test]
fn a_number_in_quotes() {
    insta::assert_snapshot!(said("services:\n  web: { port: \"8080\" }\n"), @r#"
    error: expected a number from 0 to 65535, found a text
     --> hoist.yaml:2:16
      |
    2 |   web: { port: "8080" }
      |                ^^^^^^ expected a number from 0 to 65535
      |
      = help: write 8080 without quotes
    "#);
}

#[test]
fn a_port_out_of_range() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80800 }\n"), @r#"
    error: expected a number from 0 to 65535, found 80800
     --> hoist.yaml:2:16
      |
    2 |   web: { port: 80800 }
      |                ^^^^^ expected a number from 0 to 65535
      |
      = help: write a number from 0 to 65535
    "#);
}

#[test]
fn a_negative_count() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, count: -1 }\n"), @r#"
    error: expected a whole number, 0 or more, found -1
     --> hoist.yaml:2:27
      |
    2 |   web: { port: 80, count: -1 }
      |                           ^^ expected a whole number, 0 or more
      |
      = help: write a whole number, 0 or more
    "#);
}

#[test]
fn port_zero() {
    insta::assert_snapshot!(said("services:\n  web: { port: 0 }\n"), @r#"
    error: no container listens on port 0
     --> hoist.yaml:2:16
      |
    2 |   web: { port: 0 }
      |                ^
      |
      = help: write a port from 1 to 65535
    "#);
}

#[test]
fn services_missing() {
    insta::assert_snapshot!(said("app: shop\n"), @r#"
    error: `services` is missing
     --> hoist.yaml:1:1
      |
    1 | app: shop
      | ^^^^^^^^^ needs `services`
      |
      = help: say what runs, such as `services: { web: { port: 8080 } }`
    "#);
}

#[test]
fn services_empty() {
    insta::assert_snapshot!(said("app: shop\nservices: {}\n"), @r#"
    error: there is no service
     --> hoist.yaml:2:1
      |
    2 | services: {}
      | ^^^^^^^^
      |
      = help: name one, such as `web: { port: 8080 }`
    "#);
}

#[test]
fn services_nothing() {
    insta::assert_snapshot!(said("app: shop\nservices:\n"), @r#"
    error: there is no service
     --> hoist.yaml:2:1
      |
    2 | services:
      | ^^^^^^^^
      |
      = help: name one, such as `web: { port: 8080 }`
    "#);
}

#[test]
fn services_a_list() {
    insta::assert_snapshot!(said("services:\n  - web\n"), @r#"
    error: expected a mapping, found a list
     --> hoist.yaml:2:3
      |
    2 |   - web
      |   ^^^^^ expected a mapping
      |
      = help: write lines of `name: value` instead of a list
    "#);
}

#[test]
fn a_service_that_is_only_a_port() {
    insta::assert_snapshot!(said("services:\n  web: 8080\n"), @r#"
    error: expected a mapping, found the number 8080
     --> hoist.yaml:2:8
      |
    2 |   web: 8080
      |        ^^^^ expected a mapping
      |
      = help: if this is its port, write `{ port: 8080 }`
    "#);
}

#[test]
fn a_service_that_is_only_a_word() {
    insta::assert_snapshot!(said("services:\n  web: nginx\n"), @r#"
    error: expected a mapping, found a text
     --> hoist.yaml:2:8
      |
    2 |   web: nginx
      |        ^^^^^ expected a mapping
      |
      = help: say what it is, such as `{ port: 8080 }`
    "#);
}

#[test]
fn a_service_with_nothing() {
    insta::assert_snapshot!(said("services:\n  web:\n"), @r#"
    error: nothing is said of the service `web`
     --> hoist.yaml:2:3
      |
    2 |   web:
      |   ^^^
      |
      = help: give it a `task-definition`, or the short form such as `{ port: 8080 }`
    "#);
}

#[test]
fn not_a_mapping() {
    insta::assert_snapshot!(said("- web\n"), @r#"
    error: hoist.yaml must be a mapping
     --> hoist.yaml:1:1
      |
    1 | - web
      | ^^^^^ expected keys such as `services:`
      |
      = help: write `services: { web: { port: 8080 } }`
    "#);
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(said(""), @r#"
    error: the file is empty
     --> hoist.yaml:1:1
      |
    1 |
      | ^ expected keys and values
      |
      = help: write keys and values
      = docs: docs/checks.md#syntax
    "#);
}

#[test]
fn a_duplicate_key() {
    insta::assert_snapshot!(said("app: a\nservices:\n  web: { port: 80 }\napp: b\n"), @r#"
    error: the key `app` stands twice
     --> hoist.yaml:4:1
      |
    1 | app: a
      | --- the first one
    ...
    4 | app: b
      | ^^^ the second one
      |
      = help: remove one of the two
      = docs: docs/checks.md#duplicate-key
    "#);
}

#[test]
fn a_tab() {
    insta::assert_snapshot!(said("services:\n\tweb: { port: 80 }\n"), @r#"
    error: not valid YAML: tabs disallowed within this context (block indentation)
     --> hoist.yaml:2:2
      |
    2 |     web: { port: 80 }
      |     ^
      |
      = help: indent with spaces: YAML does not allow tabs there
      = docs: docs/checks.md#syntax
    "#);
}

#[test]
fn a_bad_app_name() {
    insta::assert_snapshot!(said("app: My Shop\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `My Shop` cannot name an application
     --> hoist.yaml:1:6
      |
    1 | app: My Shop
      |      ^^^^^^^
      |
      = help: use 1 to 64 lower-case letters, digits and hyphens, with no hyphen at the ends
    "#);
}

#[test]
fn a_zone_for_a_region() {
    insta::assert_snapshot!(said("region: eu-central-1a\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `eu-central-1a` is not the name of a region
     --> hoist.yaml:1:9
      |
    1 | region: eu-central-1a
      |         ^^^^^^^^^^^^^
      |
      = help: this looks like an availability zone: its region is `eu-central-1`
    "#);
}

#[test]
fn not_a_region() {
    insta::assert_snapshot!(said("region: frankfurt\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `frankfurt` is not the name of a region
     --> hoist.yaml:1:9
      |
    1 | region: frankfurt
      |         ^^^^^^^^^
      |
      = help: a region is written like `eu-central-1`
    "#);
}

#[test]
fn a_size_that_fargate_has_not() {
    insta::assert_snapshot!(said("services:\n  web:\n    port: 80\n    cpu: 256\n    memory: 4096\n"), @r#"
    error: Fargate has no size with 256 CPU units and 4096 MiB
     --> hoist.yaml:5:13
      |
    5 |     memory: 4096
      |             ^^^^
      |
      = help: near it are cpu 256 with memory 2048, cpu 512 with memory 4096
    "#);
}

#[test]
fn vcpus_for_units() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, cpu: 2 }\n"), @r#"
    error: Fargate has no size with 2 CPU units
     --> hoist.yaml:2:25
      |
    2 |   web: { port: 80, cpu: 2 }
      |                         ^
      |
      = help: these are CPU units, 1024 to a vCPU: 2 vCPU are 2048
    "#);
}

#[test]
fn short_keys_beside_a_task_definition() {
    insta::assert_snapshot!(said("services:\n  web:\n    task-definition: live\n    port: 80\n    count: 2\n"), @r#"
    error: `port` belongs to the short form, and this service has a `task-definition`
     --> hoist.yaml:4:5
      |
    4 |     port: 80
      |     ^^^^
      |
      = help: say it in the definition files, or remove `task-definition`

    error: `count` belongs to the short form, and this service has a `task-definition`
     --> hoist.yaml:5:5
      |
    5 |     count: 2
      |     ^^^^^
      |
      = help: say it in `desiredCount` of the service definition, or remove `task-definition`
    "#);
}

#[test]
fn a_service_definition_alone() {
    insta::assert_snapshot!(said("services:\n  web: { service-definition: live.json }\n"), @r#"
    error: `service-definition` without `task-definition`
     --> hoist.yaml:2:10
      |
    2 |   web: { service-definition: live.json }
      |          ^^^^^^^^^^^^^^^^^^
      |
      = help: name the task definition too, or `live`
    "#);
}

#[test]
fn a_missing_definition_file() {
    insta::assert_snapshot!(said("services:\n  web: { task-definition: ecs/task.json }\n"), @r#"
    error: failed to read `ecs/task.json`: there is no such file
     --> hoist.yaml:2:27
      |
    2 |   web: { task-definition: ecs/task.json }
      |                           ^^^^^^^^^^^^^ named here
      |
      = help: paths are relative to hoist.yaml; `live` stands for the task definition that runs now
    "#);
}

#[test]
fn a_definition_with_a_syntax_error() {
    insta::assert_snapshot!(said("services:\n  web: { task-definition: broken.json }\n"), @r#"
    error: expected a key
     --> broken.json:1:19
      |
    1 | { "family": "web",, }
      |                   ^ a key is a string in double quotes
      |
      = docs: docs/checks.md#syntax
    "#);
}

#[test]
fn a_definition_with_a_missing_variable() {
    insta::assert_snapshot!(said("services:\n  web: { task-definition: template.json }\n"), @r#"
    error: the environment variable `FAMILY` is not set
     --> template.json:2:14
      |
    2 |   "family": "{{ env.FAMILY }}"
      |              ^^^^^^^^^^^^^^^^ needed here
      |
      = help: set it, or give a default: `{{ env.FAMILY | default("value") }}`
      = docs: docs/checks.md#templates
    "#);
}

#[test]
fn a_container_that_is_not_there() {
    insta::assert_snapshot!(said("services:\n  web: { task-definition: good.json, container: wbe }\n"), @r#"
    error: the task definition has no container `wbe`; it has `web`
     --> hoist.yaml:2:49
      |
    2 |   web: { task-definition: good.json, container: wbe }
      |                                                 ^^^
      |
      = help: did you mean `web`?
    "#);
}

#[test]
fn a_test_with_both() {
    insta::assert_snapshot!(said("image:\n  test: { target: test, command: make test }\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `test` has both `target` and `command`
     --> hoist.yaml:2:25
      |
    2 |   test: { target: test, command: make test }
      |                         ^^^^^^^
      |
      = help: keep one of them
    "#);
}

#[test]
fn a_test_with_nothing() {
    insta::assert_snapshot!(said("image:\n  test: {}\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `test` says nothing
     --> hoist.yaml:2:3
      |
    2 |   test: {}
      |   ^^^^
      |
      = help: write `test: { target: STAGE }` or `test: { command: [...] }`
    "#);
}

#[test]
fn an_unknown_platform() {
    insta::assert_snapshot!(said("image:\n  platforms: [linux/amd46]\nservices:\n  web: { port: 80 }\n"), @r#"
    error: unknown value `linux/amd46`
     --> hoist.yaml:2:15
      |
    2 |   platforms: [linux/amd46]
      |               ^^^^^^^^^^^
      |
      = help: did you mean `linux/amd64`?
    "#);
}

#[test]
fn an_unknown_engine() {
    insta::assert_snapshot!(said("image: { engine: kaniko }\nservices:\n  web: { port: 80 }\n"), @r#"
    error: unknown value `kaniko`
     --> hoist.yaml:1:18
      |
    1 | image: { engine: kaniko }
      |                  ^^^^^^
      |
      = help: known here: `auto`, `embedded`, `buildkit`
    "#);
}

#[test]
fn a_repository_with_its_registry() {
    insta::assert_snapshot!(said("image: { repository: 1.dkr.ecr.eu-central-1.amazonaws.com/shop }\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `1.dkr.ecr.eu-central-1.amazonaws.com/shop` cannot name a repository in ECR
     --> hoist.yaml:1:22
      |
    1 | image: { repository: 1.dkr.ecr.eu-central-1.amazonaws.com/shop }
      |                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write only what follows the `/`: the registry is that of the account and region
    "#);
}

#[test]
fn a_mirror_without_scheme() {
    insta::assert_snapshot!(said("mirrors: { docker.io: 127.0.0.1:5000 }\nservices:\n  web: { port: 80 }\n"), @r#"
    error: `127.0.0.1:5000` is not the URL of a registry
     --> hoist.yaml:1:23
      |
    1 | mirrors: { docker.io: 127.0.0.1:5000 }
      |                       ^^^^^^^^^^^^^^
      |
      = help: write `https://HOST` or `http://HOST:PORT`
    "#);
}

#[test]
fn a_health_path_without_a_slash() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, health: healthz }\n"), @r#"
    error: `healthz` is not a path
     --> hoist.yaml:2:28
      |
    2 |   web: { port: 80, health: healthz }
      |                            ^^^^^^^
      |
      = help: a path begins with `/` and has no spaces
    "#);
}

#[test]
fn a_health_check_too_often() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, health: { path: /h, interval: 1 } }\n"), @r#"
    error: `interval` is 1, and AWS takes 5 to 300
     --> hoist.yaml:2:50
      |
    2 |   web: { port: 80, health: { path: /h, interval: 1 } }
      |                                                  ^ expected 5 to 300
      |
      = help: write 5 to 300
    "#);
}

#[test]
fn a_health_timeout_above_the_interval() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, health: { path: /h, timeout: 9 } }\n"), @r#"
    error: a timeout of 9 s is not below the interval of 5 s
     --> hoist.yaml:2:49
      |
    2 |   web: { port: 80, health: { path: /h, timeout: 9 } }
      |                                                 ^
      |
      = help: a load balancer must give up on one check before the next
    "#);
}

#[test]
fn a_health_check_without_a_port() {
    insta::assert_snapshot!(said("services:\n  web: { cpu: 256, health: /h }\n"), @r#"
    error: a health check without a `port`
     --> hoist.yaml:2:20
      |
    2 |   web: { cpu: 256, health: /h }
      |                    ^^^^^^
      |
      = help: name the port on which the container listens
    "#);
}

#[test]
fn a_health_key_misspelt() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, health: { pth: /h } }\n"), @r#"
    error: unknown key `pth`
     --> hoist.yaml:2:30
      |
    2 |   web: { port: 80, health: { pth: /h } }
      |                              ^^^
      |
      = help: did you mean `path`?
    "#);
}

#[test]
fn a_status_that_is_none() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, url: { expect: 99 } }\n"), @r#"
    error: `99` is not an HTTP status
     --> hoist.yaml:2:35
      |
    2 |   web: { port: 80, url: { expect: 99 } }
      |                                   ^^
      |
      = help: write `200`, a range such as `200-399`, or a list of both
    "#);
}

#[test]
fn scaling_upside_down() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, scaling: { min: 5, max: 2, cpu: 60 } }\n"), @r#"
    error: between 5 and 2 tasks there is nothing
     --> hoist.yaml:2:36
      |
    2 |   web: { port: 80, scaling: { min: 5, max: 2, cpu: 60 } }
      |                                    ^
      |
      = help: `min` must not be above `max`
    "#);
}

#[test]
fn scaling_by_nothing() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, scaling: { min: 1, max: 2 } }\n"), @r#"
    error: `scaling` has bounds but nothing to scale by
     --> hoist.yaml:2:20
      |
    2 |   web: { port: 80, scaling: { min: 1, max: 2 } }
      |                    ^^^^^^^
      |
      = help: add `cpu: 60`, `memory: 70` or `requests: 1000`
    "#);
}

#[test]
fn scaling_without_max() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, scaling: { min: 1 } }\n"), @r#"
    error: `max` is missing
     --> hoist.yaml:2:29
      |
    2 |   web: { port: 80, scaling: { min: 1 } }
      |                             ^^^^^^^^^^ needs `max`
      |
      = help: add `max`
    "#);
}

#[test]
fn a_name_in_environment_and_secrets() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, environment: { A: 1 }, secrets: { A: /shop/a } }\n"), @r#"
    error: `A` stands in both `environment` and `secrets`
     --> hoist.yaml:2:54
      |
    2 |   web: { port: 80, environment: { A: 1 }, secrets: { A: /shop/a } }
      |                                                      ^
      |
      = help: keep one of them
    "#);
}

#[test]
fn an_environment_value_that_would_change() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, environment: { VERSION: 1.10 } }\n"), @r#"
    error: expected a text, found the number 1.1
     --> hoist.yaml:2:44
      |
    2 |   web: { port: 80, environment: { VERSION: 1.10 } }
      |                                            ^^^^
      |
      = help: put it in quotes, so that it stays as it is written
    "#);
}

#[test]
fn an_access_that_is_none() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80, access: public }\n"), @r#"
    error: unknown value `public`
     --> hoist.yaml:2:28
      |
    2 |   web: { port: 80, access: public }
      |                            ^^^^^^
      |
      = help: did you mean `public-ip`?
    "#);
}

#[test]
fn a_variable_that_is_not_set() {
    insta::assert_snapshot!(said("app: shop\nregion: \"{{ env.REGION }}\"\nservices:\n  web: { port: 80 }\n"), @r#"
    error: the environment variable `REGION` is not set
     --> hoist.yaml:2:10
      |
    2 | region: "{{ env.REGION }}"
      |          ^^^^^^^^^^^^^^^^ needed here
      |
      = help: set it, or give a default: `{{ env.REGION | default("value") }}`
      = docs: docs/checks.md#templates
    "#);
}

#[test]
fn a_template_without_quotes() {
    insta::assert_snapshot!(said("services:\n  web: { port: {{ env.PORT }} }\n"), @r#"
    error: a template outside of quotes
     --> hoist.yaml:2:16
      |
    2 |   web: { port: {{ env.PORT }} }
      |                ^^^^^^^^^^^^^^ YAML reads this as an object
      |
      = help: write "{{ env.PORT }}"
      = docs: docs/checks.md#syntax
    "#);
}

#[test]
fn a_slip_in_an_environment() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80 }\nenvironments:\n  production:\n    services: { web: { prot: 81 } }\n"), @r#"
    error: unknown key `prot`
     --> hoist.yaml:5:24
      |
    5 |     services: { web: { prot: 81 } }
      |                        ^^^^
      |
      = help: did you mean `port`?
    "#);
}

#[test]
fn environments_in_an_environment() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80 }\nenvironments:\n  a: { environments: {} }\n"), @r#"
    error: an environment cannot hold `environments`
     --> hoist.yaml:4:8
      |
    4 |   a: { environments: {} }
      |        ^^^^^^^^^^^^ remove this
    "#);
}

#[test]
fn an_environment_that_is_a_text() {
    insta::assert_snapshot!(said("services:\n  web: { port: 80 }\nenvironments:\n  a: prod\n"), @r#"
    error: an environment must be a mapping of what is different there
     --> hoist.yaml:4:6
      |
    4 |   a: prod
      |      ^^^^ expected a mapping
      |
      = help: write a mapping
    "#);
}
