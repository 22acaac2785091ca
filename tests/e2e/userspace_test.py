#!/usr/bin/env python3
"""Networks whose packets overlayd carries, on a kernel that could: all of it, the hub alone, the spokes alone. Every
pair answers as it does by the kernel, a second apply writes nothing, and nothing is left behind.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab   # noqa: E402
from machine_view import machine   # noqa: E402
from site_of_node import links_of   # noqa: E402
from story import main, overlayctl, story   # noqa: E402


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


def links_by_kind(lab, node):
    """{kind: count} of what `status` says of a node."""
    directory = lab.state / lab.network / node
    told = lab("exec", node, "--", overlayctl, "status", "--json", "--state-dir", directory / "state",
               "--run-dir", directory / "run").json()
    kinds = {}
    for link in told["networks"][0]["links"]:
        kinds[link["kind"]] = kinds.get(link["kind"], 0) + 1
    return kinds


def bring_up(s, name, change, carried):
    """`carried`: nodes all of whose tunnels must be overlayd's."""
    before = machine()
    lab = Lab(s, name, change)
    s.at_end(lambda: lab("down", code=None))
    lab("up", "--keys", lab.keys)
    failed, count = lab.unanswered()
    s.equal("\n".join(failed), "", f"pairs of {name} that do not answer")
    for node in carried(lab):
        kinds = links_by_kind(lab, node)
        s.equal({kind for kind in kinds if "gretap" in kind or kind == "wireguard"}, set(),
                f"what the kernel carries at {node}")
        s.check(kinds.get("tap", 0) + kinds.get("tun", 0) >= 1, f"nothing is carried at {node}: {kinds}")
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
