//! One JSON object a line on standard error, with the schema's version; the same structs that people read as text.

use hoist_pipeline::{Event, Failure};
use serde::Serialize;

use crate::exit;

/// Version of the line format. It changes when a member changes its meaning or goes.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a, E: Serialize> {
    schema_version: u32,
    at: String,
    #[serde(flatten)]
    event: &'a E,
}

/// How the command failed; its last line.
#[derive(Serialize)]
#[serde(tag = "event", rename = "failure", rename_all = "camelCase")]
struct Failed<'a> {
    outcome: &'a str,
    exit_code: u8,
    message: &'a str,
    causes: &'a [String],
    detail: Option<&'a str>,
    hint: Option<&'a str>,
}

/// Says `event`.
pub fn event(event: &Event) {
    line(event);
}

/// Says `failure`.
pub fn failure(failure: &Failure) {
    let (exit_code, outcome) = exit::of(failure.kind);
    line(&Failed {
        outcome,
        exit_code,
        message: &failure.message,
        causes: &failure.causes,
        detail: failure.detail.as_deref(),
        hint: failure.hint.as_deref(),
    });
}

fn line<E: Serialize>(event: &E) {
    let line = Line {
        schema_version: SCHEMA_VERSION,
        at: jiff::Timestamp::now().to_string(),
        event,
    };
    if let Ok(text) = serde_json::to_string(&line) {
        anstream::eprintln!("{text}");
    }
}
