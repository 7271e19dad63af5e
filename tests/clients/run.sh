#!/bin/sh
# Drives the embedded AWS with boto3, botocore and the AWS CLI.
#
#   tests/clients/run.sh [--runtime RUNTIME] PROGRAM [TEST...]
#
# PROGRAM is `hoist` or `hoist-local`; it is started on a home of its own and stopped at the end. The clients come from PyPI
# into a virtual environment that is kept ($CLIENTS_VENV, else target/clients-venv). TEST is such as `test_errors`.
#
# RUNTIME is how tasks run: `native` (the default), `rootless` (native, as a user without rights) or `docker` (in a Docker Engine of
# the tests' own). The last two need root, to become that user, and to have a network for the engine. There the tests of real tasks
# are run, and beside each other; what a runtime cannot do by its nature is in runtimes.py.
set -eu
runtime=native
if [ "$1" = --runtime ]; then
    runtime=$2
    shift 2
fi
program=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
venv=${CLIENTS_VENV:-$here/../../target/clients-venv}
if ! [ -x "$venv/bin/aws" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet boto3==1.44.5 awscli==1.46.3
fi
if [ $runtime != native ] && [ "$(id -u)" != 0 ]; then
    echo "skipped: the tests of the runtime $runtime need root" >&2
    exit 0
fi
if [ $runtime = docker ] && [ -z "${HOIST_TEST_ENGINE:-}" ]; then
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        echo "skipped: dockerd is not installed (apt-get install docker.io iptables)" >&2
        exit 0
    fi
    # What the engine does to the network and to mounts vanishes with these namespaces.
    HOIST_TEST_ENGINE=$(mktemp -d)
    export HOIST_TEST_ENGINE CLIENTS_VENV="$venv"
    exec unshare --net --mount -- "$0" --runtime docker "$program" "$@"
fi
home=$(mktemp -d)
export HOIST_HOME="$home"
export PATH="$venv/bin:$PATH"
engine=
finish() {
    status=$?
    trap - EXIT
    "$program" local stop >&2 || true
    [ $status = 0 ] || tail -n 50 "$home/local/daemon.log" >&2
    if [ -n "$engine" ]; then
        kill "$engine"
        wait "$engine" || true
        rm -rf "$HOIST_TEST_ENGINE"
    fi
    rm -rf "$home"
    exit $status
}
trap finish EXIT
start=
case $runtime in
rootless)
    # The program as that user; the tests remain who they are.
    install -m 755 "$program" "$home/program"
    chown 65534:65534 "$home"
    cat >"$home/hoist" <<END
#!/bin/sh
exec setpriv --reuid 65534 --regid 65534 --clear-groups -- env HOME=$home "$home/program" "\$@"
END
    chmod 755 "$home/hoist"
    program=$home/hoist
    ;;
docker)
    start="--runtime docker"
    ip link set lo up
    export DOCKER_HOST="unix://$HOIST_TEST_ENGINE/socket"
    dockerd --data-root "$HOIST_TEST_ENGINE/data" --exec-root "$HOIST_TEST_ENGINE/exec" --pidfile "$HOIST_TEST_ENGINE/pid" \
        --host "$DOCKER_HOST" --bridge none >"$HOIST_TEST_ENGINE/log" 2>&1 &
    engine=$!
    for _ in $(seq 300); do
        docker version >/dev/null 2>&1 && break
        sleep 0.1
    done
    ;;
esac
# shellcheck disable=SC2086 # none or two words
"$program" local start $start >&2
eval "$("$program" local env)"
export HOIST_PROGRAM="$program" HOIST_TEST_RUNTIME="$runtime"
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_PAGER=
cd "$here"
if [ $runtime = native ] || [ $# -gt 0 ]; then
    python3 -B -m unittest ${@:-discover}
else
    python3 -B beside.py
fi
