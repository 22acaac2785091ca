#!/usr/bin/env python3
"""overlayd on several threads: every one of them carries, also while links come and go and wg asks; what a thread has
counted, and a device that one of them reads, is the link's.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import batch, tcp_each_way   # noqa: E402
from spokes_at_a_hub import Network, inner   # noqa: E402
from story import build, main, run, story, wait_until   # noqa: E402


def seconds_of_threads(pid):
    """Processor time of each (proc(5): schedstat)."""
    return [int((task / "schedstat").read_text().split()[0]) / 1e9 for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def meanwhile(do, ask):
    """Does it, and asks again and again until it is done; what was answered."""
    done, answers = threading.Event(), []

    def work():
        while not done.is_set():
            answers.append(ask(len(answers)))

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        asking = other.submit(work)
        try:
            do()
        finally:
            done.set()
        asking.result()
    return answers


def carries(s, threads, *spokes):
    network = Network(s, *spokes)
    network.restart(f"threads = {threads}\n")
    worker = network.pids("hub")[1]
    s.equal(len(seconds_of_threads(worker)), threads, "threads of the hub's worker")
    return network


@story("a port's three links and a WireGuard device on four threads, all of which carry; one ends, the next goes on")
def _(s):
    network = carries(s, 4, "gue", "gue2", "gue3", "wg")
    supervisor, worker = network.pids("hub")
    before = network.lost()
    network.tcp(30)
    used = [round(each, 3) for each in sorted(seconds_of_threads(worker))]
    s.check(used[0] >= 0.02, f"processor seconds of each thread: {used}")
    s.equal(network.lost(), before, "frames that a device did not take")

    run("kill", "-KILL", worker)
    wait_until(lambda: len(network.pids("hub")) == 2 and worker not in network.pids("hub"), "another worker")
    network.tcp(2)
    run("kill", "-TERM", supervisor)
    wait_until(lambda: not network.pids("hub"), "all threads end when they are asked to", deadline=2)
    s.note(f"processor seconds {used}")


@story("a worker may open as many descriptors as it is allowed to, not as few as a shell begins with")
def _(s):
    run_directory = s.folder / "run"
    worker = s.start("prlimit", "--nofile=64:4000", build / "daemon/overlayd", "--run-dir", run_directory,
                     "--state-dir", s.folder / "state", "--threads", "3")
    wait_until((run_directory / "control.sock").exists, "overlayd listens")
    s.contains(pathlib.Path(f"/proc/{worker.process.pid}/limits").read_text(),
               "Max open files            4000                 4000 ", "limits")


@story("links that come and go, keepalives that change, counters that are asked for disturb no other link")
def _(s):
    network = carries(s, 3, "gue", "wg", "gue2", "gue3")
    hub, before, worker = network.node["hub"], network.lost(), network.pids("hub")[1]
    peer = hub.run("wg", "show", "wg-offloads", "peers").out.strip()

    def ask(turn):
        network.write_file(*(("gue", "wg", "gue2") if turn % 2 == 0 else network.spokes))
        network.apply("hub")
        seconds = str(10 + turn)
        hub.run("wg", "set", "wg-offloads", "peer", peer, "persistent-keepalive", seconds)
        told = hub.run("wg", "show", "wg-offloads", "persistent-keepalive").out.split()
        return told == [peer, seconds], any(link.endswith("-gue3") for link in network.status("hub"))

    def tcp():
        for _ in range(8):
            for name in ("gue", "wg", "gue2"):
                tcp_each_way(network.node[name], hub, inner["hub"], 20)

    answers = meanwhile(tcp, ask)
    s.check(len(answers) >= 6, f"asked {len(answers)} times while TCP went through")
    s.equal(answers, [(True, turn % 2 == 1) for turn in range(len(answers))],
            "whether keepalives are as they were set, and the link is there")
    s.equal(network.lost(), before, "frames that a device did not take")
    network.write_file(*network.spokes)
    network.apply("hub")
    network.reaches_hub("gue3")
    s.equal(network.pids("hub")[1], worker, "the worker")
    s.note(f"asked and changed {len(answers)} times")


@story("every thread's device comes back after somebody deleted it, and what all have counted is the link's")
def _(s):
    network = carries(s, 3, "gue", "gue2", "gue3")
    hub = network.node["hub"]
    for name in network.spokes:
        link = next(each for each in network.status("hub") if each.endswith(f"-{name}"))
        hub.ip("link", "delete", link)
        network.apply("hub")
        network.reaches_hub(name)
        before = network.counters("hub")[link]
        tcp_each_way(network.node[name], hub, inner["hub"], 5)
        now = network.counters("hub")[link]
        for way in ("rx_bytes", "tx_bytes"):
            s.check(5_000_000 < now[way] - before[way] < 6_000_000, f"{way} of {link}: {before[way]}, then {now[way]}")


class Overlayd:
    """One by itself, spoken to without overlayctl."""

    def __init__(self, s, node, *options):
        self.folder = s.folder / "alone"
        self.process = s.start(*node.argv(build / "daemon/overlayd", "--run-dir", self.folder / "run", "--state-dir",
                                          self.folder / "state", "--uapi-dir", self.folder / "uapi", *options))
        wait_until(lambda: self.ask("state"), "overlayd answers", deadline=60, every=0.01)

    def ask(self, request, body=""):
        """The whole answer; empty: there is none."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self.folder / "run/control.sock"))
            client.sendall(f"{request} {len(body)}\n{body}".encode())
            with client.makefile() as answer:
                head = answer.readline()
                return head + answer.read(int(head.split()[-1])) if head else ""
        return ""


