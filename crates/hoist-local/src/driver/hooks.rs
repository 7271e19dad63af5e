//! Lifecycle hooks: what stands for the Lambda function is an HTTP endpoint or a command, named in `hooks.json`.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use hoist_fargate::{Event, HookAnswer, Share, Traffic};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use super::crew::Crew;
use crate::home::Home;

/// A Lambda function runs at most so long (facts, "Blue/green, linear, canary").
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// When a function that says IN_PROGRESS is called again, unless it says so itself with `callBackDelay`.
const CALL_BACK: u64 = 30_000;
/// Names another file than `hooks.json` of the home.
const VARIABLE: &str = "HOIST_LOCAL_HOOKS";

/// What stands for a function.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Stand {
    /// An HTTP endpoint: the event is posted to it, its answer is the function's.
    Url(String),
    /// A command: it gets the event on standard input, and answers on standard output. Nothing printed means success if it exits
    /// with 0, else failure.
    Command(Vec<String>),
}

/// A hook that is to be called.
pub struct Due {
    pub service: String,
    pub service_deployment: String,
    pub revision: String,
    pub hook: String,
    pub target: String,
    pub stage: &'static str,
    pub details: Option<String>,
}

/// Calls a hook's function and reports what it answered.
pub async fn call(crew: &Crew, due: Due) {
    let event = event(crew, &due);
    let answered = match stand(&crew.ctx.home, &due.target) {
        Ok(stand) => tokio::time::timeout(LONGEST, ask(&stand, &event))
            .await
            .unwrap_or_else(|_| Err("it took longer than 15 minutes".to_owned())),
        Err(why) => Err(why),
    };
    let answer = match answered.map(|said| read(&said)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => broken(&due, &why, "parse the response from", "due to: "),
        Err(why) => broken(&due, &why, "invoke hook target", "due to "),
    };
    crew.tell(Event::HookAnswered {
        service: due.service,
        hook: due.hook,
        answer,
    });
}

/// What AWS says of a function that it cannot use, with our reason in the place of its own (developer guide, troubleshooting
/// blue/green deployments; the colon as a public log has it).
fn broken(due: &Due, why: &str, what: &str, due_to: &str) -> HookAnswer {
    let (function, stage) = (&due.target, due.stage);
    tracing::warn!(function, stage, why, "a lifecycle hook failed");
    HookAnswer::Broken(format!(
        "ECS was unable to {what} {function} {due_to}{why}."
    ))
}

/// The event of the function, as the real service sends it.
fn event(crew: &Crew, due: &Due) -> Value {
    let traffic = crew
        .ctx
        .driver
        .read(|world| world.service(&due.service).map(|it| it.traffic.clone()))
        .unwrap_or_default();
    let Traffic { production, test } = traffic;
    let mut event = json!({
        "executionDetails": {
            "testTrafficWeights": weights(&test),
            "productionTrafficWeights": weights(&production),
            "serviceArn": due.service,
            "targetServiceRevisionArn": due.revision,
        },
        "executionId": due.hook,
        "lifecycleStage": due.stage,
        "resourceArn": due.service_deployment,
    });
    let details = due.details.as_deref().map(serde_json::from_str::<Value>);
    if let Some(Ok(details)) = details {
        event["hookDetails"] = details;
    }
    event
}

fn weights(shares: &[Share]) -> Map<String, Value> {
    let per_cent = |it: &Share| json!(f64::from(it.tenths) / 10.0);
    shares
        .iter()
        .map(|it| (it.revision.clone(), per_cent(it)))
        .collect()
}

/// What stands for a function, by its ARN or its name.
fn stand(home: &Home, target: &str) -> Result<Stand, String> {
    let path = match std::env::var_os(VARIABLE) {
        Some(path) => path.into(),
        None => home.file("hooks.json"),
    };
    let bytes = std::fs::read(&path)
        .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    let stands: BTreeMap<String, Stand> = serde_json::from_slice(&bytes)
        .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    let name = target
        .split_once(":function:")
        .map_or(target, |(_, name)| name.split(':').next().unwrap_or(name));
    let found = stands.get(target).or_else(|| stands.get(name));
    found
        .cloned()
        .ok_or_else(|| format!("{} does not name {target}", path.display()))
}

