//! Bad definitions and what is said of them: one good text, one change, and every problem with its place.
#![allow(clippy::unwrap_used)]

mod any_text;

use hoist_ecs::{Document, Problem, check_service_definition, check_task_definition, checks};

/// A change to the good text, and the problems that it makes.
struct Case {
    change: (&'static str, &'static str),
    expect: &'static [&'static str],
}

const TASK: &str = r#"{
  "family": "web",
  "requiresCompatibilities": ["FARGATE"],
  "networkMode": "awsvpc",
  "cpu": "256",
  "memory": "512",
  "executionRoleArn": "arn:aws:iam::111122223333:role/exec",
  "runtimePlatform": { "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" },
  "ephemeralStorage": { "sizeInGiB": 30 },
  "volumes": [{ "name": "data" }],
  "containerDefinitions": [
    {
      "name": "web",
      "image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/web:1",
      "essential": true,
      "memory": 384,
      "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp", "name": "http" }],
      "environment": [{ "name": "LOG", "value": "info" }],
      "secrets": [{ "name": "TOKEN", "valueFrom": "/web/token" }],
      "mountPoints": [{ "sourceVolume": "data", "containerPath": "/data" }],
      "dependsOn": [{ "containerName": "init", "condition": "SUCCESS" }],
      "stopTimeout": 30,
      "healthCheck": { "command": ["CMD", "/bin/check"], "interval": 10, "timeout": 5, "retries": 3 },
      "logConfiguration": {
        "logDriver": "awslogs",
        "options": { "awslogs-group": "/ecs/web", "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "web" }
      }
    },
    { "name": "init", "image": "busybox:1", "essential": false, "memory": 64 }
  ]
}
"#;

const SERVICE: &str = r#"{
  "serviceName": "web",
  "launchType": "FARGATE",
  "desiredCount": 2,
  "networkConfiguration": {
    "awsvpcConfiguration": { "subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED" }
  },
  "loadBalancers": [{ "targetGroupArn": "arn:tg", "containerName": "web", "containerPort": 8080 }],
  "deploymentConfiguration": {
    "deploymentCircuitBreaker": { "enable": true, "rollback": true },
    "minimumHealthyPercent": 100,
    "maximumPercent": 200
  },
  "healthCheckGracePeriodSeconds": 30
}
"#;

const EXPRESS: &str = r#"{
  "serviceName": "web",
  "infrastructureRoleArn": "arn:aws:iam::111122223333:role/infra",
  "healthCheckPath": "/healthz"
}
"#;

const YAML: &str = r#"# The same in YAML
family: web
requiresCompatibilities: [FARGATE]
networkMode: awsvpc
cpu: "256"
memory: "512"
executionRoleArn: exec
containerDefinitions:
  - image: web:1
    name: web
    essential: true
    portMappings:
      - containerPort: 8080
    environment:
      - { name: A, value: "1" }
    logConfiguration:
      logDriver: awslogs
      options:
        awslogs-group: /ecs/web
        awslogs-region: eu-central-1
        awslogs-stream-prefix: web
"#;

fn changed(text: &str, (old, new): (&str, &str)) -> String {
    assert!(text.contains(old), "the good text has no {old}");
    text.replacen(old, new, 1)
}

fn task_problems(name: &str, text: &str) -> Vec<Problem> {
    match Document::parse(name, text) {
        Ok(document) => check_task_definition(&document),
        Err(problem) => vec![*problem],
    }
}

fn service_problems(text: &str) -> Vec<Problem> {
    let task = Document::parse("task.json", TASK).unwrap();
    match Document::parse("service.json", text) {
        Ok(document) => check_service_definition(&document, &task),
        Err(problem) => vec![*problem],
    }
}

/// The problems of an Express service, whose container is `Main` in the task definition that it runs with.
fn express_problems(text: &str, task: (&str, &str)) -> Vec<Problem> {
    let main = changed(TASK, ("\"name\": \"web\"", "\"name\": \"Main\""));
    let task = Document::parse("task.json", &changed(&main, task)).unwrap();
    check_service_definition(&Document::parse("service.json", text).unwrap(), &task)
}

/// `line:column severity check: message (help)`
fn line(problem: &Problem) -> String {
    let severity = if problem.is_error() {
        "error"
    } else {
        "warning"
    };
    let help = problem
        .help
        .as_ref()
        .map(|help| format!(" ({help})"))
        .unwrap_or_default();
    let check = problem.docs.unwrap_or("none");
    format!(
        "{}:{} {severity} {check}: {}{help}",
        problem.line, problem.column, problem.message
    )
}

