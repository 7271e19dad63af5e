//! Base images: local names first, then registries.

use std::sync::{Arc, PoisonError};

use hoist_oci::spec::Platform;
use hoist_oci::{Image, ImageRef, ProgressEvent, Registry, RegistryError};

use crate::embedded::Build;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::event::BuildEvent;
use crate::images;
use crate::layouts;
use crate::stages::LAYOUT;

impl Build<'_> {
    /// Finds an image by its name: one that was imported or built here, else one from a registry.
    pub(crate) fn image(&self, name: &str, platform: &Platform) -> Result<Image> {
        let key = (name.to_owned(), platform.to_string());
        // Whoever asks first finds it; others that ask in the meantime wait.
        let slot = Arc::clone(
            self.images
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default(),
        );
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = &*slot {
            return Ok(image.clone());
        }
        let image = match self.local(name, platform)? {
            Some(image) => image,
            None => self.pull(name, platform)?,
        };
        if image.config.os == "linux" && !image.config.platform().serves(platform) {
            self.report.warn(
                format!(
                    "{name} is an image for {}, not for {platform}",
                    image.config.platform()
                ),
                None,
            );
        }
        Ok(slot.insert(image).clone())
    }

    fn local(&self, name: &str, platform: &Platform) -> Result<Option<Image>> {
        let found = match name.strip_prefix(LAYOUT) {
            None => images::resolve(self.workspace, name)?,
            Some(key) => Some(layouts::load(self.workspace, self.request, key)?),
        };
        let Some(descriptor) = found else {
            return Ok(None);
        };
        let image = self
            .workspace
            .store
            .image(&descriptor, platform)
            .map_err(|error| {
                BuildError::from_source(
                    BuildErrorKind::Image,
                    format!("read the local image {name}"),
                    error,
                )
            })?;
        Ok(Some(image))
    }

    fn pull(&self, name: &str, platform: &Platform) -> Result<Image> {
        let reference: ImageRef = name.parse().map_err(|error: hoist_oci::ReferenceError| {
            let hint = error.hint();
            BuildError::new(
                BuildErrorKind::Dockerfile,
                format!("'{name}' is no name of an image"),
            )
            .caused_by(error)
            .with_hint(hint)
        })?;
        let kept = images::pulled_name(&reference, platform);
        let registry = Registry::new(self.request.registry.clone());
        let teller = self.report.clone();
        let registry = registry.telling(move |wait| teller.warn(wait.to_string(), None));
        let report = self.report;
        let sizes = std::sync::Mutex::new(std::collections::HashMap::new());
        let progress = |event: ProgressEvent| match event {
            ProgressEvent::Started { digest, size } => {
                if let Ok(mut sizes) = sizes.lock() {
                    sizes.insert(digest, size);
                }
            }
            ProgressEvent::Advanced { digest, bytes } => {
                let size = sizes
                    .lock()
                    .ok()
                    .and_then(|sizes| sizes.get(&digest).copied())
                    .unwrap_or(bytes);
                report.send(BuildEvent::Pulling {
                    digest,
                    received: bytes,
                    size,
                });
            }
            ProgressEvent::Finished { .. } => {}
        };
        let pulled = self.runtime.block_on(async {
            tokio::select! {
                pulled = registry.pull(&reference, platform, &self.workspace.store, &progress) => Ok(pulled),
                () = report.gone() => Err(crate::report::cancelled()),
            }
        })?;
        let image = match pulled {
            Ok(image) => image,
            Err(error) => {
                // What was pulled before serves when the registry cannot be reached.
                if let (true, Some(image)) = (
                    matches!(error, RegistryError::Unreachable { .. }),
                    self.kept(&kept, platform),
                ) {
                    report.warn(
                        format!(
                            "{error}; using {name} as it was pulled before ({})",
                            image.descriptor.digest
                        ),
                        None,
                    );
                    return Ok(image);
                }
                return Err(pull_failed(name, error));
            }
        };
        self.workspace
            .store
            .tag(&kept, &image.descriptor)
            .map_err(|error| {
                BuildError::from_source(
                    BuildErrorKind::Io,
                    format!("keep the name of {name}"),
                    error,
                )
            })?;
        Ok(image)
    }

    fn kept(&self, name: &str, platform: &Platform) -> Option<Image> {
        let descriptor = self.workspace.store.resolve(name).ok()??;
        let image = self.workspace.store.image(&descriptor, platform).ok()?;
        image
            .manifest
            .layers
            .iter()
            .all(|layer| self.workspace.store.has(&layer.digest))
            .then_some(image)
    }
}

fn pull_failed(name: &str, error: RegistryError) -> BuildError {
    if error.is_not_found() {
        return BuildError::new(BuildErrorKind::Image, format!("there is no image {name}: it is neither local nor in its registry"))
            .with_hint("look at its name and tag; a root file system becomes a local image with `hoist image import FOLDER|TAR NAME`")
            .caused_by(error);
    }
    let hint = error.hint();
    let error = BuildError::from_source(
        BuildErrorKind::Image,
        format!("pull the base image {name}"),
        error,
    );
    let local =
        "a root file system becomes a local image with `hoist image import FOLDER|TAR NAME`";
    match hint {
        Some(hint) => error.with_hint(format!("{hint}; {local}")),
        None => error.with_hint(local),
    }
}
