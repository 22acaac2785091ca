"""The machine that a node of a topology runs on: its uplink, its LAN bridge, its key files.

Everything that the file borrows (uplinks, existing bridges) is made by hand with `ip`, as it would be found on
a machine that has never seen us. What a node names beyond that (its own links) is overlayctl's to make.
"""

import json
import pathlib
import re
import shlex
import subprocess

from story import Failure, Result, overlayctl


def load(path):
    """A topology: JSON with comments that stand on lines of their own."""
    text = pathlib.Path(path).read_text()
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", text))


def nodes(topology):
    return {topology["hub"]["name"]: topology["hub"], **topology["spokes"]}


def links_of(node):
    if "links" in node:
        return node["links"]
    return {"": node["link"]} if "link" in node else {}


class Shell:
    """A shell that stays: under emulation, `ip netns exec` for each command would cost more than the command."""

    def __init__(self, story, namespace):
        self.out, self.err = story.folder / f"{namespace.name}.out", story.folder / f"{namespace.name}.err"
        self.process = subprocess.Popen(namespace.argv("sh"), stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, start_new_session=True)
        story.at_end(self.end)

    def run(self, command, code=0):
        """Runs shell text to its end, or to its first failure; the Result."""
        self.process.stdin.write(f"( set -e\n{command}\n) </dev/null >{self.out} 2>{self.err}; echo $?\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Failure(f"the shell died of: {command}")
        result = Result([command], int(answer), self.out.read_text(errors="replace"),
                        self.err.read_text(errors="replace"))
        if code is not None and result.code != code:
            raise Failure(f"exit code {result.code} instead of {code}\n{result}")
        return result

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(5)


class Site:
    """A namespace with what one node needs, and overlayctl with directories of its own. `apart`: a word that
    tells it from other machines of the same node."""

    def __init__(self, story, topology, name, path=None, apart=""):
        self.story, self.topology, self.name = story, topology, name
        self.node = nodes(topology)[name]
        called = f"{topology['network']}-{name}" + (f"-{apart}" if apart else "")
        self.folder = story.folder / called
        self.folder.mkdir()
        self.path = path or self.write(topology)
        self.namespace = story.namespace(called[:40])
        self.sh = Shell(story, self.namespace).run
        # "tentative" lasts too long under emulation.
        self.sh("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad\nip -batch - <<END\n" +
                "\n".join(self.uplink_commands() + self.lan_commands()) + "\nEND")

    def write(self, topology, name="topology.json"):
        path = self.folder / name
        path.write_text(json.dumps(topology, indent=2))
        return path

    def uplink_commands(self):
        underlay = self.node.get("underlay", {})
        uplink = underlay.get("interface", "eth0")
        addresses = list(underlay.get("addresses", []))
        addresses += [link["local"] for link in links_of(self.node).values() if "local" in link]
        if not any("." in each for each in addresses):
            addresses.append("192.168.7.9")
        # Its other end stays here, too, so that there is a carrier. MACs of hardware do not change.
        commands = [f"link add {uplink} address 00:00:5e:00:53:01 type veth peer name far-end "
                    "address 00:00:5e:00:53:02", "link set far-end up",
                    f"link set {uplink} up"]
        for address in addresses:
            family = 4 if "." in address else 6
            commands.append(f"address add {address}/{24 if family == 4 else 64} dev {uplink}")
            usual = address.rsplit(".", 1)[0] + ".254" if family == 4 else "fe80::1"
            stated = [each for each in underlay.get("gateways", []) if ("." in each) == (family == 4)]
            commands.append(f"route replace default via {(stated or [usual])[0]} dev {uplink}")
        return commands

    def lan_commands(self):
        bridge = self.node.get("bridge", {})
        commands = [f"link add {port} type dummy" for port in bridge.get("ports", [])]
        if bridge.get("existing"):
            name = bridge["name"]
            commands += [f"link add {name} type bridge", "link add lan0 address 00:00:5e:00:53:03 type dummy",
                         f"link set lan0 master {name} up", f"link set {name} up"]
        return commands

    def place_keys(self, keys):
        """Copies this node's keys from the folder `keys` to where the topology says, for us alone."""
        if "wireguard" in self.node:
            place(keys / f"{self.name}.key", self.path.parent / self.node["wireguard"].get(
                "private_key_file", f"/etc/overlay/{self.topology['network']}.key"))
        for id, link in links_of(self.node).items():
            source = keys / (f"{self.name}.{id}.key" if id else f"{self.name}.key")
            if link["type"] != "gretap-gue" and source.exists():
                place(source, self.path.parent / link.get(
                    "private_key_file",
                    f"/etc/overlay/{self.topology['network']}{'.' + id if id else ''}.key"))

    def argv(self, verb, *options):
        directories = ["--state-dir", self.folder / "state", "--run-dir", self.folder / "run"]
        file = [self.path, "--node", self.name] if verb in ("diff", "apply") else []
        return [str(each) for each in (overlayctl, verb, *file, *directories, *options)]

    def ctl(self, verb, *options, code=0):
        return self.sh(shlex.join(self.argv(verb, *options)), code)


def place(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)
