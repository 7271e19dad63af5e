//! The calls of a deployment against moto, an implementation of AWS that nobody here wrote. It runs no container and progresses no
//! rollout; everything before that it can follow.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hoist_aws::{Client, Config, Environment, Overrides, Service, StaticCredentials};
use serde_json::json;

use crate::event::Events;
use crate::provision::{Wanted, provision};
use crate::{ecr, register, service, url};

struct Moto {
    child: Child,
    client: Client,
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
        let moto = Moto { child, client };
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
    service::create(aws, "default", "shop-web", &definition, &first.arn, None)
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
