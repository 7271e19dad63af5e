//! How the tasks of a deployment are launched.

use crate::crew::{Crew, Seen};
use crate::life::{Birth, SERVICE_ONLY};
use crate::step::Turn;
use crate::table::Key;
use crate::{Members, Service, TaskStatus};

/// Where a task is to be launched.
pub(crate) struct Wish {
    /// The Availability Zone.
    pub zone: String,
    pub provider: Option<String>,
}

impl Turn<'_> {
    pub fn launch_for(&mut self, service: &mut Service, index: usize, count: u32, crew: &mut Crew) {
        if count == 0 {
            return;
        }
        let wishes = std::iter::repeat_n(None, count as usize);
        let launched = self.launch_all(service, index, wishes, crew);
        let ids: Vec<String> = launched.into_iter().map(|(_, id)| id).collect();
        let deployment = &mut service.deployments[index];
        let replaced = deployment.unreplaced.min(ids.len() as u32);
        deployment.unreplaced -= replaced;
        let set = service
            .is_external()
            .then(|| service.deployments[index].id.clone());
        self.announce_started(service, set.as_deref(), &ids, replaced);
    }

    /// Launches a task of a deployment for each wish; returns their places and ids. Nobody is told.
    pub fn launch_all<'a>(
        &mut self,
        service: &mut Service,
        index: usize,
        wishes: impl ExactSizeIterator<Item = Option<&'a Wish>>,
        crew: &mut Crew,
    ) -> Vec<(Key, String)> {
        let mut launched = Vec::with_capacity(wishes.len());
        let deployment = &service.deployments[index];
        let Some(revision) = self.world.service_revisions.get(&deployment.revision) else {
            return launched;
        };
        let load_balancers = revision.load_balancers.clone();
        let request = match revision.shaped.clone() {
            Some(request) => request,
            None => self.shape_for(service, index),
        };
        let cluster_name = service.cluster.rsplit('/').next().unwrap_or_default();
        let has_strategy = !self.strategy_of(&request, &service.cluster).is_empty();
        for wish in wishes {
            let provider = match (has_strategy, wish) {
                (true, Some(wish)) => wish.provider.clone(),
                (true, None) => self.provider_for(service, &request, &service.cluster),
                (false, _) => None,
            };
            let (key, id) = self.launch(Birth {
                region: &service.region,
                cluster: &service.cluster,
                cluster_name,
                definition: &deployment.task_definition,
                group: ["service:", &service.name].concat(),
                started_by: Some(deployment.id.clone()),
                service: Some(service.arn.clone()),
                revision: Some(deployment.revision.clone()),
                load_balancers: &load_balancers,
                request: request.clone(),
                provider,
                zone: wish.map(|it| it.zone.clone()),
            });
            crew.tasks.push(Seen {
                key,
                deployment: index,
                created_at: self.now,
                status: TaskStatus::Provisioning,
                healthy: false,
                unhealthy: false,
                proved: false,
                protected: false,
            });
            launched.push((key, id));
        }
        let deployment = &mut service.deployments[index];
        deployment.launch_after = None;
        deployment.updated_at = self.now;
        service.steady = false;
        launched
    }

    /// The members of a deployment's tasks. They are the same for all, unless the service's tags go with them: those can change.
    fn shape_for(&mut self, service: &Service, index: usize) -> Members {
        let deployment = &service.deployments[index];
        let Some(revision) = self.world.service_revisions.get(&deployment.revision) else {
            return Members::default();
        };
        let mut request = revision
            .request
            .only(|name| name != "tags" && !SERVICE_ONLY.contains(&name));
        let propagate = request.get("propagateTags").and_then(|it| it.as_str());
        let follows = propagate == Some("SERVICE");
        if let Some(tags) = service.request.get("tags").filter(|_| follows) {
            request.insert("tags".to_owned(), tags.clone());
        }
        let shaped = self.shape_request(request, &deployment.task_definition);
        if !follows
            && let Some(revision) = self.world.service_revisions.get_mut(&deployment.revision)
        {
            revision.shaped = Some(shaped.clone());
        }
        shaped
    }
}
