//! `hoist build`.

use hoist_pipeline::{Builder, Events, Failure, cancellation};

use super::dispatch::{async_run, say};
use super::{local, project, signals};
use crate::arguments::Build;
use crate::render;

/// Builds and tests the image; its digest is the last line of standard output.
pub fn run(options: &Build) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let home = local::home()?;
    let workspace = project::workspace(&home)?;
    let output = options.output;
    let output = output.beside_a_shell(options.building.debug_shell);
    let events = Events::new(vec![render::reader(output)]);
    let build = project::build_options(&options.building);
    let image = async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        let builder = Builder {
            project: &project,
            workspace: &workspace,
            options: &build,
            events: &events,
            cancel: &cancel,
        };
        builder.hook().await?;
        builder.build().await
    })?;
    for tag in &options.tags {
        hoist_image::name(&workspace, tag, &image.manifest)
            .map_err(|error| hoist_pipeline::build_failure("failed to name the image", &error))?;
    }
    say(image.manifest.digest);
    Ok(())
}
