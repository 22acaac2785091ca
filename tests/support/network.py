"""Networks by hand: cables, routers that translate, sockets in namespaces, packets as they were seen.

Stories build what surrounds the overlay with this (the Internet, NATs, LAN hosts), and judge what the
overlay does to packets by what a packet socket saw and by real TCP connections. Sockets are opened by
entering the namespace with one thread, so that no helper program has to start under emulation.
"""

import contextlib
import ctypes
import hashlib
import os
import pathlib
import random
import socket
import struct
import threading
import time

from story import Failure, run

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_ARPHRD_NONE = 0xFFFE
_SO_RCVBUFFORCE = 33   # asm-generic/socket.h; beyond net.core.rmem_max


# ---- namespaces ----------------------------------------------------------------------------------

@contextlib.contextmanager
def inside(namespace):
    """The calling thread is in the namespace until the end of the block; sockets stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace.name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(there, _CLONE_NEWNET) != 0:
            raise Failure(f"cannot enter {namespace.name}: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            _libc.setns(home, _CLONE_NEWNET)
    finally:
        os.close(there)
        os.close(home)


def batch(namespace, lines):
    """Several `ip` commands in one process; the first that fails ends it."""
    namespace.ip("-batch", "-", input=lines)


def run_inside(namespace, *argv, **options):
    """Like namespace.run(), but with this machine's /sys and /etc: several times faster."""
    with inside(namespace):
        return run(*argv, **options)


def set_sysctls(namespace, **values):
    """net__ipv4__ip_forward="1": /proc/sys/net is that of the thread that opens it."""
    with inside(namespace):
        for key, value in values.items():
            pathlib.Path("/proc/sys", *key.split("__")).write_text(value)


def translate(namespace, wan, forward=()):
    """Makes it a masquerading router; `forward`: (UDP port, inner address) pairs."""
    rules = "".join(f'iifname "{wan}" udp dport {port} dnat to {address}\n'
                    for port, address in forward)
    set_sysctls(namespace, net__ipv4__ip_forward="1")
    run_inside(namespace, "nft", "-f", "-", input=f"""table ip nat {{
        chain in {{ type nat hook prerouting priority dstnat; {rules} }}
        chain out {{ type nat hook postrouting priority srcnat; oifname "{wan}" masquerade; }}
    }}""")


# ---- packets -------------------------------------------------------------------------------------

class Packet:
    """What a story asks about a frame: addresses, ports, flags, MSS. None where it has none."""

    def __init__(self, frame):
        self.frame = frame
        self.source = self.target = self.protocol = self.mss = self.flags = None
        self.source_port = self.target_port = None
        self.payload = b""
        kind = frame[12:14]
        if kind == b"\x08\x00" and len(frame) >= 34:
            self._ip(socket.AF_INET, frame[26:30], frame[30:34])
            self._above(frame[23], frame[14 + (frame[14] & 15) * 4:])
        elif kind == b"\x86\xdd" and len(frame) >= 54:   # no extension headers in what we look at
            self._ip(socket.AF_INET6, frame[22:38], frame[38:54])
            self._above(frame[20], frame[54:])

    def _ip(self, family, source, target):
        self.source, self.target = socket.inet_ntop(family, source), socket.inet_ntop(family, target)

    def _above(self, protocol, rest):
        self.protocol, self.payload = protocol, rest
        if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(rest) >= 8:
            self.source_port, self.target_port = struct.unpack("!HH", rest[:4])
        if protocol == socket.IPPROTO_TCP and len(rest) >= 20:
            self.flags = rest[13]
            self._options(rest[20:(rest[12] >> 4) * 4])

    def _options(self, options):
        while options and options[0] != 0:
            if options[0] == 1:
                options = options[1:]
                continue
            if options[0] == 2:
                self.mss = struct.unpack("!H", options[2:4])[0]
            options = options[max(options[1], 2):]

    @property
    def is_syn(self):
        return self.flags is not None and self.flags & 0x12 == 0x02

    @property
    def is_syn_ack(self):
        return self.flags is not None and self.flags & 0x12 == 0x12


