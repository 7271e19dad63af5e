#!/bin/sh
# What scripts/check-cgroup2.sh runs in its machine; the argument is the folder with the tests and the program.
export HOME=/root TMPDIR=/mnt/scratch
work=$1 groups=/sys/fs/cgroup failed=
umount -n -l /mnt/before
for module in bridge veth tun; do busybox modprobe "$module"; done
ip link set lo up
hostname version-2
ulimit -n 65536
echo 'somebody:x:1000:1000::/mnt/scratch:/bin/sh' >> /etc/passwd
echo 'somebody:x:1000:' >> /etc/group
cd "$work" || exit 1

# Hands the controllers of groups on to those below.
open_up() { for group in "$@"; do mkdir -p "$group" && echo '+cpu +memory +pids' > "$group/cgroup.subtree_control"; done; }
# Hands a group on to a user, as systemd does where Delegate=yes.
give() { mkdir -p "$1" && chown 1000:1000 "$1" "$1/cgroup.procs" "$1/cgroup.threads" "$1/cgroup.subtree_control"; }
# Runs a part of this in a group, and says how it went.
part() {
  what=$1 group=$2
  shift 2
  begun=$(cut -d. -f1 /proc/uptime)
  echo "--- $what"
  if sh -c 'echo 0 > "$0/cgroup.procs" && exec "$@"' "$group" "$@"; then
    echo "passed: $what ($(($(cut -d. -f1 /proc/uptime) - begun)) s)"
  else
    echo "FAILED: $what"
    failed=yes
  fi
}
as_user='setpriv --reuid 1000 --regid 1000 --clear-groups'
limits='./tests/containers --test-threads 1 limit'
all='for test in hoist_runtime containers orphans tasks; do
  HOIST_BEHAVIOUR=limit,counted ./tests/$test --test-threads 1 --skip without_root --skip docker || exit 1
done'
# An application that answers, and a task that is killed for its memory; 25 is how `hoist run` ends then.
deploy='set -e
HOIST_HOME=$(mktemp -d); export HOIST_HOME HOME=$HOIST_HOME
hoist=$PWD/hoist
cp -a hello hungry "$HOIST_HOME"
cd "$HOIST_HOME/hello"
"$hoist" local start
"$hoist" local status
url=$("$hoist" deploy --local 2> said) || { cat said; exit 1; }
tail -n 1 said
wget -q -O - "$url"
cd ../hungry
"$hoist" deploy --local 2> said || { cat said; exit 1; }
code=0
"$hoist" run --local eat > said 2>&1 || code=$?
cat said
"$hoist" local stop
[ $code = 25 ]
grep -q "exited with 137 .*: OutOfMemoryError: Container killed due to memory usage" said'

mkdir -p $groups/system.slice/root.service $groups/engine/container
user=$groups/user.slice/user-1000.slice/user@1000.service
# shellcheck disable=SC2086 # words
{
  # As on a machine without systemd, where nobody has divided anything.
  part "limits, root, at the top of the hierarchy" $groups $limits
  open_up $groups $groups/system.slice $groups/user.slice $groups/user.slice/user-1000.slice $groups/engine
  give "$user"
  open_up "$user" "$user/app.slice"
  give "$user/app.slice"
  give "$user/app.slice/own.scope"
  give $groups/system.slice/user.service
  part "deployments, root" $groups/system.slice/root.service sh -c "$deploy"
  part "deployments, a user with a tree of groups" "$user/app.slice/own.scope" $as_user sh -c "$deploy"
  part "limits, root, in a container that may write to its groups" $groups/engine/container \
    unshare --cgroup --mount sh -c "umount -n $groups && mount -n -t cgroup2 cgroup2 $groups && $limits"
  part "limits, a user with one group" $groups/system.slice/user.service $as_user $limits
  part "the tests of the runtime, root" $groups/system.slice/root.service sh -c "$all"
  part "the tests of the runtime, a user with a tree of groups" "$user/app.slice/own.scope" $as_user sh -c "$all"
}
[ -n "$failed" ] || echo "all passed"
busybox poweroff -f
