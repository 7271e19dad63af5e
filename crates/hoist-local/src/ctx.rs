use std::ops::Deref;
use std::sync::Arc;

use hoist_runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::acm::Certificates;
use crate::api::Ready;
use crate::clock::{self, Millis};
use crate::driver::Driver;
use crate::ec2::Ec2;
use crate::elb::Balancers;
use crate::events::Events;
use crate::faults::Faults;
use crate::home::Home;
use crate::iam::Iam;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::names::CloudMap;
use crate::registry::Registry;
use crate::s3::Objects;
use crate::scaling::Scaling;
use crate::scheduler::Scheduler;
use crate::secrets::Secrets;
use crate::session::Sessions;
use crate::settings::Settings;
use crate::ssm::Parameters;
use crate::state::State;

/// The account that everything belongs to.
pub const ACCOUNT: &str = "000000000000";

/// What every service of the embedded AWS is given: the state, the keys, and the other services. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

/// The parts of a [`Ctx`].
pub struct Inner {
    /// Where everything lies.
    pub home: Home,
    /// What is kept.
    pub state: State,
    /// The key pairs that requests may be signed with.
    pub keys: Keys,
    /// How this instance runs.
    pub settings: Settings,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// How many calls are answered.
    pub limits: Limits,
    /// Answers that were read of it and are still good.
    pub ready: Ready,
    /// The scheduler of ECS.
    pub driver: Driver,
    /// What runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Pulls images that are not in our own registry.
    pub remote: hoist_oci::Registry,
    /// Certificates of listeners.
    pub certificates: Certificates,
    /// The load balancers.
    pub balancers: Balancers,
    /// The network.
    pub ec2: Ec2,
    /// What containers print.
    pub logs: Logs,
    /// Roles.
    pub iam: Iam,
    /// The Parameter Store.
    pub parameters: Parameters,
    /// Secrets Manager.
    pub secrets: Secrets,
    /// CloudWatch.
    pub metrics: Metrics,
    /// Auto scaling.
    pub scaling: Scaling,
    /// S3.
    pub objects: Objects,
    /// EventBridge.
    pub events: Events,
    /// EventBridge Scheduler.
    pub scheduler: Scheduler,
    /// Cloud Map.
    pub map: CloudMap,
    /// The image registry.
    pub registry: Registry,
    /// Shells in containers that somebody may come for.
    pub sessions: Sessions,
    /// `127.0.0.1:PORT`: where this instance answers; also the host of `repositoryUri`.
    pub host: String,
    /// Cancelled when the daemon stops; every background task ends with it.
    pub stopping: CancellationToken,
}

impl Ctx {
    pub(crate) fn new(inner: Inner) -> Ctx {
        Ctx(Arc::new(inner))
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        clock::now()
    }

    /// An ARN of this account: `arn:aws:SERVICE:REGION:000000000000:RESOURCE`.
    pub fn arn(&self, service: &str, region: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}")
    }
}

impl Deref for Ctx {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
