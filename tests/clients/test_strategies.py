"""Deployments that shift traffic, Spot interruptions and alarms, with real containers behind a real load balancer."""

import json
import os
import pathlib
import urllib.error
import urllib.request

import test_services
from base import Case, busybox, client

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:look"


def turn(**what):
    """Turns a dial of the daemon."""
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"] + "/_hoist/dials", json.dumps(what).encode(), {"x-hoist-control": "1"}
    )
    return urllib.request.urlopen(request).read()


class Strategies(Case):
    read = test_services.Services.read
    describe = test_services.Services.describe
    web = test_services.Services.web
    balancer = test_services.Services.balancer

    def setUp(self):
        super().setUp()
        self.elb = client("elbv2")
        self.cluster_name = self.cluster()

    def two_groups(self):
        """The `loadBalancers` of a service between two groups, the URLs of production and test, and the production rule."""
        name = f"s{os.getpid()}-{next(Case.numbers)}"
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets(), Type="application")["LoadBalancers"][0]
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=made["LoadBalancerArn"])
        groups = []
        for color in ["a", "b"]:
            group = self.elb.create_target_group(
                Name=f"{name}-{color}", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip",
                HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
            )["TargetGroups"][0]["TargetGroupArn"]
            self.elb.modify_target_group_attributes(
                TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
            )
            groups.append(group)
        forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": groups[0], "Weight": 1}, {"TargetGroupArn": groups[1], "Weight": 0},
        ]}}
        rules, urls = [], []
        for port in [80, 81]:
            listener = self.elb.create_listener(
                LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=port,
                DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
            )["Listeners"][0]
            rule = self.elb.create_rule(
                ListenerArn=listener["ListenerArn"], Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
                Actions=[forward],
            )["Rules"][0]
            rules.append(rule["RuleArn"])
            urls.append(f"http://{made['DNSName']}:{listener['Port']}/")
        balancers = [{
            "targetGroupArn": groups[0], "containerName": "app", "containerPort": 8080,
            "advancedConfiguration": {
                "alternateTargetGroupArn": groups[1], "productionListenerRule": rules[0], "testListenerRule": rules[1],
                "roleArn": "arn:aws:iam::000000000000:role/ecs",
            },
        }]
        return balancers, urls, rules

    def weights(self, rule):
        actions = self.elb.describe_rules(RuleArns=[rule])["Rules"][0]["Actions"]
        return [it["Weight"] for it in actions[0]["ForwardConfig"]["TargetGroups"]]

    def deployment(self):
        brief = self.ecs.list_service_deployments(cluster=self.cluster_name, service="web")["serviceDeployments"][0]
        return self.ecs.describe_service_deployments(
            serviceDeploymentArns=[brief["serviceDeploymentArn"]]
        )["serviceDeployments"][0]

    def ended(self, status):
        ended = self.until(status, lambda: "finishedAt" in self.deployment() and self.deployment())
        self.assertEqual(ended["status"], status, ended.get("statusReason"))
        return ended

    def update(self, text, **configuration):
        before = self.deployment()["serviceDeploymentArn"]
        self.ecs.update_service(
            cluster=self.cluster_name, service="web", taskDefinition=self.web(text), deploymentConfiguration=configuration
        )
        self.assertNotEqual(self.deployment()["serviceDeploymentArn"], before)

    def paused(self):
        found = self.until("the pause", lambda: self.deployment().get("lifecycleHookDetails"))
        self.assertEqual((found[0]["targetType"], found[0]["status"]), ("PAUSE", "AWAITING_ACTION"))
        return found[0]["hookId"]

    def go_on(self, action):
        arn = self.deployment()["serviceDeploymentArn"]
        self.ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=self.paused(), action=action)

    def test_blue_green_then_linear_with_hooks_pauses_and_rollback(self):
        balancers, (production, test), rules = self.two_groups()
        seen = pathlib.Path(os.environ["HOIST_HOME"]) / "hooked"
        hooks = pathlib.Path(os.environ["HOIST_HOME"]) / "local" / "hooks.json"
        hooks.write_text(json.dumps({"look": ["sh", "-c", f"cat >> {seen}; echo >> {seen}; echo '{{\"hookStatus\": \"SUCCEEDED\"}}'"]}))
        self.addCleanup(hooks.unlink)
        wrong = [{**balancers[0], "advancedConfiguration": {
            **balancers[0]["advancedConfiguration"], "alternateTargetGroupArn": self.balancer()[0],
        }}]
        common = dict(
            cluster=self.cluster_name, serviceName="web", taskDefinition=self.web("one"), desiredCount=1, launchType="FARGATE",
            networkConfiguration=self.network(), deploymentConfiguration={"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0},
        )
        self.refused(
            "InvalidParameterException",
            "Both targetGroup and alternateTargetGroup must be associated with the productionListenerRule or testListenerRule.",
            self.ecs.create_service, loadBalancers=wrong, **common,
        )
        self.ecs.create_service(loadBalancers=balancers, **common)
        self.ended("SUCCESSFUL")
        self.assertEqual(self.weights(rules[0]), [100, 0])
        self.assertEqual(self.read(production), "one")

        # The second one waits with the test traffic on the new revision, and all production traffic on the old.
        self.update("two", lifecycleHooks=[
            {"hookTargetArn": FUNCTION, "roleArn": "arn:aws:iam::000000000000:role/hook",
             "lifecycleStages": ["POST_SCALE_UP"], "hookDetails": {"url": test}},
            {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]},
        ])
        self.paused()
        deployment = self.deployment()
        self.assertEqual(deployment["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT")
        target, (source,) = deployment["targetServiceRevision"], deployment["sourceServiceRevisions"]
        share = lambda it: (it["requestedTestTrafficWeight"], it["requestedProductionTrafficWeight"], it["runningTaskCount"])
        self.assertEqual((share(target), share(source)), ((100.0, 0.0, 1), (0.0, 100.0, 1)))
        self.assertEqual((self.read(test), self.read(production)), ("two", "one"))
        event = json.loads(seen.read_text().splitlines()[-1])
        self.assertEqual((event["lifecycleStage"], event["hookDetails"]), ("POST_SCALE_UP", {"url": test}))
        self.assertEqual(event["resourceArn"], deployment["serviceDeploymentArn"])
        self.assertEqual(event["executionDetails"]["targetServiceRevisionArn"], target["arn"])
        revision = self.ecs.describe_service_revisions(serviceRevisionArns=[target["arn"]])["serviceRevisions"][0]
        alternate = balancers[0]["advancedConfiguration"]["alternateTargetGroupArn"]
        self.assertEqual(revision["resolvedConfiguration"]["loadBalancers"][0]["targetGroupArn"], alternate)
        self.go_on("CONTINUE")
        self.ended("SUCCESSFUL")
        self.assertEqual((self.weights(rules[0]), self.weights(rules[1])), ([0, 100], [0, 100]))
        self.assertEqual(self.read(production), "two")

        # Half of the traffic, then back.
        self.update(
            "three", strategy="LINEAR", linearConfiguration={"stepPercent": 50.0, "stepBakeTimeInMinutes": 0},
            lifecycleHooks=[{"targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"]}],
        )
        self.go_on("CONTINUE")
        self.until("half of the traffic", lambda: self.weights(rules[0]) == [50, 50])
        self.paused()
        answers = {self.read(production) for _ in range(60)}
        self.assertEqual(answers, {"two", "three"})
        self.ecs.stop_service_deployment(
            serviceDeploymentArn=self.deployment()["serviceDeploymentArn"], stopType="ROLLBACK"
        )
        ended = self.ended("ROLLBACK_SUCCESSFUL")
        self.assertEqual(ended["rollback"]["serviceRevisionArn"], target["arn"])
        self.assertEqual(self.weights(rules[0]), [0, 100])
        self.assertEqual({self.read(production) for _ in range(10)}, {"two"})
        service = self.describe()
        self.assertEqual((service["runningCount"], len(service["deployments"])), (1, 1))

        # A canary gets a little first, and an alarm ends it.
        self.update(
            "four", strategy="CANARY", canaryConfiguration={"canaryPercent": 2.5, "canaryBakeTimeInMinutes": 5},
            lifecycleHooks=[], alarms={"alarmNames": ["errors"], "enable": True, "rollback": True},
        )
        self.until("the canary", lambda: self.weights(rules[0]) == [25, 975])
        self.assertEqual(self.deployment()["lifecycleStage"], "PRODUCTION_TRAFFIC_SHIFT")
        turn(alarm={"region": os.environ["AWS_REGION"], "name": "errors", "alarming": True})
        ended = self.ended("ROLLBACK_SUCCESSFUL")
        self.assertEqual(ended["alarms"], {"status": "TRIGGERED", "alarmNames": ["errors"], "triggeredAlarmNames": ["errors"]})
        turn(alarm={"region": os.environ["AWS_REGION"], "name": "errors", "alarming": False})
        self.assertEqual(self.read(production), "two")

    def test_a_spot_task_is_interrupted_on_demand(self):
        definition = self.register(container={"image": busybox(), "command": ["sleep", "1000"]})["taskDefinitionArn"]
        request = dict(cluster=self.cluster_name, taskDefinition=definition, networkConfiguration=self.network())
        spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        self.ecs.put_cluster_capacity_providers(
            cluster=self.cluster_name, capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
        )
        task = self.ecs.run_task(capacityProviderStrategy=spot, **request)["tasks"][0]
        self.assertEqual((task["capacityProviderName"], task.get("launchType")), ("FARGATE_SPOT", None))
        plain = self.ecs.run_task(launchType="FARGATE", **request)["tasks"][0]
        waiter = self.ecs.get_waiter("tasks_running")
        waiter.wait(cluster=self.cluster_name, tasks=[task["taskArn"], plain["taskArn"]], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        with self.assertRaises(urllib.error.HTTPError):
            turn(interrupt=plain["taskArn"])
        turn(interrupt=task["taskArn"])
        self.ecs.get_waiter("tasks_stopped").wait(
            cluster=self.cluster_name, tasks=[task["taskArn"]], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
        stopped = self.ecs.describe_tasks(cluster=self.cluster_name, tasks=[task["taskArn"]])["tasks"][0]
        self.assertEqual(stopped["stopCode"], "SpotInterruption")
        self.assertEqual(stopped["stoppedReason"], "Your Spot Task was interrupted.")
