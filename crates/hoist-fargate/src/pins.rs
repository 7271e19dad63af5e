//! The digests that a deployment's containers are held to: what a tag meant when it began goes for all of its tasks.

use std::collections::BTreeMap;

use crate::step::Turn;
use crate::world::Kind;
use crate::{Command, Task};

impl Turn<'_> {
    /// Has the tags of the pinned containers looked up, where there are any.
    pub fn resolve_images(&mut self, arn: &str) {
        let Some(revision) = self.world.service_revisions.get_mut(arn) else {
            return;
        };
        let Some(definition) = self.world.task_definitions.get(&revision.task_definition) else {
            return;
        };
        let mut open = Vec::new();
        for container in definition.containers.iter().filter(|it| it.pinned) {
            match container.image.split_once('@') {
                Some((_, digest)) => {
                    let digest = digest.to_owned();
                    revision
                        .image_digests
                        .insert(container.name.clone(), digest);
                }
                None => open.push((container.name.clone(), container.image.clone())),
            }
        }
        if open.is_empty() {
            revision.resolved = true;
        } else {
            self.commands.push(Command::ResolveImages {
                revision: arn.to_owned(),
                region: definition.region.clone(),
                images: open,
            });
        }
        self.world.touch(Kind::ServiceRevision, arn);
    }

    pub fn is_resolved(&self, revision: &str) -> bool {
        self.world
            .service_revisions
            .get(revision)
            .is_some_and(|it| it.resolved)
    }

    pub fn images_resolved(&mut self, arn: &str, digests: BTreeMap<String, String>) {
        if let Some(revision) = self.world.service_revisions.get_mut(arn)
            && !revision.resolved
        {
            revision.resolved = true;
            revision.image_digests.extend(digests);
            let service = revision.service.clone();
            self.world.touch(Kind::ServiceRevision, arn);
            self.queue_service(&service);
        }
    }

    /// Where a tag could not be looked up in advance, the first pull decides for the rest of the deployment.
    pub fn pin(&mut self, task: &Task, container: &str, digest: Option<String>) {
        let pinned = self
            .world
            .definition_of(task)
            .and_then(|it| it.container(container))
            .is_some_and(|it| it.pinned);
        if let (true, Some(digest), Some(arn)) = (pinned, digest, &task.revision)
            && let Some(revision) = self.world.service_revisions.get_mut(arn)
            && !revision.image_digests.contains_key(container)
        {
            revision.image_digests.insert(container.to_owned(), digest);
            self.world.touch(Kind::ServiceRevision, arn);
        }
    }
}
