//! `hoist schema`.

use hoist_pipeline::{Failure, Kind};

use super::dispatch::say;

/// Prints the JSON schema of hoist.yaml.
pub fn run() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&hoist_project::schema()).map_err(|error| {
        Failure::because(Kind::Unexpected, "failed to write the schema", &error)
    })?;
    say(text);
    Ok(())
}
