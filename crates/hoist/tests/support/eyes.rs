//! What AWS itself says, asked for without the program under test.

use hoist_aws::{Client, Config, Environment, Overrides, Service};
use serde_json::{Value, json};

use super::sandbox::Sandbox;

/// A client of the embedded AWS.
pub struct Eyes {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Eyes {
    /// Looks at the running daemon of a sandbox, whatever stands before it later on.
    pub fn on(sandbox: &Sandbox) -> Eyes {
        hoist_oci::install_tls();
        let variables = sandbox
            .aws_env()
            .into_iter()
            .map(|(name, value)| (name, value.trim_matches('\'').to_owned()));
        let environment = Environment::of(variables);
        let config = Config::load_from(environment, Overrides::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Eyes {
            client: Client::new(config).unwrap(),
            runtime,
        }
    }

    /// The answer of an operation of ECS.
    pub fn ask(&self, operation: &str, body: Value) -> Value {
        let asked = self.client.json(Service::Ecs, operation, body);
        self.runtime
            .block_on(asked)
            .unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// The items of that member of a list, of all its pages.
    fn list(&self, operation: &str, mut asked: Value, member: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut answer = self.ask(operation, asked.clone());
            let Value::Array(page) = answer[member].take() else {
                panic!("{answer}");
            };
            all.extend(page);
            if answer["nextToken"].is_null() {
                return all;
            }
            asked["nextToken"] = answer["nextToken"].take();
        }
    }

    /// How many revisions of a family there are.
    pub fn revisions(&self, family: &str) -> usize {
        let asked = json!({ "familyPrefix": family });
        self.list("ListTaskDefinitions", asked, "taskDefinitionArns")
            .len()
    }

    /// The service deployments of a service in the cluster `default`, the newest first.
    pub fn deployments(&self, service: &str) -> Vec<Value> {
        let asked = json!({ "service": service, "cluster": "default" });
        self.list("ListServiceDeployments", asked, "serviceDeployments")
    }

    /// What PRIMARY of a service in the cluster `default` runs: number of the revision, state of the rollout, running and desired tasks.
    pub fn primary(&self, service: &str) -> Primary {
        let asked = json!({ "services": [service], "cluster": "default" });
        let answer = self.ask("DescribeServices", asked);
        let service = &answer["services"][0];
        let all = service["deployments"].as_array().unwrap();
        let primary = all.iter().find(|it| it["status"] == "PRIMARY").unwrap();
        let definition = primary["taskDefinition"].as_str().unwrap();
        Primary {
            revision: definition.rsplit(':').next().unwrap().parse().unwrap(),
            state: primary["rolloutState"].as_str().unwrap().to_owned(),
            running: primary["runningCount"].as_u64().unwrap(),
            desired: service["desiredCount"].as_u64().unwrap(),
            others: all.len() - 1,
        }
    }
}

/// The PRIMARY deployment of a service.
#[derive(Debug)]
pub struct Primary {
    pub revision: usize,
    pub state: String,
    pub running: u64,
    pub desired: u64,
    /// Other deployments that still have tasks.
    pub others: usize,
}

impl Primary {
    /// Whether this revision alone serves.
    pub fn serves(&self, revision: usize) -> bool {
        self.revision == revision
            && self.state == "COMPLETED"
            && self.running == self.desired
            && self.others == 0
    }
}
