#!/usr/bin/env python3
"""Every file in examples/ comes up: checked, planned for each node, built in the lab; every pair that
should answer does, a second apply on every node writes nothing, and nothing is left behind.

The times printed are of an emulated machine with two processors.
"""

import json
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from machine_view import machine   # noqa: E402
from story import main, overlayctl, root, run, story   # noqa: E402

given_keys = root / "tests/support/keys"   # of the examples; git keeps no mode 0600
patience = 300     # seconds for one command: an emulated processor on a loaded machine
slowest_up = 180   # what `lab up` of the 20-spoke company may take there


def content_of(file):
    """Comments stand on lines of their own in the examples."""
    return json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))


class Lab:
    """One example in the lab, with the key pairs that its public keys belong to."""

    def __init__(self, s, name):
        self.s, self.file, self.state = s, root / "examples" / name, s.folder / "labs"
        content = content_of(self.file)
        self.network = content["network"]
        self.nodes = [content["hub"]["name"], *content["spokes"]]
        self.keys = s.folder / "keys"
        for key in (given_keys / name.removesuffix(".json")).iterdir():
            s.file(f"keys/{key.name}", key.read_text()).chmod(0o600)
        self.seconds = {}

    def __call__(self, verb, *words, code=0):
        began = time.monotonic()
        state = [f"--state={self.state}"]
        if verb == "exec":   # what stands behind -- is not ours
            state, words = [words[0], *state], words[1:]
        result = run(overlayctl, "lab", verb, self.file, *state, *words, code=code, timeout=patience)
        self.seconds[verb] = time.monotonic() - began
        return result

    def apply_again(self, node):
        """The installed program on that node, with the lab's own state of it."""
        directory = self.state / self.network / node
        return self("exec", node, "--", overlayctl, "apply", self.file_for(node), "--node", node,
                    "--state-dir", directory / "state", "--run-dir", directory / "run")

    def file_for(self, node):
        """The example beside the node's keys, each where the file says that it is."""
        content = content_of(self.file)
        if "wireguard" in content["hub"]:
            content["hub"]["wireguard"]["private_key_file"] = str(self.keys / f"{self.nodes[0]}.key")
        for name, spoke in content["spokes"].items():
            links = {"": spoke["link"]} if "link" in spoke else spoke["links"]
            for id, link in links.items():
                if link["type"] != "gretap-gue":
                    key = f"{name}.{id}.key" if id else f"{name}.key"
                    link["private_key_file"] = str(self.keys / key)
        return self.s.file(f"as-{node}.json", content)


def bring_up(s, name):
    before = machine()
    lab = Lab(s, name)
    run(overlayctl, "validate", lab.file)
    s.at_end(lambda: lab("down", code=None))
    up = lab("up", "--keys", lab.keys)
    up_seconds = lab.seconds["up"]

    result = lab("ping", "--json", "--timeout", "90", code=None)
    pairs = [each for each in result.json()["pairs"] if each["expected"]]
    failed = [json.dumps(each) for each in pairs
              if not (each["answers"] and each["full_mtu_answers"])]
    s.equal("\n".join(failed), "", f"pairs of {name} that do not answer")
    s.equal(result.code, 0, f"exit code of lab ping\n{result.err}")
    s.check(len(pairs) >= 2, f"only {len(pairs)} pairs are expected to answer")

    began = time.monotonic()
    for node in lab.nodes:
        again = lab.apply_again(node)
        s.contains(again.out, "0 changes, 0 writes", f"second apply on {node}")
    again_seconds = time.monotonic() - began

    lab("down")
    s.equal(machine(), before, "namespaces, links and daemons after down")
    s.check(up_seconds <= slowest_up, f"up took {up_seconds:.0f} s\n{up.out}")
    print(f"   {name}: {len(lab.nodes)} nodes, up {up_seconds:.0f} s; {len(pairs)} pairs answer, whole, "
          f"{lab.seconds['ping']:.0f} s; second apply on each {again_seconds:.0f} s, 0 writes; "
          f"down {lab.seconds['down']:.0f} s")


for example in sorted(path.name for path in (root / "examples").glob("*.json")):
    story(f"{example} comes up, answers, settles and goes")(lambda s, name=example: bring_up(s, name))

main()
