//! `hoist image`: the images of the build engine on this machine.

use hoist_pipeline::{Events, Failure, ImagePush, cancellation};

use super::dispatch::{async_run, say};
use super::{local, project, signals};
use crate::arguments::Image;
use crate::render::{self, human_size};

/// Does what the subcommand says.
pub fn run(command: &Image) -> Result<(), Failure> {
    let home = local::home()?;
    let workspace = project::workspace(&home)?;
    let failed = |what: &'static str| {
        move |error: hoist_image::BuildError| hoist_pipeline::build_failure(what, &error)
    };
    match command {
        Image::Import { source, name } => {
            let descriptor = async_run(async {
                hoist_image::import(&workspace, source, name)
                    .await
                    .map_err(failed("failed to import the image"))
            })?;
            say(descriptor.digest);
        }
        Image::Ls => {
            let images =
                hoist_image::list(&workspace).map_err(failed("failed to list the images"))?;
            if images.is_empty() {
                anstream::eprintln!(
                    "note: no image has a name here yet; `hoist build --tag NAME` and `hoist image import` give one"
                );
            }
            for image in images {
                say(format_args!(
                    "{}  {}  {}{}",
                    image.name,
                    image.descriptor.digest.short(),
                    human_size(image.size),
                    if image.pulled { "  pulled" } else { "" }
                ));
            }
        }
        Image::Rm { names } => {
            // One that is not there keeps none of the others.
            let removed = names.iter().map(|name| {
                let removed = hoist_image::remove(&workspace, name);
                removed.map_err(failed("failed to remove an image"))
            });
            let failures: Vec<Failure> = removed.filter_map(Result::err).collect();
            if let Some(first) = failures.into_iter().next() {
                return Err(first);
            }
        }
        Image::Inspect { name } => {
            let image = hoist_image::inspect(&workspace, name)
                .map_err(failed("failed to inspect the image"))?;
            say(render::image::inspected(&image));
        }
        Image::Export { name, target } => {
            hoist_image::export(&workspace, name, target)
                .map_err(failed("failed to export the image"))?;
        }
        Image::Push {
            name,
            target,
            compression,
            force,
            sign,
            output,
        } => {
            let events = Events::new(vec![render::reader(*output)]);
            let push = ImagePush {
                name: name.clone(),
                target: target.clone(),
                compression: *compression,
                force: *force,
                sign: sign.clone(),
            };
            let pushed = async_run(async {
                let (canceller, cancel) = cancellation();
                signals::listen(canceller)?;
                hoist_pipeline::push_image(&workspace, &push, &events, &cancel).await
            })?;
            say(pushed);
        }
        Image::History { name } => {
            let lines = hoist_image::history(&workspace, name)
                .map_err(failed("failed to read the image"))?;
            say(render::image::history(&lines));
        }
        Image::Diff { before, after } => {
            let differences = hoist_image::diff(&workspace, before, after)
                .map_err(failed("failed to compare the images"))?;
            say(render::image::differences(&differences));
        }
        Image::Why { name } => {
            let why = hoist_image::why(&workspace, name)
                .map_err(failed("failed to look into the image"))?;
            say(render::image::why(&why));
        }
        Image::Prune { keep, now } => {
            let mut options = hoist_image::PruneOptions {
                limit: *keep,
                // Containers of the embedded AWS stand on unpacked layers.
                unpacked: !local::is_running(&home),
                ..hoist_image::PruneOptions::default()
            };
            if *now {
                options.grace = std::time::Duration::ZERO;
            }
            let pruned = hoist_image::prune(&workspace, &options)
                .map_err(failed("failed to prune the images"))?;
            say(render::image::pruned(&pruned, &options));
        }
    }
    Ok(())
}
