#!/usr/bin/env python3
"""What comes from the wrong place reaches no device and moves no peer: outer and inner addresses, GRE keys, replays.

Ours and a peer, both `carry`, on one cable; at the peer's end stands whoever wants to get in. After everything that
must not come in goes something that must, and all that is there when that has come is judged.
"""

import os
import pathlib
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from gue_datagrams import frame, gre, gue, k, number_of, ones_sum   # noqa: E402
from network import Capture, batch, inside   # noqa: E402
from story import main, run, story, wait_until   # noqa: E402

carry = pathlib.Path(os.environ["OVERLAY_BUILD"]) / "tests/carry"
ours, peer, second, stranger = "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.66"   # on the cable
our_end, peer_end, second_end, our_other_end = (f"10.7.0.{n}" for n in (1, 2, 3, 4))   # in WireGuard


class Cable:
    def __init__(self, s):
        self.s = s
        self.ours, self.peer = s.namespace("ours"), s.namespace("peer")
        s.veth(self.ours, "cable", self.peer, "cable")
        batch(self.ours, f"address add {ours}/24 dev cable\n")
        batch(self.peer, "".join(f"address add {each}/24 dev cable\n" for each in (peer, second, stranger)))

    def device(self, node, name, kind, address=None):
        batch(node, f"tuntap add {name} mode {kind} vnet_hdr\nlink set {name} mtu 1400 up\n")
        if address:
            batch(node, f"address add {address}/24 dev {name}\n")

    def carry(self, node, endpoint):
        offload = "auto" if node is self.ours else "none"   # the peer's datagrams are seen one by one
        config = self.s.file(f"{node.name}.json", {"offload": offload, "endpoints": [endpoint]})
        process = self.s.start(*node.argv(carry, config))
        wait_until(process.alive, "carry runs")
        return process


def numbers(capture, last):
    """Of all our frames up to this one, which is waited for."""
    found = []
    while not found or found[-1] != last:
        found.append(number_of(capture.wait(lambda p: number_of(p.frame[6:12]) is not None, f"frame {last}").frame[6:12]))
    return found


# ---- GUE -----------------------------------------------------------------------------------------

@story("GUE from another address, with another link's key, with none: no device gets it")
def _(s):
    cable = Cable(s)
    for device in ("tap1", "tap2"):
        cable.device(cable.ours, device, "tap")
    cable.carry(cable.ours, {"local": ours, "port": 5555, "links": [
        {"device": "tap1", "remote": peer, "remote_port": 5555, "key": 77},
        {"device": "tap2", "remote": second, "remote_port": 5555, "key": 78}]})

    def send(source, number, flags=k, key=77):
        with inside(cable.peer), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            sender.sendto(gue() + gre(frame(number), flags, the_key=key), (ours, 5555))

    with Capture(cable.ours, "tap1") as one, Capture(cable.ours, "tap2") as two:
        def arrives(number):
            send(peer, number)
            return any(number_of(packet.frame[6:12]) == number for packet in one.seen())
        wait_until(lambda: arrives(1), "the first frame")
        for number, (source, flags, key) in enumerate(
                ((stranger, k, 77), (stranger, k, 78), (second, k, 77), (peer, k, 78), (peer, k, 79), (peer, 0, 77)), 10):
            send(source, number, flags, key)
            send(peer, 99)   # the link that was the last is tried first
        send(peer, 100)
        send(second, 101, key=78)
        s.equal([each for each in numbers(one, 100) if each not in (1, 99)], [100], "frames of link one")
        s.equal(numbers(two, 101), [101], "frames of link two")


# ---- WireGuard -----------------------------------------------------------------------------------

def ip(source, target, payload, protocol=253, wrong=0):   # RFC 3692: for experiments
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(target))
    checksum = ~ones_sum(header) & 0xffff ^ wrong
    return header[:10] + struct.pack(">H", checksum) + header[12:] + payload


class Pair(Cable):
    """The peer believes every inner address to be ours, and ours to be its own, so that nothing stays with it."""

    def __init__(self, s):
        super().__init__(s)
        private = {name: run("wg", "genkey").out.strip() for name in ("ours", "peer", "second")}
        public = {name: run("wg", "pubkey", input=private[name]).out.strip() for name in private}
        self.device(self.ours, "wg", "tun", our_end)
        self.device(self.peer, "wg", "tun", peer_end)
        for device in ("tap1", "tap2", "tap3"):
            self.device(self.ours, device, "tap")
        self.carrier = self.carry(self.ours, {
            "private_key": private["ours"], "port": 51820, "tun": "wg", "stamp_file": str(s.folder / "stamps/ours"),
            "peers": [{"public_key": public["peer"], "allowed_ips": [f"{peer_end}/32"]},
                      {"public_key": public["second"], "allowed_ips": [f"{second_end}/32"]}],
            "links": [{"device": "tap1", "local": our_end, "remote": peer_end, "key": 77},
                      {"device": "tap2", "local": our_end, "remote": second_end, "key": 78},
                      {"device": "tap3", "local": our_other_end, "remote": peer_end, "key": 79}]})
        self.carry(self.peer, {
            "private_key": private["peer"], "port": 51820, "tun": "wg", "stamp_file": str(s.folder / "stamps/peer"),
            "local": peer, "peers": [{"public_key": public["ours"], "endpoint": f"{ours}:51820",
                                      "allowed_ips": ["0.0.0.0/0"]}]})
        self.meet()

    def meet(self):
        wait_until(lambda: self.peer.run("ping", "-n", "-c", "1", "-W", "1", our_end, code=None).code == 0,
                   "ours answers")

    def send(self, *packets):
        """Out of the peer's device, whatever is in them."""
        with inside(self.peer), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sender:
            for each in packets:
                sender.sendto(each, ("wg", 0x0800))


