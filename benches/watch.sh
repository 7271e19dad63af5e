#!/usr/bin/env bash
# Who notices the end of a deployment when, and with how many calls: hoist, boto3's waiter `services_stable`, and a loop that asks once a
# second, all beside each other on the same deployments of an embedded AWS of its own. hoist treats it as it treats AWS.
#
#   benches/watch.sh PROGRAM [PACE] [ROUNDS]
#
# PROGRAM is a release build of `hoist`; PACE is `fargate` (the default) or `fast`. Needs boto3 in $HOIST_TEST_TOOLS
# (scripts/install-test-tools.sh). The figures are in docs/performance.md.
set -euo pipefail
program=$(realpath "$1")
pace=${2:-fargate}
rounds=${3:-1}
here=$(dirname "$(realpath "$0")")
tools=${HOIST_TEST_TOOLS:-$here/../target/tools}
export HOIST_HOME=$(mktemp -d) AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1
export PROJECT="$HOIST_HOME/project"
trap '"$program" local stop > /dev/null || true; rm -rf "$HOIST_HOME"' EXIT
cp -r "$here/../examples/hello" "$PROJECT"
"$PROJECT/build.sh"
cat > "$PROJECT/hoist.yaml" <<'YAML'
app: watch
services:
  web: { port: 8080, cpu: 256, memory: 512, count: 2, health: /healthz, deregistration-delay: 30 }
YAML
"$program" local start --pace "$pace" > /dev/null
"$program" deploy --local "$PROJECT" > /dev/null 2>&1
eval "$("$program" local env)"
"$tools/bin/python3" "$here/watch.py" "$program" "$rounds"
