#!/usr/bin/env python3
"""What a network that overlayd carries does when something dies, breaks or is taken away: traffic resumes by
itself, and soon; no descriptor leaks; nothing spins.

One spoke per kind of link, each behind a NAT of its own: home (gretap-gue), office (gretap-wireguard), macbook
(wireguard). Outages are read off streams that send a datagram every 5 ms each way.
"""

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab, all_in_userspace   # noqa: E402
from story import Failure, long_run, main, overlayctl, run, story, wait_until   # noqa: E402
from stream import Streams, now   # noqa: E402

kills_per_kind = 200 if long_run else 10
spokes = ("home", "office", "macbook")


def one_of_each_kind(content):
    all_in_userspace(content)
    del content["spokes"]["yichen"]
    del content["hub"]["router_advertisement"]
    link = content["spokes"]["macbook"]["link"]
    content["spokes"]["macbook"] = {"link": {"type": "wireguard", "datapath": "userspace",
                                             "address": link["address"], "public_key": link["public_key"]}}


class Place:
    """A node's network namespace."""

    def __init__(self, name):
        self.name = name


class Node:
    def __init__(self, network, name):
        self.network, self.name = network, name
        self.directory = network.lab.state / network.lab.network / name
        self.place = Place(f"{network.lab.network}.{name}")
        pids = run("pgrep", "-f", f"overlayd .*--run-dir {self.directory}").out.split()
        self.supervisor = next(int(pid) for pid in pids if children_of(int(pid)))

    def __call__(self, *words, code=0):
        return run("ip", "netns", "exec", self.place.name, *words, code=code)

    @property
    def worker(self):
        """Its process id; None: there is none just now."""
        return next(iter(children_of(self.supervisor)), None)


def children_of(pid):
    return [int(word) for word in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Network:
    def __init__(self, s):
        self.s, self.lab = s, Lab(s, "home.json", one_of_each_kind)
        s.at_end(lambda: self.lab("down", code=None))
        self.lab("up", "--keys", self.lab.keys)
        self.nodes = {name: Node(self, name) for name in self.lab.nodes}
        self.hub = self.nodes["linode"]
        self.streams = Streams(s)
        for name, here, there in (("home", "192.168.88.6", "192.168.0.1"), ("office", "192.168.1.2", "192.168.0.1"),
                                  ("macbook", "172.16.0.3", "172.16.0.1")):
            self.streams.between(name, (self.nodes[name].place, here), (self.hub.place, there))
        self.streams.begin()
        self.streams.first_delivery(now())

    def kill(self, nodes):
        """Kills their workers; when that began, and when the last of them was gone."""
        workers = {node: node.worker for node in nodes}
        began = now()
        for worker in workers.values():
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: all(node.worker != worker for node, worker in workers.items()), "all are dead",
                   every=0.0005)
        return began, now()


def percentile(values, of_hundred):
    """The smallest that so many of a hundred are not above."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * of_hundred // 100) - 1, 0)]


@story("a worker that is killed, at the hub, at the spokes, at both: everything flows again within a second",
       timeout=2400)
def _(s):
    network = Network(s)
    kinds = {"hub": [network.hub], "spoke": [network.nodes[name] for name in spokes],
             "both": list(network.nodes.values())}
    figures = []
    for kind, nodes in kinds.items():
        outages = {name: [] for name in spokes}
        for _ in range(kills_per_kind):
            time.sleep(1.1)
            began, dead = network.kill(nodes)
            for stream, came in network.streams.first_delivery(dead).items():
                outages[stream.split(",")[0]].append(came - began)
        for name, values in outages.items():
            told = "/".join(f"{1000 * percentile(values, p):.0f}" for p in (50, 99, 100))
            figures.append(f"{kind} {name} {told}")
    s.note("p50/p99/max ms: " + ", ".join(figures))


main()
