#!/bin/sh
# Node linode of network home, for a machine that has nothing of it yet. Run as root.
#
# The alias of a link, the comment of a firewall rule and "proto 79" of a route mark what belongs to
# the network. A FOU port has no place for a mark: before `overlayctl apply` takes over from this
# script, remove it (ip fou del). Sysctls and offloads, too, will be taken as found.

set -e

# Where key files with a relative name are: the directory of the topology file.
KEY_DIR=${KEY_DIR:-.}

# ---- modules
modprobe fou
modprobe ip_gre
modprobe nf_tables
modprobe wireguard

# ---- firewall
nft -f - <<'EOF'
table inet overlay_home
delete table inet overlay_home
table inet overlay_home {
	chain clamp {
		type filter hook postrouting priority -150; policy accept;
		tcp flags syn / syn,rst tcp option maxseg size set rt mtu comment "overlay:home"
	}
	chain source_nat {
		type nat hook postrouting priority 100; policy accept;
		oifname "eth0" meta nfproto ipv4 ip saddr != 1.2.3.4 masquerade comment "overlay:home"
	}
}
EOF

# ---- host settings
sysctl -w net.ipv4.conf.all.forwarding=1
sysctl -w net.ipv6.conf.all.forwarding=1
sysctl -w net.ipv4.conf.all.send_redirects=0
sysctl -w net.ipv4.conf.eth0.forwarding=1
sysctl -w net.ipv6.conf.eth0.forwarding=1

# ---- UDP encapsulation ports
ip fou add port 5555 gue

# ---- links
ip link add dev taps_bridge type bridge stp_state 0 mcast_snooping 1 vlan_filtering 0
ip link set dev taps_bridge alias overlay:home:.bridge
ip link add dev wg_vpns type wireguard
ip link set dev wg_vpns alias overlay:home:.wireguard
ip link add dev gretap_office mtu 1382 type gretap \
    local 172.16.0.1 remote 172.16.0.2 ttl 225 tos 0x00 pmtudisc noignore-df \
    noikey noicsum noiseq nookey noocsum nooseq \
    noencap
ip link set dev gretap_office alias overlay:home:office
ip link add dev gretap_over_gue type gretap \
    local 1.2.3.4 remote 2.3.4.5 ttl 225 tos 0x00 pmtudisc noignore-df \
    noikey noicsum noiseq nookey noocsum nooseq \
    encap gue encap-sport 5555 encap-dport 5555 noencap-csum noencap-udp6-csum noencap-remcsum
ip link set dev gretap_over_gue alias overlay:home:home

# ---- attributes
wg set wg_vpns listen-port 23450 private-key "$KEY_DIR"/linode.key

# ---- settings of our interfaces
sysctl -w net.ipv4.conf.taps_bridge.forwarding=1
sysctl -w net.ipv4.conf.wg_vpns.forwarding=1
sysctl -w net.ipv6.conf.taps_bridge.disable_ipv6=0
sysctl -w net.ipv6.conf.taps_bridge.forwarding=1
sysctl -w net.ipv6.conf.wg_vpns.forwarding=1

# ---- ports of the bridge
ip link set dev gretap_office master taps_bridge
ip link set dev gretap_over_gue master taps_bridge

# ---- addresses
ip addr add 192.168.0.1/16 dev taps_bridge
ip addr add 2001:db8::1/64 dev taps_bridge
ip addr add 172.16.0.1/24 dev wg_vpns

# ---- WireGuard peers
wg set wg_vpns peer 8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA= allowed-ips 172.16.0.2/32

# ---- up
ip link set dev gretap_office up
ip link set dev gretap_over_gue up
ip link set dev taps_bridge up
ip link set dev wg_vpns up
