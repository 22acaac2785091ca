"""The table of drift_test.py: changes that a person makes by hand, one attribute at a time, on a hub and on two
of its spokes; each with the objects and attributes that `diff` must name, and no other.

A row: what it is called, a shell command, and what the diff names: object → attributes. The attributes of an
object that is gone are those of a new one, hence ANY. Objects beyond the first are what the kernel does along
with the change, as the row's name says.
"""

ANY = None


def topology(keys):
    """One hub, every type of link. `keys`: name → public key."""
    return {
        "version": 1, "network": "drift",
        "hub": {
            "name": "hub",
            "underlay": {"interface": "eth0", "addresses": ["203.0.113.1", "2001:db8:ff::1"]},
            "bridge": {"name": "br-hub", "mac": "02:00:5e:00:53:01", "addresses": ["192.168.0.1/16", "2001:db8:1::1/64"]},
            "forwarding": ["ipv4", "ipv6"],
            "masquerade": {"out": "eth0", "sources": ["192.168.0.0/16", "172.20.0.0/24"]},
            "mss_clamp": "pmtu",
            "gue": {"port": 5555},
            "wireguard": {"interface": "wg-drift", "listen_port": 23450, "address": "10.9.0.1/24",
                          "private_key_file": "hub.key", "public_key": keys["hub"]},
        },
        "spokes": {
            "site": {
                "underlay": {"interface": "wan", "addresses": ["10.20.30.2"],
                             "gateways": ["10.20.30.1"]},
                "link": {"type": "gretap-gue",
                         "nat": {"address": "198.51.100.30", "port": 5555}},
                "bridge": {"name": "br-lan", "existing": True, "mtu": 1446,
                           "addresses": ["192.168.88.1/16"]},
                "lan": "192.168.88.0/24", "forwarding": ["ipv4"], "exit": "hub",
            },
            "six": {"link": {"type": "gretap-gue", "underlay": "ipv6", "local": "2001:db8:fe::6"},
                    "addresses": ["192.168.6.1/16"]},
            "office": {
                "link": {"type": "gretap-wireguard", "address": "10.9.0.2/24",
                         "public_key": keys["office"], "preshared_key_file": "office.psk",
                         "private_key_file": "office.key", "hub_offload": {"tx": False}},
                "addresses": ["192.168.7.1/16"],
            },
            "branch": {"link": {"type": "wireguard", "address": "10.9.0.3/24",
                                "public_key": keys["branch"], "listen_port": 7000,
                                "endpoint": "198.51.100.40:7000"},
                       "lan": "172.20.0.0/24"},
        },
    }


def gre(name, words, *attributes):
    kind = "ip6gretap" if name == "gt-six" else "gretap"
    if name != "gt-office":   # `ip` (6.1) swaps the bytes of a port that it is not told again
        words += "".join(f" {port} 5555" for port in ("encap-sport", "encap-dport")
                         if port not in words)
    return (f"{name}: {words}", f"ip link change {name} type {kind} {words}",
            {f"link {name}": set(attributes)})


def link(name, words, *attributes):
    return (f"{name}: {words or 'down'}", f"ip link set {name} {words}",
            {f"link {name}": set(attributes)})


def port(words, attribute):
    return (f"gt-site: bridge link: {words}", f"bridge link set dev gt-site {words}",
            {"link gt-site": {attribute}})


def renamed(name, *others):
    """By hand it must be down for that, and what hangs on it goes then."""
    return (f"{name} renamed", f"ip link set {name} down; ip link set {name} name mine; "
            "ip link set mine up", {f"link {name}": ANY, **{other: ANY for other in others}})


def sysctl(key, value):
    path = "/proc/sys/" + key.replace(".", "/")
    return (f"{key} {value}", f"echo {value} >{path}", {f"sysctl {key}": {"value"}})


def nft(title, command, family="inet"):
    return (f"nft: {title}", command.replace("OURS", f"{family} overlay_drift"),
            {f"nft table {family} overlay_drift": {"rule"}})


