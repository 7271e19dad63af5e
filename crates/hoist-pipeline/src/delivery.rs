//! One event for each deployment, from which the DORA figures are counted: how often, how long from commit to production, how many failed,
//! how long until it was mended.
//!
//! The shape is that of CDEvents 0.4 (<https://cdevents.dev>) in a structured CloudEvent 1.0; what the figures need besides is in
//! `customData`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::journal::{Entry, What};
use crate::table::tail;
use crate::telemetry::{Place, Variables, headers};

/// Where the events go, from `HOIST_EVENTS` (a URL or a file) and `HOIST_EVENTS_HEADERS`; `None` where nobody asked for them.
pub fn place(variables: Variables<'_>) -> Option<Place> {
    Some(Place {
        place: variables("HOIST_EVENTS")?,
        headers: headers(&variables("HOIST_EVENTS_HEADERS").unwrap_or_default()),
    })
}

/// The event of a run; `None` for one that never asked ECS for a deployment.
pub fn event(entries: &[Entry]) -> Option<Value> {
    let run = &entries.first()?.run;
    let (mut app, mut target, mut source) = (String::new(), String::new(), String::new());
    let (mut commit, mut committed, mut image) = (None, None, None);
    let (mut back, mut created) = (false, true);
    let (mut outcome, mut summary) = ("killed", "");
    let mut services = Vec::new();
    let mut asked = None;
    for entry in entries {
        match &entry.what {
            What::Started {
                app: of,
                target: to,
                source: from,
                commit: hash,
                committed: at,
                back: wanted,
            } => {
                app.clone_from(of);
                target.clone_from(to);
                source.clone_from(from);
                commit.clone_from(hash);
                committed.clone_from(at);
                back = *wanted;
            }
            What::Pushed { image: reference } => image = Some(reference.clone()),
            What::Deploying {
                cluster,
                service,
                task_definition,
                created: new,
            } => {
                asked.get_or_insert(entry.at.as_str());
                created &= new;
                services.push(json!({
                    "cluster": tail(cluster), "service": service, "taskDefinition": tail(task_definition),
                }));
            }
            What::Ended {
                outcome: ended,
                summary: words,
            } => {
                outcome = ended;
                summary = words;
            }
            _ => {}
        }
    }
    let asked = asked?;
    let ended = &entries.last()?.at;
    let kind = match outcome {
        "done" if back => "service.rolledback",
        "done" if created => "service.deployed",
        "done" => "service.upgraded",
        "failed and rolled back" => "service.rolledback",
        _ => "incident.detected",
    };
    let kind = format!("dev.cdevents.{kind}.0.2.0");
    let between = |from: &str, to: &str| {
        let seconds = |at: &str| at.parse::<Timestamp>().ok().map(Timestamp::as_second);
        Some(seconds(to)? - seconds(from)?)
    };
    let lead = committed
        .as_deref()
        .filter(|_| outcome == "done")
        .and_then(|at| between(at, ended));
    let origin = format!("/hoist/{app}");
    let mut content = json!({ "environment": { "id": target } });
    if kind.contains(".service.") {
        content["artifactId"] = json!(image);
    } else {
        content["description"] = json!(summary);
        content["service"] = json!({ "id": app });
    }
    let subject = match kind.contains(".incident.") {
        true => format!("incident/{run}"),
        false => format!("service/{app}"),
    };
    let data = json!({
        "context": { "version": "0.4.1", "id": run, "source": origin, "type": kind, "timestamp": ended },
        "subject": { "id": subject, "source": origin, "content": content },
        "customData": {
            "app": app,
            "environment": target,
            "source": source,
            "outcome": outcome,
            "summary": summary,
            "changeFailed": outcome != "done",
            "rollback": back,
            "commit": commit,
            "committedAt": committed,
            "startedAt": entries.first()?.at,
            "deployedAt": asked,
            "finishedAt": ended,
            "leadTimeSeconds": lead,
            "durationSeconds": between(&entries.first()?.at, ended),
            "image": image,
            "services": services,
        },
        "customDataContentType": "application/json",
    });
    Some(json!({
        "specversion": "1.0",
        "id": run,
        "source": origin,
        "type": kind,
        "subject": subject,
        "time": ended,
        "datacontenttype": "application/json",
        "data": data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(outcome: &str, created: bool, back: bool) -> Vec<Entry> {
        let entry = |at: &str, what| Entry {
            at: at.to_owned(),
            run: "r".to_owned(),
            what,
        };
        vec![
            entry(
                "2026-11-23T10:00:00Z",
                What::Started {
                    app: "shop".into(),
                    target: "eu-central-1".into(),
                    source: "commit 1a2b".into(),
                    commit: Some("1a2b".into()),
                    committed: Some("2026-11-23T10:30:00+01:00".into()),
                    back,
                },
            ),
            entry(
                "2026-11-23T10:00:30Z",
                What::Deploying {
                    cluster: "c".into(),
                    service: "web".into(),
                    task_definition: "arn:x:task-definition/web:2".into(),
                    created,
                },
            ),
            entry(
                "2026-11-23T10:02:00Z",
                What::Ended {
                    outcome: outcome.into(),
                    summary: "so it was".into(),
                },
            ),
        ]
    }

    #[test]
    fn a_deployment_tells_its_lead_time_and_what_became_of_it() {
        for (outcome, created, back, kind, failed, lead) in [
            ("done", false, false, "service.upgraded", false, Some(1920)),
            ("done", true, false, "service.deployed", false, Some(1920)),
            ("done", false, true, "service.rolledback", false, Some(1920)),
            (
                "failed and rolled back",
                false,
                false,
                "service.rolledback",
                true,
                None,
            ),
            (
                "failed and not rolled back",
                false,
                false,
                "incident.detected",
                true,
                None,
            ),
        ] {
            let event = event(&entries(outcome, created, back)).unwrap();
            assert_eq!(event["type"], format!("dev.cdevents.{kind}.0.2.0"));
            assert_eq!(event["data"]["context"]["type"], event["type"]);
            let custom = &event["data"]["customData"];
            assert_eq!(custom["changeFailed"], failed, "{outcome}");
            assert_eq!(custom["leadTimeSeconds"].as_i64(), lead, "{outcome}");
            assert_eq!(custom["durationSeconds"], 120);
            assert_eq!(custom["services"][0]["taskDefinition"], "web:2");
        }
    }

    #[test]
    fn a_run_that_deployed_nothing_is_no_deployment() {
        let mut entries = entries("build failed", false, false);
        entries.remove(1);
        assert_eq!(event(&entries), None);
    }
}
