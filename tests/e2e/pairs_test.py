#!/usr/bin/env python3
"""Interchangeable: each end of a link by its kernel or by overlayd, every type and variant of link over IPv4 and IPv6,
and nothing that uses the link can tell. What kernels do among themselves is what all of them are held to.

Both ends are made by overlayctl from one file; who carries, and what travels between them, is looked at. A choice in
which every two of variant, family, hub and spoke meet, drawn by the seed; with OVERLAY_LONG=1 all of them.
"""

import itertools
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from every_size import (Echo, groups_of, lost_datagrams, lost_frames, lost_of_burst, mac_of, ranges,
                        times_arrived)
from network import Capture, batch, run_inside, tcp_each_way
from pair_network import Pair, PairNetwork, broadcast, ends, inner, outer, prefix
from pairwise import pairwise
from story import long_run, main, overlayctl, sample, seed, story, wait_until

megabytes = 50 if long_run else 2
datapaths = ("kernel", "userspace")
both_off = "gretap-gue without key and UDP checksums"
variants = {
    "gretap-gue with key": {"type": "gretap-gue"},
    "gretap-gue without key": {"type": "gretap-gue", "key": False},
    "gretap-gue with key, without UDP checksums": {"type": "gretap-gue", "checksum": False},
    both_off: {"type": "gretap-gue", "key": False, "checksum": False},
    "gretap-wireguard": {"type": "gretap-wireguard"},
    "gretap-wireguard without key, with PSK": {"type": "gretap-wireguard", "key": False, "psk": True},
    "gretap-wireguard between IPv6 addresses": {"type": "gretap-wireguard", "inside": 6},
    "wireguard": {"type": "wireguard"},
    "wireguard with PSK": {"type": "wireguard", "psk": True},
}
other = {"hub": "spoke", "spoke": "hub"}


def possible():
    for row in itertools.product(variants, (4, 6), datapaths, datapaths):
        _, family, hub, spoke = row
        # Over IPv6 the file has no word for it, and overlayd sends them always.
        if not (variants[row[0]].get("checksum", True) or family == 4 or "kernel" in (hub, spoke)):
            continue
        yield row


every_pair = list(possible())
# In the short run no variant of two differences; of two pairs that bring as much, the one of unlike ends.
chosen = every_pair if long_run else pairwise([row for row in every_pair if row[0] != both_off], seed,
                                              lambda row: row[2] != row[3])
told = []


# ---- what is asked of each -------------------------------------------------------------------------

