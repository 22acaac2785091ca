"""What the firewalls of the blog's network do to packets: opened connections, broadcasts and odd segments, as
the other end sees them."""

import socket
import struct

from blog_network import hub4, outside4, outside6, pc4
from network import Capture, handshake, inside

office4 = "192.168.1.2"
marker_port = 9999


def firewall_effects(network):
    """`pc` has an MTU of 1500, as its LAN and the hub's uplink have."""
    pc, hub, office, internet = (network[host] for host in ("pc", "hub", "office", "internet"))
    pc6 = network.global_address("pc")
    out6 = handshake(pc, "eth0", internet, "hub", outside6)
    out6["source"] = out6["source"].replace(pc6, "its own")
    return {
        "LAN to Internet, IPv4": handshake(pc, "eth0", internet, "hub", outside4),
        "LAN to Internet, IPv6": out6,
        "Internet to LAN": handshake(internet, "hub", pc, "eth0", pc6, source=outside6),
        "hub to Internet": handshake(hub, "eth0", internet, "hub", outside4),
        "hub to LAN": handshake(hub, "taps_bridge", pc, "eth0", pc4),
        "LAN to hub": handshake(pc, "eth0", hub, "taps_bridge", hub4),
        "LAN to office": handshake(pc, "eth0", office, tunnel_of(office), office4),
        "office gets the LAN's DHCP": dhcp_arrives(pc, office),
        "office gets the LAN's Router Advertisement": advertisement_arrives(pc, office),
        "a SYN without MSS option to the Internet": mss_given(pc, internet),
    }


def expected_effects(mtu, guarded=None):
    """`mtu`: of the hub's bridge; `guarded`: the GUE tunnel's and the office's, where bridged TCP is clamped
    and DHCP and advertisements are dropped. MSS = MTU - 40 (IPv4), - 60 (IPv6)."""
    def seen(source, mss, answer=None):
        return {"source": source, "mss": mss, "mss of the answer": mss if answer is None else answer}
    gue, office = guarded or (1500, 1500)
    narrow = mtu - 40
    return {
        "LAN to Internet, IPv4": seen("1.2.3.4", narrow),
        "LAN to Internet, IPv6": seen("its own", mtu - 60),
        "Internet to LAN": seen(outside6, mtu - 60),
        "hub to Internet": seen("1.2.3.4", 1460),
        "hub to LAN": seen(hub4, narrow, min(1460, gue - 40)),
        "LAN to hub": seen(pc4, min(1460, gue - 40), narrow),
        "LAN to office": seen(pc4, min(1460, gue - 40, office - 40), narrow),
        "office gets the LAN's DHCP": guarded is None,
        "office gets the LAN's Router Advertisement": guarded is None,
        "a SYN without MSS option to the Internet": None,
    }


def tunnel_of(office):
    return next(link["ifname"] for link in office.ip_json("link", "show", "type", "gretap")
                if link["ifname"] != "gretap0")


def dhcp_arrives(sender, receiver):
    """A DHCPDISCOVER (RFC 2131 §4.1), by ports and address; and behind it what surely arrives."""
    with inside(sender):
        by = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    by.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    by.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    by.bind(("0.0.0.0", 68))

    def send():
        by.sendto(bytes(300), ("255.255.255.255", 67))
        by.sendto(b"marker", ("255.255.255.255", marker_port))
    with by:
        return arrives(receiver, send, lambda p: p.target_port == 67,
                       lambda p: p.target_port == marker_port)


def advertisement_arrives(sender, receiver):
    """An advertisement of nothing (RFC 4861 §4.2: lifetime 0, no options), then an echo request."""
    with inside(sender):
        by = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex("eth0")
    by.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    marker = struct.pack("!BBHHH", 128, 0, 0, marker_port, 0)

    def send():
        by.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0), ("ff02::1", 0, 0, index))
        by.sendto(marker, ("ff02::1", 0, 0, index))
    with by:
        return arrives(receiver, send,
                       lambda p: p.payload[:1] == b"\x86" and p.payload[6:8] == b"\0\0",
                       lambda p: p.payload[:1] == b"\x80" and p.payload[4:6] == marker[4:6])


def arrives(receiver, send, is_wanted, is_marker):
    """Whether a wanted packet was seen before the marker that was sent behind it."""
    seen = []

    def until_marker(packet):
        seen.append(is_wanted(packet))
        return is_marker(packet)
    with Capture(receiver, tunnel_of(receiver)) as capture:
        send()
        capture.wait(until_marker, "what was sent behind it")
    return any(seen)


def mss_given(client, server, port=7002):
    """The MSS option of a SYN that was sent without; None: still without."""
    source, target = socket.inet_aton(pc4), socket.inet_aton(outside4)
    header = struct.pack("!HHIIBBHHH", port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    words = struct.unpack("!16H", source + target + struct.pack("!HH", 6, len(header)) + header)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    with inside(client):
        by = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with by, Capture(server, "hub") as capture:
        by.sendto(header[:16] + struct.pack("!H", checksum) + header[18:], (outside4, 0))
        return capture.wait(lambda p: p.is_syn and p.target_port == port, "the bare SYN").mss
