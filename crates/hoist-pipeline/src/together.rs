//! Several services watched at once: what their watchers ask for at the same moment goes out as one call.
//!
//! ECS describes ten services, twenty service deployments or a hundred tasks in one call, and lists the tasks of a whole cluster as cheaply
//! as those of one service. A watcher knows nothing of it: it asks for its own service, and gets the answer for its own service.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hoist_aws::{AwsError, Client, Service, read};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::observe::Asks;

/// How long a call waits for others of its kind. Watchers look at the same moments, so that they come together.
const GATHER: Duration = Duration::from_millis(30);
/// From so many services on, the tasks of a whole cluster are listed.
const MANY: usize = 4;
/// Tasks that one DescribeTasks call takes.
const TASKS_A_CALL: usize = 100;

/// A call that answers for several: the member that lists what is asked for, the most of them, and where each is named in the answer.
struct Kind {
    names: &'static str,
    most: usize,
    results: &'static str,
    known_by: [&'static str; 2],
}

/// Source of the limits: botocore 1.44.5, `ecs/2014-11-13/service-2.json`, the requests' documentation.
fn kind(operation: &str) -> Option<Kind> {
    let (names, most, results, known_by) = match operation {
        "DescribeServices" => ("services", 10, "services", ["serviceName", "serviceArn"]),
        "DescribeServiceDeployments" => (
            "serviceDeploymentArns",
            20,
            "serviceDeployments",
            ["serviceDeploymentArn", ""],
        ),
        "DescribeServiceRevisions" => (
            "serviceRevisionArns",
            20,
            "serviceRevisions",
            ["serviceRevisionArn", ""],
        ),
        "DescribeTasks" => ("tasks", TASKS_A_CALL, "tasks", ["taskArn", ""]),
        _ => return None,
    };
    Some(Kind {
        names,
        most,
        results,
        known_by,
    })
}

/// A watcher that waits for its part of an answer.
struct Waiting {
    body: Value,
    answer: oneshot::Sender<Result<Value, AwsError>>,
}

/// Calls with the same operation, and the same of everything that is not a name.
type Key = (&'static str, String);

struct Inner {
    client: Client,
    watching: AtomicUsize,
    waiting: Mutex<HashMap<Key, Vec<Waiting>>>,
    /// The group of each task that was listed: it never changes.
    groups: Mutex<BTreeMap<String, String>>,
}

/// A client that watchers share. Cloning is cheap.
#[derive(Clone)]
pub struct Together {
    inner: Arc<Inner>,
}

/// One who watches; ends with its value.
pub struct Watcher {
    inner: Arc<Inner>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inner.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Together {
    /// Watchers are to share this client.
    pub fn new(client: Client) -> Together {
        Together {
            inner: Arc::new(Inner {
                client,
                watching: AtomicUsize::new(0),
                waiting: Mutex::default(),
                groups: Mutex::default(),
            }),
        }
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// One more watches, until the value is dropped.
    pub fn watch(&self) -> Watcher {
        self.inner.watching.fetch_add(1, Ordering::Relaxed);
        Watcher {
            inner: Arc::clone(&self.inner),
        }
    }

    /// Puts a call with others of its kind; `None` where it goes alone.
    fn join(
        &self,
        operation: &'static str,
        body: &Value,
    ) -> Option<oneshot::Receiver<Result<Value, AwsError>>> {
        let watching = self.watching();
        let mut rest = body.clone();
        let rest_of = rest.as_object_mut()?;
        if operation == "ListTasks" {
            if watching < MANY || body["nextToken"].is_string() || !body["serviceName"].is_string()
            {
                return None;
            }
            rest_of.remove("serviceName");
        } else {
            let kind = kind(operation)?;
            let names = rest_of.remove(kind.names)?;
            if watching < 2 || names.as_array().is_none_or(|all| all.len() > kind.most) {
                return None;
            }
        }
        let (answer, receiver) = oneshot::channel();
        let key = (operation, rest.to_string());
        let body = body.clone();
        let mut waiting = self.inner.waiting();
        let queue = waiting.entry(key.clone()).or_default();
        queue.push(Waiting { body, answer });
        if queue.len() == 1 {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                inner.send(key, rest).await;
            });
        }
        Some(receiver)
    }
}

impl Asks for Together {
    async fn json(
        &self,
        service: Service,
        operation: &'static str,
        body: Value,
    ) -> Result<Value, AwsError> {
        if service == Service::Ecs
            && let Some(answer) = self.join(operation, &body)
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        self.inner.client.json(service, operation, body).await
    }

    async fn query(
        &self,
        service: Service,
        action: &'static str,
        params: Value,
    ) -> Result<Value, AwsError> {
        self.inner.client.query(service, action, &params).await
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn watching(&self) -> usize {
        self.inner.watching.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what has gathered, in as few calls as can be.
    async fn send(self: Arc<Self>, key: Key, rest: Value) {
        let all = self.waiting().remove(&key).unwrap_or_default();
        let (operation, _) = key;
        let Some(kind) = kind(operation) else {
            return self.list(all, rest).await;
        };
        let mut part: Vec<Waiting> = Vec::new();
        let mut count = 0;
        for one in all {
            let names = names_of(&one.body, &kind).len();
            if count + names > kind.most {
                let full = std::mem::take(&mut part);
                tokio::spawn(Arc::clone(&self).describe(operation, full, rest.clone()));
                count = 0;
            }
            count += names;
            part.push(one);
        }
        self.describe(operation, part, rest).await;
    }

    /// One call for all of `part`, and to each its part of the answer.
    async fn describe(self: Arc<Self>, operation: &'static str, part: Vec<Waiting>, rest: Value) {
        let Some(kind) = kind(operation) else { return };
        let mut request = rest;
        let mut names: Vec<&str> = part
            .iter()
            .flat_map(|one| names_of(&one.body, &kind))
            .collect();
        names.sort_unstable();
        names.dedup();
        request[kind.names] = json!(names);
        match self.client.json(Service::Ecs, operation, request).await {
            Ok(answer) => {
                for one in part {
                    let own = part_of(&answer, &names_of(&one.body, &kind), &kind);
                    // Who no longer waits needs no answer.
                    let _ = one.answer.send(Ok(own));
                }
            }
            // What is refused for one must not be refused for all.
            Err(error) if part.len() > 1 && !error.is_transient() => {
                self.each(operation, part).await;
            }
            Err(error) => share(part, &error),
        }
    }

    /// Each call on its own.
    async fn each(&self, operation: &'static str, part: Vec<Waiting>) {
        for one in part {
            let answer = self.client.json(Service::Ecs, operation, one.body).await;
            let _ = one.answer.send(answer);
        }
    }

    /// The tasks of the whole cluster, and to each those of its service; each its own where the cluster holds far more than is watched.
    async fn list(&self, part: Vec<Waiting>, rest: Value) {
        let listed = self.list_cluster(part.len(), &rest).await;
        match listed {
            Ok(Some(arns)) => {
                let groups = self.groups();
                for one in part {
                    let name = read::text(&one.body, "serviceName");
                    let group = format!("service:{}", name.rsplit('/').next().unwrap_or(name));
                    let own: Vec<&String> = arns
                        .iter()
                        .filter(|arn| groups.get(*arn) == Some(&group))
                        .collect();
                    let _ = one.answer.send(Ok(json!({ "taskArns": own })));
                }
            }
            Ok(None) => self.each("ListTasks", part).await,
            Err(error) if !error.is_transient() => self.each("ListTasks", part).await,
            Err(error) => share(part, &error),
        }
    }

    /// The tasks of a cluster, whose groups are known then; `None` if they are too many for `services` services.
    async fn list_cluster(
        &self,
        services: usize,
        rest: &Value,
    ) -> Result<Option<Vec<String>>, AwsError> {
        let mut arns: Vec<String> = Vec::new();
        let mut request = rest.clone();
        let mut pages = 0;
        loop {
            let mut listed = self
                .client
                .json(Service::Ecs, "ListTasks", request.clone())
                .await?;
            arns.extend(
                read::list(&listed, "taskArns")
                    .filter_map(Value::as_str)
                    .map(str::to_owned),
            );
            pages += 1;
            let next = listed["nextToken"].take();
            if !next.is_string() {
                break;
            }
            if pages >= services {
                return Ok(None);
            }
            request["nextToken"] = next;
        }
        let unknown: Vec<String> = {
            let groups = self.groups();
            arns.iter()
                .filter(|arn| !groups.contains_key(*arn))
                .cloned()
                .collect()
        };
        for some in unknown.chunks(TASKS_A_CALL) {
            let request = json!({ "cluster": rest["cluster"], "tasks": some });
            let described = self
                .client
                .json(Service::Ecs, "DescribeTasks", request)
                .await?;
            let mut groups = self.groups();
            for task in read::list(&described, "tasks") {
                let group = read::text(task, "group").to_owned();
                groups.insert(read::text(task, "taskArn").to_owned(), group);
            }
        }
        Ok(Some(arns))
    }
}

fn names_of<'a>(body: &'a Value, kind: &Kind) -> Vec<&'a str> {
    read::list(body, kind.names)
        .filter_map(Value::as_str)
        .collect()
}

/// What of an answer is about these names, and what failed of them.
fn part_of(answer: &Value, names: &[&str], kind: &Kind) -> Value {
    let is_ours = |one: &&Value| {
        kind.known_by
            .iter()
            .any(|member| one[*member].as_str().is_some_and(|it| names.contains(&it)))
    };
    let results: Vec<&Value> = read::list(answer, kind.results).filter(is_ours).collect();
    // A failure names the ARN, also of what was asked for by its name.
    let failed = |one: &&Value| {
        let arn = read::text(one, "arn");
        let last = arn.rsplit('/').next().unwrap_or(arn);
        names.iter().any(|name| *name == arn || *name == last)
    };
    let failures: Vec<&Value> = read::list(answer, "failures").filter(failed).collect();
    json!({ kind.results: results, "failures": failures })
}

fn share(part: Vec<Waiting>, error: &AwsError) {
    for one in part {
        let _ = one.answer.send(Err(error.again()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{self, Boxed};
    use crate::testing::{Endpoint, refusal};

    /// Describes 23 services at once. Returns the answers.
    async fn all_at_once(endpoint: &Endpoint) -> Vec<Result<Value, AwsError>> {
        let together = Together::new(endpoint.client.clone());
        let watchers: Vec<Watcher> = (0..23).map(|_| together.watch()).collect();
        let calls = (0..23)
            .map(|nth| -> Boxed<'_, _> {
                let body = json!({ "cluster": "c", "services": [format!("s{nth}")] });
                Box::pin(together.json(Service::Ecs, "DescribeServices", body))
            })
            .collect();
        let answers = parallel::all(100, calls).await;
        drop(watchers);
        assert_eq!(together.watching(), 0);
        answers
    }

    #[tokio::test]
    async fn ten_services_are_one_call_and_each_gets_its_own() {
        let endpoint = Endpoint::answering(|_, body, _| {
            let names = body["services"].as_array().unwrap();
            let (gone, there): (Vec<&Value>, Vec<&Value>) =
                names.iter().partition(|name| **name == "s7");
            let there: Vec<Value> = there
                .iter()
                .map(|it| json!({ "serviceName": it }))
                .collect();
            let gone: Vec<Value> = gone
                .iter()
                .map(|_| json!({ "arn": "arn:aws:ecs:r:1:service/c/s7", "reason": "MISSING" }))
                .collect();
            (200, json!({ "services": there, "failures": gone }))
        })
        .await;
        let answers = all_at_once(&endpoint).await;
        assert_eq!(endpoint.asked("DescribeServices").len(), 3);
        for (nth, answer) in answers.into_iter().enumerate() {
            let answer = answer.unwrap();
            if nth == 7 {
                assert_eq!(answer["failures"].as_array().unwrap().len(), 1);
                assert_eq!(answer["services"], json!([]));
            } else {
                let own = json!([{ "serviceName": format!("s{nth}") }]);
                assert_eq!(
                    (&answer["services"], &answer["failures"]),
                    (&own, &json!([]))
                );
            }
        }
    }

    #[tokio::test]
    async fn what_is_refused_for_one_is_not_refused_for_all() {
        let endpoint = Endpoint::answering(|_, body, _| {
            let names = body["services"].as_array().unwrap();
            if names.iter().any(|name| name == "s7") {
                return refusal(400, "AccessDeniedException", "not s7");
            }
            let all: Vec<Value> = names
                .iter()
                .map(|it| json!({ "serviceName": it }))
                .collect();
            (200, json!({ "services": all }))
        })
        .await;
        let answers = all_at_once(&endpoint).await;
        let refused: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter_map(|(nth, answer)| answer.is_err().then_some(nth))
            .collect();
        assert_eq!(refused, [7]);
    }

    #[tokio::test]
    async fn the_tasks_of_a_cluster_are_listed_once_for_all_its_services() {
        let endpoint = Endpoint::answering(|operation, body, _| {
            let arn = |nth: usize| format!("arn:task/t{nth}");
            let answer = match operation {
                "ListTasks" => json!({ "taskArns": (0..9).map(arn).collect::<Vec<_>>() }),
                _ => {
                    let asked = body["tasks"].as_array().unwrap();
                    let tasks: Vec<Value> = asked
                        .iter()
                        .map(|it| {
                            let nth: usize = it.as_str().unwrap()[10..].parse().unwrap();
                            json!({ "taskArn": it, "group": format!("service:s{}", nth % 5) })
                        })
                        .collect();
                    json!({ "tasks": tasks })
                }
            };
            (200, answer)
        })
        .await;
        let together = Together::new(endpoint.client.clone());
        let _watchers: Vec<Watcher> = (0..5).map(|_| together.watch()).collect();
        let calls = (0..5)
            .map(|nth| -> Boxed<'_, _> {
                let body = json!({ "cluster": "c", "serviceName": format!("s{nth}"), "desiredStatus": "RUNNING" });
                Box::pin(together.json(Service::Ecs, "ListTasks", body))
            })
            .collect();
        let answers = parallel::all(10, calls).await;
        assert_eq!(endpoint.asked("ListTasks").len(), 1);
        let third = answers[3].as_ref().unwrap();
        assert_eq!(third["taskArns"], json!(["arn:task/t3", "arn:task/t8"]));
        let fourth = answers[4].as_ref().unwrap();
        assert_eq!(fourth["taskArns"], json!(["arn:task/t4"]));
    }
}
