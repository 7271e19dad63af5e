//! The calls of a deployment against moto, an implementation of AWS that nobody here wrote. It runs no container and progresses no
//! rollout; everything before that it can follow.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hoist_aws::{Client, Config, Environment, Overrides, Service, StaticCredentials};
use serde_json::json;

use crate::bootstrap::{State, Trust, Wish, bootstrap};
use crate::cancel::cancellation;
use crate::event::Events;
use crate::failure::Kind;
use crate::provision::{Wanted, provision};
use crate::schedules::{self, Fresh};
use crate::{codedeploy, ecr, register, resolve, service, url, work};

struct Moto {
    child: Child,
    client: Client,
    url: String,
}

impl Moto {
    fn start() -> Moto {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let tools =
            std::env::var("HOIST_TEST_TOOLS").unwrap_or_else(|_| format!("{root}/target/tools"));
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(format!("{tools}/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // Without it moto knows none of the policies that AWS manages.
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server is installed by scripts/install-test-tools.sh");
        hoist_oci::install_tls();
        let overrides = Overrides {
            region: Some("eu-central-1".into()),
            endpoint_url: Some(format!("http://127.0.0.1:{port}")),
            credentials: Some(StaticCredentials {
                access_key_id: "AKIAEXAMPLE".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            }),
            ..Overrides::default()
        };
        let client =
            Client::new(Config::load_from(Environment::default(), overrides).unwrap()).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let moto = Moto { child, client, url };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "moto does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn moto_takes_every_call_of_a_deployment_and_an_unchanged_one_registers_nothing() {
    let moto = Moto::start();
    let aws = &moto.client;
    let events = Events::new(Vec::new());

    assert!(ecr::find(aws, "shop").await.unwrap().is_none());
    let repository = ecr::create(aws, "shop", "shop", true, &events)
        .await
        .unwrap();
    assert!(
        repository
            .uri
            .ends_with(".dkr.ecr.eu-central-1.amazonaws.com/shop"),
        "{}",
        repository.uri
    );
    assert_eq!(
        ecr::find(aws, "shop").await.unwrap().unwrap().uri,
        repository.uri
    );

    let mut task = json!({
        "family": "shop-web",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
        "executionRoleArn": "shop-execution",
        "containerDefinitions": [{
            "name": "web",
            "image": format!("{}@sha256:{}", repository.uri, "0".repeat(64)),
            "essential": true,
            "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }],
            "logConfiguration": { "logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/shop-web", "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "web" } },
        }],
    });
    let mut definition = json!({
        "launchType": "FARGATE",
        "desiredCount": 2,
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["shop-a"], "assignPublicIp": "ENABLED" } },
        "loadBalancers": [{ "targetGroupArn": "shop-web", "containerName": "web", "containerPort": 8080 }],
    });
    let group = json!({
        "Name": "shop-web", "Protocol": "HTTP", "Port": 8080, "TargetType": "ip", "HealthCheckPath": "/healthz",
        "HealthCheckIntervalSeconds": 5, "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": "5" }],
    });
    let mut made = Vec::new();
    for _ in 0..2 {
        let wanted = Wanted {
            app: "shop",
            service: "shop-web",
            cluster: "default",
            task_definition: &mut task,
            service_definition: &mut definition,
            target_group: Some(&group),
        };
        made.push(provision(aws, wanted, &events).await.unwrap());
    }
    // Cluster, role, log group, target group, load balancer, listener; then nothing more.
    assert_eq!(made, [6, 0]);

    let first = register::register(aws, &task, None, &[], &events)
        .await
        .unwrap();
    assert!(
        first.fresh && first.arn.ends_with("task-definition/shop-web:1"),
        "{}",
        first.arn
    );
    let again = register::register(aws, &task, Some(&first.arn), &[], &events)
        .await
        .unwrap();
    assert_eq!(
        (again.arn.as_str(), again.fresh),
        (first.arn.as_str(), false)
    );
    task["containerDefinitions"][0]["image"] =
        json!(format!("{}@sha256:{}", repository.uri, "1".repeat(64)));
    let second = register::register(aws, &task, Some(&first.arn), &[], &events)
        .await
        .unwrap();
    assert!(second.fresh && second.arn.ends_with(":2"), "{}", second.arn);

