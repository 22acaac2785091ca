"""A network that overlayd carries, one spoke per kind of link, each behind a NAT of its own: home (gretap-gue),
office (gretap-wireguard), macbook (wireguard). What breaks it, and how soon everything flows again.
"""

import contextlib
import os
import pathlib
import signal
import socket
import time

import machine_view
from example_lab import Lab, all_in_userspace
from network import run_inside
from story import Failure, Skip, long_run, overlayctl, run, wait_until
from stream import Streams, now

spokes = ("home", "office", "macbook")
slowness = 1 if long_run else 5   # beside other tests everything takes longer


def one_of_each_kind(content):
    all_in_userspace(content)
    content["network"] = machine_view.beside   # other tests bring up the example itself
    content["hub"]["wireguard"]["interface"] = "wg_recovery"
    del content["spokes"]["yichen"]
    del content["hub"]["router_advertisement"]
    link = content["spokes"]["macbook"]["link"]
    content["spokes"]["macbook"] = {"link": {"type": "wireguard", "datapath": "userspace",
                                             "address": link["address"], "public_key": link["public_key"]}}


class Place:
    """A node's network namespace."""

    def __init__(self, name):
        self.name = name


def children_of(pid):
    return [int(word) for word in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid):
    """Its own, and those of its children that have ended (proc(5): utime, stime, cutime, cstime)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class Node:
    def __init__(self, network, name):
        self.network, self.name = network, name
        self.directory = network.lab.state / network.lab.network / name
        self.place = Place(f"{network.lab.network}.{name}")
        pids = run("pgrep", "-f", f"overlayd .*--run-dir {self.directory}").out.split()
        self.supervisor = next(int(pid) for pid in pids if children_of(int(pid)))

    def __call__(self, *words, code=0):
        return run_inside(self.place, *words, code=code)

    def cpu_seconds(self):
        """Of its supervisor and all its workers."""
        worker = self.worker
        own = cpu_seconds(worker) if worker else 0
        return own + cpu_seconds(self.supervisor)

    def sh(self, text):
        return self("sh", "-ec", text)

    def ctl(self, verb, code=0):
        return self(overlayctl, verb, self.network.lab.file_for(self.name), "--node", self.name, "--state-dir",
                    self.directory / "state", "--run-dir", self.directory / "run", code=code)

    @property
    def control_socket(self):
        return str(self.directory / "run/control.sock")

    def ask(self, verb, body=""):
        """What its worker answers within some seconds; None: nothing, or that something failed."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1 * slowness)
            client.connect(self.control_socket)
            client.sendall(f"{verb} {len(body)}\n{body}".encode())
            head, _, answer = client.recv(1 << 20).decode().partition("\n")
            return answer if head.startswith("ok ") else None
        return None

    def have_it_keep(self):
        """Its worker writes down what it carries: when it is told to have a port that it has."""
        self.network.s.check(self.ask("add-port", self.ask("state")) is not None, f"{self.name} keeps what it carries")

    @property
    def worker(self):
        """Its process id; None: there is none just now."""
        return next(iter(children_of(self.supervisor)), None)


class Network:
    def __init__(self, s):
        if "QEMU TCG" in pathlib.Path("/proc/cpuinfo").read_text():
            raise Skip("an emulated processor: its seconds say nothing")
        self.s, self.lab = s, Lab(s, "home.json", one_of_each_kind)
        s.at_end(self.end)
        self.lab("up", "--keys", self.lab.keys)
        self.nodes = {name: Node(self, name) for name in self.lab.nodes}
        self.hub = self.nodes["linode"]
        self.streams = Streams(s)
        for name, here, there in (("home", "192.168.88.6", "192.168.0.1"), ("office", "192.168.1.2", "192.168.0.1"),
                                  ("macbook", "172.16.0.3", "172.16.0.1")):
            self.streams.between(name, (self.nodes[name].place, here), (self.hub.place, there))
        self.streams.begin()
        self.streams.first_delivery(now())

    def end(self):
        """Goes, and whatever a story that failed has left behind."""
        self.lab("down", code=None)
        for pid in run("pgrep", "-f", f"overlayd .*--run-dir {self.lab.state}", code=None).out.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def kill(self, nodes):
        """Kills their workers; when that began, and when the last of them was gone."""
        workers = {node: node.worker for node in nodes}
        began = now()
        for worker in filter(None, workers.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not any(worker and node.worker == worker for node, worker in workers.items()),
                   "all are dead", every=0.0005)
        return began, now()

    # ---- faults ----------------------------------------------------------------------------------

    def suffer(self, what, broken, heal, silent=(), patience=5, hold=0):
        """Breaks something, heals it, and demands that all flows again, without spin, death or leak. `silent`:
        begin names of streams that the fault must stop, or it would be none. Seconds until all flowed again."""
        workers = {node: node.worker for node in self.nodes.values()}
        before = {node.name: descriptors(pid) for node, pid in workers.items()}
        broken()
        if silent:
            stopped = now() + 0.05 * slowness
            time.sleep(0.25 + 0.05 * slowness)
            talking = [stream.name for stream in self.streams.of(*silent) if stream.first_since(stopped)]
            self.s.equal(talking, [], f"streams that still come through during {what}")
        self.check_idle(f"during {what}")
        time.sleep(hold)
        heal()
        healed = now()
        came = self.first_delivery(healed, f"after {what}", patience)
        self.s.equal({node.name: node.worker for node in workers}, {node.name: pid for node, pid in workers.items()},
                     f"workers after {what}")
        wait_until(lambda: {node.name: descriptors(pid) for node, pid in workers.items()} == before,
                   f"descriptors as before {what}: {before}", deadline=5 * slowness)
        return max(came.values()) - healed

    def first_delivery(self, moment, when, deadline):
        try:
            return self.streams.first_delivery(moment, deadline * slowness)
        except Failure as why:
            raise Failure(f"{when}: {why}") from None

    def check_idle(self, when):
        """With no traffic, no node's overlayd uses more than a tenth of a processor."""
        self.streams.pause()
        time.sleep(0.05)   # what is on its way
        before = [node.cpu_seconds() for node in self.nodes.values()]
        time.sleep(0.5)
        used = [node.cpu_seconds() - each for node, each in zip(self.nodes.values(), before)]
        self.streams.begin()
        self.s.check(max(used) <= 0.05, f"{when}: CPU seconds of half an idle second at {list(self.nodes)}: {used}")
