"""S3 as environment files need it, and images of private registries."""

import http.server
import json
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from base import Case, basic, busybox, client


class Private(http.server.BaseHTTPRequestHandler):
    """The embedded registry behind a user and a password."""

    def do_GET(self):
        if self.headers.get("Authorization") != f"Basic {basic('anna', 'hush')}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        url = f"http://{self.server.host}{self.path.replace('/v2/private/', '/v2/clients/', 1)}"
        headers = {"Authorization": f"Basic {self.server.token}", "Accept": self.headers.get("Accept", "*/*")}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=self.command))
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        self.send_response(answer.status)
        for name in ["Content-Type", "Docker-Content-Digest"]:
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", answer.headers["Content-Length"] or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Objects(Case):
    def setUp(self):
        super().setUp()
        self.s3, self.bucket = client("s3"), self.name("bucket")
        self.s3.create_bucket(Bucket=self.bucket)

    def arn(self, key):
        return f"arn:aws:s3:::{self.bucket}/{key}"

    def ended(self, **container):
        """Runs a task to its end."""
        made = self.register(container={"image": busybox(), **container})
        cluster = self.cluster()
        arn = self.ecs.run_task(cluster=cluster, taskDefinition=made["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=self.network())["tasks"][0]["taskArn"]
        look = lambda: self.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]
        return self.until("the end of the task", lambda: look() if look()["lastStatus"] == "STOPPED" else None)

    def test_objects_go_in_and_out(self):
        put = self.s3.put_object(Bucket=self.bucket, Key="a b/c+d.env", Body=b"A=1\n", ContentType="text/plain", Metadata={"who": "anna"})
        got = self.s3.get_object(Bucket=self.bucket, Key="a b/c+d.env")
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"], got["ETag"]), (b"A=1\n", "text/plain", {"who": "anna"}, put["ETag"]))
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="a b/c+d.env")["ContentLength"], 4)
        for key in ["x/1", "x/2", "y"]:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"")
        found = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/")
        self.assertEqual(([it["Key"] for it in found["Contents"]], [it["Prefix"] for it in found["CommonPrefixes"]]), (["y"], ["a b/", "x/"]))
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, PaginationConfig={"PageSize": 1})
        self.assertEqual([it["Key"] for page in pages for it in page["Contents"]], ["a b/c+d.env", "x/1", "x/2", "y"])
        self.refused("NoSuchKey", "The specified key does not exist.", self.s3.get_object, Bucket=self.bucket, Key="none")
        self.refused("NoSuchBucket", "The specified bucket does not exist", self.s3.get_object, Bucket="none-such", Key="none")
        self.refused("BucketNotEmpty", "The bucket you tried to delete is not empty", self.s3.delete_bucket, Bucket=self.bucket)
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("FROM=file\n")
            file.flush()
            self.s3.upload_file(file.name, self.bucket, "uploaded.env")
            subprocess.check_call(["aws", "s3", "cp", "--quiet", file.name, f"s3://{self.bucket}/copied.env"])
            subprocess.check_call(["aws", "s3", "cp", "--quiet", f"s3://{self.bucket}/copied.env", f"{file.name}.back"])
            with open(f"{file.name}.back") as back:
                self.assertEqual(back.read(), "FROM=file\n")
            subprocess.check_call(["rm", f"{file.name}.back"])
        self.assertIn("uploaded.env", subprocess.check_output(["aws", "s3", "ls", f"s3://{self.bucket}/"], text=True))
        for key in ["a b/c+d.env", "x/1", "x/2", "y", "uploaded.env", "copied.env"]:
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        self.s3.delete_bucket(Bucket=self.bucket)
        self.refused("404", "Not Found", self.s3.head_bucket, Bucket=self.bucket)

    def test_large_objects_come_and_go_in_parts(self):
        body = bytes(range(256)) * (20 << 12)
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/up", "wb") as file:
                file.write(body)
            subprocess.check_call(["aws", "s3", "cp", "--quiet", f"{folder}/up", f"s3://{self.bucket}/large"])
            subprocess.check_call(["aws", "s3", "cp", "--quiet", f"s3://{self.bucket}/large", f"{folder}/down"])
            with open(f"{folder}/down", "rb") as file:
                self.assertEqual(hash(file.read()), hash(body))
        head = self.s3.head_object(Bucket=self.bucket, Key="large")
        self.assertRegex(head["ETag"], '^"[0-9a-f]{32}-3"$')
        part = self.s3.get_object(Bucket=self.bucket, Key="large", Range="bytes=254-257")
        self.assertEqual((part["Body"].read(), part["ContentRange"]), (b"\xfe\xff\x00\x01", f"bytes 254-257/{len(body)}"))
        self.refused("InvalidRange", "The requested range is not satisfiable", self.s3.get_object, Bucket=self.bucket, Key="large", Range=f"bytes={len(body)}-")
        self.refused("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", self.s3.get_object, Bucket=self.bucket, Key="large", IfMatch='"0"')
        which = {"Bucket": self.bucket, "Key": "slow"}
        upload = self.s3.create_multipart_upload(**which, Metadata={"who": "anna"})["UploadId"]
        which["UploadId"] = upload
        self.assertEqual([it["UploadId"] for it in self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]], [upload])
        tags = {number: self.s3.upload_part(**which, PartNumber=number, Body=b"x" * number)["ETag"] for number in (2, 1)}
        self.assertEqual([(it["PartNumber"], it["Size"]) for it in self.s3.list_parts(**which)["Parts"]], [(1, 1), (2, 2)])
        done = lambda *parts: {**which, "MultipartUpload": {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in parts]}}
        complete = self.s3.complete_multipart_upload
        self.refused("InvalidPartOrder", "The list of parts was not in ascending order. The parts list must be specified in order by part number.", complete, **done((2, tags[2]), (1, tags[1])))
        self.refused("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", complete, **done((1, tags[1]), (2, tags[2])))
        with self.assertRaises(self.s3.exceptions.ClientError) as caught:
            complete(**done((1, tags[2])))
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidPart")
        complete(**done((2, tags[2])))
        got = self.s3.get_object(Bucket=self.bucket, Key="slow")
        self.assertEqual((got["Body"].read(), got["Metadata"]), (b"xx", {"who": "anna"}))
        with self.assertRaises(self.s3.exceptions.NoSuchUpload):
            self.s3.upload_part(**which, PartNumber=1, Body=b"x")
        other = self.s3.create_multipart_upload(Bucket=self.bucket, Key="never")["UploadId"]
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="never", UploadId=other)
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.bucket))

    def test_environment_files_lie_under_the_definition(self):
        self.s3.put_object(Bucket=self.bucket, Key="one.env", Body=b'# first\nA=one\nB=one\nQUOTED="x y"\n')
        self.s3.put_object(Bucket=self.bucket, Key="two.env", Body=b"A=two\nC=two\nFROM=two\n")
        files = [{"type": "s3", "value": self.arn(key)} for key in ["one.env", "two.env"]]
        script = 'test "$A$B$C$FROM$QUOTED" = "onedefinitiontwotwo\\"x y\\""'
        task = self.ended(command=["sh", "-c", script], environmentFiles=files, environment=[{"name": "B", "value": "definition"}])
        self.assertEqual(task["containers"][0]["exitCode"], 0, task)
        task = self.ended(environmentFiles=[{"type": "s3", "value": self.arn("none.env")}])
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertRegex(task["stoppedReason"], "^ResourceInitializationError: failed to download env files: file download command: non empty error stream: NoSuchKey: The specified key does not exist. status code: 404")

    def test_an_image_of_a_private_registry_is_pulled_with_its_secret(self):
        busybox()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Private)
        ecr = client("ecr")
        server.token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        server.host = busybox().split("/", 1)[0]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        image = f"127.0.0.1:{server.server_port}/private/busybox:1"
        secrets = client("secretsmanager")
        good, bad = [
            secrets.create_secret(Name=self.name("registry"), SecretString=json.dumps(it))["ARN"]
            for it in [{"username": "anna", "password": "hush"}, {"user": "anna"}]
        ]
        task = self.ended(image=image, command=["true"], repositoryCredentials={"credentialsParameter": good})
        self.assertEqual(task["containers"][0].get("exitCode"), 0, task)
        task = self.ended(image=image, command=["true"])
        self.assertRegex(task["stoppedReason"], "^CannotPullContainerError: .*authorization failed")
        task = self.ended(image=image, command=["true"], repositoryCredentials={"credentialsParameter": bad})
        self.assertRegex(task["stoppedReason"], "^ResourceInitializationError: unable to pull secrets or registry auth: ")


if __name__ == "__main__":
    unittest.main()
