//! `hoist init`.

use hoist_pipeline::{Failure, Kind};
use hoist_project::scaffold;

use super::connect;
use super::dispatch::{async_run, say};
use crate::arguments::Init;

/// Writes hoist.yaml and a workflow; what exists is kept.
pub fn run(options: &Init) -> Result<(), Failure> {
    let folder = &options.folder;
    let planned = match &options.from_service {
        Some(service) => imported(options, service)?,
        None => scaffold::plan(folder).map_err(|error| {
            Failure::because(
                Kind::Configuration,
                format!("failed to read {}", folder.join("Dockerfile").display()),
                &error,
            )
            .hint("hoist deploys what a Dockerfile builds: write one first")
        })?,
    };
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
    let next = match options.from_service {
        Some(_) => "hoist plan",
        None => "hoist deploy --local",
    };
    anstream::eprintln!("next: {next} {}", folder.display());
    Ok(())
}

/// The files that stand for a service that runs.
fn imported(options: &Init, service: &str) -> Result<Vec<scaffold::Planned>, Failure> {
    let aws = connect::connect(&options.aws, None)?;
    let imported = async_run(hoist_pipeline::import(
        &aws,
        &options.cluster,
        service,
        &scaffold::app_name(service),
    ))?;
    for note in &imported.notes {
        anstream::eprintln!("note: {note}");
    }
    Ok(imported.files)
}
