//! Each check finds what it is for in an account where all else is in order, and nothing where all is.

use hoist_project::{Project, Variables};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Endpoint, refusal};

const GROUP: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/shop-web/0123456789abcdef";
const SECRET: &str = "arn:aws:secretsmanager:eu-central-1:1:secret:shop-AbCdEf:key::";

fn task() -> Value {
    json!({
        "family": "shop", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "executionRoleArn": "arn:aws:iam::1:role/shop-execution",
        "containerDefinitions": [{
            "name": "web", "image": "1.dkr.ecr.eu-central-1.amazonaws.com/shop@sha256:1", "essential": true,
            "portMappings": [{ "containerPort": 8080 }],
            "secrets": [{ "name": "KEY", "valueFrom": SECRET }, { "name": "LEVEL", "valueFrom": "/shop/level" }],
            "logConfiguration": { "logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/shop", "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "web" } },
        }],
    })
}

fn service() -> Value {
    json!({
        "serviceName": "shop", "cluster": "prod", "launchType": "FARGATE", "desiredCount": 3,
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": { "enable": true, "rollback": true },
            "alarms": { "alarmNames": ["shop-5xx"], "enable": true, "rollback": true },
        },
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"], "securityGroups": ["sg-1"] } },
        "loadBalancers": [{ "targetGroupArn": GROUP, "containerName": "web", "containerPort": 8080 }],
        "healthCheckGracePeriodSeconds": 30,
    })
}

fn live() -> Value {
    let mut live = service();
    live["serviceArn"] = json!("arn:aws:ecs:eu-central-1:1:service/prod/shop");
    live["status"] = json!("ACTIVE");
    live["taskDefinition"] = json!("arn:aws:ecs:eu-central-1:1:task-definition/shop:7");
    live
}

fn allowed(body: &Value) -> Value {
    // A form's members are flat: ActionNames.member.1 and so on.
    let results: Vec<Value> = body
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("ActionNames."))
        .map(|(_, action)| json!({ "EvalActionName": action, "EvalResourceName": "*", "EvalDecision": "allowed" }))
        .collect();
    json!({ "EvaluationResults": results })
}

/// An account in which all is in order.
fn good(operation: &str, body: &Value) -> (u16, Value) {
    let answer = match operation {
        "GetCallerIdentity" => {
            json!({ "Account": "1", "Arn": "arn:aws:sts::1:assumed-role/deployer/run" })
        }
        "SimulatePrincipalPolicy" => allowed(body),
        "DescribeClusters" => json!({ "clusters": [{ "status": "ACTIVE" }] }),
        "ListClusters" => {
            json!({ "clusterArns": ["arn:aws:ecs:eu-central-1:1:cluster/production"] })
        }
        "DescribeServices" => json!({ "services": [live()] }),
        "ListServices" => {
            json!({ "serviceArns": ["arn:aws:ecs:eu-central-1:1:service/prod/shop-web"] })
        }
        "ListServiceDeployments" => json!({ "serviceDeployments": [] }),
        "ListTagsForResource" => json!({ "tags": [] }),
        "DescribeRepositories" => json!({ "repositories": [{}] }),
        "GetRole" => {
            json!({ "Role": { "AssumeRolePolicyDocument": "%22ecs-tasks.amazonaws.com%22" } })
        }
        "DescribeSubnets" => json!({ "subnetSet": [{ "subnetId": "subnet-1", "vpcId": "vpc-1" }] }),
        "DescribeSecurityGroups" => {
            json!({ "securityGroupInfo": [{ "groupId": "sg-1", "vpcId": "vpc-1" }] })
        }
        "DescribeRouteTables" => routes("natGatewayId", "nat-1"),
        "DescribeVpcEndpoints" => json!({}),
        "DescribeTargetGroups" => groups("ip", "traffic-port", true),
        "DescribeLogGroups" => json!({ "logGroups": [{ "logGroupName": "/ecs/shop" }] }),
        "DescribeSecret" => json!({ "Name": "shop" }),
        "GetParameters" => json!({ "Parameters": [{}], "InvalidParameters": [] }),
        "DescribeAlarms" => {
            json!({ "MetricAlarms": [{ "AlarmName": "shop-5xx", "StateValue": "OK" }] })
        }
        "DescribeTaskDefinition" => json!({ "taskDefinition": task() }),
        "DescribeImages" => json!({ "imageDetails": [{ "imageSizeInBytes": 50_000_000 }] }),
        other => panic!("{other} is called"),
    };
    (200, answer)
}

