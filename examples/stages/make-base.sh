#!/bin/sh
# Makes a base image without a registry: busybox, statically linked, as a root file system that `hoist image import` takes.
#
#     ./make-base.sh /tmp/rootfs && hoist image import /tmp/rootfs example/base:1
set -eu
root=${1:?the folder to make}
busybox=$(command -v busybox) || { echo "install busybox first (Debian: busybox-static)" >&2; exit 1; }
mkdir -p "$root/bin" "$root/etc" "$root/tmp"
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
  [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000:web:/www:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\nweb:x:1000:\n' > "$root/etc/group"
