#!/bin/bash
# Gets the kernel lab's kernel: Debian's own package, downloaded and unpacked into a cache, never
# installed, and an initramfs that boots it on this machine's root file system (see init.sh).
# Prints nothing and changes nothing when all is there.
#
#   $OVERLAY_CACHE/kernel/vmlinuz            default of OVERLAY_CACHE: .cache at the project's root
#   $OVERLAY_CACHE/kernel/initramfs
#   $OVERLAY_CACHE/kernel/lib/modules/RELEASE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OVERLAY_CACHE:-$here/../../.cache}/kernel
export PATH=$PATH:/usr/sbin:/sbin

# What the root file system needs before switch_root, in the order of loading; the rest comes by
# modprobe afterwards.
root_modules="virtio_pci virtio_console 9p 9pnet_virtio overlay virtio_blk ext4"

die() { echo "kernel lab: $*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The package that linux-image-amd64 depends on, or nothing when apt does not know it.
kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1
}

download() {   # into the folder $1; apt's lists may be missing or older than the archive
  local package
  package=$(kernel_package)
  if [ -z "$package" ] || ! (cd "$1" && apt-get -qq download "$package" 2>/dev/null); then
    echo "kernel lab: apt-get update" >&2
    as_root apt-get -qq update >&2
    package=$(kernel_package)
    [ -n "$package" ] || die "apt knows no linux-image-amd64 (Debian on amd64 is needed)"
    (cd "$1" && apt-get -qq download "$package")
  fi
}

fetch_kernel() {
  local work=$cache/unpacking release
  rm -rf "$work"
  mkdir -p "$work/deb" "$work/tree"
  echo "kernel lab: downloading Debian's kernel" >&2
  download "$work/deb" 2> >(grep -v "unsandboxed as root" >&2 || true)
  dpkg-deb -x "$work"/deb/*.deb "$work/tree"
  release=$(basename "$work"/tree/lib/modules/*)
  depmod -b "$work/tree" "$release"
  rm -rf "$cache/lib"
  mv "$work/tree/lib" "$cache/lib"
  mv "$work/tree/boot/vmlinuz-$release" "$cache/vmlinuz"
  rm -rf "$work"
  echo "$release" >"$cache/release"      # last: its presence says that the unpacking was complete
  echo "kernel lab: $release is in $cache" >&2
}

build_initramfs() {
  local work=$cache/initramfs.d release=$1 module file
  rm -rf "$work"
  mkdir -p "$work"/{bin,modules,proc,sys,dev,host,job,root}
  cp "$(command -v busybox)" "$work/bin/busybox"
  cp "$here/init.sh" "$work/init"
  chmod 755 "$work/init"
  for module in $root_modules; do
    modprobe -d "$cache" -S "$release" --show-depends "$module" |
      sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | awk '!seen[$0]++' >"$work/files"
  while read -r file; do
    cp "$file" "$work/modules/"
    basename "$file"
  done <"$work/files" >"$work/modules/order"
  (cd "$work" && find . -mindepth 1 ! -name files | cpio --quiet -o -H newc) |
    gzip -1 >"$cache/initramfs.new"
  mv "$cache/initramfs.new" "$cache/initramfs"
  rm -rf "$work"
}

[ "$(uname -m)" = x86_64 ] || die "made for amd64; this is $(uname -m)"
for tool in busybox cpio depmod dpkg-deb; do
  command -v "$tool" >/dev/null || die "$tool is missing: run packaging/dependencies.sh test"
done
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"
flock 9                                   # two test runs may share a cache
[ -f "$cache/release" ] || fetch_kernel
release=$(<"$cache/release")
made_from=$(cat "$here/init.sh" "${BASH_SOURCE[0]}" "$(command -v busybox)" | sha256sum)
if [ ! -f "$cache/initramfs" ] || [ "$(cat "$cache/made_from" 2>/dev/null)" != "$release $made_from" ]
then
  build_initramfs "$release"
  echo "$release $made_from" >"$cache/made_from"
fi