fn routes(member: &str, to: &str) -> Value {
    json!({ "routeTableSet": [{
        "associationSet": [{ "main": true }],
        "routeSet": [{ "destinationCidrBlock": "0.0.0.0/0", member: to }],
    }] })
}

fn groups(kind: &str, port: &str, balanced: bool) -> Value {
    let balancers = if balanced {
        json!(["arn:lb"])
    } else {
        json!("")
    };
    json!({ "TargetGroups": [{ "TargetGroupName": "shop-web", "TargetType": kind, "HealthCheckPort": port, "LoadBalancerArns": balancers }] })
}

const CONFIG: &str = "app: shop\nimage: { create-repository: false }\nservices:\n  web: { task-definition: task.json, service-definition: service.json }\n";

/// What the checks find with these files, where some calls are answered otherwise than in good order.
async fn found(
    config: &str,
    task: &Value,
    service: &Value,
    answer: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> Vec<String> {
    found_by(config, task, service, move |operation, _| answer(operation)).await
}

/// As [`found`], where the answers depend on what is asked.
async fn found_by(
    config: &str,
    task: &Value,
    service: &Value,
    answer: impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("hoist.yaml", config.to_owned());
    write("task.json", task.to_string());
    write("service.json", service.to_string());
    write(
        "Dockerfile",
        "FROM a AS b\nEXPOSE 9\nFROM scratch\nEXPOSE 8080/tcp\n".to_owned(),
    );
    let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
    let endpoint = Endpoint::answering(move |operation, body, _| {
        answer(operation, body).unwrap_or_else(|| good(operation, body))
    })
    .await;
    let checked = account(&endpoint.client, &project, false, false, &[])
        .await
        .unwrap();
    assert_eq!(checked.ran, CHECKS.len());
    checked
        .found
        .iter()
        .map(|found| {
            format!(
                "{} {:?} {} | {}",
                found.check, found.weight, found.message, found.fix
            )
        })
        .collect()
}

/// One answer that is otherwise, and the one thing that is found.
async fn finds(operation: &'static str, status: u16, answer: Value, expected: &str) {
    let found = found(CONFIG, &task(), &service(), move |asked| {
        (asked == operation).then(|| (status, answer.clone()))
    })
    .await;
    assert_eq!(found.len(), 1, "{operation}: {found:#?}");
    assert!(found[0].contains(expected), "`{expected}` in {}", found[0]);
}

async fn refused(operation: &'static str, code: &str, expected: &str) {
    let (status, answer) = refusal(400, code, "no");
    finds(operation, status, answer, expected).await;
}

#[tokio::test]
async fn nothing_is_found_where_all_is_in_order_and_within_two_seconds_of_calls() {
    let began = std::time::Instant::now();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&calls);
    let found = found(CONFIG, &task(), &service(), move |_| {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        None
    })
    .await;
    assert_eq!(found, Vec::<String>::new(), "{:?}", began.elapsed());
    // The longest chain of calls that follow each other decides: a read of the service, then at most eight for one check.
    assert!(calls.load(std::sync::atomic::Ordering::Relaxed) < 40);
}

