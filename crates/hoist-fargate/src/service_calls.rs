//! The mutating calls of the ECS API on services and their deployments.

use serde_json::{Map, Value};

use crate::balance;
use crate::given_up::GivenUp;
use crate::request::{self, flag, number, required, text};
use crate::stages::NOT_PAUSED;
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    Answer, Arn, DeploymentStatus, HookAction, LoadBalancer, Members, Refusal, RolloutState,
    Service, ServiceDeploymentStatus, ServiceStatus, TaskStatus,
};

type Request = Map<String, Value>;
type Answered = Result<Answer, Refusal>;

impl Turn<'_> {
    pub fn create_service(&mut self, region: &str, request: Request) -> Answered {
        let cluster = self.world.find_cluster(region, text(&request, "cluster"))?;
        let name = required(&request, "serviceName")?;
        let token = text(&request, "clientToken").map(str::to_owned);
        match self.world.find_service(cluster, name) {
            Some(old) if old.status == ServiceStatus::Active => {
                return if token.is_some() && old.client_token == token {
                    Ok(Answer::Service(old.arn.clone()))
                } else {
                    Err(Refusal::invalid("Creation of service was not idempotent."))
                };
            }
            Some(old) if old.status == ServiceStatus::Draining => {
                return Err(Refusal::invalid(
                    "Unable to Start a service that is still Draining.",
                ));
            }
            _ => {}
        }
        let is_external = request
            .get("deploymentController")
            .is_some_and(|it| it["type"] == "EXTERNAL");
        let definition = match is_external {
            true => Arn::new(),
            false => self
                .usable_definition(region, required(&request, "taskDefinition")?)?
                .arn
                .clone(),
        };
        let mut service = Service {
            arn: self
                .world
                .arn(region, "service", &format!("{}/{name}", cluster.name)),
            name: name.to_owned(),
            region: region.to_owned(),
            cluster: cluster.arn.clone(),
            status: ServiceStatus::Active,
            task_definition: definition.clone(),
            desired_count: number(&request, "desiredCount").unwrap_or(0),
            created_at: self.now,
            client_token: token,
            ..Service::default()
        };
        let mut kept = Request::new();
        request::keep(&mut kept, request);
        balance::settle(&mut kept, is_external);
        self.read_settings(&mut service, &definition, kept.into())?;
        if !is_external {
            self.begin(&mut service);
        }
        let arn = service.arn.clone();
        self.world.touch(Kind::Service, &arn);
        self.world.services.insert(&arn, service);
        self.queue_service(&arn);
        Ok(Answer::Service(arn))
    }

    /// Reads what the scheduler needs of the members of a service. A refusal changes nothing.
    fn read_settings(
        &self,
        service: &mut Service,
        definition: &str,
        kept: Members,
    ) -> Result<(), Refusal> {
        let configuration = request::configuration(&kept)?;
        let is_new = service.request.is_empty();
        let balances = balance::read(&kept, &configuration, is_new)?;
        let load_balancers = request::load_balancers(&kept);
        self.refuse_balancers(&load_balancers, definition)?;
        self.refuse_offers(&kept, definition)?;
        service.configuration = configuration;
        service.balance.enabled = balances;
        service.load_balancers = load_balancers;
        service.grace_period =
            u64::from(number(&kept, "healthCheckGracePeriodSeconds").unwrap_or(0)) * 1_000;
        service.request = kept;
        Ok(())
    }

    fn refuse_balancers(
        &self,
        load_balancers: &[LoadBalancer],
        definition: &str,
    ) -> Result<(), Refusal> {
        let definition = self.world.task_definition(definition);
        let lacks = |it: &&LoadBalancer| {
            definition.is_some_and(|definition| definition.container(&it.container).is_none())
        };
        match load_balancers.iter().find(lacks) {
            Some(balancer) => Err(Refusal::invalid(format!(
                "The container {} does not exist in the task definition.",
                balancer.container
            ))),
            None => Ok(()),
        }
    }

    /// What Service Connect offers must be a named port of the task definition (the message: several public logs).
    fn refuse_offers(&self, kept: &Request, definition: &str) -> Result<(), Refusal> {
        let connect = kept.get("serviceConnectConfiguration");
        let connect = connect.filter(|it| it["enabled"] == true);
        let offers = connect.and_then(|it| it["services"].as_array());
        let (Some(offers), Some(definition)) = (offers, self.world.task_definition(definition))
        else {
            return Ok(());
        };
        let containers = definition.document.get("containerDefinitions");
        let ports = containers
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .flat_map(|it| it["portMappings"].as_array())
            .flatten()
            .map(|it| &it["name"]);
        let unknown = offers
            .iter()
            .filter_map(|it| it["portName"].as_str())
            .find(|name| !ports.clone().any(|it| it == name));
        match unknown {
            Some(name) => Err(Refusal::invalid(format!(
                "portName({name}) does not refer to any named PortMapping in the container definitions"
            ))),
            None => Ok(()),
        }
    }

    pub fn find_active_service(&self, region: &str, request: &Request) -> Result<Arn, Refusal> {
        let cluster = self.world.find_cluster(region, text(request, "cluster"))?;
        let service = self
            .world
            .find_service(cluster, required(request, "service")?)
            .ok_or_else(|| Refusal::new("ServiceNotFoundException", "Service not found."))?;
        if service.status != ServiceStatus::Active {
            return Err(Refusal::new(
                "ServiceNotActiveException",
                "Service was not ACTIVE.",
            ));
        }
        Ok(service.arn.clone())
    }

    pub fn update_service(&mut self, region: &str, request: Request) -> Answered {
        let arn = self.find_active_service(region, &request)?;
        let definition = match text(&request, "taskDefinition") {
            Some(name) => Some(self.usable_definition(region, name)?.arn.clone()),
            None => None,
        };
        if let Some(service) = self.world.service(&arn) {
            self.refuse_reshaping(service, &request)?;
        }
        let (key, mut service) = self.take_service(&arn)?;
        let grace_period = service.grace_period;
        let updated = self.update(&mut service, definition, request);
        let has_other_grace = service.grace_period != grace_period;
        self.world.services.put(key, service);
        updated?;
        self.world.services.touch(key);
        if has_other_grace {
            // It decides about tasks that run already.
            for (key, task) in self.world.live_tasks_of(&arn) {
                if task.status == TaskStatus::Running {
                    self.queues.tasks.insert(key);
                }
            }
        }
        self.queues.services.insert(key);
        Ok(Answer::Service(arn))
    }

    pub fn take_service(&mut self, arn: &str) -> Result<(Key, Box<Service>), Refusal> {
        let services = &mut self.world.services;
        let found = services
            .key(arn)
            .and_then(|key| Some((key, services.take(key)?)));
        found.ok_or_else(|| Refusal::new("ServiceNotFoundException", "Service not found."))
    }

    /// Lays the request over a service, and begins a deployment if that changes what runs. A refusal changes nothing.
    fn update(
        &mut self,
        service: &mut Service,
        definition: Option<Arn>,
        request: Request,
    ) -> Result<(), Refusal> {
        let definition = definition.unwrap_or_else(|| service.task_definition.clone());
        let count = number(&request, "desiredCount");
        let forced = flag(&request, "forceNewDeployment");
        let reshaped = request.iter().any(|(name, value)| {
            request::REVISION_MEMBERS.contains(&name.as_str())
                && request::is_kept(name, value)
                && service.request.get(name) != Some(value)
        });
        if request
            .iter()
            .any(|(name, value)| request::is_kept(name, value))
        {
            let mut kept = service.request.clone();
            request::keep(kept.change(), request);
            self.read_settings(service, &definition, kept)?;
        } else {
            self.refuse_balancers(&service.load_balancers, &definition)?;
            self.refuse_offers(&service.request, &definition)?;
        }
        service.desired_count = count.unwrap_or(service.desired_count);
        let is_new = reshaped || forced || service.task_definition != definition;
        if is_new && !service.is_external() {
            service.task_definition = definition;
            self.begin(service);
        }
        Ok(())
    }

    pub fn delete_service(&mut self, region: &str, request: &Request) -> Answered {
        let cluster = self.world.find_cluster(region, text(request, "cluster"))?;
        let draining = self
            .world
            .find_service(cluster, required(request, "service")?)
            .filter(|it| it.status == ServiceStatus::Draining);
        if let Some(service) = draining {
            return Ok(Answer::Service(service.arn.clone()));
        }
        let arn = self.find_active_service(region, request)?;
        let (key, mut service) = self.take_service(&arn)?;
        if service.desired_count > 0 && !flag(request, "force") {
            self.world.services.put(key, service);
            return Err(Refusal::invalid(
                "The service cannot be stopped while it is scaled above 0.",
            ));
        }
        self.end_in_flight(
            &mut service,
            ServiceDeploymentStatus::Stopped,
            "The service deployment was stopped because the service was deleted.",
        );
        service.status = ServiceStatus::Draining;
        service.desired_count = 0;
        self.drop_sets(&mut service);
        for deployment in &mut service.deployments {
            deployment.desired_count = 0;
            deployment.launch_after = None;
        }
        self.world.services.put(key, service);
        self.world.touch(Kind::Service, &arn);
        self.queue_service(&arn);
        Ok(Answer::Service(arn))
    }

    pub fn stop_service_deployment(&mut self, request: &Request) -> Answered {
        let arn = required(request, "serviceDeploymentArn")?.to_owned();
        let record = self.world.service_deployment(&arn).ok_or_else(|| {
            Refusal::new(
                "ServiceDeploymentNotFoundException",
                "Service deployment not found.",
            )
        })?;
        let (status, service_arn) = (record.status, record.service.clone());
        if status.is_final() {
            return Err(Refusal::new(
                "ConflictException",
                format!(
                    "The service deployment cannot be stopped because it is in the {} state.",
                    status.as_str()
                ),
            ));
        }
        if status == ServiceDeploymentStatus::RollbackInProgress {
            return Ok(Answer::ServiceDeployment(arn));
        }
        let aborts = text(request, "stopType") == Some("ABORT");
        let (key, mut service) = self.take_service(&service_arn)?;
        let running = service.primary().is_some_and(|it| {
            it.status == DeploymentStatus::Primary && it.rollout_state == RolloutState::InProgress
        });
        if !running || (!aborts && !self.can_roll_back(&service)) {
            self.world.services.put(key, service);
            return Err(Refusal::new(
                "ConflictException",
                "The service deployment cannot be rolled back because there is no completed service deployment to roll back to.",
            ));
        }
        let why = if aborts {
            GivenUp::Abort
        } else {
            GivenUp::Request
        };
        self.give_up(&mut service, why);
        self.world.services.put(key, service);
        self.world.touch(Kind::Service, &service_arn);
        self.queue_service(&service_arn);
        Ok(Answer::ServiceDeployment(arn))
    }

    /// Refusals: developer guide, troubleshooting blue/green deployments.
    pub fn continue_service_deployment(&mut self, request: &Request) -> Answered {
        let arn = required(request, "serviceDeploymentArn")?.to_owned();
        let hook = required(request, "hookId")?;
        let record = self.world.service_deployment(&arn).ok_or_else(|| {
            Refusal::new(
                "ServiceDeploymentNotFoundException",
                "The service deployment does not exist.",
            )
        })?;
        if record.status.is_final() {
            return Err(Refusal::invalid(
                "Continuing a service deployment is not allowed for service deployment in terminal states.",
            ));
        }
        let kind = hook.strip_prefix("ecs-").and_then(|it| it.split_once('-'));
        if kind.is_none_or(|(kind, id)| kind.is_empty() || id.is_empty()) {
            return Err(Refusal::invalid(
                "Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}",
            ));
        }
        let service = record.service.clone();
        let action = match text(request, "action") {
            Some("ROLLBACK") => HookAction::Rollback,
            _ => HookAction::Continue,
        };
        let in_flight = self
            .world
            .services
            .get(&service)
            .is_some_and(|it| it.current_service_deployment.as_deref() == Some(arn.as_str()));
        if !in_flight {
            return Err(Refusal::invalid(NOT_PAUSED));
        }
        self.resolve_pause(&service, hook, action)?;
        Ok(Answer::ServiceDeployment(arn))
    }
}
