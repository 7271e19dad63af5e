"""What a task definition says of its containers, seen from inside real ones."""

import unittest

from base import Case, busybox, client, push_busybox
from runtimes import RUNTIME


class Containers(Case):
    def setUp(self):
        super().setUp()
        self.logs = client("logs")
        self.group = f"/{self.name('logs')}"
        self.logs.create_log_group(logGroupName=self.group)
        self.cluster_name = self.cluster()

    def start(self, containers, security_groups=None, **definition):
        """Runs a task of containers by name: each a command for the shell, or members of a container definition."""
        log = {
            "logDriver": "awslogs",
            "options": {"awslogs-group": self.group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
        }
        definitions = []
        for name, container in containers.items():
            if isinstance(container, str):
                container = {"command": ["sh", "-c", container]}
            elif isinstance(container["command"], str):
                container = {**container, "command": ["sh", "-c", container["command"]]}
            definitions.append({"name": name, "image": busybox(), "logConfiguration": log, "stopTimeout": 2, **container})
        made = self.ecs.register_task_definition(
            family=self.name("family"), networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/execution", containerDefinitions=definitions, **definition,
        )["taskDefinition"]
        network = self.network()
        if security_groups:
            network["awsvpcConfiguration"]["securityGroups"] = security_groups
        answer = self.ecs.run_task(
            cluster=self.cluster_name, taskDefinition=made["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=network
        )
        self.assertEqual(answer["failures"], [])
        return answer["tasks"][0]["taskArn"]

    def task(self, arn):
        return self.ecs.describe_tasks(cluster=self.cluster_name, tasks=[arn])["tasks"][0]

    def ended(self, arn):
        def look():
            task = self.task(arn)
            return task if task["lastStatus"] == "STOPPED" else None
        return self.until("the end of the task", look)

    def printed(self, arn, container="app"):
        stream = f"p/{container}/{arn.split('/')[-1]}"
        events = self.logs.get_log_events(logGroupName=self.group, logStreamName=stream, startFromHead=True)["events"]
        return [it["message"] for it in events]

    def codes(self, task):
        return {it["name"]: it.get("exitCode") for it in task["containers"]}

    def test_containers_start_after_those_they_depend_on_and_stop_before_them(self):
        mount = {"mountPoints": [{"sourceVolume": "order", "containerPath": "/order"}]}
        def worker(name, **more):
            script = f"echo up-{name} >> /order/log; trap 'echo down-{name} >> /order/log; exit 0' TERM; sleep 1000 & wait"
            return {"command": script, "essential": False, **mount, **more}
        arn = self.start(
            {
                "prepare": {"command": "echo prepared >> /order/log", "essential": False, **mount},
                "seed": {
                    "command": "echo seeded >> /order/log; exit 3", "essential": False, **mount,
                    "dependsOn": [{"containerName": "prepare", "condition": "SUCCESS"}],
                },
                "db": worker(
                    "db", healthCheck={"command": ["CMD-SHELL", "test -e /order/log"], "interval": 5, "retries": 1},
                    dependsOn=[{"containerName": "seed", "condition": "COMPLETE"}],
                ),
                "cache": worker("cache", dependsOn=[{"containerName": "db", "condition": "HEALTHY"}]),
                # The last word is the first container's that started, so that the whole order can be read there.
                "app": {
                    "command": "echo up-app >> /order/log; sleep 0.2; echo down-app >> /order/log", **mount,
                    "dependsOn": [{"containerName": "cache", "condition": "START"}],
                },
                "reader": {
                    "essential": False, "stopTimeout": 20, **mount,
                    "command": "trap 'while ! grep -q down-db /order/log; do sleep 0.05; done; cat /order/log; exit 0' TERM; sleep 1000 & wait",
                },
            },
            volumes=[{"name": "order"}],
        )
        task = self.ended(arn)
        self.assertEqual((task["stopCode"], task["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))
        self.assertEqual(self.codes(task), {"prepare": 0, "seed": 3, "db": 0, "cache": 0, "app": 0, "reader": 0})
        self.assertEqual(
            self.printed(arn, "reader"),
            ["prepared", "seeded", "up-db", "up-cache", "up-app", "down-app", "down-cache", "down-db"],
        )

    def test_volumes_are_shared_read_only_where_asked_and_taken_over_from_others(self):
        arn = self.start(
            {
                "writer": {
                    "command": "echo data > /data/file; sleep 1000", "essential": False,
                    "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}], "stopTimeout": 2,
                    "healthCheck": {"command": ["CMD-SHELL", "test -s /data/file"], "interval": 5, "retries": 1},
                },
                "app": {
                    "command": "cat /data/file; touch /data/x 2>/dev/null || echo refused; cat /seen/file; touch /seen/x 2>/dev/null || echo refused;"
                               " stat -c '%u %a' /data",
                    "mountPoints": [{"sourceVolume": "data", "containerPath": "/seen", "readOnly": True}],
                    "volumesFrom": [{"sourceContainer": "writer", "readOnly": True}],
                    "dependsOn": [{"containerName": "writer", "condition": "HEALTHY"}],
                },
            },
            volumes=[{"name": "data"}],
        )
        task = self.ended(arn)
        self.assertEqual(self.printed(arn), ["data", "refused", "data", "refused", "0 755"])
        # What does not obey SIGTERM is killed when its time is over.
        self.assertEqual(self.codes(task), {"writer": 137, "app": 0})

    def test_a_volume_begins_with_what_the_image_has_where_it_declares_one(self):
        files = [("data/seed", "from the image\n"), ("data/inner/deep", "deep\n"), ("plain/file", "hidden\n")]
        image = push_busybox("clients/volume", files, Volumes={"/data": {}})
        mounts = [{"sourceVolume": "data", "containerPath": "/data"}, {"sourceVolume": "plain", "containerPath": "/plain"}]
        arn = self.start(
            {
                "first": {
                    "image": image, "mountPoints": mounts, "essential": False,
                    "command": "cat /data/seed /data/inner/deep; ls /plain; echo changed > /data/seed",
                },
                "app": {
                    "image": image, "mountPoints": mounts, "command": "cat /data/seed",
                    "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}],
                },
            },
            volumes=[{"name": "data"}, {"name": "plain"}],
        )
        task = self.ended(arn)
        self.assertEqual(self.codes(task), {"first": 0, "app": 0}, task)
        # What it declares no volume at begins empty; what was given to a container before is left as it is.
        self.assertEqual(self.printed(arn, "first"), ["from the image", "deep"])
        self.assertEqual(self.printed(arn), ["changed"])

    def test_the_root_user_directory_limits_and_memory_file_systems_are_as_the_definition_says(self):
        arn = self.start({
            "app": {
                "command": "touch /new 2>/dev/null || echo read-only; id -u; pwd; ulimit -n; ulimit -Hn; test $$ = 1 || echo init;"
                           " df -k /scratch | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; touch /scratch/a && echo writable; stat -c %a /scratch;"
                           " grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status | tr -s '\\t' ' '",
                "readonlyRootFilesystem": True,
                "user": "1000:1000",
                "workingDirectory": "/etc",
                "ulimits": [{"name": "nofile", "softLimit": 1000, "hardLimit": 2000}],
                "linuxParameters": {
                    "initProcessEnabled": True,
                    "tmpfs": [{"containerPath": "/scratch", "size": 3, "mountOptions": ["mode=1777"]}],
                    "capabilities": {"drop": ["ALL"]},
                },
            },
        })
        self.assertEqual(self.codes(self.ended(arn)), {"app": 0})
        self.assertEqual(
            self.printed(arn),
            ["read-only", "1000", "/etc", "1000", "2000", "init", "3072", "writable", "1777", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"],
        )

    def test_what_cannot_run_and_what_takes_too_much_memory_ends_in_the_words_of_ecs(self):
        missing = self.start({"app": {"command": ["no-such-program"]}})
        greedy = self.start({"app": {"command": "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}", "memory": 16}})
        mount = {"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}
        no_format = self.start(
            {
                "writer": {"command": "printf '\\177ELF?' > /data/bad; chmod 755 /data/bad", "essential": False, **mount},
                "app": {"command": ["/data/bad"], **mount, "dependsOn": [{"containerName": "writer", "condition": "SUCCESS"}]},
            },
            volumes=[{"name": "data"}],
        )
        task = self.ended(no_format)
        self.assertEqual(task["stopCode"], "EssentialContainerExited")
        if RUNTIME == "docker":
            # As the engine's own runtime has it; old ones end with 1, and in other words.
            self.assertIn(self.codes(task)["app"], (1, 255))
            self.assertRegex("".join(self.printed(no_format)), "exec format error")
        else:
            self.assertEqual((self.codes(task)["app"], self.printed(no_format)), (255, ["exec /data/bad: exec format error"]))
        task = self.ended(missing)
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertEqual(
            task["stoppedReason"],
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to create shim task: "
            'OCI runtime create failed: runc create failed: unable to start container process: exec: "no-such-program": '
            "executable file not found in $PATH: unknown",
        )
        task = self.ended(greedy)
        self.assertEqual((task["stopCode"], task["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))
        container = task["containers"][0]
        if self.lacks("limits"):
            self.assertEqual((container["exitCode"], self.printed(greedy)), (0, ["200000000"]))
        else:
            self.assertEqual(
                (container["exitCode"], container["reason"]), (137, "OutOfMemoryError: Container killed due to memory usage")
            )

    def test_a_container_that_is_not_essential_may_end_without_its_task(self):
        arn = self.start({"app": "sleep 1000", "once": {"command": "exit 7", "essential": False}})
        self.until("the end of the container", lambda: self.codes(self.task(arn)).get("once") == 7)
        task = self.until("the task to run", lambda: (it := self.task(arn))["lastStatus"] == "RUNNING" and it)
        self.assertEqual(task["desiredStatus"], "RUNNING")
        self.ecs.stop_task(cluster=self.cluster_name, task=arn)

    def test_tasks_reach_each_other_as_their_security_groups_allow(self):
        ec2 = client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        def group(what):
            made = ec2.create_security_group(GroupName=self.name(what), Description=what, VpcId=vpc)["GroupId"]
            return made
        servers, clients = group("servers"), group("clients")
        rule = {"IpProtocol": "tcp", "FromPort": 7000, "ToPort": 7000, "UserIdGroupPairs": [{"GroupId": clients}]}
        server = self.start({"app": "while true; do echo hello | nc -l -p 7000; done"}, [servers])
        def address():
            for attachment in self.task(server)["attachments"]:
                for detail in attachment["details"]:
                    if detail["name"] == "privateIPv4Address" and self.task(server)["lastStatus"] == "RUNNING":
                        return detail["value"]
        ip = self.until("the server", address)
        if self.lacks("security groups"):
            open_to_all = self.start({"app": f"until nc {ip} 7000 < /dev/null 2> /dev/null | grep hello; do :; done"})
            self.ended(open_to_all)
            self.assertEqual(self.printed(open_to_all), ["hello"])
            self.ecs.stop_task(cluster=self.cluster_name, task=server)
            return
        refused = self.start({"app": f"nc -w 1 {ip} 7000 < /dev/null 2> /dev/null || echo refused"}, [clients])
        self.ended(refused)
        self.assertEqual(self.printed(refused), ["refused"])
        ec2.authorize_security_group_ingress(GroupId=servers, IpPermissions=[rule])
        allowed = self.start({"app": f"until nc {ip} 7000 < /dev/null 2> /dev/null | grep hello; do :; done"}, [clients])
        stranger = self.start({"app": f"nc -w 1 {ip} 7000 < /dev/null 2> /dev/null || echo refused"})
        self.ended(allowed)
        self.ended(stranger)
        self.assertEqual((self.printed(allowed), self.printed(stranger)), (["hello"], ["refused"]))
        self.ecs.stop_task(cluster=self.cluster_name, task=server)


if __name__ == "__main__":
    unittest.main()
