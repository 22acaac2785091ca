"""The userspace data path against a kernel's gretap over GUE: neither can tell what the other is.

The hub is built by hand with `ip`; the spoke has a TAP device that `carry` (tests/bench/datapath) reads.
"""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from network import batch, tcp_each_way
from story import main, run, story

carry = pathlib.Path(os.environ["OVERLAY_BUILD"]) / "tests/carry"
outer = {"kernel": "10.9.0.1", "ours": "10.9.0.2"}
inner = {"kernel": "10.8.0.1", "ours": "10.8.0.2"}
inner6 = {"kernel": "fd08::1", "ours": "fd08::2"}


class Pair:
    """A kernel and us, joined by a cable; `key`: GRE key or None; `csum`: what the kernel's end does with UDP."""

    def __init__(self, s, key, csum):
        run("modprobe", "-a", "fou", "ip_gre", "tun")
        self.kernel, self.ours = s.namespace("kernel"), s.namespace("ours")
        s.veth(self.kernel, "cable", self.ours, "cable")
        for name, node in (("kernel", self.kernel), ("ours", self.ours)):
            batch(node, f"address add {outer[name]}/24 dev cable\n")
        words = f"key {key}" if key is not None else ""
        batch(self.kernel, f"fou add port 5555 gue\nlink add tun type gretap local {outer['kernel']} "
              f"remote {outer['ours']} {words} encap gue encap-sport 5555 encap-dport 5555 {csum}\n")
        batch(self.ours, "tuntap add tun mode tap vnet_hdr\nlink set tun mtu 1446\n")
        for name, node in (("kernel", self.kernel), ("ours", self.ours)):
            batch(node, f"link set tun up\naddress add {inner[name]}/24 dev tun\n"
                        f"address add {inner6[name]}/64 dev tun nodad\n")
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
        pair = Pair(s, key, csum)
        pair.ours.run("ping", "-n", "-c", "1", "-w", "30", inner["kernel"])   # until the device is read
        # The largest that fits, and what lies around the smallest Ethernet frame.
        sizes = [0, 1, 17, 18, 19, 100, 1399, 1417, 1418]
        for size in sizes:
            pair.ours.run("ping", "-n", "-c", "1", "-W", "10", "-M", "do", "-s", str(size), inner["kernel"])
            pair.kernel.run("ping", "-n", "-c", "1", "-W", "10", "-s", str(size), inner["ours"])
        pair.ours.run("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1419", inner["kernel"], code=1)
        for addresses in (inner, inner6):
            tcp_each_way(pair.ours, pair.kernel, addresses["kernel"], 10)
            tcp_each_way(pair.kernel, pair.ours, addresses["ours"], 10)
        s.check(pair.process.alive(), "carry has ended")
        s.note(f"{len(sizes)} sizes both ways, 10 MB each way and family, from both ends")


main()
