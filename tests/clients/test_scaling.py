"""Application Auto Scaling and CloudWatch: policies, alarms, schedules, and what they do to a service of real containers."""

import datetime
import unittest

from base import Case, busybox, client


class Scaling(Case):
    def setUp(self):
        super().setUp()
        self.scaling, self.watch = client("application-autoscaling"), client("cloudwatch")
        self.cluster_name = self.cluster()

    def service(self, command, count=1):
        """A service of containers that run `command`; what names it for auto scaling."""
        made = self.register(container={"image": busybox(), "command": ["sh", "-c", command]})
        name = self.name("service")
        self.ecs.create_service(
            cluster=self.cluster_name, serviceName=name, taskDefinition=made["taskDefinitionArn"], desiredCount=count,
            launchType="FARGATE", networkConfiguration=self.network(),
        )
        self.service_name = name
        resource = f"service/{self.cluster_name}/{name}"
        return {"ServiceNamespace": "ecs", "ResourceId": resource, "ScalableDimension": "ecs:service:DesiredCount"}

    def desired(self):
        return self.ecs.describe_services(cluster=self.cluster_name, services=[self.service_name])["services"][0]["desiredCount"]

    def becomes(self, count):
        self.until(f"{count} tasks being wanted", lambda: self.desired() == count)

    def test_target_tracking_follows_the_processor_time_of_containers(self):
        where = self.service("while :; do :; done")
        target = self.scaling.register_scalable_target(**where, MinCapacity=1, MaxCapacity=2)
        self.assertRegex(target["ScalableTargetARN"], "^arn:aws:application-autoscaling:[^:]+:000000000000:scalable-target/")
        put = self.scaling.put_scaling_policy(
            **where, PolicyName="cpu", PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 20.0, "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
            },
        )
        self.assertEqual(len(put["Alarms"]), 2)
        self.becomes(2)
        dimensions = [{"Name": "ClusterName", "Value": self.cluster_name}, {"Name": "ServiceName", "Value": self.service_name}]
        end = datetime.datetime.now(datetime.timezone.utc)
        found = self.watch.get_metric_data(StartTime=end - datetime.timedelta(minutes=5), EndTime=end, MetricDataQueries=[
            {"Id": "cpu", "MetricStat": {"Metric": {"Namespace": "AWS/ECS", "MetricName": "CPUUtilization", "Dimensions": dimensions}, "Period": 60, "Stat": "Maximum"}},
            {"Id": "memory", "MetricStat": {"Metric": {"Namespace": "AWS/ECS", "MetricName": "MemoryUtilization", "Dimensions": dimensions}, "Period": 60, "Stat": "Average"}},
        ])["MetricDataResults"]
        self.assertGreater(max(found[0]["Values"]), 20)
        self.assertGreater(max(found[1]["Values"]), 0)
        activity = self.scaling.describe_scaling_activities(ServiceNamespace="ecs", ResourceId=where["ResourceId"])["ScalingActivities"][0]
        self.assertEqual((activity["StatusCode"], activity["Description"]), ("Successful", "Setting desired count to 2."))
        self.scaling.delete_scaling_policy(**where, PolicyName="cpu")
        self.assertEqual(self.watch.describe_alarms(AlarmNames=[it["AlarmName"] for it in put["Alarms"]])["MetricAlarms"], [])

    def test_an_alarm_takes_steps_and_a_schedule_changes_the_bounds(self):
        where = self.service("sleep 600")
        self.refused(
            "ObjectNotFoundException",
            f"No scalable target registered for service namespace: ecs, resource ID: {where['ResourceId']}, scalable dimension: ecs:service:DesiredCount",
            self.scaling.put_scaling_policy, **where, PolicyName="x", PolicyType="StepScaling",
        )
        self.refused(
            "ValidationException", f"ECS service doesn't exist: service/{self.cluster_name}/none",
            self.scaling.register_scalable_target, **where | {"ResourceId": f"service/{self.cluster_name}/none"}, MinCapacity=0, MaxCapacity=1,
        )
        self.scaling.register_scalable_target(**where, MinCapacity=0, MaxCapacity=4)
        policy = self.scaling.put_scaling_policy(
            **where, PolicyName="steps", PolicyType="StepScaling",
            StepScalingPolicyConfiguration={"AdjustmentType": "ExactCapacity", "Cooldown": 1, "StepAdjustments": [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 2},
                {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
            ]},
        )["PolicyARN"]
        alarm = self.name("alarm")
        self.watch.put_metric_alarm(
            AlarmName=alarm, Namespace="Shop", MetricName="Queue", Statistic="Maximum", Period=60, EvaluationPeriods=1,
            Threshold=50, ComparisonOperator="GreaterThanOrEqualToThreshold", AlarmActions=[policy],
        )
        self.watch.put_metric_data(Namespace="Shop", MetricData=[{"MetricName": "Queue", "Value": 70}])
        self.becomes(3)
        name = "later"
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
        self.scaling.put_scheduled_action(
            **where, ScheduledActionName=name, Schedule=f"at({at:%Y-%m-%dT%H:%M:%S})", ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 1},
            StartTime=at - datetime.timedelta(seconds=5),
        )
        self.becomes(1)
        shown = self.scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[where["ResourceId"]])["ScalableTargets"][0]
        self.assertEqual((shown["MinCapacity"], shown["MaxCapacity"]), (0, 1))
        self.assertEqual([it["ScheduledActionName"] for it in self.scaling.describe_scheduled_actions(ServiceNamespace="ecs", ResourceId=where["ResourceId"])["ScheduledActions"]], [name])
        self.scaling.deregister_scalable_target(**where)
        self.assertEqual(self.scaling.describe_scaling_policies(ServiceNamespace="ecs", ResourceId=where["ResourceId"])["ScalingPolicies"], [])
        self.watch.delete_alarms(AlarmNames=[alarm])


if __name__ == "__main__":
    unittest.main()
