#!/usr/bin/env python3
"""overlayd's offloads: links of both kinds carry TCP whole with any of them off and with all; a kernel that breaks one
is found out at start; what the file says holds for the overlayd that apply starts, its memory and its threads, too.

Two spokes at a hub, one by gretap over GUE and one by gretap in WireGuard, joined by the hub's bridge. The run
directories are longer than a unix socket's address.
"""

import concurrent.futures
import os
import pathlib
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import Capture, batch, inside, tcp_each_way   # noqa: E402
from story import Skip, build, main, overlayctl, run, sample, story, wait_until   # noqa: E402

UDP_SEGMENT = 103   # linux/udp.h
names = ("device-tso", "device-gro", "udp-gso", "udp-gro")
overlayd = build / "daemon/overlayd"
inner = {"hub": "10.8.0.1", "gue": "10.8.0.2", "wg": "10.8.0.3"}


class Network:
    def __init__(self, s):
        self.s = s
        self.node = {name: s.namespace(name) for name in inner}
        hub = self.node["hub"]
        batch(hub, "address add 203.0.113.1/32 dev lo\n")
        for number, name in enumerate(("gue", "wg"), 1):
            s.veth(hub, name, self.node[name], "eth0")
            batch(hub, f"address add 10.9.{number}.1/24 dev {name}\n")
            batch(self.node[name], f"address add 10.9.{number}.2/24 dev eth0\nroute add default via 10.9.{number}.1\n")
        public = {}
        for name in ("hub", "wg"):
            private = run("wg", "genkey").out
            s.file(f"{name}.key", private).chmod(0o600)
            public[name] = run("wg", "pubkey", input=private).out.strip()
        self.file = s.file("topology.json", {
            "version": 1, "network": "offloads",
            "hub": {"name": "hub", "underlay": {"addresses": ["203.0.113.1"]},
                    "bridge": {"name": "br", "addresses": [f"{inner['hub']}/24"]},
                    "gue": {"port": 5555, "datapath": "userspace"},
                    "wireguard": {"listen_port": 51820, "address": "172.16.0.1/24", "datapath": "userspace",
                                  "private_key_file": "hub.key", "public_key": public["hub"]}},
            "spokes": {
                "gue": {"link": {"type": "gretap-gue", "local": "10.9.1.2", "datapath": "userspace"},
                        "addresses": [f"{inner['gue']}/24"]},
                "wg": {"link": {"type": "gretap-wireguard", "address": "172.16.0.2/24", "datapath": "userspace",
                                "private_key_file": "wg.key", "public_key": public["wg"]},
                       "addresses": [f"{inner['wg']}/24"]}}})
        s.at_end(lambda: [self.end_overlayd(name) for name in inner])

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

    def end_overlayd(self, name):
        for pid in self.pids(name):
            run("kill", "-KILL", pid, code=None)
        wait_until(lambda: not self.pids(name), f"overlayd of {name} is gone")

    def pids(self, name):
        return run("pgrep", "-r", "D,R,S", "-f", f"overlayd .*{self.directories(name)[-1]}", code=None).out.split()

    def offloads(self, name):
        """By link of a node, as status tells it."""
        told = self.node[name].run(overlayctl, "status", "--json", *self.directories(name)).json()
        return {link["name"]: link["overlayd_offloads"] for link in told["networks"][0]["links"]
                if "overlayd_offloads" in link}

    def restart(self, config):
        """Every overlayd anew, by apply, with this in its file."""
        for name in inner:
            self.end_overlayd(name)
            self.apply(name, config)
        for name in ("gue", "wg"):
            wait_until(lambda name=name: self.node[name].run(
                "ping", "-c", "1", "-W", "1", inner["hub"], code=None).code == 0, f"{name} reaches the hub")

    def tcp(self, megabytes=8):
        for one, other in (("gue", "hub"), ("wg", "hub"), ("gue", "wg")):
            tcp_each_way(self.node[one], self.node[other], inner[other], megabytes)

    def lost(self):
        """Until a device is up for the first time, it takes nothing."""
        return [f"{name}: {link}" for name in inner
                for link in self.node[name].run(overlayctl, "status", *self.directories(name)).out.splitlines()
                if "device_full" in link]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{pid} has no memory")


