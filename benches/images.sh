#!/usr/bin/env bash
# Builds beside Docker's BuildKit and buildah: each measurement runs all of them in turn, five times, and the medians are
# printed with their ratios, so that what else the machine does falls on all. Needs root, docker.io and buildah.
#
#   benches/images.sh [MEGABYTES]      size of the layer, 300 by default
set -euo pipefail
cd "$(dirname "$0")/.."
hoist=${HOIST:-$PWD/target/release/hoist}
megabytes=${1:-300}
runs=${RUNS:-5}
work=$(mktemp -d /tmp/bench.XXXXXX)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; wait "$pid" 2> /dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
export HOIST_HOME="$work/home" DOCKER_HOST="unix://$work/s" DOCKER_BUILDKIT=1 DOCKER_CONFIG="$work"
docker=/usr/bin/docker

dockerd --data-root "$work/docker" --exec-root "$work/exec" --pidfile "$work/pid" -H "$DOCKER_HOST" \
  --bridge=none --iptables=false --ip6tables=false --ip-masq=false > "$work/dockerd.log" 2>&1 &
pids+=($!)
until $docker version > /dev/null 2>&1; do sleep 0.1; done
buildah() { command buildah --root "$work/buildah" --runroot "$work/buildah-run" --storage-driver overlay "$@"; }

# A layer as layers are: programs and text of this machine, so that it packs as they do.
context=$work/context
mkdir -p "$context/files"
tar -C /usr -c bin lib share 2> /dev/null | head -c "$((megabytes << 20))" > "$context/files/a" || true
printf 'FROM scratch\nCOPY files /files\nCOPY small /small\n' > "$context/Dockerfile"
printf 'hoist.yaml\n' > "$context/.dockerignore"
echo 0 > "$context/small"

# shellcheck source=benches/medians.sh
source benches/medians.sh

hoist_build() { "$hoist" build --engine embedded "$context" --tag bench:latest "$@"; }
form() { printf 'image: { repository: bench, compression: %s }\nservices: { web: { port: 80 } }\n' "$1" > "$context/hoist.yaml"; }
docker_build() { $docker build -q --network=host -t bench "$@" "$context"; }
buildah_build() { buildah bud -q --layers --isolation chroot --network host -t bench "$@" "$context"; }

for run in $(seq "$runs"); do
  form zstd; rm -rf "$HOIST_HOME"; seconds hoist_build >> "$work/hoist"
  form gzip; rm -rf "$HOIST_HOME"; seconds hoist_build >> "$work/hoist-gzip"
  $docker builder prune -af > /dev/null; seconds docker_build --no-cache >> "$work/docker-time"
  seconds buildah_build --no-cache >> "$work/buildah-time"
done
report "cold build of $megabytes MB, hoist with zstd" hoist hoist-gzip docker-time buildah-time

for run in $(seq "$runs"); do
  echo "$run" > "$context/small"
  seconds hoist_build >> "$work/hoist"
  seconds docker_build >> "$work/docker-time"
  seconds buildah_build >> "$work/buildah-time"
done
report "one small file changed" hoist docker-time buildah-time

for run in $(seq "$runs"); do
  seconds hoist_build >> "$work/hoist"
  seconds docker_build >> "$work/docker-time"
  seconds buildah_build >> "$work/buildah-time"
done
report "nothing changed" hoist docker-time buildah-time
