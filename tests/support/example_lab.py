"""An example in the lab of overlayctl, as its user brings it up: with the key pairs that its public keys belong to."""

import json
import re
import time

from kernel_view import fallback_devices
from machine_view import machine
from site_of_node import links_of
from story import overlayctl, root, run

given_keys = root / "tests/support/keys"   # of the examples; git keeps no mode 0600
patience = 300     # seconds for one command: an emulated processor on a loaded machine


def content_of(file):
    """Comments stand on lines of their own in the examples."""
    return json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))


class Lab:
    """`change`: what is done to the file's content before it is brought up."""

    def __init__(self, s, name, change=None):
        self.s, self.file, self.state = s, root / "examples" / name, s.folder / "labs"
        content = content_of(self.file)
        if change:
            change(content)
            self.file = s.file("changed.json", content)
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

    def unanswered(self):
        """Pings; the pairs that should have answered, with full MTU, and how many there are."""
        result = self("ping", "--json", "--timeout", "90", code=None)
        pairs = [each for each in result.json()["pairs"] if each["expected"]]
        failed = [json.dumps(each) for each in pairs if not (each["answers"] and each["full_mtu_answers"])]
        self.s.equal(result.code, 1 if failed else 0, f"exit code of lab ping\n{result.err}")
        return failed, len(pairs)


# ---- carried by overlayd -----------------------------------------------------------------------------


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
