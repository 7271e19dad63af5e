//! A service whose revision is registered: what is known of it before it moves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hoist_aws::Client;
use serde_json::Value;

use crate::codedeploy;
use crate::event::{Events, ServiceOutcome};
use crate::journal::Intended;
use crate::register::Revision;
use crate::resume::Came;
use crate::target_group::Retarget;
use crate::work::Work;

/// A service whose revision is registered and that can be moved to it.
pub struct Ready {
    pub work: Work,
    /// The service before; absent if it is to be created.
    pub live: Option<Value>,
    pub revision: Revision,
    /// Digest of our image, where the definition carries one.
    pub digest: Option<String>,
    /// The task definition before the run, where it is not that of `live`.
    pub before: Option<String>,
    /// Whether the run, or the killed one that it goes on with, makes the service.
    pub created: bool,
    /// What AWS knows the call by that moves it.
    pub token: String,
    /// How far the run that is gone on with came with it.
    pub came: Came,
    /// Whether anything was asked of AWS for it.
    pub asked: AtomicBool,
    /// What was changed of its target group with it, and is put back if it is taken back.
    pub retarget: OnceLock<Retarget>,
}

impl Ready {
    /// A revision that exists, for a service that does.
    pub fn existing(mut work: Work, live: Value, arn: String, definition: Value) -> Ready {
        // Only the revision changes: what else differs from the definition files is another deployment's business.
        work.service_definition = Value::Null;
        work.target_group = None;
        let digest = digest_in(&definition, work.service.container.as_deref());
        work.task_definition = definition;
        Ready {
            work,
            live: Some(live),
            revision: Revision { arn, fresh: false },
            digest,
            before: None,
            created: false,
            token: token(),
            came: Came::Nowhere,
            asked: AtomicBool::new(false),
            retarget: OnceLock::new(),
        }
    }

    /// What a run that was killed had in mind for a service.
    pub fn resumed(
        mut work: Work,
        live: Option<Value>,
        wanted: &Intended,
        definition: Value,
        came: Came,
    ) -> Ready {
        let digest = digest_in(&definition, work.service.container.as_deref());
        work.service_definition = wanted.service_definition.clone();
        work.task_definition = definition;
        Ready {
            work,
            live,
            revision: Revision {
                arn: wanted.task_definition.clone(),
                fresh: false,
            },
            digest,
            before: wanted.previous.clone(),
            created: wanted.previous.is_none(),
            token: wanted.token.clone(),
            asked: AtomicBool::new(came != Came::Nowhere),
            retarget: OnceLock::new(),
            came,
        }
    }

    /// The same, with what a run that was killed changed of its target group.
    #[must_use]
    pub fn with_retarget(self, left: Option<Retarget>) -> Ready {
        if let Some(left) = left {
            let _ = self.retarget.set(left);
        }
        self
    }

    /// Puts back what was changed of its target group.
    pub async fn put_back(&self, aws: &Client, events: &Events) {
        if let Some(retarget) = self.retarget.get() {
            retarget.put_back(aws, events).await;
        }
    }

    /// What the journal keeps of it, so that another run can go on with it.
    pub fn intended(&self) -> Intended {
        Intended {
            cluster: self.work.cluster().to_owned(),
            service: self.work.name().to_owned(),
            task_definition: self.revision.arn.clone(),
            service_definition: self.work.service_definition.clone(),
            previous: self.previous().map(str::to_owned),
            token: self.token.clone(),
            by_codedeploy: self.live.as_ref().is_some_and(codedeploy::owns),
        }
    }

    /// Whether anything was asked of AWS for it.
    pub fn is_touched(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// What is known of the service so far.
    pub fn outcome(&self) -> ServiceOutcome {
        let mut outcome = ServiceOutcome::of(&self.work);
        outcome.task_definition = Some(self.revision.arn.clone());
        outcome
    }

    /// The task definition that ran before.
    pub fn previous(&self) -> Option<&str> {
        let live = self.live.as_ref().filter(|_| !self.created);
        self.before
            .as_deref()
            .or_else(|| live.and_then(|live| live["taskDefinition"].as_str()))
    }
}

/// A name for one call, by which AWS knows it when it comes again.
pub fn token() -> String {
    format!("hoist-{:016x}", fastrand::u64(..))
}

/// The digest of the image of `container`, or of the only container.
pub fn digest_in(definition: &Value, container: Option<&str>) -> Option<String> {
    let containers = definition["containerDefinitions"].as_array()?;
    let ours = match container {
        Some(name) => containers.iter().find(|one| one["name"] == name)?,
        None if containers.len() == 1 => &containers[0],
        None => return None,
    };
    let (_, digest) = ours["image"].as_str()?.split_once('@')?;
    Some(digest.to_owned())
}
