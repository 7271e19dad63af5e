"""Wrong calls, and what the real service answers to them."""

import datetime
import json
import os
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials

from base import CONFIG, Case

ROLE = "arn:aws:iam::000000000000:role/execution"


class Definitions(Case):
    def test_what_is_wrong_with_a_definition_is_said_in_the_words_of_the_service(self):
        good = {"name": "app", "image": "busybox"}
        logs = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}}
        cases = [
            ("Fargate only supports network mode ‘awsvpc’.", {"networkMode": "bridge"}),
            ("Fargate requires that 'cpu' be defined at the task level.", {"cpu": None}),
            ("Fargate requires that 'memory' be defined at the task level.", {"memory": None}),
            ("No Fargate configuration exists for given values.", {"memory": "4096"}),
            ("No Fargate configuration exists for given values.", {"cpu": "32768", "memory": "65536"}),
            (
                "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
                {"cpu": "lots"},
            ),
            (
                "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
                {"executionRoleArn": None, "containerDefinitions": [{**good, "logConfiguration": logs}]},
            ),
            (
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
                {"containerDefinitions": [{**good, "portMappings": [{"containerPort": 80, "hostPort": 8080}]}]},
            ),
            ("Container list cannot be empty.", {"containerDefinitions": []}),
            ("Container.name should not be null or empty.", {"containerDefinitions": [{"image": "x"}]}),
            ("Container.image should not be null or empty.", {"containerDefinitions": [{"name": "x"}]}),
            ("Container names must be unique within a task definition.", {"containerDefinitions": [good, good]}),
        ]
        for message, change in cases:
            with self.subTest(message):
                request = {
                    "family": "wrong",
                    "networkMode": "awsvpc",
                    "requiresCompatibilities": ["FARGATE"],
                    "cpu": "256",
                    "memory": "512",
                    "executionRoleArn": ROLE,
                    "containerDefinitions": [good],
                    **change,
                }
                request = {name: value for name, value in request.items() if value is not None}
                self.refused("ClientException", message, self.ecs.register_task_definition, **request)
        self.refused("ClientException", "Unable to describe task definition.", self.ecs.describe_task_definition, taskDefinition="wrong")