    assert!(
        service::describe(aws, "default", "shop-web")
            .await
            .unwrap()
            .is_none()
    );
    service::create(
        aws,
        "default",
        "shop-web",
        &definition,
        &first.arn,
        None,
        "hoist-1",
    )
    .await
    .unwrap();
    let live = service::describe(aws, "default", "shop-web")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(live["desiredCount"], 2);
    assert_eq!(
        service::in_flight(aws, "default", "shop-web")
            .await
            .unwrap()
            .map(|flying| flying.arn),
        None
    );
    let wanted = service::Move {
        task_definition: second.arn.clone(),
        changes: Vec::new(),
        count: None,
        force: false,
    };
    service::update(aws, "default", &live, wanted)
        .await
        .unwrap();
    let live = service::describe(aws, "default", "shop-web")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(live["taskDefinition"], second.arn.as_str());
    assert_eq!(
        live["desiredCount"], 2,
        "a deployment leaves the count as it is"
    );

    let found = url::find(aws, &live).await.unwrap().unwrap();
    let balancers = aws
        .query(Service::Elbv2, "DescribeLoadBalancers", &json!({}))
        .await
        .unwrap();
    assert_eq!(
        found.url,
        format!(
            "http://{}/",
            balancers["LoadBalancers"][0]["DNSName"].as_str().unwrap()
        )
    );
}

fn project(text: &str) -> hoist_project::Project {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hoist.yaml"), text).unwrap();
    hoist_project::Project::load_with(folder.path(), None, &hoist_project::Variables::new())
        .unwrap()
}