tunnels = [
    gre("gt-site", "remote 198.51.100.31", "remote"),
    gre("gt-site", "local 203.0.113.9", "local"),
    gre("gt-site", "key 77", "ikey", "okey"),
    gre("gt-site", "ikey 77", "ikey"),
    gre("gt-site", "okey 0.0.0.77", "okey"),
    gre("gt-site", "ttl 9", "ttl"),
    gre("gt-site", "tos 0x10", "tos"),
    gre("gt-site", "csum", "icsum", "ocsum", "mtu"),
    gre("gt-site", "oseq", "oseq", "mtu"),
    gre("gt-site", "dev eth0", "dev"),
    gre("gt-site", "ttl 0 nopmtudisc", "ttl", "pmtudisc"),
    gre("gt-site", "ttl 0 nopmtudisc ignore-df", "ttl", "pmtudisc", "ignore-df"),
    gre("gt-site", "encap-sport 6000", "encap-sport"),
    gre("gt-site", "encap-dport 6000", "encap-dport"),
    gre("gt-site", "noencap-csum", "encap-csum"),
    gre("gt-site", "fwmark 7", "fwmark"),
    gre("gt-site", "encap-remcsum", "encap-remcsum"),
    gre("gt-site", "encap fou", "encap"),
    gre("gt-site", "encap none", "encap"),
    gre("gt-office", "remote 10.9.0.99", "remote"),
    gre("gt-office", "encap gue encap-sport auto encap-dport 5555", "encap", "encap-dport"),
    gre("gt-six", "remote 2001:db8:fe::7", "remote"),
    gre("gt-six", "hoplimit 9", "ttl"),
    gre("gt-six", "tclass 0x10", "tos"),
    gre("gt-six", "flowlabel 0x77", "flowlabel"),
    gre("gt-six", "encaplimit 4", "encaplimit", "mtu"),
    gre("gt-six", "encap-remcsum", "encap-remcsum", "mtu"),
    gre("gt-six", "fwmark 7", "fwmark"),
    ("gt-site deleted", "ip link del gt-site", {"link gt-site": ANY}),
    ("gt-office deleted, and its offload with it", "ip link del gt-office",
     {"link gt-office": ANY, "offload tx of gt-office": ANY}),
    ("gt-site made anew in external mode", "ip link del gt-site; "
     "ip link add gt-site type gretap external; ip link set gt-site alias overlay:drift:site",
     {"link gt-site": ANY}),
    ("gt-office: ethtool -K tx on", "ethtool -K gt-office tx on >/dev/null",
     {"offload tx of gt-office": {"tx"}}),
]

