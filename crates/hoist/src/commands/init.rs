//! `hoist init`.

use hoist_pipeline::{Failure, Kind};
use hoist_project::scaffold;

use super::dispatch::say;
use crate::arguments::Init;

/// Writes hoist.yaml and a workflow; what exists is kept.
pub fn run(options: &Init) -> Result<(), Failure> {
    let folder = &options.folder;
    let planned = scaffold::plan(folder).map_err(|error| {
        Failure::because(
            Kind::Configuration,
            format!("failed to read {}", folder.join("Dockerfile").display()),
            &error,
        )
        .hint("hoist deploys what a Dockerfile builds: write one first")
    })?;
    let written = scaffold::write(folder, &planned).map_err(|error| {
        Failure::because(
            Kind::Unexpected,
            format!("failed to write into {}", folder.display()),
            &error,
        )
    })?;
    for file in &planned {
        let word = if written.contains(&file.path) {
            "wrote"
        } else {
            "kept"
        };
        say(format_args!("{word} {}", folder.join(&file.path).display()));
    }
    anstream::eprintln!("next: hoist deploy --local {}", folder.display());
    Ok(())
}
