#!/usr/bin/env bash
# How long `hoist check` takes where each call takes 50 ms, and in how many calls: on an embedded AWS of its own, which hoist treats as it
# treats AWS.
#
#   benches/check.sh PROGRAM [MILLISECONDS]
#
# PROGRAM is a release build of `hoist`. Needs Python 3. The figures are in docs/performance.md.
set -euo pipefail
program=$(realpath "$1")
latency=${2:-50}
here=$(dirname "$(realpath "$0")")
export HOIST_HOME=$(mktemp -d) AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1
project="$HOIST_HOME/project"
trap '"$program" local stop > /dev/null || true; rm -rf "$HOIST_HOME"' EXIT
cp -r "$here/../examples/hello" "$project"
"$project/build.sh"
"$program" deploy --local "$project" > /dev/null 2>&1
eval "$("$program" local env)"
python3 - "$program" "$latency" "$project" <<'PYTHON'
import os, subprocess, sys, time
from between import Between
program, latency, project = sys.argv[1], int(sys.argv[2]) / 1000, sys.argv[3]
between = Between(os.environ["AWS_ENDPOINT_URL"], latency)
for _ in range(5):
    between.forget()
    begun = time.time()
    run = subprocess.run([program, "check", project], env={**os.environ, "AWS_ENDPOINT_URL": between.url}, capture_output=True, text=True)
    took = time.time() - begun
    if run.returncode not in (0, 14):
        sys.exit(run.stderr)
    print(f"{took:.2f} s, {len(between.calls)} calls, exit {run.returncode}")
print(", ".join(operation for _, operation in between.calls))
PYTHON
