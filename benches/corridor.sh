#!/usr/bin/env bash
# Times the corridor on the embedded AWS with the release binary: the first deployment, one that changes nothing, one that changes the
# image, and `hoist --version`. Prints seconds, five runs each (the first deployment three), on a home and a project of its own. `HOIST` names
# another binary.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -n ${HOIST:-} ]] || cargo build --release --quiet
hoist=${HOIST:-$PWD/target/release/hoist}
work=$(mktemp -d)
trap '"$hoist" local stop > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
export HOIST_HOME="$work/home"
mkdir "$work/project"
cp -r examples/hello/. "$work/project"
"$work/project/build.sh"

timed() { # name command...
  local name=$1 began
  shift
  began=$EPOCHREALTIME
  "$@" > /dev/null 2>> "$work/log" || { tail -n 20 "$work/log" >&2; exit 1; }
  awk -v name="$name" -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%-28s %.3f s\n", name, to - from }'
}

for _ in 1 2 3; do
  "$hoist" local reset > /dev/null 2>&1 || true
  rm -rf "$HOIST_HOME"
  timed "first deployment" "$hoist" deploy --local "$work/project"
done
for _ in 1 2 3 4 5; do timed "nothing changed" "$hoist" deploy --local "$work/project"; done
for run in 1 2 3 4 5; do
  printf 'ENV GREETING=%s\n' "$run" >> "$work/project/Dockerfile"
  timed "another image" "$hoist" deploy --local "$work/project"
done
for _ in 1 2 3 4 5; do timed "hoist --version" "$hoist" --version; done
ls -l "$hoist" | awk '{ printf "%-28s %.1f MB\n", "size of the binary", $5 / 1e6 }'
