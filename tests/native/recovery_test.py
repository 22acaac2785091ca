#!/usr/bin/env python3
"""What a network that overlayd carries does when something dies, breaks or is taken away: traffic resumes by
itself, and soon; no descriptor leaks; nothing spins.

One spoke per kind of link, each behind a NAT of its own: home (gretap-gue), office (gretap-wireguard), macbook
(wireguard). Outages are read off streams that send a datagram every 5 ms each way.
"""

import contextlib
import os
import pathlib
import resource
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab, all_in_userspace   # noqa: E402
from network import inside, run_inside   # noqa: E402
from story import Failure, long_run, main, overlayctl, run, story, wait_until   # noqa: E402
from stream import Streams, now   # noqa: E402

kills_per_kind = 200 if long_run else 10
spokes = ("home", "office", "macbook")


def one_of_each_kind(content):
    all_in_userspace(content)
    content["network"] = "recovery"   # beside other tests, which bring up the example itself
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
    def worker(self):
        """Its process id; None: there is none just now."""
        return next(iter(children_of(self.supervisor)), None)


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
        for worker in filter(None, workers.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not any(worker and node.worker == worker for node, worker in workers.items()), "all are dead",
                   every=0.0005)
        return began, now()


    # ---- faults ----------------------------------------------------------------------------------

    def suffer(self, what, broken, heal, silent=(), patience=5):
        """Breaks something, heals it, and demands that all flows again, without spin, death or leak. `silent`:
        begin names of streams that the fault must stop, or it would be none. Seconds until all flowed again."""
        workers = {node: node.worker for node in self.nodes.values()}
        before = {node.name: descriptors(pid) for node, pid in workers.items()}
        broken()
        if silent:
            stopped = now() + 0.05
            time.sleep(0.25)
            talking = [stream.name for stream in self.streams.of(*silent) if stream.first_since(stopped)]
            self.s.equal(talking, [], f"streams that still come through during {what}")
        self.check_idle(f"during {what}")
        heal()
        healed = now()
        try:
            came = self.streams.first_delivery(healed, deadline=patience)
        except Failure as why:
            raise Failure(f"after {what}: {why}") from None
        self.s.equal({node.name: node.worker for node in workers}, {node.name: pid for node, pid in workers.items()},
                     f"workers after {what}")
        wait_until(lambda: {node.name: descriptors(pid) for node, pid in workers.items()} == before,
                   f"descriptors as before {what}: {before}", deadline=5)
        return max(came.values()) - healed

    def check_idle(self, when):
        """With no traffic, no node's overlayd uses more than a tenth of a processor."""
        self.streams.pause()
        time.sleep(0.05)   # what is on its way
        before = [node.cpu_seconds() for node in self.nodes.values()]
        time.sleep(0.5)
        used = [node.cpu_seconds() - each for node, each in zip(self.nodes.values(), before)]
        self.streams.begin()
        self.s.check(max(used) <= 0.05, f"{when}: CPU seconds of half an idle second at {list(self.nodes)}: {used}")


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


# ---- what is taken away and comes back ----------------------------------------------------------------

underlay_of = {"office": ("10.1.2.2/24", "10.1.2.7/24", "10.1.2.1"),
               "macbook": ("10.1.1.2/24", "10.1.1.7/24", "10.1.1.1"),
               "linode": ("1.2.3.4/24", "1.2.3.7/24", "1.2.3.1")}


def faults_of_devices():
    """Fault, node, what breaks it, what heals it, which streams stop."""
    for node, device, stopped in (("home", "gt-linode", "home"), ("macbook", "wg-linode", "macbook"),
                                  ("office", "gt-linode", "office"), ("linode", "gt-home", "home"),
                                  ("linode", "gt-office", "office"), ("linode", "wg_recovery", "macbook")):
        yield "down", node, f"ip link set {device} down", f"ip link set {device} up", (stopped,)
    for node, device in (("home", "gt-linode"), ("linode", "gt-home")):
        yield ("another name", node, f"ip link set {device} down name other up",
               f"ip link set other down name {device} up", ())


