#!/usr/bin/env python3
"""Every file in examples/ comes up: checked, planned for each node, built in the lab; every pair that
should answer does, a second apply on every node writes nothing, and nothing is left behind.

The times printed are of an emulated machine with two processors.
"""

import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab   # noqa: E402
from machine_view import machine   # noqa: E402
from story import main, overlayctl, root, run, story   # noqa: E402

slowest_up = 180   # seconds that `lab up` of the 20-spoke company may take there


def bring_up(s, name):
    before = machine()
    lab = Lab(s, name)
    run(overlayctl, "validate", lab.file)
    s.at_end(lambda: lab("down", code=None))
    up = lab("up", "--keys", lab.keys)
    up_seconds = lab.seconds["up"]

    failed, count = lab.unanswered()
    s.equal("\n".join(failed), "", f"pairs of {name} that do not answer")
    s.check(count >= 2, f"only {count} pairs are expected to answer")

    began = time.monotonic()
    for node in lab.nodes:
        again = lab.apply_again(node)
        s.contains(again.out, "0 changes, 0 writes", f"second apply on {node}")
        for doubt in ("interface .* is not there", "is not an address of this node"):
            s.check(not re.search(doubt, again.out), f"{node} is as its file has it, yet:\n{again.out}")
    again_seconds = time.monotonic() - began

    lab("down")
    s.equal(machine(), before, "namespaces, links and daemons after down")
    s.check(up_seconds <= slowest_up, f"up took {up_seconds:.0f} s\n{up.out}")
    print(f"   {name}: {len(lab.nodes)} nodes, up {up_seconds:.0f} s; {count} pairs answer, whole, "
          f"{lab.seconds['ping']:.0f} s; second apply on each {again_seconds:.0f} s, 0 writes; "
          f"down {lab.seconds['down']:.0f} s")


for example in sorted(path.name for path in (root / "examples").glob("*.json")):
    story(f"{example} comes up, answers, settles and goes")(lambda s, name=example: bring_up(s, name))

main()
