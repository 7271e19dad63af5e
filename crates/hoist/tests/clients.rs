//! Clients that nobody here wrote drive the embedded AWS: the AWS CLI, skopeo.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use support::load::get;
use support::project::{SHORT, write};
use support::sandbox::{Run, Sandbox};

fn json(run: &Run) -> serde_json::Value {
    run.expect(0);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error} in\n{}", run.stdout))
}

#[test]
fn the_aws_cli_reads_back_what_was_deployed_and_runs_a_task() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=hello");
    let url = sandbox.deploy(&[]).expect(0).url();
    assert_eq!(get(&url).unwrap().0, 200);
    let aws = |arguments: &[&str]| sandbox.client("aws", arguments);

    aws(&[
        "ecs",
        "wait",
        "services-stable",
        "--cluster",
        "default",
        "--services",
        "shop-web",
    ])
    .expect(0);
    let described = json(&aws(&[
        "ecs",
        "describe-services",
        "--cluster",
        "default",
        "--services",
        "shop-web",
    ]));
    let service = &described["services"][0];
    assert_eq!(service["runningCount"], 2);
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert!(
        service["events"][0]["message"]
            .as_str()
            .unwrap()
            .ends_with("has reached a steady state.")
    );

    let definition = json(&aws(&[
        "ecs",
        "describe-task-definition",
        "--task-definition",
        "shop-web",
    ]));
    let image = definition["taskDefinition"]["containerDefinitions"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(image.contains("/shop@sha256:"), "{image}");

    let tasks = json(&aws(&[
        "ecs",
        "list-tasks",
        "--cluster",
        "default",
        "--service-name",
        "shop-web",
    ]));
    let task = tasks["taskArns"][0].as_str().unwrap().to_owned();
    let id = task.rsplit('/').next().unwrap();
    let stream = format!("web/web/{id}");
    let events = json(&aws(&[
        "logs",
        "get-log-events",
        "--log-group-name",
        "/ecs/shop-web",
        "--log-stream-name",
        &stream,
    ]));
    assert_eq!(events["events"][0]["message"], "listening on port 8080");

    let network = serde_json::to_string(&service["networkConfiguration"]).unwrap();
    let ran = json(&aws(&[
        "ecs",
        "run-task",
        "--cluster",
        "default",
        "--task-definition",
        "shop-web",
        "--launch-type",
        "FARGATE",
        "--network-configuration",
        &network,
    ]));
    let standalone = ran["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    aws(&[
        "ecs",
        "wait",
        "tasks-running",
        "--cluster",
        "default",
        "--tasks",
        &standalone,
    ])
    .expect(0);
    aws(&[
        "ecs",
        "stop-task",
        "--cluster",
        "default",
        "--task",
        &standalone,
    ])
    .expect(0);
    aws(&[
        "ecs",
        "wait",
        "tasks-stopped",
        "--cluster",
        "default",
        "--tasks",
        &standalone,
    ])
    .expect(0);
    let stopped = json(&aws(&[
        "ecs",
        "describe-tasks",
        "--cluster",
        "default",
        "--tasks",
        &standalone,
    ]));
    assert_eq!(stopped["tasks"][0]["stopCode"], "UserInitiated");
    assert_eq!(stopped["tasks"][0]["stoppedReason"], "Task stopped by user");
}

#[test]
fn skopeo_pulls_what_was_pushed_and_pushes_what_can_be_pulled() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "ENV GREETING=hello");
    sandbox.deploy(&[]).expect(0);
    let login = sandbox.client("aws", &["ecr", "get-login-password"]);
    let credentials = format!("AWS:{}", login.expect(0).stdout.trim());
    let described = json(&sandbox.client("aws", &["ecr", "describe-repositories"]));
    let repository = described["repositories"][0]["repositoryUri"]
        .as_str()
        .unwrap()
        .to_owned();
    let tags = json(&sandbox.client(
        "aws",
        &[
            "ecr",
            "list-images",
            "--repository-name",
            "shop",
            "--filter",
            "tagStatus=TAGGED",
        ],
    ));
    let tag = tags["imageIds"][0]["imageTag"].as_str().unwrap().to_owned();

    let folder = sandbox.project().join("copied");
    let (source, target) = (
        format!("docker://{repository}:{tag}"),
        format!("oci:{}:one", folder.display()),
    );
    sandbox
        .client(
            "skopeo",
            &[
                "copy",
                "--src-tls-verify=false",
                "--src-creds",
                &credentials,
                &source,
                &target,
            ],
        )
        .expect(0);
    assert!(folder.join("index.json").exists());

    let back = format!("docker://{repository}:again");
    sandbox
        .client(
            "skopeo",
            &[
                "copy",
                "--dest-tls-verify=false",
                "--dest-creds",
                &credentials,
                &target,
                &back,
            ],
        )
        .expect(0);
    let inspected = json(&sandbox.client(
        "skopeo",
        &[
            "inspect",
            "--tls-verify=false",
            "--creds",
            &credentials,
            &back,
        ],
    ));
    assert!(
        inspected["RepoTags"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tag| tag == "again")
    );
}

