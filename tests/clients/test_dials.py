"""Limits and faults, turned while the embedded AWS runs."""

import json
import os
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

from base import Case, client


def once(name):
    """A client that does not try again."""
    return boto3.client(name, config=botocore.config.Config(retries={"total_max_attempts": 1}))


def turn(**dials):
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"] + "/_hoist/dials", json.dumps(dials).encode(), {"x-hoist-control": "1"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Dials(Case):
    def setUp(self):
        self.ecs = once("ecs")
        self.addCleanup(turn, limits="none", faults="none")

    def fails(self, call, **request):
        """What a call comes to: an error code, `lost` or None."""
        try:
            call(**request)
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionClosedError, botocore.exceptions.ResponseStreamingError):
            return "lost"

    def test_the_published_burst_is_answered_and_no_more(self):
        turn(limits="aws")
        seen = [self.fails(self.ecs.update_cluster, cluster="none") for _ in range(40)]
        self.assertEqual(seen[:20], ["ClusterNotFoundException"] * 20)
        self.assertIn("ThrottlingException", seen[20:])
        self.refused("ThrottlingException", "Rate exceeded", self.burst, operation=self.ecs.delete_cluster, most=40, cluster="none")
        self.refused("Throttling", "Rate exceeded", self.burst, operation=once("elbv2").delete_rule, most=40, RuleArn="none")
        self.refused("RequestLimitExceeded", "Request limit exceeded.", self.burst, operation=once("ec2").delete_subnet, most=80, SubnetId="none")
        turn(limits="none")
        self.assertEqual({self.fails(self.ecs.list_clusters) for _ in range(30)}, {None})

    def burst(self, operation, most, **request):
        """Calls until something else than the ordinary refusal comes."""
        for _ in range(most):
            try:
                operation(**request)
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Message"].endswith("xceeded") or error.response["Error"]["Code"] == "RequestLimitExceeded":
                    raise

    def test_faults_come_in_their_shares_and_can_be_ended(self):
        dials = turn(faults="throttling=30%,errors=30%,resets=30%,seed=5,services=ecs")
        self.assertEqual(dials["faults"], "throttling=0.3,errors=0.3,resets=0.3,seed=5,services=ecs")
        seen = [self.fails(self.ecs.list_clusters) for _ in range(60)]
        self.assertEqual(set(seen), {None, "ThrottlingException", "ServerException", "lost"})
        self.assertIsNone(self.fails(client("sts").get_caller_identity))
        turn(faults="none")
        self.assertEqual({self.fails(self.ecs.list_clusters) for _ in range(20)}, {None})

    def test_an_answer_may_be_lost_after_the_call_was_carried_out(self):
        turn(faults="resets=100%,seed=1,services=ecs")
        names = [self.name("cluster") for _ in range(4)]
        self.assertEqual({self.fails(self.ecs.create_cluster, clusterName=name) for name in names}, {"lost"})
        turn(faults="none")
        made = [it["clusterName"] for it in self.ecs.describe_clusters(clusters=names)["clusters"]]
        self.assertEqual(made, names[1::2])
        for name in made:
            self.ecs.delete_cluster(cluster=name)

    def test_the_registry_has_bad_days_too(self):
        host = os.environ["AWS_ENDPOINT_URL"]
        turn(faults="throttling=100%,services=registry")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{host}/v2/")
        with caught.exception as error:
            self.assertEqual((error.code, json.load(error)["errors"][0]["code"]), (429, "TOOMANYREQUESTS"))

    def test_a_spec_that_is_none_is_refused_with_what_is_wrong(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            turn(faults="chaos=1")
        with caught.exception as error:
            self.assertTrue(json.load(error)["message"].startswith("`chaos` is no fault"))
        request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/_hoist/dials", b"{}")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.exception as error:
            self.assertEqual(error.code, 403)
