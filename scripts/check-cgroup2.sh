#!/usr/bin/env bash
# Runs containers under control groups of version 2, whatever this machine has: the tests of the runtime, and deployments, one of which runs out of
# memory; as root, and as a user who was handed a part of the hierarchy as systemd does it.
#
#   scripts/check-cgroup2.sh [PROGRAM]
#
# PROGRAM is hoist; it is built if none is named. The kernel is Debian's user-mode-linux, an ordinary program: it takes no KVM, and is unpacked beside
# the build, not installed. It sees the files of this machine, read-only, below a layer of its own that is forgotten afterwards. Takes Debian, root,
# busybox-static, e2fsprogs and a Rust compiler. That kernel has no nftables for IP, so security groups and the way out are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
mkdir -p "$CARGO_TARGET_DIR/cgroup2"
place=$(realpath "$CARGO_TARGET_DIR/cgroup2")
if ! [ -x "$place/kernel/usr/bin/linux.uml" ]; then
  rm -rf "$place/kernel"
  mkdir -p "$place/kernel"
  (cd "$place/kernel" && apt-get download user-mode-linux && dpkg-deb --extract user-mode-linux_*.deb .)
fi

work=$place/work
rm -rf "$work"
mkdir -p "$work/tests" "$work/hungry"
cargo test --release -p hoist-runtime --no-run 2>&1 | tee "$work/built"
for test in $(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$work/built"); do
  cp "$test" "$work/tests/$(basename "$test" | sed 's/-[0-9a-f]*$//')"
done
if [ $# = 0 ]; then
  cargo build --release --bin hoist
  set -- "$CARGO_TARGET_DIR/release/hoist"
fi
cp "$1" "$work/hoist"
cp -r examples/hello "$work/hello"
"$work/hello/build.sh"
# An application with a task that takes more memory than it may have.
cp "$(command -v busybox)" "$work/hungry/sh"
cat > "$work/hungry/Dockerfile" <<'END'
FROM scratch
COPY sh /bin/sh
CMD ["/bin/sh", "-c", "sleep 1000"]
END
cat > "$work/hungry/hoist.yaml" <<'END'
app: hungry
services:
  sleeper: { task-definition: task.json, service-definition: service.json, container: main }
tasks:
  eat: { command: [/bin/sh, -c, "all=$(head -c 100000000 /dev/zero | tr '\\0' x)"] }
END
cat > "$work/hungry/task.json" <<'END'
{ "family": "hungry", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
  "executionRoleArn": "arn:aws:iam::111122223333:role/hungry",
  "containerDefinitions": [{ "name": "main", "image": "filled-in", "essential": true, "memory": 32 }] }
END
cat > "$work/hungry/service.json" <<'END'
{ "serviceName": "hungry", "launchType": "FARGATE", "desiredCount": 1,
  "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
  "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-0123456789abcdef0"] } } }
END

# What is written there is forgotten.
truncate --size 4G "$work/disk"
mkfs.ext4 -q -F "$work/disk"
cat > "$work/init" <<END
#!/bin/sh
exec /bin/sh $PWD/scripts/cgroup2/init.sh $PWD/scripts/cgroup2 $place
END
chmod 755 "$work/init"
timeout --signal KILL "${SECONDS_AT_MOST:-3000}" nice -n 5 "$place/kernel/usr/bin/linux.uml" mem=2048M ubda="$work/disk" rootfstype=hostfs rootflags=/ ro \
  init="$work/init" con=null con0=null,fd:1 con1=null quiet < /dev/null 2>&1 | tee "$work/said" | grep --line-buffered -v '^SELinux\|^mmapper'
rm -f "$work/disk"
grep -q '^all passed' "$work/said"