def faults_of_the_underlay():
    default = {name: f"ip route add default via {gateway}" for name, (_, _, gateway) in underlay_of.items()}
    default["home"] = "ip route add default via 192.168.88.1"
    all_of = {"linode": spokes} | {name: (name,) for name in spokes}
    for name in ("macbook", "office", "linode"):
        address, other, _ = underlay_of[name]
        yield "interface down", name, "ip link set eth0 down", f"ip link set eth0 up; {default[name]}", all_of[name]
        if name == "linode":
            yield ("address gone", name, f"ip address del {address} dev eth0",
                   f"ip address add {address} dev eth0; {default[name]}", all_of[name])
        else:
            yield ("address changed", name, f"ip address del {address} dev eth0",
                   f"ip address add {other} dev eth0; {default[name]}", all_of[name])
    yield "interface down", "home", "ip link set eth0 down", "ip link set eth0 up", ("home",)
    for name in all_of:
        leaving = tuple(f"{each}, from" for each in spokes) if name == "linode" else (f"{name}, to",)
        yield "no default route", name, "ip route del default", default[name], leaving
        yield ("EPERM", name,
               "nft 'table inet fault { chain out { type filter hook output priority 0; meta l4proto udp drop; }; }'",
               "nft delete table inet fault", leaving)
        yield ("a queue that is full", name, "tc qdisc replace dev eth0 root tbf rate 8kbit burst 1600 limit 1600",
               "tc qdisc del dev eth0 root", ())


def tell_of(s, faults):
    network = Network(s)
    slowest = (0, "")
    for what, name, broken, heal, silent in faults:
        node = network.nodes[name]
        seconds = network.suffer(f"{what} at {name} ({broken})", lambda: node.sh(broken), lambda: node.sh(heal), silent)
        slowest = max(slowest, (seconds, f"{what} at {name}"))
    s.note(f"the slowest back after {1000 * slowest[0]:.0f} ms: {slowest[1]}")


@story("devices that go down, or get another name, and come back")
def _(s):
    tell_of(s, faults_of_devices())


@story("the underlay: interfaces down, addresses, routes, a firewall that says EPERM, a full queue")
def _(s):
    tell_of(s, faults_of_the_underlay())


@story("an underlay with a smaller MTU carries what fits, and all again when it has grown")
def _(s):
    network = Network(s)
    for name, hub in (("home", "192.168.0.1"), ("macbook", "172.16.0.1")):
        node = network.nodes[name]

        def is_whole():   # a packet of 1396 bytes; the tunnels take 1398
            return node("ping", "-c", "1", "-W", "1", "-M", "dont", "-s", "1368", hub, code=None).code == 0

        s.check(is_whole(), f"a large packet from {name}, before")
        network.suffer(f"MTU 1280 at {name}", lambda: node.sh("ip link set eth0 mtu 1280"), lambda: None)
        node.sh("ip link set eth0 mtu 1500")
        wait_until(is_whole, f"a large packet from {name}, afterwards", deadline=5)


@story("what sendmsg can say: ENOBUFS, ENOMEM, EPERM, EAGAIN without end")
def _(s):
    network = Network(s)
    for name in ("linode", "macbook", "home"):
        node = network.nodes[name]
        leaving = tuple(f"{each}, from" for each in spokes) if name == "linode" else (f"{name}, to",)
        for error in ("ENOBUFS", "ENOMEM", "EPERM", "EAGAIN"):
            tracers = []

            def refuse():
                tracers.append(s.start("strace", "-qq", "-o", "/dev/null", "-p", node.worker, "-e", "trace=sendmmsg",
                                       "-e", f"inject=sendmmsg:error={error}"))
                wait_until(lambda: "TracerPid:\t0" not in pathlib.Path(f"/proc/{node.worker}/status").read_text(),
                           "strace is there")

            network.suffer(f"{error} at {name}", refuse, lambda: tracers[0].stop(), leaving)


@story("no descriptors left: what flows goes on flowing, nothing spins, and all is well when there are some again")
def _(s):
    network = Network(s)
    for node in (network.hub, network.nodes["macbook"]):
        pid, clients = node.worker, []
        before = descriptors(pid)
        control = str(node.directory / "run/control.sock")

        def connect(many):
            for _ in range(many):
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    clients[-1].connect(control)

        def exhaust():
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 3, limits[1]))
            connect(10)

        def relent():
            check_flow(network, f"at {node.name} without descriptors")
            for client in clients:
                client.close()
            clients.clear()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))

        network.suffer(f"no descriptors left at {node.name}", exhaust, relent)
        s.contains(node.ctl("diff").out, "0 to add, 0 to change", f"diff at {node.name}")
        connect(100)   # more than it has room for, and all of them say nothing
        network.check_idle(f"at {node.name} with a hundred silent clients")
        s.contains(node.ctl("diff").out, "0 to add, 0 to change", f"diff at {node.name} beside a hundred clients")
        for client in clients:
            client.close()
        wait_until(lambda: descriptors(pid) == before, "all clients are gone")


