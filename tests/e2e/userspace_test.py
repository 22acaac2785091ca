#!/usr/bin/env python3
"""Networks whose packets overlayd carries, on a kernel that could: all of it, the hub alone, the spokes alone. Every
pair answers as it does by the kernel, a second apply writes nothing, and nothing is left behind.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab   # noqa: E402
from machine_view import machine   # noqa: E402
from kernel_view import fallback_devices   # noqa: E402
from site_of_node import links_of   # noqa: E402
from story import main, story   # noqa: E402


def hub_in_userspace(content):
    for endpoint in ("gue", "wireguard"):
        if endpoint in content["hub"]:
            content["hub"][endpoint]["datapath"] = "userspace"


def spokes_in_userspace(content):
    for spoke in content["spokes"].values():
        for link in links_of(spoke).values():
            link["datapath"] = "userspace"


def all_in_userspace(content):
    hub_in_userspace(content)
    spokes_in_userspace(content)


def kinds_at(lab, node):
    """What `ip` calls the links of a node."""
    links = lab("exec", node, "--", "ip", "-j", "-d", "link", "show").json()
    return [each.get("linkinfo", {}).get("info_kind") for each in links
            if each["ifname"] not in fallback_devices]


def bring_up(s, name, change, carried):
    """`carried`: nodes all of whose tunnels must be overlayd's."""
    before = machine()
    lab = Lab(s, name, change)
    s.at_end(lambda: lab("down", code=None))
    lab("up", "--keys", lab.keys)
    failed, count = lab.unanswered()
    s.equal("\n".join(failed), "", f"pairs of {name} that do not answer")
    for node in carried(lab):
        kinds = kinds_at(lab, node)
        s.equal([kind for kind in kinds if kind in ("gretap", "ip6gretap", "wireguard")], [],
                f"what the kernel carries at {node}")
        s.check("tun" in kinds, f"overlayd carries nothing at {node}: {kinds}")
    for node in lab.nodes:
        again = lab.apply_again(node)
        s.contains(again.out, "0 changes, 0 writes", f"second apply on {node}")
    lab("down")
    s.equal(machine(), before, "namespaces, links and daemons after down")
    s.note(f"{count} pairs")


for example in ("home.json", "dual-stack.json", "smallest.json"):
    @story(f"{example}: all of it by overlayd")
    def _(s, example=example):
        bring_up(s, example, all_in_userspace, lambda lab: lab.nodes)


@story("home.json: the hub by overlayd, its spokes by their kernels")
def _(s):
    bring_up(s, "home.json", hub_in_userspace, lambda lab: lab.nodes[:1])


@story("home.json: the spokes by overlayd, the hub by its kernel")
def _(s):
    bring_up(s, "home.json", spokes_in_userspace, lambda lab: lab.nodes[1:])


main()
