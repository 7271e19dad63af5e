#!/usr/bin/env bash
# Type-checks hoist for macOS (aarch64-apple-darwin) on Linux: about 8 minutes on 2 cores the first time, one afterwards.
#
# With `rustup target add aarch64-apple-darwin` the target's standard library is there. Without rustup, Debian has its source and a
# compiler that fits: they are unpacked beside the build, nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-apple-darwin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/macos
mkdir -p "$CARGO_TARGET_DIR"
place=$(realpath "$CARGO_TARGET_DIR")
std=()
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  if ! [ -x "$place/rust/usr/bin/rustc" ]; then
    mkdir -p "$place/rust/packages"
    (
      cd "$place/rust/packages"
      apt-get download rustc-web rust-web-src libstd-rust-web-dev \
        "$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')"
      apt-get download "$(dpkg-deb --field libstd-rust-web-[0-9]*.deb Depends | grep -o 'libllvm[0-9]*')"
      for package in *.deb; do dpkg-deb --extract "$package" ..; done
    )
  fi
  export RUSTC="$place/rust/usr/bin/rustc" RUSTC_BOOTSTRAP=1
  export LD_LIBRARY_PATH="$place/rust/usr/lib/x86_64-linux-gnu:$place/rust/usr/lib"
  std=(-Zbuild-std=std,panic_abort)
fi
# A check links nothing, so the C code of dependencies need not be compiled for the target.
export CC_aarch64_apple_darwin=true CXX_aarch64_apple_darwin=true AR_aarch64_apple_darwin=true SDKROOT=/
cargo check --release --target "$target" "${std[@]}" -p hoist
