"""A namespace full of other people's things, as a Docker host with a few tunnels has them; and what of a view is
theirs."""

import copy

from story import run

ours = "overlay:"

network = r"""
modprobe -a fou tun
ip -batch - <<END
link add docker0 type bridge
link add br-stp type bridge stp_state 1
addr add 172.17.0.1/16 dev docker0
link set docker0 up
link add vm0 type veth peer name vm1
link set vm0 master docker0 up
link set vm1 up
link add br-other type bridge
link set br-other mtu 1400 address 02:00:00:00:0f:01 up
link add gre-other type gretap local 203.0.113.1 remote 198.51.100.99 key 9 ttl 3
link set gre-other master br-other up
link add wg-other type wireguard
addr add 10.200.0.1/24 dev wg-other
link add vx-other type vxlan id 7 dstport 4789 local 203.0.113.1 remote 198.51.100.97
link set vx-other alias "overlay is not a mark" up
link add dum-other type dummy
link set dum-other up
addr add 10.201.0.1/24 dev dum-other
addr add 10.201.0.2/24 dev dum-other
addr add 10.201.1.1/24 dev dum-other noprefixroute
addr add fd00:201::1/64 dev dum-other valid_lft 90000 preferred_lft 80000
route add 10.202.0.0/24 via 10.201.0.9
route add 10.203.0.0/24 dev dum-other proto 79
route add 10.204.0.0/24 via 10.201.0.9 metric 7 table 100
route add fd00:204::/64 dev dum-other
route add blackhole 10.205.0.0/16
rule add from 10.201.0.0/24 lookup 100 priority 5000
fou add port 7777 gue
fou add port 7778 ipproto 47
link add gue-other type gretap local 203.0.113.1 remote 198.51.100.96 key 10 ttl 9 encap gue encap-sport 7777 encap-dport 7777
link add six-other type ip6gretap local 2001:db8:ff::1 remote 2001:db8:fe::99 key 11
link add bond-other type bond mode active-backup
link add dum-bond type dummy
link set dum-bond master bond-other
link set bond-other up
link set dum-bond up
link add link dum-other name dum-other.7 type vlan id 7
addr add 10.206.0.1/24 brd + dev dum-other.7
link add link dum-other name mac-other type macvlan mode bridge
link add vrf-other type vrf table 200
link set vrf-other up
link add dum-vrf type dummy
link set dum-vrf master vrf-other up
addr add 10.207.0.1/24 dev dum-vrf
tuntap add tap-other mode tap
link set tap-other master docker0 up
link property add dev dum-other altname other-name
addr add 10.201.2.1/24 brd + dev dum-other label dum-other:x
addr add 10.201.3.1 peer 10.201.3.2 dev dum-other
route add 10.208.0.0/16 nexthop via 10.201.0.9 nexthop via 10.201.0.8 weight 3
route add 10.209.0.0/16 via 10.201.0.9 mtu lock 1300 src 10.201.0.2
neigh add 10.201.0.9 lladdr 02:00:00:00:0f:09 nud permanent dev dum-other
END
ip -6 rule add fwmark 3 lookup 100
wg genkey >/tmp/other.key
wg set wg-other private-key /tmp/other.key listen-port 51999 fwmark 9 peer $(wg genkey | wg pubkey) \
  allowed-ips 10.200.0.2/32,fd00:200::/64 endpoint 198.51.100.98:51820 persistent-keepalive 7
ip link set wg-other up
bridge fdb add 02:00:00:00:0f:0a dev vm0 master static
bridge link set dev vm0 isolated on
tc qdisc add dev dum-other root fq_codel limit 500
ethtool -K dum-other tso off >/dev/null
"""

firewall = """
add table ip filter
add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
add rule ip filter FORWARD iifname docker0 counter accept
add table ip nat
add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }
add rule ip nat POSTROUTING oifname eth0 masquerade
add table inet theirs
add set inet theirs some { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
add chain inet theirs input { type filter hook input priority 0; }
add rule inet theirs input ip saddr @some drop
add table bridge theirs
add chain bridge theirs passing { type filter hook forward priority 0; }
add rule bridge theirs passing ether type arp accept
add table netdev theirs
add chain netdev theirs arriving { type filter hook ingress device dum-other priority 0; }
add table ip6 theirs
add chain ip6 theirs early { type filter hook prerouting priority -500; }
add rule ip6 theirs early meta mark set 7
add table inet overlay
add chain inet overlay passing { type filter hook forward priority 0; }
"""

