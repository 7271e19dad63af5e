//! One JSON object a line on standard error, with the schema's version; the same structs that people read as text.

use hoist_pipeline::Event;
use serde::Serialize;

/// Version of the line format. It changes when a member changes its meaning or goes.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    schema_version: u32,
    at: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// Says `event`.
pub fn event(event: &Event) {
    let line = Line {
        schema_version: SCHEMA_VERSION,
        at: jiff::Timestamp::now().to_string(),
        event,
    };
    if let Ok(text) = serde_json::to_string(&line) {
        anstream::eprintln!("{text}");
    }
}
