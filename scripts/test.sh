#!/usr/bin/env bash
# Installs what the tests need, then runs all of them. Debian or Ubuntu; as root, or with sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOIST_TEST_TOOLS="$PWD/target/tools"

"$PWD/scripts/install-test-tools.sh"
export PATH="$HOIST_TEST_TOOLS/bin:$PATH"
cargo test --release --workspace
export CLIENTS_VENV="$HOIST_TEST_TOOLS"
tests/clients/run.sh target/release/hoist
# Real tasks on the other runtimes, beside each other: they mostly wait.
tests/clients/run.sh --runtime rootless target/release/hoist &
tests/clients/run.sh --runtime docker target/release/hoist
wait "$!"
