"""What the tests share: clients, names that nobody else uses, an image to run."""

import base64
import hashlib
import io
import itertools
import json
import shutil
import sys
import tarfile
import threading
import time
import unittest
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

import answers
import runtimes

boto3.setup_default_session()
answers.watch(boto3.DEFAULT_SESSION)

CONFIG = botocore.config.Config(retries={"max_attempts": 1})


# Tests may run beside each other; boto3's sessions may not.
LOCK = threading.RLock()


def client(name, config=None, **options):
    with LOCK:
        return boto3.client(name, config=CONFIG.merge(config) if config else CONFIG, **options)


class Case(unittest.TestCase):
    maxDiff = None
    numbers = itertools.count(1)

    def name(self, what="x"):
        """A name that no other test uses."""
        return f"{what}-{type(self).__name__}-{next(Case.numbers)}".lower()

    def lacks(self, what):
        """Why tasks have no such thing on the runtime that they run on, or None; see runtimes.py."""
        return runtimes.lacks(what)

    def setUp(self):
        self.ecs = client("ecs")

    def run(self, result=None):
        """Every test fails by answers that are not as the models have them."""
        answers.wrong.clear()
        test = super().run(result)
        if answers.wrong and result is not None:
            try:
                raise AssertionError("\n".join(sorted(set(answers.wrong))))
            except AssertionError:
                result.addFailure(self, sys.exc_info())
        return test

    def refused(self, code, message, call, **request):
        """Asserts that a call is refused with that code and message."""
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**request)
        error = caught.exception.response["Error"]
        self.assertEqual((error["Code"], error["Message"]), (code, message))

    def until(self, what, look, seconds=60):
        """Waits until `look` returns something true, and returns it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(0.1)
        self.fail(f"{what} did not happen within {seconds} s")

    def cluster(self):
        name = self.name("cluster")
        self.ecs.create_cluster(clusterName=name)
        self.addCleanup(self.remove_cluster, name)
        return name

    def remove_cluster(self, name):
        for arn in self.ecs.list_services(cluster=name)["serviceArns"]:
            self.ecs.delete_service(cluster=name, service=arn, force=True)
        for arn in self.ecs.list_tasks(cluster=name)["taskArns"]:
            self.ecs.stop_task(cluster=name, task=arn)

        def empty():
            try:
                return self.ecs.delete_cluster(cluster=name)
            except (self.ecs.exceptions.ClusterContainsServicesException, self.ecs.exceptions.ClusterContainsTasksException):
                return None
        self.until(f"{name} becoming empty", empty)

    def subnets(self):
        return [it["SubnetId"] for it in client("ec2").describe_subnets()["Subnets"]]

    def network(self, public=False):
        return {
            "awsvpcConfiguration": {
                "subnets": self.subnets(),
                "assignPublicIp": "ENABLED" if public else "DISABLED",
            }
        }

    def register(self, **changes):
        """Registers a task definition of one container; `container` changes the container's members."""
        container = {"name": "app", "image": "busybox", "essential": True, "stopTimeout": 2, **changes.pop("container", {})}
        request = {
            "family": self.name("family"),
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
            "containerDefinitions": [container],
            **changes,
        }
        return self.ecs.register_task_definition(**request)["taskDefinition"]


_image = None


def busybox():
    """An image with a static busybox in the embedded registry; its reference."""
    global _image
    with LOCK:
        _image = _image or push_busybox()
    return _image


def push_busybox(repository="clients/busybox", files=(), **more):
    """Pushes the image, with further files (their paths and texts, or the bytes of programs) and members of its configuration; its reference."""
    ecr = client("ecr")
    try:
        uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]
    except ecr.exceptions.RepositoryAlreadyExistsException:
        uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    layer = io.BytesIO()
    program = shutil.which("busybox")
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ["bin", "tmp", "etc"]:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(program, "bin/busybox", filter=lambda it: it.replace(mode=0o755, uid=0, gid=0))
        for link in ["sh", "echo", "sleep", "httpd", "cat", "id", "env", "test", "ls", "mkdir", "wget", "hostname", "seq", "true", "false", "nproc", "dd", "touch", "stat", "df", "tail", "tr", "cut", "nc", "grep", "head", "chmod"]:
            entry = tarfile.TarInfo(f"bin/{link}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        for path, text in [("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"), ("etc/group", "root:x:0:\napp:x:1000:\n"), *files]:
            entry = tarfile.TarInfo(path)
            content = text.encode() if isinstance(text, str) else text
            entry.size, entry.mode = len(content), 0o644 if isinstance(text, str) else 0o755
            tar.addfile(entry, io.BytesIO(content))
    layer = layer.getvalue()
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[__import__("platform").machine()],
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["sh", "-c", "echo from the image"], "WorkingDir": "/tmp", **more},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(layer), "size": len(layer)}],
    }).encode()
    host, name = uri.split("/", 1)

    def send(method, url, body=b"", kind="application/octet-stream"):
        request = urllib.request.Request(url, body, {"Authorization": f"Basic {token}", "Content-Type": kind}, method=method)
        return urllib.request.urlopen(request)

    for blob in (layer, config):
        place = send("POST", f"http://{host}/v2/{name}/blobs/uploads/").headers["Location"]
        place = place if place.startswith("http") else f"http://{host}{place}"
        send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(blob)}", blob)
    send("PUT", f"http://{host}/v2/{name}/manifests/1", manifest, "application/vnd.oci.image.manifest.v1+json")
    return f"{uri}:1"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()
