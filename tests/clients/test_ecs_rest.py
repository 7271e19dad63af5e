"""The rest of the ECS API: what tools, consoles and waiters ask for beside services and tasks."""

from base import Case


class Rest(Case):
    def test_there_are_no_container_instances_and_no_attributes(self):
        cluster = self.cluster()
        self.assertEqual(self.ecs.list_container_instances(cluster=cluster)["containerInstanceArns"], [])
        answer = self.ecs.describe_container_instances(cluster=cluster, containerInstances=["x"])
        arn = f"arn:aws:ecs:us-east-1:000000000000:container-instance/{cluster}/x"
        self.assertEqual(answer["failures"], [{"arn": arn, "reason": "MISSING"}])
        self.assertEqual(self.ecs.list_attributes(cluster=cluster, targetType="container-instance")["attributes"], [])

    def test_there_are_no_daemons_and_no_gateways_and_what_makes_them_says_that_it_is_not_there(self):
        cluster = f"arn:aws:ecs:us-east-1:000000000000:cluster/{self.cluster()}"
        self.assertEqual(self.ecs.list_daemons(clusterArn=cluster)["daemonSummariesList"], [])
        self.assertEqual(self.ecs.list_daemon_task_definitions()["daemonTaskDefinitions"], [])
        self.assertEqual(self.ecs.list_gateways()["gateways"], [])
        self.assertEqual(self.ecs.list_gateway_cluster_associations(cluster=cluster)["gatewayClusterAssociations"], [])
        self.refused("ClusterNotFoundException", "Cluster not found.", self.ecs.list_daemons, clusterArn=f"{cluster}-none")
        self.refused(
            "NotImplemented", "CreateExpressGatewayService is an operation of ecs that the embedded AWS does not have",
            self.ecs.create_express_gateway_service, infrastructureRoleArn="arn:aws:iam::000000000000:role/x",
        )

    def test_tasks_are_not_started_on_container_instances_that_are_not_there(self):
        cluster = self.cluster()
        arn = f"arn:aws:ecs:us-east-1:000000000000:container-instance/{cluster}/x"
        missing = [{"arn": arn, "reason": "MISSING"}]
        family = self.register()["family"]
        started = self.ecs.start_task(cluster=cluster, taskDefinition=family, containerInstances=["x"])
        self.assertEqual((started["tasks"], started["failures"]), ([], missing))
        drained = self.ecs.update_container_instances_state(cluster=cluster, containerInstances=[arn], status="DRAINING")
        self.assertEqual((drained["containerInstances"], drained["failures"]), ([], missing))
        for call in (self.ecs.deregister_container_instance, self.ecs.update_container_agent):
            self.refused("ClientException", "Referenced container instance x not found.", call, cluster=cluster, containerInstance=arn)

    def test_services_are_found_by_their_namespace(self):
        cluster = self.cluster()
        family = self.register()["family"]
        arns = {}
        for name, connect in [("in", {"enabled": True, "namespace": "shop"}), ("out", {"enabled": False}), ("none", None)]:
            request = {"serviceConnectConfiguration": connect} if connect else {}
            service = self.ecs.create_service(
                cluster=cluster, serviceName=name, taskDefinition=family, desiredCount=0,
                launchType="FARGATE", networkConfiguration=self.network(), **request,
            )["service"]
            arns[name] = service["serviceArn"]
        self.assertEqual(self.ecs.list_services_by_namespace(namespace="shop")["serviceArns"], [arns["in"]])
        answer = self.ecs.describe_task_sets(cluster=cluster, service="in", taskSets=["ecs-svc/1"])
        self.assertEqual((answer["taskSets"], [it["reason"] for it in answer["failures"]]), ([], ["MISSING"]))

    def test_a_token_makes_a_repeated_call_the_same_call(self):
        cluster = self.cluster()
        family = self.register(container={"image": "127.0.0.1:1/none"})["family"]
        run = {"cluster": cluster, "taskDefinition": family, "launchType": "FARGATE", "networkConfiguration": self.network()}
        first = self.ecs.run_task(**run, count=2, clientToken="once")["tasks"]
        again = self.ecs.run_task(**run, count=2, clientToken="once")["tasks"]
        self.assertEqual({it["taskArn"] for it in first}, {it["taskArn"] for it in again})
        with self.assertRaises(self.ecs.exceptions.ConflictException):
            self.ecs.run_task(**run, count=1, clientToken="once")
        other = self.ecs.run_task(**run, count=1)["tasks"]
        self.assertNotIn(other[0]["taskArn"], [it["taskArn"] for it in first])
        service = {**run, "serviceName": "web", "desiredCount": 0, "clientToken": "twice"}
        made = self.ecs.create_service(**service)["service"]["serviceArn"]
        self.assertEqual(self.ecs.create_service(**service)["service"]["serviceArn"], made)
        self.refused(
            "InvalidParameterException", "Creation of service was not idempotent.",
            self.ecs.create_service, **{**service, "clientToken": "thrice"},
        )

    def test_settings_take_only_their_own_values(self):
        with self.assertRaises(self.ecs.exceptions.InvalidParameterException):
            self.ecs.put_account_setting(name="fargateTaskRetirementWaitPeriod", value="3")
        self.ecs.put_account_setting_default(name="fargateTaskRetirementWaitPeriod", value="14")
        self.addCleanup(self.ecs.delete_account_setting, name="fargateTaskRetirementWaitPeriod")
        settings = self.ecs.list_account_settings(name="fargateTaskRetirementWaitPeriod")["settings"]
        self.assertEqual([it["value"] for it in settings], ["14"])

    def test_tasks_of_services_are_protected_and_standalone_ones_are_not(self):
        cluster = self.cluster()
        family = self.register(container={"image": "127.0.0.1:1/none"})["family"]
        shape = {"taskDefinition": family, "launchType": "FARGATE", "networkConfiguration": self.network()}
        alone = self.ecs.run_task(cluster=cluster, **shape)["tasks"][0]["taskArn"]
        answer = self.ecs.update_task_protection(cluster=cluster, tasks=[alone, "0" * 32], protectionEnabled=True)
        self.assertEqual(answer["protectedTasks"], [])
        self.assertEqual([it["reason"] for it in answer["failures"]], ["TASK_NOT_VALID", "MISSING"])
        self.ecs.create_service(cluster=cluster, serviceName="web", desiredCount=1, **shape)
        task = self.until("a task", lambda: self.ecs.list_tasks(cluster=cluster, serviceName="web")["taskArns"])[0]
        answer = self.ecs.update_task_protection(cluster=cluster, tasks=[task], protectionEnabled=True, expiresInMinutes=60)
        # It may have failed meanwhile: its image is nowhere.
        if answer["protectedTasks"]:
            self.assertEqual(answer["protectedTasks"][0]["taskArn"], task)
            self.assertTrue(answer["protectedTasks"][0]["expirationDate"])
        for minutes in (0, 2881):
            self.refused(
                "InvalidParameterException", "expiresInMinutes must be between 1 and 2880.", self.ecs.update_task_protection,
                cluster=cluster, tasks=[task], protectionEnabled=True, expiresInMinutes=minutes,
            )
        answer = self.ecs.get_task_protection(cluster=cluster)
        self.assertNotIn(alone, [it["taskArn"] for it in answer["protectedTasks"]])

    def test_a_service_of_an_external_controller_has_task_sets(self):
        cluster = self.cluster()
        family = self.register()["family"]
        service = self.ecs.create_service(
            cluster=cluster, serviceName="web", desiredCount=2, deploymentController={"type": "EXTERNAL"},
        )["service"]
        self.assertEqual((service["deployments"], service["taskSets"]), ([], []))
        self.assertNotIn("taskDefinition", service)
        ours = {"cluster": cluster, "service": "web"}
        made = self.ecs.create_task_set(
            **ours, taskDefinition=family, launchType="FARGATE", networkConfiguration=self.network(), externalId="one",
            scale={"value": 0, "unit": "PERCENT"},
        )["taskSet"]
        self.assertEqual((made["status"], made["computedDesiredCount"], made["externalId"]), ("ACTIVE", 0, "one"))
        self.assertRegex(made["taskSetArn"], rf"^arn:aws:ecs:us-east-1:000000000000:task-set/{cluster}/web/ecs-svc/\d{{19}}$")
        first = self.ecs.update_service_primary_task_set(**ours, primaryTaskSet=made["id"])["taskSet"]
        self.assertEqual(first["status"], "PRIMARY")
        shown = self.ecs.describe_services(cluster=cluster, services=["web"])["services"][0]
        self.assertEqual([it["id"] for it in shown["taskSets"]], [made["id"]])
        self.assertEqual(shown["taskDefinition"], made["taskDefinition"])
        steady = lambda: self.ecs.describe_task_sets(**ours)["taskSets"][0]["stabilityStatus"] == "STEADY_STATE"
        self.until("the set's steady state", steady)
        scaled = self.ecs.update_task_set(**ours, taskSet=made["taskSetArn"], scale={"value": 50, "unit": "PERCENT"})["taskSet"]
        self.assertEqual((scaled["computedDesiredCount"], scaled["stabilityStatus"]), (1, "STABILIZING"))
        self.refused(
            "InvalidParameterException", "The task set cannot be deleted while it is scaled above 0.",
            self.ecs.delete_task_set, **ours, taskSet=made["id"],
        )
        gone = self.ecs.delete_task_set(**ours, taskSet=made["id"], force=True)["taskSet"]
        self.assertEqual(gone["status"], "DRAINING")
        self.until("the set's end", lambda: not self.ecs.describe_task_sets(**ours)["taskSets"])
        self.refused(
            "TaskSetNotFoundException", "The specified task set does not exist.",
            self.ecs.update_task_set, **ours, taskSet=made["id"], scale={"value": 1, "unit": "PERCENT"},
        )
        self.refused(
            "InvalidParameterException", "Unable to update task definition on services with an EXTERNAL deployment controller.",
            self.ecs.update_service, **ours, taskDefinition=family,
        )
