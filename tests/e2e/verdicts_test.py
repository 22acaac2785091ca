#!/usr/bin/env python3
"""What a kernel's gretaps over GUE take and what they drop, and ours: the same datagrams to both, one by one.
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from gue_datagrams import Datagrams, key   # noqa: E402
from network import batch   # noqa: E402
from story import main, run, story, wait_until   # noqa: E402

carry = pathlib.Path(os.environ["OVERLAY_BUILD"]) / "tests/carry"
support = pathlib.Path(__file__).resolve().parents[1] / "support"
devices = {"keyed": key, "keyless": None}

# Says "DEVICE NUMBER" of each of our frames that a device receives.
listener = f"""
import socket, sys
sys.path.insert(0, {str(support)!r})
from gue_datagrams import ethertype, number_of
listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listening.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)   # SO_RCVBUFFORCE
print("listening", flush=True)
while True:
    frame, (device, *_) = listening.recvfrom(2048)
    number = number_of(frame[6:12])
    if device in ("keyed", "keyless") and number is not None:
        print(device, number, flush=True)
"""

# Sends lines of hexadecimal digits from a file, each a datagram to both ends.
sender = """
import socket, sys, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for at, address in zip(sockets, ("10.9.1.1", "10.9.2.1")):
    at.bind((address[:-1] + "9", 5555))
for line in open(sys.argv[1]):
    for at, address in zip(sockets, ("10.9.1.1", "10.9.2.1")):
        at.sendto(bytes.fromhex(line), (address, 5555))
    time.sleep(0.004)
"""


class Ends:
    """A stranger with a cable to a kernel and one to us, and two gretaps at each end: with a key and without."""

    def __init__(self, s):
        self.s = s
        self.stranger, self.kernel, self.ours = (s.namespace(name) for name in ("stranger", "kernel", "ours"))
        for number, end in enumerate((self.kernel, self.ours), 1):
            s.veth(self.stranger, f"cable{number}", end, "cable")
            batch(self.stranger, f"address add 10.9.{number}.9/24 dev cable{number}\n")
            batch(end, f"address add 10.9.{number}.1/24 dev cable\n")
        run("modprobe", "-a", "fou", "ip_gre", "tun")
        batch(self.kernel, "fou add port 5555 gue\n" + "".join(
            f"link add {device} type gretap local 10.9.1.1 remote 10.9.1.9 {f'key {number}' if number else ''} "
            f"encap gue encap-sport 5555 encap-dport 5555\nlink set {device} up\n"
            for device, number in devices.items()))
        self.ours.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")   # or they would speak by themselves
        batch(self.ours, "".join(f"tuntap add {device} mode tap vnet_hdr\nlink set {device} up\n"
                                 for device in devices))
        links = [{"device": device, "remote": "10.9.2.9", "remote_port": 5555,
                  **({"key": number} if number else {})} for device, number in devices.items()]
        config = {"endpoints": [{"local": "10.9.2.1", "port": 5555, "links": links}]}
        s.start(*self.ours.argv(carry, s.file("carry.json", config)))
        self.listeners = [s.start(*end.argv("python3", "-c", listener)) for end in (self.kernel, self.ours)]
        for each in self.listeners:
            each.wait_for_output("listening")
        wait_until(lambda: ":15B3" in self.ours.sh("cat /proc/net/udp").out, "the port is open")

    def accepted(self):
        """By the kernel and by us: {"DEVICE NUMBER"}."""
        return [set(each.output().splitlines()) - {"listening"} for each in self.listeners]


@story("odd and malformed GUE and GRE: each taken or dropped as the kernel does, and none answered")
def _(s):
    ends = Ends(s)
    datagrams = Datagrams().all
    replies = s.start(*ends.stranger.argv("tcpdump", "-n", "-l", "-i", "cable2", "src", "10.9.2.1", "and", "ip"))
    replies.wait_for_output("listening on")
    file = s.file("datagrams", "".join(each.hex() + "\n" for _, each in datagrams))
    ends.stranger.run("python3", "-c", sender, file, timeout=120)
    time.sleep(1)
    kernel, ours = ends.accepted()
    differences = [f"{datagrams[int(each.split()[1])][0]}: {each.split()[0]}, "
                   f"{'the kernel' if each in kernel else 'we'} alone took it" for each in sorted(kernel ^ ours)]
    s.equal("\n".join(differences), "", f"verdicts on {len(datagrams)} datagrams")
    s.check(len(datagrams) >= 500 and 100 < len(kernel) < len(datagrams) - 100,
            f"{len(kernel)} of {len(datagrams)} taken: no test of verdicts")
    answered = [line for line in replies.output().splitlines() if " IP " in line]
    s.equal("\n".join(answered), "", "what we answered")
    s.note(f"{len(datagrams)} datagrams, {len(kernel)} taken by both")


main()