class Port:
    """Of GUE on three threads, which carries nothing yet, and TAPs for its links."""

    def __init__(self, s, count):
        self.count, self.node = count, s.namespace("hub")
        batch(self.node, "".join(f"tuntap add t{n} mode tap vnet_hdr\n" for n in range(count)))
        self.overlayd = Overlayd(s, self.node, "--threads", "3")
        self.state = json.loads(self.overlayd.ask("state").partition("\n")[2])
        port = {"family": "ipv4", "port": 5555, "type": "gue", "ip_protocol": 0, "local": None, "peer": None,
                "device": None}
        s.contains(self.overlayd.ask("add-port", json.dumps(self.state | {"fou_ports": [port]})), "ok", "add-port")

    def links(self):
        same = {"local": "203.0.113.1", "dev": None, "ttl": 64, "tos": 0, "pmtudisc": True, "encap": "gue",
                "encap_sport": 5555, "encap_dport": 5555, "encaplimit": None, "flowlabel": 0, "fwmark": 0}
        off = ("icsum", "ocsum", "iseq", "oseq", "ignore_df", "encap_csum", "encap_csum6", "encap_remcsum",
               "dscp_inherit", "fwmark_inherit", "allow_localremote", "external")
        return {f"t{n}": {"type": "tap", "gretap": same | dict.fromkeys(off, False) | {
            "remote": f"198.18.{n // 250}.{n % 250 + 1}", "ikey": n, "okey": n}} for n in range(self.count)}


def resident_mib(overlayd):
    status = pathlib.Path(f"/proc/{overlayd.process.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@story("links that overlayd is told of one by one take no more memory than those that it starts with")
def _(s):
    port = Port(s, 300)
    before = resident_mib(port.overlayd)
    for name, link in port.links().items():
        s.contains(port.overlayd.ask("set-link", json.dumps(port.state | {"links": {name: link}})), "ok", name)
    told = resident_mib(port.overlayd)
    port.overlayd.process.stop()
    again = resident_mib(Overlayd(s, port.node, "--threads", "3"))
    s.check(told <= again + 4, f"MiB of {port.count} links, told one by one: {told:.1f}, at the start: {again:.1f}")
    s.note(f"{before:.1f} MiB, {told:.1f} with {port.count} links, {again:.1f} when started again")


@story("two thousand links of one port are taken up again in seconds")
def _(s):
    port = Port(s, 2000)
    first, node, count = port.overlayd, port.node, port.count
    first.process.stop()
    kept = first.folder / "run/overlayd.json"
    content = json.loads(kept.read_text())
    content["state"]["links"] = port.links()
    kept.write_text(json.dumps(content))
    began = time.monotonic()
    second = Overlayd(s, node, "--threads", "3")
    carried = json.loads(second.ask("counters").partition("\n")[2])
    seconds = time.monotonic() - began
    s.equal(len(carried), count, "links that are carried")
    s.check(seconds < 10, f"{count} links were taken up in {seconds:.1f} s")
    s.note(f"{seconds:.1f} s")


@story("a name that no interface can have is refused, whoever sends it")
def _(s):
    overlayd = Overlayd(s, s.namespace("hub"))
    for letters in (15, 16, 17, 100):
        told = overlayd.ask("add-device " + letters * "y")
        s.contains(told, "error", f"answer to a name of {letters} letters")
    s.check(overlayd.process.alive(), "overlayd died")


main()
