"""RunTask: real containers, what they get, how they end, what they print."""

import unittest

from base import Case, busybox, client


class Tasks(Case):
    def setUp(self):
        super().setUp()
        self.logs = client("logs")
        self.group = f"/{self.name('logs')}"
        self.cluster_name = self.cluster()

    def start(self, container, make_group=True, public=False, overrides=None, **definition):
        if make_group:
            self.logs.create_log_group(logGroupName=self.group)
        log = {
            "logDriver": "awslogs",
            "options": {"awslogs-group": self.group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
        }
        made = self.register(container={"image": busybox(), "logConfiguration": log, **container}, **definition)
        answer = self.ecs.run_task(
            cluster=self.cluster_name,
            taskDefinition=made["taskDefinitionArn"],
            launchType="FARGATE",
            networkConfiguration=self.network(public),
            overrides=overrides or {},
        )
        self.assertEqual(answer["failures"], [])
        return answer["tasks"][0]["taskArn"]

    def ended(self, arn):
        """The task when it has stopped."""
        def look():
            task = self.ecs.describe_tasks(cluster=self.cluster_name, tasks=[arn])["tasks"][0]
            return task if task["lastStatus"] == "STOPPED" else None
        return self.until("the end of the task", look)

    def printed(self, arn):
        stream = f"p/app/{arn.split('/')[-1]}"
        return [it["message"] for it in self.logs.get_log_events(logGroupName=self.group, logStreamName=stream, startFromHead=True)["events"]]

    def test_a_task_runs_its_command_and_its_output_is_in_the_log(self):
        arn = self.start({"command": ["sh", "-c", "echo out; echo err >&2; echo last; exit 3"]})
        task = self.ended(arn)
        self.assertEqual((task["stopCode"], task["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))
        container = task["containers"][0]
        self.assertEqual((container["exitCode"], container["lastStatus"]), (3, "STOPPED"))
        self.assertRegex(container["imageDigest"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(sorted(self.printed(arn)), ["err", "last", "out"])
        for moment in ["createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "stoppedAt", "connectivityAt"]:
            self.assertIn(moment, task)
        details = {it["name"]: it["value"] for it in task["attachments"][0]["details"]}
        self.assertEqual(set(details), {"subnetId", "networkInterfaceId", "macAddress", "privateDnsName", "privateIPv4Address"})
        self.assertEqual(task["group"], "family:" + task["taskDefinitionArn"].split("/")[1].split(":")[0])

    def test_image_definition_and_overrides_make_the_container_together(self):
        arn = self.start(
            {
                "command": ["sh", "-c", "id -u; pwd; echo $FROM $OWN $OVER $AWS_REGION"],
                "user": "app",
                "environment": [{"name": "OWN", "value": "definition"}, {"name": "OVER", "value": "definition"}],
            },
            overrides={"containerOverrides": [{"name": "app", "environment": [{"name": "OVER", "value": "override"}]}]},
        )
        self.ended(arn)
        self.assertEqual(self.printed(arn), ["1000", "/tmp", "image definition override us-east-1"])

    def test_without_a_command_the_image_says_what_runs(self):
        arn = self.start({})
        self.ended(arn)
        self.assertEqual(self.printed(arn), ["from the image"])

    def test_an_entry_point_drops_the_command_of_the_image(self):
        arn = self.start({"entryPoint": ["echo", "entry"]})
        self.ended(arn)
        self.assertEqual(self.printed(arn), ["entry"])

    def test_each_task_has_an_address_of_its_own_in_a_subnet(self):
        arn = self.start({"command": ["sh", "-c", "hostname -i; sleep 60"]})
        self.ecs.get_waiter("tasks_running").wait(cluster=self.cluster_name, tasks=[arn], WaiterConfig={"Delay": 1})
        task = self.ecs.describe_tasks(cluster=self.cluster_name, tasks=[arn])["tasks"][0]
        details = {it["name"]: it["value"] for it in task["attachments"][0]["details"]}
        self.assertIn(details["subnetId"], self.subnets())
        found = client("ec2").describe_network_interfaces(NetworkInterfaceIds=[details["networkInterfaceId"]])
        self.assertEqual(found["NetworkInterfaces"][0]["PrivateIpAddress"], details["privateIPv4Address"])
        self.assertEqual(task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"], details["privateIPv4Address"])
        self.ecs.stop_task(cluster=self.cluster_name, task=arn, reason="enough")
        task = self.ended(arn)
        self.assertEqual((task["stopCode"], task["stoppedReason"]), ("UserInitiated", "enough"))

    def test_stop_sends_sigterm_and_a_program_that_minds_it_ends_well(self):
        arn = self.start({"command": ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"]})
        self.until("the first line", lambda: self.running_lines(arn))
        self.ecs.stop_task(cluster=self.cluster_name, task=arn)
        task = self.ended(arn)
        self.assertEqual(task["containers"][0]["exitCode"], 7)
        self.assertEqual(self.printed(arn), ["ready", "bye"])
        self.assertEqual(task["stoppedReason"], "Task stopped by user")

    def test_one_that_does_not_mind_it_is_killed_after_its_stop_timeout(self):
        arn = self.start({"command": ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], "stopTimeout": 2})
        self.until("the first line", lambda: self.running_lines(arn))
        self.ecs.stop_task(cluster=self.cluster_name, task=arn)
        self.assertEqual(self.ended(arn)["containers"][0]["exitCode"], 137)

    def running_lines(self, arn):
        try:
            return self.printed(arn)
        except self.logs.exceptions.ResourceNotFoundException:
            return None

    def test_more_memory_than_allowed_is_the_end(self):
        arn = self.start({"command": ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"], "memory": 32})
        container = self.ended(arn)["containers"][0]
        if self.lacks("limits"):
            self.assertEqual((container["exitCode"], container.get("reason")), (0, None))
            return
        self.assertEqual(container["exitCode"], 137)
        self.assertEqual(container["reason"], "OutOfMemoryError: Container killed due to memory usage")

    def test_an_image_that_is_not_there_cannot_be_pulled(self):
        image = busybox().rsplit(":", 1)[0] + ":none"
        task = self.ended(self.start({"image": image}))
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertEqual(
            task["stoppedReason"],
            f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found",
        )

    def test_a_program_that_is_not_there_cannot_be_started(self):
        task = self.ended(self.start({"command": ["/no/such/program"]}))
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertRegex(task["stoppedReason"], "^CannotStartContainerError: .*/no/such/program.*no such file or directory")

    def test_a_file_that_is_no_program_exits_with_255(self):
        task = self.ended(self.start({"command": ["/etc/passwd"]}))
        self.assertEqual(task["stopCode"], "TaskFailedToStart" if task["containers"][0].get("exitCode") is None else "EssentialContainerExited")

    def test_a_log_group_that_is_not_there_fails_the_task(self):
        task = self.ended(self.start({}, make_group=False))
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertEqual(
            task["stoppedReason"],
            "ResourceInitializationError: failed to initialize logging driver: failed to create Cloudwatch log stream: "
            "ResourceNotFoundException: The specified log group does not exist.",
        )

    def test_a_secret_that_nobody_keeps_fails_the_task(self):
        secret = "arn:aws:ssm:us-east-1:000000000000:parameter/password"
        task = self.ended(self.start({"secrets": [{"name": "PASSWORD", "valueFrom": secret}]}))
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertRegex(task["stoppedReason"], "^ResourceInitializationError: unable to pull secrets or registry auth: .* from ssm: ")

    def test_containers_of_a_task_share_volumes_and_network_and_wait_for_each_other(self):
        self.logs.create_log_group(logGroupName=self.group)
        log = {
            "logDriver": "awslogs",
            "options": {"awslogs-group": self.group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
        }
        mount = [{"sourceVolume": "shared", "containerPath": "/shared"}]
        base = {"image": busybox(), "logConfiguration": log, "mountPoints": mount}
        made = self.ecs.register_task_definition(
            family=self.name("family"), networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/execution",
            volumes=[{"name": "shared"}],
            containerDefinitions=[
                {**base, "name": "first", "essential": False, "command": ["sh", "-c", "echo hello > /shared/file"]},
                {
                    **base, "name": "app", "command": ["sh", "-c", "cat /shared/file"],
                    "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}],
                },
            ],
        )["taskDefinition"]
        answer = self.ecs.run_task(
            cluster=self.cluster_name, taskDefinition=made["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=self.network()
        )
        arn = answer["tasks"][0]["taskArn"]
        task = self.ended(arn)
        self.assertEqual({it["name"]: it["exitCode"] for it in task["containers"]}, {"first": 0, "app": 0})
        self.assertEqual(self.printed(arn), ["hello"])


if __name__ == "__main__":
    unittest.main()
