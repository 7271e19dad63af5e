#!/usr/bin/env bash
# Pushes beside skopeo and docker: a layer that is not compressed yet goes to an empty registry (Debian's docker-registry, on loopback). Each measurement
# runs all of them in turn, five times, and the medians are printed with their ratios, so that what else the machine does falls on all. Needs root,
# docker.io, docker-registry and skopeo.
#
#   benches/push.sh [MEGABYTES]      size of the layer, 300 by default
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

registry= port=5100
fresh_registry() { # an empty one, on a port of its own
  if [[ -n $registry ]]; then kill "$registry" && wait "$registry" 2> /dev/null || true; fi
  rm -rf "$work/registry"
  port=$((port + 1))
  printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
    "$work/registry" "$port" > "$work/registry.yml"
  docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
  registry=$!
  pids+=("$registry")
  until curl -sf "http://127.0.0.1:$port/v2/" > /dev/null; do sleep 0.05; done
}

context=$work/context
mkdir -p "$context/files"
tar -C /usr -c bin lib share 2> /dev/null | head -c "$((megabytes << 20))" > "$context/files/a" || true
printf 'image: { repository: bench, compression: none }\nservices: { web: { port: 80 } }\n' > "$context/hoist.yaml"
printf 'FROM scratch\nCOPY files /files\nCOPY small /small\n' > "$context/Dockerfile"
printf 'hoist.yaml\n' > "$context/.dockerignore"
echo 0 > "$context/small"

# shellcheck source=benches/medians.sh
source benches/medians.sh
build_plain() { "$hoist" build --engine embedded "$context" --tag bench:latest > /dev/null 2>&1; }
hoist_push() { "$hoist" image push --output plain --force --compression "$1" bench:latest "127.0.0.1:$port/hoist-$1:v1"; }
skopeo_push() { skopeo copy --dest-tls-verify=false "$@" "oci:$work/layout:latest" "docker://127.0.0.1:$port/skopeo:v1"; }
docker_push() { $docker push -q "127.0.0.1:$port/docker:v1"; }
docker_build() { $docker build -q --network=host -t docker-bench "$context" > /dev/null 2>&1; }

build_plain && docker_build
"$hoist" image export bench:latest "$work/layout" > /dev/null 2>&1
for form in zstd gzip; do
  for run in $(seq "$runs"); do
    # Nobody has compressed it before.
    rm -rf "$HOIST_HOME" && build_plain
    fresh_registry && seconds hoist_push "$form" >> "$work/hoist"
    fresh_registry && seconds skopeo_push >> "$work/skopeo"
    fresh_registry && seconds skopeo_push --dest-compress-format zstd >> "$work/skopeo-zstd"
    $docker tag docker-bench "127.0.0.1:$port/docker:v1"
    fresh_registry && $docker tag docker-bench "127.0.0.1:$port/docker:v1" && seconds docker_push >> "$work/docker-time"
    "$hoist" image ls > /dev/null
  done
  size=$(find "$HOIST_HOME" -path '*blobs/sha256*' -type f -printf '%s\n' | sort -n | tail -n 2 | head -n 1)
  report "cold push of $megabytes MB, $form ($((size >> 20)) MB)" hoist skopeo skopeo-zstd docker-time
done

fresh_registry
hoist_push gzip > /dev/null 2>&1
skopeo_push > /dev/null 2>&1
$docker tag docker-bench "127.0.0.1:$port/docker:v1" && docker_push > /dev/null 2>&1
for run in $(seq "$runs"); do
  echo "$run" > "$context/small"
  build_plain && docker_build
  "$hoist" image export bench:latest "$work/layout" > /dev/null 2>&1
  $docker tag docker-bench "127.0.0.1:$port/docker:v1"
  seconds hoist_push gzip >> "$work/hoist"
  seconds skopeo_push >> "$work/skopeo"
  seconds docker_push >> "$work/docker-time"
done
report "one small file changed" hoist skopeo docker-time

for run in $(seq "$runs"); do
  seconds hoist_push gzip >> "$work/hoist"
  seconds skopeo_push >> "$work/skopeo"
  seconds docker_push >> "$work/docker-time"
done
report "nothing changed" hoist skopeo docker-time
