"""Parameters, secrets, what tasks get of them, and what a task learns about itself."""

import json

import boto3
import botocore.exceptions

from base import Case, busybox, client


class Stores(Case):
    def test_a_parameter_has_versions_labels_and_a_sealed_value(self):
        ssm = client("ssm")
        name = f"/{self.name('parameter')}/password"
        made = ssm.put_parameter(Name=name, Value="one", Type="SecureString", Tags=[{"Key": "team", "Value": "shop"}])
        self.assertEqual((made["Version"], made["Tier"]), (1, "Standard"))
        self.refused(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
            ssm.put_parameter, Name=name, Value="two",
        )
        self.assertEqual(ssm.put_parameter(Name=name, Value="two", Overwrite=True)["Version"], 2)
        ssm.label_parameter_version(Name=name, ParameterVersion=1, Labels=["old"])
        get = lambda name, **more: ssm.get_parameter(Name=name, **more)["Parameter"]
        self.assertEqual(get(name, WithDecryption=True)["Value"], "two")
        self.assertEqual(get(f"{name}:1", WithDecryption=True)["Value"], "one")
        self.assertEqual(get(f"{name}:old", WithDecryption=True)["Selector"], ":old")
        self.assertNotIn("two", get(name)["Value"])
        arn = get(name)["ARN"]
        self.assertEqual(get(arn, WithDecryption=True)["Value"], "two")
        with self.assertRaises(ssm.exceptions.ParameterNotFound):
            get("/no/such")
        found = ssm.get_parameters(Names=[name, "/no/such"], WithDecryption=True)
        self.assertEqual(([it["Value"] for it in found["Parameters"]], found["InvalidParameters"]), (["two"], ["/no/such"]))
        folder = name.rsplit("/", 1)[0]
        self.assertEqual(len(ssm.get_parameters_by_path(Path=folder)["Parameters"]), 1)
        described = ssm.describe_parameters(ParameterFilters=[{"Key": "tag:team", "Values": ["shop"]}, {"Key": "Name", "Values": [name]}])["Parameters"]
        self.assertEqual([it["KeyId"] for it in described], ["alias/aws/ssm"])
        history = ssm.get_parameter_history(Name=name, WithDecryption=True)["Parameters"]
        self.assertEqual([(it["Version"], it["Value"], it["Labels"]) for it in history], [(1, "one", ["old"]), (2, "two", [])])
        gone = ssm.delete_parameters(Names=[name, "/no/such"])
        self.assertEqual((gone["DeletedParameters"], gone["InvalidParameters"]), ([name], ["/no/such"]))

    def test_a_secret_has_stages_and_can_be_restored(self):
        secrets = client("secretsmanager")
        name = self.name("secret")
        made = secrets.create_secret(Name=name, SecretString='{"user":"a"}', Tags=[{"Key": "team", "Value": "shop"}])
        self.refused(
            "ResourceExistsException", f"The operation failed because the secret {name} already exists.",
            secrets.create_secret, Name=name, SecretString="x",
        )
        put = secrets.put_secret_value(SecretId=name, SecretString='{"user":"b"}')
        self.assertEqual(put["VersionStages"], ["AWSCURRENT"])
        value = lambda **which: secrets.get_secret_value(SecretId=made["ARN"], **which)["SecretString"]
        self.assertEqual(value(), '{"user":"b"}')
        self.assertEqual(value(VersionStage="AWSPREVIOUS"), '{"user":"a"}')
        self.assertEqual(value(VersionId=made["VersionId"]), '{"user":"a"}')
        self.refused(
            "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: X.",
            secrets.get_secret_value, SecretId=name, VersionStage="X",
        )
        self.assertEqual(secrets.get_secret_value(SecretId=made["ARN"][:-7])["Name"], name)
        listed = secrets.list_secrets(Filters=[{"Key": "name", "Values": [name]}])["SecretList"]
        self.assertEqual([it["ARN"] for it in listed], [made["ARN"]])
        self.assertEqual(secrets.describe_secret(SecretId=name)["VersionIdsToStages"], {made["VersionId"]: ["AWSPREVIOUS"], put["VersionId"]: ["AWSCURRENT"]})
        secrets.delete_secret(SecretId=name)
        with self.assertRaises(secrets.exceptions.InvalidRequestException):
            value()
        secrets.restore_secret(SecretId=name)
        self.assertEqual(value(), '{"user":"b"}')
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        with self.assertRaises(secrets.exceptions.ResourceNotFoundException):
            value()
        self.assertEqual(len(secrets.get_random_password(PasswordLength=20, ExcludePunctuation=True)["RandomPassword"]), 20)


