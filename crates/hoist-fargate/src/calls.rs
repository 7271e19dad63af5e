//! The mutating calls of the ECS API.

use serde_json::{Map, Value};

use crate::balance;
use crate::capacity;
use crate::given_up::GivenUp;
use crate::life::{Birth, SERVICE_ONLY};
use crate::request::{self, flag, number, required, text};
use crate::stages::NOT_PAUSED;
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    Action, Answer, Arn, Call, Cluster, DeploymentStatus, HookAction, LoadBalancer, Members,
    Refusal, RolloutState, Service, ServiceDeploymentStatus, ServiceStatus, StopCode,
    TaskDefinition, TaskStatus,
};

type Request = Map<String, Value>;
type Answered = Result<Answer, Refusal>;

impl Turn<'_> {
    /// Does what an API call asks, or refuses it and changes nothing.
    pub fn call(&mut self, call: Call) -> Answered {
        let Call {
            region,
            action,
            request,
        } = call;
        let (region, asked) = (region.as_str(), &request);
        match action {
            // What keeps much of its request takes it as it is.
            Action::CreateCluster => self.create_cluster(region, request),
            Action::RegisterTaskDefinition => self.register_task_definition(region, request),
            Action::CreateService => self.create_service(region, request),
            Action::UpdateService => self.update_service(region, request),
            Action::RunTask => self.run_task(region, request),
            Action::UpdateCluster => self.update_cluster(region, asked),
            Action::DeleteCluster => self.delete_cluster(region, asked),
            Action::DeregisterTaskDefinition => self.deregister_task_definition(region, asked),
            Action::DeleteTaskDefinition => self.delete_task_definition(region, asked),
            Action::DeleteService => self.delete_service(region, asked),
            Action::StopTask => self.stop_task_call(region, asked),
            Action::UpdateTaskProtection => self.protect_tasks(region, asked),
            Action::StopServiceDeployment => self.stop_service_deployment(asked),
            Action::ContinueServiceDeployment => self.continue_service_deployment(asked),
            Action::CreateTaskSet => self.create_task_set(region, asked),
            Action::UpdateTaskSet => self.update_task_set(region, asked),
            Action::DeleteTaskSet => self.delete_task_set(region, asked),
            Action::UpdateServicePrimaryTaskSet => self.update_primary_task_set(region, asked),
            Action::TagResource => self.change_tags(asked, |tags| {
                let new = asked.get("tags").and_then(Value::as_array);
                for tag in new.into_iter().flatten() {
                    tags.retain(|it| it.get("key") != tag.get("key"));
                    tags.push(tag.clone());
                }
            }),
            Action::UntagResource => self.change_tags(asked, |tags| {
                let keys = asked.get("tagKeys").and_then(Value::as_array);
                tags.retain(|it| {
                    !keys.is_some_and(|keys| it.get("key").is_some_and(|key| keys.contains(key)))
                });
            }),
        }
    }

    fn create_cluster(&mut self, region: &str, mut request: Request) -> Answered {
        let name = request.shift_remove("clusterName");
        let name = name.as_ref().and_then(Value::as_str).unwrap_or("default");
        let arn = self.world.arn(region, "cluster", name);
        if self.world.clusters.get(&arn).is_some_and(|it| it.active) {
            return Ok(Answer::Cluster(arn));
        }
        self.world.clusters.insert(
            &arn,
            Cluster {
                arn: arn.clone(),
                name: name.to_owned(),
                region: region.to_owned(),
                active: true,
                created_at: self.now,
                request,
            },
        );
        self.world.touch(Kind::Cluster, &arn);
        Ok(Answer::Cluster(arn))
    }

    fn update_cluster(&mut self, region: &str, request: &Request) -> Answered {
        let arn = self
            .world
            .find_cluster(region, text(request, "cluster"))?
            .arn
            .clone();
        if let Some(cluster) = self.world.clusters.get_mut(&arn) {
            for (name, value) in request.iter().filter(|(name, _)| *name != "cluster") {
                cluster.request.insert(name.clone(), value.clone());
            }
        }
        self.world.touch(Kind::Cluster, &arn);
        Ok(Answer::Cluster(arn))
    }

    fn delete_cluster(&mut self, region: &str, request: &Request) -> Answered {
        let arn = self
            .world
            .find_cluster(region, text(request, "cluster"))?
            .arn
            .clone();
        if self
            .world
            .services(&arn)
            .any(|it| it.status != ServiceStatus::Inactive)
        {
            return Err(Refusal::new(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            ));
        }
        if self
            .world
            .tasks(&arn)
            .any(|it| it.status != TaskStatus::Stopped)
        {
            return Err(Refusal::new(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            ));
        }
        if let Some(cluster) = self.world.clusters.get_mut(&arn) {
            cluster.active = false;
        }
        self.world.touch(Kind::Cluster, &arn);
        Ok(Answer::Cluster(arn))
    }

    fn register_task_definition(&mut self, region: &str, request: Request) -> Answered {
        let family = required(&request, "family")?.to_owned();
        let containers = request::containers(&request);
        if containers.is_empty() {
            return Err(Refusal::new(
                "ClientException",
                "Container list cannot be empty.",
            ));
        }
        let last = self
            .world
            .settings
            .families
            .entry(format!("{region}/{family}"))
            .or_default();
        *last += 1;
        let revision = *last;
        self.world.touch(Kind::Settings, "");
        let arn = self
            .world
            .arn(region, "task-definition", &format!("{family}:{revision}"));
        self.world.task_definitions.insert(
            &arn,
            TaskDefinition {
                arn: arn.clone(),
                region: region.to_owned(),
                family,
                revision,
                active: true,
                registered_at: self.now,
                deregistered_at: None,
                deleted_at: None,
                document: request,
                containers,
            },
        );
        self.world.touch(Kind::TaskDefinition, &arn);
        Ok(Answer::TaskDefinition(arn))
    }

    fn deregister_task_definition(&mut self, region: &str, request: &Request) -> Answered {
        let arn = self
            .world
            .find_task_definition(region, required(request, "taskDefinition")?)
            .ok_or_else(|| {
                Refusal::new(
                    "ClientException",
                    "The specified task definition does not exist.",
                )
            })?
            .arn
            .clone();
        if let Some(definition) = self.world.task_definitions.get_mut(&arn)
            && definition.active
        {
            definition.active = false;
            definition.deregistered_at = Some(self.now);
        }
        self.world.touch(Kind::TaskDefinition, &arn);
        Ok(Answer::TaskDefinition(arn))
    }

    /// Marks an inactive revision as deleted. It can still be described, and what runs it goes on.
    fn delete_task_definition(&mut self, region: &str, request: &Request) -> Answered {
        let missing = "The specified task definition does not exist.";
        let arn = self
            .world
            .find_task_definition(region, required(request, "taskDefinition")?)
            .ok_or_else(|| Refusal::new("ClientException", missing))?
            .arn
            .clone();
        let now = self.now;
        if let Some(definition) = self.world.task_definitions.get_mut(&arn) {
            if definition.active {
                return Err(Refusal::new(
                    "ClientException",
                    "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
                ));
            }
            definition.deleted_at.get_or_insert(now);
        }
        self.world.touch(Kind::TaskDefinition, &arn);
        Ok(Answer::TaskDefinition(arn))
    }

    pub fn usable_definition(&self, region: &str, name: &str) -> Result<&TaskDefinition, Refusal> {
        let definition = self
            .world
            .find_task_definition(region, name)
            .ok_or_else(|| Refusal::new("ClientException", "TaskDefinition not found."))?;
        if !definition.active {
            return Err(Refusal::new(
                "ClientException",
                "TaskDefinition is inactive",
            ));
        }
        Ok(definition)
    }

    fn create_service(&mut self, region: &str, request: Request) -> Answered {
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

    fn update_service(&mut self, region: &str, request: Request) -> Answered {
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

    fn delete_service(&mut self, region: &str, request: &Request) -> Answered {
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

    fn run_task(&mut self, region: &str, request: Request) -> Answered {
        let cluster = self
            .world
            .find_cluster(region, text(&request, "cluster"))?
            .clone();
        let count = number(&request, "count").unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(Refusal::invalid("count must be between 1 and 10."));
        }
        let definition = self.usable_definition(region, required(&request, "taskDefinition")?)?;
        let (definition, family) = (definition.arn.clone(), definition.family.clone());
        if let Some(answer) = self.ran_before(&cluster.arn, &request, &definition, count)? {
            return Ok(answer);
        }
        let group =
            text(&request, "group").map_or_else(|| format!("family:{family}"), str::to_owned);
        let started_by = text(&request, "startedBy").map(str::to_owned);
        let mut kept = request;
        for member in SERVICE_ONLY {
            kept.shift_remove(*member);
        }
        for member in ["cluster", "count", "taskDefinition", "startedBy", "group"] {
            kept.shift_remove(member);
        }
        let strategy = self.strategy_of(&kept, &cluster.arn).to_vec();
        let request_of_task = self.shape_request(kept, &definition);
        let mut providers: Vec<Option<String>> = Vec::new();
        let arns = (0..count)
            .map(|_| {
                let provider = capacity::choose(&strategy, |name| {
                    let same = |it: &&Option<String>| it.as_deref() == Some(name);
                    providers.iter().filter(same).count() as u32
                });
                providers.push(provider.clone());
                let (_, id) = self.launch(Birth {
                    region,
                    cluster: &cluster.arn,
                    cluster_name: &cluster.name,
                    definition: &definition,
                    group: group.clone(),
                    started_by: started_by.clone(),
                    service: None,
                    revision: None,
                    load_balancers: &[],
                    request: request_of_task.clone(),
                    provider,
                    zone: None,
                });
                self.world
                    .arn(region, "task", &format!("{}/{id}", cluster.name))
            })
            .collect();
        Ok(Answer::Tasks(arns))
    }

    /// The tasks that an earlier RunTask with the same `clientToken` started.
    fn ran_before(
        &self,
        cluster: &str,
        request: &Request,
        definition: &str,
        count: u32,
    ) -> Result<Option<Answer>, Refusal> {
        let Some(token) = text(request, "clientToken") else {
            return Ok(None);
        };
        let earlier: Vec<&crate::Task> = self
            .world
            .tasks(cluster)
            .filter(|task| text(&task.request, "clientToken") == Some(token))
            .collect();
        let Some(first) = earlier.first() else {
            return Ok(None);
        };
        if first.task_definition != definition || earlier.len() != count as usize {
            return Err(Refusal::new(
                "ConflictException",
                "The RunTask request could not be processed due to conflicts. The provided clientToken is already in use with different parameters.",
            ));
        }
        Ok(Some(Answer::Tasks(
            earlier.into_iter().map(|task| task.arn.clone()).collect(),
        )))
    }

    fn stop_task_call(&mut self, region: &str, request: &Request) -> Answered {
        let cluster = self.world.find_cluster(region, text(request, "cluster"))?;
        let arn = self
            .world
            .find_task(cluster, required(request, "task")?)
            .ok_or_else(|| Refusal::invalid("The referenced task was not found."))?
            .arn
            .clone();
        let reason = text(request, "reason").unwrap_or("Task stopped by user");
        self.stop_task(&arn, StopCode::UserInitiated, reason);
        Ok(Answer::Tasks(vec![arn]))
    }

    /// Protects tasks of services from being stopped for a deployment or to scale in, 2 h if the call does not say how long, or ends
    /// that. Leaves out tasks for which that is not possible.
    fn protect_tasks(&mut self, region: &str, request: &Request) -> Answered {
        let cluster = self.world.find_cluster(region, text(request, "cluster"))?;
        let minutes = number(request, "expiresInMinutes").unwrap_or(120);
        if !(1..=2880).contains(&minutes) {
            return Err(Refusal::invalid(
                "expiresInMinutes must be between 1 and 2880.",
            ));
        }
        let until =
            flag(request, "protectionEnabled").then(|| self.now + u64::from(minutes) * 60_000);
        let named = request.get("tasks").and_then(Value::as_array);
        let arns: Vec<Arn> = named
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter_map(|name| self.world.find_task(cluster, name))
            .filter(|task| task.status != TaskStatus::Stopped && task.service.is_some())
            .filter(|task| until.is_none() || !self.world.is_held_up(task))
            .map(|task| task.arn.clone())
            .collect();
        for arn in &arns {
            if let Some((key, mut task)) = self.world.take_task(arn) {
                task.protected_until = until;
                self.world.tasks.put(key, task);
                self.world.tasks.touch(key);
                self.queue_task(arn);
            }
            let service = self.world.task(arn).and_then(|it| it.service.clone());
            self.queue_service(service.as_deref().unwrap_or_default());
        }
        Ok(Answer::Tasks(arns))
    }

    fn stop_service_deployment(&mut self, request: &Request) -> Answered {
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
    fn continue_service_deployment(&mut self, request: &Request) -> Answered {
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

    fn change_tags(&mut self, request: &Request, change: impl FnOnce(&mut Vec<Value>)) -> Answered {
        let arn = required(request, "resourceArn")?.to_owned();
        let world = &mut *self.world;
        let (kind, members) = if let Some(it) = world.clusters.get_mut(&arn) {
            // github.com/gruntwork-io/cloud-nuke, issue 145
            if !it.active {
                return Err(Refusal::invalid(
                    "The specified cluster is inactive. Specify an active cluster and try again.",
                ));
            }
            (Kind::Cluster, &mut it.request)
        } else if let Some(it) = world.task_definitions.get_mut(&arn) {
            (Kind::TaskDefinition, &mut it.document)
        } else if let Some(it) = world.services.get_mut(&arn) {
            (Kind::Service, it.request.change())
        } else if let Some(it) = world.tasks.get_mut(&arn) {
            (Kind::Task, it.request.change())
        } else if arn.contains(":cluster/") {
            return Err(Refusal::new(
                "ClusterNotFoundException",
                "Cluster not found.",
            ));
        } else {
            return Err(Refusal::invalid(
                "The specified resource could not be found.",
            ));
        };
        let mut tags = match members.shift_remove("tags") {
            Some(Value::Array(tags)) => tags,
            _ => Vec::new(),
        };
        change(&mut tags);
        members.insert("tags".to_owned(), Value::Array(tags));
        world.touch(kind, &arn);
        Ok(Answer::Nothing)
    }
}
