#!/usr/bin/env python3
"""What the network is for, seen from the hosts that use it: public IPv6 addresses behind NAT, LANs that
reach each other at full speed, a site that enters the Internet at the hub; and what must not cross it,
DHCP and foreign routers.

        internet ── 1.2.3.4 hub ─── 192.168.0.1/16, 2001:db8::/64
           ├── 2.3.4.5 NAT ── home (GUE)       ── br-lan ── pc        192.168.88.20
           └── 3.4.5.6 NAT ── barn (WireGuard) ── br-lan ── workshop  192.168.99.20
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import (Capture, batch, handshake, listen, connect, run_inside, set_sysctls,  # noqa: E402
                     tcp_each_way, translate)
from story import main, overlayctl, root, run, story, wait_until   # noqa: E402

outside4, outside6 = "5.6.7.8", "2001:db8:2::8"
pc4, workshop4 = "192.168.88.20", "192.168.99.20"
all_off = {"dhcp": False, "mss": False}

# Hub's bridge: the smaller of GUE (1500-20-8-4-4-4-14 = 1446) and WireGuard (1500-60-20-4-4-14 = 1398).
# Clamped at the barn's tunnel, by the hub or the barn: 1398-40 and 1398-60.
mss4, mss6 = 1358, 1338


class Network:
    """Two sites with LANs behind NATs, and a hub; `guards` as in the file, for every node."""

    def __init__(self, story):
        self.story = story
        hosts = "internet hub home-nat home pc barn-nat barn workshop".split()
        self.hosts = {host: story.namespace(host) for host in hosts}
        self.keys = {}
        for node in ("hub", "barn"):
            private = run("wg", "genkey").out
            path = story.file(f"{node}.key", private)
            path.chmod(0o600)
            self.keys[node] = (path, run("wg", "pubkey", input=private).out.strip())
        self.internet()
        self.site("home", "2.3.4.5", "192.168.88", [(5555, "192.168.88.6")])
        self.site("barn", "3.4.5.6", "192.168.99", [])

    def __getitem__(self, host):
        return self.hosts[host]

    def internet(self):
        at = self.hosts
        batch(at["internet"], f"""
            link add hub type veth peer name eth0 netns {at["hub"].name}
            link add home type veth peer name wan netns {at["home-nat"].name}
            link add barn type veth peer name wan netns {at["barn-nat"].name}
            link set hub up
            link set home up
            link set barn up
            addr add {outside4}/32 dev lo
            addr add {outside6}/128 dev lo nodad
            addr add 1.2.3.1/24 dev hub
            addr add 2001:db8:1::1/64 dev hub nodad
            addr add 2.3.4.1/24 dev home
            addr add 3.4.5.1/24 dev barn
            route add 2001:db8::/64 via 2001:db8:1::4""")
        set_sysctls(at["internet"], net__ipv4__ip_forward="1", net__ipv6__conf__all__forwarding="1")
        batch(at["hub"], """
            link set eth0 up
            addr add 1.2.3.4/24 dev eth0
            addr add 2001:db8:1::4/64 dev eth0 nodad
            route add default via 1.2.3.1
            route add default via 2001:db8:1::1""")

    def site(self, node, public, prefix, forward):
        """A LAN: its NAT, our node with its bridge, one host with the usual MTU of 1500."""
        at = self.hosts
        host = {"home": "pc", "barn": "workshop"}[node]
        batch(at[node], f"""
            link add br-lan type bridge
            link add eth0 type veth peer name lan netns {at[node + "-nat"].name}
            link add eth1 type veth peer name eth0 netns {at[host].name}
            link set eth0 up master br-lan
            link set eth1 up master br-lan
            link set br-lan up
            addr add {prefix}.6/16 dev br-lan
            route add default via {prefix}.1""")
        batch(at[node + "-nat"], f"""
            link set wan up
            link set lan up
            addr add {public}/24 dev wan
            addr add {prefix}.1/24 dev lan
            route add default via {public.rsplit(".", 1)[0]}.1""")
        translate(at[node + "-nat"], "wan", forward)
        batch(at[host], f"link set eth0 up\naddr add {prefix}.20/16 dev eth0\n")

    def file(self, guards=None):
        tables = {"guards": guards} if guards else {}
        hub_guards = {"guards": {**guards, "router_advertisement": False}} if guards else {}
        (hub_key, hub_public), (barn_key, barn_public) = self.keys["hub"], self.keys["barn"]
        return self.story.file("purpose.json", {
            "version": 1, "network": "purpose",
            "hub": {
                "name": "hub",
                "underlay": {"interface": "eth0", "addresses": ["1.2.3.4"]},
                "bridge": {"name": "taps", "addresses": ["192.168.0.1/16", "2001:db8::1/64"]},
                "router_advertisement": {"prefixes": [{"prefix": "2001:db8::/64"}]},
                "forwarding": ["ipv4", "ipv6"], "masquerade": {"out": "eth0"}, "mss_clamp": "pmtu",
                "gue": {"port": 5555},
                "wireguard": {"address": "172.16.0.1/24", "private_key_file": str(hub_key),
                              "public_key": hub_public}, **hub_guards},
            "spokes": {
                "home": {
                    "link": {"type": "gretap-gue", "local": "192.168.88.6",
                             "nat": {"address": "2.3.4.5", "port": 5555}},
                    "bridge": {"name": "br-lan", "existing": True,
                               "addresses": ["192.168.88.6/16"]}, **tables},
                "barn": {
                    "link": {"type": "gretap-wireguard", "public_key": barn_public,
                             "private_key_file": str(barn_key)},
                    "bridge": {"name": "br-lan", "existing": True,
                               "addresses": ["192.168.99.6/16"]}, **tables}}})

    def apply(self, guards=None):
        file = self.file(guards)
        for node in ("hub", "home", "barn"):
            self.hosts[node].run(overlayctl, "apply", file, "--node", node,
                                 "--state-dir", self.story.folder / f"state-{node}",
                                 "--run-dir", self.story.folder / f"run-{node}")
        return file

    def advertise(self, file):
        """radvd on our render, as a hub without overlayd does it."""
        text = self.hosts["hub"].run(overlayctl, "render", file, "--node", "hub",
                                     "--format", "radvd").out
        self.radvd("hub", text)

    def radvd(self, host, text):
        path = self.story.file(f"{host}.radvd.conf", text)
        return self.hosts[host].start("radvd", "-n", "-m", "stderr", "-C", path,
                                      "-p", self.story.folder / f"{host}.radvd.pid")

    def address6(self, host, prefix="2001:db8::", deadline=40):
        """The address by advertisement, usable."""
        def found():
            for link in self.hosts[host].ip_json("-6", "address", "show", "scope", "global"):
                for each in link["addr_info"]:
                    if each.get("local", "").startswith(prefix) and not each.get("tentative"):
                        return each["local"]
            return None
        return wait_until(found, f"{host} has an address of {prefix}/64", deadline, 0.3)


@story("a LAN host behind NAT has a public IPv6 address: reached from outside, and back, untranslated")
def _(s):
    network = Network(s)
    network.advertise(network.apply())
    internet, pc = network["internet"], network["pc"]
    pc6 = network.address6("pc")

    into = handshake(internet, "hub", pc, "eth0", pc6, source=outside6)
    out = handshake(pc, "eth0", internet, "hub", outside6)

    s.equal([into["source"], out["source"]], [outside6, pc6], "the sources as the other side sees them")
    with listen(pc, pc6, 7002) as listener, connect(internet, pc6, 7002, source=outside6) as stream:
        accepted, (source, *_) = listener.accept()
        with accepted:
            accepted.sendall(b"from behind two NATs")
            s.equal((source, stream.recv(100)), (outside6, b"from behind two NATs"), "what is said")
    s.note(f"{outside6} and {pc6}")


@story("10 MB of TCP between 1500-byte LAN hosts of two sites, IPv4 and IPv6: clamped, no stall")
def _(s):
    network = Network(s)
    pc, workshop = network["pc"], network["workshop"]
    for host in (pc, workshop):   # which do not heed the advertised MTU: IPv6 needs the clamp, too
        set_sysctls(host, net__ipv6__conf__eth0__accept_ra_mtu="0")
    network.advertise(network.apply())
    workshop6 = network.address6("workshop")
    network.address6("pc")

    seconds = [tcp_each_way(pc, workshop, each) for each in (workshop4, workshop6)]
    seen4 = handshake(pc, "eth0", workshop, "eth0", workshop4)
    seen6 = handshake(pc, "eth0", workshop, "eth0", workshop6)

    s.equal((seen4["mss"], seen4["mss of the answer"]), (mss4, mss4), "MSS over IPv4")
    s.equal((seen6["mss"], seen6["mss of the answer"]), (mss6, mss6), "MSS over IPv6")
    network.apply(all_off)
    unclamped = handshake(pc, "eth0", workshop, "eth0", workshop4)
    s.equal((unclamped["mss"], unclamped["mss of the answer"]), (1460, 1460),
            "MSS over IPv4 with the guard off")
    s.note(f"10 MB each way: IPv4 {seconds[0]:.1f} s, IPv6 {seconds[1]:.1f} s; "
           f"MSS 1460 -> {mss4}, 1440 -> {mss6}")


def lease(s, network, host, interface):
    """The address that a DHCP client is offered there; None: nobody answers."""
    script = s.file("udhcpc.sh", '#!/bin/sh\n[ "$1" = bound ] && echo "got $ip"\nexit 0\n')
    script.chmod(0o755)
    # -f: what it printed is its end; three questions, two seconds apart.
    result = run_inside(network[host], "busybox", "udhcpc", "-i", interface, "-f", "-q", "-n",
                        "-t", "3", "-T", "2", "-s", script, code=None)
    got = [line.split()[1] for line in result.out.splitlines() if line.startswith("got ")]
    return got[0] if got else None


@story("DHCP of one site does not answer in another; with the guard off it does")
def _(s):
    network = Network(s)
    network.apply()
    wait_until(lambda: run_inside(network["workshop"], "ping", "-c", "1", "-W", "2", pc4,
                                  code=None).code == 0, "the sites see each other", 30)
    leases = s.file("leases", "")
    settings = s.file("udhcpd.conf", f"""start 192.168.88.100\nend 192.168.88.150\ninterface eth0
        option subnet 255.255.0.0\nlease_file {leases}\npidfile {s.folder}/udhcpd.pid\n""")
    server = network["pc"].start("busybox", "udhcpd", "-f", "-a", "100", settings)
    server.wait_for_output("started")

    local, remote = lease(s, network, "home", "br-lan"), lease(s, network, "workshop", "eth0")
    network.apply(all_off)
    unguarded = lease(s, network, "workshop", "eth0")

    s.check(local and local.startswith("192.168.88.1"), f"in its own site it answers: {local}")
    s.equal(remote, None, "what the other site gets")
    s.check(unguarded and unguarded.startswith("192.168.88.1"),
            f"with the guard off it answers there: {unguarded}")
    s.note(f"{local} at home, none in the barn; {unguarded} without the guard")


@story("a router in one site does not become everybody's; with the guard off it does")
def _(s):
    network = Network(s)
    network.apply()
    wait_until(lambda: run_inside(network["workshop"], "ping", "-c", "1", "-W", "2", pc4,
                                  code=None).code == 0, "the sites see each other", 30)
    set_sysctls(network["workshop"], net__ipv6__conf__all__forwarding="1")
    rogue = "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; " \
            "prefix 2001:db8:bad::/64 {}; };\n"
    is_advertisement = (lambda p: p.protocol == 58 and p.payload[:1] == b"\x86")
    with Capture(network["home"], "eth1") as at_home, Capture(network["barn"], "eth1") as at_barn:
        network.radvd("workshop", rogue)
        for _count in range(3):   # three came from the workshop, none reached home
            at_barn.wait(is_advertisement, "the rogue's advertisement in its own site")
        leaked = [each for each in at_home.seen() if is_advertisement(each)]
        s.equal(len(leaked), 0, "advertisements that reached the other site")
        s.equal(network.address6("barn", "2001:db8:bad:")[:13], "2001:db8:bad:", "in its own site")

        network.apply(all_off)
        at_home.wait(is_advertisement, "the rogue's advertisement, with the guard off")
    network.address6("pc", "2001:db8:bad:")


@story("a site whose exit is the hub: its LAN reaches the Internet there, its tunnel stays on its WAN")
def _(s):
    hosts = {host: s.namespace(host) for host in "internet gate nat site pc".split()}
    internet, gate, nat, site, pc = hosts.values()
    file = s.file("exit.json", (root / "examples/exit.json").read_text())
    key = s.file("gate.key", (root / "tests/support/keys/exit/gate.key").read_text())
    key.chmod(0o600)
    batch(internet, f"""
        link add gate type veth peer name eth0 netns {gate.name}
        link add nat type veth peer name wan netns {nat.name}
        link set gate up
        link set nat up
        addr add {outside4}/32 dev lo
        addr add 203.0.113.1/24 dev gate
        addr add 198.51.100.1/24 dev nat""")
    set_sysctls(internet, net__ipv4__ip_forward="1")
    batch(gate, "link set eth0 up\naddr add 203.0.113.30/24 dev eth0\n"
                "route add default via 203.0.113.1\n")
    batch(nat, f"""
        link add lan type veth peer name wan netns {site.name}
        link set lan up
        link set wan up
        addr add 198.51.100.30/24 dev wan
        addr add 10.20.30.1/24 dev lan
        route add default via 198.51.100.1""")
    translate(nat, "wan", [(5555, "10.20.30.2")])
    batch(site, f"""
        link add br-lan type bridge
        link add lan0 type veth peer name eth0 netns {pc.name}
        link set lan0 up master br-lan
        link set br-lan up
        link set wan up
        addr add 10.20.30.2/24 dev wan
        addr add 192.168.88.1/16 dev br-lan
        route add default via 10.20.30.1""")
    batch(pc, f"link set eth0 up\naddr add {pc4}/24 dev eth0\nroute add default via 192.168.88.1\n")
    default = site.ip("route", "show", "default").out

    for host, node in ((gate, "gate"), (site, "site")):
        host.run(overlayctl, "apply", file, "--node", node, "--state-dir", s.folder / f"state-{node}",
                 "--run-dir", s.folder / f"run-{node}")

    with Capture(site, "wan") as at_wan:
        seen = handshake(pc, "eth0", internet, "gate", outside4)
        tcp_each_way(pc, internet, outside4)
        frames = [each for each in at_wan.seen() if each.source and ":" not in each.source]
    tunnelled = [each for each in frames if {each.source, each.target} ==
                 {"10.20.30.2", "203.0.113.30"} and each.source_port == each.target_port == 5555]
    s.equal(seen["source"], "203.0.113.30", "whom the Internet sees")
    s.equal([(each.source, each.target) for each in frames if each not in tunnelled][:5], [],
            "what leaves the site's WAN outside the tunnel")
    size = sum(len(each.frame) for each in tunnelled)
    s.check(size > 20_000_000, f"only {size} bytes of the tunnel on the WAN")
    s.equal(site.ip("route", "show", "default").out, default, "the site's own default route")
    s.note(f"20 MB as 203.0.113.30; {size / 1e6:.1f} MB on the WAN, all of the tunnel")


main()
