//! What the short form stands for.

use std::fs;

use hoist_ecs::{Document, Surroundings, check_service_definition, check_task_definition};
use hoist_project::{Definitions, Project, Variables, schema};

fn definitions(text: &str, environment: Option<&str>) -> Definitions {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hoist.yaml"), text).unwrap();
    let project = Project::load_with(folder.path(), environment, &Variables::new()).unwrap();
    project.services[0].definitions("eu-central-1", None)
}

const SHORT: &str = "app: shop\nservices:\n  web: { port: 8080, cpu: 256, memory: 512, count: 2, health: /healthz }\n";

#[test]
fn the_short_form_stands_for_definitions_without_a_problem() {
    let found = definitions(SHORT, None);
    let (task, service) = (found.task.unwrap(), found.service.unwrap());
    assert_eq!(check_task_definition(&task), []);
    assert_eq!(check_service_definition(&service, &task), []);
}

#[test]
fn the_task_definition_of_the_short_form() {
    insta::assert_snapshot!(definitions(SHORT, None).task.unwrap().text(), @r#"
    {
      "family": "shop-web",
      "requiresCompatibilities": [
        "FARGATE"
      ],
      "networkMode": "awsvpc",
      "cpu": "256",
      "memory": "512",
      "runtimePlatform": {
        "cpuArchitecture": "X86_64",
        "operatingSystemFamily": "LINUX"
      },
      "executionRoleArn": "shop-execution",
      "containerDefinitions": [
        {
          "name": "web",
          "image": "shop:latest",
          "essential": true,
          "portMappings": [
            {
              "containerPort": 8080,
              "hostPort": 8080,
              "protocol": "tcp",
              "name": "web"
            }
          ],
          "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
              "awslogs-group": "/ecs/shop-web",
              "awslogs-region": "eu-central-1",
              "awslogs-stream-prefix": "web"
            }
          }
        }
      ]
    }
    "#);
}