def check_flow(network, when):
    moment = now()
    try:
        network.streams.first_delivery(moment, deadline=1)
    except Failure as why:
        raise Failure(f"{when}: {why}") from None


@story("TAPs and a TUN that somebody deletes: apply makes them anew, one by one too; made by hand, they are taken")
def _(s):
    network = Network(s)
    hub, home, macbook = (network.nodes[name] for name in ("linode", "home", "macbook"))
    network.suffer("gt-home deleted, apply", lambda: hub.sh("ip link del gt-home"), lambda: hub.ctl("apply"), ("home",))
    network.suffer("all of the hub's deleted, apply",
                   lambda: hub.sh("for d in gt-home gt-office wg_recovery; do ip link del $d; done"),
                   lambda: hub.ctl("apply"), spokes)
    s.contains(hub.ctl("apply").out, "0 changes, 0 writes", "a second apply")
    network.suffer("a TAP deleted and made by hand", lambda: home.sh("ip link del gt-linode"),
                   lambda: home.sh("ip tuntap add gt-linode mode tap vnet_hdr; "
                                   "ip link set gt-linode master br-lan mtu 1446 up"), ("home",))
    network.suffer("a TUN deleted and made by hand", lambda: macbook.sh("ip link del wg-linode"),
                   lambda: macbook.sh("ip tuntap add wg-linode mode tun vnet_hdr; ip link set wg-linode mtu 1440 up; "
                                      "ip address add 172.16.0.3/24 dev wg-linode"), ("macbook",))


@story("a worker that starts while devices, a port or descriptors are missing takes them when they are there")
def _(s):
    network = Network(s)
    hub, home, macbook = (network.nodes[name] for name in ("linode", "home", "macbook"))

    def die_without(node, take_away, give_back):
        take_away()
        network.kill([node])
        time.sleep(2.5)   # beyond one look of the new worker for what it lacks
        network.check_idle(f"at {node.name}, something missing")
        network.kill([node])   # nor does that one forget
        time.sleep(0.5)
        give_back()
        network.streams.first_delivery(now(), deadline=8)

    die_without(home, lambda: home.sh("ip link set gt-linode down name other"),
                lambda: home.sh("ip link set other name gt-linode up"))
    die_without(macbook, lambda: macbook.sh("ip link set wg-linode down name other"),
                lambda: macbook.sh("ip link set other name wg-linode up"))
    thieves = []

    def steal_ports():
        os.kill(hub.supervisor, signal.SIGSTOP)
        os.kill(hub.worker, signal.SIGKILL)
        for port in (5555, 23450):
            with inside(hub.place):
                thief = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                wait_until(lambda: is_bound(thief, port), f"port {port} is free")
            thieves.append(thief)
        os.kill(hub.supervisor, signal.SIGCONT)
        wait_until(lambda: is_serving(hub), "another worker")

    die_without(hub, steal_ports, lambda: [thief.close() for thief in thieves])

    def limit_descriptors(many):
        for pid in filter(None, (hub.supervisor, hub.worker)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (many, 1024))

    for many in (9, 12, 14):   # too few to start, for a device, for all of them
        die_without(hub, lambda: limit_descriptors(many), lambda: limit_descriptors(1024))


def is_bound(udp, port):
    with contextlib.suppress(OSError):
        udp.bind(("0.0.0.0", port))
        return True
    return False


def is_serving(node):
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(node.directory / "run/control.sock"))
        return True
    return False


@story("a worker that dies again and again gets pauses; the next to die after a quiet second gets none")
def _(s):
    network = Network(s)
    hub, seen, end = network.hub, set(), time.monotonic() + 6
    while time.monotonic() < end:
        worker = hub.worker
        if worker:
            seen.add(worker)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.001)
    s.check(8 <= len(seen) <= 20, f"{len(seen)} workers in six seconds")
    wait_until(lambda: is_serving(hub), "another worker")
    time.sleep(1.2)
    began, dead = network.kill([hub])
    slowest = max(network.streams.first_delivery(dead).values()) - began
    s.check(slowest < 1, f"an outage of {slowest:.1f} s")
    s.note(f"{len(seen)} workers in six seconds, then an outage of {1000 * slowest:.0f} ms")


main()
