"""What travels on an underlay: the outer IP header of each packet that a capture saw, by the few fields
that a story asks for (RFC 791 §3.1, RFC 8200 §3 and §4.5)."""

import dataclasses
import socket
import struct
import time


@dataclasses.dataclass
class Outer:
    version: int
    length: int        # of the whole IP packet, header included, by the frame
    protocol: int      # IPv6: of the first header behind the fixed one
    fragment: bool


def read_outer(frame):
    """None: not IP.

    The length in the IP header is no witness: FOU's receiver takes UDP and GUE off it, in the bytes that
    a packet socket shares with it (Linux 6.1 net/ipv4/fou_core.c, fou_recv_pull). A veth pads nothing."""
    kind, = struct.unpack_from("!H", frame, 12)
    packet = frame[14:]
    if kind == 0x0800 and len(packet) >= 20:
        place, _, protocol = struct.unpack_from("!HBB", packet, 6)
        return Outer(4, len(packet), protocol, place & 0x3FFF != 0)   # more fragments, or an offset
    if kind == 0x86DD and len(packet) >= 40:
        return Outer(6, len(packet), packet[6], packet[6] == 44)
    return None


def outers(capture):
    """The tunnels' packets since the last look: UDP, and fragments of anything."""
    time.sleep(0.05)   # what was sent just now arrives; an absence is judged by this
    packets = [read_outer(packet.frame) for packet in capture.seen()]
    return [each for each in packets
            if each and (each.fragment or each.protocol == socket.IPPROTO_UDP)]