class Demands:
    def __init__(self, s, pair):
        self.s, self.pair = s, pair
        self.network = PairNetwork(s, pair)
        self.device = self.network.device
        self.mtu = self.network.mtu()

    def at(self, end):
        return self.network.at(end)

    def none_lost(self, lost, what):
        lost = list(lost)
        self.s.check(not lost, f"{what}: {len(lost)} did not arrive whole: {ranges(lost)}")

    def meet(self):
        """The first packet of all, and what it looks like on the way."""
        with Capture(self.at("hub"), "eth0") as cable:
            with Echo(self.at("spoke"), inner[4]["spoke"], inner[4]["hub"]) as echo:
                wait_until(lambda: not echo.lost([100], 1), "the hub answers", 30)
            seen = [packet for packet in cable.seen() if packet.protocol == 17]
        for end in ends:
            sent = [each for each in seen if each.source == outer[self.pair.family][end]]
            self.s.check(sent, f"the {end} has sent nothing over IPv{self.pair.family}")
            if not self.pair.over_wireguard:
                for each in sent:
                    self.check_gue(end, each.payload)

    def check_gue(self, end, datagram):
        """UDP, GUE and GRE (draft-ietf-intarea-gue-09, RFC 2890): of the variant that is being told."""
        summed = datagram[6:8] != b"\0\0"
        self.s.equal(summed, self.pair.checksum or self.pair.by(end) == "userspace", f"UDP checksum of the {end}")
        self.s.equal(datagram[8:16].hex(), "002f0000" + ("20006558" if self.pair.key else "00006558"),
                     f"GUE and GRE of the {end}")

    def ping(self):
        """Every size that fits, each way, IPv4 asked by the spoke and IPv6 by the hub."""
        for family, asker, header in ((4, "spoke", 28), (6, "hub", 48)):
            source, target = inner[family][asker], inner[family][other[asker]]
            largest = self.mtu - header
            with Echo(self.at(asker), source, target) as echo:
                self.none_lost(echo.lost(range(largest + 1)), f"ping {target} 0…{largest}")
                self.s.check(echo.refused(largest + 1), f"{largest + 1} bytes to {target} are not refused")
            with Echo(self.at(asker), source, target, whole=False) as echo:
                self.none_lost(echo.lost([largest + 1, 3 * largest]), f"ping {target} in fragments")

    def udp(self):
        draw = random.Random(seed)
        for family, end in itertools.product((4, 6), ends):
            target, largest = inner[family][other[end]], self.mtu - (28 if family == 4 else 48)
            sizes = [0, 1, 17, 18, 19, largest - 1, largest, largest + 1, 5000, *draw.sample(range(20, largest - 1), 40)]
            way = self.at(end), self.at(other[end]), target
            self.none_lost(lost_datagrams(*way, sizes), f"UDP to {target}")
            self.none_lost(lost_of_burst(*way, largest - 100, 20), f"a burst of UDP to {target}")

    def tcp(self):
        tcp_each_way(self.at("spoke"), self.at("hub"), inner[4]["hub"], megabytes, 300)
        tcp_each_way(self.at("hub"), self.at("spoke"), inner[6]["spoke"], 2, 300)

    def frames(self):
        """In the short run every seventh size from the smallest Ethernet frames on: IP has been there at every one."""
        sizes = range(self.mtu + 1) if long_run else [*range(60), *range(60 + seed % 7, self.mtu, 7), self.mtu]
        for end in ends:
            self.none_lost(lost_frames(self.at(end), self.at(other[end]), self.device[end], sizes),
                           f"Ethernet frames of the {end}")

    def neighbours(self):
        """ARP (RFC 826) and neighbour discovery (RFC 4861) have been answered by whom it concerns."""
        for end in ends:
            found = {each["dst"]: each.get("lladdr") for each in self.at(end).ip_json("neigh", "show", "dev", self.device[end])}
            mac = mac_of(self.at(other[end]), self.device[end]).hex(":")
            for family in (4, 6):
                self.s.equal(found.get(inner[family][other[end]]), mac, f"neighbour of the {end}")

    def groups(self):
        groups = groups_of(broadcast)
        for end in ends:
            own = [inner[family][other[end]] for family in (4, 6)]
            found = times_arrived(self.at(end), self.at(other[end]), self.device[end], groups, own)
            self.s.equal(found, dict.fromkeys(groups, 1), f"how often one of the {end} arrived")

    def vlan(self):
        """IEEE 802.1Q: four bytes less for what is inside."""
        for number, end in enumerate(ends, 1):
            batch(self.at(end), f"link add link {self.device[end]} name tagged type vlan id 7\n"
                                f"link set tagged mtu {self.mtu - 4} up\naddress add 10.70.0.{number}/24 dev tagged\n")
        with Echo(self.at("spoke"), "10.70.0.2", "10.70.0.1") as echo:
            self.none_lost(echo.lost([0, 1, 14, 18, 700, self.mtu - 33, self.mtu - 32]), "ping with a VLAN tag")
        tcp_each_way(self.at("hub"), self.at("spoke"), "10.70.0.2", 1, 60)

    def slaac(self):
        """A machine on the spoke's LAN hears the hub (RFC 4862), and is heard."""
        lan = self.s.namespace("lan")
        self.s.veth(self.at("spoke"), "lan0", lan, "eth0")
        lan.sysctl("net.ipv6.conf.eth0.accept_dad", 0)
        batch(self.at("spoke"), f"link set lan0 master {self.device['spoke']}\n")
        configuration = run_inside(self.at("hub"), overlayctl, "render", self.network.file, "--node", "hub",
                                   "--format", "radvd").out
        self.at("hub").start("radvd", "-n", "-m", "stderr", "-C", self.s.file("radvd.conf", configuration),
                             "-p", self.s.folder / "radvd.pid")

        def address():
            for link in lan.ip_json("-6", "address", "show", "scope", "global"):
                for each in link["addr_info"]:
                    if each["local"].startswith(prefix.split("/")[0]):
                        return each["local"]
            return None

        own = wait_until(address, "a machine behind the spoke has an address of the prefix")
        with Echo(lan, own, inner[6]["hub"]) as echo:
            self.none_lost(echo.lost([0, 1000]), "ping of the hub from behind the spoke")


def tell(s, row):
    variant, family, hub, spoke = row
    demands = Demands(s, Pair(family=family, hub=hub, spoke=spoke, **variants[variant]))
    if not demands.pair.checksum and family == 6:
        demands.network.without_checksums()
    demands.meet()
    demands.ping()
    demands.udp()
    demands.tcp()
    if demands.pair.ethernet:
        demands.frames()
        demands.neighbours()
        demands.groups()
        demands.vlan()
        demands.slaac()
    told.append(row)


for row in chosen:
    @story(f"{row[0]} over IPv{row[1]}, the hub by {row[2]}, the spoke by {row[3]}")
    def _(s, row=row):
        tell(s, row)


for by in sample(datapaths):
    @story(f"a mark that wg gives a device is on all that it sends: {by}")
    def _(s, by=by):
        demands = Demands(s, Pair("wireguard", 4, "kernel", by))
        demands.meet()
        spoke, device = demands.at("spoke"), demands.device["spoke"]
        spoke.run("nft", "-f", "-", input="""table inet marked {
            chain out {
                type filter hook output priority 0
                udp dport 51820 meta mark != 7 drop
            }
        }""")
        with Echo(spoke, inner[4]["spoke"], inner[4]["hub"]) as echo:
            s.equal(echo.lost([100], 1), {100}, "without a mark: pings lost")
            for mark, lost in ((7, set()), (0, {100})):
                spoke.run("wg", "set", device, "fwmark", mark)
                s.equal(echo.lost([100], 5 if mark else 1), lost, f"with mark {mark}: pings lost")


@story("every pair that was to be told has been told")
def _(s):
    s.equal(sorted(told), sorted(chosen), "the pairs that no one could tell apart")
    s.check(not long_run or len(told) >= 52, f"only {len(told)} pairs")
    s.note(f"{len(told)} pairs of {len(every_pair)}")


main()
