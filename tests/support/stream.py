"""Streams of numbered, timed datagrams through links, and how long nothing came.

Each stream sends one small UDP datagram every 5 ms. Senders write the time into it and the receivers' kernel
says when it came, so neither waits for the story that kills things meanwhile.
"""

import contextlib
import socket
import struct
import threading
import time

from network import inside
from story import Failure

_SO_TIMESTAMPNS = 35   # asm-generic/socket.h
_payload = struct.Struct("!Qd")   # number, when it was sent
_interval_seconds = 0.005
_first_port = 7100
_kept = 5000           # of each stream: 25 s


def now():
    return time.time()   # CLOCK_REALTIME, that of SO_TIMESTAMPNS


def _bound(namespace, address, port):
    with inside(namespace):
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        out.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        out.setblocking(False)
        out.bind((address, port))
    return out


class Stream:
    """One direction. `start`, `end`: a namespace and an address there."""

    def __init__(self, name, start, end, number):
        self.name, self.to = name, (end[1], _first_port + number)
        self.sender, self.receiver = _bound(*start, 0), _bound(*end, _first_port + number)
        self.sent, self.came = 0, []   # of what came: when it was sent, when it came
        self.is_quiet = False          # it sends nothing, and nothing is expected

    def send(self):
        self.sent += 1
        with contextlib.suppress(OSError):   # no route, no device: what the story does to it
            self.sender.sendto(_payload.pack(self.sent, now()), self.to)

    def receive(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                content, controls, _, _ = self.receiver.recvmsg(64, 64)
                seconds, nanoseconds = struct.unpack("qq", controls[0][2])
                self.came.append((_payload.unpack(content)[1], seconds + nanoseconds / 1e9))
        if len(self.came) > 2 * _kept:
            self.came = self.came[-_kept:]

    def first_since(self, moment):
        """When the first of those came that were sent since then; None: none has yet."""
        came = self.came
        index = len(came)
        while index > 0 and came[index - 1][0] >= moment:
            index -= 1
        return came[index][1] if index < len(came) else None


class Streams:
    """All of them in one thread, until the end of the story."""

    def __init__(self, s):
        self.all, self._runs, self._ends = [], threading.Event(), False
        self._thread = threading.Thread(target=self._work, daemon=True)
        s.at_end(self.end)

    def between(self, name, one, other):
        """Both directions between two pairs of a namespace and an address."""
        self.all.append(Stream(f"{name}, to the hub", one, other, len(self.all)))
        self.all.append(Stream(f"{name}, from the hub", other, one, len(self.all)))

    def begin(self):
        self._runs.set()
        if not self._thread.is_alive():
            self._thread.start()

    def pause(self):
        self._runs.clear()

    def end(self):
        self._ends = True
        self._runs.set()
        if self._thread.is_alive():
            self._thread.join()
        for stream in self.all:
            stream.sender.close()
            stream.receiver.close()

    def _work(self):
        next_turn = time.monotonic()
        while not self._ends:
            if not self._runs.is_set():
                self._runs.wait()
                next_turn = time.monotonic()
            for stream in self.all:
                if not stream.is_quiet:
                    stream.send()
            next_turn += _interval_seconds
            time.sleep(max(next_turn - time.monotonic(), 0.001))
            for stream in self.all:
                stream.receive()

    # ---- what is asked ---------------------------------------------------------------------------

    def of(self, *names):
        """Those whose names begin so."""
        return [stream for stream in self.all if stream.name.startswith(names)]

    def first_delivery(self, moment, deadline=30.0):
        """By name of the stream: when the first came of what was sent since the moment."""
        end, came = time.monotonic() + deadline, {}
        expected = [stream for stream in self.all if not stream.is_quiet]
        while len(came) < len(expected):
            came |= {stream.name: first for stream in expected
                     if stream.name not in came and (first := stream.first_since(moment))}
            if time.monotonic() > end:
                silent = [stream.name for stream in expected if stream.name not in came]
                raise Failure(f"within {deadline:g} s nothing comes from " + "; ".join(silent))
            time.sleep(0.005)
        return came
