"""Three who watch the same deployment of the embedded AWS: hoist, boto3's waiter, and a loop that asks once a second; see watch.sh."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import boto3

from between import Between

program, rounds = sys.argv[1], int(sys.argv[2])
project = pathlib.Path(os.environ["PROJECT"])
between = Between(os.environ["AWS_ENDPOINT_URL"])
real = boto3.client("ecs")
service = {"cluster": "default", "services": ["watch-web"]}


def watcher(calls, wait):
    """Waits in a thread of its own from the move on. Returns the thread; its result is the moment and the number of calls."""
    client = boto3.client("ecs")
    count = [0]
    client.meta.events.register("before-send.ecs.*", lambda **_: count.__setitem__(0, count[0] + 1))

    def run():
        between.moved.wait()
        wait(client)
        calls.update(at=time.time(), calls=count[0])
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waiter(client):
    client.get_waiter("services_stable").wait(**service)


def naive(client):
    while True:
        described = client.describe_services(**service)["services"][0]
        primary = next(one for one in described["deployments"] if one["status"] == "PRIMARY")
        if primary["rolloutState"] != "IN_PROGRESS":
            return
        time.sleep(1)


def deploy():
    """Returns when hoist said what the deployment came to."""
    environment = {**os.environ, "AWS_ENDPOINT_URL": between.url}
    command = [program, "deploy", "--output", "json", str(project)]
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    told = None
    for line in child.stderr:
        event = json.loads(line)
        if event.get("event") == "step-finished" and event.get("step") == "deploy":
            told = time.time()
        last = event
    if child.wait() != 0 or told is None:
        sys.exit(f"hoist ended as {child.returncode}: {last}")
    return told


print(f"{'round':>5} {'took':>7}   {'hoist':>22} {'services_stable':>22} {'1 s loop':>22}")
for number in range(1, rounds + 1):
    with open(project / "Dockerfile", "a") as file:
        file.write(f"ENV ROUND={number}\n")
    between.forget()
    by_waiter, by_loop = {}, {}
    threads = [watcher(by_waiter, waiter), watcher(by_loop, naive)]
    told = deploy()
    moved = next(at for at, operation in between.calls if operation == "UpdateService")
    counts = between.since(moved, told)
    for thread in threads:
        thread.join()
    newest = real.list_service_deployments(cluster="default", service="watch-web")["serviceDeployments"][0]
    assert newest["status"] == "SUCCESSFUL", newest
    finished = newest["finishedAt"].timestamp()

    def cell(at, calls):
        return f"{calls:>5} calls, +{at - finished:5.2f} s"
    row = [cell(told, sum(counts.values())), cell(by_waiter["at"], by_waiter["calls"]), cell(by_loop["at"], by_loop["calls"])]
    print(f"{number:>5} {finished - moved:>5.1f} s   " + " ".join(f"{it:>22}" for it in row), flush=True)
    print("      hoist: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda it: -it[1])), flush=True)
