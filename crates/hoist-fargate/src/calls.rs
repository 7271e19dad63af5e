//! The mutating calls of the ECS API: on clusters, task definitions, tasks and tags; those on services are in `service_calls`.

use serde_json::{Map, Value};

use crate::capacity;
use crate::life::{Birth, SERVICE_ONLY};
use crate::request::{self, flag, number, required, text};
use crate::step::Turn;
use crate::world::Kind;
use crate::{
    Action, Answer, Arn, Call, Cluster, Refusal, ServiceStatus, StopCode, TaskDefinition,
    TaskStatus,
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