#[test]
fn the_service_definition_of_the_short_form() {
    insta::assert_snapshot!(definitions(SHORT, None).service.unwrap().text(), @r#"
    {
      "serviceName": "shop-web",
      "cluster": "default",
      "launchType": "FARGATE",
      "platformVersion": "LATEST",
      "desiredCount": 2,
      "deploymentConfiguration": {
        "deploymentCircuitBreaker": {
          "enable": true,
          "rollback": true
        },
        "minimumHealthyPercent": 100,
        "maximumPercent": 200
      },
      "networkConfiguration": {
        "awsvpcConfiguration": {
          "subnets": [
            "shop-a",
            "shop-b"
          ],
          "securityGroups": [
            "shop"
          ],
          "assignPublicIp": "ENABLED"
        }
      },
      "loadBalancers": [
        {
          "targetGroupArn": "shop-web",
          "containerName": "web",
          "containerPort": 8080
        }
      ],
      "healthCheckGracePeriodSeconds": 0,
      "propagateTags": "SERVICE",
      "enableECSManagedTags": true,
      "enableExecuteCommand": false
    }
    "#);
}

#[test]
fn the_load_balancer_of_the_short_form_is_quick() {
    insta::assert_snapshot!(format!("{:#}", definitions(SHORT, None).load_balancer.unwrap().to_value()), @r#"
    {
      "LoadBalancer": {
        "Name": "shop-web",
        "Type": "application",
        "Scheme": "internet-facing",
        "IpAddressType": "ipv4"
      },
      "TargetGroup": {
        "Name": "shop-web",
        "Protocol": "HTTP",
        "Port": 8080,
        "TargetType": "ip",
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPath": "/healthz",
        "HealthCheckIntervalSeconds": 5,
        "HealthCheckTimeoutSeconds": 2,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 3,
        "Matcher": {
          "HttpCode": "200-399"
        }
      },
      "TargetGroupAttributes": [
        {
          "Key": "deregistration_delay.timeout_seconds",
          "Value": "5"
        }
      ],
      "Listener": {
        "Protocol": "HTTP",
        "Port": 80
      }
    }
    "#);
}

#[test]
fn an_environment_has_names_of_its_own() {
    let text = format!("{SHORT}environments: {{ production: }}\n");
    let found = definitions(&text, Some("production"));
    assert_eq!(found.task.unwrap().value()["family"], "shop-production-web");
    assert_eq!(
        found.service.unwrap().value()["serviceName"],
        "shop-production-web"
    );
    assert_eq!(
        found.load_balancer.unwrap().target_group["Name"],
        "shop-production-web"
    );
}

#[test]
fn a_worker_has_no_port_and_no_load_balancer() {
    let found = definitions("services:\n  jobs: { cpu: 512, command: ./work }\n", None);
    let (task, service) = (found.task.unwrap(), found.service.unwrap());
    assert!(found.load_balancer.is_none());
    assert!(
        task.value()["containerDefinitions"][0]
            .get("portMappings")
            .is_none()
    );
    assert_eq!(
        task.value()["memory"],
        "1024",
        "the least that goes with 512 units"
    );
    assert!(service.value().get("loadBalancers").is_none());
    assert_eq!(
        service.value()["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"],
        "DISABLED"
    );
    assert_eq!(check_service_definition(&service, &task), []);
}

#[test]
fn a_service_can_be_reached_at_its_public_address() {
    let found = definitions("services:\n  web: { port: 80, access: public-ip }\n", None);
    assert!(found.load_balancer.is_none());
    let service = found.service.unwrap();
    assert_eq!(
        service.value()["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"],
        "ENABLED"
    );
}

#[test]
fn identifiers_of_an_account_take_the_place_of_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hoist.yaml"), SHORT).unwrap();
    let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
    let around = Surroundings {
        execution_role: "arn:aws:iam::000000000000:role/x".to_owned(),
        subnets: vec!["subnet-1".to_owned()],
        security_groups: vec!["sg-1".to_owned()],
        target_group: "arn:tg".to_owned(),
    };
    let found = project.services[0].definitions("eu-central-1", Some(&around));
    assert_eq!(
        found.task.unwrap().value()["executionRoleArn"],
        "arn:aws:iam::000000000000:role/x"
    );
    assert_eq!(
        found.service.unwrap().value()["loadBalancers"][0]["targetGroupArn"],
        "arn:tg"
    );
}

#[test]
fn additions_and_the_image_are_put_over_a_verbatim_definition() {
    let folder = tempfile::tempdir().unwrap();
    let text = "services:\n  web: { task-definition: live, container: web, environment: { LOG: debug }, secrets: { KEY: /shop/key } }\n";
    fs::write(folder.path().join("hoist.yaml"), text).unwrap();
    let project = Project::load_with(folder.path(), None, &Variables::new()).unwrap();
    let live = Document::parse(
        "live.json",
        r#"{ "containerDefinitions": [{ "name": "web", "image": "old", "environment": [{ "name": "LOG", "value": "info" }] }, { "name": "x" }] }"#,
    );
    let put = project.services[0]
        .overlay(live.unwrap().value(), "repo@sha256:1")
        .unwrap();
    assert_eq!(
        put["containerDefinitions"][0].to_string(),
        r#"{"name":"web","image":"repo@sha256:1","environment":[{"name":"LOG","value":"debug"}],"secrets":[{"name":"KEY","valueFrom":"/shop/key"}]}"#
    );
}

#[test]
fn the_schema_describes_every_key_and_refuses_others() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["services"]));
    let keys: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for key in [
        "app",
        "region",
        "image",
        "mirrors",
        "services",
        "environments",
    ] {
        assert!(keys.contains(&key), "{keys:?}");
        assert!(
            schema["properties"][key]["description"].is_string(),
            "{key} has no description"
        );
    }
    let service = &schema["$defs"]["ServiceConfig"];
    assert_eq!(service["additionalProperties"], false);
    for (key, value) in service["properties"].as_object().unwrap() {
        assert!(value["description"].is_string(), "{key} has no description");
    }
    assert!(schema["$defs"]["Overlay"]["properties"]["environments"].is_null());
}

#[test]
fn the_reference_names_every_key_of_the_schema() {
    let page = include_str!("../../../../docs/configuration.md");
    let schema = schema();
    let mut objects = vec![&schema["properties"]];
    objects.extend(
        schema["$defs"]
            .as_object()
            .unwrap()
            .values()
            .map(|def| &def["properties"]),
    );
    for key in objects
        .into_iter()
        .filter_map(|object| object.as_object())
        .flat_map(|object| object.keys())
    {
        assert!(
            page.contains(&format!("`{key}`")),
            "docs/configuration.md does not name `{key}`"
        );
    }
}
