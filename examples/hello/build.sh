#!/bin/sh
# Compiles the application into one static binary, if its source is newer than the last one.
set -eu
cd "$(dirname "$0")"
[ out/hello -nt hello.rs ] && exit 0
mkdir -p out
rustc --edition 2024 -C opt-level=2 -C strip=symbols -C target-feature=+crt-static -o out/hello hello.rs