async fn ask(stand: &Stand, event: &Value) -> Result<String, String> {
    match stand {
        Stand::Url(url) => {
            let said = |error: reqwest::Error| error.to_string();
            let client = hoist_oci::http_client().no_proxy().build().map_err(said)?;
            let request = client
                .post(url)
                .header("content-type", "application/json")
                .body(event.to_string());
            let response = request.send().await.map_err(said)?;
            if !response.status().is_success() {
                return Err(format!("{url} answered {}", response.status()));
            }
            response.text().await.map_err(said)
        }
        Stand::Command(words) => {
            let [program, arguments @ ..] = words.as_slice() else {
                return Err("the command is empty".to_owned());
            };
            let said = |error: std::io::Error| format!("failed to run {program}: {error}");
            let mut child = tokio::process::Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(said)?;
            if let Some(mut input) = child.stdin.take() {
                // A command that does not care what happened need not read it.
                let _ = input.write_all(event.to_string().as_bytes()).await;
            }
            let output = child.wait_with_output().await.map_err(said)?;
            if !output.status.success() {
                return Err(format!("{program} ended with {}", output.status));
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
    }
}

/// The answer of a function: `{"hookStatus": "SUCCEEDED" | "FAILED" | "IN_PROGRESS", "callBackDelay": SECONDS}`.
fn read(said: &str) -> Result<HookAnswer, String> {
    if said.is_empty() {
        return Ok(HookAnswer::Succeeded);
    }
    let answer: Value =
        serde_json::from_str(said).map_err(|_| format!("the answer {said:?} is no JSON"))?;
    match answer["hookStatus"].as_str() {
        Some("SUCCEEDED") => Ok(HookAnswer::Succeeded),
        Some("FAILED") => Ok(HookAnswer::Failed),
        Some("IN_PROGRESS") => {
            let seconds = answer["callBackDelay"].as_u64();
            let delay = seconds.map_or(CALL_BACK, |it| it.saturating_mul(1_000));
            Ok(HookAnswer::InProgress(delay))
        }
        // A public log: "due to: HookStatus must not be null."
        None => Err("HookStatus must not be null".to_owned()),
        Some(other) => Err(format!("{other} is no HookStatus")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_the_real_service_reads_them() {
        assert_eq!(
            read(r#"{"hookStatus":"SUCCEEDED"}"#),
            Ok(HookAnswer::Succeeded)
        );
        assert_eq!(read(r#"{"hookStatus":"FAILED"}"#), Ok(HookAnswer::Failed));
        assert_eq!(
            read(r#"{"hookStatus":"IN_PROGRESS"}"#),
            Ok(HookAnswer::InProgress(30_000))
        );
        assert_eq!(
            read(r#"{"hookStatus":"IN_PROGRESS","callBackDelay":2}"#),
            Ok(HookAnswer::InProgress(2_000))
        );
        assert_eq!(read(""), Ok(HookAnswer::Succeeded));
        assert!(read("true").is_err() && read("no").is_err());
    }

    #[test]
    fn a_function_is_found_by_its_arn_or_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        home.create().unwrap();
        std::fs::write(
            home.file("hooks.json"),
            r#"{"look": ["true"], "arn:aws:lambda:eu-central-1:000000000000:function:ask": "http://127.0.0.1:1/"}"#,
        )
        .unwrap();
        let arn = |name: &str| format!("arn:aws:lambda:eu-central-1:000000000000:function:{name}");
        assert_eq!(
            stand(&home, &arn("look:3")),
            Ok(Stand::Command(vec!["true".to_owned()]))
        );
        assert_eq!(
            stand(&home, &arn("ask")),
            Ok(Stand::Url("http://127.0.0.1:1/".to_owned()))
        );
        assert!(stand(&home, &arn("other")).is_err());
    }
}
