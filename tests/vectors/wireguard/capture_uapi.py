#!/usr/bin/python3
"""Writes down what Debian's `wg` and wireguard-go say to each other: uapi.txt, on standard output.

    sudo unshare --net --mount tests/vectors/wireguard/capture_uapi.py > tests/vectors/wireguard/uapi.txt

A relay between the two keeps the words: ">" before wg's, "<" before wireguard-go's. The last parts, "by
hand", are requests that wg would never send.
"""

import base64
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

folder = pathlib.Path("/var/run/wireguard")
private = base64.b64encode(bytes([0x11] * 32)).decode()
peers = [base64.b64encode(bytes([0xa0 + i] * 32)).decode() for i in range(3)]
psk = base64.b64encode(bytes(range(32))).decode()


def converse(request):
    """One request to wireguard-go; its answer, or what came of it before it hung up."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as to_go:
        to_go.connect(str(folder / "go0.sock"))
        to_go.sendall(request)
        while not answer.endswith(b"\n\n"):
            received = to_go.recv(65536)
            if not received:
                break
            answer += received
    return answer


def write_down(title, request, answer):
    print(f"# {title}")
    for mark, text in ((">", request), ("<", answer)):
        for line in text.decode().split("\n")[:-1]:
            print(f"{mark} {line}".rstrip())
    sys.stdout.flush()


class Relay:
    """The device "wg0" for wg; what it is asked, go0 is asked."""

    def __init__(self):
        self.title = ""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "wg0.sock"))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            with client:
                request = b""
                while not request.endswith(b"\n\n"):
                    received = client.recv(65536)
                    if not received:
                        break   # wg looks first whether somebody listens
                    request += received
                if request:
                    answer = converse(request)
                    write_down(self.title, request, answer)
                    client.sendall(answer)


def with_keys(relay, text, **files):
    """Runs `wg` with a file for each of the keys and configurations that the words name."""
    with tempfile.TemporaryDirectory() as place:
        words = []
        for word in text.split():
            if word in files:
                pathlib.Path(place, word).write_text(files[word])
                word = str(pathlib.Path(place, word))
            words.append(word)
        relay.title = text
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def configuration(*sections):
    return (f"[Interface]\nPrivateKey = {private}\nListenPort = 51821\n"
            + "".join(f"[Peer]\nPublicKey = {peer}\nAllowedIPs = {ips}\n" for peer, ips in sections))


def commands(relay):
    a, b, c = peers
    with_keys(relay, "wg set wg0 listen-port 51820 fwmark 0x1234 private-key PRIVATE", PRIVATE=private)
    with_keys(relay, f"wg set wg0 peer {a} preshared-key PSK endpoint 127.0.0.1:5555 "
              "persistent-keepalive 25 allowed-ips 10.0.0.1/32,fd00::/64", PSK=psk)
    with_keys(relay, "wg showconf wg0")
    with_keys(relay, f"wg set wg0 peer {a} endpoint [::1]:77 allowed-ips 10.2.0.9/16")
    with_keys(relay, "wg showconf wg0")
    with_keys(relay, f"wg set wg0 peer {a} preshared-key NONE persistent-keepalive off", NONE="")
    with_keys(relay, "wg showconf wg0")
    with_keys(relay, "wg setconf wg0 TWO", TWO=configuration((a, "10.0.0.0/24"), (b, "10.0.1.0/24")))
    with_keys(relay, f"wg set wg0 peer {a} remove")
    with_keys(relay, "wg showconf wg0")
    with_keys(relay, "wg addconf wg0 MOVED", MOVED=configuration((c, "10.0.1.0/24, fd01::/64")))
    with_keys(relay, f"wg set wg0 peer {b} remove")
    with_keys(relay, "wg showconf wg0")
    # One peer where peers are listed: wireguard-go has no order of them.
    with_keys(relay, "wg syncconf wg0 ONE", ONE=configuration((c, "0.0.0.0/0")))
    with_keys(relay, "wg showconf wg0")
    with_keys(relay, "wg set wg0 private-key NONE", NONE="")
    with_keys(relay, "wg set wg0 fwmark off")
    with_keys(relay, "wg showconf wg0")


def effects():
    """Requests by hand that are right, each followed by what is there then."""
    one, two, own = "aa" * 32, "bb" * 32, ("7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13")
    for lines in [
            ["private_key=" + "22" * 32, "replace_peers=true", f"public_key={own}", "allowed_ip=10.0.0.0/8"],
            ["private_key=" + "11" * 32],   # which is the private key of `own`
            [f"public_key={own}", "allowed_ip=10.0.0.0/8"],
            [f"public_key={one}", "update_only=true", "allowed_ip=10.0.0.0/8"],
            [f"public_key={one}", "allowed_ip=10.0.0.0/8", "update_only=true"],
            [f"public_key={one}", "remove=true"],
            [f"public_key={one}", "allowed_ip=10.0.0.0/8", "replace_allowed_ips=true",
             "allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16"],
            [f"public_key={one}", "update_only=true", "allowed_ip=10.3.0.0/16"],
            [f"public_key={one}", "replace_allowed_ips=true", "allowed_ip=10.4.0.0/16",
             f"public_key={one}", "allowed_ip=10.5.0.0/16"],
            [f"public_key={one}", "replace_allowed_ips=true"],
            [f"public_key={one}", "allowed_ip=10.6.0.0/16", f"public_key={two}", "allowed_ip=10.6.0.0/16",
             f"public_key={one}", "remove=true"],
            [f"public_key={two}", "allowed_ip=10.7.0.0/16", "remove=true", "preshared_key=" + "33" * 32,
             "allowed_ip=10.8.0.0/16", "endpoint=1.2.3.4:5"],
            [f"public_key={two}", "remove=true", f"public_key={two}", "preshared_key=" + "33" * 32],
            [f"public_key={two}", "endpoint=[2001:db8::1]:5", "endpoint=[2001:DB8:0::2]:6"],
            ["replace_peers=true"]]:
        write_down("by hand", *hand(lines))
        write_down("what is there then", b"get=1\n\n", converse(b"get=1\n\n"))


def by_hand():
    key, long_key = "aa" * 32, "AA" * 32
    for lines in [
            [], ["foo"], ["foo=bar"], ["=5"], ["listen_port"],
            ["listen_port=70000"], ["listen_port=-1"], ["listen_port=+1"], ["listen_port="],
            ["listen_port= 5"], ["listen_port=0x10"], ["listen_port=051821"],
            ["fwmark=0x10"], ["fwmark=4294967296"], ["fwmark=4294967295"],
            ["replace_peers=false"], ["replace_peers="], ["replace_peers=true"],
            ["private_key=zz"], ["private_key=" + "zz" * 32], ["private_key=" + "1" * 63],
            ["private_key=" + "0" * 66], ["private_key=" + "FF" * 32],
            ["public_key="], ["public_key=" + "1" * 63], ["public_key=" + long_key],
            ["public_key=" + key, "listen_port=5"], ["public_key=" + key, "errno=0"],
            ["public_key=" + key, "last_handshake_time_sec=1"], ["public_key=" + key, "foo"]]:
        write_down("by hand", *hand(lines))
    for line in [
            "remove=false", "update_only=false", "replace_allowed_ips=false", "replace_allowed_ips=1",
            "protocol_version=1", "protocol_version=2", "preshared_key=00",
            "preshared_key=" + "0" * 64, "persistent_keepalive_interval=65535",
            "persistent_keepalive_interval=65536", "persistent_keepalive_interval=off",
            "endpoint=", "endpoint=1.2.3.4", "endpoint=1.2.3.4:", "endpoint=1.2.3.4:0",
            "endpoint=1.2.3.4:65535", "endpoint=1.2.3.4:65536", "endpoint=host:5", "endpoint=::1:5",
            "endpoint=[::1]", "endpoint=[::1]:5", "endpoint=[1.2.3.4]:5", "endpoint=1.2.3.4%lo:5",
            "endpoint=[fe80::1%lo]:5", "endpoint=[fe80::1%1]:5", "endpoint=[fe80::1%]:5",
            "allowed_ip=", "allowed_ip=10.0.0.1", "allowed_ip=10.0.0.1/33", "allowed_ip=10.0.0.1/",
            "allowed_ip=10.0.0.1/08", "allowed_ip=10.0.0.01/8", "allowed_ip=10.0.0.1/24",
            "allowed_ip=::/129", "allowed_ip=::/128", "allowed_ip=fe80::1%1/64",
            "allowed_ip=::ffff:1.2.3.4/128", "update_only=true", "remove=true"]:
        write_down("by hand", *hand(["public_key=" + key, line]))
    write_down("by hand", *hand(["public_key=" + key, "remove=true", "allowed_ip=bad"]))
    for request in [b"get=1\nprivate_key=\n\n", b"set=2\n\n", b"set=1=1\n\n", b"foo\n\n", b"\n"]:
        write_down("by hand", request, converse(request))


def hand(lines):
    request = "".join(line + "\n" for line in ["set=1", *lines, ""]).encode()
    return request, converse(request)


folder.mkdir(parents=True, exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(folder)], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
versions = [subprocess.run(["dpkg-query", "-f", "${Package} ${Version}", "-W", package], check=True,
                           capture_output=True, text=True).stdout
            for package in ("wireguard-tools", "wireguard-go")]
print(f"Made by capture_uapi.py, with Debian's {' and '.join(versions)}.")
go = subprocess.Popen(["wireguard-go", "-f", "go0"], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL, env={**os.environ, "LOG_LEVEL": "silent"})
try:
    while not (folder / "go0.sock").exists():
        time.sleep(0.02)
    commands(Relay())
    effects()
    by_hand()
finally:
    go.terminate()
    go.wait()
