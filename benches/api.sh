#!/usr/bin/env bash
# What the API of the embedded AWS bears, beside moto in the same run: 1,000 services of 10 simulated tasks each, then as many
# DescribeServices of one after the other as 16 connections can ask for.
#
#   benches/api.sh PROGRAM [SECONDS]
#
# PROGRAM is a release build of `hoist` or `hoist-local`. Needs wrk, and a Python environment with boto3 and moto[server] in
# $HOIST_TEST_TOOLS (scripts/install-test-tools.sh; `pip install 'moto[server]'`). The figures are in docs/performance.md.
set -euo pipefail
program=$(realpath "$1")
seconds=${2:-10}
here=$(dirname "$(realpath "$0")")
tools=${HOIST_TEST_TOOLS:-$here/../target/tools}
export HOIST_HOME=$(mktemp -d) AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
moto=
finish() {
    "$program" local stop >/dev/null || true
    [ -z "$moto" ] || kill "$moto"
    rm -rf "$HOIST_HOME"
}
trap finish EXIT

begun=$(date +%s%N)
"$program" local start --runtime simulated >/dev/null
echo "start to first answer: $((($(date +%s%N) - begun) / 1000000)) ms"
pid=$(sed -E 's/.*"pid":([0-9]+).*/\1/' "$HOIST_HOME/local/daemon.json")
sleep 2
echo "memory when idle: $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status") MB"
eval "$("$program" local env)"
"$tools/bin/python3" "$here/api.py" fill 1000 10
echo "memory with them: $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status") MB"
"$tools/bin/python3" "$here/api.py" requests "$HOIST_HOME/requests.lua" 1000
cpu() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
echo "== the embedded AWS"
before=$(cpu)
ask() {
    wrk -t1 -c16 -d"${seconds}s" --latency -s "$HOIST_HOME/requests.lua" "$AWS_ENDPOINT_URL/" | tee "$HOIST_HOME/wrk.txt"
    # An answer that is no answer must not count as one.
    ! grep --quiet Non-2xx "$HOIST_HOME/wrk.txt"
}
ask
answered=$(awk '/requests in/ {print $1}' "$HOIST_HOME/wrk.txt")
echo "processor time for one answer: $((($(cpu) - before) * 10000 / answered)) us"

if [ -x "$tools/bin/moto_server" ]; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$tools/bin/moto_server" -p "$port" >/dev/null 2>&1 &
    moto=$!
    export AWS_ENDPOINT_URL="http://127.0.0.1:$port" WHAT=moto
    until curl --silent --output /dev/null "$AWS_ENDPOINT_URL"; do sleep 0.1; done
    "$tools/bin/python3" "$here/api.py" fill 100 0
    "$tools/bin/python3" "$here/api.py" requests "$HOIST_HOME/requests.lua" 100
    echo "== moto"
    ask
fi
