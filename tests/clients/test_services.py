"""Services: behind a load balancer and without one, over their life and over the death of the daemon."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

from base import Case, busybox, client, push_busybox
from runtimes import RUNTIME

SERVE = "echo {text} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"

# Sends every datagram back.
ECHO = """
#include <arpa/inet.h>
#include <sys/socket.h>
int main(void) {
    static char text[65536];
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(5353)}, sender;
    int at = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(at, (struct sockaddr *)&own, sizeof own)) return 1;
    for (;;) {
        socklen_t size = sizeof sender;
        ssize_t length = recvfrom(at, text, sizeof text, 0, (struct sockaddr *)&sender, &size);
        if (length >= 0) sendto(at, text, length, 0, (struct sockaddr *)&sender, size);
    }
}
"""


class Services(Case):
    def setUp(self):
        super().setUp()
        self.elb = client("elbv2")
        self.cluster_name = self.cluster()

    def balancer(self):
        """A load balancer with a listener and a target group: ARN of the group, address."""
        name = f"c{os.getpid()}-{next(Case.numbers)}"
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets(), Type="application")["LoadBalancers"][0]
        group = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        listener = self.elb.create_listener(
            LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=made["LoadBalancerArn"])
        return group, f"http://{made['DNSName']}:{listener['Port']}/"

    def web(self, text):
        return self.register(
            family=f"web-{self.cluster_name}",
            container={"image": busybox(), "portMappings": [{"containerPort": 8080}], "command": ["sh", "-c", SERVE.format(text=text)]},
        )["taskDefinitionArn"]

    def serve(self, definition, group, **more):
        return self.ecs.create_service(
            cluster=self.cluster_name, serviceName="web", taskDefinition=definition, desiredCount=1, launchType="FARGATE",
            networkConfiguration=self.network(),
            loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 8080}],
            **more,
        )["service"]

    def read(self, url):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode().strip()
        except OSError:
            return None

    def describe(self):
        return self.ecs.describe_services(cluster=self.cluster_name, services=["web"])["services"][0]

    def stable(self):
        self.ecs.get_waiter("services_stable").wait(
            cluster=self.cluster_name, services=["web"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def test_a_service_behind_a_load_balancer_is_rolled_over_and_deleted(self):
        group, url = self.balancer()
        first = self.web("one")
        made = self.serve(first, group, enableExecuteCommand=True)
        self.assertEqual((made["status"], made["desiredCount"], made["enableExecuteCommand"]), ("ACTIVE", 1, True))
        self.stable()
        self.until("the answer", lambda: self.read(url) == "one")

        def health():
            return [it["TargetHealth"]["State"] for it in self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]]
        # The waiter only counts tasks, and where no target is healthy yet the load balancer asks those that there are.
        self.until("a healthy target", lambda: health() == ["healthy"])

        second = self.web("two")
        self.ecs.update_service(cluster=self.cluster_name, service="web", taskDefinition=second)
        self.until("the new revision", lambda: self.read(url) == "two")
        self.stable()
        service = self.describe()
        self.assertEqual([it["taskDefinition"] for it in service["deployments"]], [second])
        self.assertEqual(service["deployments"][0]["rolloutState"], "COMPLETED")
        done = self.ecs.list_service_deployments(cluster=self.cluster_name, service="web")["serviceDeployments"]
        self.assertEqual([it["status"] for it in done], ["SUCCESSFUL", "SUCCESSFUL"])
        revision = self.ecs.describe_service_revisions(serviceRevisionArns=[done[0]["targetServiceRevisionArn"]])["serviceRevisions"][0]
        self.assertEqual(revision["taskDefinition"], second)
        self.assertRegex(revision["containerImages"][0]["imageDigest"], "^sha256:")
        messages = [it["message"] for it in service["events"]]
        self.assertEqual(messages[0], "(service web) has reached a steady state.")
        self.assertTrue(any(f"registered 1 targets in (target-group {group})" in it for it in messages), messages)

        self.refused(
            "InvalidParameterException", "The service cannot be stopped while it is scaled above 0.",
            self.ecs.delete_service, cluster=self.cluster_name, service="web",
        )
        self.ecs.delete_service(cluster=self.cluster_name, service="web", force=True)
        self.ecs.get_waiter("services_inactive").wait(
            cluster=self.cluster_name, services=["web"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        self.assertEqual(self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"], [])

    def test_datagrams_reach_a_task_through_a_network_load_balancer_and_come_back(self):
        # No program of busybox answers datagrams.
        if shutil.which("cc") is None:
            self.skipTest("there is no C compiler")
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "echo.c").write_text(ECHO)
            subprocess.run(["cc", "-static", "-o", "echo", "echo.c"], check=True, cwd=folder)
            image = push_busybox("clients/datagrams", [("bin/echo-datagrams", pathlib.Path(folder, "echo").read_bytes())])
        name, vpc = f"c{os.getpid()}-{next(Case.numbers)}", client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets(), Type="network")["LoadBalancers"][0]
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=made["LoadBalancerArn"])
        # Health is asked by TCP.
        group = self.elb.create_target_group(
            Name=name, Protocol="UDP", Port=5353, VpcId=vpc, TargetType="ip", HealthCheckPort="8080", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        listener = self.elb.create_listener(
            LoadBalancerArn=made["LoadBalancerArn"], Protocol="UDP", Port=5353, DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]
        container = {
            "image": image, "portMappings": [{"containerPort": 5353, "protocol": "udp"}, {"containerPort": 8080}],
            "command": ["sh", "-c", "httpd -p 8080 -h /tmp; exec echo-datagrams"],
        }
        self.ecs.create_service(
            cluster=self.cluster_name, serviceName="names", taskDefinition=self.register(container=container)["taskDefinitionArn"], desiredCount=1,
            launchType="FARGATE", networkConfiguration=self.network(), loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 5353}],
        )
        states = lambda: [it["TargetHealth"]["State"] for it in self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]]
        self.until("the health of the task", lambda: states() == ["healthy"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
            ours.settimeout(10)
            ours.connect((made["DNSName"], listener["Port"]))
            for text in (b"hello", b"x" * 8000):
                ours.send(text)
                self.assertEqual(ours.recv(65536), text)

    def test_a_bad_revision_is_rolled_back_and_the_old_one_keeps_serving(self):
        group, url = self.balancer()
        first = self.web("good")
        breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
        self.serve(first, group, deploymentConfiguration=breaker)
        self.until("the first deployment", lambda: self.describe()["deployments"][0]["rolloutState"] == "COMPLETED")
        bad = self.register(
            family=f"web-{self.cluster_name}",
            container={"image": busybox(), "portMappings": [{"containerPort": 8080}], "command": ["sh", "-c", "exit 1"]},
        )["taskDefinitionArn"]
        self.ecs.update_service(cluster=self.cluster_name, service="web", taskDefinition=bad)

        def rolled_back():
            self.assertEqual(self.read(url), "good")
            newest = self.ecs.list_service_deployments(cluster=self.cluster_name, service="web")["serviceDeployments"][0]
            return newest["status"] == "ROLLBACK_SUCCESSFUL" and newest
        newest = self.until("the rollback", rolled_back)
        full = self.ecs.describe_service_deployments(serviceDeploymentArns=[newest["serviceDeploymentArn"]])["serviceDeployments"][0]
        self.assertEqual(full["deploymentCircuitBreaker"]["status"], "TRIGGERED")
        self.assertEqual(self.describe()["taskDefinition"], first)
        stopped = self.ecs.list_tasks(cluster=self.cluster_name, serviceName="web", desiredStatus="STOPPED")["taskArns"]
        task = self.ecs.describe_tasks(cluster=self.cluster_name, tasks=stopped[:1])["tasks"][0]
        self.assertEqual((task["stopCode"], task["containers"][0]["exitCode"]), ("EssentialContainerExited", 1))

    def test_desired_count_and_health_checks_of_containers(self):
        made = self.register(container={
            "image": busybox(), "command": ["sleep", "1000"],
            "healthCheck": {"command": ["CMD-SHELL", "test -f /tmp/../bin/sh"], "interval": 5},
        })
        self.ecs.create_service(
            cluster=self.cluster_name, serviceName="web", taskDefinition=made["taskDefinitionArn"], desiredCount=2,
            launchType="FARGATE", networkConfiguration=self.network(),
        )
        self.stable()
        tasks = self.ecs.list_tasks(cluster=self.cluster_name, serviceName="web")["taskArns"]
        self.assertEqual(len(tasks), 2)
        health = lambda: {it["healthStatus"] for it in self.ecs.describe_tasks(cluster=self.cluster_name, tasks=tasks)["tasks"]}
        self.until("health", lambda: health() == {"HEALTHY"})
        zones = {it["availabilityZone"] for it in self.ecs.describe_tasks(cluster=self.cluster_name, tasks=tasks)["tasks"]}
        self.assertEqual(len(zones), 2, "tasks spread over the zones")
        self.ecs.update_service(cluster=self.cluster_name, service="web", desiredCount=1)
        self.until("one task", lambda: self.describe()["runningCount"] == 1)

    def test_tasks_that_stand_unevenly_are_moved_to_the_other_zone(self):
        definition = self.register(container={"image": busybox(), "command": ["sleep", "1000"]})["taskDefinitionArn"]
        made = self.ecs.create_service(
            cluster=self.cluster_name, serviceName="web", taskDefinition=definition, desiredCount=4, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.subnets()[:2]}},
        )["service"]
        self.assertEqual(made["availabilityZoneRebalancing"], "ENABLED")
        self.stable()

        def zones():
            arns = self.ecs.list_tasks(cluster=self.cluster_name, serviceName="web")["taskArns"]
            found = {}
            for task in self.ecs.describe_tasks(cluster=self.cluster_name, tasks=arns)["tasks"]:
                found.setdefault(task["availabilityZone"], []).append(task["taskArn"])
            return found
        first, second = sorted(zones())
        self.assertEqual([len(it) for it in zones().values()], [2, 2])
        # What is protected stays when the service is scaled in; then both tasks are in one zone.
        protect = {"cluster": self.cluster_name, "tasks": zones()[first]}
        self.ecs.update_task_protection(protectionEnabled=True, expiresInMinutes=10, **protect)
        self.ecs.update_service(cluster=self.cluster_name, service="web", desiredCount=2)
        self.until("scaling in", lambda: list(zones()) == [first])
        told = lambda: [it["message"] for it in reversed(self.describe()["events"])]
        held = f"(service web) was unable to AZ Rebalance because (taskSet {made['deployments'][0]['id']}) was unable to scale in due to (reason 2 tasks under protection)"
        self.until("the word about protected tasks", lambda: held in told())
        self.ecs.update_task_protection(protectionEnabled=False, **protect)
        end = f"(service web) is AZ balanced with 1 tasks in {first}, 1 tasks in {second}."
        self.until("balance", lambda: end in told())
        words = " ".join(told())
        self.assertIn(f"is not AZ balanced with 2 tasks in {first}, 0 tasks in {second}. AZ Rebalancing in progress.", words)
        self.assertIn(f"has started 1 tasks in {second} to AZ Rebalance: (task ", words)
        self.assertIn(f"has stopped 1 running tasks in {first} due to AZ rebalancing: (task ", words)
        self.assertEqual({zone: len(it) for zone, it in zones().items()}, {first: 1, second: 1})
        # There is no room for it with a maximum of 100 %.
        self.refused(
            "InvalidParameterException",
            "The service couldn't be updated because Availability Zone Rebalancing does not support maximumPercent <= 100 % as deployment configuration.",
            self.ecs.update_service, cluster=self.cluster_name, service="web",
            deploymentConfiguration={"maximumPercent": 100, "minimumHealthyPercent": 50},
        )

    def test_after_kill_nine_the_service_comes_back_and_no_container_is_left(self):
        group, url = self.balancer()
        self.serve(self.web("still here"), group)
        self.stable()
        before = self.ecs.list_tasks(cluster=self.cluster_name)["taskArns"]
        program = os.environ["HOIST_PROGRAM"]
        with open(os.path.join(os.environ["HOIST_HOME"], "local", "daemon.json")) as file:
            pid = json.load(file)["pid"]
        containers = children(pid)
        self.assertTrue(containers)
        os.kill(pid, 9)
        left = lambda: any(os.path.exists(f"/proc/{it}") for it in containers)
        if RUNTIME != "docker":
            self.until("the end of the containers", lambda: not left())
        subprocess.run([program, "local", "start"], check=True, stdout=subprocess.DEVNULL)
        # What an engine goes on running is removed by the next start.
        self.until("the end of the containers", lambda: not left())
        self.until("the answer", lambda: self.read(url) == "still here")
        after = self.ecs.list_tasks(cluster=self.cluster_name)["taskArns"]
        self.assertEqual(len(after), 1)
        self.assertNotEqual(after, before)
        self.stable()

    def test_a_public_task_answers_on_this_machine(self):
        self.ecs.create_service(
            cluster=self.cluster_name, serviceName="web", taskDefinition=self.web("public"), desiredCount=1, launchType="FARGATE",
            networkConfiguration=self.network(public=True),
        )
        self.stable()
        [arn] = self.ecs.list_tasks(cluster=self.cluster_name)["taskArns"]
        task = self.ecs.describe_tasks(cluster=self.cluster_name, tasks=[arn])["tasks"][0]
        [interface] = [it["value"] for it in task["attachments"][0]["details"] if it["name"] == "networkInterfaceId"]
        found = client("ec2").describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
        self.assertEqual(self.read(f"http://{found['Association']['PublicIp']}:8080/"), "public")

    def test_the_aws_cli_tells_the_same_story(self):
        def aws(*words):
            done = subprocess.run(["aws", *words, "--output", "text"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.strip()
        subnets = ",".join(self.subnets())
        definition = self.web("cli")
        aws("ecs", "create-service", "--cluster", self.cluster_name, "--service-name", "web", "--task-definition", definition,
            "--desired-count", "1", "--launch-type", "FARGATE", "--network-configuration", f"awsvpcConfiguration={{subnets=[{subnets}]}}")
        aws("ecs", "wait", "services-stable", "--cluster", self.cluster_name, "--services", "web")
        count = aws("ecs", "describe-services", "--cluster", self.cluster_name, "--services", "web", "--query", "services[0].runningCount")
        self.assertEqual(count, "1")
        task = aws("ecs", "list-tasks", "--cluster", self.cluster_name, "--query", "taskArns[0]")
        self.assertTrue(task.startswith("arn:aws:ecs:"), task)
        self.assertEqual(aws("sts", "get-caller-identity", "--query", "Account"), "000000000000")


def children(pid):
    """All processes below a process."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found
