"""The ECS API as far as it needs no container: boto3 checks every answer against its models."""

from base import Case, client


class Clusters(Case):
    def test_a_cluster_is_created_once_and_described_by_name_and_arn(self):
        name = self.name("cluster")
        first = self.ecs.create_cluster(clusterName=name, tags=[{"key": "team", "value": "a"}])["cluster"]
        again = self.ecs.create_cluster(clusterName=name)["cluster"]
        self.assertEqual(first["clusterArn"], again["clusterArn"])
        self.assertEqual(first["clusterArn"].split(":", 5)[5], f"cluster/{name}")
        self.assertEqual((first["status"], first["tags"]), ("ACTIVE", [{"key": "team", "value": "a"}]))
        answer = self.ecs.describe_clusters(clusters=[name, first["clusterArn"], "missing"], include=["TAGS"])
        self.assertEqual([it["clusterName"] for it in answer["clusters"]], [name, name])
        self.assertEqual(answer["clusters"][0]["tags"], [{"key": "team", "value": "a"}])
        self.assertEqual([it["reason"] for it in answer["failures"]], ["MISSING"])
        self.assertIn(first["clusterArn"], self.ecs.list_clusters()["clusterArns"])
        self.assertEqual(self.ecs.delete_cluster(cluster=name)["cluster"]["status"], "INACTIVE")
        self.assertNotIn(first["clusterArn"], self.ecs.list_clusters()["clusterArns"])
        self.refused("ClusterNotFoundException", "The referenced cluster was inactive.", self.ecs.list_services, cluster=name)

    def test_regions_are_kept_apart(self):
        name = self.cluster()
        elsewhere = client("ecs", region_name="eu-central-1")
        self.assertEqual(elsewhere.describe_clusters(clusters=[name])["clusters"], [])

    def test_capacity_providers_are_put_and_read_back(self):
        name = self.cluster()
        strategy = [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]
        answer = self.ecs.put_cluster_capacity_providers(
            cluster=name, capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=strategy
        )
        self.assertEqual(answer["cluster"]["capacityProviders"], ["FARGATE", "FARGATE_SPOT"])
        self.assertEqual(answer["cluster"]["defaultCapacityProviderStrategy"], strategy)
        self.assertEqual([it["name"] for it in self.ecs.describe_capacity_providers()["capacityProviders"]], ["FARGATE", "FARGATE_SPOT"])

    def test_a_strategy_names_providers_of_the_cluster_and_changes_with_a_new_deployment(self):
        cluster = self.cluster()
        service = {"cluster": cluster, "serviceName": "web", "taskDefinition": self.register()["family"], "desiredCount": 0}
        spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        alone = (
            "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster."
            " Associate the capacity provider with the cluster and try again."
        )
        create = lambda **more: self.ecs.create_service(networkConfiguration=self.network(), **service, **more)
        self.refused("InvalidParameterException", alone, create, capacityProviderStrategy=spot)
        self.refused(
            "InvalidParameterException", alone, self.ecs.put_cluster_capacity_providers,
            cluster=cluster, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=spot,
        )
        both = ["FARGATE", "FARGATE_SPOT"]
        self.ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=both, defaultCapacityProviderStrategy=[])
        made = create(launchType="FARGATE")["service"]
        self.assertEqual((made["launchType"], made.get("capacityProviderStrategy")), ("FARGATE", None))

        # Another strategy wants a deployment of its own.
        ours = {"cluster": cluster, "service": "web"}
        self.refused(
            "InvalidParameterException",
            "When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity provider"
            " strategy on a service that is already using one, you must force a new deployment.",
            self.ecs.update_service, **ours, capacityProviderStrategy=spot,
        )
        moved = self.ecs.update_service(**ours, capacityProviderStrategy=spot, forceNewDeployment=True)["service"]
        self.assertEqual((moved.get("launchType"), moved["capacityProviderStrategy"][0]["capacityProvider"]), (None, "FARGATE_SPOT"))
        same = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
        self.ecs.update_service(**ours, capacityProviderStrategy=same)
        self.refused(
            "ResourceInUseException", "The specified capacity provider is in use and cannot be removed.",
            self.ecs.put_cluster_capacity_providers, cluster=cluster, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[],
        )
        back = self.ecs.update_service(**ours, capacityProviderStrategy=[], forceNewDeployment=True)["service"]
        self.assertEqual((back["launchType"], back.get("capacityProviderStrategy")), ("FARGATE", None))
        self.ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=both, defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE"}])
        with self.assertRaises(self.ecs.exceptions.InvalidParameterException) as caught:
            self.ecs.run_task(cluster=cluster, taskDefinition=service["taskDefinition"], networkConfiguration=self.network())
        self.assertIn("no capacity providers with a weight value greater than zero", str(caught.exception))

    def test_lists_come_in_pages(self):
        names = {self.cluster() for _ in range(5)}
        pages = list(self.ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2}))
        self.assertGreaterEqual(len(pages), 3)
        found = {arn.split("/")[-1] for page in pages for arn in page["clusterArns"]}
        self.assertLessEqual(names, found)

    def test_tags_are_added_listed_and_removed(self):
        arn = self.ecs.describe_clusters(clusters=[self.cluster()])["clusters"][0]["clusterArn"]
        self.ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
        self.ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "3"}])
        self.ecs.untag_resource(resourceArn=arn, tagKeys=["b"])
        self.assertEqual(self.ecs.list_tags_for_resource(resourceArn=arn)["tags"], [{"key": "a", "value": "3"}])


