"""EventBridge and its Scheduler: what ECS says of itself, and tasks that rules and schedules run."""

import datetime
import json
import subprocess
import unittest

from base import Case, busybox, client


class Events(Case):
    def setUp(self):
        super().setUp()
        self.events, self.logs = client("events"), client("logs")
        self.cluster_name = self.cluster()
        self.cluster_arn = f"arn:aws:ecs:{self.region()}:000000000000:cluster/{self.cluster_name}"

    def region(self):
        return self.ecs.meta.region_name

    def definition(self, command):
        return self.register(container={"image": busybox(), "command": ["sh", "-c", command]})["taskDefinitionArn"]

    def parameters(self, definition):
        network = self.network()["awsvpcConfiguration"]
        return {"TaskDefinitionArn": definition, "LaunchType": "FARGATE", "NetworkConfiguration": {"awsvpcConfiguration": {
            "Subnets": network["subnets"], "AssignPublicIp": network["assignPublicIp"],
        }}}

    def rule(self, **members):
        name = self.name("rule")
        arn = self.events.put_rule(Name=name, **members)["RuleArn"]
        self.assertEqual(arn, f"arn:aws:events:{self.region()}:000000000000:rule/{name}")
        self.addCleanup(self.remove_rule, name)
        return name

    def remove_rule(self, name):
        ids = [it["Id"] for it in self.events.list_targets_by_rule(Rule=name)["Targets"]]
        if ids:
            self.events.remove_targets(Rule=name, Ids=ids)
        self.events.delete_rule(Name=name)

    def started_by(self, who):
        arns = [arn for status in ["RUNNING", "STOPPED"] for arn in self.ecs.list_tasks(cluster=self.cluster_name, startedBy=who, desiredStatus=status)["taskArns"]]
        return self.ecs.describe_tasks(cluster=self.cluster_name, tasks=arns)["tasks"] if arns else []

    def test_ecs_tells_of_tasks_deployments_and_services(self):
        group = f"/aws/events/{self.name('group')}"
        self.logs.create_log_group(logGroupName=group)
        name = self.rule(EventPattern=json.dumps({"source": ["aws.ecs"], "$or": [
            {"detail": {"clusterArn": [self.cluster_arn]}}, {"resources": [{"wildcard": f"*:service/{self.cluster_name}/*"}]},
        ]}), Description="all of it")
        arn = f"arn:aws:logs:{self.region()}:000000000000:log-group:{group}"
        self.assertEqual(self.events.put_targets(Rule=name, Targets=[{"Id": "log", "Arn": arn}])["FailedEntryCount"], 0)
        self.assertEqual(self.events.list_rule_names_by_target(TargetArn=arn)["RuleNames"], [name])
        self.ecs.create_service(
            cluster=self.cluster_name, serviceName="web", taskDefinition=self.definition("sleep 600"), desiredCount=1,
            launchType="FARGATE", networkConfiguration=self.network(),
        )

        def told():
            return [json.loads(it["message"]) for it in self.logs.filter_log_events(logGroupName=group)["events"]]

        def seen(kind, member):
            return [it["detail"].get(member) for it in told() if it["detail-type"] == kind]
        self.until("the steady state being told", lambda: "SERVICE_STEADY_STATE" in seen("ECS Service Action", "eventName"))
        self.assertEqual(seen("ECS Deployment State Change", "eventName"), ["SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED"])
        states = seen("ECS Task State Change", "lastStatus")
        order = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]
        self.assertEqual([it for at, it in enumerate(states) if it not in states[:at]], [it for it in order if it in states])
        self.assertEqual(states[-1], "RUNNING")
        event = [it for it in told() if it["detail-type"] == "ECS Task State Change"][-1]
        self.assertEqual((event["version"], event["source"], event["account"], event["region"]), ("0", "aws.ecs", "000000000000", self.region()))
        self.assertEqual(event["resources"], [event["detail"]["taskArn"]])
        self.assertRegex(event["detail"]["createdAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(event["detail"]["containers"][0]["name"], "app")
        self.ecs.delete_service(cluster=self.cluster_name, service="web", force=True)
        stopped = self.until("the end of the task being told", lambda: [it for it in told() if it["detail"].get("lastStatus") == "STOPPED"])
        self.assertEqual(stopped[0]["detail"]["stopCode"], "ServiceSchedulerInitiated")

    def test_a_rule_runs_a_task_with_what_the_event_says(self):
        source = self.name("shop")
        name = self.rule(EventPattern=json.dumps({"source": [source], "detail": {"total": [{"numeric": [">", 100]}]}}))
        target = {
            "Id": "task", "Arn": self.cluster_arn, "EcsParameters": self.parameters(self.definition("exit 3")),
            "InputTransformer": {
                "InputPathsMap": {"order": "$.detail.order"},
                "InputTemplate": '{"containerOverrides": [{"name": "app", "environment": [{"name": "ORDER", "value": <order>}]}]}',
            },
        }
        self.refused("ValidationException", f"RoleArn is required for target {self.cluster_arn}.", self.events.put_targets, Rule=name, Targets=[target])
        self.events.put_targets(Rule=name, Targets=[target | {"RoleArn": "arn:aws:iam::000000000000:role/events"}])
        answer = self.events.put_events(Entries=[
            {"Source": source, "DetailType": "order", "Detail": json.dumps({"total": 5, "order": "a"})},
            {"Source": source, "DetailType": "order", "Detail": json.dumps({"total": 500, "order": "b"})},
            {"Source": source, "DetailType": "order", "Detail": "no JSON"},
        ])
        self.assertEqual((answer["FailedEntryCount"], answer["Entries"][2]["ErrorCode"]), (1, "MalformedDetail"))
        task, = self.until("the task of the rule", lambda: self.started_by(f"events-rule/{name}"))
        self.assertEqual(task["overrides"]["containerOverrides"][0]["environment"], [{"name": "ORDER", "value": "b"}])
        self.refused("ValidationException", "Rule can't be deleted since it has targets.", self.events.delete_rule, Name=name)
        self.refused("InvalidEventPatternException", "Event pattern is not valid. Reason: Empty arrays are not allowed", self.events.put_rule, Name=name, EventPattern='{"a": []}')
        self.refused("ValidationException", "Parameter ScheduleExpression is not valid.", self.events.put_rule, Name=name, ScheduleExpression="rate(1 minutes)")
        self.refused("ResourceNotFoundException", "Rule none does not exist on EventBus default.", self.events.describe_rule, Name="none")
        self.assertTrue(self.events.test_event_pattern(EventPattern='{"a": [{"prefix": "b"}]}', Event='{"id": "1", "account": "1", "source": "s", "time": "t", "region": "r", "resources": [], "detail-type": "d", "a": "bc"}')["Result"])

    def test_a_schedule_runs_its_task_once_and_goes(self):
        scheduler, iam, name = client("scheduler"), client("iam"), self.name("nightly")
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        target = {"Arn": self.cluster_arn, "RoleArn": f"arn:aws:iam::000000000000:role/{name}", "EcsParameters": self.parameters(self.definition("exit 0"))}
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2, hours=5, minutes=30)
        schedule = {
            "Name": name, "ScheduleExpression": f"at({at:%Y-%m-%dT%H:%M:%S})", "ScheduleExpressionTimezone": "Asia/Kolkata",
            "Target": target, "FlexibleTimeWindow": {"Mode": "OFF"}, "ActionAfterCompletion": "DELETE",
        }
        why = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        self.refused("ValidationException", why, scheduler.create_schedule, **schedule)
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        self.addCleanup(iam.delete_role, RoleName=name)
        arn = scheduler.create_schedule(**schedule)["ScheduleArn"]
        self.assertEqual(arn, f"arn:aws:scheduler:{self.region()}:000000000000:schedule/default/{name}")
        self.refused("ConflictException", f"Schedule {name} already exists.", scheduler.create_schedule, **schedule)
        shown = scheduler.get_schedule(Name=name)
        self.assertEqual((shown["State"], shown["Target"]["EcsParameters"]["TaskCount"]), ("ENABLED", 1))
        self.assertIn(name, [it["Name"] for it in scheduler.list_schedules(NamePrefix=name)["Schedules"]])
        self.until("the task of the schedule", lambda: self.started_by(f"chronos-schedule/{name}"))
        self.until("the end of the schedule", lambda: not scheduler.list_schedules(NamePrefix=name)["Schedules"])
        self.assertEqual(len(self.started_by(f"chronos-schedule/{name}")), 1)
        self.refused("ResourceNotFoundException", f"Schedule {name} does not exist.", scheduler.get_schedule, Name=name)

        # A rate begins at once; the AWS CLI says the same.
        group = self.name("group")
        scheduler.create_schedule_group(Name=group, Tags=[{"Key": "a", "Value": "b"}])
        scheduler.create_schedule(**schedule | {"GroupName": group, "ScheduleExpression": "rate(1 hour)"})
        self.until("the second task", lambda: len(self.started_by(f"chronos-schedule/{name}")) == 2)
        scheduler.update_schedule(**schedule | {"GroupName": group, "ScheduleExpression": "cron(0 3 ? * MON#1 *)", "State": "DISABLED"})
        said = json.loads(subprocess.check_output(["aws", "scheduler", "get-schedule", "--name", name, "--group-name", group]))
        self.assertEqual((said["ScheduleExpression"], said["State"]), ("cron(0 3 ? * MON#1 *)", "DISABLED"))
        tags = scheduler.list_tags_for_resource(ResourceArn=f"arn:aws:scheduler:{self.region()}:000000000000:schedule-group/{group}")["Tags"]
        self.assertEqual(tags, [{"Key": "a", "Value": "b"}])
        scheduler.delete_schedule_group(Name=group)
        self.assertEqual(scheduler.list_schedules(NamePrefix=name)["Schedules"], [])
        self.refused("ValidationException", "Invalid Schedule Expression soon.", scheduler.create_schedule, **schedule | {"ScheduleExpression": "soon"})


class Buses(Case):
    def setUp(self):
        super().setUp()
        self.events, self.logs = client("events"), client("logs")

    def group(self):
        name = f"/aws/events/{self.name('group')}"
        self.logs.create_log_group(logGroupName=name)
        arn = f"arn:aws:logs:{self.events.meta.region_name}:000000000000:log-group:{name}"
        return arn, lambda: [json.loads(it["message"]) for it in self.logs.filter_log_events(logGroupName=name)["events"]]

    def test_a_bus_has_rules_of_its_own(self):
        name, (log, told) = self.name("bus"), self.group()
        arn = self.events.create_event_bus(Name=name, Description="orders", Tags=[{"Key": "a", "Value": "b"}])["EventBusArn"]
        self.assertEqual(arn, f"arn:aws:events:{self.events.meta.region_name}:000000000000:event-bus/{name}")
        self.assertEqual(self.events.list_tags_for_resource(ResourceARN=arn)["Tags"], [{"Key": "a", "Value": "b"}])
        self.refused("ResourceAlreadyExistsException", f"Event bus {name} already exists.", self.events.create_event_bus, Name=name)
        shown = self.events.describe_event_bus(Name=name)
        self.assertEqual((shown["Name"], shown["Arn"], shown["Description"]), (name, arn, "orders"))
        self.assertEqual({"default", name} - {it["Name"] for it in self.events.list_event_buses()["EventBuses"]}, set())
        page = self.events.list_event_buses(NamePrefix=name)["EventBuses"]
        self.assertEqual([it["Arn"] for it in page], [arn])
        pattern = json.dumps({"source": ["shop"]})
        rule = self.events.put_rule(Name="same", EventBusName=name, EventPattern=pattern)["RuleArn"]
        self.assertTrue(rule.endswith(f":rule/{name}/same"))
        self.events.put_targets(Rule="same", EventBusName=arn, Targets=[{"Id": "log", "Arn": log}])
        self.assertEqual([it["EventBusName"] for it in self.events.list_rules(EventBusName=name)["Rules"]], [name])
        self.assertNotIn("same", [it["Name"] for it in self.events.list_rules()["Rules"]])
        self.refused("ResourceNotFoundException", "Rule same does not exist on EventBus default.", self.events.describe_rule, Name="same")
        self.refused("ValidationException", "ScheduleExpression is supported only on the default event bus.", self.events.put_rule, Name="timed", EventBusName=name, ScheduleExpression="rate(1 minute)")
        self.refused("ResourceNotFoundException", "Event bus none does not exist.", self.events.put_rule, Name="r", EventBusName="none", EventPattern=pattern)
        entry = {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"n": 1})}
        answer = self.events.put_events(Entries=[entry, {**entry, "EventBusName": name}, {**entry, "EventBusName": "none"}])
        self.assertEqual((answer["FailedEntryCount"], ["EventId" in it for it in answer["Entries"]]), (0, [True] * 3))
        self.assertEqual([it["id"] for it in self.until("the event of the bus", told)], [answer["Entries"][1]["EventId"]])
        # The default bus may pass events on to this one; they go no further.
        self.events.put_rule(Name=name, EventPattern=json.dumps({"source": ["shop"], "detail": {"n": [2]}}))
        self.events.put_targets(Rule=name, Targets=[{"Id": "bus", "Arn": arn}])
        self.events.put_events(Entries=[{**entry, "Detail": json.dumps({"n": 2})}])
        self.until("the event that was passed on", lambda: [it["detail"]["n"] for it in told()] == [1, 2])
        self.events.remove_targets(Rule=name, Ids=["bus"])
        self.events.delete_rule(Name=name)
        self.refused("ValidationException", "Event bus can't be deleted since it has rules.", self.events.delete_event_bus, Name=name)
        self.events.remove_targets(Rule="same", EventBusName=name, Ids=["log"])
        self.events.delete_rule(Name="same", EventBusName=name)
        self.events.delete_event_bus(Name=name)
        self.refused("ResourceNotFoundException", f"Event bus {name} does not exist.", self.events.describe_event_bus, Name=name)
        self.refused("ValidationException", "Cannot delete event bus default.", self.events.delete_event_bus, Name="default")


if __name__ == "__main__":
    unittest.main()
