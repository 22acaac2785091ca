#!/bin/bash
# The Debian packages that we build, test and show ourselves with, in one list. Installs what is
# missing with apt-get (with sudo when not root); prints nothing and is quick when all is there.
#
#   packaging/dependencies.sh [build] [test] [demo] [fuzz]      install what is missing; all but fuzz if none is named
#   packaging/dependencies.sh --list [build] [test] [demo] [fuzz]
set -euo pipefail

build="cmake ninja-build g++ pkg-config libfmt-dev nlohmann-json3-dev libexpected-dev
  libboost-program-options-dev libssl-dev libsodium-dev libnl-3-dev libnl-route-3-dev
  libnl-genl-3-dev libmnl-dev libnftables-dev libkmod-dev linux-libc-dev doctest-dev"
# Seals WireGuard's packets in half the time; there is none for other processors.
if [ "$(dpkg --print-architecture)" = amd64 ]; then build+=" libipsec-mb-dev"; fi
# The kernel lab (tests/kernel), and what stands in it for other people's machines.
lab="qemu-system-x86 busybox-static kmod cpio e2fsprogs iproute2 iputils-ping wireguard-tools
  nftables ethtool radvd procps util-linux python3"
test="$lab wireguard-go ccache iperf3 iptables strace tcpdump python3-jsonschema"
demo="$lab"
fuzz="clang-16 libclang-rt-16-dev llvm-16"   # tests/fuzz/run.sh

list_only=no
groups=()
for word in "$@"; do
  case $word in
    --list) list_only=yes ;;
    build | test | demo | fuzz) groups+=("${!word}") ;;
    *) sed -n 's/^#   /usage: /p' "$0" >&2; exit 1 ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=("$build" "$test" "$demo")
read -r -d '' -a wanted <<<"$(tr -s ' \n' '\n\n' <<<"${groups[*]}" | sort -u)" || true
if [ $list_only = yes ]; then
  printf '%s\n' "${wanted[@]}"
  exit
fi

missing=()
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
for package in "${wanted[@]}"; do
  grep -q -x "$package installed" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "dependencies: to install ${missing[*]} I must be root, or have sudo" >&2
    exit 1
  fi
}
install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 "${missing[@]}"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing ${missing[*]}"
# The first try fails where apt's lists are missing or older than the archive.
if ! install >"$log" 2>&1; then
  echo "apt-get update"
  as_root apt-get update -qq >>"$log" 2>&1 || true   # one broken source must not stop the others
  if ! install >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "dependencies: apt-get could not install ${missing[*]}" >&2
    exit 1
  fi
fi