links = [
    link("gt-site", "mtu 1300", "mtu"),
    link("gt-site", "address 02:00:00:00:00:77", "mac"),
    link("gt-site", "down", "up"),
    link("gt-site", "alias mine", "alias"),
    link("gt-site", "alias ''", "alias"),
    link("gt-site", "nomaster", "master"),
    link("gt-site", "master br-other", "master"),
    ("gt-site put into a VRF", "ip link set gt-site nomaster; ip link set gt-site master vrf-other",
     {"link gt-site": ANY}),
    ("br-hub put into a VRF, and its IPv6 address gone", "ip link set br-hub master vrf-other",
     {"link br-hub": ANY, "address 2001:db8:1::1/64 on br-hub": ANY}),
    ("wg-drift put into a VRF, and the route through it gone", "ip link set wg-drift master vrf-other",
     {"link wg-drift": ANY, "route 172.20.0.0/24 dev wg-drift": ANY}),
    port("isolated on", "isolated"),
    port("hairpin on", "hairpin"),
    port("learning off", "learning"),
    port("flood off", "flood"),
    port("mcast_flood off", "mcast_flood"),
    port("bcast_flood off", "bcast_flood"),
    port("neigh_suppress on", "neigh_suppress"),
    link("gt-site", "type bridge_slave proxy_arp on", "proxy_arp"),
    link("gt-site", "type bridge_slave proxy_arp_wifi on", "proxy_arp_wifi"),
    port("guard on", "guard"),
    port("root_block on", "root_block"),
    port("locked on", "locked"),
    port("state 0", "blocked"),
    renamed("gt-site"),
    renamed("br-hub", "address 2001:db8:1::1/64 on br-hub"),
    renamed("wg-drift", "route 172.20.0.0/24 dev wg-drift"),
    ("gt-site and gt-six have swapped names", "for l in gt-site gt-six; do ip link set $l down; done; "
     "ip link set gt-site name aside; ip link set gt-six name gt-site; ip link set aside name gt-six; "
     "for l in gt-site gt-six; do ip link set $l up; done", {"link gt-site": ANY, "link gt-six": ANY}),
    ("gt-site renamed, its alias gone", "ip link set gt-site down; ip link set gt-site name mine; "
     "ip link set mine alias ''; ip link set mine up", {"link gt-site": ANY}),
    link("br-hub", "mtu 1400", "mtu"),
    link("br-hub", "address 02:00:00:00:00:77", "mac"),
    link("br-hub", "alias mine", "alias"),
    link("br-hub", "type bridge stp_state 1", "stp"),
    link("br-hub", "type bridge mcast_snooping 1", "mcast_snooping"),
    link("br-hub", "type bridge vlan_filtering 1", "vlan_filtering"),
    ("br-hub down, and its IPv6 address with it", "ip link set br-hub down",
     {"link br-hub": {"up"}, "address 2001:db8:1::1/64 on br-hub": ANY}),
    ("br-hub deleted, and all that hangs on it", "ip link del br-hub",
     {"link br-hub": ANY, "link gt-site": {"master"}, "link gt-office": {"master"},
      "link gt-six": {"master"}, "address 192.168.0.1/16 on br-hub": ANY,
      "address 2001:db8:1::1/64 on br-hub": ANY}),
    link("wg-drift", "mtu 1300", "mtu"),
    link("wg-drift", "alias ''", "alias"),
    ("wg-drift down, and the route through it", "ip link set wg-drift down",
     {"link wg-drift": {"up"}, "route 172.20.0.0/24 dev wg-drift": ANY}),
    ("wg-drift deleted, and all that hangs on it", "ip link del wg-drift",
     {"link wg-drift": ANY, "wireguard wg-drift": ANY, "peer OFFICE of wg-drift": ANY,
      "peer BRANCH of wg-drift": ANY, "address 10.9.0.1/24 on wg-drift": ANY,
      "route 172.20.0.0/24 dev wg-drift": ANY}),
    # The last: Linux joins a subnet's anycast address once more then, and loses its route when the link goes down
    # (net/ipv6/addrconf.c, addrconf_dad_run; net/ipv6/anycast.c, __ipv6_dev_ac_inc).
    link("gt-site", "arp off", "arp"),
    link("br-hub", "arp off", "arp"),
]

