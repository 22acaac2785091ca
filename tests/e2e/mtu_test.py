#!/usr/bin/env python3
"""`explain mtu` against the wire.

Two namespaces and one cable. For every underlay family and MTU, two files are applied on both ends:
one with four Ethernet links (GUE with and without a GRE key, gretap in WireGuard by IPv4 and by IPv6), one
with a routed WireGuard link. Each tunnel device is then taken out of its bridge and measured alone: a
packet of the explained size passes whole and fills the underlay to the last byte; with the device raised
by one byte by hand, alone and together with the WireGuard device beneath it, a packet of one byte more is
cut in two by the underlay or refused.

The bytes expected of each stack are those of the RFCs and of the WireGuard paper, added up by hand.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import Capture, batch   # noqa: E402
from outer import outers   # noqa: E402
from story import main, overlayctl, run, story, wait_until   # noqa: E402

mtus = (1500, 1492, 1400)

# IP + UDP 8 + GUE 4 + GRE 4 (+ key 4) + Ethernet 14; WireGuard: IP + UDP 8 + header 16 + tag 16.
overhead = {
    ("keyed", 4): 20 + 8 + 4 + 8 + 14, ("keyed", 6): 40 + 8 + 4 + 8 + 14,
    ("bare", 4): 20 + 8 + 4 + 4 + 14, ("bare", 6): 40 + 8 + 4 + 4 + 14,
    ("skin", 4): 60 + 20 + 8 + 14, ("skin", 6): 80 + 20 + 8 + 14,
    ("skin6", 4): 60 + 40 + 8 + 14, ("skin6", 6): 80 + 40 + 8 + 14,
    ("routed", 4): 60, ("routed", 6): 80,
}
types = {"keyed": "gretap-gue", "bare": "gretap-gue without key", "skin": "gretap-wireguard",
         "skin6": "gretap-wireguard by IPv6", "routed": "wireguard"}
ethernet = ("keyed", "bare", "skin", "skin6")
beneath = {"skin": "wg-skin", "skin6": "wg-skin6"}   # the site's devices; the hub has the first for both
outer = {4: ("10.255.0.1", "10.255.0.2"), 6: ("2001:db8:ff::1", "2001:db8:ff::2")}


class Keys:
    """Key pairs, made once with the real `wg`."""

    def __init__(self, s):
        self.folder = s.folder
        self.public = {}
        for name in ("hub-skin", "hub-routed", "site-skin", "site-skin6", "site-routed"):
            private = run("wg", "genkey").out
            s.file(f"{name}.key", private).chmod(0o600)
            self.public[name] = run("wg", "pubkey", input=private).out.strip()

    def pair(self, name):
        return {"private_key_file": f"{name}.key", "public_key": self.public[name]}


def underlay(family, mtu, end):
    return {"interface": "u0", "addresses": [outer[family][end]], "mtu": mtu}


def ethernet_file(keys, family, mtu):
    local = outer[family][1]
    return {
        "version": 1, "network": "ethernet",
        "hub": {
            "name": "hub", "underlay": underlay(family, mtu, 0), "bridge": {"name": "br0"}, "gue": {},
            "wireguard": {"interface": "wg-skin", "listen_port": 7001,
                          "address": ["10.2.0.1/24", "fd02::1/64"], **keys.pair("hub-skin")},
        },
        "spokes": {"site": {
            "underlay": underlay(family, mtu, 1),
            "links": {
                "keyed": {"type": "gretap-gue", "local": local, **names("keyed")},
                "bare": {"type": "gretap-gue", "local": local, "key": "none", **names("bare")},
                "skin": {"type": "gretap-wireguard", "wireguard_interface": "wg-skin",
                         "address": "10.2.0.2/24", **keys.pair("site-skin"), **names("skin")},
                "skin6": {"type": "gretap-wireguard", "wireguard_interface": "wg-skin6",
                          "address": "fd02::3/64", **keys.pair("site-skin6"), **names("skin6")},
            }}},
    }


def names(device):
    return {"interface": device, "hub_interface": device}


def routed_file(keys, family, mtu):
    return {
        "version": 1, "network": "routed",
        "hub": {
            "name": "hub", "underlay": underlay(family, mtu, 0),
            "wireguard": {"interface": "routed", "listen_port": 7002,
                          "address": ["10.4.0.1/24", "fd04::1/64"], **keys.pair("hub-routed")},
        },
        "spokes": {"site": {
            "underlay": underlay(family, mtu, 1),
            "links": {"routed": {"type": "wireguard", "interface": "routed",
                                 "address": ["10.4.0.2/24", "fd04::2/64"],
                                 **keys.pair("site-routed")}},
        }},
    }


class Wire:
    """The two namespaces, and what one measurement needs of them."""

    def __init__(self, s):
        self.s = s
        self.hub, self.site = s.namespace("hub"), s.namespace("site")
        self.ends = (self.hub, self.site)
        s.veth(self.hub, "u0", self.site, "u0")
        for end, namespace in enumerate(self.ends):
            # Duplicate address detection would only cost time.
            namespace.sysctl("net.ipv6.conf.default.accept_dad", 0)
            namespace.sysctl("net.ipv6.conf.u0.accept_dad", 0)
            namespace.ip("address", "add", outer[4][end] + "/24", "dev", "u0")
            namespace.ip("address", "add", outer[6][end] + "/64", "dev", "u0", "nodad")
        self.keys = Keys(s)
        self.capture = Capture(self.hub, "u0")

    def apply(self, family, mtu):
        """Both files on both ends; the explained figures by link."""
        self.both([f"link set u0 mtu {mtu}"])
        figures = {}
        for make in (ethernet_file, routed_file):
            content = make(self.keys, family, mtu)
            network = content["network"]
            file = self.s.file(f"{network}.json", content)
            for node in ("hub", "site"):
                self.ctl("apply", file, node, network)
            # WireGuard may still have roamed to where the other end called from last.
            for node in ("hub", "site"):
                wait_until(lambda: "0 writes" in self.ctl("apply", file, node, network),
                           f"{node} stays as {network} was applied")
            for link in run(overlayctl, "explain", file, "mtu", "--json").json()["links"]:
                figures[link["link"].removeprefix("site.")] = link["link_mtu"]
        return figures

    def ctl(self, verb, file, node, network):
        folder = self.s.folder / node / network
        return self.ends[node == "site"].run(overlayctl, verb, file, "--node", node, "--state-dir",
                                             folder, "--run-dir", folder).out

    def both(self, lines):
        for namespace in self.ends:
            batch(namespace, "\n".join(lines) + "\n")

    def isolate(self):
        """Each Ethernet tunnel out of the bridge, with addresses of its own."""
        batch(self.hub, "".join(f"link set {device} nomaster\n" for device in ethernet))
        self.start_anew()

    def start_anew(self):
        """With nothing learnt of paths. A path's MTU stays with an IPv6 route even when the cache is flushed
        (Linux 6.1 net/ipv4/ip_tunnel.c, tnl_update_pmtu: dst_metric_set), so they are made again."""
        for end, namespace in enumerate(self.ends):
            lines = ["route flush cache"]
            for number, device in enumerate(ethernet):
                lines += [f"address flush dev {device} to {network}"
                          for network in ("10.3.0.0/16", "fd03::/16")]
                lines.append(f"address add 10.3.{number}.{end + 1}/24 dev {device}")
                if self.device_mtu(namespace, device) >= 1280:   # RFC 8200 §5
                    lines.append(f"address add fd03:{number}::{end + 1}/64 dev {device} nodad")
            batch(namespace, "\n".join(lines) + "\n")

    def device_mtu(self, namespace, device):
        return int(namespace.ip_json("link", "show", device)[0]["mtu"])

    def ping(self, link, inner, size):
        """One echo of `size` bytes of IP, from the site to the hub."""
        number = (*ethernet, "routed").index(link)
        base = {4: f"10.3.{number}.1", 6: f"fd03:{number}::1"} if link != "routed" else \
               {4: "10.4.0.1", 6: "fd04::1"}
        headers = 28 if inner == 4 else 48   # IP and ICMP
        return self.site.run("ping", f"-{inner}", "-n", "-M", "do", "-c", "1", "-W", "5",
                             "-s", size - headers, base[inner], code=None)


def figure_passes(s, wire, link, inner, figure, mtu):
    answer = wire.ping(link, inner, figure)
    s.equal(answer.code, 0, f"{link}, IPv{inner} inside, {figure} bytes\n{answer}\n")
    seen = outers(wire.capture)
    s.check(not any(each.fragment for each in seen), f"{link}: fragments at {figure}: {seen}")
    s.equal(max(each.length for each in seen), mtu,
            f"{link}, IPv{inner} inside: the longest packet on the underlay at {figure}")


def one_more_does_not(s, wire, link, inner, size, mtu):
    """"fragmented" or "refused"."""
    answer = wire.ping(link, inner, size)
    seen = outers(wire.capture)
    s.check(all(each.length <= mtu for each in seen), f"{link}: more than {mtu} bytes: {seen}")
    if any(each.fragment for each in seen):
        return "fragmented"
    said = answer.out + answer.err
    s.check(answer.code != 0 and any(word in said.lower() for word in
                                     ("frag needed", "too long", "too big")),
            f"{link}, IPv{inner} inside: {size} bytes passed whole\n{answer}\n{seen}")
    return "refused"


def measure(s, wire, family, mtu):
    figures = wire.apply(family, mtu)
    for namespace in wire.ends:
        found = {each["ifname"]: each["mtu"] for each in namespace.ip_json("link")}
        s.equal({link: found[link] for link in figures}, figures, f"devices of {namespace.name}")
    s.equal(figures, {link: mtu - overhead[link, family] for link in types}, "the figures explained")
    wire.isolate()
    outers(wire.capture)   # handshakes and neighbour discovery of the change
    inners = {link: [4, 6] if figure >= 1280 else [4] for link, figure in figures.items()}
    for link, figure in figures.items():
        for inner in inners[link]:
            figure_passes(s, wire, link, inner, figure, mtu)
    wire.both([f"link set {link} mtu {figure + 1}" for link, figure in figures.items()])
    ends = {}
    for link, figure in figures.items():
        ends[link] = [f"{one_more_does_not(s, wire, link, inner, figure + 1, mtu)} (IPv{inner})"
                      for inner in inners[link]]
    enclosing = mtu - overhead["routed", family] + 1
    batch(wire.hub, f"link set wg-skin mtu {enclosing}\n")
    batch(wire.site, "".join(f"link set {device} mtu {enclosing}\n" for device in beneath.values()))
    wire.start_anew()
    for link in beneath:
        ends[link] += [f"{one_more_does_not(s, wire, link, inner, figures[link] + 1, mtu)} with WireGuard's "
                       f"{enclosing} (IPv{inner})" for inner in inners[link]]
    for link, figure in figures.items():
        print(f"   IPv{family} {mtu} {types[link]}: {figure} passes and fills {mtu}; "
              f"{figure + 1} is {', '.join(ends[link])}")


@story("explained MTUs fill the underlay to the last byte: every link type, IPv4 and IPv6, 3 underlay MTUs")
def _(s):
    wire = Wire(s)
    for family in (4, 6):
        for mtu in mtus:
            measure(s, wire, family, mtu)


@story("a stack too deep for IPv6 inside is refused with the sum")
def _(s):
    # 1400 - 80 (WireGuard over IPv6) - 20 - 8 - 14 = 1278, and IPv6 needs 1280 (RFC 8200 §5).
    content = ethernet_file(Keys(s), 6, 1400)
    content["hub"]["bridge"]["addresses"] = ["2001:db8:1::1/64"]
    file = s.file("deep.json", json.dumps(content))
    refused = run(overlayctl, "validate", file, code=3)
    s.contains(refused.err + refused.out, "IPv6 needs 1280 bytes, and it is used inside", "the finding")
    s.contains(refused.err + refused.out, "= 1278", "the finding")


main()
