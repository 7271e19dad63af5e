//! The journal of a run as an OpenTelemetry trace, in OTLP's JSON encoding.
//!
//! Source: OpenTelemetry specification, "OTLP exporter configuration" and `opentelemetry/proto/trace/v1/trace.proto`: ids are hexadecimal and
//! 64-bit numbers are strings in JSON.

use hoist_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::journal::{Entry, What};
use crate::table::tail;
use crate::telemetry::{Place, Variables, headers};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `STATUS_CODE_OK` and `STATUS_CODE_ERROR`.
const OK: u8 = 1;
const ERROR: u8 = 2;

/// Where traces go; `None` where nobody asked for them.
pub fn place(variables: Variables<'_>) -> Option<Place> {
    if variables("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variables("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none")
    {
        return None;
    }
    let place = match variables("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        // A signal's own endpoint is used as it stands.
        Some(own) => own,
        None => format!(
            "{}/v1/traces",
            variables("OTEL_EXPORTER_OTLP_ENDPOINT")?.trim_end_matches('/')
        ),
    };
    let given = variables("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
        .or_else(|| variables("OTEL_EXPORTER_OTLP_HEADERS"));
    Some(Place {
        place,
        headers: headers(&given.unwrap_or_default()),
    })
}

/// The trace of a run: a span for all of it, one for each step, one for each rollout with what was seen as its events.
pub fn document(entries: &[Entry], variables: Variables<'_>) -> Option<Value> {
    let (first, last) = (entries.first()?, entries.last()?);
    let (trace, parent) = context(&first.run, variables);
    let root = id(&first.run, "run");
    let (began, ended) = (nanos(&first.at)?, nanos(&last.at)?);
    let mut about = vec![text("hoist.run", &first.run)];
    let mut name = "deploy".to_owned();
    let mut status = json!({ "code": ERROR, "message": "the run ended without a word" });
    for entry in entries {
        match &entry.what {
            What::Started {
                app,
                target,
                source,
                commit,
                ..
            } => {
                name = format!("deploy {app}");
                about.extend([
                    text("hoist.app", app),
                    text("deployment.environment.name", target),
                    text("hoist.source", source),
                ]);
                about.extend(
                    commit
                        .iter()
                        .map(|commit| text("vcs.ref.head.revision", commit)),
                );
            }
            What::Pushed { image } => about.push(text("container.image.name", image)),
            What::Ended { outcome, summary } => {
                about.push(text("hoist.outcome", outcome));
                status = match outcome.as_str() {
                    "done" => json!({ "code": OK }),
                    _ => json!({ "code": ERROR, "message": summary }),
                };
            }
            _ => {}
        }
    }
    let mut whole = json!({
        "traceId": trace, "spanId": root, "name": name, "kind": INTERNAL,
        "startTimeUnixNano": began.to_string(), "endTimeUnixNano": ended.to_string(),
        "attributes": about, "status": status,
    });
    if let Some(parent) = parent {
        whole["parentSpanId"] = json!(parent);
    }
    let mut spans = vec![whole];
    let child = |key: String, name: String, began: i128, ended: i128| {
        json!({
            "traceId": trace, "spanId": id(&first.run, &key), "parentSpanId": root, "name": name, "kind": INTERNAL,
            "startTimeUnixNano": began.to_string(), "endTimeUnixNano": ended.max(began).to_string(),
        })
    };
    for (nth, entry) in entries.iter().enumerate() {
        match &entry.what {
            What::StepEnded {
                step,
                summary,
                millis,
            } => {
                let over = nanos(&entry.at)?;
                let from = over - i128::from(*millis) * 1_000_000;
                let mut span = child(format!("step {nth}"), step.clone(), from, over);
                span["attributes"] = json!([text("hoist.summary", summary)]);
                span["status"] = json!({ "code": OK });
                spans.push(span);
            }
            What::Deploying {
                cluster,
                service,
                task_definition,
                ..
            } => {
                let seen: Vec<&Entry> = entries[nth..]
                    .iter()
                    .filter(|entry| {
                        matches!(&entry.what, What::Seen { service: of, .. } if of == service)
                    })
                    .collect();
                let over = seen.last().and_then(|entry| nanos(&entry.at));
                let from = nanos(&entry.at)?;
                let mut span = child(
                    format!("rollout {nth}"),
                    format!("rollout {service}"),
                    from,
                    over.unwrap_or(ended),
                );
                span["attributes"] = json!([
                    text("aws.ecs.cluster.arn", cluster),
                    text("aws.ecs.service.name", service),
                    text("aws.ecs.task.family", tail(task_definition)),
                ]);
                span["events"] = seen
                    .iter()
                    .filter_map(|entry| match &entry.what {
                        What::Seen { progress, .. } => Some(
                            json!({ "timeUnixNano": nanos(&entry.at)?.to_string(), "name": progress.to_string() }),
                        ),
                        _ => None,
                    })
                    .collect();
                spans.push(span);
            }
            _ => {}
        }
    }
    let mut resource = vec![text(
        "service.name",
        &variables("OTEL_SERVICE_NAME").unwrap_or_else(|| "hoist".to_owned()),
    )];
    resource.extend(
        headers(&variables("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default())
            .iter()
            .filter(|(name, _)| name != "service.name")
            .map(|(name, value)| text(name, value)),
    );
    Some(json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "hoist", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] }))
}

/// The ids of the trace and of the span around the run: those of TRACEPARENT (W3C Trace Context), so that a run stands in the trace of
/// its pipeline; else ids of its own.
fn context(run: &str, variables: Variables<'_>) -> (String, Option<String>) {
    let given = variables("TRACEPARENT").unwrap_or_default();
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            && text.bytes().any(|byte| byte != b'0')
    };
    match given.split('-').collect::<Vec<_>>().as_slice() {
        [_, trace, span, _] if hex(trace, 32) && hex(span, 16) => {
            ((*trace).to_owned(), Some((*span).to_owned()))
        }
        _ => (
            Digest::of(format!("{run} trace").as_bytes()).hex()[..32].to_owned(),
            None,
        ),
    }
}