addresses = [
    ("an IPv4 address deleted", "ip addr del 192.168.0.1/16 dev br-hub",
     {"address 192.168.0.1/16 on br-hub": ANY}),
    ("an IPv6 address deleted", "ip addr del 2001:db8:1::1/64 dev br-hub",
     {"address 2001:db8:1::1/64 on br-hub": ANY}),
    ("an IPv4 address with a lifetime",
     "ip addr change 192.168.0.1/16 dev br-hub valid_lft 900 preferred_lft 800",
     {"address 192.168.0.1/16 on br-hub": {"lifetime", "with"}}),
    ("an IPv4 address that is deprecated for ever",
     "ip addr change 192.168.0.1/16 dev br-hub valid_lft forever preferred_lft 0",
     {"address 192.168.0.1/16 on br-hub": {"lifetime", "with"}}),
    ("the route that an IPv4 address brings along", "ip route del 192.168.0.0/16 dev br-hub",
     {"route 192.168.0.0/16 dev br-hub": {"route"}}),
    ("the route that an IPv6 address brings along", "ip route del 2001:db8:1::/64 dev br-hub",
     {"route 2001:db8:1::/64 dev br-hub": {"route"}}),
    ("a bridge's link-local address", "ip -6 addr flush dev br-hub scope link",
     {"address fe80::5eff:fe00:5301/64 on br-hub": {"lifetime"}}),
    ("the route to a bridge's link-local neighbours", "ip route del fe80::/64 dev br-hub",
     {"route fe80::/64 dev br-hub": {"route"}}),
    ("an IPv6 address with a lifetime",
     "ip addr change 2001:db8:1::1/64 dev br-hub valid_lft 900 preferred_lft 800",
     {"address 2001:db8:1::1/64 on br-hub": {"lifetime"}}),
    ("an IPv4 address with noprefixroute", "ip addr del 192.168.0.1/16 dev br-hub; "
     "ip addr add 192.168.0.1/16 dev br-hub noprefixroute",
     {"address 192.168.0.1/16 on br-hub": {"lifetime", "with"}}),
    ("an IPv6 address with noprefixroute",
     "ip addr change 2001:db8:1::1/64 dev br-hub noprefixroute",
     {"address 2001:db8:1::1/64 on br-hub": {"lifetime"}}),
    ("an IPv4 address made anew with a peer", "ip addr del 192.168.0.1/16 dev br-hub; "
     "ip addr add 192.168.0.1 peer 10.77.0.9/16 dev br-hub",
     {"address 192.168.0.1/16 on br-hub": {"lifetime", "with"}}),
    ("an IPv6 address with another length", "ip addr del 2001:db8:1::1/64 dev br-hub; "
     "ip addr add 2001:db8:1::1/48 dev br-hub",
     {"address 2001:db8:1::1/64 on br-hub": ANY}),
    ("the tunnel's address deleted, and the route through its interface",
     "ip addr del 10.9.0.1/24 dev wg-drift",
     {"address 10.9.0.1/24 on wg-drift": ANY, "route 172.20.0.0/24 dev wg-drift": ANY}),
    ("a route deleted", "ip route del 172.20.0.0/24 dev wg-drift",
     {"route 172.20.0.0/24 dev wg-drift": ANY}),
    ("a route's metric", "ip route del 172.20.0.0/24 dev wg-drift; "
     "ip route add 172.20.0.0/24 dev wg-drift metric 50 proto 79",
     {"route 172.20.0.0/24 dev wg-drift": ANY}),
    ("a route's MTU", "ip route change 172.20.0.0/24 dev wg-drift proto 79 mtu 1000",
     {"route 172.20.0.0/24 dev wg-drift": {"route"}}),
    ("a route by a nexthop object", "ip nexthop replace id 79 dev wg-drift; "
     "ip route del 172.20.0.0/24; ip route add 172.20.0.0/24 nhid 79 proto 79",
     {"route 172.20.0.0/24 dev wg-drift": {"route"}}),
    ("a route's source", "ip route change 172.20.0.0/24 dev wg-drift proto 79 src 10.9.0.1",
     {"route 172.20.0.0/24 dev wg-drift": {"route"}}),
    ("a route's protocol", "ip route change 172.20.0.0/24 dev wg-drift",
     {"route 172.20.0.0/24 dev wg-drift": {"route"}}),
    ("a route's scope", "ip route change 172.20.0.0/24 dev wg-drift proto 79 scope global",
     {"route 172.20.0.0/24 dev wg-drift": {"route"}}),
    ("a second way beside ours, by a gateway",
     "ip route append 172.20.0.0/24 via 10.9.0.3 dev wg-drift proto 79",
     {"route 172.20.0.0/24 dev wg-drift": ANY}),
    ("a second way, outside", "ip route change 172.20.0.0/24 proto 79 nexthop dev wg-drift "
     "nexthop via 203.0.113.77 dev eth0",
     {"route 172.20.0.0/24 dev wg-drift": ANY, "route 172.20.0.0/24": ANY}),
    ("a route made a blackhole", "ip route replace blackhole 172.20.0.0/24",
     {"route 172.20.0.0/24 dev wg-drift": ANY, "route 172.20.0.0/24": ANY}),
    ("a route by another way", "ip route replace 172.20.0.0/24 via 203.0.113.77",
     {"route 172.20.0.0/24 dev wg-drift": ANY, "route 172.20.0.0/24 dev eth0": ANY}),
    ("a route's device", "ip route replace 172.20.0.0/24 dev eth0 proto 79",
     {"route 172.20.0.0/24 dev wg-drift": ANY, "route 172.20.0.0/24 dev eth0": ANY}),
]

