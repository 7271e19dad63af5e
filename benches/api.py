"""Fills an AWS with services, and writes the requests that `api.sh` repeats; see there.

    api.py fill SERVICES TASKS     clusters, a task definition, services of so many tasks each; waits until all of them run
    api.py requests FILE SERVICES  a signed DescribeServices of each of them, as a script for wrk; good for five minutes
"""

import concurrent.futures
import os
import pathlib
import sys
import time
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config

URL = os.environ["AWS_ENDPOINT_URL"]
ecs = boto3.client("ecs", config=botocore.config.Config(max_pool_connections=8))


def fill(services, tasks):
    ecs.create_cluster(clusterName="load")
    ecs.register_task_definition(
        family="load", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{"name": "app", "image": "busybox"}],
    )
    subnet = boto3.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    # Moto wants to be told the group.
    group = boto3.client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}}

    def create(number):
        ecs.create_service(
            cluster="load", serviceName=f"service-{number}", taskDefinition="load", desiredCount=tasks,
            launchType="FARGATE", networkConfiguration=network,
        )
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(services)))
    made = time.monotonic() - begun
    wanted = services * tasks
    while "moto" not in os.environ.get("WHAT", ""):
        running = ecs.describe_clusters(clusters=["load"])["clusters"][0]["runningTasksCount"]
        if running == wanted:
            break
        if time.monotonic() - begun > 300:
            sys.exit(f"only {running} of {wanted} tasks run")
        time.sleep(0.2)
    print(f"{services} services of {tasks} tasks: created in {made:.1f} s, all running after {time.monotonic() - begun:.1f} s")


def requests(path, services):
    """Every service is asked for in turn, each time with its own signature."""
    credentials = boto3.Session().get_credentials()
    signer = botocore.auth.SigV4Auth(credentials, "ecs", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    lines = ["local asked = {"]
    for number in range(services):
        body = f'{{"cluster": "load", "services": ["service-{number}"]}}'
        headers = {
            "Host": urllib.parse.urlsplit(URL).netloc,
            "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeServices",
            "Content-Type": "application/x-amz-json-1.1",
        }
        asked = botocore.awsrequest.AWSRequest("POST", URL + "/", headers, body)
        signer.add_auth(asked)
        headers = ", ".join(f'["{name}"] = "{value}"' for name, value in asked.headers.items())
        lines.append(f"  {{ [[{body}]], {{ {headers} }} }},")
    lines += [
        "}",
        "local ready, last = {}, 0",
        "function init()",
        '  for number, it in ipairs(asked) do ready[number] = wrk.format("POST", "/", it[2], it[1]) end',
        "end",
        "function request()",
        "  last = last % #ready + 1",
        "  return ready[last]",
        "end",
    ]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    else:
        requests(sys.argv[2], int(sys.argv[3]))
