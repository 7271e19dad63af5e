//! The action, run for real by `act` in host mode, against the embedded AWS.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use serde_json::json;
use support::issuer::Issuer;
use support::load::get;
use support::project::{SHORT, commit, write};
use support::sandbox::{Run, Sandbox, tool};

const WORKFLOW: &str = "name: Deploy
on: push
permissions: {}
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - uses: ./.hoist
        id: hoist
        with:
          binary: ${{ env.HOIST_UNDER_TEST }}
          aws-region: eu-central-1
          role-to-assume: ${{ env.ROLE_UNDER_TEST }}
      - if: always()
        env:
          OUTCOME: ${{ steps.hoist.outputs.outcome }}
          URL: ${{ steps.hoist.outputs.url }}
          TAG: ${{ steps.hoist.outputs.tag }}
          ARN: ${{ steps.hoist.outputs.task-definition-arn }}
        run: echo \"outputs outcome=$OUTCOME url=$URL tag=$TAG arn=$ARN\"
";

/// A repository with the action beside the project, as a workflow that builds hoist itself has it.
fn repository(sandbox: &Sandbox) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let action = sandbox.project().join(".hoist");
    std::fs::create_dir_all(action.join("actions")).unwrap();
    std::fs::copy(root.join("action.yml"), action.join("action.yml")).unwrap();
    for file in ["install.sh", "release.sha256"] {
        std::fs::copy(
            root.join("actions").join(file),
            action.join("actions").join(file),
        )
        .unwrap();
    }
    let workflows = sandbox.project().join(".github/workflows");
    std::fs::create_dir_all(&workflows).unwrap();
    std::fs::write(workflows.join("deploy.yml"), WORKFLOW).unwrap();
}

fn act(sandbox: &Sandbox, environment: &[(String, String)]) -> Run {
    let mut command = std::process::Command::new(tool("act"));
    command.current_dir(sandbox.project()).args([
        "push",
        "-P",
        "ubuntu-latest=-self-hosted",
        "--artifact-server-addr",
        "127.0.0.1",
        "--cache-server-addr",
        "127.0.0.1",
    ]);
    // act asks on first use which image it should run on, unless its configuration exists.
    command
        .env("HOME", sandbox.project())
        .env("XDG_CONFIG_HOME", sandbox.home())
        .env("XDG_CACHE_HOME", sandbox.home().join("cache"));
    for (name, value) in environment {
        command.args(["--env", &format!("{name}={value}")]);
    }
    let output = command.stdin(std::process::Stdio::null()).output();
    Run::of(
        output.unwrap_or_else(|error| panic!("failed to run act: {error}; run scripts/test.sh")),
    )
}