wireguard = [
    ("wg: private key", "wg genkey >/tmp/k; wg set wg-drift private-key /tmp/k",
     {"wireguard wg-drift": {"private-key"}}),
    ("wg: private key taken away", "wg set wg-drift private-key /dev/null",
     {"wireguard wg-drift": {"private-key"}}),
    ("wg: listen-port", "wg set wg-drift listen-port 9", {"wireguard wg-drift": {"listen-port"}}),
    ("wg: fwmark", "wg set wg-drift fwmark 7", {"wireguard wg-drift": {"fwmark"}}),
    ("wg: a peer added", "wg set wg-drift peer $(wg genkey | wg pubkey | tee /tmp/k) "
     "allowed-ips 10.9.0.77/32", {"peer STRANGER of wg-drift": ANY}),
    ("wg: a peer removed", "wg set wg-drift peer OFFICE remove", {"peer OFFICE of wg-drift": ANY}),
    ("wg: endpoint", "wg set wg-drift peer BRANCH endpoint 198.51.100.41:7001",
     {"peer BRANCH of wg-drift": {"endpoint"}}),
    ("wg: allowed-ips, one more", "wg set wg-drift peer BRANCH "
     "allowed-ips 10.9.0.3/32,172.20.0.0/24,172.30.0.0/24",
     {"peer BRANCH of wg-drift": {"allowed-ips"}}),
    ("wg: allowed-ips, none", "wg set wg-drift peer OFFICE allowed-ips ''",
     {"peer OFFICE of wg-drift": {"allowed-ips"}}),
    ("wg: allowed-ips moved to another peer",
     "wg set wg-drift peer BRANCH allowed-ips 10.9.0.3/32,172.20.0.0/24,10.9.0.2/32",
     {"peer BRANCH of wg-drift": {"allowed-ips"}, "peer OFFICE of wg-drift": {"allowed-ips"}}),
    ("wg: persistent-keepalive", "wg set wg-drift peer OFFICE persistent-keepalive 33",
     {"peer OFFICE of wg-drift": {"persistent-keepalive"}}),
    ("wg: preshared-key changed", "wg genpsk >/tmp/k; wg set wg-drift peer OFFICE preshared-key /tmp/k",
     {"peer OFFICE of wg-drift": {"preshared-key"}}),
    ("wg: preshared-key removed", "wg set wg-drift peer OFFICE preshared-key /dev/null",
     {"peer OFFICE of wg-drift": {"preshared-key"}}),
]

host = [
    ("net.ipv4.conf.all.forwarding 0, and each interface's with it",
     "echo 0 >/proc/sys/net/ipv4/ip_forward", {"sysctl net.ipv4.conf.all.forwarding": ANY}),
    ("net.ipv6.conf.all.forwarding 0, and each interface's with it",
     "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
     {"sysctl net.ipv6.conf.all.forwarding": ANY}),
    sysctl("net.ipv4.conf.br-hub.forwarding", 0),
    sysctl("net.ipv4.conf.all.send_redirects", 1),
    sysctl("net.ipv6.conf.br-hub.forwarding", 0),
    sysctl("net.ipv6.conf.eth0.accept_ra", 1),
    ("IPv6 switched off on the bridge, and its address gone",
     "echo 1 >/proc/sys/net/ipv6/conf/br-hub/disable_ipv6",
     {"sysctl net.ipv6.conf.br-hub.disable_ipv6": {"value"},
      "address 2001:db8:1::1/64 on br-hub": ANY}),
    ("the FOU port deleted", "ip fou del port 5555", {"fou port 5555/ipv4": ANY}),
    ("the FOU port of IPv6 deleted", "ip fou del port 5555 -6", {"fou port 5555/ipv6": ANY}),
    ("the FOU port made direct FOU", "ip fou del port 5555; ip fou add port 5555 ipproto 47",
     {"fou port 5555/ipv4": {"type"}}),
    ("the FOU port bound to one address", "ip fou del port 5555; "
     "ip fou add port 5555 gue local 203.0.113.1", {"fou port 5555/ipv4": {"type"}}),
    nft("a rule added", "nft add rule OURS source_nat counter"),
    nft("a rule inserted", "nft insert rule OURS guard drop", "bridge"),
    nft("a rule deleted", "nft delete rule OURS clamp handle $(nft -a list chain OURS clamp | "
        "sed -n 's/.*# handle //p' | tail -n 1)"),
    nft("a rule's value", "nft replace rule OURS source_nat handle $(nft -a list chain OURS "
        "source_nat | sed -n 's/.*masquerade.*# handle //p' | head -n 1) oifname eth9 masquerade"),
    nft("a constant's value", "nft replace rule OURS clamp_in handle $(nft -a list chain OURS clamp_in | "
        "sed -n 's/.*maxseg.*# handle //p' | head -n 1) iifname gt-site meta protocol ip tcp flags "
        "'&' '(syn|rst)' == syn tcp option maxseg size set 500", "bridge"),
    nft("a policy", "nft add chain OURS guard '{ policy drop; }'", "bridge"),
    nft("a chain deleted", "nft flush chain OURS clamp; nft delete chain OURS clamp"),
    nft("a chain added", "nft add chain OURS more"),
    nft("a set added", "nft add set OURS more '{ type ipv4_addr; }'"),
    nft("a counter added", "nft add counter OURS more"),
    nft("a map added", "nft add map OURS more '{ type ipv4_addr : verdict; }'"),
    nft("a rule's comment", "nft replace rule OURS clamp handle $(nft -a list chain OURS clamp | "
        "sed -n 's/.*maxseg.*# handle //p') tcp flags '&' '(syn|rst)' == syn "
        "tcp option maxseg size set rt mtu comment mine"),
    nft("a chain's priority", "nft flush chain OURS clamp; nft delete chain OURS clamp; "
        "nft add chain OURS clamp '{ type filter hook postrouting priority 10; }'"),
    ("nft: rules in another order", "nft delete rule bridge overlay_drift guard handle "
     "$(nft -a list chain bridge overlay_drift guard | sed -n 's/.*gt-office.*dport.*# handle //p'); "
     "nft add rule bridge overlay_drift guard iifname gt-office meta protocol ip udp dport '{ 67, 68 }' "
     "counter drop comment '\"overlay:drift\"'", {"nft table bridge overlay_drift": {"rules"}}),
    nft("dormant", "nft add table OURS '{ flags dormant; }'", "bridge"),
    nft("the table flushed", "nft flush table OURS", "bridge"),
    nft("the table deleted", "nft delete table OURS"),
    ("nft: flush ruleset", "nft flush ruleset", {"nft table inet overlay_drift": {"rule"},
                                                 "nft table bridge overlay_drift": {"rule"}}),
]

