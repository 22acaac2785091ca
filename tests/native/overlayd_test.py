#!/usr/bin/env python3
"""Networks that overlayd carries as a whole: examples come up, settle and go; and what brings links back when
something dies or is taken away by hand: a worker, all of overlayd, a device, a setting.
"""

import json
import pathlib
import shutil
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import Lab, all_in_userspace, bring_up   # noqa: E402
from gue_datagrams import frame, gre, gue   # noqa: E402
from network import batch, inside   # noqa: E402
import spokes_at_a_hub   # noqa: E402
from story import Failure, main, overlayctl, run, story, wait_until   # noqa: E402


examples = ("home.json", "dual-stack.json", "exit.json", "layer3.json", "smallest.json", "company.json")


class Network:
    """The blog's, all of it carried by overlayd."""

    def __init__(self, s):
        self.s, self.lab = s, Lab(s, "home.json", all_in_userspace)
        s.at_end(lambda: self.lab("down", code=None))
        self.lab("up", "--keys", self.lab.keys)

    def at(self, node, *words, code=0):
        return self.lab("exec", node, "--", *words, code=code)

    def ctl(self, node, verb, code=0):
        directory = self.lab.state / self.lab.network / node
        return self.at(node, overlayctl, verb, self.lab.file_for(node), "--node", node, "--state-dir",
                       directory / "state", "--run-dir", directory / "run", code=code)

    def down(self, node, code=0):
        """As whoever has lost the file would."""
        directory = self.lab.state / self.lab.network / node
        return self.at(node, overlayctl, "down", "--state-dir", directory / "state", "--run-dir", directory / "run",
                       code=code)

    def workers(self, node):
        """Process ids: the supervisor, and the worker that carries."""
        directory = self.lab.state / self.lab.network / node / "run"
        return run("pgrep", "-r", "D,R,S", "-f", f"overlayd .*--run-dir {directory}", code=None).out.split()

    def kill(self, *pids):
        run("kill", "-KILL", *pids)

    def reaches_hub(self, node):
        return self.at(node, "ping", "-c", "1", "-W", "1", "192.168.0.1", code=None).code == 0

    def check_answers(self):
        failed, count = self.lab.unanswered()
        self.s.equal("\n".join(failed), "", f"of {count} pairs those that do not answer")


for example in examples:
    @story(f"{example}: up, whole, settled, gone, and overlayd carries all of it")
    def _(s, example=example):
        bring_up(s, example, all_in_userspace, lambda lab: lab.nodes)


@story("a worker that is killed: the next one carries on by itself, at the hub and at spokes")
def _(s):
    network = Network(s)
    for node, seen_from in (("linode", "office"), ("linode", "home"), ("office", "office"), ("home", "home")):
        supervisor, worker = network.workers(node)
        network.kill(worker)
        wait_until(lambda: len(network.workers(node)) == 2 and worker not in network.workers(node),
                   f"another worker at {node}")
        wait_until(lambda: network.reaches_hub(seen_from), f"{seen_from} reaches the hub again", deadline=10)
        s.equal(network.workers(node)[0], supervisor, "the supervisor")
    network.check_answers()
    for node in network.lab.nodes:
        s.contains(network.ctl(node, "diff").out, "0 to add, 0 to change", f"diff at {node}")


@story("all of overlayd is killed: diff says so, apply starts it, and links are not made anew")
def _(s):
    network = Network(s)
    for node in ("home", "linode"):
        network.kill(*network.workers(node))
        wait_until(lambda: not network.workers(node), f"overlayd of {node} is gone")
        told = network.ctl(node, "diff", code=2).out
        s.contains(told, "+ overlayd", "diff")
        s.check("- link" not in told and "+ link" not in told, f"links stay:\n{told}")
        network.ctl(node, "apply")
        s.contains(network.ctl(node, "apply").out, "0 changes, 0 writes", f"a second apply at {node}")
    network.check_answers()


@story("all of overlayd is killed, then down: nothing is kept for one that starts later, least of all keys")
def _(s):
    network = Network(s)
    directory = network.lab.state / network.lab.network / "linode"
    kept = directory / "run" / "overlayd.json"
    network.kill(*network.workers("linode"))
    wait_until(lambda: not network.workers("linode"), "overlayd of linode is gone")
    s.contains(kept.read_text(), "private_key=", "what is kept while it is needed")
    network.down("linode")
    s.check(not kept.exists(), f"{kept} is gone after down")
    network.ctl("linode", "apply")
    network.check_answers()


@story("down returns when overlayd has ended, however long that takes, and not before")
def _(s):
    network = Network(s)
    supervisor, worker = network.workers("home")
    run("kill", "-STOP", supervisor)
    s.start("sh", "-c", f"sleep 3; kill -CONT {supervisor}")
    network.down("home")
    left = run("ps", "-o", "pid=,stat=", "-p", f"{supervisor},{worker}", code=None).out.splitlines()
    s.equal([each for each in left if not each.split()[1].startswith("Z")], [], "what of overlayd is there after down")
    network.ctl("home", "apply")
    network.check_answers()