class TaskDefinitions(Case):
    def test_a_definition_is_read_back_with_the_defaults_of_the_service(self):
        made = self.register(cpu=".5 vCPU", memory="1 GB", container={"portMappings": [{"containerPort": 80}]})
        self.assertEqual((made["cpu"], made["memory"], made["revision"], made["status"]), ("512", "1024", 1, "ACTIVE"))
        container = made["containerDefinitions"][0]
        self.assertEqual(container["portMappings"], [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}])
        for empty in ["environment", "mountPoints", "volumesFrom", "systemControls"]:
            self.assertEqual(container[empty], [])
        self.assertEqual(made["compatibilities"], ["EC2", "FARGATE"])
        read = self.ecs.describe_task_definition(taskDefinition=made["family"])["taskDefinition"]
        self.assertEqual(read, made)

    def test_revisions_count_up_and_can_be_deregistered(self):
        first = self.register()
        family = first["family"]
        second = self.register(family=family)
        self.assertEqual(second["revision"], 2)
        listed = self.ecs.list_task_definitions(familyPrefix=family, sort="DESC")["taskDefinitionArns"]
        self.assertEqual(listed, [second["taskDefinitionArn"], first["taskDefinitionArn"]])
        gone = self.ecs.deregister_task_definition(taskDefinition=f"{family}:2")["taskDefinition"]
        self.assertEqual(gone["status"], "INACTIVE")
        newest = self.ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
        self.assertEqual(newest["revision"], 1)
        self.assertEqual(self.ecs.describe_task_definition(taskDefinition=f"{family}:2")["taskDefinition"]["status"], "INACTIVE")
        self.assertIn(family, self.ecs.list_task_definition_families(familyPrefix=family)["families"])
        self.assertEqual(self.register(family=family)["revision"], 3)


    def test_only_inactive_revisions_are_deleted(self):
        family = self.register()["family"]
        second = self.register(family=family)["taskDefinitionArn"]
        self.ecs.deregister_task_definition(taskDefinition=second)
        answer = self.ecs.delete_task_definitions(taskDefinitions=[f"{family}:1", second])
        self.assertEqual([it["taskDefinitionArn"] for it in answer["taskDefinitions"]], [second])
        self.assertEqual(answer["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS")
        self.assertEqual([it["arn"] for it in answer["failures"]], [f"{family}:1"])
        listed = self.ecs.list_task_definitions(familyPrefix=family, status="DELETE_IN_PROGRESS")["taskDefinitionArns"]
        self.assertEqual(listed, [second])


class AccountSettings(Case):
    def test_a_setting_is_put_read_and_deleted(self):
        self.ecs.put_account_setting(name="containerInsights", value="enabled")
        read = self.ecs.list_account_settings(name="containerInsights")["settings"]
        self.assertEqual([it["value"] for it in read], ["enabled"])
        self.ecs.delete_account_setting(name="containerInsights")
        effective = self.ecs.list_account_settings(name="containerInsights", effectiveSettings=True)["settings"]
        self.assertEqual([it["value"] for it in effective], ["disabled"])
