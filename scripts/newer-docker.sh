#!/usr/bin/env bash
# Unpacks Docker of Debian trixie, with its plug-in buildx, into a folder; what is installed stays as it is. On Debian 12 or newer, as root.
#
#   scripts/newer-docker.sh target/docker
#   HOIST_TEST_DOCKER=$PWD/target/docker cargo test --release -p hoist-image --test building a_real_buildkit
set -euo pipefail
folder=$(realpath -m "${1:?which folder?}")
[ ! -e "$folder/usr/sbin/dockerd" ] || exit 0
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work"/{lists,cache}/partial "$work/cache/archives/partial"
cp /var/lib/dpkg/status "$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" > "$work/sources.list"
cat > "$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -q
(cd "$work" && apt-get download -q docker.io docker-cli docker-buildx containerd)
for package in "$work"/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
"$folder/usr/sbin/dockerd" --version
