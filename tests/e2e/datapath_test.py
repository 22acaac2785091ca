"""The userspace data path against a kernel's gretap over GUE and over WireGuard, and against its WireGuard alone, where
an end is made as overlayctl makes none, or something happens while it carries (pairs_test.py has the rest).

The hub is built by hand with `ip` and `wg`; the spoke has TAP and TUN devices that `carry` (tests/bench/datapath)
reads. Of what is told in several variants every second one, by the seed; all with OVERLAY_LONG=1.
"""

import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from every_size import lost_datagrams
from network import Capture, batch, tcp_each_way
from story import long_run, main, run, sample, story, wait_until

carry = pathlib.Path(os.environ["OVERLAY_BUILD"]) / "tests/carry"
ends = ("kernel", "ours")
megabytes = 10 if long_run else 2


def addresses(pattern):
    return {name: pattern.format(number) for number, name in enumerate(ends, 1)}


outer, outer6 = addresses("10.9.0.{}"), addresses("fd09::{}")
tunnel, tunnel6 = addresses("10.7.0.{}"), addresses("fd07::{}")   # of the WireGuard devices
inner, inner6 = addresses("10.8.0.{}"), addresses("fd08::{}")     # of the gretap devices


class Cable:
    """A kernel and us, joined by a cable with addresses of both families."""

    def __init__(self, s):
        self.s = s
        self.kernel, self.ours = s.namespace("kernel"), s.namespace("ours")
        s.veth(self.kernel, "cable", self.ours, "cable")
        for name in ends:
            batch(self.node(name), f"address add {outer[name]}/24 dev cable\n"
                                   f"address add {outer6[name]}/64 dev cable nodad\n")

    def node(self, name):
        return getattr(self, name)

    def start(self, config):
        self.process = self.s.start(*self.ours.argv(carry, self.s.file("carry.json", config)))

    def change(self, config):
        """The configuration as it is now, while frames are carried."""
        times = self.process.output().count("read again")
        self.s.file("carry.json", config)
        run("kill", "-HUP", self.process.pid)
        wait_until(lambda: self.process.output().count("read again") > times, "the file is read again")

    def address(self, device, ipv4, ipv6):
        for name in ends:
            batch(self.node(name), f"link set {device} up\naddress add {ipv4[name]}/24 dev {device}\n"
                                   f"address add {ipv6[name]}/64 dev {device} nodad\n")

    def meet(self, begins, address):
        """Until both ends are there."""
        wait_until(lambda: self.node(begins).run("ping", "-n", "-c", "1", "-W", "2", address, code=None).code == 0,
                   f"{address} answers", 30)

    def ping(self, begins, ipv4, sizes, device_mtu):
        """Every size both ways, the largest whole; one byte more does not fit."""
        other = {"kernel": "ours", "ours": "kernel"}
        self.meet(begins, ipv4[other[begins]])
        largest = device_mtu - 28
        for size in [*sizes, largest - 1, largest]:
            for name in ends:
                whole = ["-M", "do"] if name == "ours" else []   # a kernel's end may have to cut for its options
                self.node(name).run("ping", "-n", "-c", "1", "-W", "10", *whole, "-s", str(size),
                                    ipv4[other[name]])
        self.ours.run("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(largest + 1), ipv4["kernel"],
                      code=1)

    def tcp(self, *families):
        for each in families:
            tcp_each_way(self.ours, self.kernel, each["kernel"], megabytes)
            tcp_each_way(self.kernel, self.ours, each["ours"], megabytes)


# ---- gretap over GUE -----------------------------------------------------------------------------

def gue_endpoint(cable, device, key, csum, ipv4, ipv6):
    """A gretap over GUE, made at the kernel's end; what `carry` has to be told of ours.

    `key`: GRE key or None; `csum`: what the kernel's end does with UDP."""
    run("modprobe", "-a", "fou", "ip_gre", "tun")
    words = f"key {key}" if key is not None else ""
    batch(cable.kernel, f"fou add port 5555 gue\nlink add {device} type gretap local {outer['kernel']} "
          f"remote {outer['ours']} {words} encap gue encap-sport 5555 encap-dport 5555 {csum}\n")
    batch(cable.ours, f"tuntap add {device} mode tap vnet_hdr\nlink set {device} mtu 1446\n")
    cable.address(device, ipv4, ipv6)
    link = {"device": device, "remote": outer["kernel"], "remote_port": 5555}
    if key is not None:
        link["key"] = key
    return {"local": outer["ours"], "port": 5555, "links": [link]}