#[tokio::test]
async fn what_does_not_exist_is_named_with_what_is_near() {
    finds(
        "DescribeClusters",
        200,
        json!({ "clusters": [] }),
        "cluster Error the cluster prod does not exist in eu-central-1 | did you mean production?",
    )
    .await;
    refused(
        "DescribeRepositories",
        "RepositoryNotFoundException",
        "repository Error the repository shop does not exist",
    )
    .await;
    finds(
        "DescribeSecurityGroups",
        200,
        json!({ "securityGroupInfo": [{ "groupId": "sg-2", "vpcId": "vpc-1" }] }),
        "network Error the security group sg-1 does not exist in eu-central-1 | did you mean sg-2?",
    )
    .await;
    finds(
        "DescribeLogGroups",
        200,
        json!({ "logGroups": [{ "logGroupName": "/ecs/shop2" }] }),
        "log-group Error the log group /ecs/shop does not exist",
    )
    .await;
    refused(
        "DescribeSecret",
        "ResourceNotFoundException",
        "secrets Error the secret shop-AbCdEf does not exist",
    )
    .await;
    finds(
        "GetParameters",
        200,
        json!({ "InvalidParameters": ["/shop/level"] }),
        "secrets Error the parameter /shop/level does not exist",
    )
    .await;
    refused(
        "GetRole",
        "NoSuchEntity",
        "roles Error the execution role shop-execution does not exist",
    )
    .await;
    finds(
        "DescribeAlarms",
        200,
        json!({ "MetricAlarms": [{ "AlarmName": "shop-4xx", "StateValue": "OK" }] }),
        "alarms Error the alarm shop-5xx does not exist | did you mean shop-4xx?",
    )
    .await;
}

