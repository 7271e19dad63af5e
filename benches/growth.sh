#!/usr/bin/env bash
# How the cost of a build grows: with the number of files, with the size of a layer, and what single things cost. Seconds are medians of five runs, memory is
# the peak of the process. Needs root, busybox-static and /usr/bin/time.
#
#   benches/growth.sh [LARGEST]      megabytes of the largest layer, 1000 by default
set -euo pipefail
cd "$(dirname "$0")/.."
hoist=${HOIST:-$PWD/target/release/hoist}
largest=${1:-1000}
runs=${RUNS:-5}
work=$(mktemp -d /tmp/bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
export HOIST_HOME="$work/home"

project() { # folder compression
  mkdir -p "$1"
  printf 'image: { repository: bench, compression: %s }\nservices: { web: { port: 80 } }\n' "${2:-zstd}" > "$1/hoist.yaml"
  printf 'hoist.yaml\n' > "$1/.dockerignore"
}
build() { "$hoist" build --engine embedded "$@" > "$work/out" 2>&1 || { tail -n 20 "$work/out" >&2; exit 1; }; }
seconds() {
  local began=$EPOCHREALTIME
  "$@"
  awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", to - from }'
}
peak() { # MB that a command needs at most
  /usr/bin/time -f %M -o "$work/peak" "$@" > "$work/out" 2>&1 || { tail -n 20 "$work/out" >&2; exit 1; }
  echo $(($(tail -n 1 "$work/peak") / 1024))
}
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
repeat() { for _ in $(seq "$runs"); do seconds "$@"; done | median; }
cold() { rm -rf "$HOIST_HOME"; seconds build "$@"; }

echo "| files of 1 kB | cold build | one file changed | nothing changed | memory |"
echo "|---|---|---|---|---|"
for count in 10 1000 10000 100000; do
  context=$work/files-$count
  project "$context"
  printf 'FROM scratch\nCOPY files /files\n' > "$context/Dockerfile"
  python3 - "$context/files" "$count" << 'PYTHON'
import os, sys
folder, count = sys.argv[1], int(sys.argv[2])
for n in range(count):
    place = f"{folder}/{n // 1000}"
    if n % 1000 == 0:
        os.makedirs(place)
    with open(f"{place}/{n}", "w") as file:
        file.write(f"file {n}\n" * 100)
PYTHON
  sleep 1.1
  first=$(cold "$context")
  changed=$(for run in $(seq "$runs"); do echo "$run" > "$context/files/0/5"; seconds build "$context"; done | median)
  sleep 1.1
  build "$context"
  nothing=$(repeat build "$context")
  rm -rf "$HOIST_HOME"
  memory=$(peak "$hoist" build --engine embedded "$context")
  echo "| $count | $first s | $changed s | $nothing s | $memory MB |"
  rm -rf "$context" "$HOIST_HOME"
done

echo
echo "| layer of one file | cold, zstd | cold, gzip | memory, zstd | memory, gzip |"
echo "|---|---|---|---|---|"
for megabytes in 1 10 100 1000 5000; do
  if ((megabytes > largest)); then break; fi
  line="| $megabytes MB |"
  memories=
  for form in zstd gzip; do
    context=$work/size-$form
    project "$context" $form
    printf 'FROM scratch\nCOPY file /file\n' > "$context/Dockerfile"
    while [[ ! -e $context/file || $(stat -c %s "$context/file") -lt $((megabytes << 20)) ]]; do
      tar -C /usr -c bin lib share 2> /dev/null | head -c "$((megabytes << 20))" >> "$context/file" || true
    done
    truncate -s "$((megabytes << 20))" "$context/file"
    line+=" $(cold "$context") s |"
    rm -rf "$HOIST_HOME"
    memories+=" $(peak "$hoist" build --engine embedded "$context") MB |"
    rm -rf "$context" "$HOIST_HOME"
  done
  echo "$line$memories"
done

echo
root=$work/busybox
mkdir -p "$root/bin"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh true; do ln -s busybox "$root/bin/$applet"; done
"$hoist" image import "$root" busybox > /dev/null
context=$work/run
project "$context"
steps() { # count: that many RUN true
  { echo 'FROM busybox'; for n in $(seq "$1"); do echo "RUN true $n"; done; } > "$context/Dockerfile"
}
steps 1 && one=$(repeat build --no-cache "$context")
steps 21 && many=$(repeat build --no-cache "$context")
awk -v one="$one" -v many="$many" 'BEGIN { printf "RUN true, sandbox and limits included: %.1f ms a step\n", (many - one) / 20 * 1000 }'
