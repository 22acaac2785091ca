"""A hub and one spoke on a cable, each end by its kernel or by overlayd as asked, made by overlayctl from one file."""

import dataclasses

from network import Capture, batch
from story import overlayctl, run, wait_until

ends = ("hub", "spoke")
outer = {4: {"hub": "10.9.0.1", "spoke": "10.9.0.2"}, 6: {"hub": "fd09::1", "spoke": "fd09::2"}}
inner = {4: {"hub": "10.8.0.1", "spoke": "10.8.0.2"}, 6: {"hub": "fd08::1", "spoke": "fd08::2"}}
broadcast, prefix = "10.8.0.255", "fd08::/64"
tunnel = {4: {"hub": "10.7.0.1", "spoke": "10.7.0.2"}, 6: {"hub": "fd07::1", "spoke": "fd07::2"}}   # below a gretap
lengths = {4: 24, 6: 64}
kernel_kinds = {"gretap", "ip6gretap", "wireguard"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """`key`: of GRE; `checksum`: of UDP around GUE. `inside`: family between the ends of a gretap in WireGuard."""
    type: str
    family: int
    hub: str
    spoke: str
    key: bool = True
    checksum: bool = True
    psk: bool = False
    inside: int = 4

    @property
    def ethernet(self):
        return self.type != "wireguard"

    @property
    def over_wireguard(self):
        return self.type != "gretap-gue"

    def by(self, end):
        return getattr(self, end)


class PairNetwork:
    """Up when it is made; `device`: what both ends' addresses are on."""

    def __init__(self, s, pair):
        self.s, self.pair = s, pair
        self.hub, self.spoke = s.namespace("hub"), s.namespace("spoke")
        s.veth(self.hub, "eth0", self.spoke, "eth0")
        for end in ends:
            batch(self.at(end), "".join(f"address add {outer[family][end]}/{lengths[family]} dev eth0"
                                        f"{' nodad' if family == 6 else ''}\n" for family in (4, 6)))
            self.at(end).sysctl("net.ipv6.conf.default.accept_dad", 0)   # it lasts too long under emulation
        self.file = s.file("pair.json", self.content())
        self.device = {end: "br-pair" if pair.ethernet else f"wg-{end}" for end in ends}
        for end in ends:
            self.at(end).run(overlayctl, "apply", self.file, "--node", end, "--state-dir", s.folder / end / "state",
                             "--run-dir", s.folder / end / "run")
        self.check_who_carries()

    def at(self, end):
        return getattr(self, end)

    def mtu(self):
        """Of the device that everything is sent by, which must be the same at both ends."""
        found = {end: self.at(end).ip_json("link", "show", self.device[end])[0]["mtu"] for end in ends}
        self.s.equal(found["spoke"], found["hub"], "MTU of the spoke")
        return found["hub"]

    def content(self):
        pair = self.pair
        hub = {"name": "hub", "underlay": {"interface": "eth0", "addresses": [outer[family]["hub"] for family in (4, 6)]}}
        link = {"type": pair.type, "underlay": f"ipv{pair.family}", "datapath": pair.spoke}
        spoke = {"link": link}
        if pair.ethernet:
            for end, node in (("hub", hub), ("spoke", spoke)):
                node["bridge"] = {"name": "br-pair", "addresses": self.prefixes(inner, end, 4, 6)}
            hub["forwarding"] = ["ipv6"]
            hub["router_advertisement"] = {"prefixes": [{"prefix": prefix}], "max_interval": 4}
        if pair.over_wireguard:
            inside = (inner, 4, 6) if not pair.ethernet else (tunnel, pair.inside)
            hub["wireguard"] = {"interface": "wg-hub", "address": self.prefixes(inside[0], "hub", *inside[1:]),
                                "datapath": pair.hub, **self.key("hub")}
            link |= {"address": self.prefixes(inside[0], "spoke", *inside[1:]), **self.key("spoke")}
            if not pair.ethernet:
                link["interface"] = "wg-spoke"
            if pair.psk:
                self.s.file("psk", run("wg", "genpsk").out).chmod(0o600)
                link["preshared_key_file"] = "psk"
        else:
            hub["gue"] = {"port": 5555, "datapath": pair.hub}
            link["local"] = outer[pair.family]["spoke"]
            if not pair.checksum and pair.family == 4:
                link["udp_checksum"] = False
        if not pair.key:
            link["key"] = "none"
        return {"version": 1, "network": "pair", "hub": hub, "spokes": {"spoke": spoke}}

    def prefixes(self, addresses, end, *families):
        return [f"{addresses[family][end]}/{lengths[family]}" for family in families]

    def key(self, end):
        private = run("wg", "genkey").out
        self.s.file(f"{end}.key", private).chmod(0o600)
        return {"private_key_file": f"{end}.key", "public_key": run("wg", "pubkey", input=private).out.strip()}

    def check_who_carries(self):
        for end in ends:
            kinds = {each.get("linkinfo", {}).get("info_kind") for each in self.at(end).ip_json("link", "show")
                     if each.get("ifalias", "").startswith("overlay:")}
            by_kernel = kinds & kernel_kinds
            self.s.equal((bool(by_kernel), "tun" in kinds),
                         (self.pair.by(end) == "kernel", self.pair.by(end) == "userspace"),
                         f"whether the kernel carries at the {end}, and overlayd: {kinds}")

    def without_checksums(self):
        """The file has UDP checksums over IPv6; who tunnels by hand may do without (RFC 6935)."""
        for end, device in (("hub", "gt-spoke"), ("spoke", "gt-hub")):
            if self.pair.by(end) == "kernel":
                mtu = self.at(end).ip_json("link", "show", device)[0]["mtu"]
                # iproute2 6.1 turns the bytes of ports around that are not stated again.
                batch(self.at(end), f"link set {device} type ip6gretap encap-sport 5555 encap-dport 5555 "
                                    f"noencap-udp6-csum\nlink set {device} mtu {mtu}\n")
