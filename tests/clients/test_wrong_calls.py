"""Wrong calls by the hundred, each with the answer of the real service.

`wrong_calls.json` has one call a line: service, operation, what is changed in a good request (null takes a member out; where there is
no good request it is the whole one), code, message, and where few are known who have it in those words who
that is, "?" where nobody else was found. Calls are signed and sent as they stand, so that no client repairs or refuses them.
"""

import json
import os
import pathlib
import re
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from base import Case, client

JSON = {
    "ecs": "AmazonEC2ContainerServiceV20141113", "ecr": "AmazonEC2ContainerRegistry_V20150921", "logs": "Logs_20140328", "ssm": "AmazonSSM",
    "secretsmanager": "secretsmanager", "application-autoscaling": "AnyScaleFrontendService", "servicediscovery": "Route53AutoNaming_v20170314",
    "acm": "CertificateManager", "events": "AWSEvents",
}
QUERY = {"elbv2": "2015-12-01", "iam": "2010-05-08", "sts": "2011-06-15", "ec2": "2016-11-15"}


def flat(value, name):
    """The fields of a form that stand for a value."""
    if isinstance(value, dict):
        return [field for key, item in value.items() for field in flat(item, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [field for index, item in enumerate(value, 1) for field in flat(item, f"{name}.{index}")]
    return [(name, value)]


def with_members(value, ec2):
    """Lists of the query protocol are in `member`; those of EC2 are not."""
    if isinstance(value, dict):
        return {key: with_members(item, ec2) for key, item in value.items()}
    if isinstance(value, list):
        items = [with_members(item, ec2) for item in value]
        return items if ec2 else {"member": items}
    return value


class WrongCalls(Case):
    def setUp(self):
        super().setUp()
        cluster = self.cluster()
        definition = self.register(container={"portMappings": [{"containerPort": 80}]})
        old = self.register()["taskDefinitionArn"]
        self.ecs.deregister_task_definition(taskDefinition=old)
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        elb, ecr, logs = client("elbv2"), client("ecr"), client("logs")
        group = elb.create_target_group(Name="wrong", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
        group = group["TargetGroups"][0]["TargetGroupArn"]
        self.addCleanup(elb.delete_target_group, TargetGroupArn=group)
        ecr.create_repository(repositoryName="wrong/calls")
        self.addCleanup(ecr.delete_repository, repositoryName="wrong/calls")
        logs.create_log_group(logGroupName="wrong")
        self.addCleanup(logs.delete_log_group, logGroupName="wrong")
        gone = self.name("gone")
        self.ecs.create_cluster(clusterName=gone)
        self.ecs.delete_cluster(cluster=gone)
        balancer = elb.create_load_balancer(Name=self.name("lb"), Subnets=self.subnets())["LoadBalancers"][0]["LoadBalancerArn"]
        self.addCleanup(elb.delete_load_balancer, LoadBalancerArn=balancer)
        fixed = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
        listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=fixed)["Listeners"][0]["ListenerArn"]
        elb.create_rule(ListenerArn=listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/1"]}], Actions=fixed)
        default = next(it["RuleArn"] for it in elb.describe_rules(ListenerArn=listener)["Rules"] if it["IsDefault"])
        subnet = self.subnets()[0]
        network = {"awsvpcConfiguration": {"subnets": [subnet]}}
        self.names = {
            "cluster": cluster,
            "clusterArn": f"arn:aws:ecs:us-east-1:000000000000:cluster/{cluster}",
            "family": definition["family"],
            "inactive": old,
            "subnet": subnet,
            "group": group,
            "gone": gone,
            "goneArn": f"arn:aws:ecs:us-east-1:000000000000:cluster/{gone}",
            "balancer": balancer,
            "listener": listener,
            "defaultRule": default,
            "repository": "wrong/calls",
            "logGroup": "wrong",
        }
        run = {"cluster": cluster, "taskDefinition": definition["family"], "launchType": "FARGATE", "networkConfiguration": network}
        self.good = {
            "RunTask": run,
            "CreateService": {**run, "serviceName": "wrong", "desiredCount": 0},
            "RegisterTaskDefinition": {
                "family": "wrong",
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
                "cpu": "256",
                "memory": "512",
                "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
                "containerDefinitions": [{"name": "app", "image": "busybox"}],
            },
            "CreateTargetGroup": {"Name": "wrong-2", "Protocol": "HTTP", "Port": "80", "VpcId": vpc, "TargetType": "ip"},
        }

    def send(self, service, operation, params):
        """The code and the message of the answer."""
        url = os.environ["AWS_ENDPOINT_URL"]
        if service in JSON:
            headers = {"X-Amz-Target": f"{JSON[service]}.{operation}", "Content-Type": "application/x-amz-json-1.1"}
            body = json.dumps(params).encode()
        else:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            fields = [("Action", operation), ("Version", QUERY[service]), *flat(with_members(params, service == "ec2"), "")]
            body = urllib.parse.urlencode(fields).encode()
        request = botocore.awsrequest.AWSRequest("POST", url, headers, body)
        credentials = botocore.credentials.Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        signing = {"elbv2": "elasticloadbalancing"}.get(service, service)
        botocore.auth.SigV4Auth(credentials, signing, "us-east-1").add_auth(request)
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, dict(request.headers))) as answer:
                return "none: it was answered", answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode()
        if service in JSON:
            answer = json.loads(text)
            return answer["__type"], answer.get("message", answer.get("Message", ""))
        find = lambda tag: next((it.text or "" for it in xml.etree.ElementTree.fromstring(text).iter() if it.tag.endswith(tag)), "")
        return find("Code"), find("Message")

    def filled(self, value):
        if isinstance(value, str):
            return re.sub(r"\$(\w+)", lambda found: self.names[found[1]], value)
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return value

    def test_every_wrong_call_is_answered_as_the_real_service_answers_it(self):
        rows = json.loads(pathlib.Path(__file__).with_name("wrong_calls.json").read_text())
        self.assertGreaterEqual(len(rows), 150)
        for service, operation, change, code, message, *_ in rows:
            params = {**self.good.get(operation, {}), **self.filled(change)}
            params = {name: value for name, value in params.items() if value is not None}
            with self.subTest(f"{service} {operation} {json.dumps(change)[:200]}"):
                self.assertEqual(self.send(service, operation, params), (code, self.filled(message)))
        self.assertEqual(self.ecs.list_services(cluster=self.names["cluster"])["serviceArns"], [])
