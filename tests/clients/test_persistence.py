"""It keeps what it has: killed at any moment, and on a full disk."""

import contextlib
import json
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request

import botocore.config
import botocore.exceptions

from base import Case, busybox, client, digest
from runtimes import RUNTIME

PROGRAM = os.environ["HOIST_PROGRAM"]
# A few here, many in `cargo xtask prove killed-daemons`, or on another runtime:
# HOIST_KILL_ROUNDS=100 tests/clients/run.sh --runtime docker PROGRAM test_persistence.Killed; HOIST_SEED=N kills at the moments of an earlier run.
ROUNDS = int(os.environ.get("HOIST_KILL_ROUNDS", "4"))


def start(*options, **environment):
    subprocess.run([PROGRAM, "local", "start", *options], check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})


def daemon(home):
    return json.loads(pathlib.Path(home, "local", "daemon.json").read_text())["pid"]


def end(pid):
    """Kills a process, as a crash would, and waits for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    limit = time.monotonic() + 30

    def lives():
        try:
            return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1][:3]
        except OSError:
            return False
    while lives():
        assert time.monotonic() < limit, f"{pid} survives"
        time.sleep(0.01)


def kill():
    """Kills the daemon of the tests, as a crash would, and starts it again."""
    end(daemon(os.environ["HOIST_HOME"]))
    start()


def pids(marker):
    """The containers' processes that have this argument; an engine's own commands are none."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if marker.encode() in words and words[0] == b"sleep":
                found.append(int(path.parent.name))
    return found


def processes(marker):
    """How many there are."""
    return len(pids(marker))


