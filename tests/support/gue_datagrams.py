"""Odd and malformed datagrams for a GUE port: (what, bytes) pairs. Each has a frame whose source address is its
number, so that whoever accepts it tells which it was."""

import struct

key, ethertype = 77, 0x88b5   # IEEE 802: for experiments
k, c, s, r = 0x2000, 0x8000, 0x1000, 0x4000   # GRE: key, checksum, sequence, routing


def frame(number, size=64):
    return (bytes.fromhex("020000000099") + b"\x06\0" + struct.pack(">IH", number, ethertype) +
            bytes(range(256)))[:size]


def number_of(source):
    """Of a frame, by its source address; None: not one of ours."""
    return struct.unpack(">I", source[2:])[0] if source[:2] == b"\x06\0" else None


def gue(first=0, protocol=47, flags=0, words=b""):
    return struct.pack(">BBH", first, protocol, flags) + words


def ones_sum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def gre(payload, flags=k, protocol=0x6558, the_key=key, sum_error=0):
    """With the options that the flags ask for (RFC 2784, 2890), in their order."""
    options = b"\0\0\0\0" if flags & (c | r) else b""
    options += struct.pack(">I", the_key) if flags & k else b""
    options += struct.pack(">I", 1) if flags & s else b""
    packet = bytearray(struct.pack(">HH", flags, protocol) + options + payload)
    if flags & c:
        packet[4:6] = struct.pack(">H", (~ones_sum(bytes(packet)) & 0xffff) ^ sum_error)
    return bytes(packet)


class Datagrams:
    def __init__(self):
        self.all = []
        self.gue_headers()
        self.private_flags()
        self.gre_headers()
        self.lengths()
        self.flipped_bits()

    def add(self, what, make):
        """`make`: from a frame to a datagram."""
        self.all.append((what, make(frame(len(self.all)))))

    def gue_headers(self):
        for first in range(256):   # version, control, length
            words = bytes(4 * (first & 0x1f))
            self.add(f"GUE {first:02x}", lambda f: gue(first, words=words) + gre(f))
        for protocol in (0, 1, 4, 6, 17, 41, 46, 48, 59, 255):
            self.add(f"GUE protocol {protocol}", lambda f: gue(protocol=protocol) + gre(f))
        for bit in range(16):
            for words in range(3):
                self.add(f"GUE flag {1 << bit:04x}, {words} words",
                         lambda f: gue(words, flags=1 << bit, words=bytes(4 * words)) + gre(f))

    def private_flags(self):
        for bit in range(32):
            for words in (1, 2, 3):
                content = struct.pack(">I", 1 << bit) + bytes(4 * (words - 1))
                self.add(f"private flag {1 << bit:08x}, {words} words",
                         lambda f: gue(words, flags=1, words=content) + gre(f))
        for start in (0, 1, 7, 8, 22, 40, 71, 72, 73, 200, 65535):
            for offset in (0, 24, 38, 70, 71, 72, 65534, 65535):
                content = struct.pack(">IHH", 0x80000000, start, offset)
                self.add(f"remote checksum {start} {offset}",
                         lambda f: gue(2, flags=1, words=content) + gre(f))

    def gre_headers(self):
        for bit in range(16):
            for base in (0, k):
                self.add(f"GRE flag {1 << bit:04x} and {base:04x}",
                         lambda f: gue() + gre(f, base | 1 << bit))
        for flags in (0, c, k, s, c | k, c | s, k | s, c | k | s):
            for the_key in (key, key + 1, 0):
                for error in (0, 1):
                    self.add(f"GRE {flags:04x} key {the_key} checksum {'wrong' if error else 'right'}",
                             lambda f: gue() + gre(f, flags, the_key=the_key, sum_error=error))
        for protocol in (0, 0x0800, 0x86dd, 0x6559, 0x88be, 0xffff):
            self.add(f"GRE protocol {protocol:04x}", lambda f: gue() + gre(f, protocol=protocol))

    def lengths(self):
        for flags in (0, k):
            for size in range(90):
                self.add(f"{size} bytes of {flags:04x}", lambda f: (gue() + gre(f, flags))[:size])

    def flipped_bits(self):
        for flags in (0, k):
            for bit in range(8 * (8 if flags == 0 else 12)):
                def flip(f):
                    out = bytearray(gue() + gre(f, flags))
                    out[bit // 8] ^= 0x80 >> bit % 8
                    return bytes(out)
                self.add(f"bit {bit} of {flags:04x}", flip)
