//! An image of this machine to any registry, by its name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hoist_image::Workspace;
use hoist_oci::signing::SigningKey;
use hoist_oci::{
    Compression, EarlyUploads, ExistingTag, ImageRef, PushOptions, Registry, RegistryOptions,
};

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::image::{Watch, build_failure, push_failure};
use crate::waits;

/// What to push, where to, and how.
#[derive(Clone, Debug)]
pub struct ImagePush {
    /// The image's name on this machine.
    pub name: String,
    /// Repository and tag; `latest` without one.
    pub target: String,
    /// How layers travel; as they are without it.
    pub compression: Option<Compression>,
    /// Whether a tag of another image goes over to this one.
    pub force: bool,
    /// The private key that signs it.
    pub sign: Option<PathBuf>,
}

/// Pushes an image; its layers are compressed while they travel. Gives its reference by digest.
///
/// # Errors
/// `Configuration` if a name is none or the key cannot be read, `Push` for all else; cancellation.
pub async fn push_image(
    workspace: &Workspace,
    push: &ImagePush,
    events: &Events,
    cancel: &Cancel,
) -> Result<String, Failure> {
    let to: ImageRef = push
        .target
        .parse()
        .map_err(|error: hoist_oci::ReferenceError| {
            let hint = error.hint();
            let what = format!("`{}` is no name of a repository", push.target);
            Failure::because(Kind::Configuration, what, &error).hint(hint)
        })?;
    let to = match (&to.tag, &to.digest) {
        (None, None) => to.with_tag("latest"),
        _ => to,
    };
    let key = match &push.sign {
        None => None,
        Some(path) => Some(signing_key(path)?),
    };
    let image = hoist_image::find(workspace, &push.name)
        .map_err(|error| build_failure("failed to push the image", &error))?;
    let step = events.start(Step::Push, to.to_string());
    let registry = Registry::new(RegistryOptions {
        docker_config: RegistryOptions::docker_config_path(),
        ..RegistryOptions::default()
    });
    let registry = waits::told(registry, events, Step::Push);
    let work = async {
        let (image, sent_early) = match push.compression {
            None => (image, BTreeSet::new()),
            Some(form) => {
                let early =
                    EarlyUploads::new(registry.clone(), workspace.store.clone(), to.clone());
                let image = hoist_image::compressed(workspace, &image, form, Some(&early))
                    .await
                    .map_err(|error| build_failure("failed to compress the image", &error))?;
                (image, early.ended().await)
            }
        };
        if let Some(asked) = to.digest.filter(|asked| *asked != image.digest) {
            let what = format!("{} is {}, and not {asked}", push.name, image.digest);
            let hint =
                "name a tag instead of a digest: an image has the one that its content gives it";
            return Err(Failure::new(Kind::Configuration, what).hint(hint));
        }
        let options = PushOptions {
            existing_tag: match push.force {
                true => ExistingTag::Move,
                false => ExistingTag::Refuse,
            },
            sent_early,
            ..PushOptions::default()
        };
        let watch = Watch::new(events);
        let report = registry
            .push(&workspace.store, &image, &to, &options, &watch)
            .await
            .map_err(|error| push_failure(&push.name, &error))?;
        if let Some(key) = &key {
            registry
                .sign(&workspace.store, &to, &report.digest, key)
                .await
                .map_err(|error| {
                    Failure::because(Kind::Push, format!("failed to sign {}", push.name), &error)
                })?;
        }
        Ok(report)
    };
    let report = cancel.or(work).await?;
    step.finish(format!(
        "{} sent, {} mounted, {} already there",
        report.sent, report.mounted, report.present
    ));
    Ok(report.image.bare().with_digest(report.digest).to_string())
}

/// Reads the key that signs.
pub(crate) fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    SigningKey::read(path).map_err(|error| {
        let hint = error.hint();
        Failure::because(
            Kind::Configuration,
            "failed to read the signing key",
            &error,
        )
        .hint(hint)
    })
}
