"""Names that tasks find each other by."""

import unittest

from base import Case, busybox, client


class Names(Case):
    def test_a_task_resolves_the_names_of_cloud_map_and_service_connect(self):
        names, logs, cluster = client("servicediscovery"), client("logs"), self.cluster()
        space = f"{self.name('space')}.internal"
        operation = names.create_private_dns_namespace(Name=space, Vpc="vpc-1")["OperationId"]
        namespace = names.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
        self.assertEqual(names.get_namespace(Id=namespace)["Namespace"]["Name"], space)
        registry = names.create_service(Name="web", NamespaceId=namespace, DnsConfig={"DnsRecords": [{"Type": "A", "TTL": 10}]})["Service"]["Arn"]
        made = self.register(container={
            "image": busybox(), "command": ["sleep", "600"], "portMappings": [{"containerPort": 8080, "name": "http"}],
        })
        self.ecs.create_service(
            cluster=cluster, serviceName="server", taskDefinition=made["taskDefinitionArn"], desiredCount=1, launchType="FARGATE",
            networkConfiguration=self.network(), serviceRegistries=[{"registryArn": registry}],
            serviceConnectConfiguration={"enabled": True, "namespace": space, "services": [{"portName": "http", "clientAliases": [{"port": 8080, "dnsName": "alias"}]}]},
        )
        found = self.until("the registration of the task", lambda: names.discover_instances(NamespaceName=space, ServiceName="web")["Instances"])
        self.assertEqual(found[0]["Attributes"]["ECS_SERVICE_NAME"], "server")
        self.assertEqual([it["Id"] for it in names.list_instances(ServiceId=registry)["Instances"]], [it["InstanceId"] for it in found])
        self.refused("ResourceInUse", "Service contains registered instances; delete the instances before deleting the service", names.delete_service, Id=registry)
        names.register_instance(ServiceId=registry, InstanceId="by-hand", Attributes={"AWS_INSTANCE_IPV4": "172.31.255.254", "stage": "blue"})
        by_hand = names.discover_instances(NamespaceName=space, ServiceName="web", QueryParameters={"stage": "blue"})["Instances"]
        self.assertEqual([it["InstanceId"] for it in by_hand], ["by-hand"])
        names.deregister_instance(ServiceId=registry, InstanceId="by-hand")
        address = found[0]["Attributes"]["AWS_INSTANCE_IPV4"]
        group = f"/{self.name('group')}"
        logs.create_log_group(logGroupName=group)
        log = {"logDriver": "awslogs", "options": {"awslogs-group": group, "awslogs-region": self.ecs.meta.region_name, "awslogs-stream-prefix": "p"}}
        if self.lacks("names"):
            # The question goes to the engine's resolver, which asks this machine's.
            unknown = self.register(container={"image": busybox(), "command": ["busybox", "nslookup", f"web.{space}"], "essential": True})
            run = self.ecs.run_task(cluster=cluster, taskDefinition=unknown["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=self.network())
            look = lambda: self.ecs.describe_tasks(cluster=cluster, tasks=[run["tasks"][0]["taskArn"]])["tasks"][0]
            self.until("the end of the task", lambda: look()["lastStatus"] == "STOPPED")
            self.assertNotEqual(look()["containers"][0]["exitCode"], 0)
            return
        script = "; ".join(f"busybox nslookup {name} 2>&1 | grep -q {address} && echo {name}" for name in [f"web.{space}", "alias", f"http.{space}"])
        client_task = self.register(container={"image": busybox(), "command": ["sh", "-c", script], "logConfiguration": log})
        self.ecs.run_task(cluster=cluster, taskDefinition=client_task["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=self.network())
        printed = lambda: [it["message"] for it in logs.filter_log_events(logGroupName=group)["events"]]
        self.until("all names being known", lambda: sorted(printed()) == sorted([f"web.{space}", "alias", f"http.{space}"]))


if __name__ == "__main__":
    unittest.main()