class Services(Case):
    def test_what_a_service_refers_to_must_be_there(self):
        cluster = self.cluster()
        family = self.register(container={"portMappings": [{"containerPort": 80}]})["family"]
        good = {
            "cluster": cluster,
            "serviceName": "web",
            "taskDefinition": family,
            "launchType": "FARGATE",
            "networkConfiguration": self.network(),
        }
        group = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/none/0123456789abcdef"
        balancer = {"targetGroupArn": group, "containerName": "app", "containerPort": 80}
        invalid = "InvalidParameterException"
        cases = [
            ("ClusterNotFoundException", "Cluster not found.", {"cluster": "none"}),
            ("ClientException", "TaskDefinition not found.", {"taskDefinition": "none"}),
            ("ClientException", "TaskDefinition not found.", {"taskDefinition": f"{family}:99"}),
            (
                invalid,
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
                {"networkConfiguration": None},
            ),
            (
                invalid,
                "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
                {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            ),
            (
                invalid,
                "The container other does not exist in the task definition.",
                {"loadBalancers": [{**balancer, "containerName": "other"}]},
            ),
            (
                invalid,
                "The container app did not have a container port 81 defined.",
                {"loadBalancers": [{**balancer, "containerPort": 81}]},
            ),
            (
                invalid,
                "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
                {"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 100}},
            ),
            (
                invalid,
                "Health check grace period is only valid for services configured to use load balancers",
                {"healthCheckGracePeriodSeconds": 10},
            ),
        ]
        for code, message, change in cases:
            with self.subTest(message):
                request = {name: value for name, value in {**good, **change}.items() if value is not None}
                self.refused(code, message, self.ecs.create_service, **request)
        self.assertEqual(self.ecs.list_services(cluster=cluster)["serviceArns"], [])

    def test_services_and_tasks_that_are_not_there(self):
        cluster = self.cluster()
        missing = ("ServiceNotFoundException", "Service not found.")
        self.refused(*missing, self.ecs.update_service, cluster=cluster, service="none")
        self.refused(*missing, self.ecs.delete_service, cluster=cluster, service="none")
        self.refused(*missing, self.ecs.list_service_deployments, cluster=cluster, service="none")
        self.refused("InvalidParameterException", "The referenced task was not found.", self.ecs.stop_task, cluster=cluster, task="0" * 32)
        self.refused("InvalidParameterException", "Tasks cannot be empty.", self.ecs.describe_tasks, cluster=cluster, tasks=[])
        answer = self.ecs.describe_services(cluster=cluster, services=["none"])
        arn = f"arn:aws:ecs:us-east-1:000000000000:service/{cluster}/none"
        self.assertEqual(answer["failures"], [{"arn": arn, "reason": "MISSING"}])


class Signatures(Case):
    TARGET = "AmazonEC2ContainerServiceV20141113.ListClusters"

    def send(self, headers, body=b"{}"):
        request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], body, headers, method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def signed(self, key=None, secret=None, body=b"{}", target=None, token=None):
        request = botocore.awsrequest.AWSRequest(
            "POST",
            os.environ["AWS_ENDPOINT_URL"],
            {"X-Amz-Target": target or self.TARGET, "Content-Type": "application/x-amz-json-1.1"},
            body,
        )
        credentials = botocore.credentials.Credentials(
            key or os.environ["AWS_ACCESS_KEY_ID"], secret or os.environ["AWS_SECRET_ACCESS_KEY"], token
        )
        botocore.auth.SigV4Auth(credentials, "ecs", "us-east-1").add_auth(request)
        return dict(request.headers)

    def test_only_requests_signed_with_an_issued_key_are_answered(self):
        self.assertEqual(self.send(self.signed())[0], 200)
        unsigned = {"X-Amz-Target": self.TARGET, "Content-Type": "application/x-amz-json-1.1"}
        status, answer = self.send(unsigned)
        self.assertEqual((status, answer["__type"]), (400, "MissingAuthenticationTokenException"))
        status, answer = self.send(self.signed(key="AKIAIOSFODNN7EXAMPLE"))
        self.assertEqual((status, answer["__type"]), (400, "UnrecognizedClientException"))
        self.assertEqual(answer["message"], "The security token included in the request is invalid.")
        status, answer = self.send(self.signed(secret="wrong"))
        self.assertEqual((status, answer["__type"]), (400, "InvalidSignatureException"))
        status, answer = self.send(self.signed(), body=b'{"maxResults": 5}')
        self.assertEqual((status, answer["__type"]), (400, "InvalidSignatureException"))
        status, answer = self.send(self.signed(token="none"))
        self.assertEqual((status, answer["__type"]), (400, "UnrecognizedClientException"))

    def test_the_query_services_word_it_differently(self):
        sts = boto3.client("sts", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x", config=CONFIG)
        self.refused("InvalidClientTokenId", "The security token included in the request is invalid.", sts.get_caller_identity)
        sts = boto3.client("sts", aws_secret_access_key="x", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], config=CONFIG)
        with self.assertRaisesRegex(Exception, "SignatureDoesNotMatch"):
            sts.get_caller_identity()

    def test_an_operation_that_does_not_exist_is_named_so(self):
        target = "AmazonEC2ContainerServiceV20141113.MakeCoffee"
        status, answer = self.send(self.signed(target=target))
        self.assertEqual((status, answer["__type"]), (400, "UnknownOperationException"))
        status, answer = self.send(self.signed(body=b"nonsense"), body=b"nonsense")
        self.assertEqual((status, answer["__type"]), (400, "SerializationException"))

    def test_a_request_that_is_too_old_is_refused(self):
        real = datetime.datetime
        old = datetime.timedelta(minutes=6)

        class Past(real):
            @classmethod
            def utcnow(cls):
                return real.utcnow() - old

            @classmethod
            def now(cls, tz=None):
                return real.now(tz) - old

        names = [name for name in ("datetime", "get_current_datetime") if hasattr(botocore.auth, name)]
        kept = {name: getattr(botocore.auth, name) for name in names}
        try:
            if "get_current_datetime" in kept:
                botocore.auth.get_current_datetime = lambda *a, **k: kept["get_current_datetime"](*a, **k) - old
            else:
                botocore.auth.datetime.datetime = Past
            headers = self.signed()
        finally:
            for name, value in kept.items():
                setattr(botocore.auth, name, value)
        status, answer = self.send(headers)
        self.assertEqual((status, answer["__type"]), (400, "InvalidSignatureException"))
        self.assertRegex(answer["message"], r"^Signature expired: \d{8}T\d{6}Z is now earlier than .* - 5 min\.\)$")