@story("a kernel's gretap over GUE with remote checksum offload, and ours: sizes, TCP both ways, IPv4 and IPv6")
def _(s):
    pair = Cable(s)
    pair.start({"endpoints": [gue_endpoint(pair, "tun", 5, "encap-remcsum", inner, inner6)]})
    # What lies around the smallest Ethernet frame, and the largest that fits.
    pair.ping("ours", inner, [0, 1, 17, 18, 19, 100, 1399], 1446)
    pair.tcp(inner, inner6)
    s.check(pair.process.alive(), "carry has ended")


# ---- over WireGuard ------------------------------------------------------------------------------

class WireguardPair(Cable):
    """A kernel's wireguard device "wg" and ours. Only the one that `begins` knows where the other is.

    Devices are added with tun() and gretap(), then start() starts our end."""

    def __init__(self, s, begins="ours", over=outer, psk=False, other="kernel"):
        run("modprobe", "-a", "wireguard", "ip_gre", "ip6_gre", "tun", "nf_tables")
        super().__init__(s)
        self.begins = begins
        private = {name: run("wg", "genkey").out.strip() for name in ends}
        public = {name: run("wg", "pubkey", input=private[name]).out.strip() for name in ends}
        peer = {"public_key": public["kernel"], "allowed_ips": [f"{tunnel['kernel']}/32", f"{tunnel6['kernel']}/128"]}
        self.config = {"private_key": private["ours"], "port": 51820, "mtu": 1420, "peers": [peer], "links": [],
                       "stamp_file": str(s.folder / "stamps/ours")}
        words = ["private-key", s.file("kernel.key", private["kernel"]), "listen-port", 51820, "peer", public["ours"],
                 "allowed-ips", f"{tunnel['ours']}/32,{tunnel6['ours']}/128"]
        if psk:
            peer["preshared_key"] = run("wg", "genpsk").out.strip()
            words += ["preshared-key", s.file("psk", peer["preshared_key"])]
        where = {name: f"[{over[name]}]:51820" if over is outer6 else f"{over[name]}:51820" for name in ends}
        if begins == "ours":
            peer["endpoint"] = where["kernel"]
        else:
            words += ["endpoint", where["ours"]]
        if other == "kernel":
            self.kernel.ip("link", "add", "wg", "type", "wireguard")
        else:
            self.kernel.run(other, "wg")   # in the background, until its device goes
        self.kernel.run("wg", "set", "wg", *words)
        batch(self.kernel, f"link set wg up\naddress add {tunnel['kernel']}/24 dev wg\n"
                           f"address add {tunnel6['kernel']}/64 dev wg nodad\n")

    def tun(self):
        batch(self.ours, "tuntap add wg mode tun vnet_hdr\nlink set wg mtu 1420 up\n"
                         f"address add {tunnel['ours']}/24 dev wg\naddress add {tunnel6['ours']}/64 dev wg nodad\n")
        self.config["tun"] = "wg"

    def gretap(self, device, ends_at, key, mtu, ipv4, ipv6, words=""):
        kind = "gretap" if ends_at is tunnel else "ip6gretap"
        key_words = f"key {key}" if key is not None else ""
        batch(self.kernel, f"link add {device} type {kind} local {ends_at['kernel']} remote {ends_at['ours']} "
                           f"{key_words} {words}\nlink set {device} mtu {mtu}\n")
        batch(self.ours, f"tuntap add {device} mode tap vnet_hdr\nlink set {device} mtu {mtu}\n")
        self.address(device, ipv4, ipv6)
        link = {"device": device, "local": ends_at["ours"], "remote": ends_at["kernel"]}
        if key is not None:
            link["key"] = key
        self.config["links"].append(link)

    def start(self, *others):
        super().start({"endpoints": [self.config, *others]})

    def change(self):
        super().change({"endpoints": [self.config]})

    def answers(self, node, address):
        return node.run("ping", "-n", "-c", "1", "-W", "2", address, code=None).code == 0

    def handshake(self):
        """When the last one was; 0: never."""
        return int(self.kernel.run("wg", "show", "wg", "latest-handshakes").out.split()[-1])

    def endpoint(self):
        """Where the kernel thinks that we are."""
        return self.kernel.run("wg", "show", "wg", "endpoints").out.split()[-1]