@story("down of an overlayd whose numbers are strangers' here, as in a container: its locks say when it has ended")
def _(s):
    network = Network(s)
    stranger = s.start("sleep", "1000")
    for lock in ("overlayd.lock", "supervisor.lock"):
        path = network.lab.state / network.lab.network / "home" / "run" / lock
        s.check(path.read_text().strip().isdigit(), f"{path} has a process id")
        path.write_text(str(stranger.pid))
    network.down("home")
    s.equal(network.workers("home"), [], "what of overlayd is there after down")
    s.check(stranger.alive(), "the stranger lives")
    network.ctl("home", "apply")
    network.check_answers()


@story("a stopped supervisor whose worker has died, and a stopped worker: down names them, and takes nothing away")
def _(s):
    network = Network(s)
    supervisor, worker = network.workers("home")
    run("kill", "-STOP", supervisor)
    network.kill(worker)
    wait_until(lambda: not network.workers("home"), "neither of them runs")
    links = network.at("home", "ls", "/sys/class/net").out
    told = network.down("home", code=1)
    s.contains(told.err, f"its supervisor (pid {supervisor}) runs, and no worker listens", "down without a worker")
    s.contains(told.err, f"kill -CONT {supervisor}", "what to do")
    s.equal(network.at("home", "ls", "/sys/class/net").out, links, "links after it")
    run("kill", "-CONT", supervisor)
    wait_until(lambda: network.reaches_hub("home"), "home reaches the hub again", deadline=10)

    worker = network.workers("home")[1]
    run("kill", "-STOP", worker)
    told = network.down("home", code=1)
    s.contains(told.err, f"overlayd does not answer (pid {worker})", "down with a stopped worker")
    s.contains(told.err, f"kill -CONT {worker}", "what to do")
    run("kill", "-CONT", worker)
    network.down("home")
    s.equal(network.workers("home"), [], "what of overlayd is there after down")


@story("a TAP deleted, renamed or taken down by hand comes back")
def _(s):
    network = Network(s)
    for change in ("ip link del gt-linode", "ip link set gt-linode down name gt-other up",
                   "ip link set gt-linode down"):
        network.at("home", "sh", "-ec", change)
        network.ctl("home", "diff", code=2)
        network.ctl("home", "apply")
        s.contains(network.ctl("home", "apply").out, "0 changes, 0 writes", f"a second apply after {change}")
        wait_until(lambda: network.reaches_hub("home"), f"home reaches the hub after {change}", deadline=15)


@story("GUE's port goes while its number stays wanted: the spoke moves to IPv6 and back, then to WireGuard at that number")
def _(s):
    network = spokes_at_a_hub.Network(s, "gue")
    batch(network.node["hub"], "address add 2001:db8:113::1/128 dev lo\naddress add 2001:db8:9::1/64 dev gue nodad\n")
    batch(network.node["gue"], "address add 2001:db8:9::2/64 dev eth0 nodad\n"
                               "route add 2001:db8:113::/48 via 2001:db8:9::1\n")
    told = json.loads(network.file.read_text())
    told["hub"]["underlay"]["addresses"].append("2001:db8:113::1")
    over_ipv4 = told["spokes"]["gue"]["link"]
    over_ipv6 = {**over_ipv4, "underlay": "ipv6", "local": "2001:db8:9::2"}
    in_wireguard = {"type": "gretap-wireguard", "address": "172.16.0.2/24", "datapath": "userspace",
                    "private_key_file": "gue.key", "public_key": network.public_key["gue"]}

    def becomes(link):
        told["spokes"]["gue"]["link"] = link
        network.file.write_text(json.dumps(told))
        for name in network.nodes:
            network.apply(name)
        for name in network.nodes:
            s.contains(network.apply(name).out, "0 changes, 0 writes", f"a second apply at {name}")
        network.reaches_hub("gue")

    for link in (over_ipv4, over_ipv6, over_ipv4):
        becomes(link)
    gue = told["hub"].pop("gue")
    told["hub"]["wireguard"]["listen_port"] = gue["port"]
    becomes(in_wireguard)
    told["hub"]["wireguard"]["listen_port"], told["hub"]["gue"] = 51820, gue
    becomes(over_ipv4)


@story("an overlayd that lives in another network namespace is neither used nor ended, and named when it is in the way")
def _(s):
    network = spokes_at_a_hub.Network(s, "gue")
    network.apply("hub")
    supervisor, worker = network.pids("hub")
    state, run_directory = ["--state-dir", s.folder / "state"], network.directories("hub")[2:]
    for verb, *words, code in (("snapshot", 0), ("doctor", network.file, "--node", "gue", 0), ("status", 0),
                               ("diff", network.file, "--node", "gue", 2), ("down", 0),
                               ("apply", network.file, "--node", "gue", 4)):
        told = network.node["gue"].run(overlayctl, verb, *words, *state, *run_directory, code=code)
    s.contains(told.err, f"another overlayd runs (pid {supervisor})", "apply")
    s.contains(told.err, "--run-dir", "what to do")
    s.equal(network.pids("hub"), [supervisor, worker], "the hub's overlayd")
    network.apply("gue")
    network.reaches_hub("gue")