#[tokio::test]
async fn a_service_that_is_absent_must_be_creatable() {
    let config = "app: shop\nservices:\n  shop: { task-definition: task.json, cluster: prod }\n";
    let found = found(config, &task(), &service(), |asked| {
        (asked == "DescribeServices").then(|| {
            (
                200,
                json!({ "services": [], "failures": [{ "reason": "MISSING" }] }),
            )
        })
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("service Error the service shop does not exist in the cluster prod")
            && found[0].ends_with("shop-web?")
            || found[0].contains("there are: shop-web"),
        "{}",
        found[0]
    );
}

#[tokio::test]
async fn roles_networks_and_groups_must_fit() {
    finds(
        "GetRole",
        200,
        json!({ "Role": { "AssumeRolePolicyDocument": "%22lambda.amazonaws.com%22" } }),
        "roles Error ECS tasks may not take the execution role shop-execution",
    )
    .await;
    finds(
        "DescribeSecurityGroups",
        200,
        json!({ "securityGroupInfo": [{ "groupId": "sg-1", "vpcId": "vpc-2" }] }),
        "network Error subnets and security groups are in several VPCs: vpc-1, vpc-2",
    )
    .await;
    finds(
        "DescribeTargetGroups",
        200,
        groups("instance", "traffic-port", true),
        "target-group Error the target group shop-web has the target type instance",
    )
    .await;
    finds(
        "DescribeTargetGroups",
        200,
        groups("ip", "traffic-port", false),
        "target-group Error the target group shop-web belongs to no load balancer",
    )
    .await;
    finds(
        "DescribeTargetGroups",
        200,
        groups("ip", "9000", true),
        "target-group Warning the target group shop-web checks port 9000",
    )
    .await;
    finds(
        "DescribeRouteTables",
        200,
        routes("gatewayId", "igw-1"),
        "egress Error tasks in subnet-1 cannot reach ECR: it routes to an internet gateway",
    )
    .await;
    finds(
        "DescribeRouteTables",
        200,
        routes("gatewayId", "local"),
        "egress Error tasks in subnet-1 cannot reach ECR: it has neither",
    )
    .await;
    finds(
        "DescribeAlarms",
        200,
        json!({ "MetricAlarms": [{ "AlarmName": "shop-5xx", "StateValue": "ALARM" }] }),
        "alarms Warning the alarm shop-5xx is in ALARM already",
    )
    .await;
}

#[test]
fn endpoints_are_a_way_to_the_registry_if_there_are_enough() {
    let tables = routes("gatewayId", "local");
    let endpoints = |names: &[&str]| {
        let all: Vec<Value> = names
            .iter()
            .map(|name| json!({ "serviceName": format!("com.amazonaws.eu-central-1.{name}") }))
            .collect();
        json!({ "vpcEndpointSet": all })
    };
    assert!(
        egress::judge(
            "subnet-1",
            false,
            &tables,
            &endpoints(&["ecr.api", "ecr.dkr", "s3"])
        )
        .is_none()
    );
    let found = egress::judge(
        "subnet-1",
        false,
        &tables,
        &endpoints(&["ecr.api", "ecr.dkr"]),
    )
    .unwrap();
    assert!(
        found.weight == Weight::Warning && found.message.ends_with("VPC endpoint for s3"),
        "{found:?}"
    );
    assert!(
        egress::judge(
            "subnet-1",
            true,
            &routes("gatewayId", "igw-1"),
            &Value::Null
        )
        .is_none()
    );
}

#[tokio::test]
async fn rights_are_asked_for_or_the_least_policy_is_printed() {
    let (status, answer) = refusal(403, "AccessDenied", "not authorized");
    let closed = found(CONFIG, &task(), &service(), move |asked| {
        (asked == "SimulatePrincipalPolicy").then(|| (status, answer.clone()))
    })
    .await;
    assert!(
        closed
            .iter()
            .any(|one| one.starts_with("permissions Note") && one.contains("\"ecr:PutImage\"")),
        "{closed:#?}"
    );
    let denied = json!({ "EvaluationResults": [{ "EvalActionName": "ecr:PutImage", "EvalResourceName": "arn:repo", "EvalDecision": "implicitDeny" }] });
    let found = found(CONFIG, &task(), &service(), move |asked| {
        (asked == "SimulatePrincipalPolicy").then(|| (200, denied.clone()))
    })
    .await;
    assert!(found.iter().any(|one| one.contains("permissions Warning the policies of arn:aws:iam::1:role/deployer do not allow ecr:PutImage")), "{found:#?}");
    assert!(
        found.iter().any(|one| one
            .starts_with("pass-role Warning arn:aws:iam::1:role/deployer may not pass the role")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn without_credentials_nothing_else_is_said() {
    let (status, answer) = refusal(403, "InvalidClientTokenId", "no");
    let found = found(CONFIG, &task(), &service(), move |_| {
        Some((status, answer.clone()))
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("credentials Error"), "{}", found[0]);
}

#[tokio::test]
async fn what_else_goes_on_with_the_service_is_said() {
    let config = CONFIG;
    let found = found(config, &task(), &service(), |asked| match asked {
        "ListServiceDeployments" => Some((200, json!({ "serviceDeployments": [{ "serviceDeploymentArn": "arn:d", "status": "IN_PROGRESS", "targetServiceRevisionArn": "arn:r" }] }))),
        "DescribeServiceRevisions" => Some((200, json!({ "serviceRevisions": [{ "taskDefinition": "arn:x/shop:8" }] }))),
        "ListTagsForResource" => Some((200, json!({ "tags": [{ "key": "managed-by", "value": "Terraform" }] }))),
        _ => None,
    })
    .await;
    assert!(
        found[0].starts_with("in-flight Warning a deployment of shop:8 is in flight (IN_PROGRESS)"),
        "{found:#?}"
    );
    assert!(
        found[1].starts_with("ownership Note the service belongs to Terraform"),
        "{found:#?}"
    );
}

#[tokio::test]
async fn the_image_must_fit_processor_ports_and_storage() {
    let mut arm = task();
    arm["runtimePlatform"] = json!({ "cpuArchitecture": "ARM64" });
    let of = found(CONFIG, &arm, &service(), |_| None).await;
    assert!(of.len() == 1 && of[0].starts_with("image-architecture Error the image is built for linux/amd64, but the task definition asks for ARM64"), "{of:#?}");

    let mut other = task();
    other["containerDefinitions"][0]["portMappings"][0]["containerPort"] = json!(3000);
    let mut there = service();
    there["loadBalancers"][0]["containerPort"] = json!(3000);
    let of = found(CONFIG, &other, &there, |_| None).await;
    assert!(
        of.len() == 1
            && of[0].starts_with(
                "exposed-port Warning the Dockerfile exposes port 8080, but the container maps 3000"
            ),
        "{of:#?}"
    );

    finds(
        "DescribeImages",
        200,
        json!({ "imageDetails": [{ "imageSizeInBytes": 9_000_000_000_u64 }] }),
        "image-size Warning the image that runs now needs about 25 GiB unpacked, and tasks have 20",
    )
    .await;
}

#[tokio::test]
async fn time_to_start_and_room_to_move_are_reckoned() {
    let mut slow = task();
    slow["containerDefinitions"][0]["healthCheck"] =
        json!({ "command": ["CMD", "/ok"], "startPeriod": 120 });
    let of = found(CONFIG, &slow, &service(), |_| None).await;
    assert!(
        of.len() == 1
            && of[0].starts_with("grace-period Warning the container web may take 120 s to start"),
        "{of:#?}"
    );

    let mut tight = service();
    tight["deploymentConfiguration"]["maximumPercent"] = json!(125);
    let of = found(CONFIG, &task(), &tight, |_| None).await;
    assert!(
        of.len() == 1 && of[0].ends_with("| set `maximumPercent` to 134 or more"),
        "{of:#?}"
    );

    // What an update does not name stays; what it turns off does not.
    for (word, findings) in [(None, 1), (Some("DISABLED"), 0)] {
        let mut full = service();
        full["deploymentConfiguration"]["minimumHealthyPercent"] = json!(50);
        full["deploymentConfiguration"]["maximumPercent"] = json!(100);
        if let Some(word) = word {
            full["availabilityZoneRebalancing"] = json!(word);
        }
        let of = found(CONFIG, &task(), &full, |asked| {
            let mut live = live();
            live["availabilityZoneRebalancing"] = json!("ENABLED");
            (asked == "DescribeServices").then(|| (200, json!({ "services": [live] })))
        })
        .await;
        assert_eq!(of.len(), findings, "{of:#?}");
        let told = |it: &String| {
            it.starts_with(
                "moving-room Error the service balances its tasks over Availability Zones",
            )
        };
        assert!(of.iter().all(told), "{of:#?}");
    }
}

#[test]
fn every_check_is_described_where_it_says() {
    let page = include_str!("../../../../docs/account-checks.md");
    for check in CHECKS {
        let wanted = format!("\n## {}\n\n{}.\n", check.id, check.sentence);
        assert!(
            page.contains(&wanted),
            "docs/account-checks.md lacks{wanted}"
        );
    }
}

#[tokio::test]
async fn rights_on_schedules_are_asked_for_only_where_there_are_some() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let with = format!(
        "{CONFIG}schedules: {{ nightly: {{ rule: night }}, report: {{ schedule: report, group: monthly }} }}\n"
    );
    for (config, wants) in [(CONFIG, false), (with.as_str(), true)] {
        let log = std::sync::Arc::clone(&asked);
        let found = found_by(config, &task(), &service(), move |operation, body| {
            if operation != "SimulatePrincipalPolicy" {
                return None;
            }
            let body = body.to_string();
            log.lock().unwrap().push_str(&body);
            let denied = json!({ "EvaluationResults": [{ "EvalActionName": "events:PutTargets",
                "EvalResourceName": "arn:aws:events:eu-central-1:1:rule/night", "EvalDecision": "implicitDeny" }] });
            body.contains("events:PutTargets").then_some((200, denied))
        })
        .await;
        let asked = asked.lock().unwrap();
        for part in [
            "events:PutTargets",
            "arn:aws:events:eu-central-1:1:rule/night",
            "scheduler:UpdateSchedule",
            "schedule/monthly/report",
        ] {
            assert_eq!(asked.contains(part), wants, "{part} in {asked}");
        }
        let denied =
            |one: &String| one.contains("do not allow events:PutTargets on arn:aws:events");
        assert_eq!(found.iter().any(denied), wants, "{found:#?}");
    }
}

#[tokio::test]
async fn an_express_service_that_is_to_be_made_is_held_to_what_it_has() {
    let mut task = task();
    task["containerDefinitions"][0]["name"] = json!("Main");
    let service = json!({
        "serviceName": "shop", "cluster": "prod", "infrastructureRoleArn": "arn:aws:iam::1:role/infrastructure",
        "networkConfiguration": { "subnets": ["subnet-1"], "securityGroups": ["sg-2"] },
    });
    let found = found(CONFIG, &task, &service, |asked| {
        (asked == "DescribeServices").then(|| (200, json!({ "services": [] })))
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("the security group sg-2 does not exist"),
        "{found:#?}"
    );
}
