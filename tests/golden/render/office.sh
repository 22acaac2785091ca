#!/bin/sh
# Node office of network home, for a machine that has nothing of it yet. Run as root.
#
# The alias of a link, the comment of a firewall rule and "proto 79" of a route mark what belongs to
# the network. A FOU port has no place for a mark: before `overlayctl apply` takes over from this
# script, remove it (ip fou del). Sysctls and offloads, too, will be taken as found.

set -e

# Where key files with a relative name are: the directory of the topology file.
KEY_DIR=${KEY_DIR:-.}

# ---- modules
modprobe ip_gre
modprobe wireguard

# ---- host settings
sysctl -w net.ipv4.conf.all.send_redirects=0

# ---- links
ip link add dev wg_linode type wireguard
ip link set dev wg_linode alias overlay:home:office.wireguard
ip link add dev gretap_linode address 12:ab:34:cd:56:ef mtu 1382 type gretap \
    local 172.16.0.2 remote 172.16.0.1 ttl 225 tos 0x00 pmtudisc noignore-df \
    noikey noicsum noiseq nookey noocsum nooseq \
    noencap
ip link set dev gretap_linode alias overlay:home:office

# ---- attributes
wg set wg_linode listen-port 3243 private-key "$KEY_DIR"/office.key
ethtool -K gretap_linode tx off

# ---- addresses
ip addr add 172.16.0.2/24 dev wg_linode

# ---- WireGuard peers
wg set wg_linode peer JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg= endpoint 1.2.3.4:23450 allowed-ips 0.0.0.0/0

# ---- up
ip link set dev gretap_linode up
ip link set dev wg_linode up
