#!/bin/sh
# Node home of network home, for a machine that has nothing of it yet. Run as root.
#
# The alias of a link, the comment of a firewall rule and "proto 79" of a route mark what belongs to
# the network. A FOU port has no place for a mark: before `overlayctl apply` takes over from this
# script, remove it (ip fou del). Sysctls and offloads, too, will be taken as found.

set -e

# ---- made by somebody else; must be there
ip link show dev br-lan >/dev/null

# ---- modules
modprobe fou
modprobe ip_gre

# ---- UDP encapsulation ports
ip fou add port 5555 gue

# ---- links
ip link add dev gretap_over_gue type gretap \
    local 192.168.88.6 remote 1.2.3.4 ttl 225 tos 0x00 pmtudisc noignore-df \
    noikey noicsum noiseq nookey noocsum nooseq \
    encap gue encap-sport 5555 encap-dport 5555 noencap-csum noencap-udp6-csum noencap-remcsum
ip link set dev gretap_over_gue alias overlay:home:home

# ---- ports of the bridge
ip link set dev gretap_over_gue master br-lan

# ---- up
ip link set dev gretap_over_gue up