@story("what strangers send to a port is counted there, by reason, and shown")
def _(s):
    network = spokes_at_a_hub.Network(s, "gue", "wg")
    for name in network.nodes:
        network.apply(name)
    hub = network.node["hub"]
    for name in network.spokes:
        network.reaches_hub(name)

    def report():
        told = hub.run(overlayctl, "status", "--json", *network.directories("hub")).json()["networks"][0]
        drops = {f"{each['port']}/{each['family']}": each["overlayd_drops"] for each in told["fou_ports"]}
        return drops | {each["name"]: each["overlayd_drops"] for each in told["links"] if "overlayd_drops" in each}
    before = report()
    with inside(network.node["gue"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for count, port, datagram in ((5, 5555, gue() + gre(frame(1))), (4, 5555, b"\x80" + gue()[1:] + gre(frame(2))),
                                      (3, 5555, b"\0"), (2, 5555, b""), (6, 51820, bytes(32)), (2, 51820, b"\1" + bytes(147))):
            for _ in range(count):
                sender.sendto(datagram, ("203.0.113.1", port))
    device = next(name for name in before if name.startswith("wg-"))
    wanted = {**before, "5555/ipv4": {"gue_version": 4, "no_link": 5, "too_short": 5},
              device: {**before[device], "mac1": 2, "not_wireguard": 6}}
    wait_until(lambda: report() == wanted, "all is counted", deadline=5, every=0.5)
    text = hub.run(overlayctl, "status", *network.directories("hub")).out
    s.contains(text, "fou port 5555/ipv4\n    dropped by overlayd: gue_version 4 no_link 5 too_short 5", "status")


@story("the ledger is lost: what overlayd carries is ours all the same")
def _(s):
    network = spokes_at_a_hub.Network(s, "gue", "wg")
    for name in network.nodes:
        network.apply(name)
    for name in network.nodes:
        shutil.rmtree(network.directories(name)[1])
        network.apply(name)
        s.contains(network.apply(name).out, "0 changes, 0 writes", f"a second apply at {name}")
    for name in network.spokes:
        network.reaches_hub(name)


@story("a peer that somebody adds with wg is drift")
def _(s):
    network = Network(s)
    device = "wg_vpns"
    stranger = run("wg", "pubkey", input=run("wg", "genkey").out).out.strip()
    network.at("linode", "wg", "set", device, "peer", stranger, "allowed-ips", "10.99.0.0/24")
    told = network.ctl("linode", "diff", code=2).out
    s.contains(told, f"- peer {stranger} of {device}", "diff")
    network.ctl("linode", "apply")
    if stranger in network.at("linode", "wg", "show", device).out:
        raise Failure("the stranger is still there")


@story("somebody else's socket at WireGuard's port, in by SO_REUSEPORT, takes nothing, also when the mark changes")
def _(s):
    network = Network(s)
    device = "wg_vpns"
    port = network.at("linode", "wg", "show", device, "listen-port").out.strip()
    s.start("nsenter", "-t", network.workers("linode")[1], "-n", "python3", "-c", f"""
import socket, time
for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    other = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.bind((every, {port}))
    globals()[every] = other
print("in", flush=True)
time.sleep(120)
""").wait_for_output("in")
    for mark in ("9", "0"):
        network.at("linode", "wg", "set", device, "fwmark", mark)
        s.equal(int(network.at("linode", "wg", "show", device, "fwmark").out.replace("off", "0"), 0), int(mark), "fwmark")
        network.check_answers()


@story("what was read on a node is compared elsewhere, where no ledger is: nothing would change, a change is seen")
def _(s):
    network = Network(s)
    for node in ("linode", "home"):
        directory = network.lab.state / network.lab.network / node
        state = s.folder / f"{node}.snapshot.json"
        state.write_text(network.at(node, overlayctl, "snapshot", "--run-dir", directory / "run").out)
        compared = (overlayctl, "diff", network.lab.file_for(node), "--node", node, "--state-dir", s.folder / "none",
                    "--against")
        s.contains(run(*compared, state).out, "0 to add, 0 to change, 0 to recreate, 0 to remove", f"diff of {node}")
        changed = s.folder / f"{node}.changed.json"
        changed.write_text(state.read_text().replace('"encap_sport": 5555', '"encap_sport": 5556'))
        s.check(changed.read_text() != state.read_text(), "a snapshot shows ports of tunnels")
        run(*compared, changed, code=2)


@story("whoever may not read what is applied is told so, and not that nothing is")
def _(s):
    network = Network(s)
    directory = network.lab.state / network.lab.network / "office"
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    mine = s.folder / "overlayctl"
    mine.write_bytes(pathlib.Path(overlayctl).read_bytes())
    mine.chmod(0o755)
    s.folder.chmod(0o755)
    for verb in ("status", "down"):
        told = network.at("office", *nobody, mine, verb, "--state-dir", directory / "state", "--run-dir",
                          directory / "run", code=1)
        s.contains(told.err, "ermi", f"{verb} for nobody")
        s.check("nothing is applied" not in told.out, told.out)


main()
