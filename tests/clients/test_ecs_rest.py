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
