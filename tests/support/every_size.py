"""Packets and frames of every size between two namespaces, by sockets of our own; what did not arrive as it was sent.

A process per packet would cost fifty milliseconds under emulation, a packet of ours half of one. Nothing is sent
twice: on a cable that loses nothing, a tunnel has no excuse.
"""

import collections
import contextlib
import errno
import random
import select
import socket
import struct
import time

from network import family_of, inside

patience = 10.0        # seconds for an answer; an emulated processor on a loaded machine
in_flight = 16         # few enough for any queue on the way
experimental = 0x88B5  # IEEE 802: local experimental Ethertype 1

# Linux include/uapi/linux/in.h, in6.h, udp.h, if_packet.h; Python does not name them.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 23, 0, 2
_IPV6_DONTFRAG = 62
_UDP_SEGMENT = 103
_PACKET_OUTGOING = 4

_noise = random.Random("every size").randbytes(1 << 17)


def content(size, number=0):
    """Bytes that no other size and number has, from 8 bytes on."""
    start = (size * 7 + number * 131) % (len(_noise) // 2)
    return _noise[start:start + size]


def ranges(numbers):
    """For people: 3-5, 9."""
    parts = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in parts)


def _lost(items, send, into, receive, patience=patience):
    """send(item) each; receive() says which one has arrived at the socket `into`, None: something else."""
    waiting, left = set(), list(reversed(items))
    deadline = time.monotonic() + patience
    while left or waiting:
        while left and len(waiting) < in_flight:
            waiting.add(item := left.pop())
            send(item)
        if not select.select([into], [], [], max(deadline - time.monotonic(), 0))[0]:
            break   # these are lost; whether the rest would arrive tells no more
        item = receive()
        if item in waiting:
            waiting.remove(item)
            deadline = time.monotonic() + patience
    return waiting


# ---- ping ----------------------------------------------------------------------------------------

class Echo:
    """The one who pings, by a raw socket; the far kernel answers with what it was asked (RFC 792, RFC 4443)."""

    def __init__(self, namespace, source, target, whole=True):
        self.target, self.six = target, ":" in target
        self.number = random.Random(f"{namespace.name} {source} {target}").randrange(1 << 16)
        how = _PMTUDISC_DO if whole else _PMTUDISC_DONT
        with inside(namespace):
            if self.six:
                self.socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
                self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, how)
                self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, int(whole))
            else:
                self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
                self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)
        self.socket.bind((source, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, size):
        """An echo request with so many bytes behind its header of eight."""
        header = struct.pack("!BBHHH", 128 if self.six else 8, 0, 0, self.number, size)
        message = header + content(size)
        if not self.six:   # of ICMPv6 the kernel makes the checksum
            message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        self.socket.sendto(message, (self.target, 0))

    def _answered(self):
        message, (source, *_) = self.socket.recvfrom(65535)
        if not self.six:
            message = message[(message[0] & 15) * 4:]
        kind, code, _, number, size = struct.unpack_from("!BBHHH", message)
        mine = (kind, code, number) == (129 if self.six else 0, 0, self.number) and source == self.target
        return size if mine and message[8:] == content(size) else None

    def lost(self, sizes, patience=patience):
        """The sizes whose answer is not what was sent, or does not come in so many seconds."""
        return _lost(sizes, self.send, self.socket, self._answered, patience)

    def refused(self, size):
        """Whether this machine itself says that it does not fit."""
        try:
            self.send(size)
        except OSError as error:
            return error.errno == errno.EMSGSIZE
        return False


def checksum(message):
    """RFC 1071."""
    padded = message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# ---- Ethernet ------------------------------------------------------------------------------------

def mac_of(namespace, device):
    return bytes.fromhex(namespace.ip_json("link", "show", device)[0]["address"].replace(":", ""))


def lost_frames(sender, receiver, device, sizes):
    """Frames of a kind that no kernel answers, by the device of that name in each; sizes of the payload."""
    source, target = mac_of(sender, device), mac_of(receiver, device)
    header = target + source + struct.pack("!H", experimental)
    with packet_socket(sender, device) as out, packet_socket(receiver, device) as into:
        def arrived():
            frame, (_, _, direction, _, _) = into.recvfrom(65535)
            size = len(frame) - len(header)
            return size if direction != _PACKET_OUTGOING and frame == header + content(size) else None

        return _lost(sizes, lambda size: out.send(header + content(size)), into, arrived)


def packet_socket(namespace, device):
    with inside(namespace):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(experimental))
        made.bind((device, experimental))
    return made


# ---- UDP -----------------------------------------------------------------------------------------

def udp_socket(namespace, address, port=0):
    with inside(namespace):
        made = socket.socket(family_of(address), socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    return made


def lost_datagrams(sender, receiver, address, sizes, port=7002):
    """Sizes of UDP payloads that did not arrive as they were sent."""
    with udp_socket(receiver, address, port) as into, udp_socket(sender, "::" if ":" in address else "0.0.0.0") as out:
        def arrived():
            datagram = into.recv(65535)
            return len(datagram) if datagram == content(len(datagram)) else None

        return _lost(sizes, lambda size: out.sendto(content(size), (address, port)), into, arrived)


def lost_of_burst(sender, receiver, address, size, count, port=7002):
    """Numbers of those datagrams that did not arrive, of many that a kernel is given as one (UDP_SEGMENT)."""
    pieces = [content(size, number) for number in range(count)]
    with udp_socket(receiver, address, port) as into, udp_socket(sender, "::" if ":" in address else "0.0.0.0") as out:
        out.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, size)
        out.sendto(b"".join(pieces), (address, port))
        into.settimeout(patience)
        missing = collections.Counter(pieces)
        with contextlib.suppress(TimeoutError):
            for _ in pieces:
                missing[into.recv(65535)] -= 1
    return [number for number, piece in enumerate(pieces) if missing[piece] != 0]


# ---- to many -------------------------------------------------------------------------------------

def groups_of(broadcast):
    """Everything that is not to one host: Ethernet's broadcast and multicast, by IPv4 and IPv6."""
    return ["255.255.255.255", broadcast, "224.0.0.251", "239.1.2.3", "ff02::1", "ff02::fb", "ff15::7"]


def times_arrived(sender, receiver, device, groups, own, port=7003):
    """How often one datagram to each group arrived. `own`: (IPv4, IPv6) of the receiver, for the last ones, behind
    which nothing is on its way any more."""
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        chosen = [each for each in groups if family_of(each) == family]
        last = own[family == socket.AF_INET6]
        with group_socket(sender, device, family, 0, []) as out, \
                group_socket(receiver, device, family, port, chosen) as into:
            for each in chosen:
                out.sendto(each.encode(), (each, port))
            time.sleep(0.05)   # a copy may take another way than the last one's
            out.sendto(b"last", (last, port))
            into.settimeout(patience)
            arrived = collections.Counter()
            with contextlib.suppress(TimeoutError):
                while not arrived["last"]:
                    arrived[into.recv(65535).decode()] += 1
        found.update({each: arrived[each] for each in chosen})
    return found


def group_socket(namespace, device, family, port, groups):
    with inside(namespace):
        index = socket.if_nametoindex(device)
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
        for each in groups:
            if family == socket.AF_INET6:
                joined = socket.inet_pton(family, each) + struct.pack("I", index)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
            elif 224 <= int(each.split(".")[0]) < 240:
                joined = struct.pack("4s4si", socket.inet_aton(each), bytes(4), index)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
    return made