#[tokio::test]
async fn moto_has_what_a_first_deployment_needs_after_bootstrap_and_its_schedules_move() {
    let moto = Moto::start();
    let aws = &moto.client;
    let project = project(
        "app: shop
services: { web: { port: 8080, health: /healthz, exec: true, task-role: shop-task, secrets: { TOKEN: /shop/token } } }
schedules: { nightly: { rule: night }, report: { schedule: report } }
",
    );
    let mut wish = Wish {
        make: false,
        trust: Some(Trust {
            repository: "acme/shop".into(),
            branch: "main".into(),
            environment: None,
        }),
    };
    let events = Events::new(Vec::new());
    let lacks = async || {
        let mut work = work::works(&project, "eu-central-1", &[])
            .unwrap()
            .remove(0);
        resolve::resolve(aws, &mut work, None, &events).await.err()
    };
    assert!(lacks().await.is_some());
    let planned = bootstrap(aws, &project, &wish).await.unwrap();
    assert!(planned.absent() > 10 && planned.lacking() == 0, "{planned}");
    wish.make = true;
    let made = bootstrap(aws, &project, &wish).await.unwrap();
    assert_eq!(made.absent(), 0, "{made}");
    assert!(lacks().await.is_none());
    wish.make = false;
    let again = bootstrap(aws, &project, &wish).await.unwrap();
    // moto gives the service-linked role another name than AWS does.
    let absent: Vec<&str> = again
        .items
        .iter()
        .filter(|item| item.state != State::There)
        .map(|item| item.what.as_str())
        .filter(|what| !what.contains("AWSServiceRoleForECS"))
        .collect();
    assert!(absent.is_empty(), "{again}");
    assert!(again.role.unwrap().ends_with(":role/shop-deploy"));

    let ecs = async |operation: &'static str, body| {
        aws.json(Service::Ecs, operation, body).await.unwrap()
    };
    let registered = ecs(
        "RegisterTaskDefinition",
        json!({ "family": "job", "containerDefinitions": [{ "name": "job", "image": "r/shop@sha256:old", "memory": 128 }] }),
    )
    .await;
    let first = registered["taskDefinition"]["taskDefinitionArn"].clone();
    let parameters = json!({ "TaskDefinitionArn": first, "TaskCount": 1 });
    let target = json!({ "Id": "1", "Arn": "arn:aws:ecs:eu-central-1:123456789012:cluster/default",
        "RoleArn": "arn:aws:iam::123456789012:role/x", "EcsParameters": parameters });
    for (operation, body) in [
        (
            "PutRule",
            json!({ "Name": "night", "ScheduleExpression": "rate(1 day)" }),
        ),
        (
            "PutTargets",
            json!({ "Rule": "night", "Targets": [target] }),
        ),
    ] {
        aws.json(Service::Events, operation, body).await.unwrap();
    }
    let mut own = target.clone();
    own.as_object_mut().unwrap().remove("Id");
    let schedule = json!({ "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": { "Mode": "OFF" }, "Target": own,
        "Description": "kept" });
    let made = reqwest::Client::new()
        .post(format!("{}/schedules/report", moto.url))
        .header("authorization", "AWS4-HMAC-SHA256 Credential=a/20261123/eu-central-1/scheduler/aws4_request, SignedHeaders=host, Signature=0")
        .body(schedule.to_string())
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    // Now that the schedules are there, the role may change them, and pass what they start tasks with.
    wish.make = true;
    bootstrap(aws, &project, &wish).await.unwrap();
    let request = json!({ "RoleName": "shop-deploy", "PolicyName": "hoist-deploy" });
    let kept = aws
        .query(Service::Iam, "GetRolePolicy", &request)
        .await
        .unwrap();
    let policy = kept["PolicyDocument"].as_str().unwrap();
    for part in [
        "events:PutTargets",
        "rule/night",
        "scheduler:UpdateSchedule",
        "schedule/default/report",
        "role/x",
    ] {
        let encoded = part.replace(':', "%3A").replace('/', "%2F");
        assert!(
            policy.contains(part) || policy.contains(&encoded),
            "no {part} in {policy}"
        );
    }
    let fresh = Fresh {
        image: Some("r/shop@sha256:new"),
        tags: &[],
        revisions: Vec::new(),
        whole: true,
        begins: true,
    };
    schedules::check(aws, &project.schedules, &fresh)
        .await
        .unwrap();
    for one in &project.schedules {
        let moved = schedules::move_on(aws, one, &fresh, &events, &|_| Ok(()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(moved.before, first.as_str().unwrap());
        let runs = schedules::look(aws, one).await.unwrap().task_definition;
        assert_ne!(runs, moved.before);
        let described = crate::back::describe(aws, &runs).await.unwrap();
        assert_eq!(
            described["containerDefinitions"][0]["image"],
            "r/shop@sha256:new"
        );
        schedules::put_back(aws, &moved).await.unwrap();
        let runs = schedules::look(aws, one).await.unwrap().task_definition;
        assert_eq!(runs, moved.before);
    }
    let kept = aws
        .json(
            Service::Scheduler,
            "GetSchedule",
            json!({ "Name": "report" }),
        )
        .await
        .unwrap();
    assert_eq!(kept["Description"], "kept");
    assert_eq!(kept["ScheduleExpression"], "rate(1 hour)");
}

#[tokio::test]
async fn moto_takes_the_calls_of_a_codedeploy_deployment_and_its_mark_is_found_again() {
    let moto = Moto::start();
    let aws = &moto.client;
    let ecs = async |operation: &'static str, body| {
        aws.json(Service::Ecs, operation, body).await.unwrap()
    };
    ecs("CreateCluster", json!({ "clusterName": "prod" })).await;
    let registered = ecs(
        "RegisterTaskDefinition",
        json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "shop", "memory": 128 }] }),
    )
    .await;
    let revision = registered["taskDefinition"]["taskDefinitionArn"]
        .as_str()
        .unwrap();
    let group = aws
        .query(
            Service::Elbv2,
            "CreateTargetGroup",
            &json!({ "Name": "blue", "Protocol": "HTTP", "Port": 8080, "TargetType": "ip", "VpcId": vpc(aws).await }),
        )
        .await
        .unwrap();
    let group = &group["TargetGroups"][0]["TargetGroupArn"];
    ecs(
        "CreateService",
        json!({ "cluster": "prod", "serviceName": "web", "taskDefinition": revision, "desiredCount": 1,
            "deploymentController": { "type": "CODE_DEPLOY" },
            "loadBalancers": [{ "targetGroupArn": group, "containerName": "web", "containerPort": 8080 }] }),
    )
    .await;
    let live = service::describe(aws, "prod", "web")
        .await
        .unwrap()
        .unwrap();
    assert!(codedeploy::owns(&live));
    let events = Events::new(Vec::new());
    let (_canceller, cancel) = cancellation();
    let deploy = async |is_asked| {
        let blue = codedeploy::Blue {
            aws,
            cluster: "prod",
            live: &live,
            revision,
            config: None,
            mark: "hoist-0123456789abcdef",
            is_asked,
            pause: Duration::from_millis(10),
            timeout: Duration::from_millis(200),
        };
        blue.carry(&cancel, &events).await.unwrap_err()
    };
    // Neither application nor deployment group is there, then only the group is not.
    assert_eq!(deploy(false).await.kind, Kind::Check);
    let make = async |operation: &'static str, body| {
        let made = aws.json(Service::CodeDeploy, operation, body).await;
        made.unwrap();
    };
    make(
        "CreateApplication",
        json!({ "applicationName": "AppECS-prod-web", "computePlatform": "ECS" }),
    )
    .await;
    let failure = deploy(false).await;
    assert_eq!(failure.kind, Kind::Check);
    assert!(failure.message.contains("DgpECS-prod-web"), "{failure}");
    make(
        "CreateDeploymentGroup",
        json!({ "applicationName": "AppECS-prod-web", "deploymentGroupName": "DgpECS-prod-web",
            "serviceRoleArn": "arn:aws:iam::123456789012:role/deploy",
            "deploymentStyle": { "deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL" },
            "ecsServices": [{ "clusterName": "prod", "serviceName": "web" }] }),
    )
    .await;
    // moto makes the deployment, and moves nothing.
    let made = async || {
        let request = json!({ "applicationName": "AppECS-prod-web", "deploymentGroupName": "DgpECS-prod-web" });
        let listed = aws.json(Service::CodeDeploy, "ListDeployments", request);
        let listed = listed.await.unwrap();
        listed["deployments"].as_array().unwrap().clone()
    };
    let failure = deploy(false).await;
    assert_eq!(failure.kind, Kind::TimedOut, "{failure}");
    let all = made().await;
    assert_eq!(all.len(), 1);
    let request = json!({ "deploymentId": all[0] });
    let got = aws.json(Service::CodeDeploy, "GetDeployment", request);
    let got = got.await.unwrap();
    let info = &got["deploymentInfo"];
    assert_eq!(info["description"], "hoist-0123456789abcdef");
    let content = info["revision"]["appSpecContent"]["content"]
        .as_str()
        .unwrap();
    let appspec: serde_json::Value = serde_json::from_str(content).unwrap();
    let target = &appspec["Resources"][0]["TargetService"]["Properties"];
    assert_eq!(target["TaskDefinition"], revision);
    // A run that goes on with one that was killed follows that deployment, and makes no second one.
    let failure = deploy(true).await;
    assert_eq!(failure.kind, Kind::TimedOut, "{failure}");
    assert_eq!(made().await, all);
}

async fn vpc(aws: &Client) -> serde_json::Value {
    let mut answer = aws
        .query(Service::Ec2, "DescribeVpcs", &json!({}))
        .await
        .unwrap();
    answer["vpcSet"][0]["vpcId"].take()
}