def seconds_of_threads(pid):
    """Processor time of each, by thread id (proc(5): utime and stime)."""
    out = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        out[task.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return out


def words_but(*off):
    return ",".join(name for name in names if name not in off) or "none"


def segments_tcp(node, device):
    """Whether the kernel may hand super-frames to the device's reader."""
    return "tcp-segmentation-offload: on" in node.run("ethtool", "-k", device).out


@story("TCP both ways over GUE and WireGuard with each offload off in turn, with all off, and with none off")
def _(s):
    network = Network(s)
    ways = sample([names, *((name,) for name in names), ()])
    for off in ways:
        network.restart(f"# for this story\noffload = {words_but(*off)}\n")
        before = network.lost()
        network.tcp()
        s.equal(network.lost(), before, f"frames that a device did not take without {off}")
        expected = {name: "off" if name in off else "on" for name in names}
        for name in inner:
            told = network.offloads(name)
            s.check(told, f"no link of {name} tells of offloads")
            for link, offloads in told.items():
                s.equal(offloads, expected, f"offloads of {link} at {name}, without {off}")
                s.equal(segments_tcp(network.node[name], link), "device-tso" not in off,
                        f"super-frames from {link} at {name}, without {off}")
        s.check(" is off" not in network.log("hub"), "what was switched off by hand is no news")
    s.note(f"{len(ways)} ways, 3 pairs, 8 MB each way")


@story("a word that is none is told with its file and line, and apply fails")
def _(s):
    network = Network(s)
    told = network.apply("hub", "\noffload = device,fast\n", code=None)
    s.check(told.code not in (0, 2), f"apply succeeds: {told}")
    s.contains(told.err, '/etc/overlay/overlayd.conf, line 2: "fast" is neither auto nor none', "what apply says")
    told = network.node["hub"].run(overlayd, "--offload", "fast", code=1)
    s.contains(told.err, '--offload: "fast" is neither', "what overlayd says")


@story("a kernel that damages trains of datagrams is found out at start, and the link does without")
def _(s):
    network = Network(s)
    # Longer than any single datagram of ours: only a train is as long, before it is cut.
    damage = "nft add table ip damage; nft 'add chain ip damage out { type filter hook output priority 0; }'; " \
             "nft add rule ip damage out meta oifname lo meta l4proto udp meta length gt 20000 @th,8000,32 set 1"
    for name in inner:
        network.node[name].sh(damage)
    network.restart("")
    for name in inner:
        s.contains(network.log(name), "overlayd: udp-gso is off: what is sent to ourselves does not arrive as it was sent",
                   "the log")
        for link, offloads in network.offloads(name).items():
            s.equal(offloads, {name: "broken" if name == "udp-gso" else "on" for name in names},
                    f"offloads of {link} at {name}")
        s.contains(network.node[name].run(overlayctl, "status", *network.directories(name)).out,
                   "offloads of overlayd: udp-gso broken", "status")
    network.tcp(2)


@story("where there is no loopback device nothing is said of offloads, and nothing waits")
def _(s):
    network = Network(s)
    network.node["gue"].ip("link", "set", "lo", "down")
    network.restart("")
    for link, offloads in network.offloads("gue").items():
        s.equal(offloads, {name: "on" for name in names}, f"offloads of {link}")
    s.check(" is off" not in network.log("gue"), network.log("gue"))
    network.tcp(2)


@story("datagrams of one size that come together reach the device as one, where the kernel takes such")
def _(s):
    network = Network(s)
    network.restart("")
    hub, spoke = network.node["hub"], network.node["gue"]
    device = next(link for link in network.offloads("hub") if "gue" in link)
    if "tx-udp-segmentation: on" not in hub.run("ethtool", "-k", device).out:
        raise Skip("Linux before 6.2")
    with Capture(hub, device) as capture:
        with inside(spoke), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            sender.sendto(b"".join(bytes([n]) * 1000 for n in range(20)), (inner["hub"], 9000))
        whole = capture.wait(lambda packet: packet.frame[-1000:] == bytes([19]) * 1000, "the last datagram")
    s.equal(len(whole.frame), 14 + 20 + 8 + 20 * 1000, "bytes of the frame that it came in")


@story("with memory = small the worker that carries stays below 8 MiB, and so does its supervisor")
def _(s):
    network = Network(s)
    network.restart("memory = small\n")
    network.tcp(20)
    resident = {name: [round(resident_mib(pid), 1) for pid in network.pids(name)] for name in inner}
    s.equal({name: len(each) for name, each in resident.items()}, dict.fromkeys(inner, 2), "processes of overlayd")
    s.check(all(mib <= 8 for each in resident.values() for mib in each), f"MiB: {resident}")
    s.note(f"MiB: {resident}")


@story("with threads = 3 the port and the WireGuard device are a thread's each, while they are asked and changed, too")
def _(s):
    network = Network(s)
    network.restart("threads = 3\n")
    hub, before = network.node["hub"], network.lost()
    supervisor, worker = network.pids("hub")
    s.equal(len(seconds_of_threads(worker)), 3, "threads of the hub's worker")
    peer = hub.run("wg", "show", "wg-offloads", "peers").out.strip()
    done, asked = threading.Event(), []

    def ask():
        while not done.is_set():
            seconds = str(10 + len(asked) % 50)
            hub.run("wg", "set", "wg-offloads", "peer", peer, "persistent-keepalive", seconds)
            told = hub.run("wg", "show", "wg-offloads", "persistent-keepalive").out.split()
            asked.append((told, [peer, seconds]))
            network.offloads("hub")

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        answers = other.submit(ask)
        try:
            for _ in range(3):
                network.tcp(20)
        finally:
            done.set()
        answers.result()
    s.check(len(asked) >= 10, f"asked {len(asked)} times while TCP went through")
    s.equal([each for each in asked if each[0] != each[1]], [], "keepalives that are not as they were set")
    used = sorted(seconds_of_threads(worker).values())
    s.check(used[0] < 0.1 < used[1], f"processor seconds of a thread without endpoint, of two with one each: {used}")
    s.equal(network.lost(), before, "frames that a device did not take")

    run("kill", "-KILL", worker)
    wait_until(lambda: len(network.pids("hub")) == 2 and worker not in network.pids("hub"), "another worker")
    network.tcp(2)
    run("kill", "-TERM", supervisor)
    wait_until(lambda: not network.pids("hub"), "all threads end when they are asked to", deadline=2)
    s.note(f"asked and changed {len(asked)} times; processor seconds {used}")


@story("where wg's folder cannot be had, links are carried all the same, and wg reaches them when it can")
def _(s):
    network = Network(s)
    folder = s.file("wireguard", "in the way")
    network.restart(f"uapi-dir = {folder}\n")
    network.tcp(2)
    s.contains(network.log("hub"), f"overlayd: open {folder}: ", "the log")
    folder.unlink()
    wait_until((folder / "wg-offloads.sock").exists, "wg's socket")
    wait_until(lambda: "overlayd: wg reaches wg-offloads now" in network.log("hub"), "the log tells of it")
    s.equal(network.log("hub").count(f"open {folder}"), 1, "how often the log told of it")


main()