class Capture:
    """Every frame that an interface sees from now on."""

    def __init__(self, namespace, interface):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        with inside(namespace):
            self.socket.bind((interface, _ETH_P_ALL))
        self.what = f"{interface} of {namespace.name}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _next(self):
        frame, (_, protocol, _, hardware, _) = self.socket.recvfrom(65535)
        if hardware == _ARPHRD_NONE:   # WireGuard: no Ethernet header
            frame = bytes(12) + struct.pack("!H", protocol) + frame
        return Packet(frame)

    def wait(self, wanted, what, deadline=20.0):
        """The first packet for which wanted(packet) is true."""
        end = time.monotonic() + deadline
        while True:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                packet = self._next()
            except TimeoutError:
                raise Failure(f"{self.what}: not seen within {deadline:g} s: {what}") from None
            if wanted(packet):
                return packet

    def seen(self):
        """Everything that has come by now."""
        packets = []
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                packets.append(self._next())
        return packets


# ---- real TCP ------------------------------------------------------------------------------------

def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(namespace, address, port):
    with inside(namespace):
        listener = socket.socket(family_of(address), socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4)
    return listener


def connect(namespace, address, port, source=None, deadline=20.0):
    """A connection; tries again until the deadline, since a bridge or tunnel may just come up."""
    end = time.monotonic() + deadline
    while True:
        with inside(namespace):
            stream = socket.socket(family_of(address), socket.SOCK_STREAM)
        try:
            if source:
                stream.bind((source, 0))
            stream.settimeout(max(end - time.monotonic(), 0.1))
            stream.connect((address, port))
            return stream
        except OSError as error:
            stream.close()
            if time.monotonic() >= end:
                raise Failure(f"no TCP from {namespace.name} to {address} port {port} within "
                              f"{deadline:g} s: {error}") from None
            time.sleep(0.2)


def _send(stream, content, deadline):
    stream.settimeout(max(deadline - time.monotonic(), 0.1))   # sendall: of the whole
    stream.sendall(content)


def _receive(stream, size, deadline):
    digest, left = hashlib.sha256(), size
    while left > 0:
        stream.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = stream.recv(min(left, 1 << 16))
        if not piece:
            raise Failure(f"the connection ended {left} bytes early")
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def tcp_each_way(client, server, address, megabytes=10, deadline=90.0, port=7000):
    """Sends so much from client to server, then as much back; checks SHA-256. Returns the seconds."""
    end = time.monotonic() + deadline
    size = megabytes * 1_000_000
    there, back = (random.Random(f"{address} {way}").randbytes(size) for way in ("there", "back"))
    failures, received = [], []
    listener = listen(server, address, port)

    def serve():
        try:
            listener.settimeout(deadline)
            stream, _ = listener.accept()
            with stream:
                received.append(_receive(stream, size, end))
                _send(stream, back, end)
        except (OSError, Failure) as error:
            failures.append(f"{server.name}: {error}")

    start = time.monotonic()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener, connect(client, address, port) as stream:
        try:
            _send(stream, there, end)
            returned = _receive(stream, size, end)
        except (OSError, Failure) as error:
            raise Failure(f"{megabytes} MB of TCP, {client.name} to {address}: {error} "
                          f"{' '.join(failures)}") from None
        thread.join(max(end - time.monotonic(), 0.1))
    for what, found, content in (("there", received[0], there), ("back", returned, back)):
        if found != hashlib.sha256(content).hexdigest():
            raise Failure(f"{client.name} to {address}: what went {what} is not what was sent")
    return time.monotonic() - start


def handshake(client, client_end, server, server_end, address, source=None, port=7001):
    """Opens one connection; what both sides saw of it. `…_end`: the interface to look at."""
    with Capture(server, server_end) as at_server, Capture(client, client_end) as at_client:
        listener = listen(server, address, port)
        with listener, connect(client, address, port, source):
            syn = at_server.wait(lambda p: p.is_syn and p.target_port == port, "the SYN")
            answer = at_client.wait(lambda p: p.is_syn_ack and p.source_port == port, "the SYN/ACK")
    return {"source": syn.source, "mss": syn.mss, "mss of the answer": answer.mss}
