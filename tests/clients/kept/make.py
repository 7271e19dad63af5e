"""Fills an empty embedded AWS with something of everything that it keeps.

    hoist local start --runtime simulated && eval "$(hoist local env)" && python3 tests/clients/kept/make.py && hoist local stop
    tar -C $HOIST_HOME -czf tests/clients/kept/layout-N.tar.gz --exclude '*.lock' --exclude daemon.log --exclude settings.json local

was done with the last release that had layout N; `test_persistence.py` holds every later one against what came out.
"""

import json
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import base  # noqa: E402

# The image need not run.
shutil.which = lambda _: __file__
client, account = base.client, "000000000000"
ecs, ec2, logs, elb = client("ecs"), client("ec2"), client("logs"), client("elbv2")
ecs.create_cluster(clusterName="kept", tags=[{"key": "a", "value": "b"}])
subnets = [it["SubnetId"] for it in ec2.describe_subnets()["Subnets"]]
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
network = {"awsvpcConfiguration": {"subnets": subnets, "assignPublicIp": "DISABLED"}}
trusted = ["ecs-tasks.amazonaws.com", "scheduler.amazonaws.com", "events.amazonaws.com"]
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": trusted}, "Action": "sts:AssumeRole"}]}
client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps(trust))
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
client("iam").put_role_policy(RoleName="execution", PolicyName="p", PolicyDocument=json.dumps(everything))
role = f"arn:aws:iam::{account}:role/execution"
client("ssm").put_parameter(Name="/kept/p", Value="parameter", Type="SecureString")
client("secretsmanager").create_secret(Name="kept", SecretString="hush")
logs.create_log_group(logGroupName="/kept")
logs.create_log_stream(logGroupName="/kept", logStreamName="s")
logs.put_log_events(logGroupName="/kept", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "a line"}])
definition = ecs.register_task_definition(
    family="kept", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512", executionRoleArn=role,
    containerDefinitions=[{"name": "app", "image": base.busybox(), "essential": True, "portMappings": [{"containerPort": 80, "name": "http"}]}],
)["taskDefinition"]["taskDefinitionArn"]
balancer = elb.create_load_balancer(Name="kept", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
group = elb.create_target_group(Name="kept", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")["TargetGroups"][0]["TargetGroupArn"]
forward = [{"Type": "forward", "TargetGroupArn": group}]
listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=28080, DefaultActions=forward)["Listeners"][0]["ListenerArn"]
elb.create_rule(ListenerArn=listener, Priority=5, Conditions=[{"Field": "path-pattern", "Values": ["/a*"]}], Actions=forward)
placed = {"cluster": "kept", "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": network}
ecs.create_service(**placed, serviceName="web", desiredCount=2)
target = [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]
ecs.create_service(**placed, serviceName="idle", desiredCount=0, loadBalancers=target)
ecs.run_task(**placed)
ecs.get_waiter("services_stable").wait(cluster="kept", services=["web"], WaiterConfig={"Delay": 1})
names = client("servicediscovery")
operation = names.create_private_dns_namespace(Name="kept.internal", Vpc=vpc)["OperationId"]
namespace = names.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
entry = names.create_service(Name="web", NamespaceId=namespace, DnsConfig={"DnsRecords": [{"Type": "A", "TTL": 10}]})["Service"]["Id"]
names.register_instance(ServiceId=entry, InstanceId="i", Attributes={"AWS_INSTANCE_IPV4": "10.1.1.1"})
events, group = client("events"), [{"Id": "log", "Arn": f"arn:aws:logs:us-east-1:{account}:log-group:/kept"}]
for name, pattern in [("stopped", {"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}}), ("mine", {"source": ["mine"]})]:
    events.put_rule(Name=name, EventPattern=json.dumps(pattern), Tags=[{"Key": "k", "Value": "v"}])
    events.put_targets(Rule=name, Targets=group)
events.put_rule(Name="nightly", ScheduleExpression="cron(0 3 * * ? *)")
schedules = client("scheduler")
schedules.create_schedule_group(Name="kept")
schedules.create_schedule(
    Name="nightly", GroupName="kept", ScheduleExpression="cron(0 3 * * ? *)", FlexibleTimeWindow={"Mode": "OFF"},
    Target={"Arn": f"arn:aws:ecs:us-east-1:{account}:cluster/kept", "RoleArn": role, "EcsParameters": {"TaskDefinitionArn": definition}},
)
client("s3").create_bucket(Bucket="kept")
client("s3").put_object(Bucket="kept", Key="web.env", Body=b"A=b\n")
client("acm").request_certificate(DomainName="shop.test")
scaled = {"ServiceNamespace": "ecs", "ResourceId": "service/kept/web", "ScalableDimension": "ecs:service:DesiredCount"}
scaling = client("application-autoscaling")
scaling.register_scalable_target(**scaled, MinCapacity=2, MaxCapacity=4)
metric = {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
tracked = {"TargetValue": 60.0, "PredefinedMetricSpecification": metric}
scaling.put_scaling_policy(**scaled, PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=tracked)
client("cloudwatch").put_metric_alarm(
    AlarmName="kept", Namespace="x", MetricName="y", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
    ComparisonOperator="GreaterThanThreshold",
)
ecs.put_account_setting_default(name="fargateTaskRetirementWaitPeriod", value="14")