/// What an account has, a line each.
const ACCOUNT: &str = r#"
import boto3
of = boto3.client
for it in of("ecr").describe_repositories()["repositories"]:
    print("repository", it["repositoryName"], it["imageTagMutability"])
for it in of("ecs").list_clusters()["clusterArns"]:
    print("cluster", it.split("/")[-1])
for it in of("logs").describe_log_groups()["logGroups"]:
    print("log group", it["logGroupName"], it.get("retentionInDays"))
for it in of("elbv2").describe_load_balancers()["LoadBalancers"]:
    print("load balancer", it["LoadBalancerName"])
for it in of("elbv2").describe_target_groups()["TargetGroups"]:
    print("target group", it["TargetGroupName"], it.get("HealthCheckPath"))
for it in of("ec2").describe_security_groups()["SecurityGroups"]:
    print("security group", it["GroupName"])
for it in of("ec2").describe_subnets()["Subnets"]:
    print("subnet", sorted((tag["Key"], tag["Value"]) for tag in it.get("Tags", [])))
iam = of("iam")
for it in iam.list_roles()["Roles"]:
    name = it["RoleName"]
    print("role", name)
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for statement in document["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                print("policy", action)
for it in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
    print("provider", it["Arn"].split(":")[-1])
"#;

#[test]
fn bootstrap_makes_once_what_a_deployment_needs_and_boto3_finds_it() {
    let sandbox = Sandbox::new();
    sandbox.run(&["local", "start"]).expect(0);
    write(&sandbox.project(), SHORT, "ENV GREETING=hello");
    let bootstrap = |extra: &[&str]| {
        let mut all = vec![
            "bootstrap",
            "--local",
            "--github",
            "acme/shop",
            "--output",
            "json",
        ];
        all.extend(extra);
        json(&sandbox.run(&all))
    };
    let of = |done: &serde_json::Value, state: &str| {
        let items = done["items"].as_array().unwrap();
        items.iter().filter(|item| item["state"] == state).count()
    };
    // All that was made, as another client sees it.
    let account = || {
        let run = sandbox.client("python", &["-c", ACCOUNT]);
        run.expect(0).stdout.clone()
    };

    let looked = bootstrap(&[]);
    assert!(
        of(&looked, "absent") > 8 && of(&looked, "made") == 0,
        "{looked}"
    );
    let before = account();
    assert!(!before.contains("shop"), "a look made {before}");

    let made = bootstrap(&["--yes"]);
    assert_eq!(of(&made, "made"), of(&looked, "absent"), "{made}");
    let after = account();
    for part in [
        "repository shop IMMUTABLE",
        "cluster default",
        "log group /ecs/shop-web 30",
        "role shop-execution",
        "role shop-deploy",
        "load balancer shop-web",
        "target group shop-web /healthz",
        "security group shop",
        "provider oidc-provider/token.actions.githubusercontent.com",
        "policy ecs:UpdateService",
    ] {
        let is_there = after.lines().any(|line| line == part);
        assert!(is_there, "no {part} in {after}");
    }

    let again = bootstrap(&["--yes"]);
    assert_eq!(
        (of(&again, "made"), of(&again, "absent")),
        (0, 0),
        "{again}"
    );
    assert_eq!(account(), after, "the second run changed something");

    // What a deployment to a real account needs is there: nothing is made for this one.
    let mut command = sandbox.command(&["deploy"]);
    for (name, value) in sandbox.aws_env() {
        command.env(name, value.trim_matches('\''));
    }
    let run = Run::of(command.output().unwrap());
    run.expect(0).says("created the service shop-web");
    assert_eq!(get(&run.url()).unwrap().1, "hello\n");
    assert_eq!(account(), after, "the deployment made something");
}
