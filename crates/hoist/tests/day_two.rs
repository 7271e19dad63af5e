//! What comes after the first deployment: looking, scaling, running tasks, going back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;
use support::load::get;
use support::project::{commit, write};
use support::sandbox::{Run, Sandbox};

const CONFIG: &str = r#"app: shop
services:
  web: { port: 8080, count: 1, health: /healthz, deregistration-delay: 0, exec: true }
tasks:
  migrate: { command: [exit, "0"], environment: { GREETING: migrated } }
release: { before: [migrate] }
"#;

fn json(run: &Run) -> Value {
    run.expect(0);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

#[test]
fn what_runs_is_shown_scaled_and_taken_back() {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    write(&project, CONFIG, "ENV GREETING=one");
    let first = commit(&project, "one");

    // A look ahead changes nothing: no repository, no service.
    let plan = sandbox.run(&["plan", "--local", "--detailed-exitcode", "--output", "json"]);
    assert_eq!(plan.expect(30).code, 30);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["image"]["built"], true);
    assert_eq!(plan["services"][0]["action"], "create");
    assert_eq!(plan["before"][0], "migrate");
    assert!((plan["services"][0]["costAfter"].as_f64().unwrap() - 9.01).abs() < 0.01);
    let repositories = sandbox.client(
        "aws",
        &[
            "ecr",
            "describe-repositories",
            "--query",
            "repositories",
            "--output",
            "text",
        ],
    );
    assert_eq!(repositories.expect(0).stdout.trim(), "");

    let checked = json(&sandbox.run(&["check", "--local", "--output", "json"]));
    assert!(
        checked["ran"].as_u64().unwrap() > 8 && checked["found"].as_array().unwrap().is_empty(),
        "{checked}"
    );
    sandbox.run(&["check", "--offline"]).expect(0);
    write(
        &project,
        &CONFIG.replace(
            "app: shop",
            "app: shop\nimage: { create-repository: false, platforms: [linux/arm64] }",
        ),
        "EXPOSE 9",
    );
    let checked = sandbox.run(&["check", "--local"]);
    assert!(
        checked
            .expect(14)
            .stdout
            .contains("docs/account-checks.md#repository"),
        "{}",
        checked.stdout
    );
    sandbox
        .deploy(&[])
        .expect(14)
        .says("the repository shop does not exist")
        .never_says("engine");
    write(&project, CONFIG, "ENV GREETING=one");

    // Each step alone: nothing runs yet.
    let pushed = sandbox.run(&["push", "--local"]);
    let image = pushed.expect(0).stdout.trim().to_owned();
    assert!(image.contains("/shop@sha256:"), "{image}");
    let registered = sandbox.run(&["register", "--local"]);
    registered.expect(0).says("nothing was deployed");
    assert!(
        registered
            .stdout
            .trim()
            .ends_with(":task-definition/shop-web:1"),
        "{}",
        registered.stdout
    );
    let status = json(&sandbox.run(&["status", "--local", "--output", "json"]));
    assert_eq!(status[0]["status"], "ABSENT");
    sandbox
        .run(&["scale", "2", "--local"])
        .expect(14)
        .says("deploy it first");

    // The task that comes first runs on the network that the service is going to have.
    let run = sandbox.deploy(&[]);
    run.expect(0)
        .says("migrated: this task ends with 0")
        .says("migrate succeeded");
    let url = run.url();
    assert_eq!(get(&url).unwrap().1, "one\n");
    sandbox
        .run(&["plan", "--local", "--detailed-exitcode"])
        .expect(0);

    // Every second of it has its phase, and the picture is one.
    let explained = json(&sandbox.run(&["explain", "--local", "--output", "json"]));
    let explained = &explained[0];
    assert_eq!(explained["revision"], "shop-web:1", "{explained}");
    assert_eq!(explained["outcome"], "SUCCESSFUL");
    let phases = explained["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|one| one["phase"].as_str().unwrap())
        .collect();
    for phase in ["check", "register", "before", "health", "verify"] {
        assert!(names.contains(&phase), "{phase} in {names:?}");
    }
    let all: f64 = phases
        .iter()
        .map(|one| one["seconds"].as_f64().unwrap())
        .sum();
    assert!(
        (all - explained["seconds"].as_f64().unwrap()).abs() < 0.01,
        "{explained}"
    );
    assert_eq!(explained["timeline"]["lanes"][0]["new"], true);
    let picture = sandbox.run(&["explain", "--local", "--output", "svg"]);
    assert!(
        picture.expect(0).stdout.starts_with("<svg "),
        "{}",
        picture.stdout
    );
    sandbox
        .run(&["explain", "--local", "--revision", "99"])
        .expect(14)
        .says("no deployment of revision 99");

    // A program in the running container, with what it prints and the code that it ends with; what is typed reaches it.
    let run = sandbox.run(&["exec", "--local", "--", "/hello", "exit", "3"]);
    run.expect(3);
    assert_eq!(run.stdout, "one: this task ends with 3\n");
    sandbox
        .run(&["continue", "--local"])
        .expect(14)
        .says("no deployment is in flight");

    write(
        &project,
        &CONFIG.replace(
            "count: 1,",
            "count: 1, cpu: 512, environment: { LEVEL: debug, API_TOKEN: hush },",
        ),
        "ENV GREETING=two",
    );
    let plan = sandbox.run(&["plan", "--local"]);
    for line in [
        "    ~ cpu: 256 -> 512",
        "    + web > environment > LEVEL: debug",
        "    + web > environment > API_TOKEN: (hidden)",
    ] {
        assert!(
            plan.expect(0).stdout.contains(line),
            "{line}\n{}",
            plan.stdout
        );
    }
    assert!(
        plan.stdout.contains("$9.01 -> $18.02 a month (+$9.01)"),
        "{}",
        plan.stdout
    );
    assert!(!plan.stdout.contains("hush"));
    let markdown = sandbox.run(&["plan", "--local", "--output", "markdown"]);
    assert!(
        markdown
            .expect(0)
            .stdout
            .contains("```diff\n! cpu: 256 -> 512\n"),
        "{}",
        markdown.stdout
    );
    let cost = json(&sandbox.run(&["cost", "--local", "--output", "json"]));
    assert!((cost[0]["dollars"].as_f64().unwrap() - 9.01).abs() < 0.01);

    write(&project, CONFIG, "ENV GREETING=two");
    let second = commit(&project, "two");
    sandbox.deploy(&[]).expect(0);
    assert_eq!(get(&url).unwrap().1, "two\n");

    let status = json(&sandbox.run(&["status", "--local", "--output", "json"]));
    assert_eq!(status[0]["running"], 1);
    assert_eq!(status[0]["revision"], "shop-web:2");
    assert_eq!(status[0]["commit"], second.as_str());
    assert_eq!(status[0]["targets"]["healthy"], 1);
    assert_eq!(status[0]["url"], url.as_str());
    let text = sandbox.run(&["status", "--local"]);
    assert!(
        text.expect(0)
            .stdout
            .contains("web (shop-web in default): 1 of 1 tasks run"),
        "{}",
        text.stdout
    );

    let events = sandbox.run(&["events", "--local", "-n", "100"]);
    assert!(
        events
            .expect(0)
            .stdout
            .contains("(service shop-web) has reached a steady state."),
        "{}",
        events.stdout
    );
    let tasks = json(&sandbox.run(&["tasks", "--local", "--all", "--output", "json"]));
    let states: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["status"].as_str().unwrap())
        .collect();
    assert!(
        states.contains(&"RUNNING") && states.contains(&"STOPPED"),
        "{states:?}"
    );
    let logs = sandbox.run(&["logs", "--local"]);
    assert_eq!(
        logs.expect(0)
            .stdout
            .matches("listening on port 8080")
            .count(),
        2,
        "{}",
        logs.stdout
    );
    let logs = sandbox.run(&[
        "logs", "--local", "--filter", "migrated", "--output", "json",
    ]);
    let line: Value = serde_json::from_str(logs.expect(0).stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line["message"], "migrated: this task ends with 0");

    // An image that exists, and a revision that exists; each is watched as any deployment.
    let promoted = sandbox.deploy(&["--image", &first]);
    promoted
        .expect(0)
        .never_says("[1/")
        .says("migrate succeeded")
        .says("shop-web:3 to shop-web");
    assert_eq!(get(&url).unwrap().1, "one\n");
    sandbox
        .deploy(&["--revision", "9"])
        .expect(14)
        .says("shop-web:9 cannot be deployed");
    sandbox
        .deploy(&["--image", "no-such-tag"])
        .expect(14)
        .says("there is no image no-such-tag");
    sandbox.deploy(&["--revision", "2"]).expect(0);
    assert_eq!(get(&url).unwrap().1, "two\n");

    let scaled = sandbox.run(&["scale", "2", "--local"]);
    scaled.expect(0).says("2 tasks run");

    // Back to the last good revision; the count stays.
    let back = sandbox.run(&["rollback", "--local"]);
    back.expect(0)
        .says("shop-web:3 to shop-web")
        .never_says("migrate");
    assert_eq!(back.url(), url);
    assert_eq!(get(&url).unwrap().1, "one\n");
    let history = json(&sandbox.run(&["history", "--local", "--output", "json"]));
    let revisions: Vec<(&str, bool)> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["revision"].as_str().unwrap(),
                row["current"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        revisions,
        [
            ("shop-web:3", true),
            ("shop-web:2", false),
            ("shop-web:3", false),
            ("shop-web:2", false),
            ("shop-web:1", false)
        ]
    );
    assert_eq!(history[0]["commit"], first.as_str());
    assert_eq!(history[0]["outcome"], "SUCCESSFUL");
    assert_eq!(history[0]["run"], "done");
    let text = sandbox.run(&["history", "--local"]);
    assert!(
        text.expect(0).stdout.contains("shop-web:3 *"),
        "{}",
        text.stdout
    );

    // Tasks: of the file, a command, one that fails, one that cannot start.
    let run = sandbox.run(&["run", "migrate", "--local"]);
    assert_eq!(run.expect(0).stdout, "migrated: this task ends with 0\n");
    let run = sandbox.run(&[
        "run",
        "--local",
        "--env",
        "GREETING=by hand",
        "--",
        "exit",
        "3",
    ]);
    run.expect(25).says("the task exited with 3");
    assert_eq!(run.stdout, "by hand: this task ends with 3\n");
    sandbox
        .run(&["run", "--local", "--passthrough", "--", "exit", "3"])
        .expect(3);
    sandbox
        .run(&["run", "migrat", "--local"])
        .expect(3)
        .says("its tasks are: migrate");

    // A migration that fails ends the deployment before anything has moved.
    let failing = CONFIG.replace("exit, \"0\"", "exit, \"7\"");
    write(&project, &failing, "ENV GREETING=three");
    sandbox
        .deploy(&[])
        .expect(25)
        .says("the task migrate exited with 7")
        .says("no service was moved");
    assert_eq!(get(&url).unwrap().1, "one\n");

    // A gate that does not hold brings the old revision back.
    let gated = CONFIG.replace(
        "release:",
        "gates: { command: './hello exit 4' }\n# release:",
    );
    write(&project, &gated, "ENV GREETING=gated");
    sandbox
        .deploy(&[])
        .expect(20)
        .says("the smoke test `./hello exit 4` failed")
        .says("shop-web:3 serves again");
    assert_eq!(get(&url).unwrap().1, "one\n");

    // A deployment in flight is taken back.
    let hanging = CONFIG.replace("release:", "# release:");
    write(&project, &hanging, "ENV GREETING=four UNHEALTHY=1");
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    loop {
        let status = json(&sandbox.run(&["status", "--local", "--output", "json"]));
        if status[0]["deployments"][0]["state"] == "IN_PROGRESS" {
            break;
        }
    }
    let back = sandbox.run(&["rollback", "--local"]);
    back.expect(0).says("the revision before serves again");
    assert_eq!(get(&back.url()).unwrap().1, "one\n");
    let deploy = Run::of(child.wait_with_output().unwrap());
    deploy.expect(20);
}

