#!/bin/sh
# The first program of the machine that scripts/check-cgroup2.sh starts: a layer over the files of the one it runs on, and version 2 of control
# groups alone. The arguments are this folder and the one with the kernel and what is to be run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LIBMOUNT_FORCE_MOUNT2=always
here=$1 place=$2
modules=$place/kernel/usr/lib/uml/modules/$(uname -r)
mount -n -t proc proc /proc
mount -n -t sysfs sys /sys
busybox insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -n -t ext4 /dev/ubda /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/scratch
chmod 1777 /mnt/scratch
mount -n -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root
cd /mnt/root || exit 1
for it in proc sys dev; do mount -n --move /$it $it; done
mkdir -p dev/pts dev/shm mnt/before mnt/scratch lib/modules
mount -n -t devpts -o ptmxmode=666 devpts dev/pts
mount -n -t tmpfs -o mode=1777 shm dev/shm
mount -n -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 sys/fs/cgroup
# A layer cannot lie on a layer, so what the tests write lies on the disk itself.
mount -n --bind /mnt/scratch mnt/scratch
ln -s "$modules" lib/modules/
pivot_root . mnt/before
exec chroot . /bin/sh "$here/inside.sh" "$place/work" < dev/console > dev/console 2>&1
