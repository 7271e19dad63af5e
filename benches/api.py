"""Fills an AWS with services, and writes the request that `api.sh` repeats; see there.

    api.py fill SERVICES TASKS     clusters, a task definition, services of so many tasks each; waits until all of them run
    api.py request FILE            a signed DescribeServices of one of them, as a script for wrk
"""

import concurrent.futures
import os
import pathlib
import sys
import time

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
    network = {"awsvpcConfiguration": {"subnets": [subnet]}}

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


def request(path):
    body = '{"cluster": "load", "services": ["service-7"]}'
    headers = {
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeServices",
        "Content-Type": "application/x-amz-json-1.1",
    }
    asked = botocore.awsrequest.AWSRequest("POST", URL, headers, body)
    credentials = boto3.Session().get_credentials()
    botocore.auth.SigV4Auth(credentials, "ecs", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")).add_auth(asked)
    lines = ['wrk.method = "POST"', f"wrk.body = [[{body}]]"]
    lines += [f'wrk.headers["{name}"] = [[{value}]]' for name, value in asked.headers.items()]
    # An answer that is no answer must not count as one.
    lines += ["bad = 0", "function response(status, headers, body)", "  if status ~= 200 then wrk.thread:stop() end", "end"]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    else:
        request(sys.argv[2])