fn prove(table: &str, cases: &[Case], problems: impl Fn((&str, &str)) -> Vec<Problem>) {
    let mut wrong = String::new();
    for (i, case) in cases.iter().enumerate() {
        let found: Vec<String> = problems(case.change).iter().map(line).collect();
        if found != case.expect {
            wrong += &format!(
                "{table}/{i} {:?}\n  found    {found:#?}\n  expected {:#?}\n",
                case.change, case.expect
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_good_texts_have_no_problem() {
    assert_eq!(task_problems("task.json", TASK), []);
    assert_eq!(task_problems("task.yaml", YAML), []);
    assert_eq!(service_problems(SERVICE), []);
    assert_eq!(express_problems(EXPRESS, ("", "")), []);
}

#[test]
fn bad_definitions_of_express_services_are_explained() {
    let (in_service, in_task) = EXPRESS_CASES.split_at(1);
    prove("EXPRESS_CASES", in_service, |change| {
        express_problems(&changed(EXPRESS, change), ("", ""))
    });
    prove("EXPRESS_CASES", in_task, |change| {
        express_problems(EXPRESS, change)
    });
}

#[test]
fn bad_task_definitions_in_json_are_explained() {
    prove("TASK_CASES", TASK_CASES, |change| {
        task_problems("task.json", &changed(TASK, change))
    });
}

#[test]
fn bad_task_definitions_in_yaml_are_explained() {
    prove("YAML_CASES", YAML_CASES, |change| {
        task_problems("task.yaml", &changed(YAML, change))
    });
}

#[test]
fn bad_service_definitions_are_explained() {
    prove("SERVICE_CASES", SERVICE_CASES, |change| {
        service_problems(&changed(SERVICE, change))
    });
}

#[test]
fn the_same_mistake_has_the_same_words_in_json_and_yaml() {
    let json = task_problems(
        "task.json",
        &changed(TASK, ("\"cpu\": \"256\"", "\"cpu\": 256")),
    );
    let yaml = task_problems("task.yaml", &changed(YAML, ("cpu: \"256\"", "cpu: 256")));
    assert_eq!(json[0].message, yaml[0].message);
}

#[test]
fn a_problem_reads_well_without_colour() {
    let text = changed(TASK, ("\"memory\": \"512\"", "\"memory\": \"4096\""));
    let problems = task_problems("ecs/task-definition.json", &text);
    assert_eq!(
        problems[0].render(false),
        r#"error: Fargate has no size with 256 CPU units and 4096 MiB
 --> ecs/task-definition.json:6:13
  |
6 |   "memory": "4096",
  |             ^^^^^^ 256 CPU units go with 512 to 2048 MiB
  |
  = help: near it are "256" with "2048", "512" with "4096"
  = docs: docs/checks.md#fargate-size"#
    );
    assert!(
        problems[0].render(true).contains("\u{1b}["),
        "colours are there when asked for"
    );
}

#[test]
fn a_problem_with_two_places_shows_both() {
    let text = changed(TASK, ("\"name\": \"init\"", "\"name\": \"web\""));
    let problems = task_problems("task.json", &text);
    let rendered = problems
        .iter()
        .find(|problem| problem.related.is_some())
        .unwrap()
        .render(false);
    assert!(
        rendered.contains("the first one") && rendered.contains("the second one"),
        "{rendered}"
    );
    assert!(
        rendered.contains("13 |") && rendered.contains("29 |"),
        "{rendered}"
    );
}

#[test]
fn a_definition_with_too_many_containers_or_bytes_is_refused() {
    let container = r#"{ "name": "c0", "image": "a", "memory": 6 }"#;
    let many: Vec<String> = (0..11)
        .map(|i| container.replace("c0", &format!("c{i}")))
        .collect();
    let text = changed(
        TASK,
        (
            "\"containerDefinitions\": [",
            &format!("\"containerDefinitions\": [{},", many.join(", ")),
        ),
    );
    let found: Vec<String> = task_problems("task.json", &text).iter().map(line).collect();
    assert!(
        found
            .iter()
            .any(|line| line.contains("has 13 containers, and ECS takes 10")),
        "{found:?}"
    );
    let long = format!("\"value\": \"{}\"", "x".repeat(70_000));
    let found: Vec<String> =
        task_problems("task.json", &changed(TASK, ("\"value\": \"info\"", &long)))
            .iter()
            .map(line)
            .collect();
    assert!(
        found
            .iter()
            .any(|line| line.contains("document-size") && line.contains("ECS takes 65536")),
        "{found:?}"
    );
}

#[test]
fn every_check_has_its_anchor_in_the_documentation() {
    let page = include_str!("../../../../docs/checks.md");
    for check in checks() {
        assert!(
            page.contains(&format!("\n## {}\n", check.id)),
            "docs/checks.md has no heading `## {}`",
            check.id
        );
        assert!(
            page.contains(check.sentence),
            "docs/checks.md does not say: {}",
            check.sentence
        );
    }
    let anchors = page.lines().filter_map(|line| line.strip_prefix("## "));
    for anchor in anchors {
        assert!(
            checks().iter().any(|check| check.id == anchor) || anchor == "templates",
            "no check is called {anchor}"
        );
    }
}

#[test]
fn more_than_a_hundred_bad_definitions_are_each_told_with_file_line_column_and_fix() {
    let tables: [(&str, &str, &[Case]); 3] = [
        ("task.json", TASK, TASK_CASES),
        ("task.yaml", YAML, YAML_CASES),
        ("service.json", SERVICE, SERVICE_CASES),
    ];
    let (mut refused, mut wrong) = (0, String::new());
    for (name, good, cases) in tables {
        for case in cases {
            let text = changed(good, case.change);
            let problems = match name {
                "service.json" => service_problems(&text),
                _ => task_problems(name, &text),
            };
            refused += usize::from(problems.iter().any(Problem::is_error));
            for problem in problems {
                let is_placed = problem.file == name && problem.line > 0 && problem.column > 0;
                if !is_placed || problem.help.is_none() || problem.docs.is_none() {
                    wrong += &format!("{:?}: {}\n", case.change, line(&problem));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(refused >= 100, "{refused}");
}

#[test]
fn every_check_is_shown_by_a_bad_definition() {
    let tables = [TASK_CASES, SERVICE_CASES, EXPRESS_CASES, YAML_CASES];
    let all: Vec<&str> = tables
        .into_iter()
        .flatten()
        .flat_map(|case| case.expect.iter().copied())
        .collect();
    let elsewhere = ["document-size", "container-count"];
    for check in checks() {
        let shown = all
            .iter()
            .any(|line| line.contains(&format!(" {}: ", check.id)));
        assert!(
            shown || elsewhere.contains(&check.id),
            "no case shows {}",
            check.id
        );
    }
}

const TASK_CASES: &[Case] = &[
    Case {
        change: ("\"family\": \"web\"", "\"family\": \"my web\""),
        expect: &[
            "2:13 error family: `my web` cannot name a family (use 1 to 255 letters, digits, hyphens and underscores)",
        ],
    },
    Case {
        change: ("  \"family\": \"web\",\n", ""),
        expect: &["1:1 error required-key: `family` is missing from the definition (add `family`)"],
    },
    Case {
        change: ("\"family\": \"web\"", "\"family\": \"\""),
        expect: &[
            "2:13 error family: `` cannot name a family (use 1 to 255 letters, digits, hyphens and underscores)",
        ],
    },
    Case {
        change: ("\"family\": \"web\"", "\"famly\": \"web\""),
        expect: &[
            "1:1 error required-key: `family` is missing from the definition (add `family`)",
            "2:3 warning unknown-key: ECS is not known to have a key `famly` here (did you mean `family`?)",
        ],
    },
    Case {
        change: ("\"family\": \"web\"", "\"family\": 7"),
        expect: &[
            "2:13 error wrong-kind: `family` must be a string, and this is a number (write \"7\")",
        ],
    },
    Case {
        change: ("[\"FARGATE\"]", "[\"EC2\"]"),
        expect: &[
            "3:30 error compatibilities: the task definition is not made for Fargate (write [\"FARGATE\"])",
        ],
    },
    Case {
        change: ("  \"requiresCompatibilities\": [\"FARGATE\"],\n", ""),
        expect: &[
            "1:1 warning compatibilities: the task definition does not ask for Fargate, so ECS does not check it for Fargate (add \"requiresCompatibilities\": [\"FARGATE\"])",
        ],
    },
    Case {
        change: ("[\"FARGATE\"]", "\"FARGATE\""),
        expect: &[
            "3:30 error wrong-kind: `requiresCompatibilities` must be a list, and this is a string (put it in brackets: [...])",
        ],
    },
    Case {
        change: ("[\"FARGATE\"]", "[\"Fargate\"]"),
        expect: &[
            "3:31 error unknown-value: `Fargate` is not a value of an item of `requiresCompatibilities`: `FARGATE` is (write `FARGATE`)",
        ],
    },
    Case {
        change: ("\"awsvpc\"", "\"bridge\""),
        expect: &[
            "4:18 error network-mode: Fargate only supports network mode `awsvpc`, and this is `bridge` (write \"awsvpc\")",
        ],
    },
    Case {
        change: ("  \"networkMode\": \"awsvpc\",\n", ""),
        expect: &[
            "1:1 error network-mode: Fargate only supports network mode `awsvpc`, and without `networkMode` it is `bridge` (add \"networkMode\": \"awsvpc\")",
        ],
    },
    Case {
        change: ("\"networkMode\"", "\"networkmode\""),
        expect: &[
            "1:1 error network-mode: Fargate only supports network mode `awsvpc`, and without `networkMode` it is `bridge` (add \"networkMode\": \"awsvpc\")",
            "4:3 warning unknown-key: ECS is not known to have a key `networkmode` here (did you mean `networkMode`?)",
        ],
    },
    Case {
        change: ("\"cpu\": \"256\"", "\"cpu\": 256"),
        expect: &[
            "5:10 error wrong-kind: `cpu` must be a string, and this is a number (write \"256\")",
        ],
    },
    Case {
        change: ("\"cpu\": \"256\"", "\"cpu\": \"300\""),
        expect: &[
            "5:10 error fargate-size: Fargate has no size with 300 CPU units (near it are \"256\" with \"512\")",
        ],
    },
    Case {
        change: ("\"cpu\": \"256\"", "\"cpu\": \"quarter\""),
        expect: &[
            "5:10 error fargate-size: `quarter` is no number of CPU units (write \"256\" or \"0.25 vCPU\")",
        ],
    },
    Case {
        change: ("\"cpu\": \"256\"", "\"cpu\": \"1 vCPU\""),
        expect: &[
            "6:13 error fargate-size: Fargate has no size with 1024 CPU units and 512 MiB (near it are \"1024\" with \"2048\", \"256\" with \"512\")",
        ],
    },
    Case {
        change: ("  \"cpu\": \"256\",\n", ""),
        expect: &[
            "1:1 error fargate-size: Fargate requires that `cpu` be defined at the task level (add \"cpu\": \"256\")",
        ],
    },
    Case {
        change: ("\"memory\": \"512\"", "\"memory\": \"4096\""),
        expect: &[
            "6:13 error fargate-size: Fargate has no size with 256 CPU units and 4096 MiB (near it are \"256\" with \"2048\", \"512\" with \"4096\")",
        ],
    },
    Case {
        change: ("\"memory\": \"512\"", "\"memory\": \"700\""),
        expect: &[
            "6:13 error fargate-size: Fargate has no size with 256 CPU units and 700 MiB (near it are \"256\" with \"1024\", \"256\" with \"512\")",
        ],
    },
    Case {
        change: ("\"memory\": \"512\"", "\"memory\": \"512m\""),
        expect: &[
            "6:13 error fargate-size: `512m` is no amount of memory (write \"512\" (MiB) or \"0.5 GB\")",
        ],
    },
    Case {
        change: ("  \"memory\": \"512\",\n", ""),
        expect: &[
            "1:1 error fargate-size: Fargate requires that `memory` be defined at the task level (add \"memory\": \"512\")",
        ],
    },
    Case {
        change: (
            "  \"executionRoleArn\": \"arn:aws:iam::111122223333:role/exec\",\n",
            "",
        ),
        expect: &[
            "24:22 error execution-role: Fargate requires an execution role to support the log driver awslogs (add `executionRoleArn`)",
        ],
    },
    Case {
        change: ("\"X86_64\"", "\"x86_64\""),
        expect: &[
            "8:43 error unknown-value: `x86_64` is not a value of `cpuArchitecture`: `X86_64` is (write `X86_64`)",
        ],
    },
    Case {
        change: ("\"X86_64\"", "\"RISCV\""),
        expect: &[
            "8:43 warning unknown-value: `RISCV` is not a value of `cpuArchitecture` that ECS is known to take (known are `X86_64`, `ARM64`)",
        ],
    },
    Case {
        change: ("\"LINUX\"", "\"WINDOWS_SERVER_2016_FULL\""),
        expect: &[
            "8:78 error platform: Fargate does not run `WINDOWS_SERVER_2016_FULL` (it runs LINUX and WINDOWS_SERVER_2019, 2022 and 2025, CORE or FULL)",
        ],
    },
    Case {
        change: ("\"LINUX\"", "\"WINDOWS_SERVER_2022_CORE\""),
        expect: &[
            "8:78 warning platform: hoist builds Linux images, and this task runs on Windows (write \"LINUX\" for the image that hoist builds)",
        ],
    },
    Case {
        change: ("\"sizeInGiB\": 30", "\"sizeInGiB\": 20"),
        expect: &[
            "9:38 error ephemeral-storage: `sizeInGiB` is 20, and ECS takes 21 to 200 GiB (20 is what a task has without asking) (write 21 to 200)",
        ],
    },
    Case {
        change: ("\"sizeInGiB\": 30", "\"sizeInGiB\": \"30\""),
        expect: &[
            "9:38 error wrong-kind: `sizeInGiB` must be a whole number, and this is a string (write 30 without quotes)",
        ],
    },
    Case {
        change: ("\"sizeInGiB\": 30", "\"size\": 30"),
        expect: &[
            "9:3 error required-key: `sizeInGiB` is missing from `ephemeralStorage` (add `sizeInGiB`)",
            "9:25 warning unknown-key: ECS is not known to have a key `size` here (did you mean `sizeInGiB`?)",
        ],
    },
    Case {
        change: (
            "[{ \"name\": \"data\" }]",
            "[{ \"name\": \"data\" }, { \"name\": \"data\" }]",
        ),
        expect: &[
            "10:45 error volumes: two volumes are named `data` (give one of them another name)",
        ],
    },
    Case {
        change: (
            "[{ \"name\": \"data\" }]",
            "[{ \"name\": \"data\", \"host\": { \"sourcePath\": \"/mnt\" } }]",
        ),
        expect: &[
            "10:57 error volumes: Fargate has no host to mount from (remove it: the volume is then an empty folder that the containers share)",
        ],
    },
    Case {
        change: (
            "[{ \"name\": \"data\" }]",
            "[{ \"name\": \"data\", \"dockerVolumeConfiguration\": { \"scope\": \"task\" } }]",
        ),
        expect: &[
            "10:33 error volumes: Fargate has no Docker volumes (use an empty volume, EFS or EBS)",
        ],
    },
    Case {
        change: ("\"sourceVolume\": \"data\"", "\"sourceVolume\": \"date\""),
        expect: &["20:41 error volumes: there is no volume `date` (did you mean `data`?)"],
    },
    Case {
        change: (
            "\"sourceVolume\": \"data\", ",
            "\"sourceVolume\": \"cache\", ",
        ),
        expect: &[
            "20:41 error volumes: there is no volume `cache` (add { \"name\": \"cache\" } to `volumes`)",
        ],
    },
    Case {
        change: (
            "\"sourceVolume\": \"data\", \"containerPath\": \"/data\"",
            "\"sourceVolume\": \"data\"",
        ),
        expect: &["20:23 error volumes: the volume is mounted nowhere (add `containerPath`)"],
    },
    Case {
        change: ("\"name\": \"init\"", "\"name\": \"web\""),
        expect: &[
            "21:40 error depends-on: there is no container `init` to wait for (there is `web`, `web`)",
            "29:15 error container-name: two containers are named `web` (give one of them another name)",
        ],
    },
    Case {
        change: ("\"name\": \"init\"", "\"name\": \"in it\""),
        expect: &[
            "21:40 error depends-on: there is no container `init` to wait for (did you mean `in it`?)",
            "29:15 error container-name: `in it` cannot name a container (use 1 to 255 letters, digits, hyphens and underscores)",
        ],
    },
    Case {
        change: ("{ \"name\": \"init\", ", "{ "),
        expect: &[
            "21:40 error depends-on: there is no container `init` to wait for (there is `web`)",
            "29:5 error container-name: the container has no name (add `name`)",
        ],
    },
    Case {
        change: ("\"essential\": true", "\"essential\": false"),
        expect: &[
            "15:20 error essential: no container is essential (set \"essential\": true for the container that serves; the task ends when it does)",
        ],
    },
    Case {
        change: ("\"essential\": true", "\"essential\": \"true\""),
        expect: &[
            "15:20 error wrong-kind: `essential` must be true or false, and this is a string (write true without quotes)",
        ],
    },
    Case {
        change: (", \"image\": \"busybox:1\"", ""),
        expect: &[
            "29:5 error image: the container has no image (hoist puts an image only into the service's `container`)",
        ],
    },
    Case {
        change: ("\"busybox:1\"", "\"https://docker.io/busybox\""),
        expect: &[
            "29:32 error image: `https://docker.io/busybox` is not the name of an image (write it without `https://`)",
        ],
    },
    Case {
        change: ("\"busybox:1\"", "\"busybox 1\""),
        expect: &[
            "29:32 error image: `busybox 1` is not the name of an image (an image has no spaces)",
        ],
    },
    Case {
        change: ("\"memory\": 384", "\"memory\": 2"),
        expect: &[
            "16:17 error container-memory: a container cannot run in 2 MiB (write MiB, 6 at least; or remove it, and the container may use what the task has)",
        ],
    },
    Case {
        change: ("\"memory\": 384", "\"memory\": 600"),
        expect: &[
            "16:17 error container-memory: the container asks for 600 MiB, and the task has 512 (lower it, or raise the `memory` of the task to at least 600)",
        ],
    },
    Case {
        change: ("\"memory\": 384", "\"memory\": 500"),
        expect: &[
            "29:75 error container-memory: the containers ask for 564 MiB together, and the task has 512 (give the containers less, or the task a larger `memory`)",
        ],
    },
    Case {
        change: (
            "\"memory\": 384",
            "\"memory\": 384, \"memoryReservation\": 400",
        ),
        expect: &[
            "16:43 error container-memory: the reservation of 400 MiB is above the limit of 384 (`memoryReservation` must not be above `memory`)",
        ],
    },
    Case {
        change: ("\"memory\": 384", "\"memory\": 384, \"cpu\": 512"),
        expect: &[
            "16:29 error container-memory: the containers ask for 512 CPU units together, and the task has 256 (give the containers less, or the task a larger `cpu`)",
        ],
    },
    Case {
        change: ("\"containerPort\": 8080", "\"containerPort\": 80"),
        expect: &[
            "17:59 error ports: under awsvpc the host port and the container port must match (remove `hostPort`: it is the container port anyway)",
        ],
    },
    Case {
        change: (
            "\"containerPort\": 8080, \"hostPort\": 8080",
            "\"containerPort\": 70000",
        ),
        expect: &["17:43 error ports: 70000 is no port (write 1 to 65535)"],
    },
    Case {
        change: (
            "\"containerPort\": 8080, \"hostPort\": 8080",
            "\"containerPort\": \"8080\"",
        ),
        expect: &[
            "17:43 error wrong-kind: `containerPort` must be a whole number, and this is a string (write 8080 without quotes)",
        ],
    },
    Case {
        change: ("\"containerPort\": 8080, \"hostPort\": 8080, ", ""),
        expect: &[
            "17:24 error ports: the port mapping names no port (write \"containerPort\": 8080)",
        ],
    },
    Case {
        change: (
            "\"containerPort\": 8080, \"hostPort\": 8080",
            "\"containerPortRange\": \"9000-8000\"",
        ),
        expect: &[
            "17:48 error ports: this is no range of ports (write \"8000-8010\", within 1 and 65535)",
        ],
    },
    Case {
        change: (
            "\"name\": \"http\" }]",
            "\"name\": \"http\" }, { \"containerPort\": 8080 }]",
        ),
        expect: &[
            "17:123 error ports: port 8080 (tcp) is mapped twice (containers of one task share one network interface: one of them must listen elsewhere)",
        ],
    },
    Case {
        change: (
            "\"name\": \"http\" }]",
            "\"name\": \"http\" }, { \"containerPort\": 9090, \"name\": \"http\" }]",
        ),
        expect: &["17:137 error ports: two ports are named `http` (give one of them another name)"],
    },
    Case {
        change: ("\"name\": \"http\" }]", "\"name\": \"HTTP\" }]"),
        expect: &[
            "17:94 error ports: `HTTP` cannot name a port (use 1 to 64 lower-case letters, digits, underscores and hyphens, not a hyphen first)",
        ],
    },
    Case {
        change: ("\"name\": \"http\" }]", "\"appProtocol\": \"http\" }]"),
        expect: &[
            "17:24 error ports: a port with an `appProtocol` needs a name (add `name`: Service Connect refers to the port by it)",
        ],
    },
    Case {
        change: (
            "\"name\": \"http\" }]",
            "\"name\": \"http\" }, { \"containerPortRange\": \"8000-8100\" }]",
        ),
        expect: &[
            "17:128 error ports: ports 8000 to 8100 (tcp) are mapped twice (containers of one task share one network interface: one of them must listen elsewhere)",
        ],
    },
    Case {
        change: ("\"protocol\": \"tcp\"", "\"protocol\": \"http\""),
        expect: &[
            "17:79 warning unknown-value: `http` is not a value of `protocol` that ECS is known to take (known are `tcp`, `udp`)",
        ],
    },
    Case {
        change: (
            "{ \"name\": \"LOG\", \"value\": \"info\" }",
            "{ \"name\": \"LOG\", \"value\": \"info\" }, { \"name\": \"LOG\", \"value\": \"debug\" }",
        ),
        expect: &["18:69 error environment: the variable `LOG` is set twice (keep one of them)"],
    },
    Case {
        change: ("\"name\": \"TOKEN\"", "\"name\": \"LOG\""),
        expect: &["19:29 error environment: the variable `LOG` is set twice (keep one of them)"],
    },
    Case {
        change: ("\"value\": \"info\"", "\"value\": 1"),
        expect: &[
            "18:49 error wrong-kind: `value` must be a string, and this is a number (write \"1\")",
        ],
    },
    Case {
        change: ("\"value\": \"info\"", "\"val\": \"info\""),
        expect: &[
            "18:33 warning environment: the variable `LOG` has no value (write \"value\": \"\" for an empty one)",
            "18:40 warning unknown-key: ECS is not known to have a key `val` here (did you mean `value`?)",
        ],
    },
    Case {
        change: ("{ \"name\": \"LOG\", ", "{ "),
        expect: &["18:23 error environment: an environment variable without a name (add `name`)"],
    },
    Case {
        change: ("\"valueFrom\": \"/web/token\"", "\"value\": \"hunter2\""),
        expect: &[
            "19:19 error required-key: `valueFrom` is missing from an item of `secrets` (add `valueFrom`)",
            "19:38 warning unknown-key: ECS is not known to have a key `value` here (did you mean `valueFrom`?)",
        ],
    },
    Case {
        change: ("\"valueFrom\": \"/web/token\"", "\"valueFrom\": \"\""),
        expect: &[
            "19:51 error environment: the secret `TOKEN` comes from nowhere (write an ARN or the name of a parameter)",
        ],
    },
    Case {
        change: (
            "\"containerName\": \"init\"",
            "\"containerName\": \"innit\"",
        ),
        expect: &[
            "21:40 error depends-on: there is no container `innit` to wait for (did you mean `init`?)",
        ],
    },
    Case {
        change: ("\"condition\": \"SUCCESS\"", "\"condition\": \"HEALTHY\""),
        expect: &[
            "21:61 error depends-on: `init` has no health check, so it never becomes HEALTHY (add a `healthCheck` to `init` (one in the image does not count), or wait for START)",
        ],
    },
    Case {
        change: ("\"condition\": \"SUCCESS\"", "\"condition\": \"success\""),
        expect: &[
            "21:61 error unknown-value: `success` is not a value of `condition`: `SUCCESS` is (write `SUCCESS`)",
        ],
    },
    Case {
        change: (
            "\"condition\": \"SUCCESS\" }],",
            "\"condition\": \"START\" }],\n      \"x\": 1,",
        ),
        expect: &[
            "22:7 warning unknown-key: ECS is not known to have a key `x` here (it is sent as it is; ECS refuses what it does not know)",
        ],
    },
    Case {
        change: (
            "\"name\": \"init\",",
            "\"name\": \"init\", \"dependsOn\": [{ \"containerName\": \"web\", \"condition\": \"START\" }],",
        ),
        expect: &[
            "29:56 error depends-on: containers wait for each other in a circle: web -> init -> web (remove one `dependsOn`)",
        ],
    },
    Case {
        change: ("\"essential\": false", "\"essential\": true"),
        expect: &[
            "21:61 error depends-on: `init` is essential, so waiting for its end (`SUCCESS`) would end the task (set \"essential\": false for `init`, or wait for START or HEALTHY)",
        ],
    },
    Case {
        change: ("\"stopTimeout\": 30", "\"stopTimeout\": 300"),
        expect: &[
            "22:22 error stop-timeout: `stopTimeout` is 300, and ECS takes 2 to 120 seconds (write 2 to 120)",
        ],
    },
    Case {
        change: ("\"stopTimeout\": 30", "\"stopTimout\": 30"),
        expect: &[
            "22:7 warning unknown-key: ECS is not known to have a key `stopTimout` here (did you mean `stopTimeout`?)",
        ],
    },
    Case {
        change: ("\"interval\": 10", "\"interval\": 1"),
        expect: &[
            "23:70 error health-check: `interval` is 1, and ECS takes 5 to 300 seconds (write 5 to 300)",
        ],
    },
    Case {
        change: ("\"timeout\": 5", "\"timeout\": 60"),
        expect: &[
            "23:85 warning health-check: a check may take 60 s, and the next one is due after 10 s (let `timeout` be below `interval`)",
        ],
    },
    Case {
        change: ("\"retries\": 3", "\"retries\": 0"),
        expect: &[
            "23:99 error health-check: `retries` is 0, and ECS takes 1 to 10 (write 1 to 10)",
        ],
    },
    Case {
        change: ("\"retries\": 3", "\"startPeriod\": 400"),
        expect: &[
            "23:103 error health-check: `startPeriod` is 400, and ECS takes 0 to 300 seconds (write 0 to 300)",
        ],
    },
    Case {
        change: ("[\"CMD\", \"/bin/check\"]", "[\"/bin/check\"]"),
        expect: &[
            "23:36 error health-check: a health check begins with `CMD` or `CMD-SHELL`, and this begins with `/bin/check` (write [\"CMD-SHELL\", \"curl -f http://127.0.0.1:8080/ || exit 1\"] or [\"CMD\", \"program\", \"argument\"])",
        ],
    },
    Case {
        change: ("[\"CMD\", \"/bin/check\"]", "[\"CMD-SHELL\"]"),
        expect: &[
            "23:35 error health-check: the health check has nothing to run (write [\"CMD-SHELL\", \"curl -f http://127.0.0.1:8080/ || exit 1\"] or [\"CMD\", \"program\", \"argument\"])",
        ],
    },
    Case {
        change: ("[\"CMD\", \"/bin/check\"]", "[]"),
        expect: &[
            "23:35 error health-check: the command of the health check is empty (write [\"CMD-SHELL\", \"curl -f http://127.0.0.1:8080/ || exit 1\"] or [\"CMD\", \"program\", \"argument\"])",
        ],
    },
    Case {
        change: ("[\"CMD\", \"/bin/check\"]", "\"/bin/check\""),
        expect: &[
            "23:35 error wrong-kind: `command` must be a list, and this is a string (put it in brackets: [...])",
        ],
    },
    Case {
        change: (
            "[\"CMD\", \"/bin/check\"]",
            "[\"CMD-SHELL\", \"curl\", \"localhost\"]",
        ),
        expect: &[
            "23:57 warning health-check: after `CMD-SHELL` only one line is run (write the whole line as one string)",
        ],
    },
    Case {
        change: ("\"command\": [\"CMD\", \"/bin/check\"], ", ""),
        expect: &[
            "23:7 error required-key: `command` is missing from `healthCheck` (add `command`)",
        ],
    },
    Case {
        change: ("\"awslogs-group\": \"/ecs/web\", ", ""),
        expect: &[
            "26:9 error log-options: awslogs on Fargate needs `awslogs-group` (add \"awslogs-group\": \"/ecs/web\" to the options)",
        ],
    },
    Case {
        change: ("\"awslogs-region\": \"eu-central-1\", ", ""),
        expect: &[
            "26:9 error log-options: awslogs on Fargate needs `awslogs-region` (add \"awslogs-region\": \"eu-central-1\" to the options)",
        ],
    },
    Case {
        change: (", \"awslogs-stream-prefix\": \"web\"", ""),
        expect: &[
            "26:9 error log-options: awslogs on Fargate needs `awslogs-stream-prefix` (add \"awslogs-stream-prefix\": \"web\" to the options)",
        ],
    },
    Case {
        change: ("\"awslogs-region\"", "\"awslogs-regin\""),
        expect: &[
            "26:9 error log-options: awslogs on Fargate needs `awslogs-region` (add \"awslogs-region\": \"eu-central-1\" to the options)",
            "26:51 warning log-options: awslogs is not known to have an option `awslogs-regin` (did you mean `awslogs-region`?)",
        ],
    },
    Case {
        change: (
            "\"awslogs-group\": \"/ecs/web\"",
            "\"awslogs-group\": \"a b\"",
        ),
        expect: &[
            "26:39 error log-options: `a b` cannot name a log group (use 1 to 512 letters, digits and . _ - / #)",
        ],
    },
    Case {
        change: (
            "\"awslogs-group\": \"/ecs/web\"",
            "\"awslogs-group\": \"/ecs/web\", \"mode\": \"fast\"",
        ),
        expect: &[
            "26:59 error log-options: `mode` is `blocking` or `non-blocking` (write \"non-blocking\", or remove it: that is the default)",
        ],
    },
    Case {
        change: ("\"logDriver\": \"awslogs\"", "\"logDriver\": \"json-file\""),
        expect: &[
            "25:22 error log-options: Fargate does not have the log driver `json-file` (it has awslogs, splunk and awsfirelens)",
        ],
    },
    Case {
        change: (
            "\"logDriver\": \"awslogs\"",
            "\"logDriver\": \"awsfirelens\"",
        ),
        expect: &[
            "25:22 error log-options: no container routes logs for awsfirelens (add a container with `firelensConfiguration`, such as the image of aws-for-fluent-bit)",
        ],
    },
    Case {
        change: ("\"stopTimeout\": 30", "\"privileged\": true"),
        expect: &["22:7 error not-on-fargate: `privileged` does not work on Fargate (remove it)"],
    },
    Case {
        change: ("\"stopTimeout\": 30", "\"links\": [\"init\"]"),
        expect: &[
            "22:7 error not-on-fargate: `links` does not work on Fargate (containers of one task reach each other at 127.0.0.1)",
        ],
    },
    Case {
        change: ("\"volumes\":", "\"pidMode\": \"host\",\n  \"volumes\":"),
        expect: &[
            "10:14 error not-on-fargate: `pidMode` can only be `task` on Fargate (write \"task\" or remove it)",
        ],
    },
    Case {
        change: ("\"volumes\":", "\"status\": \"ACTIVE\",\n  \"volumes\":"),
        expect: &[],
    },
    Case {
        change: (
            "\"volumes\":",
            "\"placementConstraints\": [{ \"type\": \"memberOf\", \"expression\": \"x\" }],\n  \"volumes\":",
        ),
        expect: &[
            "10:3 error not-on-fargate: `placementConstraints` does not work on Fargate (remove it: there are no instances to choose from)",
        ],
    },
    Case {
        change: ("\"essential\": true,\n", "\"essential\": true\n"),
        expect: &["16:7 error syntax: expected `,` or `}` (add a comma before this)"],
    },
    Case {
        change: (
            "\"essential\": true,",
            "\"essential\": true, \"essential\": false,",
        ),
        expect: &[
            "15:26 error duplicate-key: the key `essential` stands twice (remove one of the two)",
        ],
    },
    Case {
        change: (
            "\"essential\": true,",
            "// the main one\n      \"essential\": true,",
        ),
        expect: &[
            "15:7 error syntax: JSON has no comments (rename the file to .yaml (a YAML file may hold JSON and comments), or remove it)",
        ],
    },
    Case {
        change: ("\"memory\": 384,", "\"memory\": 99999999999999999999,"),
        expect: &[
            "16:17 error syntax: `99999999999999999999` does not fit into 64 bits (write a number of 64 bits)",
        ],
    },
    Case {
        change: ("\"image\": \"busybox:1\"", "\"image\": {{ env.IMAGE }}"),
        expect: &[
            "29:32 error syntax: a template outside of quotes (write \"{{ env.IMAGE }}\"; for a number add a filter: \"{{ env.PORT | int }}\")",
        ],
    },
];

/// The first changes the service definition, the others the task definition.
const EXPRESS_CASES: &[Case] = &[
    Case {
        change: ("\"healthCheckPath\": \"/healthz\"", "\"cpu\": \"256\""),
        expect: &[
            "4:3 error express: an Express service with a task definition takes no `cpu` (remove it here)",
        ],
    },
    Case {
        change: ("\"name\": \"Main\"", "\"name\": \"web\""),
        expect: &[
            "3:3 error express: the task definition of an Express service needs a container named `Main`, and has none (name the container that gets the traffic `Main`)",
        ],
    },
    Case {
        change: (", \"name\": \"http\"", ""),
        expect: &[
            "3:3 error express: the container `Main` of an Express service needs one port, with a name (write one port mapping with `containerPort` and `name`)",
        ],
    },
];

const SERVICE_CASES: &[Case] = &[
    Case {
        change: ("\"serviceName\": \"web\"", "\"serviceName\": \"my web\""),
        expect: &[
            "2:18 error service-size: `my web` cannot name a service (use 1 to 255 letters, digits, hyphens and underscores)",
        ],
    },
    Case {
        change: ("  \"launchType\": \"FARGATE\",\n", ""),
        expect: &[
            "1:1 error launch-type: the service does not say that it runs on Fargate, and the default is EC2 (add \"launchType\": \"FARGATE\")",
        ],
    },
    Case {
        change: ("\"launchType\": \"FARGATE\"", "\"launchType\": \"EC2\""),
        expect: &[
            "3:17 error launch-type: the service runs on `EC2`, not on Fargate (write \"FARGATE\")",
        ],
    },
    Case {
        change: (
            "\"launchType\": \"FARGATE\"",
            "\"launchType\": \"FARGATE\",\n  \"capacityProviderStrategy\": [{ \"capacityProvider\": \"FARGATE_SPOT\" }]",
        ),
        expect: &[
            "4:3 error launch-type: both `launchType` and `capacityProviderStrategy` (keep one of them)",
        ],
    },
    Case {
        change: (
            "\"launchType\": \"FARGATE\"",
            "\"launchType\": \"FARGATE\",\n  \"schedulingStrategy\": \"DAEMON\"",
        ),
        expect: &[
            "4:25 error launch-type: Fargate does not support the DAEMON scheduling strategy (write \"REPLICA\")",
        ],
    },
    Case {
        change: (
            "\"launchType\": \"FARGATE\"",
            "\"launchType\": \"FARGATE\",\n  \"placementStrategy\": [{ \"type\": \"spread\" }]",
        ),
        expect: &[
            "4:3 error not-on-fargate: `placementStrategy` does not work on Fargate (remove it: there are no instances to choose from)",
        ],
    },
    Case {
        change: ("\"launchType\": \"FARGATE\"", "\"launchtype\": \"FARGATE\""),
        expect: &[
            "1:1 error launch-type: the service does not say that it runs on Fargate, and the default is EC2 (add \"launchType\": \"FARGATE\")",
            "3:3 warning unknown-key: ECS is not known to have a key `launchtype` here (did you mean `launchType`?)",
        ],
    },
    Case {
        change: ("\"desiredCount\": 2", "\"desiredCount\": -1"),
        expect: &[
            "4:19 error service-size: `desiredCount` is -1, and ECS takes 0 to 5000 tasks (write 0 to 5000)",
        ],
    },
    Case {
        change: ("\"desiredCount\": 2", "\"desiredCount\": \"2\""),
        expect: &[
            "4:19 error wrong-kind: `desiredCount` must be a whole number, and this is a string (write 2 without quotes)",
        ],
    },
    Case {
        change: (
            "\"desiredCount\": 2",
            "\"desiredCount\": 2,\n  \"taskDefinition\": \"web:3\"",
        ),
        expect: &[
            "5:3 warning service-size: `taskDefinition` of the service definition is not used (remove it: the service gets the revision that hoist registers)",
        ],
    },
    Case {
        change: ("[\"subnet-1\", \"subnet-2\"]", "[]"),
        expect: &[
            "6:41 error network-configuration: there is no subnet (name at least one; two in different zones are better)",
        ],
    },
    Case {
        change: ("\"subnets\": [\"subnet-1\", \"subnet-2\"], ", ""),
        expect: &[
            "6:5 error required-key: `subnets` is missing from `awsvpcConfiguration` (add `subnets`)",
        ],
    },
    Case {
        change: ("\"subnets\"", "\"subnet\""),
        expect: &[
            "6:5 error required-key: `subnets` is missing from `awsvpcConfiguration` (add `subnets`)",
            "6:30 warning unknown-key: ECS is not known to have a key `subnet` here (did you mean `subnets`?)",
        ],
    },
    Case {
        change: ("\"ENABLED\"", "true"),
        expect: &[
            "6:113 error wrong-kind: `assignPublicIp` must be a string, and this is true or false (write one of `ENABLED`, `DISABLED`)",
        ],
    },
    Case {
        change: ("\"ENABLED\"", "\"YES\""),
        expect: &[
            "6:113 warning unknown-value: `YES` is not a value of `assignPublicIp` that ECS is known to take (known are `ENABLED`, `DISABLED`)",
        ],
    },
    Case {
        change: ("\"awsvpcConfiguration\"", "\"awsVpcConfiguration\""),
        expect: &[
            "5:3 error network-configuration: a service on Fargate needs a network configuration (add \"networkConfiguration\": { \"awsvpcConfiguration\": { \"subnets\": [\"subnet-...\"] } })",
            "6:5 warning unknown-key: ECS is not known to have a key `awsVpcConfiguration` here (did you mean `awsvpcConfiguration`?)",
        ],
    },
    Case {
        change: (
            "[\"sg-1\"]",
            "[\"sg-1\", \"sg-2\", \"sg-3\", \"sg-4\", \"sg-5\", \"sg-6\"]",
        ),
        expect: &[
            "6:126 error network-configuration: there are 6 security groups, and ECS takes 5 (remove what is beyond)",
        ],
    },
    Case {
        change: ("\"containerName\": \"web\"", "\"containerName\": \"wbe\""),
        expect: &[
            "8:68 error load-balancer: the task definition has no container `wbe` (did you mean `web`?)",
        ],
    },
    Case {
        change: ("\"containerName\": \"web\", ", ""),
        expect: &[
            "8:21 error load-balancer: the load balancer names no container (add `containerName`)",
        ],
    },
    Case {
        change: ("\"containerPort\": 8080", "\"containerPort\": 80"),
        expect: &[
            "8:92 error load-balancer: the container `web` did not have a container port 80 defined (it maps 8080)",
        ],
    },
    Case {
        change: (", \"containerPort\": 8080", ""),
        expect: &[
            "8:21 error load-balancer: the load balancer names no port of the container (add `containerPort`)",
        ],
    },
    Case {
        change: ("\"targetGroupArn\": \"arn:tg\", ", ""),
        expect: &[
            "8:21 error load-balancer: the load balancer names no target group (add `targetGroupArn`)",
        ],
    },
    Case {
        change: (
            "\"targetGroupArn\": \"arn:tg\"",
            "\"loadBalancerName\": \"old\"",
        ),
        expect: &[
            "8:23 error load-balancer: classic load balancers do not work with awsvpc (name the `targetGroupArn` of an application or network load balancer)",
        ],
    },
    Case {
        change: (
            "\"minimumHealthyPercent\": 100",
            "\"minimumHealthyPercent\": 150",
        ),
        expect: &[
            "11:30 error deployment-percent: `minimumHealthyPercent` is 150, and ECS takes 0 to 100 percent (write 0 to 100)",
        ],
    },
    Case {
        change: ("\"maximumPercent\": 200", "\"maximumPercent\": 100"),
        expect: &[
            "12:23 error deployment-percent: a deployment of 2 tasks can neither start nor stop one (raise `maximumPercent` to 200, or lower `minimumHealthyPercent`)",
        ],
    },
    Case {
        change: ("\"maximumPercent\": 200", "\"maximumPercent\": 125"),
        expect: &[
            "12:23 error deployment-percent: a deployment of 2 tasks can neither start nor stop one (raise `maximumPercent` to 150 or more (it is rounded down), or lower `minimumHealthyPercent`)",
        ],
    },
    Case {
        change: ("\"maximumPercent\": 200", "\"maximumPercent\": 50"),
        expect: &[
            "12:23 error deployment-percent: `maximumPercent` is 50, and ECS takes 100 or more percent (write 100 or more)",
        ],
    },
    Case {
        change: (
            "\"minimumHealthyPercent\": 100,\n    \"maximumPercent\": 200\n  },",
            "\"minimumHealthyPercent\": 50,\n    \"maximumPercent\": 100\n  },\n  \"availabilityZoneRebalancing\": \"ENABLED\",",
        ),
        expect: &[
            "14:34 error deployment-percent: tasks cannot be balanced over zones where `maximumPercent` is 100 (write \"DISABLED\", or raise `maximumPercent` above 100)",
        ],
    },
    Case {
        change: ("\"rollback\": true", "\"rollback\": false"),
        expect: &[
            "10:63 warning circuit-breaker: a failed deployment is stopped but not rolled back (set \"rollback\": true)",
        ],
    },
    Case {
        change: ("\"enable\": true", "\"enable\": false"),
        expect: &[
            "10:64 warning circuit-breaker: the circuit breaker is off, so it does not roll back (set \"enable\": true)",
        ],
    },
    Case {
        change: ("\"enable\": true, ", ""),
        expect: &[
            "10:5 error required-key: `enable` is missing from `deploymentCircuitBreaker` (add `enable`)",
        ],
    },
    Case {
        change: (
            "\"rollback\": true",
            "\"rollback\": true, \"thresholdConfiguration\": { \"type\": \"BOUNDED_PERCENT\", \"value\": 200 }",
        ),
        expect: &[
            "10:133 error circuit-breaker: `value` is 200, and ECS takes 1 to 100 (write 1 to 100)",
        ],
    },
    Case {
        change: (
            "\"maximumPercent\": 200",
            "\"maximumPercent\": 200, \"strategy\": \"CANARY\", \"canaryConfiguration\": { \"canaryPercent\": 0.01 }",
        ),
        expect: &[
            "12:92 error deployment-configuration: `canaryPercent` is 0.01, and ECS takes 0.1 to 100 (write 0.1 to 100)",
        ],
    },
    Case {
        change: (
            "\"maximumPercent\": 200",
            "\"maximumPercent\": 200, \"linearConfiguration\": { \"stepPercent\": 10 }",
        ),
        expect: &[
            "12:28 error deployment-configuration: `linearConfiguration` goes with the strategy LINEAR, and this is ROLLING (set \"strategy\": \"LINEAR\", or remove it)",
        ],
    },
    Case {
        change: (
            "\"maximumPercent\": 200",
            "\"maximumPercent\": 200, \"bakeTimeInMinutes\": 9999",
        ),
        expect: &[
            "12:49 error deployment-configuration: `bakeTimeInMinutes` is 9999, and ECS takes 0 to 1440 minutes (write 0 to 1440)",
        ],
    },
    Case {
        change: (
            "\"maximumPercent\": 200",
            "\"maximumPercent\": 200, \"alarms\": { \"alarmNames\": [], \"enable\": true, \"rollback\": true }",
        ),
        expect: &[
            "12:54 error deployment-configuration: deployment alarms are on, and none is named (name at least one, or set \"enable\": false)",
        ],
    },
    Case {
        change: (
            "\"healthCheckGracePeriodSeconds\": 30",
            "\"healthCheckGracePeriodSeconds\": -5",
        ),
        expect: &[
            "14:36 error service-size: `healthCheckGracePeriodSeconds` is -5, and ECS takes 0 or more seconds (write 0 or more)",
        ],
    },
];

const YAML_CASES: &[Case] = &[
    Case {
        change: ("cpu: \"256\"", "cpu: 256"),
        expect: &[
            "5:6 error wrong-kind: `cpu` must be a string, and this is a number (write \"256\")",
        ],
    },
    Case {
        change: ("cpu: \"256\"", "cpu: \"256\"\ncpu: \"512\""),
        expect: &["6:1 error duplicate-key: the key `cpu` stands twice (remove one of the two)"],
    },
    Case {
        change: ("memory: \"512\"", "memory: \"9 GB\""),
        expect: &[
            "6:9 error fargate-size: Fargate has no size with 256 CPU units and 9216 MiB (near it are \"256\" with \"2048\", \"2048\" with \"9216\")",
        ],
    },
    Case {
        change: ("family: web", "\tfamily: web"),
        expect: &[
            "3:1 error syntax: not valid YAML: did not find expected <document start> (indent with spaces: YAML does not allow tabs there)",
        ],
    },
    Case {
        change: ("family: web", "family: {{ env.NAME }}"),
        expect: &["2:9 error syntax: a template outside of quotes (write \"{{ env.NAME }}\")"],
    },
    Case {
        change: ("    essential: true", "    esential: true"),
        expect: &[
            "11:5 warning unknown-key: ECS is not known to have a key `esential` here (did you mean `essential`?)",
        ],
    },
    Case {
        change: ("containerPort: 8080", "containerPort: 0"),
        expect: &["13:24 error ports: 0 is no port (write 1 to 65535)"],
    },
    Case {
        change: ("value: \"1\"", "value: 1"),
        expect: &[
            "15:27 error wrong-kind: `value` must be a string, and this is a number (write \"1\")",
        ],
    },
    Case {
        change: ("value: \"1\"", "value: on"),
        expect: &[],
    },
    Case {
        change: ("value: \"1\"", "value: yes: no"),
        expect: &[
            "15:30 error syntax: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}' (close every bracket and quote, and put a text with special characters in double quotes)",
        ],
    },
    Case {
        change: ("networkMode: awsvpc", "networkMode: host"),
        expect: &[
            "4:14 error network-mode: Fargate only supports network mode `awsvpc`, and this is `host` (write \"awsvpc\")",
        ],
    },
    Case {
        change: ("image: web:1", "image: *missing"),
        expect: &[
            "9:12 error syntax: not valid YAML: while parsing node, found unknown anchor (close every bracket and quote, and put a text with special characters in double quotes)",
        ],
    },
    Case {
        change: ("memory: \"512\"", "memory: \"512\"\n---\nfamily: b"),
        expect: &[
            "7:1 error syntax: a second YAML document (remove the `---` and what follows it, or use a file of its own)",
        ],
    },
    Case {
        change: ("    name: web", "    name: \"web"),
        expect: &[
            "15:28 error syntax: not valid YAML: invalid trailing content after double-quoted scalar (close every bracket and quote, and put a text with special characters in double quotes)",
        ],
    },
    Case {
        change: ("awslogs-stream-prefix: web", "awslogs-steam-prefix: web"),
        expect: &[
            "18:7 error log-options: awslogs on Fargate needs `awslogs-stream-prefix` (add \"awslogs-stream-prefix\": \"web\" to the options)",
            "21:9 warning log-options: awslogs is not known to have an option `awslogs-steam-prefix` (did you mean `awslogs-stream-prefix`?)",
        ],
    },
    Case {
        change: (
            "requiresCompatibilities: [FARGATE]",
            "requiresCompatibilities: FARGATE",
        ),
        expect: &[
            "3:26 error wrong-kind: `requiresCompatibilities` must be a list, and this is a string (put it in brackets: [...])",
        ],
    },
];

#[test]
fn an_express_service_repeats_nothing_of_its_task_definition_and_runs_a_container_main() {
    let read = |text: &str| hoist_ecs::Document::parse("service.json", text).unwrap();
    let task = |name: &str, port: &str| {
        read(&format!(
            r#"{{ "family": "web", "containerDefinitions": [{{ "name": "{name}", "image": "i", "portMappings": [{port}] }}] }}"#
        ))
    };
    let good = r#"{ "infrastructureRoleArn": "infra", "healthCheckPath": "/healthz",
  "scalingTarget": { "minTaskCount": 1, "maxTaskCount": 4 } }"#;
    let named = r#"{ "containerPort": 8080, "name": "http" }"#;
    let said = |service: &str, task: &hoist_ecs::Document| -> Vec<String> {
        let problems = hoist_ecs::check_service_definition(&read(service), task);
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(said(good, &task("Main", named)), Vec::<String>::new());
    let repeats = good.replace(
        "{ \"infra",
        "{ \"cpu\": \"256\", \"desiredCount\": 2, \"infra",
    );
    let found = said(&repeats, &task("Main", named)).join("\n");
    assert!(found.contains("takes no `cpu`"), "{found}");
    assert!(found.contains("desiredCount"), "{found}");
    let found = said(good, &task("web", named)).join("\n");
    assert!(
        found.contains("a container named `Main`, and has none"),
        "{found}"
    );
    let found = said(good, &task("Main", r#"{ "containerPort": 8080 }"#)).join("\n");
    assert!(found.contains("needs one port, with a name"), "{found}");
}
