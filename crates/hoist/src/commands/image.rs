//! `hoist image`: the images of the build engine on this machine.

use hoist_pipeline::Failure;

use super::dispatch::{async_run, say};
use super::{local, project};
use crate::arguments::Image;
use crate::render::human_size;

/// Imports, lists or removes images.
pub fn run(command: &Image) -> Result<(), Failure> {
    let home = local::home()?;
    let workspace = project::workspace(&home)?;
    match command {
        Image::Import { source, name } => {
            let descriptor = async_run(async {
                hoist_image::import(&workspace, source, name)
                    .await
                    .map_err(|error| {
                        hoist_pipeline::build_failure("failed to import the image", &error)
                    })
            })?;
            say(descriptor.digest);
        }
        Image::Ls => {
            let images = hoist_image::list(&workspace).map_err(|error| {
                hoist_pipeline::build_failure("failed to list the images", &error)
            })?;
            for image in images {
                say(format_args!(
                    "{}  {}  {}",
                    image.name,
                    image.descriptor.digest.short(),
                    human_size(image.size)
                ));
            }
        }
        Image::Rm { name } => {
            hoist_image::remove(&workspace, name).map_err(|error| {
                hoist_pipeline::build_failure("failed to remove the image", &error)
            })?;
        }
    }
    Ok(())
}
