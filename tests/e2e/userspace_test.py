#!/usr/bin/env python3
"""One end of each link by the kernel, the other by overlayd: the hub alone, the spokes alone. Every pair answers as it
does by kernels, a second apply writes nothing, and nothing is left behind.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import bring_up, hub_in_userspace, spokes_in_userspace   # noqa: E402
from story import main, story   # noqa: E402


@story("home.json: the hub by overlayd, its spokes by their kernels")
def _(s):
    bring_up(s, "home.json", hub_in_userspace, lambda lab: lab.nodes[:1])


@story("home.json: the spokes by overlayd, the hub by its kernel")
def _(s):
    bring_up(s, "home.json", spokes_in_userspace, lambda lab: lab.nodes[1:])


main()
