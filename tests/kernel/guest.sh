#!/bin/bash
# Process 1 of the lab after switch_root: mounts what run.sh was asked for, runs the program with its
# output on a virtio port, leaves the exit code in the job's folder and switches the machine off.
# The job's folder, /run/lab: argv (a NUL after each argument), directory, options, status (ours).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TERM=linux LANG=C.UTF-8 USER=root LOGNAME=root SHELL=/bin/bash
cd /
. /run/lab/options          # share=yes|no scratch=yes|no
mapfile -d '' -t argv </run/lab/argv
directory=$(</run/lab/directory)

mkdir -p /dev/net           # a static node, as udev makes it: who opens it has the module loaded
mknod -m 666 /dev/net/tun c 10 200
mount --make-rshared /      # `ip netns` and `unshare --mount` expect what systemd does
ln -s /proc/self/fd /dev/fd  # what udev does: bash's <( ) and /dev/stdout need them
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
ip link set lo up
hostname lab
if [ "$share" = yes ]; then
  mkdir -p /share
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=mmap share /share
fi
if [ "$scratch" = yes ]; then
  mkdir -p /scratch
  mount -t ext4 /dev/vda /scratch
fi

output=$(grep -l '^overlay.output$' /sys/class/virtio-ports/*/name)
output=/dev/$(basename "$(dirname "$output")")
mkfifo /run/output /run/never
exec 9<>/run/never
cat /run/output >"$output" &
copier=$!
(
  cd "$directory" || { echo "lab: no directory $directory inside (is it under /tmp, and not in the tree?)"; exit 125; }
  unset SHLVL OLDPWD
  exec setsid "${argv[@]}"
) </dev/null >/run/output 2>&1 9<&-
status=$?

# A daemon left behind may hold the output open: give what is on its way a second, then go.
for _ in {1..20}; do
  kill -0 "$copier" 2>/dev/null || break
  sleep 0.05
done
[ "$scratch" = yes ] && umount /scratch
sync
echo "$status" >/run/lab/status
echo "overlay lab: switching off" >/dev/kmsg
echo o >/proc/sysrq-trigger
read -r -t 60 -u 9    # not `sleep`: the disks go before the power does, and process 1 must not end
