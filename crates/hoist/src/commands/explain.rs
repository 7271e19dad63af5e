//! `hoist explain`.

use hoist_pipeline::{Failure, Which};

use super::dispatch::{async_run, say};
use super::{connect, history, project};
use crate::arguments::{Explain, Picture};
use crate::render::{self, Format};

/// Shows where the minutes of a deployment went, and which settings cost them.
pub fn run(options: &Explain) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let services = hoist_pipeline::some(&project, &options.services)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let journal = history::entries()?;
    let which = Which {
        deployment: options.deployment.clone(),
        revision: options.revision,
    };
    let explained = async_run(hoist_pipeline::explain(
        &aws, &project, &services, &journal, &which,
    ))?;
    match options.output {
        Picture::Text => render::report(&explained, Format::Text),
        Picture::Json => render::report(&explained, Format::Json),
        Picture::Svg => say(explained.svg().trim_end()),
        Picture::Html => say(explained.html().trim_end()),
    }
    Ok(())
}