@story("a kernel's ip6gretap with its option of eight bytes, over WireGuard, and ours: sizes, TCP both ways")
def _(s):
    pair = WireguardPair(s, begins="kernel")
    mtu = 1420 - 70   # WireGuard's, less IPv6, GRE, its key, and Ethernet
    pair.gretap("tun", tunnel6, 9, mtu, inner, inner6)
    pair.start()
    pair.ping("kernel", inner, [0, 1, 17, 18, 19, 100, 1200], mtu)
    pair.tcp(inner, inner6)
    s.check(pair.process.alive(), "carry has ended")


for title, begins, psk in sample((("we begin, preshared", "ours", True), ("it begins", "kernel", False))):
    @story(f"wireguard-go and ours, {title}: sizes, TCP both ways, IPv4 and IPv6")
    def _(s, begins=begins, psk=psk):
        pair = WireguardPair(s, begins=begins, other="wireguard-go", psk=psk)
        pair.tun()
        pair.start()
        pair.ping(begins, tunnel, [0, 1, 15, 16, 17, 1379], 1420)
        pair.tcp(tunnel, tunnel6)
        s.check(pair.process.alive(), "carry has ended")


@story("one process carries GUE, and WireGuard with packets and two gretap links, all at once")
def _(s):
    pair = WireguardPair(s)
    second, third = ((addresses(f"10.{n}.0.{{}}"), addresses(f"fd0{n}::{{}}")) for n in (5, 6))
    pair.tun()
    pair.gretap("first", tunnel, 1, 1378, inner, inner6)
    pair.gretap("second", tunnel, 2, 1378, *second)
    pair.start(gue_endpoint(pair, "third", 3, "encap-csum", *third))
    for each in (tunnel, inner, second[0], third[0]):
        pair.meet("ours", each["kernel"])
    pair.tcp(tunnel, inner, second[1], third[1])
    s.check(pair.process.alive(), "carry has ended")


@story("a session begins and lives without a packet, and what its handshake may have used up is on disk first")
def _(s):
    pair = WireguardPair(s)
    pair.config["peers"][0]["persistent_keepalive"] = 1
    pair.tun()
    batch(pair.ours, "link set wg down\n")
    pair.start()

    def received():
        return int(pair.kernel.run("wg", "show", "wg", "transfer").out.split()[1])

    wait_until(pair.handshake, "a handshake")
    kept = (s.folder / "stamps/ours").read_text()
    # TAI64: 2^62 and ten seconds before 1970; ten minutes are reserved at once.
    ahead = int(kept.split(".")[0], 16) - (1 << 62) - 10 - time.time()
    s.check(500 < ahead < 601, f"{ahead} s are reserved")
    for _ in range(3):
        before = received()
        wait_until(lambda before=before: received() > before, "a keepalive", 10)


@story("a kernel's gretap that cuts its packets for WireGuard, and ours: full Ethernet frames both ways")
def _(s):
    pair = WireguardPair(s, begins="kernel")
    pair.gretap("tun", tunnel, 77, 1500, inner, inner6, "nopmtudisc ignore-df")
    pair.start()
    pair.ping("kernel", inner, [0, 1200, 1351, 1352, 1400], 1500)
    pair.tcp(inner, inner6)
    s.check(pair.process.alive(), "carry has ended")


@story("links of a WireGuard endpoint come, change and go while it carries, and its session goes on")
def _(s):
    pair = WireguardPair(s)
    pair.gretap("first", tunnel, 1, 1378, inner, inner6)
    pair.start()
    pair.meet("ours", inner["kernel"])
    began = pair.handshake()

    second = addresses("10.6.0.{}"), addresses("fd06::{}")
    pair.gretap("second", tunnel, 2, 1378, *second)
    pair.change()
    pair.meet("ours", second[0]["kernel"])
    pair.config["links"][1]["key"] = 3
    pair.change()
    s.check(not pair.answers(pair.ours, second[0]["kernel"]), "a link with another key answers")
    pair.config["links"][1]["key"] = 2
    pair.change()
    pair.meet("ours", second[0]["kernel"])
    del pair.config["links"][0]
    pair.tun()
    pair.change()
    pair.meet("ours", tunnel["kernel"])
    s.check(not pair.answers(pair.ours, inner["kernel"]), "a link that is gone answers")
    pair.meet("ours", second[0]["kernel"])
    s.equal(pair.handshake(), began, "the last handshake")
    pair.config["peers"] = []
    pair.change()
    s.check(not pair.answers(pair.ours, second[0]["kernel"]), "a peer that is gone answers")