class Killed(Case):
    """The daemon and containers are killed at random moments while it has much to do."""

    def setUp(self):
        super().setUp()
        self.stop, self.calm = threading.Event(), threading.Event()
        self.threads = []

    def keep_doing(self, work):
        """Does something again and again beside the test; what fails is not acknowledged."""
        def run():
            number = 0
            while not self.stop.is_set():
                number += 1
                try:
                    work(number)
                except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError, urllib.error.URLError):
                    time.sleep(0.02)
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def die(self, moments, marker):
        """Something is killed: some containers, the daemon, both at once, or the daemon again while it comes back."""
        kind = moments.choice(["containers", "daemon", "daemon", "both", "twice"])
        if kind in ("containers", "both"):
            victims = pids(marker)
            for pid in moments.sample(victims, moments.randint(0, len(victims))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        if kind == "twice":
            first = daemon(os.environ["HOIST_HOME"])
            end(first)
            starting = subprocess.Popen([PROGRAM, "local", "start"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            soon = time.monotonic() + 10
            while daemon(os.environ["HOIST_HOME"]) == first and time.monotonic() < soon:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.15))
            end(daemon(os.environ["HOIST_HOME"]))
            # Whoever waited for it may have seen it answer, or gives up.
            starting.wait(60)
            start()
        elif kind != "containers":
            kill()

    def test_what_was_acknowledged_is_there_and_services_converge(self):
        seed = int(os.environ.get("HOIST_SEED", random.randrange(1 << 32)))
        print(f"killed with HOIST_SEED={seed}", file=sys.stderr)
        moments = random.Random(seed)
        self.addCleanup(lambda: [it.join() for it in self.threads])
        self.addCleanup(self.stop.set)
        cluster, marker = self.cluster(), f"43{os.getpid()}"
        logs, ecr, ecs, deployer = client("logs"), client("ecr"), client("ecs"), client("ecs")
        # Asked again because the answer was lost, it would be there twice, as on AWS.
        writer = client("logs", botocore.config.Config(retries={"total_max_attempts": 1}))
        group, streams = self.name("kept"), self.name("streams")
        for name in (group, streams):
            logs.create_log_group(logGroupName=name)
            self.addCleanup(client("logs").delete_log_group, logGroupName=name)
        family = self.register(container={
            "image": busybox(), "command": ["sh", "-c", f"echo started; exec sleep {marker}"],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": streams, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "s",
            }},
        })["family"]
        for name in ("web", "moved"):
            self.ecs.create_service(
                cluster=cluster, serviceName=name, taskDefinition=family, desiredCount=2, launchType="FARGATE",
                networkConfiguration=self.network(),
            )
        logs.create_log_stream(logGroupName=group, logStreamName="s")
        ecr.create_repository(repositoryName="kept/blobs")
        self.addCleanup(client("ecr").delete_repository, repositoryName="kept/blobs", force=True)
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        tags, lines, blobs = [], [], []

        def tag(number):
            arn = f"arn:aws:ecs:us-east-1:000000000000:cluster/{cluster}"
            ecs.tag_resource(resourceArn=arn, tags=[{"key": f"k{number % 40}", "value": str(number)}])
            tags.append(number)

        def write(number):
            event = {"timestamp": int(time.time() * 1000), "message": f"line {number}"}
            writer.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event])
            lines.append(event["message"])

        def push(number):
            content = f"{number} ".encode() * 40_000
            url = f"{os.environ['AWS_ENDPOINT_URL']}/v2/kept/blobs/blobs/uploads/?digest={digest(content)}"
            headers = {"Authorization": f"Basic {token}", "Content-Type": "application/octet-stream"}
            with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="POST")):
                blobs.append(digest(content))

        def deploy(number):
            if not self.calm.wait(0.3):
                deployer.update_service(cluster=cluster, service="moved", desiredCount=number % 3 + 1, forceNewDeployment=number % 2 == 0)

        def converged():
            services = self.ecs.describe_services(cluster=cluster, services=["web", "moved"])["services"]
            running = self.ecs.list_tasks(cluster=cluster)["taskArns"]
            return (
                all(len(it["deployments"]) == 1 and it["runningCount"] == it["desiredCount"] and it["pendingCount"] == 0 for it in services)
                and len(running) == sum(it["desiredCount"] for it in services) == processes(marker)
            )

        for work in (tag, write, push, deploy):
            self.keep_doing(work)
        with self.subTest(seed=seed):
            for number in range(1, ROUNDS + 1):
                time.sleep(moments.uniform(0.1, 0.9))
                self.die(moments, marker)
                if number % 10 == 0 or number == ROUNDS:
                    self.calm.set()
                    self.until("each task with its one process", converged)
                    self.calm.clear()
            time.sleep(0.3)
            self.stop.set()
            for thread in self.threads:
                thread.join()
            self.assertTrue(tags and lines and blobs, "nothing was done meanwhile")
            kept = {it["key"]: int(it["value"]) for it in self.ecs.describe_clusters(clusters=[cluster], include=["TAGS"])["clusters"][0]["tags"]}
            for number in tags:
                self.assertGreaterEqual(kept[f"k{number % 40}"], number)
            seen = self.messages(logs, group, "s")
            self.assertLessEqual(set(lines), set(seen))
            self.assertEqual(len(seen), len(set(seen)), "a line is there twice")
            for blob in blobs:
                url = f"{os.environ['AWS_ENDPOINT_URL']}/v2/kept/blobs/blobs/{blob}"
                with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})) as answer:
                    self.assertEqual(digest(answer.read()), blob)
            for path in pathlib.Path(os.environ["HOIST_HOME"], "local", "registry", "blobs", "sha256").iterdir():
                self.assertEqual(digest(path.read_bytes()), f"sha256:{path.name}", "a torn blob")
            self.until("each task with its one process", converged)
            tasks = [it["logStreamName"] for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=streams) for it in page["logStreams"]]
            self.assertGreaterEqual(len(tasks), 4)
            for stream in tasks:
                # Not even once, if it was killed before that.
                self.assertIn(self.messages(logs, streams, stream), ([], ["started"]), f"{stream} was started twice")
        self.remove_cluster(cluster)
        self._cleanups = [it for it in self._cleanups if it[0] != self.remove_cluster]
        self.assertEqual(processes(marker), 0)
        left = pathlib.Path(os.environ["HOIST_HOME"], "local", "tasks")
        if RUNTIME == "native":
            self.assertEqual(list(left.iterdir()) if left.exists() else [], [], "what is left of tasks")

    def messages(self, logs, group, stream):
        """Every message of a stream."""
        seen, following = [], {}
        while True:
            page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **following)
            if not page["events"]:
                return seen
            seen += [it["message"] for it in page["events"]]
            following = {"nextToken": page["nextForwardToken"]}