class Inside(Case):
    """What a container is given."""

    def begin(self, cluster, container, **definition):
        group = f"/{self.name('group')}"
        client("logs").create_log_group(logGroupName=group)
        region = self.ecs.meta.region_name
        log = {"logDriver": "awslogs", "options": {"awslogs-group": group, "awslogs-region": region, "awslogs-stream-prefix": "p"}}
        registered = self.register(container={"image": busybox(), "logConfiguration": log, **container}, **definition)
        task = self.ecs.run_task(cluster=cluster, taskDefinition=registered["taskDefinitionArn"], launchType="FARGATE", networkConfiguration=self.network())["tasks"][0]
        return task["taskArn"], group

    def describe(self, cluster, task):
        return self.ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"][0]

    def lines(self, group):
        return [it["message"] for it in client("logs").filter_log_events(logGroupName=group)["events"]]

    def run_one(self, cluster, container):
        arn, group = self.begin(cluster, container)

        def stopped():
            seen = self.describe(cluster, arn)
            return seen if seen["lastStatus"] == "STOPPED" else None
        return self.until("the end of the task", stopped), self.lines(group)

    def test_secrets_come_as_environment_variables_and_missing_ones_keep_the_task_from_starting(self):
        cluster, region = self.cluster(), self.ecs.meta.region_name
        parameter, secret = f"/{self.name('parameter')}", self.name("secret")
        client("ssm").put_parameter(Name=parameter, Value="from the store", Type="SecureString")
        arn = client("secretsmanager").create_secret(Name=secret, SecretString='{"user":"root","port":5432}')["ARN"]
        named = lambda **froms: [{"name": name, "valueFrom": value} for name, value in froms.items()]
        task, lines = self.run_one(cluster, {
            "command": ["sh", "-c", "echo $PARAMETER / $WHOLE / $USER_NAME / $PORT"],
            "secrets": named(PARAMETER=parameter, WHOLE=arn, USER_NAME=f"{arn}:user::", PORT=f"{arn}:port:AWSCURRENT:"),
        })
        self.assertEqual(lines, ['from the store / {"user":"root","port":5432} / root / 5432'], task)
        start = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve "
        for value, reason in [
            ("/no/such", "secrets from ssm: service call has been retried 1 time(s): invalid parameters: /no/such"),
            (f"{arn}:password::", "secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not contain json key password"),
            (f"arn:aws:secretsmanager:{region}:000000000000:secret:no-abcdef", f"secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:{region}:000000000000:secret:no-abcdef from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret."),
        ]:
            task, _ = self.run_one(cluster, {"command": ["true"], "secrets": named(X=value)})
            self.assertEqual((task["stopCode"], task["stoppedReason"]), ("TaskFailedToStart", start + reason))

    def test_a_task_learns_about_itself_and_calls_aws_as_its_role(self):
        cluster = self.cluster()
        role = client("iam").create_role(RoleName=self.name("role"), AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}},
        ]}))["Role"]
        keys_at = "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        # Figures are there once they were taken for the first time.
        taken = ":" if self.lacks("limits") else 'for i in $(seq 100); do get $m/stats | grep -q usage && break; sleep 0.1; done'
        script = "; ".join([
            'get() { wget -q -O - "$1"; echo; }', 'm=$ECS_CONTAINER_METADATA_URI_V4', taken,
            'get $m', 'get $m/task', 'get $m/stats', 'get $m/task/stats',
            f"get {keys_at}",
            'wget -S -O - "$AWS_ENDPOINT_URL/?Action=GetCallerIdentity&Version=2011-06-15" 2>&1 | grep "HTTP/1.1"', 'sleep 60',
        ])
        arn, group = self.begin(cluster, {"command": ["sh", "-c", script]}, taskRoleArn=role["Arn"])
        lines = self.until("six lines", lambda: (lambda lines: lines if len(lines) >= 6 else None)(self.lines(group)))
        task = self.describe(cluster, arn)
        container, whole, stats, all_stats = map(json.loads, lines[:4])
        self.assertEqual(container["Name"], "app")
        self.assertEqual(container["DockerId"], task["containers"][0]["runtimeId"])
        self.assertEqual(container["ContainerARN"], task["containers"][0]["containerArn"])
        self.assertEqual(container["Networks"][0]["IPv4Addresses"], [task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]])
        self.assertEqual((whole["TaskARN"], whole["Cluster"], whole["LaunchType"]), (task["taskArn"], task["clusterArn"], "FARGATE"))
        self.assertEqual(whole["Limits"], {"CPU": 0.25, "Memory": 512})
        self.assertEqual(list(all_stats), [container["DockerId"]])
        # What is used is counted by what limits it.
        if not self.lacks("limits"):
            self.assertGreater(stats["memory_stats"]["usage"], 0)
        # Somebody answers calls of AWS: one that is not signed is refused.
        self.assertIn("403", lines[5])
        keys = json.loads(lines[4])
        self.assertEqual(keys["RoleArn"], role["Arn"])
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
        caller = session.client("sts").get_caller_identity()["Arn"]
        self.assertEqual(caller, f"arn:aws:sts::000000000000:assumed-role/{role['RoleName']}/{arn.rsplit('/', 1)[1]}")
        self.ecs.stop_task(cluster=cluster, task=arn)
        self.until("the end of the task", lambda: self.describe(cluster, arn)["lastStatus"] == "STOPPED")
        with self.assertRaises(botocore.exceptions.ClientError):
            session.client("sts").get_caller_identity()

    def test_a_task_protects_itself_with_the_keys_of_its_role(self):
        cluster = self.cluster()
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
        role = client("iam").create_role(
            RoleName=self.name("role"), AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )["Role"]["Arn"]
        # What wget of busybox cannot do: other methods, and the bodies of errors. Our side stays open until the answer has come.
        ask = lambda method, body="": (
            f"b='{body}'; to=${{ECS_AGENT_URI#http://}}; host=${{to%%/*}}; port=80; case $host in *:*) port=${{host##*:}};; esac;"
            " busybox mkfifo /tmp/ask; nc ${host%%:*} $port < /tmp/ask > /tmp/answer & exec 3> /tmp/ask;"
            f" printf '{method} /%s/task-protection/v1/state HTTP/1.0\\r\\nContent-Length: %s\\r\\n\\r\\n%s' ${{to#*/}} ${{#b}} \"$b\" >&3;"
            " wait; exec 3>&-; busybox rm /tmp/ask; tail -n 1 /tmp/answer; echo"
        )
        script = "; ".join([
            ask("PUT", '{"ProtectionEnabled": true, "ExpiresInMinutes": 5}'), ask("GET"), ask("PUT", '{"ProtectionEnabled": "yes"}'),
            "wget -q -O - $ECS_CONTAINER_METADATA_URI_V4; echo", "sleep 60",
        ])
        group = f"/{self.name('group')}"
        client("logs").create_log_group(logGroupName=group)
        log = {"logDriver": "awslogs", "options": {"awslogs-group": group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}}
        container = {"image": busybox(), "logConfiguration": log, "command": ["sh", "-c", script], "dockerLabels": {"team": "shop"}}
        family = self.register(container=container, taskRoleArn=role)["family"]
        self.ecs.create_service(
            cluster=cluster, serviceName="web", taskDefinition=family, desiredCount=1, launchType="FARGATE", networkConfiguration=self.network(),
        )
        lines = self.until("four lines", lambda: (lambda lines: lines if len(lines) >= 4 else None)([it for it in self.lines(group) if it]))
        said, read, refused, container = map(json.loads, lines[:4])
        self.assertEqual(container["Labels"]["team"], "shop")
        self.assertEqual(refused["error"]["Code"], "InvalidParameterException")
        self.assertEqual(refused["error"]["Message"], "UpdateTaskProtection: failed to decode request")
        task = self.ecs.list_tasks(cluster=cluster, serviceName="web")["taskArns"][0]
        self.assertEqual((said["protection"]["ProtectionEnabled"], said["protection"]["TaskArn"]), (True, task))
        self.assertRegex(said["protection"]["ExpirationDate"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(read, said)
        protected = self.ecs.get_task_protection(cluster=cluster, tasks=[task])["protectedTasks"]
        self.assertEqual([it["protectionEnabled"] for it in protected], [True])
