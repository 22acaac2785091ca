#!/bin/busybox sh
# The lab's first process, in the initramfs: finds this machine's root file system on the 9p share,
# puts a writable tmpfs over it, and becomes guest.sh on it. The kernel's command line names the
# folder of the kernel's modules (lab.cache=); what to run, and where our tree is, is in the 9p share "job".
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
  insmod "/modules/$module"
done </modules/order

# cache=loose: nobody changes the tree under us in a way that matters, and it is ten times faster.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none job /job
mkdir /over
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root

cache=$(sed -n 's/.*lab\.cache=\([^ ]*\).*/\1/p' /proc/cmdline)
mkdir -p /root/lib/modules
mount -o bind "/host$cache/lib/modules" /root/lib/modules
for name in proc sys dev; do
  mount -o move "/$name" "/root/$name"
done
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount -t tmpfs -o mode=755 tmpfs /root/run
mount -t tmpfs -o mode=1777 tmpfs /root/tmp
tree=$(cat /job/tree)       # a checkout below /tmp is there all the same
case $tree in
  /tmp/* | /run/* | /dev/shm/*)
    mkdir -p "/root$tree" /over/tree /over/tree-work
    mount -t overlay -o lowerdir="/host$tree",upperdir=/over/tree,workdir=/over/tree-work overlay "/root$tree" ;;
esac
mkdir -p /root/run/lab /root/run/netns /root/run/lock
mount -o move /job /root/run/lab
exec switch_root /root /bin/bash /run/lab/guest.sh
