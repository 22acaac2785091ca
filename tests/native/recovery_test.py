#!/usr/bin/env python3
"""What a network that overlayd carries does when something dies, breaks or is taken away: traffic resumes by
itself, and soon; no descriptor leaks; nothing spins.

Outages are read off streams that send a datagram every 5 ms each way through each kind of link.
"""

import contextlib
import os
import pathlib
import resource
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from carried_network import Network, descriptors, spokes   # noqa: E402
from network import inside   # noqa: E402
from story import long_run, main, sample, story, wait_until   # noqa: E402
from stream import now   # noqa: E402

kills_per_kind = 200 if long_run else 5
# What an outage may last, in seconds: on a machine that does nothing else a second; beside other tests only less than
# the five after which a handshake is tried again (REKEY_TIMEOUT), so that nothing has to wait for that.
longest_outage = 1 if long_run else 4


def percentile(values, of_hundred):
    """The smallest that so many of a hundred are not above."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * of_hundred // 100) - 1, 0)]


@story("a worker that is killed, at the hub, at the spokes, at both: everything flows again, soon",
       timeout=2400)
def _(s):
    network = Network(s)
    kinds = {"hub": [network.hub], "spoke": [network.nodes[name] for name in spokes],
             "both": list(network.nodes.values())}
    outages = {f"{kind} {name}": [] for kind in kinds for name in spokes}
    started = {}   # by node: when its worker was
    for _ in range(kills_per_kind):
        for kind, nodes in kinds.items():
            # Not younger than a second: whoever dies young again and again gets pauses, and that is another story.
            grown_up = max(started.get(node, 0) for node in nodes) + 1.1
            time.sleep(max(grown_up - time.monotonic(), 0.2))
            began, dead = network.kill(nodes)
            for stream, came in network.first_delivery(dead, f"killed: {kind}", 30).items():
                outages[f"{kind} {stream.split(',')[0]}"].append(came - began)
            started |= {node: time.monotonic() for node in nodes}
    # A crash costs the numbers of ten minutes, many crashes no more: else a kernel's WireGuard in overlayd's place,
    # which has nothing but the clock, would not be heard for as long as they add up to.
    bound = int((network.hub.directory / "state/wg_recovery.stamp").read_text().split(".")[0], 16)
    ahead = bound - (2 ** 62 + 10) - time.time()   # TAI64: cr.yp.to/libtai/tai64.html
    s.check(ahead <= 660, f"stamps may be {ahead / 60:.0f} minutes ahead of the clock")
    figures = {each: [round(1000 * percentile(values, p)) for p in (50, 99, 100)] for each, values in outages.items()}
    told = "p50/p99/max ms: " + ", ".join(f"{each} {'/'.join(map(str, three))}" for each, three in figures.items())
    s.check(all(p99 <= 1000 * longest_outage for _, p99, _ in figures.values()), told)
    s.note(f"{2 * kills_per_kind} outages each, {told}")


@story("whoever starts again calls the others, though it has nothing to send")
def _(s):
    network = Network(s)
    for way, killed in (("from", [network.hub]), ("to", [network.nodes[name] for name in spokes])):
        for stream in network.streams.all:
            stream.is_quiet = f", {way} the hub" in stream.name
        time.sleep(0.1)   # what is on its way
        began, dead = network.kill(killed)
        slowest = max(network.first_delivery(dead, f"nothing goes {way} the hub", 10).values()) - began
        s.check(slowest < longest_outage, f"an outage of {slowest:.1f} s while nothing goes {way} the hub")


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
    tell_of(s, sample(list(faults_of_the_underlay())))


@story("an underlay that is gone for longer than a session waits for an answer")
def _(s):
    network = Network(s)
    macbook = network.nodes["macbook"]
    # 15 s without an answer, then a handshake every 5 s and a third: WireGuard's whitepaper, section 6.
    seconds = network.suffer("20 s without a route", lambda: macbook.sh("ip route del default"),
                             lambda: macbook.sh("ip route add default via 10.1.1.1"), ("macbook, to",), 6,
                             hold=20 if long_run else 0)
    s.note(f"back after {seconds:.1f} s")


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
    for name in ("linode", "macbook", "home") if long_run else ("linode",):
        node = network.nodes[name]
        leaving = tuple(f"{each}, from" for each in spokes) if name == "linode" else (f"{name}, to",)
        for error in ("ENOBUFS", "ENOMEM", "EPERM", "EAGAIN"):
            tracers = []

            def refuse():
                tracers.append(refuse_call(s, node.worker, "sendmmsg", error))

            def relent():
                s.check(node.ask("state"), f"{name} serves nobody while sendmsg says {error}")
                tracers[0].stop()

            network.suffer(f"{error} at {name}", refuse, relent, leaving)


def refuse_call(s, pid, call, error):
    """Has a system call of the process fail, until what is returned is stopped."""
    tracer = s.start("strace", "-qq", "-o", "/dev/null", "-p", pid, "-e", f"trace={call}",
                     "-e", f"inject={call}:error={error}")
    wait_until(lambda: "TracerPid:\t0" not in pathlib.Path(f"/proc/{pid}/status").read_text(), "strace is there")
    return tracer


@story("no descriptors left: what flows goes on flowing, nothing spins, and all is well when there are some again")
def _(s):
    network = Network(s)
    hub, macbook = network.hub, network.nodes["macbook"]
    pid, clients = hub.worker, []
    before = descriptors(pid)

    def connect(many, path=hub.control_socket):
        for _ in range(many):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                clients[-1].connect(path)

    def hang_up():
        for client in clients:
            client.close()
        clients.clear()

    def exhaust():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + 3, 1024))
        connect(5)
        connect(5, "/var/run/wireguard/wg_recovery.sock")

    def relent():
        network.first_delivery(now(), "without descriptors", 1)
        # Where it is now can be kept no sooner than there are descriptors.
        macbook.sh("ip address del 10.1.1.2/24 dev eth0; ip address add 10.1.1.7/24 dev eth0; "
                   "ip route add default via 10.1.1.1")
        network.first_delivery(now(), "without descriptors, macbook elsewhere", 1)
        time.sleep(0.2)   # it tries at once, in vain
        hang_up()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))

    network.suffer("no descriptors left", exhaust, relent)
    time.sleep(2.5)   # beyond its next look for what is not kept
    began, dead = network.kill([hub])
    slowest = max(network.first_delivery(dead, "the hub killed", 5).values()) - began
    s.check(slowest < longest_outage, f"an outage of {slowest:.1f} s: the hub did not know where macbook is")

    pid = hub.worker
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + 3, 1024))
    connect(10, "/var/run/wireguard/wg_recovery.sock")
    s.contains(hub.ctl("diff").out, "0 to add, 0 to change", "diff while others have taken all descriptors")
    hang_up()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))

    connect(100)   # more than it has room for, and all of them say nothing
    network.check_idle("with a hundred silent clients")
    s.contains(hub.ctl("diff").out, "0 to add, 0 to change", "diff beside a hundred clients")
    hang_up()
    wait_until(lambda: descriptors(pid) == before, f"{before} descriptors when all clients are gone")


@story("TAPs and a TUN that somebody deletes: apply makes them anew, one by one too; made by hand, they are taken")
def _(s):
    network = Network(s)
    hub, home, macbook = (network.nodes[name] for name in ("linode", "home", "macbook"))
    network.suffer("gt-home deleted, apply", lambda: hub.sh("ip link del gt-home"), lambda: hub.ctl("apply"), ("home",))
    everything = "for device in gt-home gt-office wg_recovery; do ip link del $device; done"
    network.suffer("all of the hub's deleted, apply", lambda: hub.sh(everything), lambda: hub.ctl("apply"), spokes)
    # At once, before overlayd has looked: one that is gone must not be in the way of another.
    network.suffer("all of the hub's deleted again", lambda: None, lambda: (hub.sh(everything), hub.ctl("apply")))
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

    def die_without(nodes, take_away, give_back, keeping=()):
        take_away()
        network.kill(nodes)
        time.sleep(2.5)   # beyond the next worker's next look for what it lacks
        network.check_idle("with something missing")
        for node in keeping:
            node.have_it_keep()
        network.kill(nodes)   # what it lacks is not forgotten
        time.sleep(0.5)
        give_back()
        network.first_delivery(now(), "all is there again", 8)

    thieves = []

    def steal(port):
        os.kill(hub.supervisor, signal.SIGSTOP)
        os.kill(hub.worker, signal.SIGKILL)
        with inside(hub.place):
            thieves.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        wait_until(lambda: is_bound(thieves[-1], port), f"port {port} is free")
        os.kill(hub.supervisor, signal.SIGCONT)
        wait_until(lambda: hub.ask("state"), "another worker")

    def take_devices():
        home.sh("ip link set gt-linode down name other")
        macbook.sh("ip link set wg-linode down name other")
        steal(5555)

    def give_devices_back():
        thieves.pop().close()
        home.sh("ip link set other name gt-linode up")
        macbook.sh("ip link set other name wg-linode up")

    die_without([hub, home, macbook], take_devices, give_devices_back, [home])
    die_without([hub], lambda: steal(23450), lambda: thieves.pop().close(), [hub])

    def limit_descriptors(many):
        for pid in filter(None, (hub.supervisor, hub.worker)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (many, 1024))

    for many in (9, 12, 14) if long_run else (9,):   # too few to start, for a device, for all of them
        die_without([hub], lambda: limit_descriptors(many), lambda: limit_descriptors(1024))


def is_bound(udp, port):
    with contextlib.suppress(OSError):
        udp.bind(("0.0.0.0", port))
        return True
    return False


@story("a worker that dies again and again gets pauses, after a quiet second none; no memory for one is no end")
def _(s):
    network = Network(s)
    hub, seen, end = network.hub, set(), time.monotonic() + 4
    while time.monotonic() < end:
        worker = hub.worker
        if worker:
            seen.add(worker)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.001)
    s.check(3 <= len(seen) <= 16, f"{len(seen)} workers in four seconds")
    wait_until(lambda: hub.ask("state"), "another worker")
    # A supervisor that takes its time is waited for: else all would be drift, and `down` would end nobody.
    os.kill(hub.supervisor, signal.SIGSTOP)
    os.kill(hub.worker, signal.SIGKILL)
    threading.Timer(1, lambda: os.kill(hub.supervisor, signal.SIGCONT)).start()
    s.contains(hub.ctl("diff").out, "0 to add, 0 to change", "diff without a worker")
    time.sleep(1.2)
    began, dead = network.kill([hub])
    slowest = max(network.streams.first_delivery(dead).values()) - began
    s.check(slowest < longest_outage, f"an outage of {slowest:.1f} s")
    tracer = refuse_call(s, hub.supervisor, "clone", "ENOMEM")
    network.kill([hub])
    time.sleep(0.5)
    s.check(not hub.worker, "there is memory for another worker")
    tracer.stop()
    network.first_delivery(now(), "there is memory again", 3)
    for _ in range(5):   # SIGTERM in a pause, when there is no worker to take it
        wait_until(lambda: hub.worker, "another worker", every=0.001)
        network.kill([hub])
    os.kill(hub.supervisor, signal.SIGTERM)
    wait_until(lambda: not pathlib.Path(f"/proc/{hub.supervisor}").exists(), "the supervisor has ended", deadline=3)
    s.note(f"{len(seen)} workers in four seconds, then an outage of {1000 * slowest:.0f} ms")


main()
