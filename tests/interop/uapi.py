#!/usr/bin/python3
"""Debian's `wg` against a device of ours, and the same words against Debian's wireguard-go.

    uapi.py PATH_OF_UAPI_DRIVER

In network and mount namespaces of its own. Needs root, /dev/net/tun, wireguard-go, wireguard-tools and
iproute2; exits 77 without them.
"""

import base64
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from story import Failure, main, run, story, wait_until   # noqa: E402

folder = pathlib.Path("/var/run/wireguard")


def wg(*words, code=0, input=None):
    return run("wg", *words, code=code, input=input)


def key_pair():
    private = wg("genkey").out.strip()
    return private, wg("pubkey", input=private).out.strip()


class Device:
    """One that `wg` finds by its name; "go" is wireguard-go's, all others are ours."""

    def __init__(self, name):
        self.name = name
        command = ["wireguard-go", "-f", name] if name == "go" else [driver_path, name, "120"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        try:
            if name != "go":
                self.first_line = self.process.stdout.readline().strip()
            wait_until(lambda: self.socket().exists(), f"{name} listens")
        except BaseException:
            self.end()
            raise

    def socket(self):
        return folder / f"{self.name}.sock"

    def wg(self, verb, *words, **options):
        return wg(verb, self.name, *words, **options)

    def shown(self, what):
        """`wg show NAME WHAT`, in an order of its own: each of the two has another one."""
        lines = self.wg("show", what).out.splitlines()
        return sorted(" ".join(sorted(line.split())) for line in lines)

    def configuration(self):
        """`wg showconf` as sorted sections of sorted lines, but for the port, which is each one's own."""
        def sorted_list(line):
            key, _, value = line.partition(" = ")
            return f"{key} = {', '.join(sorted(value.split(', ')))}" if value else line
        sections = self.wg("showconf").out.strip().split("\n\n")
        return sorted(sorted(sorted_list(line) for line in section.splitlines()
                             if not line.startswith("ListenPort")) for section in sections)

    def end(self):
        """By its standard input ours, by a signal wireguard-go: either then removes its socket."""
        if self.name == "go":
            self.process.terminate()
        self.process.stdin.close()
        self.process.wait(timeout=20)


class Pair:
    """The same of both."""

    def __init__(self, s):
        self.story = s
        self.devices = [Device("go")]
        s.at_end(self.end)
        self.devices.append(Device("ours"))
        self.folder = s.folder

    def end(self):
        for device in self.devices:
            device.end()

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def do(self, verb, *words, code=0):
        """`wg VERB … WORDS` with both; what it prints must be the same but for the name."""
        go, ours = (device.wg(verb, *words, code=code) for device in self.devices)
        self.story.equal((ours.out + ours.err).replace("ours", "go"), go.out + go.err,
                         f"what wg {verb} says")

    def same(self, when):
        go, ours = self.devices
        self.story.equal(ours.configuration(), go.configuration(), f"configuration {when}")
        for what in ("public-key", "private-key", "fwmark", "peers", "preshared-keys", "endpoints",
                     "allowed-ips", "latest-handshakes", "persistent-keepalive"):
            self.story.equal(ours.shown(what), go.shown(what), f"wg show {what} {when}")


def ask(name, request):
    """The raw protocol."""
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(20)
        to.connect(str(folder / f"{name}.sock"))
        to.sendall(request.encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            received = to.recv(65536)
            if not received:
                break
            answer += received
    return answer.decode()


@story("a device that nobody configured looks like wireguard-go's")
def _(s):
    pair = Pair(s)
    go, ours = pair.devices
    s.equal(sorted(wg("show", "interfaces").out.split()), ["go", "ours"], "interfaces")
    for device in (go, ours):
        port = device.shown("listen-port")[0]
        s.equal(device.wg("show").out, f"interface: {device.name}\n  listening port: {port}\n", "wg show")
    ours.wg("set", "listen-port", go.shown("listen-port")[0], code=1)
    s.note("and two of them do not share a port")


@story("wg set: keys, port, mark, peers, and each of their settings, given and taken back")
def _(s):
    pair = Pair(s)
    private, _ = key_pair()
    peer, other = key_pair()[1], key_pair()[1]
    psk = pair.file("psk", wg("genpsk").out)
    none = pair.file("none", "")
    for device, port in zip(pair.devices, (51001, 51002)):   # one network: a port has one owner
        device.wg("set", "listen-port", port)
        s.equal(device.shown("listen-port"), [str(port)], "port")
    commands = [
        ["private-key", pair.file("private", private), "fwmark", "0x2a"],
        ["peer", peer, "preshared-key", psk, "endpoint", "127.0.0.1:9", "persistent-keepalive", "25",
         "allowed-ips", "10.0.0.0/24,fd00::/64"],
        ["peer", other, "endpoint", "[::1]:9", "allowed-ips", "10.0.0.0/24,0.0.0.0/0"],
        ["peer", peer, "preshared-key", none, "persistent-keepalive", "off"],
        ["peer", peer, "allowed-ips", ""],
        ["peer", other, "remove"],
        ["peer", other, "remove"],
        ["fwmark", "off"],
        ["private-key", none]]
    for words in commands:
        pair.do("set", *words)
        pair.same(f"after {words}")
    s.note(f"{len(commands)} commands")


@story("wg setconf, addconf and syncconf do what they do to wireguard-go")
def _(s):
    pair = Pair(s)
    private, _ = key_pair()
    keys = [key_pair()[1] for _ in range(4)]

    def conf(name, sections, mark=7):
        return pair.file(name, f"[Interface]\nPrivateKey = {private}\nFwMark = {mark}\n" + "".join(
            f"[Peer]\nPublicKey = {keys[number]}\nAllowedIPs = {ips}\n{rest}"
            for number, ips, rest in sections))

    for verb, path in [
        ("setconf", conf("first", [(0, "10.0.0.0/24, fd00::/64", "Endpoint = 127.0.0.1:9\n"),
                                   (1, "10.0.1.0/24", "PersistentKeepalive = 25\n"),
                                   (2, "0.0.0.0/0", f"PresharedKey = {wg('genpsk').out.strip()}\n")])),
        ("addconf", conf("more", [(3, "10.0.1.0/24", "Endpoint = [::1]:9\n")])),
        ("syncconf", conf("fewer", [(3, "10.0.3.0/24, ::/0", ""), (0, "10.0.0.0/24", "")], mark=9)),
        ("setconf", conf("none", []))]:
        pair.do(verb, path)
        pair.same(f"after {verb}")


@story("what wireguard-go refuses is refused with the same words, and leaves no trace")
def _(s):
    pair = Pair(s)
    go, ours = pair.devices
    private = pair.file("private", key_pair()[0])
    ours.wg("set", "private-key", private, "peer", key_pair()[1], "allowed-ips", "10.0.0.0/24")
    before = ours.wg("showconf").out
    taken = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.at_end(taken.close)
    taken.bind(("::", 0))
    words = ["listen-port", taken.getsockname()[1], "fwmark", "3", "peer", key_pair()[1]]

    pair.do("set", *words, code=1)
    s.equal(ours.wg("showconf").out, before, "configuration")
    for request in ("set=1\nlisten_port=0x5\n\n", "set=1\nnonsense\n\n", "get=1\nx=\n\n", "what=1\n\n"):
        s.equal(ask("ours", request), ask("go", request), f"answer to {request!r}")


@story("the two meet, and tell the same of it")
def _(s):
    pair = Pair(s)
    pairs = [key_pair(), key_pair()]
    ports = (51001, 51002)
    for index, device in enumerate(pair.devices):
        device.wg("set", "listen-port", ports[index], "private-key",
                  pair.file(f"private{index}", pairs[index][0]))
    go, ours = pair.devices
    run("ip", "link", "set", "go", "up")
    go.wg("set", "peer", pairs[1][1], "allowed-ips", "10.0.0.2/32")
    ours.wg("set", "peer", pairs[0][1], "endpoint", f"127.0.0.1:{ports[0]}", "persistent-keepalive", "1",
            "allowed-ips", "10.0.0.1/32")

    def values(device, what):
        return [int(word) for word in device.wg("show", what).out.split()[1:]]
    wait_until(lambda: values(ours, "transfer")[1] >= 148 + 64, "three keepalives")
    wait_until(lambda: values(ours, "transfer") == values(go, "transfer")[::-1], "equal counters")
    s.equal(abs(values(ours, "latest-handshakes")[0] - values(go, "latest-handshakes")[0]) <= 1, True,
            "time of the handshake")
    s.equal(values(ours, "latest-handshakes")[0] > time.time() - 60, True, "it is today's")
    s.equal(go.wg("show", "endpoints").out.split()[1], f"127.0.0.1:{ports[1]}", "where we are")
    path = pair.file("sync", ours.wg("showconf").out)
    handshake = values(ours, "latest-handshakes")
    ours.wg("syncconf", path)
    sent = values(ours, "transfer")[1]
    wait_until(lambda: values(ours, "transfer")[1] > sent, "it goes on after a syncconf")
    s.equal(values(ours, "latest-handshakes"), handshake, "the session")


@story("a thousand peers at once, and all of them back")
def _(s):
    device = Device("ours")
    s.at_end(device.end)
    path = s.folder / "many"
    keys = [bytes([number >> 8, number & 255]) + bytes(29) + b"\x09" for number in range(1000)]
    path.write_text("[Interface]\n" + "".join(
        f"[Peer]\nPublicKey = {base64.b64encode(key).decode()}\n"
        f"AllowedIPs = 10.0.{number >> 8}.{number & 255}/32\n" for number, key in enumerate(keys)))
    begin = time.monotonic()
    device.wg("setconf", path)
    device.wg("syncconf", path)
    s.equal(len(device.wg("show", "allowed-ips").out.splitlines()), 1000, "peers")
    s.note(f"{time.monotonic() - begin:.1f} s")


@story("a link-local peer keeps its interface, which wireguard-go does not tell")
def _(s):
    device = Device("ours")
    s.at_end(device.end)
    key = key_pair()[1]
    device.wg("set", "peer", key, "endpoint", "[fe80::1%lo]:9")
    s.equal(device.wg("show", "endpoints").out.split()[1], "[fe80::1%lo]:9", "endpoint")


@story("our socket is the owner's alone, refuses a second server by name, and goes with us")
def _(s):
    device = Device("ours")
    ended = False
    try:
        s.equal(oct(device.socket().stat().st_mode & 0o777), "0o600", "mode")
        second = run(driver_path, "ours", "1", code=1)
        s.equal(second.out, f"listen at {device.socket()}: process {device.process.pid} (uapi_driver) "
                "serves this device\n", "what the second one says")
        device.process.kill()
        device.process.wait()
        s.equal(device.socket().exists(), True, "a socket is left")
        after = Device("ours")
        s.equal(after.first_line, "ready", "what the next one says")
        after.end()
        s.equal(after.socket().exists(), False, "a socket is left after an orderly end")
        ended = True
    finally:
        if not ended:
            device.process.kill()


if __name__ == "__main__":
    if "OVERLAY_INTEROP_INSIDE" not in os.environ:
        missing = [tool for tool in ("wireguard-go", "wg", "ip", "unshare")
                   if shutil.which(tool) is None]
        if missing or os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            print(f"skipped: needs root, /dev/net/tun and {', '.join(missing) or 'nothing else'}")
            sys.exit(77)
        os.environ["OVERLAY_INTEROP_INSIDE"] = "yes"
        # A mount namespace too: the control socket's folder is the machine's otherwise.
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(folder))
    run("ip", "link", "set", "lo", "up")
    driver_path = sys.argv.pop(1)
    main()