def elsewhere(home):
    """The options of a client for another home."""
    lines = subprocess.run([PROGRAM, "local", "env"], check=True, capture_output=True, text=True, env={**os.environ, "HOIST_HOME": home}).stdout
    names = dict(shlex.split(line)[1].split("=", 1) for line in lines.splitlines() if line.startswith("export "))
    return {
        "endpoint_url": names["AWS_ENDPOINT_URL"],
        "aws_access_key_id": names["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": names["AWS_SECRET_ACCESS_KEY"],
        "region_name": "us-east-1",
    }


class Older(Case):
    """What earlier releases kept, as `kept/make.py` made it."""

    def test_the_state_of_every_earlier_layout_is_migrated(self):
        for kept in sorted(pathlib.Path(__file__).with_name("kept").glob("layout-*.tar.gz")):
            with self.subTest(kept.name), tempfile.TemporaryDirectory() as home:
                with tarfile.open(kept) as tar:
                    tar.extractall(home, filter="data")
                start("--runtime", "simulated", HOIST_HOME=home)
                try:
                    self.whole(elsewhere(home))
                    layout = kept.name.removeprefix("layout-").split(".")[0]
                    self.assertTrue(pathlib.Path(home, "local", f"state.redb.layout-{layout}").exists())
                finally:
                    subprocess.run([PROGRAM, "local", "stop"], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "HOIST_HOME": home})

    def whole(self, keys):
        to = lambda name: client(name, **keys)
        ecs, elb, ecr, logs, events = to("ecs"), to("elbv2"), to("ecr"), to("logs"), to("events")
        self.assertEqual(ecs.describe_clusters(clusters=["kept"], include=["TAGS"])["clusters"][0]["tags"], [{"key": "a", "value": "b"}])
        definition = ecs.describe_task_definition(taskDefinition="kept")["taskDefinition"]
        self.assertEqual(definition["containerDefinitions"][0]["portMappings"][0]["name"], "http")

        def steady():
            found = ecs.describe_services(cluster="kept", services=["web", "idle"])["services"]
            return [(it["serviceName"], it["runningCount"], len(it["deployments"])) for it in found] == [("web", 2, 1), ("idle", 0, 1)]
        self.until("the services being as they were", steady)
        deployments = ecs.list_service_deployments(cluster="kept", service="web")["serviceDeployments"]
        self.assertEqual([it["status"] for it in deployments], ["SUCCESSFUL"])
        self.assertEqual(ecs.list_account_settings(name="fargateTaskRetirementWaitPeriod")["settings"][0]["value"], "14")
        group = elb.describe_target_groups(Names=["kept"])["TargetGroups"][0]
        listener = elb.describe_listeners(LoadBalancerArn=group["LoadBalancerArns"][0])["Listeners"][0]
        self.assertEqual([it["Priority"] for it in elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]], ["5", "default"])
        image = ecr.describe_images(repositoryName="clients/busybox")["imageDetails"][0]
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        url = f"{keys['endpoint_url']}/v2/clients/busybox/manifests/{image['imageDigest']}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})) as answer:
            self.assertEqual(digest(answer.read()), image["imageDigest"])
        self.assertEqual(to("ssm").get_parameter(Name="/kept/p", WithDecryption=True)["Parameter"]["Value"], "parameter")
        self.assertEqual(to("secretsmanager").get_secret_value(SecretId="kept")["SecretString"], "hush")
        self.assertIn("p", to("iam").list_role_policies(RoleName="execution")["PolicyNames"])
        self.assertEqual(to("s3").get_object(Bucket="kept", Key="web.env")["Body"].read(), b"A=b\n")
        self.assertEqual(len(to("acm").list_certificates()["CertificateSummaryList"]), 1)
        self.assertEqual(len(to("servicediscovery").list_services()["Services"]), 1)
        self.assertEqual(to("scheduler").get_schedule(GroupName="kept", Name="nightly")["ScheduleExpression"], "cron(0 3 * * ? *)")
        policies = to("application-autoscaling").describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
        self.assertEqual([it["PolicyName"] for it in policies], ["cpu"])
        self.assertIn("kept", [it["AlarmName"] for it in to("cloudwatch").describe_alarms()["MetricAlarms"]])
        rules = events.list_rules()["Rules"]
        self.assertEqual([(it["Name"], it["EventBusName"]) for it in rules], [(name, "default") for name in ["mine", "nightly", "stopped"]])
        self.assertEqual(events.list_tags_for_resource(ResourceARN=rules[0]["Arn"])["Tags"], [{"Key": "k", "Value": "v"}])
        events.put_events(Entries=[{"Source": "mine", "DetailType": "x", "Detail": "{}"}])
        told = lambda: [it["message"] for it in logs.filter_log_events(logGroupName="/kept")["events"]]
        self.until("the old rule's event", lambda: any('"source":"mine"' in it for it in told()))
        self.assertIn("a line", told())


class FullDisk(Case):
    def test_a_full_disk_is_said_and_nothing_is_lost(self):
        with tempfile.TemporaryDirectory() as home:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", home], check=True)
            self.addCleanup(lambda: None)
            try:
                self.fill(home)
            finally:
                subprocess.run([PROGRAM, "local", "stop"], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "HOIST_HOME": home})
                subprocess.run(["umount", home], check=True)

    def fill(self, home):
        start("--runtime", "simulated", HOIST_HOME=home)
        ecs = client("ecs", **elsewhere(home))
        ecs.create_cluster(clusterName="before")
        filler = pathlib.Path(home, "filler")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        value = "y" * 256
        made, error = [], None
        for number in range(2000):
            try:
                ecs.create_cluster(clusterName=f"full-{number}", tags=[{"key": f"k{at}", "value": value} for at in range(50)])
                made.append(f"full-{number}")
            except botocore.exceptions.ClientError as caught:
                error = caught.response
                break
        self.assertIsNotNone(error, "the disk was never full")
        self.assertEqual((error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]), (500, "ServerException"))
        self.assertEqual(error["Error"]["Message"], "failed to write the state: no space is left on its disk")
        filler.unlink()

        def works():
            try:
                return ecs.create_cluster(clusterName="after")
            except botocore.exceptions.ClientError:
                return None
        self.until("a disk with room being used again", works)
        os.kill(daemon(home), 9)
        start(HOIST_HOME=home)
        found = {arn.rsplit("/", 1)[-1] for page in ecs.get_paginator("list_clusters").paginate() for arn in page["clusterArns"]}
        self.assertLessEqual({"before", "after", *made}, found)
