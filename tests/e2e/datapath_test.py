"""The userspace data path against a kernel's gretap over GUE and over WireGuard, and against its WireGuard alone:
neither can tell what the other is.

The hub is built by hand with `ip` and `wg`; the spoke has TAP and TUN devices that `carry` (tests/bench/datapath)
reads.
"""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from network import batch, tcp_each_way
from story import main, run, story, wait_until

carry = pathlib.Path(os.environ["OVERLAY_BUILD"]) / "tests/carry"
ends = ("kernel", "ours")


def addresses(pattern):
    return {name: pattern.format(number) for number, name in enumerate(ends, 1)}


outer, outer6 = addresses("10.9.0.{}"), addresses("fd09::{}")
tunnel, tunnel6 = addresses("10.7.0.{}"), addresses("fd07::{}")   # of the WireGuard devices
inner, inner6 = addresses("10.8.0.{}"), addresses("fd08::{}")     # of the gretap devices


class Cable:
    """A kernel and us, joined by a cable with addresses of both families."""

    def __init__(self, s):
        self.kernel, self.ours = s.namespace("kernel"), s.namespace("ours")
        s.veth(self.kernel, "cable", self.ours, "cable")
        for name in ends:
            batch(self.node(name), f"address add {outer[name]}/24 dev cable\n"
                                   f"address add {outer6[name]}/64 dev cable nodad\n")

    def node(self, name):
        return getattr(self, name)

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
                self.node(name).run("ping", "-n", "-c", "1", "-W", "10", "-M", "do", "-s", str(size),
                                    ipv4[other[name]])
        self.ours.run("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(largest + 1), ipv4["kernel"],
                      code=1)

    def tcp(self, *families):
        for each in families:
            tcp_each_way(self.ours, self.kernel, each["kernel"], 10)
            tcp_each_way(self.kernel, self.ours, each["ours"], 10)


# ---- gretap over GUE -----------------------------------------------------------------------------

class GuePair(Cable):
    """`key`: GRE key or None; `csum`: what the kernel's end does with UDP."""

    def __init__(self, s, key, csum):
        run("modprobe", "-a", "fou", "ip_gre", "tun")
        super().__init__(s)
        words = f"key {key}" if key is not None else ""
        batch(self.kernel, f"fou add port 5555 gue\nlink add tun type gretap local {outer['kernel']} "
              f"remote {outer['ours']} {words} encap gue encap-sport 5555 encap-dport 5555 {csum}\n")
        batch(self.ours, "tuntap add tun mode tap vnet_hdr\nlink set tun mtu 1446\n")
        self.address("tun", inner, inner6)
        link = {"device": "tun", "remote": outer["kernel"], "remote_port": 5555}
        if key is not None:
            link["key"] = key
        config = s.file("carry.json", {"endpoints": [{"local": outer["ours"], "port": 5555,
                                                      "links": [link]}]})
        self.process = s.start(*self.ours.argv(carry, config))


for title, key, csum in (("with a key and UDP checksums", 77, "encap-csum"),
                         ("with a key, without UDP checksums", 77, "noencap-csum"),
                         ("without a key", None, "encap-csum"),
                         ("with remote checksum offload", 5, "encap-remcsum")):
    @story(f"a kernel's gretap over GUE and ours, {title}: every size, TCP both ways, IPv4 and IPv6")
    def _(s, key=key, csum=csum):
        pair = GuePair(s, key, csum)
        # What lies around the smallest Ethernet frame, and the largest that fits.
        pair.ping("ours", inner, [0, 1, 17, 18, 19, 100, 1399], 1446)
        pair.tcp(inner, inner6)
        s.check(pair.process.alive(), "carry has ended")
        s.note("9 sizes both ways, 10 MB each way and family, from both ends")


# ---- over WireGuard ------------------------------------------------------------------------------

class WireguardPair(Cable):
    """A kernel's wireguard device "wg" and ours. Only the one that `begins` knows where the other is.

    Devices are added with tun() and gretap(), then start() starts our end."""

    def __init__(self, s, begins="ours", over=outer, psk=False):
        run("modprobe", "-a", "wireguard", "ip_gre", "ip6_gre", "tun")
        super().__init__(s)
        self.s, self.begins = s, begins
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
        self.kernel.ip("link", "add", "wg", "type", "wireguard")
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

    def start(self):
        config = self.s.file("carry.json", {"endpoints": [self.config]})
        self.process = self.s.start(*self.ours.argv(carry, config))

    def handshakes(self):
        return int(self.kernel.run("wg", "show", "wg", "latest-handshakes").out.split()[-1])


# WireGuard's MTU less IP, GRE, its key, and Ethernet; Linux's ip6gretap adds an option of eight bytes.
for title, options, link in (
        ("we begin, with a key", {"begins": "ours"}, (tunnel, 77, 1420 - 42)),
        ("the kernel begins, without a key, preshared", {"begins": "kernel", "psk": True}, (tunnel, None, 1420 - 38)),
        ("we begin, over IPv6, preshared", {"begins": "ours", "over": outer6, "psk": True}, (tunnel, 7, 1420 - 42)),
        ("the kernel begins, between IPv6 tunnel addresses", {"begins": "kernel"}, (tunnel6, 9, 1420 - 70)),
        ("the kernel begins, IPv6 over IPv6, without a key", {"begins": "kernel", "over": outer6},
         (tunnel6, None, 1420 - 66))):
    @story(f"a kernel's gretap over WireGuard and ours, {title}: every size, TCP both ways, IPv4 and IPv6")
    def _(s, options=options, link=link):
        pair = WireguardPair(s, **options)
        pair.gretap("tun", *link, inner, inner6)
        pair.start()
        pair.ping(pair.begins, inner, [0, 1, 17, 18, 19, 100, 1200], link[2])
        pair.tcp(inner, inner6)
        s.check(pair.handshakes() > 0, "no handshake")
        s.check(pair.process.alive(), "carry has ended")
        s.note("9 sizes both ways, 10 MB each way and family, from both ends")


for title, options in (("we begin", {"begins": "ours"}),
                       ("the kernel begins, over IPv6, preshared",
                        {"begins": "kernel", "over": outer6, "psk": True})):
    @story(f"a kernel's WireGuard and ours, {title}: every size, TCP both ways, IPv4 and IPv6")
    def _(s, options=options):
        pair = WireguardPair(s, **options)
        pair.tun()
        pair.start()
        pair.ping(pair.begins, tunnel, [0, 1, 15, 16, 17, 1379], 1420)
        pair.tcp(tunnel, tunnel6)
        s.check(pair.process.alive(), "carry has ended")


@story("one WireGuard port carries packets and two gretap links at once")
def _(s):
    pair = WireguardPair(s)
    second = addresses("10.6.0.{}"), addresses("fd06::{}")
    pair.tun()
    pair.gretap("first", tunnel, 1, 1378, inner, inner6)
    pair.gretap("second", tunnel, 2, 1378, *second)
    pair.start()
    for each in (tunnel, inner, second[0]):
        pair.meet("ours", each["kernel"])
    pair.tcp(tunnel, inner, second[1])
    s.check(pair.process.alive(), "carry has ended")


@story("a kernel's gretap that cuts its packets for WireGuard, and ours: full Ethernet frames both ways")
def _(s):
    pair = WireguardPair(s, begins="kernel")
    pair.gretap("tun", tunnel, 77, 1500, inner, inner6, "nopmtudisc ignore-df")
    pair.start()
    pair.ping("kernel", inner, [0, 1200, 1351, 1352, 1400], 1500)
    pair.tcp(inner, inner6)
    s.check(pair.process.alive(), "carry has ended")


main()