/// The id of a span: always the same for the same run and part.
fn id(run: &str, part: &str) -> String {
    Digest::of(format!("{run} {part}").as_bytes()).hex()[..16].to_owned()
}

fn nanos(at: &str) -> Option<i128> {
    Some(at.parse::<Timestamp>().ok()?.as_nanosecond())
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: &str, what: What) -> Entry {
        Entry {
            at: at.to_owned(),
            run: "r".to_owned(),
            what,
        }
    }

    #[test]
    fn a_run_that_failed_is_an_error_inside_the_trace_of_its_pipeline() {
        let entries = [
            entry(
                "2026-11-23T10:00:10Z",
                What::StepEnded {
                    step: "build".into(),
                    summary: "1 layer".into(),
                    millis: 2_500,
                },
            ),
            entry(
                "2026-11-23T10:00:12Z",
                What::Ended {
                    outcome: "test failed".into(),
                    summary: "the tests exited with 1".into(),
                },
            ),
        ];
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let variables = |name: &str| match name {
            "TRACEPARENT" => Some(format!("00-{trace}-b7ad6b7169203331-01")),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("team=shop".to_owned()),
            _ => None,
        };
        let document = document(&entries, &variables).unwrap();
        let spans = &document["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"], trace);
        assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
        assert_eq!(spans[0]["status"]["message"], "the tests exited with 1");
        assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(spans[1]["startTimeUnixNano"], "1795428007500000000");
        assert_eq!(spans[1]["endTimeUnixNano"], "1795428010000000000");
        let resource = document["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(
            resource.contains("\"team\"") && resource.contains("\"hoist\""),
            "{resource}"
        );
    }

    #[test]
    fn the_endpoint_is_that_of_traces_or_the_common_one_with_its_path() {
        let of = |set: &'static [(&'static str, &'static str)]| {
            let variables = move |name: &str| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            place(&variables).map(|place| place.place)
        };
        assert_eq!(
            of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/")]).unwrap(),
            "http://a:4318/v1/traces"
        );
        assert_eq!(
            of(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x")
            ])
            .unwrap(),
            "http://b/x"
        );
        assert_eq!(
            of(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
                ("OTEL_SDK_DISABLED", "true")
            ]),
            None
        );
    }
}