#[test]
fn services_of_a_release_move_together_or_not_at_all_and_others_may_own_the_definition() {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    let config = |port: &str| {
        format!(
            "app: shop
services:
  web: {{ port: 8080, health: /healthz, deregistration-delay: 0 }}
  api: {{ port: 8081, health: /healthz, deregistration-delay: 0, environment: {{ PORT: '{port}' }} }}
release: {{ waves: [[web, api]], all-or-nothing: true }}
"
        )
    };
    write(&project, &config("8081"), "ENV GREETING=one");
    let run = sandbox.deploy(&["--output", "plain"]);
    run.expect(0)
        .says("web: created the service")
        .says("api: created the service");
    let urls: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(urls.len(), 2);

    write(&project, &config("none"), "ENV GREETING=two");
    sandbox
        .deploy(&[])
        .expect(20)
        .says("all or nothing: shop-web goes back to shop-web:1")
        .says("shop-web went back to shop-web:1");
    for url in urls {
        assert_eq!(get(url).unwrap().1, "one\n");
    }

    // Someone else registers a revision and has it deployed: with `live` only the image changes, and what they did is said.
    let described = sandbox.client(
        "aws",
        &[
            "ecs",
            "describe-task-definition",
            "--task-definition",
            "shop-web:1",
            "--query",
            "taskDefinition",
        ],
    );
    let mut task: Value = serde_json::from_str(&described.expect(0).stdout).unwrap();
    for member in [
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
    ] {
        task.as_object_mut().unwrap().remove(member);
    }
    task["memory"] = "1024".into();
    std::fs::write(project.join("theirs.json"), task.to_string()).unwrap();
    let theirs = format!("file://{}", project.join("theirs.json").display());
    sandbox
        .client(
            "aws",
            &[
                "ecs",
                "register-task-definition",
                "--cli-input-json",
                &theirs,
            ],
        )
        .expect(0);
    sandbox
        .client(
            "aws",
            &[
                "ecs",
                "update-service",
                "--service",
                "shop-web",
                "--task-definition",
                "shop-web",
            ],
        )
        .expect(0);
    sandbox
        .client(
            "aws",
            &["ecs", "wait", "services-stable", "--services", "shop-web"],
        )
        .expect(0);
    let live = "app: shop
services:
  web: { task-definition: live, name: shop-web, environment: { ADDED: yes-please } }
";
    write(&project, live, "ENV GREETING=three");
    let plan = sandbox.run(&["plan", "--local"]);
    for line in [
        "  drift     since hoist registered shop-web:2: ~ memory: 512 -> 1024",
        "    + web > environment > ADDED: yes-please",
    ] {
        assert!(
            plan.expect(0).stdout.lines().any(|found| found == line),
            "{line}\n{}",
            plan.stdout
        );
    }
    assert!(!plan.stdout.contains("    ~ memory"), "{}", plan.stdout);
    let run = sandbox.deploy(&[]);
    run.expect(0);
    assert_eq!(get(&run.url()).unwrap().1, "three\n");
    let status = json(&sandbox.run(&["status", "--local", "--output", "json"]));
    let revision = status[0]["revision"].as_str().unwrap();
    let described = sandbox.client(
        "aws",
        &[
            "ecs",
            "describe-task-definition",
            "--task-definition",
            revision,
            "--query",
            "taskDefinition.memory",
            "--output",
            "text",
        ],
    );
    assert_eq!(described.expect(0).stdout.trim(), "1024");

    // Nobody may run a program in a container of a service that does not allow it.
    sandbox
        .run(&["exec", "--local", "--", "/hello", "exit", "3"])
        .expect(14)
        .says("exec is not enabled")
        .says("`exec: true`");

    // A refresh replaces the tasks and keeps the revision; what is old and not needed goes.
    let before = json(&sandbox.run(&["tasks", "--local", "--output", "json"]));
    sandbox.run(&["refresh", "--local"]).expect(0);
    let after = json(&sandbox.run(&["tasks", "--local", "--output", "json"]));
    assert_ne!(before[0]["arn"], after[0]["arn"]);
    assert_eq!(before[0]["revision"], after[0]["revision"]);
    let all = [
        "prune",
        "--local",
        "--keep",
        "1",
        "--older-than",
        "0s",
        "--output",
        "json",
    ];
    let would = json(&sandbox.run(&all));
    assert_eq!(would["done"], false);
    let gone = json(&sandbox.run(&[&all[..], &["--yes"]].concat()));
    assert_eq!(would["revisions"], gone["revisions"]);
    let gone: Vec<&str> = gone["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(
        !gone.contains(&revision) && !gone.contains(&"shop-web:3"),
        "{gone:?}"
    );
    assert_eq!(json(&sandbox.run(&all))["revisions"], serde_json::json!([]));
    sandbox.deploy(&[]).expect(0).says("nothing was deployed");

    // A project of ecspresso runs as it stands: nothing is built, the image is the one that it names.
    let ecspresso = project.join("ecspresso");
    std::fs::create_dir(&ecspresso).unwrap();
    let config = "cluster: default\nservice: shop-web\ntask_definition: task.json\n";
    std::fs::write(ecspresso.join("ecspresso.yml"), config).unwrap();
    let described = sandbox.client(
        "aws",
        &[
            "ecs",
            "describe-task-definition",
            "--task-definition",
            "shop-web:1",
            "--query",
            "taskDefinition",
        ],
    );
    let written = described
        .expect(0)
        .stdout
        .replace("\"512\"", "\"{{ must_env `MEMORY` }}\"");
    assert!(written.contains("must_env"));
    std::fs::write(ecspresso.join("task.json"), written).unwrap();
    sandbox
        .run(&["deploy", "--local", ecspresso.to_str().unwrap()])
        .expect(3)
        .says("`MEMORY` is not set");
    let mut command = sandbox.command(&["deploy", "--local", ecspresso.to_str().unwrap()]);
    let run = Run::of(command.env("MEMORY", "2048").output().unwrap());
    run.expect(0).never_says("build ");
    assert_eq!(get(&run.url()).unwrap().1, "one\n");

    // What runs can be taken over as files that mean the same.
    let other = project.join("taken-over");
    std::fs::create_dir(&other).unwrap();
    sandbox
        .run(&[
            "init",
            "--local",
            "--from-service",
            "shop-web",
            other.to_str().unwrap(),
        ])
        .expect(0);
    write(
        &other,
        &std::fs::read_to_string(other.join("hoist.yaml")).unwrap(),
        "ENV GREETING=three",
    );
    let plan = json(&sandbox.run(&[
        "plan",
        "--local",
        "--output",
        "json",
        other.to_str().unwrap(),
    ]));
    // Only the image: its context has the new files.
    let changes = &plan["services"][0]["taskDefinition"];
    assert_eq!(changes.as_array().unwrap().len(), 1, "{plan:#}");
    assert_eq!(changes[0]["path"], serde_json::json!(["web", "image"]));
    assert_eq!(
        plan["services"][0]["serviceDefinition"],
        serde_json::json!([])
    );
}

#[test]
fn a_machine_says_what_it_can_do() {
    let sandbox = Sandbox::new();
    let found = json(&sandbox.run(&["doctor", "--output", "json"]));
    let state = |what: &str| {
        let found = found
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["what"] == what);
        found.unwrap_or_else(|| panic!("{what}"))["state"].clone()
    };
    assert_eq!(state("home"), "ok");
    assert_eq!(state("containers"), "ok");
    assert_eq!(state("aws"), "note");
    let text = sandbox.run(&["doctor"]);
    assert!(
        text.expect(0).stdout.contains("--local starts it"),
        "{}",
        text.stdout
    );
}
