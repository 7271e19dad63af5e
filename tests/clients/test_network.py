"""Load balancers, networks, logs, roles and tokens through boto3, which checks every request and answer against its models.

Wants AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, as `hoist local env` prints them.
"""

import base64
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
import unittest
import urllib.parse
import uuid

import boto3
import rsa
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = os.environ.get("AWS_REGION", "eu-central-1")


def client(service, **kwargs):
    return boto3.client(service, region_name=REGION, **kwargs)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def until(condition, seconds=20):
    """Waits for something that happens in the background."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


class Target:
    """An HTTP server on a loopback address of its own, standing for a task."""

    def __init__(self, name, port=0, delay=0.0):
        outer = self
        self.name, self.delay, self.healthy, self.served = name, delay, 200, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                sent = self.rfile.read(length)
                status = outer.healthy if self.path == "/healthz" else 200
                if self.path != "/healthz":
                    outer.served += 1
                    time.sleep(outer.delay)
                body = json.dumps(
                    {"name": outer.name, "path": self.path, "headers": dict(self.headers.items()), "length": len(sent)}
                ).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def get(host, port, path="/", headers=None, method="GET", body=None):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


class Ec2(unittest.TestCase):
    def setUp(self):
        self.ec2 = client("ec2")

    def test_a_region_has_a_default_vpc_with_two_zones_and_a_default_group(self):
        (vpc,) = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        self.assertEqual(vpc["CidrBlock"], "172.31.0.0/16")
        subnets = self.ec2.describe_subnets(
            Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "default-for-az", "Values": ["true"]}]
        )["Subnets"]
        self.assertEqual({s["AvailabilityZone"] for s in subnets}, {REGION + "a", REGION + "b"})
        (group,) = self.ec2.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        )["SecurityGroups"]
        self.assertEqual(group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], group["GroupId"])
        again = client("ec2").describe_vpcs()["Vpcs"]
        self.assertEqual([v["VpcId"] for v in again], [vpc["VpcId"]])
        other = boto3.client("ec2", region_name="sa-east-1").describe_vpcs()["Vpcs"]
        self.assertNotEqual(other[0]["VpcId"], vpc["VpcId"])

    def test_unknown_ids_are_refused_in_the_service_s_words(self):
        for call, code in [
            (lambda: self.ec2.describe_subnets(SubnetIds=["subnet-00000000"]), "InvalidSubnetID.NotFound"),
            (lambda: self.ec2.describe_vpcs(VpcIds=["vpc-00000000"]), "InvalidVpcID.NotFound"),
            (lambda: self.ec2.describe_security_groups(GroupIds=["sg-00000000"]), "InvalidGroup.NotFound"),
            (lambda: self.ec2.describe_subnets(Filters=[{"Name": "nonsense", "Values": ["x"]}]), "InvalidParameterValue"),
        ]:
            with self.assertRaises(ClientError) as refused:
                call()
            self.assertEqual(refused.exception.response["Error"]["Code"], code)

    def test_security_groups_are_made_changed_and_deleted(self):
        name = unique("web")
        group = self.ec2.create_security_group(
            GroupName=name,
            Description="web",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "hoist:app", "Value": "shop"}]}],
        )["GroupId"]
        with self.assertRaises(ClientError) as twice:
            self.ec2.create_security_group(GroupName=name, Description="web")
        self.assertEqual(twice.exception.response["Error"]["Code"], "InvalidGroup.Duplicate")
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}]}
        answer = self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        self.assertTrue(answer["Return"])
        self.assertEqual(answer["SecurityGroupRules"][0]["CidrIpv4"], "0.0.0.0/0")
        with self.assertRaises(ClientError) as twice:
            self.ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
        self.assertEqual(twice.exception.response["Error"]["Code"], "InvalidPermission.Duplicate")
        (shown,) = self.ec2.describe_security_groups(Filters=[{"Name": "tag:hoist:app", "Values": ["shop"]}, {"Name": "group-name", "Values": [name]}])["SecurityGroups"]
        self.assertEqual(shown["IpPermissions"][0]["FromPort"], 80)
        self.assertEqual(shown["Tags"], [{"Key": "hoist:app", "Value": "shop"}])
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
        self.assertEqual(self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"], [])
        self.ec2.delete_security_group(GroupId=group)
        with self.assertRaises(ClientError):
            self.ec2.describe_security_groups(GroupIds=[group])

    def test_the_ways_out_of_the_vpc_are_shown(self):
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertEqual(len(zones), 2)
        self.assertIn(REGION, {r["RegionName"] for r in self.ec2.describe_regions()["Regions"]})
        (table,) = self.ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])["RouteTables"]
        self.assertTrue(any(r.get("GatewayId", "").startswith("igw-") for r in table["Routes"]))
        self.assertEqual(len(self.ec2.describe_internet_gateways()["InternetGateways"]), 1)
        self.assertEqual(self.ec2.describe_nat_gateways()["NatGateways"], [])
        self.assertEqual(self.ec2.describe_vpc_endpoints()["VpcEndpoints"], [])
        self.assertIsInstance(self.ec2.describe_network_interfaces()["NetworkInterfaces"], list)


class Elb(unittest.TestCase):
    def setUp(self):
        self.elb = client("elbv2")
        ec2 = client("ec2")
        self.vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.subnets = [s["SubnetId"] for s in subnets]
        self.targets, self.balancers, self.groups = [], [], []

    def tearDown(self):
        for arn in self.balancers:
            self.elb.delete_load_balancer(LoadBalancerArn=arn)
        for arn in self.groups:
            self.elb.delete_target_group(TargetGroupArn=arn)
        for target in self.targets:
            target.stop()

    def target(self, name, **kwargs):
        target = Target(name, **kwargs)
        self.targets.append(target)
        return target

    def balancer(self):
        (balancer,) = self.elb.create_load_balancer(Name=unique("lb"), Subnets=self.subnets)["LoadBalancers"]
        self.balancers.append(balancer["LoadBalancerArn"])
        self.assertEqual(balancer["State"], {"Code": "provisioning"})
        waiter = self.elb.get_waiter("load_balancer_available")
        waiter.wait(LoadBalancerArns=[balancer["LoadBalancerArn"]], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        return balancer

    def group(self, delay=1, **settings):
        settings = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2, "HealthCheckPath": "/healthz"} | settings
        (group,) = self.elb.create_target_group(
            Name=unique("tg"), Protocol="HTTP", Port=8080, VpcId=self.vpc, TargetType="ip", **settings
        )["TargetGroups"]
        arn = group["TargetGroupArn"]
        self.groups.append(arn)
        self.elb.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}]
        )
        return arn

    def listener(self, balancer, actions, port=80):
        (listener,) = self.elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=port, DefaultActions=actions
        )["Listeners"]
        return listener

    def register(self, group, *targets):
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": t.port} for t in targets])

    def states(self, group):
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {d["Target"]["Port"]: d["TargetHealth"] for d in found}

    def healthy(self, group, *targets):
        until(lambda: all(self.states(group).get(t.port, {}).get("State") == "healthy" for t in targets))

    def refused(self, code, call, text=None):
        with self.assertRaises(ClientError) as refused:
            call()
        error = refused.exception.response["Error"]
        self.assertEqual(error["Code"], code)
        if text:
            self.assertIn(text, error["Message"])

    def test_requests_reach_healthy_targets_with_the_balancer_s_headers(self):
        balancer, group, one = self.balancer(), self.group(), self.target("one")
        self.register(group, one)
        self.assertEqual(until(lambda: self.states(group)[one.port].get("Reason") == "Target.NotInUse"), True)
        listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])
        self.elb.get_waiter("target_in_service").wait(TargetGroupArn=group, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        status, headers, body = get(balancer["DNSName"], listener["Port"], "/a?b=c", {"x-forwarded-for": "1.2.3.4"})
        self.assertEqual(status, 200)
        seen = json.loads(body)
        sent = {k.lower(): v for k, v in seen["headers"].items()}
        self.assertEqual(seen["path"], "/a?b=c")
        self.assertTrue(re.fullmatch(r"1\.2\.3\.4, 127\.\d+\.\d+\.\d+", sent["x-forwarded-for"]), sent)
        self.assertEqual((sent["x-forwarded-proto"], sent["x-forwarded-port"]), ("http", str(listener["Port"])))
        self.assertTrue(re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", sent["x-amzn-trace-id"]), sent)
        self.assertNotIn("connection", sent)

    def test_failing_checks_are_told_in_the_service_s_words(self):
        balancer, group, one = self.balancer(), self.group(), self.target("one")
        one.healthy = 404
        self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])
        self.register(group, one)
        until(lambda: self.states(group)[one.port]["State"] == "unhealthy")
        self.assertEqual(
            self.states(group)[one.port],
            {"State": "unhealthy", "Reason": "Target.ResponseCodeMismatch", "Description": "Health checks failed with these codes: [404]"},
        )
        self.elb.modify_target_group(TargetGroupArn=group, Matcher={"HttpCode": "200-399,404"})
        self.healthy(group, one)

    def test_errors_have_the_balancer_s_pages(self):
        balancer, group = self.balancer(), self.group()
        listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])
        status, headers, body = get(balancer["DNSName"], listener["Port"])
        self.assertEqual((status, headers["server"], len(body)), (503, "awselb/2.0", 162))
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": closed.getsockname()[1]}])
        status, headers, body = get(balancer["DNSName"], listener["Port"])
        self.assertEqual((status, len(body)), (502, 122), "no target is healthy: all are tried")
        closed.close()

    def test_weights_split_the_requests_and_shift_at_once(self):
        balancer, blue, green = self.balancer(), self.group(), self.group()
        one, two = self.target("blue"), self.target("green")
        self.register(blue, one)
        self.register(green, two)

        def action(a, b):
            groups = [{"TargetGroupArn": blue, "Weight": a}, {"TargetGroupArn": green, "Weight": b}]
            return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

        listener = self.listener(balancer, action(80, 20))
        self.healthy(blue, one)
        self.healthy(green, two)

        def count(n=300):
            names = [json.loads(get(balancer["DNSName"], listener["Port"])[2])["name"] for _ in range(n)]
            return names.count("green")

        self.assertTrue(25 <= count() <= 100)
        (rule,) = self.elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
        self.assertTrue(rule["IsDefault"])
        self.elb.modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=action(0, 1))
        self.assertEqual(count(50), 50)
        self.elb.modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=action(1, 0))
        self.assertEqual(count(50), 0)

    def test_rules_go_by_host_path_header_and_query(self):
        balancer, group = self.balancer(), self.group()
        listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])

        def fixed(text):
            return [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": text}}]

        rules = [
            ([{"Field": "path-pattern", "Values": ["/api/*"]}], fixed("path")),
            ([{"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}}], fixed("host")),
            ([{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Kind", "Values": ["test*"]}}], fixed("header")),
            ([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2"}]}}], fixed("query")),
            ([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT"]}}], fixed("method")),
            (
                [{"Field": "path-pattern", "Values": ["/old"]}],
                [{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "Path": "/new", "StatusCode": "HTTP_301"}}],
            ),
        ]
        made = []
        for priority, (conditions, actions) in enumerate(rules, 1):
            (rule,) = self.elb.create_rule(ListenerArn=listener["ListenerArn"], Priority=priority, Conditions=conditions, Actions=actions)["Rules"]
            made.append(rule["RuleArn"])
        where = (balancer["DNSName"], listener["Port"])
        self.assertEqual(get(*where, "/api/x")[2], b"path")
        self.assertEqual(get(*where, headers={"Host": "a.Example.com:80"})[2], b"host")
        self.assertEqual(get(*where, headers={"X-Kind": "TESTing"})[2], b"header")
        self.assertEqual(get(*where, "/?v=2")[2], b"query")
        self.assertEqual(get(*where, method="PUT")[2], b"method")
        status, headers, _ = get(*where, "/old?x=1", headers={"Host": "shop.test"})
        self.assertEqual((status, headers["location"]), (301, "https://shop.test:443/new?x=1"))
        self.assertEqual(get(*where)[0], 503)
        self.refused(
            "PriorityInUse",
            lambda: self.elb.create_rule(ListenerArn=listener["ListenerArn"], Priority=1, Conditions=rules[1][0], Actions=fixed("x")),
            "Priority '1' is currently in use",
        )
        self.elb.set_rule_priorities(RulePriorities=[{"RuleArn": made[0], "Priority": 100}])
        shown = self.elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
        self.assertEqual([r["Priority"] for r in shown], ["2", "3", "4", "5", "6", "100", "default"])
        self.elb.delete_rule(RuleArn=made[1])
        self.assertEqual(get(*where, headers={"Host": "a.example.com"})[0], 503)

    def test_creating_twice_with_equal_settings_is_one(self):
        balancer = self.balancer()
        same = self.elb.create_load_balancer(Name=balancer["LoadBalancerName"], Subnets=self.subnets[::-1])["LoadBalancers"]
        self.assertEqual(same[0]["LoadBalancerArn"], balancer["LoadBalancerArn"])
        self.refused(
            "DuplicateLoadBalancerName",
            lambda: self.elb.create_load_balancer(Name=balancer["LoadBalancerName"], Subnets=self.subnets, Scheme="internal"),
        )
        group = self.group()
        name = group.split("/")[1]
        self.refused(
            "DuplicateTargetGroupName",
            lambda: self.elb.create_target_group(Name=name, Protocol="HTTP", Port=81, VpcId=self.vpc, TargetType="ip"),
        )
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        listener = self.listener(balancer, actions)
        self.assertEqual(self.listener(balancer, actions)["ListenerArn"], listener["ListenerArn"])
        self.refused("ResourceInUse", lambda: self.elb.delete_target_group(TargetGroupArn=group), "is currently in use by a listener or a rule")
        self.refused(
            "DuplicateListener",
            lambda: self.listener(balancer, [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]),
        )

    def test_what_is_not_there_is_refused_in_the_service_s_words(self):
        arn = f"arn:aws:elasticloadbalancing:{REGION}:000000000000:"
        for code, text, call in [
            ("LoadBalancerNotFound", "One or more load balancers not found", lambda: self.elb.describe_load_balancers(LoadBalancerArns=[arn + "loadbalancer/app/x/0123456789abcdef"])),
            ("LoadBalancerNotFound", "Load balancers '[nope]' not found", lambda: self.elb.describe_load_balancers(Names=["nope"])),
            ("TargetGroupNotFound", "One or more target groups not found", lambda: self.elb.describe_target_groups(Names=["nope"])),
            ("TargetGroupNotFound", "One or more target groups not found", lambda: self.elb.describe_target_health(TargetGroupArn=arn + "targetgroup/x/0123456789abcdef")),
            ("ListenerNotFound", "One or more listeners not found", lambda: self.elb.describe_listeners(ListenerArns=[arn + "listener/app/x/1/2"])),
            ("RuleNotFound", "One or more rules not found", lambda: self.elb.delete_rule(RuleArn=arn + "listener-rule/app/x/1/2/3")),
            ("SubnetNotFound", "The subnet ID 'subnet-1' is not valid", lambda: self.elb.create_load_balancer(Name="x", Subnets=["subnet-1", "subnet-2"])),
            ("ValidationError", "At least two subnets in two different Availability Zones must be specified", lambda: self.elb.create_load_balancer(Name="x", Subnets=self.subnets[:1])),
        ]:
            with self.subTest(text):
                self.refused(code, call, text)

    def test_tags_and_attributes_read_back(self):
        balancer, group = self.balancer(), self.group()
        arns = [balancer["LoadBalancerArn"], group]
        self.elb.add_tags(ResourceArns=arns, Tags=[{"Key": "hoist:app", "Value": "shop"}, {"Key": "b", "Value": "2"}])
        self.elb.remove_tags(ResourceArns=arns, TagKeys=["b"])
        for shown in self.elb.describe_tags(ResourceArns=arns)["TagDescriptions"]:
            self.assertEqual(shown["Tags"], [{"Key": "hoist:app", "Value": "shop"}])
        attributes = self.elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
        self.assertEqual({a["Key"]: a["Value"] for a in attributes}["deregistration_delay.timeout_seconds"], "1")
        self.refused(
            "ValidationError",
            lambda: self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "3601"}]),
        )
        self.elb.modify_load_balancer_attributes(LoadBalancerArn=arns[0], Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
        self.refused("OperationNotPermitted", lambda: self.elb.delete_load_balancer(LoadBalancerArn=arns[0]))
        self.elb.modify_load_balancer_attributes(LoadBalancerArn=arns[0], Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])

    def test_lists_come_in_pages(self):
        made = {self.group() for _ in range(5)}
        pages = self.elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 2})
        found = [g["TargetGroupArn"] for page in pages for g in page["TargetGroups"]]
        self.assertTrue(made <= set(found))
        self.assertEqual(len(found), len(set(found)))

    def test_a_rolling_change_of_targets_loses_no_request(self):
        balancer, group = self.balancer(), self.group(delay=2)
        listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])
        old = [self.target(f"old{i}", delay=0.01) for i in range(2)]
        self.register(group, *old)
        self.healthy(group, *old)
        stop, failures, done = threading.Event(), [], [0]

        def load(method):
            connection = None
            while not stop.is_set():
                try:
                    connection = connection or http.client.HTTPConnection(balancer["DNSName"], listener["Port"], timeout=10)
                    connection.request(method, "/work", body=b"x" * 100 if method == "POST" else None)
                    response = connection.getresponse()
                    body = response.read()
                    if response.status != 200:
                        failures.append((method, response.status, body[:80]))
                    done[0] += 1
                except (OSError, http.client.HTTPException) as error:
                    failures.append((method, repr(error)))
                    connection = None

        workers = [threading.Thread(target=load, args=(m,), daemon=True) for m in ["GET", "POST", "GET", "POST"]]
        for worker in workers:
            worker.start()
        for generation in range(3):
            new = [self.target(f"new{generation}{i}", delay=0.01) for i in range(2)]
            self.register(group, *new)
            self.healthy(group, *new)
            self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": t.port} for t in old])
            self.assertEqual({self.states(group)[t.port]["State"] for t in old}, {"draining"})
            self.elb.get_waiter("target_deregistered").wait(
                TargetGroupArn=group,
                Targets=[{"Id": "127.0.0.1", "Port": t.port} for t in old],
                WaiterConfig={"Delay": 1, "MaxAttempts": 20},
            )
            for target in old:
                target.stop()
                self.targets.remove(target)
            old = new
        stop.set()
        for worker in workers:
            worker.join(10)
        self.assertEqual(failures, [])
        self.assertGreater(done[0], 100)

    def test_a_websocket_is_a_tunnel(self):
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]

        def serve():
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                head = b""
                while b"\r\n\r\n" not in head:
                    part = peer.recv(4096)
                    if not part:
                        break
                    head += part
                if b"upgrade: websocket" in head.lower():
                    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                    threading.Thread(target=lambda peer=peer: [peer.sendall(d.upper()) for d in iter(lambda: peer.recv(100), b"")], daemon=True).start()
                else:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    peer.close()

        threading.Thread(target=serve, daemon=True).start()
        balancer, group = self.balancer(), self.group()
        listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}])
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port}])
        with socket.create_connection((balancer["DNSName"], listener["Port"]), timeout=10) as stream:
            stream.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += stream.recv(4096)
            self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
            stream.sendall(b"hello")
            self.assertEqual(stream.recv(100), b"HELLO")
        listening.close()

    def test_a_port_that_is_taken_is_replaced_and_shown(self):
        balancer, group = self.balancer(), self.group()
        with socket.create_server((balancer["DNSName"], 8099)):
            listener = self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}], port=8099)
            self.assertNotEqual(listener["Port"], 8099)
            self.assertEqual(get(balancer["DNSName"], listener["Port"])[0], 503)
            self.assertEqual(self.listener(balancer, [{"Type": "forward", "TargetGroupArn": group}], port=8099), listener)


class Logs(unittest.TestCase):
    def setUp(self):
        self.logs = client("logs")
        self.group = "/hoist/" + unique("app")
        self.logs.create_log_group(logGroupName=self.group, tags={"hoist:app": "shop"})
        self.addCleanup(self.logs.delete_log_group, logGroupName=self.group)

    def put(self, stream, *lines, start=None):
        start = start or int(time.time() * 1000) - 1000
        events = [{"timestamp": start + i, "message": line} for i, line in enumerate(lines)]
        return self.logs.put_log_events(logGroupName=self.group, logStreamName=stream, logEvents=events)

    def test_events_are_read_forwards_backwards_and_to_the_end(self):
        self.logs.create_log_stream(logGroupName=self.group, logStreamName="web/app/1")
        self.put("web/app/1", *[f"line {i}" for i in range(25)])
        names = {"logGroupName": self.group, "logStreamName": "web/app/1"}
        lines, token = [], None
        while True:
            page = self.logs.get_log_events(**names, startFromHead=True, limit=10, **({"nextToken": token} if token else {}))
            lines += [e["message"] for e in page["events"]]
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
        self.assertEqual(lines, [f"line {i}" for i in range(25)])
        tail = self.logs.get_log_events(**names, limit=10)
        self.assertEqual([e["message"] for e in tail["events"]], [f"line {i}" for i in range(15, 25)])
        before = self.logs.get_log_events(**names, limit=10, nextToken=tail["nextBackwardToken"])
        self.assertEqual([e["message"] for e in before["events"]], [f"line {i}" for i in range(5, 15)])
        self.put("web/app/1", "late", start=int(time.time() * 1000) - 60_000)
        late = self.logs.get_log_events(**names, nextToken=token)
        self.assertEqual([e["message"] for e in late["events"]], [])
        now = int(time.time() * 1000)
        self.put("web/app/1", "later", start=now)
        self.assertEqual([e["message"] for e in self.logs.get_log_events(**names, nextToken=token)["events"]], ["later"])

    def test_filters_look_through_all_streams(self):
        for stream in ["a", "b"]:
            self.logs.create_log_stream(logGroupName=self.group, logStreamName=stream)
            self.put(stream, f"INFO {stream} started", f"ERROR {stream} failed", "ERROR ignored")
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.group, filterPattern='ERROR -"ignored"', PaginationConfig={"PageSize": 1}
        )
        self.assertEqual({e["message"] for p in pages for e in p["events"]}, {"ERROR a failed", "ERROR b failed"})
        found = self.logs.filter_log_events(logGroupName=self.group, logStreamNamePrefix="b", filterPattern="?started ?ignored")
        self.assertEqual([e["message"] for e in found["events"]], ["INFO b started", "ERROR ignored"])

    def test_groups_and_streams_are_described(self):
        self.logs.put_retention_policy(logGroupName=self.group, retentionInDays=7)
        (group,) = self.logs.describe_log_groups(logGroupNamePrefix=self.group)["logGroups"]
        self.assertEqual((group["retentionInDays"], group["arn"][-2:]), (7, ":*"))
        self.assertEqual(self.logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"], {"hoist:app": "shop"})
        for name in ["one", "two", "three"]:
            self.logs.create_log_stream(logGroupName=self.group, logStreamName=name)
        now = int(time.time() * 1000)
        self.put("two", "x", start=now - 5000)
        self.put("one", "x", start=now)
        pages = self.logs.get_paginator("describe_log_streams").paginate(logGroupName=self.group, PaginationConfig={"PageSize": 2})
        self.assertEqual([s["logStreamName"] for p in pages for s in p["logStreams"]], ["one", "three", "two"])
        newest = self.logs.describe_log_streams(logGroupName=self.group, orderBy="LastEventTime", descending=True, limit=1)
        self.assertEqual(newest["logStreams"][0]["lastEventTimestamp"], now)

    def test_refusals_are_the_service_s(self):
        put = self.logs.put_log_events
        self.logs.create_log_stream(logGroupName=self.group, logStreamName="s")
        now = int(time.time() * 1000)
        for code, call in [
            ("ResourceAlreadyExistsException", lambda: self.logs.create_log_group(logGroupName=self.group)),
            ("ResourceAlreadyExistsException", lambda: self.logs.create_log_stream(logGroupName=self.group, logStreamName="s")),
            ("ResourceNotFoundException", lambda: self.logs.get_log_events(logGroupName=self.group, logStreamName="nope")),
            ("ResourceNotFoundException", lambda: self.logs.create_log_stream(logGroupName="/nope", logStreamName="x")),
            ("InvalidParameterException", lambda: self.logs.create_log_group(logGroupName="a b")),
            ("InvalidParameterException", lambda: self.logs.put_retention_policy(logGroupName=self.group, retentionInDays=2)),
            ("InvalidParameterException", lambda: put(logGroupName=self.group, logStreamName="s", logEvents=[{"timestamp": now, "message": "a"}, {"timestamp": now - 1, "message": "b"}])),
        ]:
            with self.assertRaises(ClientError) as refused:
                call()
            self.assertEqual(refused.exception.response["Error"]["Code"], code)
        rejected = put(logGroupName=self.group, logStreamName="s", logEvents=[{"timestamp": now + 3 * 3600_000, "message": "new"}])
        self.assertEqual(rejected["rejectedLogEventsInfo"], {"tooNewLogEventStartIndex": 0})


TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


# The two primes of the issuer's key: making some takes pure Python many seconds.
P = int(
    "e514aab01ade5e512181631fc4200667d472c04c8789cca8260b2bd580f27ab337b7eb80fc02a77e09cd8c9c8ce00271bf7b"
    "61978bd03872ecf2d9b280ace518fb8b656dc33541f78ad67fb9f0e16c45898d3a19198e67c00e31a62a23d09360f7863128"
    "9f1f789ed79c254fc5e0959a197d175559c74ea1a21cc190c73a0267",
    16,
)
Q = int(
    "dd61eafbd11fddd14c91e2f5bc9ece8923a55a0d133aa8e1a1ac6017c9f35c69e8565b7bf93883917b14d11e243be4fceeb8"
    "7e3c25669d25e7f1700829aefa3285d56cd9d8ea20775ab4a69a5f1f8be4f450f1254b5e7c1b47c5f0404520a37380c5dc82"
    "6a4d45ccd06c5d27eaa64265b10fa6444b58770347646bb284b92aa9",
    16,
)


class Issuer:
    """An identity provider on loopback, with its discovery document, its key, and tokens that it signs."""

    def __init__(self):
        self.public = rsa.PublicKey(P * Q, 65537)
        self.private = rsa.PrivateKey(P * Q, 65537, pow(65537, -1, (P - 1) * (Q - 1)), P, Q)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                number = lambda n: encode(n.to_bytes((n.bit_length() + 7) // 8, "big"))
                key = {"kty": "RSA", "kid": "one", "alg": "RS256", "n": number(outer.public.n), "e": number(outer.public.e)}
                pages = {"/.well-known/openid-configuration": {"issuer": outer.url, "jwks_uri": f"{outer.url}/keys"}, "/keys": {"keys": [key]}}
                body = json.dumps(pages.get(self.path, {})).encode()
                self.send_response(200 if self.path in pages else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def token(self, **claims):
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": "one"}, claims))
        return f"{text}.{encode(rsa.sign(text.encode(), self.private, 'SHA-256'))}"


def encode(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class Identity(unittest.TestCase):
    def setUp(self):
        self.iam, self.sts = client("iam"), client("sts")

    def role(self, trust):
        name = unique("role")
        role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), Tags=[{"Key": "hoist:app", "Value": "shop"}])["Role"]

        def remove():
            for policy in self.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                self.iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
            for policy in self.iam.list_role_policies(RoleName=name)["PolicyNames"]:
                self.iam.delete_role_policy(RoleName=name, PolicyName=policy)
            self.iam.delete_role(RoleName=name)

        self.addCleanup(remove)
        return role

    def test_a_task_execution_role_is_made_as_guides_make_it(self):
        role = self.role(TRUST)
        name = role["RoleName"]
        managed = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
        self.iam.attach_role_policy(RoleName=name, PolicyArn=managed)
        self.assertEqual(
            self.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
            [{"PolicyName": "AmazonECSTaskExecutionRolePolicy", "PolicyArn": managed}],
        )
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "*"}]}
        self.iam.put_role_policy(RoleName=name, PolicyName="secrets", PolicyDocument=json.dumps(document))
        self.assertEqual(self.iam.get_role_policy(RoleName=name, PolicyName="secrets")["PolicyDocument"], document)
        shown = self.iam.get_role(RoleName=name)["Role"]
        self.assertEqual(shown["AssumeRolePolicyDocument"], TRUST)
        self.assertEqual(shown["Tags"], [{"Key": "hoist:app", "Value": "shop"}])
        self.assertIn(name, {r["RoleName"] for p in self.iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1}) for r in p["Roles"]})
        for code, call in [
            ("EntityAlreadyExists", lambda: self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))),
            ("DeleteConflict", lambda: self.iam.delete_role(RoleName=name)),
            ("NoSuchEntity", lambda: self.iam.get_role(RoleName="nope")),
            ("MalformedPolicyDocument", lambda: self.iam.create_role(RoleName="x", AssumeRolePolicyDocument="{")),
        ]:
            with self.assertRaises(ClientError) as refused:
                call()
            self.assertEqual(refused.exception.response["Error"]["Code"], code)
        with self.assertRaises(self.iam.exceptions.NoSuchEntityException):
            self.iam.detach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/Nope")

    def test_a_service_linked_role_is_made_once(self):
        try:
            self.iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        except self.iam.exceptions.InvalidInputException:
            pass
        with self.assertRaises(self.iam.exceptions.InvalidInputException) as twice:
            self.iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        self.assertIn("has been taken in this account", str(twice.exception))

    def test_keys_of_an_assumed_role_are_good_and_say_who_they_are(self):
        root = self.sts.get_caller_identity()
        self.assertEqual((root["Account"], root["Arn"]), ("000000000000", "arn:aws:iam::000000000000:root"))
        role = self.role({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": root["Arn"]}, "Action": "sts:AssumeRole"}]})
        assumed = self.sts.assume_role(RoleArn=role["Arn"], RoleSessionName="ci")
        keys = assumed["Credentials"]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
        self.assertEqual(session.client("sts").get_caller_identity()["Arn"], f"arn:aws:sts::000000000000:assumed-role/{role['RoleName']}/ci")
        self.assertTrue(session.client("ec2").describe_vpcs()["Vpcs"])
        forged = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], "wrong", REGION)
        with self.assertRaises(ClientError):
            forged.client("sts").get_caller_identity()
        closed = self.role(TRUST)
        with self.assertRaises(ClientError) as refused:
            self.sts.assume_role(RoleArn=closed["Arn"], RoleSessionName="ci")
        self.assertEqual(refused.exception.response["Error"]["Code"], "AccessDenied")
        temporary = self.sts.get_session_token()["Credentials"]
        session = boto3.Session(temporary["AccessKeyId"], temporary["SecretAccessKey"], temporary["SessionToken"], REGION)
        self.assertEqual(session.client("sts").get_caller_identity()["Arn"], root["Arn"])

    def test_a_web_identity_token_opens_what_its_role_trusts(self):
        provider = Issuer()
        self.addCleanup(provider.close)
        sign, issuer, host = provider.token, provider.url, provider.host
        provider = self.iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40])
        arn = provider["OpenIDConnectProviderArn"]
        self.addCleanup(self.iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)
        role = self.role({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{host}:aud": "sts.amazonaws.com"}, "StringLike": {f"{host}:sub": "repo:acme/shop:*"}},
        }]})
        anonymous = client("sts", config=Config(signature_version=UNSIGNED))
        good = {"iss": issuer, "sub": "repo:acme/shop:ref:refs/heads/main", "aud": "sts.amazonaws.com", "exp": int(time.time()) + 600}
        assume = lambda **claims: anonymous.assume_role_with_web_identity(RoleArn=role["Arn"], RoleSessionName="ci", WebIdentityToken=sign(**(good | claims)))
        keys = assume()["Credentials"]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
        self.assertTrue(session.client("sts").get_caller_identity()["Arn"].endswith("/ci"))
        for code, claims in [
            ("AccessDenied", {"sub": "repo:evil/shop:x"}),
            ("InvalidIdentityToken", {"aud": "other"}),
            ("InvalidIdentityToken", {"iss": "https://other.example.com"}),
            ("ExpiredTokenException", {"exp": int(time.time()) - 5}),
        ]:
            with self.assertRaises(ClientError) as refused:
                assume(**claims)
            self.assertEqual(refused.exception.response["Error"]["Code"], code)
        text, _ = sign(**good).rsplit(".", 1)
        with self.assertRaises(ClientError) as refused:
            anonymous.assume_role_with_web_identity(RoleArn=role["Arn"], RoleSessionName="ci", WebIdentityToken=f"{text}.{encode(bytes(256))}")
        self.assertEqual(refused.exception.response["Error"]["Code"], "InvalidIdentityToken")


if __name__ == "__main__":
    unittest.main()
