#!/usr/bin/env python3
"""overlayd's offloads: links of both kinds carry TCP whole with any of them off and with all; a kernel that breaks one
is found out at start; what the file says holds for the overlayd that apply starts, its small memory, too.
"""

import pathlib
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import Capture, inside   # noqa: E402
from spokes_at_a_hub import Network, inner   # noqa: E402
from story import Skip, build, main, overlayctl, run, sample, story, wait_until   # noqa: E402

UDP_SEGMENT = 103   # linux/udp.h
names = ("device-tso", "device-gro", "udp-gso", "udp-gro")
overlayd = build / "daemon/overlayd"


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{pid} has no memory")


def words_but(*off):
    return ",".join(name for name in names if name not in off) or "none"


def segments_tcp(node, device):
    """Whether the kernel may hand super-frames to the device's reader."""
    return "tcp-segmentation-offload: on" in node.run("ethtool", "-k", device).out


@story("TCP both ways over GUE and WireGuard with each offload off in turn, with all off, and with none off")
def _(s):
    network = Network(s, "gue", "wg")
    ways = sample([names, *((name,) for name in names), ()])
    for off in ways:
        network.restart(f"# for this story\noffload = {words_but(*off)}\n")
        before = network.lost()
        network.tcp()
        s.equal(network.lost(), before, f"frames that a device did not take without {off}")
        expected = {name: "off" if name in off else "on" for name in names}
        for name in network.nodes:
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
    network = Network(s, "gue", "wg")
    told = network.apply("hub", "\noffload = device,fast\n", code=None)
    s.check(told.code not in (0, 2), f"apply succeeds: {told}")
    s.contains(told.err, '/etc/overlay/overlayd.conf, line 2: "fast" is neither auto nor none', "what apply says")
    told = network.node["hub"].run(overlayd, "--offload", "fast", code=1)
    s.contains(told.err, '--offload: "fast" is neither', "what overlayd says")


@story("a kernel that damages trains of datagrams is found out at start, and the link does without")
def _(s):
    network = Network(s, "gue", "wg")
    # Longer than any single datagram of ours: only a train is as long, before it is cut.
    damage = "nft add table ip damage; nft 'add chain ip damage out { type filter hook output priority 0; }'; " \
             "nft add rule ip damage out meta oifname lo meta l4proto udp meta length gt 20000 @th,8000,32 set 1"
    for name in network.nodes:
        network.node[name].sh(damage)
    network.restart("")
    for name in network.nodes:
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
    network = Network(s, "gue", "wg")
    network.node["gue"].ip("link", "set", "lo", "down")
    network.restart("")
    for link, offloads in network.offloads("gue").items():
        s.equal(offloads, {name: "on" for name in names}, f"offloads of {link}")
    s.check(" is off" not in network.log("gue"), network.log("gue"))
    network.tcp(2)


@story("datagrams of one size that come together reach the device as one, where the kernel takes such")
def _(s):
    network = Network(s, "gue", "wg")
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
    network = Network(s, "gue", "wg")
    network.restart("memory = small\n")
    network.tcp(20)
    resident = {name: [round(resident_mib(pid), 1) for pid in network.pids(name)] for name in network.nodes}
    s.equal({name: len(each) for name, each in resident.items()}, dict.fromkeys(network.nodes, 2), "processes of overlayd")
    s.check(all(mib <= 8 for each in resident.values() for mib in each), f"MiB: {resident}")
    s.note(f"MiB: {resident}")


@story("what waits in the kernel: two megabytes at a GUE port, one with memory = small and for WireGuard, at each thread")
def _(s):
    network = Network(s, "gue", "wg")

    def buffers(port):   # of each socket, receiving and sending; the kernel allows twice what is asked for (socket(7))
        told = network.node["hub"].run("ss", "-uanmH", "sport", "=", f":{port}").out
        return re.findall(r"\brb(\d+),.*?\btb(\d+)", told)

    for words, threads, gue_bytes in (("", 1, 2 << 21), ("threads = 3\n", 3, 2 << 21), ("memory = small\n", 1, 2 << 20)):
        network.restart(words)
        s.equal(buffers(5555), [(str(gue_bytes), str(gue_bytes))] * threads, f"GUE, with {words!r}")
        s.equal(set(buffers(51820)), {(str(2 << 20), str(2 << 20))}, f"WireGuard, with {words!r}")


@story("where wg's folder cannot be had, links are carried all the same, and wg reaches them when it can")
def _(s):
    network = Network(s, "gue", "wg")
    folder = s.file("wireguard", "in the way")
    network.restart(f"uapi-dir = {folder}\n")
    network.tcp(2)
    s.contains(network.log("hub"), f"overlayd: open {folder}: ", "the log")
    folder.unlink()
    wait_until((folder / "wg-offloads.sock").exists, "wg's socket")
    wait_until(lambda: "overlayd: wg reaches wg-offloads now" in network.log("hub"), "the log tells of it")
    s.equal(network.log("hub").count(f"open {folder}"), 1, "how often the log told of it")


main()