#[test]
fn a_push_signs_in_with_keys_and_deploys_to_a_service_that_exists() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    repository(&sandbox);
    commit(&sandbox.project(), "one");
    let url = sandbox
        .run(&["deploy", "--local", "--region", "eu-central-1"])
        .expect(0)
        .url();

    write(&sandbox.project(), SHORT, "ENV GREETING=two");
    let hash = commit(&sandbox.project(), "two");
    let mut environment = sandbox.aws_env();
    environment.retain(|(name, _)| !name.ends_with("REGION"));
    environment.push((
        "HOIST_UNDER_TEST".to_owned(),
        env!("CARGO_BIN_EXE_hoist").to_owned(),
    ));
    environment.push((
        "HOIST_HOME".to_owned(),
        sandbox.home().display().to_string(),
    ));
    let run = act(&sandbox, &environment);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains(&format!(
            "outputs outcome=done url={url} tag={hash} arn=arn:aws:ecs:eu-central-1:"
        )),
        "{}",
        run.stdout
    );
    assert_eq!(get(&url).unwrap().1, "two\n");

    // Nothing is pinned yet: without a binary the action says so, and downloads nothing.
    environment.retain(|(name, _)| name != "HOIST_UNDER_TEST");
    let run = act(&sandbox, &environment);
    assert_ne!(run.code, 0);
    assert!(
        run.stdout.contains("no release of hoist is pinned yet"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_failed_deployment_fails_the_job_and_says_why() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    repository(&sandbox);
    commit(&sandbox.project(), "one");
    let url = sandbox
        .run(&["deploy", "--local", "--region", "eu-central-1"])
        .expect(0)
        .url();

    write(&sandbox.project(), SHORT, "ENV PORT=not-a-port");
    commit(&sandbox.project(), "two");
    let mut environment = sandbox.aws_env();
    environment.push((
        "HOIST_UNDER_TEST".to_owned(),
        env!("CARGO_BIN_EXE_hoist").to_owned(),
    ));
    environment.push((
        "HOIST_HOME".to_owned(),
        sandbox.home().display().to_string(),
    ));
    let run = act(&sandbox, &environment);
    assert_ne!(run.code, 0);
    assert!(
        run.stdout
            .contains("outputs outcome=failed and rolled back"),
        "{}",
        run.stdout
    );
    assert_eq!(get(&url).unwrap().1, "one\n");
}

/// Makes the issuer known to the embedded IAM, and a role that trusts the main branch of acme/shop. Returns the role's ARN.
fn trust(sandbox: &Sandbox, issuer: &Issuer) -> String {
    let host = issuer.url().trim_start_matches("http://");
    let made = sandbox.client(
        "aws",
        &[
            "iam",
            "create-open-id-connect-provider",
            "--url",
            issuer.url(),
            "--client-id-list",
            "sts.amazonaws.com",
            "--query",
            "OpenIDConnectProviderArn",
            "--output",
            "text",
        ],
    );
    made.expect(0);
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": made.stdout.trim()},
        "Condition": {
            "StringEquals": {format!("{host}:aud"): "sts.amazonaws.com", format!("{host}:repository"): "acme/shop"},
            "StringLike": {format!("{host}:sub"): "repo:acme/shop:ref:refs/heads/*"},
        },
    }]});
    let role = sandbox.client(
        "aws",
        &[
            "iam",
            "create-role",
            "--role-name",
            "deploy",
            "--assume-role-policy-document",
            &policy.to_string(),
            "--query",
            "Role.Arn",
            "--output",
            "text",
        ],
    );
    role.expect(0);
    role.stdout.trim().to_owned()
}

#[test]
fn a_push_signs_in_by_the_identity_of_the_job_and_only_as_what_the_role_trusts() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=one");
    repository(&sandbox);
    commit(&sandbox.project(), "one");
    let url = sandbox
        .run(&["deploy", "--local", "--region", "eu-central-1"])
        .expect(0)
        .url();
    let issuer = Issuer::start("repo:acme/shop:ref:refs/heads/main");
    let role = trust(&sandbox, &issuer);
    let mut environment = issuer.environment();
    environment.extend(sandbox.aws_env());
    environment.retain(|(name, _)| !name.contains("KEY") && !name.ends_with("REGION"));
    for (name, value) in [
        ("HOIST_UNDER_TEST", env!("CARGO_BIN_EXE_hoist")),
        ("HOIST_HOME", &sandbox.home().display().to_string()),
        ("ROLE_UNDER_TEST", &role),
    ] {
        environment.push((name.to_owned(), value.to_owned()));
    }

    write(&sandbox.project(), SHORT, "ENV GREETING=two");
    commit(&sandbox.project(), "two");
    let run = act(&sandbox, &environment);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains(&format!("outputs outcome=done url={url} ")),
        "{}",
        run.stdout
    );
    assert_eq!(get(&url).unwrap().1, "two\n");

    // A pull request's job is not what the role trusts.
    issuer.set_subject("repo:acme/shop:pull_request");
    write(&sandbox.project(), SHORT, "ENV GREETING=three");
    commit(&sandbox.project(), "three");
    let run = act(&sandbox, &environment);
    assert_ne!(run.code, 0);
    for text in [
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        "repo:acme/shop:pull_request",
        "exit status 4",
        "outputs outcome=credentials",
    ] {
        assert!(run.stdout.contains(text), "no `{text}` in\n{}", run.stdout);
    }
    assert_eq!(get(&url).unwrap().1, "two\n");
}
