"""Settings and tags that few programs use: each is set, and read back as it was set."""

import json
import unittest

from base import Case, client, push_busybox


class Settings(Case):
    def registry(self):
        """The registry of a region where no other test is, because settings are the whole registry's."""
        return client("ecr", region_name="eu-north-1")

    def test_settings_of_a_registry_are_kept(self):
        ecr = self.registry()
        for name, first, other in [("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", "CLAIR"), ("REGISTRY_POLICY_SCOPE", "V2", "V1"), ("BLOB_MOUNTING", "ENABLED", "DISABLED")]:
            self.assertEqual(ecr.get_account_setting(name=name)["value"], first)
            for value in (other, first):
                set_ = ecr.put_account_setting(name=name, value=value)
                self.assertEqual((set_["name"], set_["value"]), (name, value))
                self.assertEqual(ecr.get_account_setting(name=name)["value"], value)

    def test_rules_of_a_registry_say_what_is_scanned_on_push(self):
        ecr = self.registry()
        for name in ("scanned/web", "other"):
            ecr.create_repository(repositoryName=name)
            self.addCleanup(ecr.delete_repository, repositoryName=name, force=True)
        filters = [{"filter": "scanned/*", "filterType": "WILDCARD"}]
        rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": filters}]
        self.assertEqual(ecr.put_registry_scanning_configuration(scanType="BASIC", rules=rules)["registryScanningConfiguration"]["rules"], rules)
        kept = ecr.get_registry_scanning_configuration()
        self.assertEqual((kept["registryId"], kept["scanningConfiguration"]), ("000000000000", {"scanType": "BASIC", "rules": rules}))
        answer = ecr.batch_get_repository_scanning_configuration(repositoryNames=["scanned/web", "other", "none"])
        told = [(it["repositoryName"], it["scanFrequency"], it["appliedScanFilters"]) for it in answer["scanningConfigurations"]]
        self.assertEqual(told, [("scanned/web", "SCAN_ON_PUSH", filters), ("other", "MANUAL", [])])
        self.assertEqual([it["failureCode"] for it in answer["failures"]], ["REPOSITORY_NOT_FOUND"])

    def test_the_policy_of_a_registry_comes_and_goes_and_nothing_is_replicated(self):
        ecr = self.registry()
        statement = {"Sid": "x", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": ["ecr:CreateRepository"], "Resource": "*"}
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.assertEqual(ecr.put_registry_policy(policyText=text)["policyText"], text)
        self.assertEqual(ecr.get_registry_policy()["policyText"], text)
        self.assertEqual(ecr.delete_registry_policy()["policyText"], text)
        with self.assertRaises(ecr.exceptions.RegistryPolicyNotFoundException):
            ecr.get_registry_policy()
        self.assertEqual(ecr.put_replication_configuration(replicationConfiguration={"rules": []})["replicationConfiguration"], {"rules": []})
        self.assertEqual(ecr.describe_registry()["replicationConfiguration"], {"rules": []})
        self.assertEqual(ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"], [])
        self.assertEqual(ecr.describe_repository_creation_templates()["repositoryCreationTemplates"], [])
        name = self.name("image")
        push_busybox(name)
        answer = client("ecr").describe_image_replication_status(repositoryName=name, imageId={"imageTag": "1"})
        self.assertEqual((answer["repositoryName"], answer["imageId"]["imageTag"], answer["replicationStatuses"]), (name, "1", []))

    def test_log_groups_are_listed_by_name_and_class_in_pages(self):
        logs, mark = client("logs"), self.name("listed")
        kinds = {f"/{mark}/a": "STANDARD", f"/{mark}/b": "INFREQUENT_ACCESS", f"/other/{mark}": "STANDARD"}
        for name, kind in kinds.items():
            logs.create_log_group(logGroupName=name, logGroupClass=kind)
            self.addCleanup(logs.delete_log_group, logGroupName=name)
        listed = lambda **asked: [it["logGroupName"] for it in logs.list_log_groups(**asked)["logGroups"]]
        self.assertEqual(listed(logGroupNamePattern=mark), sorted(kinds))
        self.assertEqual(listed(logGroupNamePattern=f"^/{mark}"), [f"/{mark}/a", f"/{mark}/b"])
        self.assertEqual(listed(logGroupNamePattern=mark, logGroupClass="INFREQUENT_ACCESS"), [f"/{mark}/b"])
        first = logs.list_log_groups(logGroupNamePattern=mark, limit=2)
        self.assertEqual(first["logGroups"][0]["logGroupArn"], f"arn:aws:logs:us-east-1:000000000000:log-group:/{mark}/a")
        self.assertEqual(listed(logGroupNamePattern=mark, limit=2, nextToken=first["nextToken"]), [f"/other/{mark}"])

    def test_alarms_have_tags(self):
        watch, name = client("cloudwatch"), self.name("alarm")
        pairs = lambda: {it["Key"]: it["Value"] for it in watch.list_tags_for_resource(ResourceARN=arn)["Tags"]}
        watch.put_metric_alarm(
            AlarmName=name, Namespace="shop", MetricName="orders", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
            ComparisonOperator="GreaterThanThreshold", Tags=[{"Key": "team", "Value": "shop"}],
        )
        self.addCleanup(watch.delete_alarms, AlarmNames=[name])
        arn = watch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["AlarmArn"]
        self.assertEqual(pairs(), {"team": "shop"})
        watch.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "web"}, {"Key": "stage", "Value": "test"}])
        self.assertEqual(pairs(), {"team": "web", "stage": "test"})
        watch.untag_resource(ResourceARN=arn, TagKeys=["team"])
        self.assertEqual(pairs(), {"stage": "test"})

    def test_scalable_targets_have_tags(self):
        scaling, cluster = client("application-autoscaling"), self.cluster()
        self.ecs.create_service(
            cluster=cluster, serviceName="web", taskDefinition=self.register()["taskDefinitionArn"], desiredCount=0, launchType="FARGATE", networkConfiguration=self.network(),
        )
        target = {"ServiceNamespace": "ecs", "ResourceId": f"service/{cluster}/web", "ScalableDimension": "ecs:service:DesiredCount"}
        arn = scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2, Tags={"team": "shop"})["ScalableTargetARN"]
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"team": "shop"})
        scaling.tag_resource(ResourceARN=arn, Tags={"team": "web", "stage": "test"})
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"team": "web", "stage": "test"})
        scaling.untag_resource(ResourceARN=arn, TagKeys=["team"])
        self.assertEqual(scaling.list_tags_for_resource(ResourceARN=arn)["Tags"], {"stage": "test"})
        told = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])["ScalableTargets"][0]
        self.assertEqual((told["ScalableTargetARN"], told["MinCapacity"], told["MaxCapacity"]), (arn, 0, 2))

    def test_other_versions_of_http_and_codes_of_grpc_are_refused_by_name(self):
        elb, vpc = client("elbv2"), client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        wanted = {"Name": "grpc", "Protocol": "HTTP", "Port": 80, "VpcId": vpc, "TargetType": "ip"}
        for version in ("HTTP2", "GRPC"):
            self.refused(
                "ValidationError",
                f"Protocol version '{version}' is not supported by the embedded AWS, whose load balancers speak HTTP/1.1 with targets; use HTTP1",
                elb.create_target_group, **wanted, ProtocolVersion=version,
            )
        self.refused(
            "ValidationError", "A matcher of gRPC codes is for target groups of the protocol version GRPC, which the embedded AWS does not support",
            elb.create_target_group, **wanted, Matcher={"GrpcCode": "0"},
        )


if __name__ == "__main__":
    unittest.main()