@story("we are the hub: packets of two kernels' spokes go through our TUN to each other")
def _(s):
    pair = WireguardPair(s, begins="kernel")
    pair.tun()
    spoke = s.namespace("spoke")
    s.veth(spoke, "cable", pair.ours, "other")
    batch(spoke, "address add 10.9.1.1/24 dev cable\nlink add wg type wireguard\n")
    batch(pair.ours, "address add 10.9.1.2/24 dev other\n")
    private = run("wg", "genkey").out.strip()
    ours = run("wg", "pubkey", input=pair.config["private_key"]).out.strip()
    spoke.run("wg", "set", "wg", "private-key", s.file("spoke.key", private), "peer", ours,
              "allowed-ips", "10.7.0.0/24", "endpoint", "10.9.1.2:51820")
    batch(spoke, "link set wg up\naddress add 10.7.0.3/24 dev wg\n")
    peer = pair.kernel.run("wg", "show", "wg", "peers").out.strip()
    pair.kernel.run("wg", "set", "wg", "peer", peer, "allowed-ips", "10.7.0.0/24")
    pair.config["peers"].append({"public_key": run("wg", "pubkey", input=private).out.strip(),
                                 "allowed_ips": ["10.7.0.3/32"]})
    pair.ours.sysctl("net.ipv4.ip_forward", 1)
    pair.start()
    pair.meet("kernel", tunnel["ours"])
    spoke.run("ping", "-n", "-c", "1", "-w", "30", tunnel["ours"])
    spoke.run("ping", "-n", "-c", "3", "-W", "10", "-s", "1392", tunnel["kernel"])
    tcp_each_way(spoke, pair.kernel, tunnel["kernel"], megabytes)
    # A spoke may not speak for another one.
    batch(spoke, "address add 10.7.0.9/24 dev wg\n")
    spoke.run("ping", "-n", "-c", "1", "-W", "2", "-I", "10.7.0.9", tunnel["kernel"], code=1)

    # Its address becomes the other's, and with it what is sent there and what is believed.
    batch(pair.kernel, "address add 10.7.0.3/32 dev wg\n")
    pair.config["peers"][0]["allowed_ips"].append("10.7.0.3/32")
    pair.config["peers"][1]["allowed_ips"] = ["10.7.0.4/32"]
    pair.change()
    pair.meet("ours", "10.7.0.3")
    spoke.run("ping", "-n", "-c", "1", "-W", "2", "-I", "10.7.0.3", tunnel["ours"], code=1)
    received = int(pair.kernel.run("wg", "show", "wg", "transfer").out.split()[1])
    pair.ours.run("ping", "-n", "-c", "1", "-W", "10", "-s", "1000", "10.7.0.3")
    got = int(pair.kernel.run("wg", "show", "wg", "transfer").out.split()[1]) - received
    s.check(got > 1000, f"the other has received {got} bytes")


if long_run:
    @story("a session is renewed under traffic, and nothing is lost")
    def _(s):
        pair = WireguardPair(s)
        pair.tun()
        pair.start()
        pair.meet("ours", tunnel["kernel"])
        began = pair.handshake()
        sent = 0
        while pair.handshake() - began < 119:
            for way in ((pair.ours, pair.kernel, tunnel["kernel"]), (pair.kernel, pair.ours, tunnel["ours"])):
                lost = lost_datagrams(*way, range(1000))
                s.check(not lost, f"after {sent} datagrams {len(lost)} are lost")
                sent += 1000
            s.check(sent < 4_000_000, "the session was not renewed")
        s.note(f"{sent} datagrams")


