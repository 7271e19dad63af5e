#!/usr/bin/env bash
# Fuzzes a reader, guided by coverage: dockerfile, ignore, manifest or layer. Needs a C++ compiler, and no tool of its own; `cargo fuzz` serves too.
#
#   fuzz/run.sh dockerfile 3600      # seconds; default 60
#
# It begins with the corpus of the tests, keeps what it finds in fuzz/corpus, and what makes a reader fail in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"
target="${1:?which reader?}"
seconds="${2:-60}"

# What cargo-fuzz sets for `--sanitizer none`, which stable compilers know too.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
# With a target of its own, build scripts and macros are not instrumented.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
exec "$CARGO_TARGET_DIR/$host/release/$target" "corpus/$target" "../crates/hoist-image/tests/corpus/$target" \
  "-artifact_prefix=artifacts/$target/" "-max_total_time=$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
