//! What lies beside an image in its repository: its signature, the cache of its steps, its packages, its provenance.

use hoist_image::BuiltImage;
use hoist_oci::signing::SigningKey;
use hoist_oci::{Digest, ExistingTag, ImageRef, PushOptions, Registry, RegistryError, Silent};
use hoist_project::Source;

use super::{Builder, registry, target};
use crate::ecr::Repository;
use crate::event::Step;
use crate::failure::{Failure, Kind};

impl Builder<'_> {
    /// Signs an image in the repository, unless this key did.
    pub(super) async fn sign(
        &self,
        repository: &Repository,
        digest: &Digest,
        key: &SigningKey,
    ) -> Result<(), Failure> {
        let (registry, target) = (registry(repository, self.events), target(repository)?);
        let work = async {
            let signing = registry.sign(&self.workspace.store, &target, digest, key);
            signing.await.map_err(|error| {
                let what = format!("failed to sign {}", self.project.repository());
                Failure::because(Kind::Push, what, &error)
            })
        };
        self.cancel.or(work).await.map(drop)
    }

    /// Pushes what goes with an image: cache, packages, provenance. Tells what that was.
    pub(super) async fn attach(
        &self,
        image: &BuiltImage,
        source: &Source,
        registry: &Registry,
        target: &ImageRef,
    ) -> Result<String, RegistryError> {
        let store = &self.workspace.store;
        let mut told = String::new();
        for (place, cache) in &image.caches {
            let options = PushOptions {
                existing_tag: ExistingTag::Move,
                ..PushOptions::default()
            };
            registry
                .push(store, cache, place, &options, &Silent)
                .await?;
            if told.is_empty() {
                told.push_str(", cache");
            }
        }
        let name = self.project.repository();
        let mut artifacts = Vec::new();
        if self.options.sbom {
            match hoist_image::sbom(self.workspace, image, name) {
                Ok(lists) => {
                    artifacts.extend(
                        lists
                            .into_iter()
                            .map(|(subject, list)| ("packages", subject, list)),
                    );
                }
                Err(error) => self
                    .events
                    .warn(Step::Push, format!("no list of packages: {error}")),
            }
        }
        if self.options.provenance
            && let Ok(request) = self.request(None)
        {
            let sources: Vec<_> = source
                .commit
                .iter()
                .map(|commit| (name.to_owned(), "gitCommit".to_owned(), commit.clone()))
                .collect();
            artifacts.push((
                "provenance",
                image.manifest.clone(),
                hoist_image::provenance(&request, image, name, &sources),
            ));
        }
        for (what, subject, artifact) in artifacts {
            let artifact = artifact.store(store, &subject)?;
            registry.attach(store, &subject, &artifact, target).await?;
            if !told.ends_with(what) {
                told.push_str(", ");
                told.push_str(what);
            }
        }
        Ok(told)
    }
}
