#!/bin/bash
# Shows what overlayctl does, on this machine: the plan for the hub of examples/home.json, the whole
# network brought up in network namespaces, a ping matrix, a second apply that writes nothing, and all
# of it gone again. Installs what that needs and builds the release. Works from any directory.
#
# Where the kernel has no GRE, FOU or WireGuard, overlayd carries these links in user space, and the plan says
# which; where it has no bridges or TAP devices either, the show runs on Debian's kernel under QEMU
# (tests/kernel). Nothing of this machine's own network is touched: the lab lives in namespaces.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
file=examples/home.json
hub=linode
overlayctl=$root/.build/release/daemon/overlayctl

show() {   # COMMAND…: prints it as a user types it, and runs it
  local typed="$*"
  typed=${typed//$overlayctl/overlayctl}
  printf '\n%s$ %s%s\n' "$bold" "${typed//$work\//}" "$plain"
  "$@"
}
work=/nonexistent
bold="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# What a lab is made of, tried in a namespace that ends at once. A module that this loads stays loaded, as by any
# `ip link`; ip_gre brings gre0 and its kin along for good.
kernel_can() {
  as_root modprobe -qa ip_gre fou wireguard tun || true   # nothing loads fou by itself
  as_root unshare --net sh -c '
    ip link add demo-bridge type bridge &&
    ip link add demo-a type veth peer name demo-b &&
    ip tuntap add demo-tap mode tap' >/dev/null 2>&1
}

# The example's private keys belong to its nodes, so the show makes pairs of its own: a copy of the file
# with their public keys, and NODE.key beside it.
copy_with_own_keys() {   # FOLDER
  local node public old
  cp "$file" "$1/home.json"
  while read -r node old; do
    public=$("$overlayctl" keygen "$1/$node.key")
    sed -i "s|$old|$public|" "$1/home.json"
  done < <(/usr/bin/python3 - "$file" <<'PYTHON'
import json, re, sys
topology = json.loads(re.sub(r"^\s*//.*$", "", open(sys.argv[1]).read(), flags=re.MULTILINE))
print(topology["hub"]["name"], topology["hub"]["wireguard"]["public_key"])
for name, spoke in topology["spokes"].items():
    if "public_key" in spoke["link"]:
        print(name, spoke["link"]["public_key"])
PYTHON
  )
}

left_behind() {   # what a lab could leave: namespaces, links, processes, files
  ip netns list
  ip -brief link
  pgrep -r D,R,S -af '(radvd|overlayd) .*/run/overlay/lab/' || true
  ls -A /run/overlay/lab 2>/dev/null || true
}

act() {   # as root, on a kernel that can
  # The end of the show is `lab down`, by the network's name: it must not be somebody else's lab.
  [ ! -e /run/overlay/lab/home ] || { echo "a lab of \"home\" is up already: overlayctl lab down $file"; exit 1; }
  work=$(mktemp -d)
  trap '"$overlayctl" lab down "$work/home.json" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
  copy_with_own_keys "$work"
  kernel_can || { echo "this kernel has no bridges, no veth or no TAP devices"; exit 1; }   # before we look
  local before after code=0
  before=$(left_behind)

  echo "Before anything is applied: the machines, their NATs and LANs, each a network namespace."
  show "$overlayctl" lab up "$work/home.json" --keys "$work" --underlay-only
  echo
  echo "What the hub would get (nothing is changed by looking):"
  show "$overlayctl" lab exec "$work/home.json" $hub -- \
    "$overlayctl" diff "$work/home.json" --node $hub || code=$?
  [ $code -eq 2 ] || { echo "diff: exit code $code, expected 2: differences"; exit 1; }
  "$overlayctl" lab down "$work/home.json" >/dev/null

  echo
  echo "The whole network, applied on every node, with keys made for this show:"
  show "$overlayctl" lab up "$work/home.json" --keys "$work"
  show "$overlayctl" lab ping "$work/home.json"

  echo
  echo "The hub again: everything is in place, so nothing is written."
  local state=/run/overlay/lab/home/$hub
  show "$overlayctl" lab exec "$work/home.json" $hub -- "$overlayctl" apply "$work/home.json" \
    --node $hub --state-dir $state/state --run-dir $state/run | tee "$work/second"
  grep -q '0 changes, 0 writes' "$work/second" || { echo "the second apply wrote something"; exit 1; }

  show "$overlayctl" lab down "$work/home.json"
  after=$(left_behind)
  if [ "$before" != "$after" ]; then
    diff <(echo "$before") <(echo "$after") || true
    echo "something was left behind"
    exit 1
  fi
  echo "nothing left behind"
}

if [ "${1:-}" = --act ]; then
  act
  exit
fi

packaging/dependencies.sh build demo
mkdir -p .build
options=(-DCMAKE_UNITY_BUILD=ON)   # headers are read once for several files
command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
echo "building the release"
if ! { cmake --preset release "${options[@]}" && cmake --build --preset release --target overlayctl overlayd
     } >.build/demo-build.log 2>&1; then
  tail -n 30 .build/demo-build.log
  exit 1
fi
if kernel_can; then
  as_root "$root/demo.sh" --act
else
  echo "this kernel has no bridges, no veth or no TAP devices: showing it on Debian's kernel under QEMU"
  tests/kernel/run.sh --timeout 600 -- "$root/demo.sh" --act
fi