site = [
    ("the uplink's pin deleted", "ip route del 203.0.113.1",
     {"route 203.0.113.1/32 dev wan": ANY}),
    ("half a default route deleted", "ip route del 0.0.0.0/1",
     {"route 0.0.0.0/1 dev br-lan": ANY}),
    ("half a default route by another gateway",
     "ip route replace 128.0.0.0/1 via 192.168.0.9 dev br-lan proto 79",
     {"route 128.0.0.0/1 dev br-lan": {"route"}}),
    ("a borrowed bridge's MTU", "ip link set br-lan mtu 1300", {"link br-lan": {"mtu"}}),
    ("our address on it deleted, and the routes through it",
     "ip addr del 192.168.88.1/16 dev br-lan",
     {"address 192.168.88.1/16 on br-lan": ANY, "route 0.0.0.0/1 dev br-lan": ANY,
      "route 128.0.0.0/1 dev br-lan": ANY, "route 10.9.0.0/24 dev br-lan": ANY,
      "route 172.20.0.0/24 dev br-lan": ANY}),
    ("our address on it with a lifetime",
     "ip addr change 192.168.88.1/16 dev br-lan valid_lft 900 preferred_lft 800",
     {"address 192.168.88.1/16 on br-lan": {"lifetime", "with"}}),
    ("gt-hub deleted", "ip link del gt-hub", {"link gt-hub": ANY}),
    ("gt-hub taken from the borrowed bridge", "ip link set gt-hub nomaster",
     {"link gt-hub": {"master"}}),
    ("the guard of a spoke deleted", "nft delete table bridge overlay_drift",
     {"nft table bridge overlay_drift": {"rule"}}),
    sysctl("net.ipv4.conf.wan.forwarding", 0),
]

office = [
    ("wg-hub: fwmark", "wg set wg-hub fwmark 7", {"wireguard wg-hub": {"fwmark"}}),
    ("wg-hub: keepalive off", "wg set wg-hub peer HUB persistent-keepalive 0",
     {"peer HUB of wg-hub": {"persistent-keepalive"}}),
    ("wg-hub: the hub elsewhere", "wg set wg-hub peer HUB endpoint 203.0.113.9:23450",
     {"peer HUB of wg-hub": {"endpoint"}}),
    ("an address on a tunnel deleted, and the route through it",
     "ip addr del 192.168.7.1/16 dev gt-hub",
     {"address 192.168.7.1/16 on gt-hub": ANY, "route 172.20.0.0/24 dev gt-hub": ANY}),
]

by_node = {"hub": tunnels + links + addresses + wireguard + host, "site": site, "office": office}
