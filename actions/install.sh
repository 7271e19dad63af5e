#!/usr/bin/env bash
# Finds or fetches the hoist binary and writes its path to the step output `program`.
#
# The version is pinned by the table beside this script: lines of `sha256  version  target`. The download is one file,
# checked against the table before it is made executable; nothing is asked of a releases API.
set -euo pipefail

fail() {
  echo "::error title=hoist::$1" >&2
  exit 1
}

if [ -n "${HOIST_ACTION_BINARY:-}" ]; then
  [ -x "$HOIST_ACTION_BINARY" ] || fail "the input 'binary' names $HOIST_ACTION_BINARY, which is no executable file"
  program=$(realpath "$HOIST_ACTION_BINARY")
else
  table="$(dirname "$(realpath "$0")")/release.sha256"
  grep -qv '^#' "$table" || fail "no release of hoist is pinned yet (actions/release.sha256 is empty); build hoist in the workflow and name it with the input 'binary'"
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) target=x86_64-unknown-linux-musl ;;
    Linux-aarch64) target=aarch64-unknown-linux-musl ;;
    *) fail "there is no hoist release for $(uname -s) on $(uname -m)" ;;
  esac
  read -r sum version _ < <(grep -v '^#' "$table" | awk -v target="$target" '$3 == target') || fail "actions/release.sha256 has no line for $target"
  folder="${RUNNER_TOOL_CACHE:-${RUNNER_TEMP:-/tmp}}/hoist/$version/$target"
  program="$folder/hoist"
  if ! { [ -f "$program" ] && echo "$sum  $program" | sha256sum --check --status; }; then
    mkdir -p "$folder"
    curl --fail --silent --show-error --location --proto '=https' --retry 3 --max-time 120 \
      --output "$program.part" \
      "https://github.com/${GITHUB_ACTION_REPOSITORY:-hoist/hoist}/releases/download/v$version/hoist-$target"
    echo "$sum  $program.part" | sha256sum --check --status || { rm -f "$program.part"; fail "the download of hoist $version for $target does not match its pinned sha256"; }
    chmod 755 "$program.part"
    mv "$program.part" "$program"
  fi
fi
echo "program=$program" >> "$GITHUB_OUTPUT"
