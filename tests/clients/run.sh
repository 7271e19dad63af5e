#!/bin/sh
# Drives the embedded AWS with boto3, botocore and the AWS CLI.
#
#   tests/clients/run.sh PROGRAM [TEST...]
#
# PROGRAM is `hoist` or `hoist-local`; it is started on a home of its own and stopped at the end. The clients come from PyPI
# into a virtual environment that is kept ($CLIENTS_VENV, else target/clients-venv). TEST is such as `test_errors`.
set -eu
program=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
venv=${CLIENTS_VENV:-$here/../../target/clients-venv}
if ! [ -x "$venv/bin/aws" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet boto3==1.44.5 awscli==1.46.3
fi
home=$(mktemp -d)
export HOIST_HOME="$home"
export PATH="$venv/bin:$PATH"
finish() {
    status=$?
    "$program" local stop >&2 || true
    [ $status = 0 ] || tail -n 50 "$home/local/daemon.log" >&2
    rm -rf "$home"
    exit $status
}
trap finish EXIT
"$program" local start >&2
eval "$("$program" local env)"
export HOIST_PROGRAM="$program" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_PAGER=
cd "$here"
python3 -B -m unittest ${@:-discover}