@story("behind a NAT that forgets in two seconds: reached while keepalives are sent, found again without")
def _(s):
    pair = WireguardPair(s)
    pair.config["peers"][0]["persistent_keepalive"] = 1
    pair.tun()
    run("modprobe", "-a", "nf_conntrack", "nft_chain_nat", "nft_masq")
    # In the same machine: another port outside than that of the socket.
    pair.ours.run("nft", "-f", "-", input="""table ip nat {
        chain out {
            type nat hook postrouting priority srcnat
            udp sport 51820 masquerade to :40000-49999 random
        }
    }""")
    for each in ("timeout", "timeout_stream"):
        pair.ours.sysctl(f"net.netfilter.nf_conntrack_udp_{each}", 2)
    pair.start()
    pair.meet("ours", tunnel["kernel"])
    began, first = pair.handshake(), pair.endpoint()
    s.check(40000 <= int(first.split(":")[1]) <= 49999, f"not translated: {first}")
    time.sleep(5)   # longer than the NAT remembers
    s.check(pair.answers(pair.kernel, tunnel["ours"]), "not reached though keepalives are sent")
    s.equal(pair.endpoint(), first, "the kernel's endpoint of us")

    pair.config["peers"][0]["persistent_keepalive"] = 0
    pair.change()
    time.sleep(5)
    s.check(not pair.answers(pair.kernel, tunnel["ours"]), "the NAT has forgotten nothing")
    pair.meet("ours", tunnel["kernel"])
    s.check(pair.endpoint() != first, "the kernel's endpoint of us has not moved")
    s.check(pair.answers(pair.kernel, tunnel["ours"]), "not reached at the new port")
    s.equal(pair.handshake(), began, "the last handshake")


@story("both ends move to other addresses, and packets follow within one that is sent")
def _(s):
    pair = WireguardPair(s)
    pair.tun()
    pair.start()
    pair.meet("ours", tunnel["kernel"])
    began = pair.handshake()
    batch(pair.ours, "address del 10.9.0.2/24 dev cable\naddress add 10.9.0.20/24 dev cable\n")
    pair.meet("ours", tunnel["kernel"])
    s.contains(pair.endpoint(), "10.9.0.20:", "the kernel's endpoint of us")
    batch(pair.kernel, "address del 10.9.0.1/24 dev cable\naddress add 10.9.0.10/24 dev cable\n")
    pair.meet("kernel", tunnel["ours"])
    pair.meet("ours", tunnel["kernel"])
    s.equal(pair.handshake(), began, "the last handshake")


@story("answers leave from the address that was asked, of several that we have")
def _(s):
    pair = WireguardPair(s, begins="kernel")
    pair.tun()
    batch(pair.ours, "address add 10.9.0.30/24 dev cable\naddress add fd09::30/64 dev cable nodad\n")
    pair.start()
    peer = pair.kernel.run("wg", "show", "wg", "peers").out.strip()
    for asked in ("10.9.0.30:51820", "[fd09::30]:51820", "10.9.0.2:51820"):
        pair.kernel.run("wg", "set", "wg", "peer", peer, "endpoint", asked)
        pair.meet("kernel", tunnel["ours"])
        s.equal(pair.endpoint(), asked, "the kernel's endpoint of us")

    # And from another when that one is gone.
    for asked, family, device in (("10.9.0.30:51820", tunnel, "10.9.0.30/24"),
                                  ("[fd09::30]:51820", tunnel6, "fd09::30/64")):
        pair.kernel.run("wg", "set", "wg", "peer", peer, "endpoint", asked)
        pair.meet("kernel", family["ours"])
        batch(pair.ours, f"address del {device} dev cable\n")
        pair.meet("ours", family["kernel"])
        s.check(pair.endpoint() != asked, f"the kernel's endpoint of us is still {asked}")


@story("congestion that a router signals on the way reaches the frame inside, and only one that can tell")
def _(s):
    pair = WireguardPair(s)
    pair.gretap("tun", tunnel, 77, 1378, inner, inner6)
    pair.start()
    pair.meet("ours", inner["kernel"])

    def traffic_class(packet):
        return packet.frame[15]

    with Capture(pair.kernel, "cable") as cable:
        pair.ours.run("ping", "-n", "-c", "1", "-W", "10", "-Q", "0xb9", inner["kernel"])
        cable.wait(lambda p: p.source == outer["ours"] and traffic_class(p) == 1, "a datagram with ECN, without DSCP")
    pair.ours.run("nft", "-f", "-", input="""table ip router {
        chain in {
            type filter hook prerouting priority -300
            udp dport 51820 ip ecn set ce
        }
    }""")
    for given, expected in ((2, 3), (1, 3), (0, 0)):
        with Capture(pair.ours, "tun") as tun:
            pair.kernel.run("ping", "-n", "-c", "1", "-W", "10", "-Q", str(given), inner["ours"])
            got = tun.wait(lambda p: p.protocol == 1 and p.target == inner["ours"], "the echo request")
            s.equal(traffic_class(got), expected, f"traffic class of a frame that had {given}")


main()