def is_ours(packet, number):
    return packet.payload[-4:] == struct.pack(">I", number)


@story("inner addresses that are not the peer's, GRE between wrong ends and with wrong keys: no device gets it")
def _(s):
    pair = Pair(s)
    with Capture(pair.ours, "tap1") as one, Capture(pair.ours, "tap2") as two, Capture(pair.ours, "wg") as tun:
        def gre_packet(number, source=peer_end, target=our_end, key=77, flags=k, wrong=0):
            return ip(source, target, gre(frame(number), flags, the_key=key), 47, wrong)
        # Not from its address: nowhere at all, whoever's address it is.
        pair.send(*(ip(source, our_end, struct.pack(">I", 7)) for source in (second_end, our_end, "10.7.0.9", "0.0.0.0")),
                  gre_packet(10, source=second_end, key=78), gre_packet(11, source="10.7.0.9"))
        # From its address, and no packet of a link: to nobody's TAP.
        pair.send(gre_packet(12, key=78), gre_packet(13, flags=0), gre_packet(14, target="10.7.0.99"),
                  gre_packet(15, wrong=1), gre_packet(99), gre_packet(16, key=78), gre_packet(17, target=second_end))
        pair.send(gre_packet(99), gre_packet(18, target=our_other_end, key=77))
        # GRE of others is an ordinary packet, whatever is in it.
        pair.send(ip(peer_end, "10.7.0.99", gre(struct.pack(">I", 9), protocol=0x0800), 47))
        pair.send(gre_packet(100), ip(peer_end, our_end, struct.pack(">I", 8)))
        s.equal(numbers(one, 100), [99, 99, 100], "frames of link one")
        found = []
        while not found or not is_ours(found[-1], 8):
            found.append(tun.wait(lambda p: p.source is not None and p.target is not None, "the last packet"))
        foreign = sorted({packet.source for packet in found} - {peer_end, our_end})
        s.equal(foreign, [], "sources on the TUN that are not the peer's")
        s.check(not any(is_ours(packet, 7) for packet in found), "a packet of a wrong source is on the TUN")
        s.check(any(is_ours(packet, 9) for packet in found), "GRE of others is not on the TUN")
        damaged = [packet for packet in found if number_of(packet.payload[14:20]) == 15]
        s.equal(damaged, [], "GRE with a damaged IP header on the TUN")
        s.equal([p for p in two.seen() if number_of(p.frame[6:12]) is not None], [], "frames of link two")


@story("a whole capture sent again from elsewhere, whole and damaged: no device gets it, and the peer stays")
def _(s):
    pair = Pair(s)
    with Capture(pair.ours, "cable") as cable:
        pair.send(*(ip(peer_end, our_end, struct.pack(">I", number)) for number in range(1000, 1050)))
        wait_until(lambda: pair.peer.run("ping", "-n", "-c", "1", "-W", "1", our_end, code=None).code == 0, "all is there")
        seen = [p.payload[8:] for p in cable.seen() if p.source == peer and p.target_port == 51820]
    s.check(len(seen) > 50, f"{len(seen)} datagrams")
    with Capture(pair.ours, "wg") as tun, Capture(pair.ours, "cable") as cable:
        with inside(pair.peer), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((stranger, 51820))
            for datagram in seen:
                for bad in (datagram, datagram[:-1] + bytes([datagram[-1] ^ 1]), datagram[:16] + datagram[15:]):
                    sender.sendto(bad, (ours, 51820))
        # To the peer, not to the stranger: before it speaks again.
        pair.ours.run("ping", "-n", "-c", "1", "-W", "5", peer_end)
        sent_to = {p.target for p in cable.seen() if p.source == ours and p.source_port == 51820}
        s.equal(sent_to, {peer}, "where our datagrams go")
        again = [p for p in tun.seen() if p.protocol == 253]
        s.equal(again, [], "packets on the TUN")


@story("whoever fills the room of handshakes takes none from data that are under way")
def _(s):
    pair = Pair(s)
    with Capture(pair.ours, "wg") as tun:
        os.kill(pair.carrier.pid, signal.SIGSTOP)
        with inside(pair.peer), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((stranger, 0))
            for _ in range(20_000):   # more than a socket's buffer has room for
                sender.sendto(struct.pack("<I", 1) + bytes(144), (ours, 51820))
        pair.send(*(ip(peer_end, our_end, struct.pack(">I", number)) for number in range(1000, 1050)))
        time.sleep(0.5)   # the peer has sealed them, and they are where the handshakes are
        os.kill(pair.carrier.pid, signal.SIGCONT)
        for number in range(1000, 1050):
            packet = tun.wait(lambda p: p.protocol == 253, f"packet {number}")
            s.check(is_ours(packet, number), f"another packet than {number}")


main()