odd_sysctls = {
    "net.ipv4.conf.docker0.forwarding": 1, "net.ipv6.conf.dum-other.forwarding": 1,
    "net.ipv6.conf.br-other.accept_ra": 2, "net.ipv6.conf.vm1.disable_ipv6": 1,
    "net.ipv4.conf.dum-other.rp_filter": 2, "net.ipv4.conf.all.accept_redirects": 0,
    "net.bridge.bridge-nf-call-iptables": 1, "net.bridge.bridge-nf-call-ip6tables": 0,
}


def crowd(s, site):
    """Fills the namespace; two UDP sockets of a program stay open until the story ends."""
    run("modprobe", "br_netfilter")
    site.sh(network + f"nft -f - <<'END'\n{firewall}\nEND\n" + "\n".join(
        f"echo {value} >/proc/sys/{key.replace('.', '/')}" for key, value in odd_sysctls.items()))
    udp_socket(s, site.namespace, 7779)
    udp_socket(s, site.namespace, 7780, "::")


def udp_socket(s, namespace, port, address="0.0.0.0"):
    """Somebody's UDP socket; the process."""
    family = "AF_INET6" if ":" in address else "AF_INET"
    process = s.start(*namespace.argv(
        "/usr/bin/python3", "-c", f"import socket, time\ns = socket.socket(socket.{family}, "
        f"socket.SOCK_DGRAM)\ns.bind(('{address}', {port}))\nprint('bound', flush=True)\ntime.sleep(900)"))
    process.wait_for_output("bound")
    return process


def foreign(view, network, fou_ports=(), udp_ports=(), borrowed=()):
    """The part of a view that is not ours, nor the file's to change: on borrowed links nothing but
    their name is compared; forwarding and accept_ra are ours while we are here, and a router's devices have
    no large receive offload (Linux net/ipv4/devinet.c, inet_forward_change)."""
    out = copy.deepcopy(view)
    own = {name for name, link in out["links"].items()
           if link.get("ifalias", "").startswith(f"{ours}{network}:")}
    gone = own | set(borrowed)
    out["links"] = {name: link for name, link in out["links"].items() if name not in gone}
    out["addresses"] = [each for each in out["addresses"] if each["dev"] not in gone]
    # A router has an anycast address in each IPv6 subnet (RFC 4291 §2.6.1).
    out["routes"] = [each for each in out["routes"]
                     if each.get("dev") not in gone and each.get("type") != "anycast"]
    out["fou"] = [each for each in out["fou"] if each["port"] not in fou_ports]
    for part, key in (("fdb", "ifname"), ("vlans", "ifname"), ("queues", "dev"), ("neighbours", "dev")):
        out[part] = [each for each in out[part] if each[key] not in gone]
    out["wireguard"] = {name: each for name, each in out["wireguard"].items() if name not in own}
    table = f"overlay_{network}"
    out["nft"]["objects"] = [each for each in out["nft"]["objects"] if not any(
        body.get("table" if kind != "table" else "name") == table for kind, body in each.items())]
    out["nft"]["rules"] = {name: rules for name, rules in out["nft"]["rules"].items()
                           if name.split()[1] != table}
    out["offloads"] = {name: {key: value for key, value in each.items() if key != "large-receive-offload"}
                       for name, each in out["offloads"].items() if name not in gone}
    out["udp"] = [each for each in out["udp"] if int(each.rsplit(":", 1)[1], 16) not in udp_ports]
    out["sysctls"] = {key: value for key, value in out["sysctls"].items()
                      if key.split("/")[3:4] != [] and key.split("/")[3] not in gone
                      and key.rsplit("/", 1)[-1] not in
                      ("forwarding", "mc_forwarding", "accept_redirects", "send_redirects")}
    return out
