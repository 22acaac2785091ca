"""How a kernel set up by examples/home.json differs from the blog post's own commands: everything, as
blog_test.py finds it. docs/differences-from-the-blog.md has the reasons."""

from blog_network import machines

# The MTU option (RFC 4861 §4.6.4): 1398.
advertisement_differences = ["0501" + "0000" + "00000576"]


def tunnel(name, mtu, fixed_mac):
    """What every Ethernet tunnel has: (object, attribute, change)."""
    yield f"link {name}", "linkinfo.info_data.ikey", "- -> a key of its own"
    yield f"link {name}", "linkinfo.info_data.okey", "- -> a key of its own"
    yield f"link {name}", "mtu", mtu
    yield f"sysctl ipv6.conf {name}", "mtu", mtu
    if fixed_mac:
        yield f"link {name}", "address", "random -> fixed"


def bridged_tunnel(name, mtu):
    yield from tunnel(name, mtu, True)
    yield f"port {name}", "mtu", mtu


def wireguard(name):
    yield f"link {name}", "mtu", "1420 -> 1440"
    yield f"sysctl ipv6.conf {name}", "mtu", "1420 -> 1440"


def hub():
    for machine in machines:
        yield from bridged_tunnel(f"gretap_{machine}", "1382 -> 1398")
    yield from bridged_tunnel("gretap_over_gue", "1450 -> 1446")
    yield "link gretap_over_gue", "linkinfo.info_data.encap.csum", "False -> True"
    yield from wireguard("wg_vpns")
    yield "link taps_bridge", "address", "random -> fixed"
    yield "link taps_bridge", "linkinfo.info_data.mcast_snooping", "1 -> 0"
    yield "link taps_bridge", "mtu", "1382 -> 1398"
    yield "sysctl ipv6.conf taps_bridge", "mtu", "1382 -> 1398"
    yield "sysctl ipv6.conf eth0", "accept_ra", "1 -> 2"


def home():
    yield from bridged_tunnel("gretap_over_gue", "1450 -> 1446")
    yield "link gretap_over_gue", "linkinfo.info_data.encap.csum", "False -> True"
    yield "link br-lan", "mtu", "1450 -> 1500"
    # by the advertisement's MTU
    yield "sysctl ipv6.conf br-lan", "mtu", "1450 -> 1398"
    yield "route -6 unicast default of br-lan", "metrics[0].mtu", "- -> 1398"


def machine(name):
    yield from tunnel("gretap_linode", "1382 -> 1398", name != "office")   # the post fixes that one
    yield from wireguard("wg_linode")
    yield "wireguard wg_linode", "ListenPort", "3243 -> any"
    yield "wireguard wg_linode peer linode", "AllowedIPs", "0.0.0.0/0 -> 172.16.0.1/32"
    yield "wireguard wg_linode peer linode", "PersistentKeepalive", "- -> 25"


def expected_differences():
    """In the order in which they are found."""
    def lines(node, parts):
        return [f"{node}: {': '.join(each)}" for each in sorted(parts)]
    return lines("hub", hub()) + lines("home", home()) + \
        [line for name in machines for line in lines(name, machine(name))]
