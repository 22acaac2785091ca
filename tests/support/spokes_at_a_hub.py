"""A hub whose bridge joins its spokes, all of it carried by overlayd: gretap over GUE, and gretap in WireGuard.

The run directories are longer than a unix socket's address.
"""

import json
import os
import socket

from network import batch, tcp_each_way
from story import overlayctl, run, wait_until

inner = {"hub": "10.8.0.1", "gue": "10.8.0.2", "wg": "10.8.0.3", "gue2": "10.8.0.4", "gue3": "10.8.0.5"}


class Network:
    """Of these spokes, each of the kind that its name begins with."""

    def __init__(self, s, *spokes):
        self.s, self.spokes, self.nodes = s, spokes, ("hub", *spokes)
        self.node = {name: s.namespace(name) for name in self.nodes}
        self.public_key = {}
        for name in self.nodes:
            private = run("wg", "genkey").out
            s.file(f"{name}.key", private).chmod(0o600)
            self.public_key[name] = run("wg", "pubkey", input=private).out.strip()
        hub = self.node["hub"]
        batch(hub, "address add 203.0.113.1/32 dev lo\n")
        for number, name in enumerate(spokes, 1):
            s.veth(hub, name, self.node[name], "eth0")
            batch(hub, f"address add 10.9.{number}.1/24 dev {name}\n")
            batch(self.node[name], f"address add 10.9.{number}.2/24 dev eth0\nroute add default via 10.9.{number}.1\n")
        self.write_file(*spokes)
        s.at_end(lambda: [self.end_overlayd(name) for name in self.nodes])

    def write_file(self, *spokes):
        """The topology, with these of the spokes."""
        self.file = self.s.file("topology.json", {
            "version": 1, "network": "offloads",
            "hub": {"name": "hub", "underlay": {"addresses": ["203.0.113.1"]},
                    "bridge": {"name": "br", "addresses": [f"{inner['hub']}/24"]},
                    "gue": {"port": 5555, "datapath": "userspace"},
                    "wireguard": {"listen_port": 51820, "address": "172.16.0.1/24", "datapath": "userspace",
                                  "private_key_file": "hub.key", "public_key": self.public_key["hub"]}},
            "spokes": {name: {"link": self.link(name), "addresses": [f"{inner[name]}/24"]} for name in spokes}})

    def link(self, name):
        number = self.spokes.index(name) + 1
        if name.startswith("gue"):
            return {"type": "gretap-gue", "local": f"10.9.{number}.2", "datapath": "userspace"}
        return {"type": "gretap-wireguard", "address": f"172.16.0.{number + 1}/24", "datapath": "userspace",
                "private_key_file": f"{name}.key", "public_key": self.public_key[name]}

    # ---- its nodes -------------------------------------------------------------------------------

    def directories(self, name):
        directory = self.s.folder / name.ljust(108, "-")
        return ["--state-dir", directory / "state", "--run-dir", directory / "run"]

    def log(self, name):
        return (self.directories(name)[-1] / "overlayd.log").read_text()

    def apply(self, name, config=None, code=0):
        """`config`: what /etc/overlay/overlayd.conf says."""
        command = [overlayctl, "apply", self.file, "--node", name, *self.directories(name)]
        if config is not None:
            self.s.file("etc/overlay/overlayd.conf", config)
            mount = f"mount -t overlay -o lowerdir={self.s.folder}/etc:/etc none /etc"
            command = ["unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh", *command]
        return self.node[name].run(*command, code=code)

    def status(self, name):
        """Links of a node by name."""
        told = self.node[name].run(overlayctl, "status", "--json", *self.directories(name)).json()
        return {link["name"]: link for link in told["networks"][0]["links"]}

    def offloads(self, name):
        return {link: told["overlayd_offloads"] for link, told in self.status(name).items() if "overlayd_offloads" in told}

    def counters(self, name):
        """By link, what overlayd has counted itself."""
        folder = os.open(self.directories(name)[-1], os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"/proc/self/fd/{folder}/control.sock")
                client.sendall(b"counters 0\n")
                return json.loads(client.recv(1 << 20).decode().partition("\n")[2])
        finally:
            os.close(folder)

    def pids(self, name):
        """The supervisor, and its worker."""
        return run("pgrep", "-r", "D,R,S", "-f", f"overlayd .*{self.directories(name)[-1]}", code=None).out.split()

    def end_overlayd(self, name):
        for pid in self.pids(name):
            run("kill", "-KILL", pid, code=None)
        wait_until(lambda: not self.pids(name), f"overlayd of {name} is gone")

    # ---- all of it -------------------------------------------------------------------------------

    def restart(self, config):
        """Every overlayd anew, by apply, with this in its file."""
        for name in self.nodes:
            self.end_overlayd(name)
            self.apply(name, config)
        for name in self.spokes:
            self.reaches_hub(name)

    def reaches_hub(self, name):
        wait_until(lambda: self.node[name].run("ping", "-c", "1", "-W", "1", inner["hub"], code=None).code == 0,
                   f"{name} reaches the hub")

    def tcp(self, megabytes=8):
        for one, other in (*((name, "hub") for name in self.spokes), (self.spokes[0], self.spokes[-1])):
            tcp_each_way(self.node[one], self.node[other], inner[other], megabytes)

    def lost(self):
        """What devices did not take. Until one is up for the first time, it takes nothing."""
        return [f"{name}: {link}" for name in self.nodes
                for link in self.node[name].run(overlayctl, "status", *self.directories(name)).out.splitlines()
                if "device_full" in link]
