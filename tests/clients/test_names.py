"""Names that tasks find each other by."""

import unittest

from base import Case, busybox, client


class Names(Case):
    def setUp(self):
        super().setUp()
        self.names, self.logs, self.cluster_name = client("servicediscovery"), client("logs"), self.cluster()
        self.group = f"/{self.name('group')}"
        self.logs.create_log_group(logGroupName=self.group)

    def space(self):
        name = f"{self.name('space')}.internal"
        operation = self.names.create_private_dns_namespace(Name=name, Vpc="vpc-1")["OperationId"]
        return name, self.names.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]

    def definition(self, script, stream, **container):
        options = {"awslogs-group": self.group, "awslogs-region": self.ecs.meta.region_name, "awslogs-stream-prefix": stream}
        log = {"logDriver": "awslogs", "options": options}
        made = self.register(container={"image": busybox(), "command": ["sh", "-c", script], "logConfiguration": log, **container})
        return made["taskDefinitionArn"]

    def serve(self, name, definition, **members):
        self.ecs.create_service(**{
            "cluster": self.cluster_name, "serviceName": name, "taskDefinition": definition, "desiredCount": 1, "launchType": "FARGATE",
            "networkConfiguration": self.network(), **members,
        })

    def run_task(self, definition):
        self.ecs.run_task(cluster=self.cluster_name, taskDefinition=definition, launchType="FARGATE", networkConfiguration=self.network())

    def printed(self, stream):
        found = self.logs.filter_log_events(logGroupName=self.group, logStreamNamePrefix=f"{stream}/")["events"]
        return [it["message"] for it in found]

    def instances(self, space, count):
        found = lambda: self.names.discover_instances(NamespaceName=space, ServiceName="web")["Instances"]
        return self.until("the registration of the tasks", lambda: found() if len(found()) == count else None)

    def test_a_task_resolves_the_names_of_cloud_map(self):
        space, namespace = self.space()
        self.assertEqual(self.names.get_namespace(Id=namespace)["Namespace"]["Name"], space)
        registry = self.names.create_service(Name="web", NamespaceId=namespace, DnsConfig={"DnsRecords": [{"Type": "A", "TTL": 10}]})["Service"]["Arn"]
        self.serve("server", self.definition("sleep 600", "s"), serviceRegistries=[{"registryArn": registry}], desiredCount=2)
        found = self.instances(space, 2)
        self.assertEqual(found[0]["Attributes"]["ECS_SERVICE_NAME"], "server")
        self.assertEqual({it["Id"] for it in self.names.list_instances(ServiceId=registry)["Instances"]}, {it["InstanceId"] for it in found})
        self.refused("ResourceInUse", "Service contains registered instances; delete the instances before deleting the service", self.names.delete_service, Id=registry)
        self.names.register_instance(ServiceId=registry, InstanceId="by-hand", Attributes={"AWS_INSTANCE_IPV4": "172.31.255.254", "stage": "blue"})
        by_hand = self.names.discover_instances(NamespaceName=space, ServiceName="web", QueryParameters={"stage": "blue"})["Instances"]
        self.assertEqual([it["InstanceId"] for it in by_hand], ["by-hand"])
        one = self.names.create_service(Name="one", NamespaceId=namespace, DnsConfig={"RoutingPolicy": "WEIGHTED", "DnsRecords": [{"Type": "A", "TTL": 10}]})["Service"]["Id"]
        for number in (1, 2):
            self.names.register_instance(ServiceId=one, InstanceId=f"i{number}", Attributes={"AWS_INSTANCE_IPV4": f"10.9.9.{number}"})
        self.run_task(self.definition(f"for it in web one; do busybox nslookup $it.{space} | grep -c '^Address: '; done", "c"))
        self.until("three and one addresses", lambda: self.printed("c") == ["3", "1"])
        self.names.deregister_instance(ServiceId=registry, InstanceId="by-hand")

    def test_srv_records_name_the_ports_of_tasks(self):
        space, namespace = self.space()
        registry = self.names.create_service(Name="web", NamespaceId=namespace, DnsConfig={"DnsRecords": [{"Type": "SRV", "TTL": 10}]})["Service"]["Arn"]
        server = self.definition("sleep 600", "s", portMappings=[{"containerPort": 8080}])
        self.serve("server", server, serviceRegistries=[{"registryArn": registry, "containerName": "app", "containerPort": 8080}])
        found = self.instances(space, 1)[0]
        self.assertEqual(found["Attributes"]["AWS_INSTANCE_PORT"], "8080")
        target = f"{found['InstanceId']}.web.{space}"
        script = f"busybox nslookup -type=srv web.{space} | grep -c '1 1 8080 {target}'; busybox nslookup {target} | grep -c {found['Attributes']['AWS_INSTANCE_IPV4']}"
        self.run_task(self.definition(script, "c"))
        self.until("the port and the address", lambda: self.printed("c") == ["1", "1"])

    def test_service_connect_leads_an_alias_and_its_port_to_every_task_in_turn(self):
        space, _ = self.space()
        # A container may listen on the port of an alias; the proxies do not take it.
        script = "mkdir -p /tmp/w; hostname > /tmp/w/index.html; nc -ll -p 8081 -e sleep 600 & exec httpd -f -p 8080 -h /tmp/w"
        ports = [{"containerPort": 8080, "name": "http", "appProtocol": "http"}, {"containerPort": 8081, "name": "slow", "appProtocol": "http"}]
        server = self.definition(script, "s", portMappings=ports)
        offer = lambda name, port, **more: {"portName": name, "clientAliases": [{"port": port, "dnsName": "shop"}], **more}
        offers = [offer("http", 80, discoveryName="web"), offer("slow", 81, timeout={"perRequestTimeoutSeconds": 1})]
        connect = {"enabled": True, "namespace": space, "services": offers}
        self.serve("server", server, serviceConnectConfiguration=connect, desiredCount=2)
        # busybox has no way to ask /etc/hosts.
        asking = "nc -l -p 80 & at=$(grep shop /etc/hosts | cut -f 1); wget -q -O - http://$at:81/; while true; do wget -q -O - http://$at/ || echo nobody; sleep 0.3; done"
        self.serve("client", self.definition(asking, "c"), serviceConnectConfiguration={"enabled": True, "namespace": space})
        answers = lambda: {it for it in self.printed("c") if it.startswith("ip-")}
        self.until("answers of both tasks", lambda: len(answers()) == 2)
        # One that takes too long for its time limit is given up.
        self.assertIn("504 Gateway Timeout", "".join(self.printed("c")))
        # A task outside the namespace, as every one that no service started, knows nothing of it.
        self.run_task(self.definition("grep shop /etc/hosts || echo unknown", "o"))
        self.until("the alias being unknown outside", lambda: self.printed("o")[-1:] == ["unknown"])
        self.ecs.update_service(cluster=self.cluster_name, service="server", desiredCount=0)
        self.until("nobody being there", lambda: "503" in "".join(self.printed("c")[-3:]))
        self.ecs.update_service(cluster=self.cluster_name, service="server", desiredCount=1)
        before = answers()
        self.until("an answer of a new task without a new client", lambda: answers() - before)


if __name__ == "__main__":
    unittest.main()
