#!/bin/bash
# Runs a program as root on Debian's kernel with this machine's own files, under QEMU's software
# emulation: where GRE, FOU and WireGuard are tested on machines whose kernel lacks them. README.md
# beside this file says how to use it.
#
#   run.sh [--scratch IMG] [--share DIR] [--timeout S] [--memory M] [--console FILE] -- PROGRAM ARGS…
#
# Output is the program's, live. Exit code: the program's; 124 after the timeout; 125 when the
# machine broke (panic, oops, no status), with the end of the kernel's console on stderr.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
caller=$PWD
export PATH=$PATH:/usr/sbin:/sbin

usage() { sed -n 's/^#   \(run.sh.*\)/usage: \1/p' "$0" >&2; exit 125; }
die() { echo "kernel lab: $*" >&2; exit 125; }

scratch="" share="" timeout_seconds=600 memory_mb=1024 console=""
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    --scratch | --share | --timeout | --memory | --console)
      [ $# -ge 2 ] || usage
      case $1 in
        --scratch) scratch=$2 ;;
        --share) share=$2 ;;
        --timeout) timeout_seconds=$2 ;;
        --memory) memory_mb=$2 ;;
        --console) console=$2 ;;
      esac
      shift 2 ;;
    *) usage ;;
  esac
done
[ $# -gt 0 ] || usage

"$here/fetch.sh" || die "the kernel could not be had"
cache=$(cd "${OVERLAY_CACHE:-$here/../../.cache}/kernel" && pwd -P)
command -v qemu-system-x86_64 >/dev/null || die "qemu-system-x86 is missing"

job=$(mktemp -d "${TMPDIR:-/tmp}/overlay-lab.XXXXXX")
qemu="" copier=""
cleanup() {
  [ -z "$qemu" ] || kill -KILL "$qemu" 2>/dev/null || true
  [ -z "$copier" ] || kill "$copier" 2>/dev/null || true
  rm -rf "$job"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkfifo "$job/output"
cat "$job/output" &
copier=$!
mkdir "$job/files"
printf '%s\0' "$@" >"$job/files/argv"
printf '%s' "$caller" >"$job/files/directory"
(cd "$here/../.." && pwd -P) >"$job/files/tree"
echo "share=$([ -n "$share" ] && echo yes || echo no)" >"$job/files/options"
echo "scratch=$([ -n "$scratch" ] && echo yes || echo no)" >>"$job/files/options"
cp "$here/guest.sh" "$job/files/guest.sh"

extra=()
if [ -n "$scratch" ]; then
  if [ ! -e "$scratch" ]; then
    truncate -s 64M "$scratch"
    mkfs.ext4 -q -F "$scratch"
  fi
  extra+=(-drive "file=$scratch,format=raw,if=virtio")
fi
if [ -n "$share" ]; then
  mkdir -p "$share"
  share=$(cd "$share" && pwd -P)
  extra+=(-virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap")
fi

# -cpu max and TCG even where /dev/kvm exists: KVM hangs on some of our machines, emulation on none.
# One processor, whose TSC is a clock that costs nothing: of two the kernel finds it unstable, and every look at the
# time goes through QEMU. No timer check:
# on a busy machine the emulated timer can miss the 10 ms in which the kernel wants ten ticks of it
# ("IO-APIC + timer doesn't work!", Linux 6.1 arch/x86/kernel/apic/io_apic.c, timer_irq_works).
command_line="console=ttyS0 panic=-1 oops=panic loglevel=5 mitigations=off no_timer_check"
command_line+=" clocksource=tsc tsc=reliable lab.cache=$cache"
qemu-system-x86_64 -nodefaults -no-user-config -machine pc -accel tcg,thread=multi -cpu max -smp 1 \
  -m "$memory_mb" -display none -no-reboot -net none \
  -kernel "$cache/vmlinuz" -initrd "$cache/initramfs" -append "$command_line" \
  -serial "file:$job/console" \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -virtfs "local,path=$job/files,mount_tag=job,security_model=none,multidevs=remap" \
  -device virtio-serial -chardev "file,id=output,path=$job/output" \
  -device virtserialport,chardev=output,name=overlay.output \
  "${extra[@]}" </dev/null >/dev/null 2>"$job/qemu.errors" &
qemu=$!

deadline=$((SECONDS + timeout_seconds))
while kill -0 "$qemu" 2>/dev/null; do
  if [ "$SECONDS" -ge "$deadline" ]; then
    kill -KILL "$qemu"
    [ -z "$console" ] || cp "$job/console" "$console"
    echo "kernel lab: no end after $timeout_seconds s, killed; the kernel's last words:" >&2
    tail -n 15 "$job/console" | tr -d '\r' >&2
    exit 124
  fi
  sleep 0.1
done
wait "$qemu" || true
qemu=""
[ ! -s "$job/files/status" ] || wait "$copier" || true   # QEMU may have died before it opened its end
copier=""

# What the kernel says while it takes its devices away, the program being over, is not the program's.
tr -d '\r' <"$job/console" | sed '/overlay lab: switching off/q' >"$job/console.text"
[ -z "$console" ] || cp "$job/console.text" "$console"
if grep -q -E 'Kernel panic|BUG:|Oops' "$job/console.text" || [ ! -s "$job/files/status" ]; then
  echo "kernel lab: the machine broke; the kernel's last words:" >&2
  grep -v '^Warning: ' "$job/qemu.errors" >&2 || true
  tail -n 40 "$job/console.text" >&2
  exit 125
fi
if grep -q 'WARNING:' "$job/console.text"; then
  echo "kernel lab: the kernel warned:" >&2
  grep -A 3 'WARNING:' "$job/console.text" >&2
fi
exit "$(<"$job/files/status")"
