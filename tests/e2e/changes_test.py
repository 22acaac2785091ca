"""A file that changes while the old one is in force: one apply goes over, the second writes nothing, down leaves
nothing. A few of the pairs of tests/topology/plan_changes_test.cpp, on a real kernel: addresses of one network,
UDP ports and routes that change hands.
"""

import copy
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from drift_network import Network
from kernel_view import view
from story import main, story


def another_address(t):
    t["hub"]["bridge"]["addresses"] = ["192.168.0.2/16", "2001:db8:1::1/56"]
    t["hub"]["wireguard"]["address"] = "10.9.0.254/24"


def swapped_ports(t):
    t["hub"]["gue"]["port"], t["hub"]["wireguard"]["listen_port"] = 23450, 5555


def moved_spoke(t):
    t["spokes"]["office"]["link"]["address"] = "10.9.0.77/24"
    t["spokes"]["office"]["addresses"] = ["192.168.7.2/16"]


def named_link(spoke):
    """The link gets a name, and keeps its key."""
    def change(t):
        link = t["spokes"][spoke].pop("link")
        link.setdefault("private_key_file", "/etc/overlay/drift.key")
        t["spokes"][spoke]["links"] = {"main": link}
    return change


changes = {"hub": [another_address, swapped_ports, named_link("branch")],
           "office": [moved_spoke, named_link("office")],
           "branch": [named_link("branch")]}


@story("a changed file goes over the old one in one apply, there and back, on a hub and on spokes")
def _(s):
    network = Network(s)
    for name, of_node in changes.items():
        site = network.site(name)
        before = view(site)
        old = copy.deepcopy(site.topology)
        site.ctl("apply")
        for change in of_node:
            new = copy.deepcopy(old)
            change(new)
            for topology in (new, old):
                site.write(topology)
                site.ctl("apply")
                site.ctl("diff", code=0)
        site.ctl("down")
        s.equal(view(site), before, f"{name} after down")


main()
