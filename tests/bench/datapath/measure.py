#!/usr/bin/python3
"""How fast Ethernet is carried, ours beside others, in one run and alternating: two namespaces of this run's own
and a cable between them, iperf3 at both ends.

    measure.py [--repeat 5] [--seconds 4] [--raw FILE] [NAME…]

As root; needs iperf3 and the built `carry` (ninja -C .build/release carry). Prints medians in Gbit/s and ratios to
kernel vxlan in the same run; --raw keeps every figure. A repetition during which the hypervisor took more than 5 %
of the processors' time is dropped, and said so.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

root = pathlib.Path(__file__).resolve().parents[3]
carry = root / ".build/release/tests/carry"
namespaces = [f"bench-{side}.{os.getpid()}" for side in "ab"]
outer = ["10.9.0.1", "10.9.0.2"]
inner = ["10.8.0.1", "10.8.0.2"]
tunnel = ["10.7.0.1", "10.7.0.2"]
directions = {"there": [], "back": ["-R"], "four": ["-P", "4"]}


def run(*argv, **options):
    return subprocess.run(list(map(str, argv)), check=True, text=True, capture_output=True, **options).stdout


def at(side, *argv):
    return run("ip", "netns", "exec", namespaces[side], *argv)


def ip(side, words):
    run("ip", "-n", namespaces[side], *words.split())


@contextlib.contextmanager
def world():
    try:
        for name in namespaces:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "cable", "netns", namespaces[0], "type", "veth",
            "peer", "name", "cable", "netns", namespaces[1])
        for side in (0, 1):
            ip(side, "link set lo up")
            ip(side, f"addr add {outer[side]}/24 dev cable")
            ip(side, "link set cable up")
        yield
    finally:
        for name in namespaces:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


# ---- what is measured: each makes a device "tun" with the inner addresses at both ends --------------


def address(side):
    ip(side, f"addr add {inner[side]}/24 dev tun")
    ip(side, "link set tun up")


@contextlib.contextmanager
def removed_after():
    try:
        yield
    finally:
        for side in (0, 1):
            subprocess.run(["ip", "-n", namespaces[side], "link", "delete", "tun"], capture_output=True)


@contextlib.contextmanager
def vxlan(_folder):
    with removed_after():
        for side in (0, 1):
            ip(side, f"link add tun type vxlan id 7 local {outer[side]} remote {outer[1 - side]} dstport 4789")
            address(side)
        yield inner[1]


@contextlib.contextmanager
def cable(_folder):
    yield outer[1]


@contextlib.contextmanager
def ours(folder, mode, mtu, config_of, offload="auto"):
    """`carry` at both ends; config_of(side): the endpoint that it has there."""
    processes = []
    with removed_after():
        try:
            for side in (0, 1):
                ip(side, f"tuntap add tun mode {mode} vnet_hdr")
                ip(side, f"link set tun mtu {mtu}")
                address(side)
                config = folder / f"{side}.json"
                config.write_text(json.dumps({"offload": offload, "endpoints": [config_of(side)]}))
                processes.append(subprocess.Popen(
                    ["ip", "netns", "exec", namespaces[side], carry, config], stderr=subprocess.DEVNULL))
            yield inner[1]
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def gretap_gue(offload):
    def endpoint(side):
        link = {"device": "tun", "remote": outer[1 - side], "remote_port": 5555, "key": 77}
        return {"local": outer[side], "port": 5555, "links": [link]}
    return lambda folder: ours(folder, "tap", 1446, endpoint, offload)


def wireguard(mode, mtu):
    """Packets (tun), or Ethernet in GRE (tap)."""
    keys = [run("wg", "genkey").strip() for _ in (0, 1)]
    publics = [run("wg", "pubkey", input=key).strip() for key in keys]

    def endpoint(side):
        peer = {"public_key": publics[1 - side], "endpoint": f"{outer[1 - side]}:51820",
                "allowed_ips": [f"{inner[1 - side]}/32", f"{tunnel[1 - side]}/32"]}
        device = {"tun": "tun"} if mode == "tun" else {"links": [
            {"device": "tun", "local": tunnel[side], "remote": tunnel[1 - side], "key": 77}]}
        return {"private_key": keys[side], "port": 51820, "mtu": 1440, "peers": [peer], **device}
    return lambda folder: ours(folder, mode, mtu, endpoint)


@contextlib.contextmanager
def wireguard_go(folder):
    keys = [run("wg", "genkey").strip() for _ in (0, 1)]
    publics = [run("wg", "pubkey", input=key).strip() for key in keys]
    with removed_after():
        for side in (0, 1):
            name = f"go{side}"   # of its control socket, which both namespaces share
            at(side, "wireguard-go", name)
            (folder / "key").write_text(keys[side])
            at(side, "wg", "set", name, "private-key", folder / "key", "listen-port", "51820",
               "peer", publics[1 - side], "allowed-ips", "0.0.0.0/0", "endpoint", f"{outer[1 - side]}:51820")
            ip(side, f"link set {name} name tun")
            address(side)
        yield inner[1]


contestants = {"veth": cable, "vxlan": vxlan,
               "gretap-gue": gretap_gue("auto"), "gretap-gue, no offload": gretap_gue("none")}
if shutil.which("wg"):
    contestants |= {"wireguard": wireguard("tun", 1440), "gretap-wireguard": wireguard("tap", 1398)}
if shutil.which("wireguard-go"):
    contestants["wireguard-go"] = wireguard_go


# ---- measuring -----------------------------------------------------------------------------------


def stolen_share(before, after):
    spent = [late - early for early, late in zip(before, after)]
    return spent[7] / max(sum(spent), 1)


def processor_times():
    return [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]


def gbits(target, options, seconds):
    server = subprocess.Popen(["ip", "netns", "exec", namespaces[1], "iperf3", "-s", "-1"],
                              stdout=subprocess.DEVNULL)
    try:
        for attempt in range(50):   # until it listens, and the tunnel is up
            time.sleep(0.1)
            client = subprocess.run(["ip", "netns", "exec", namespaces[0], "iperf3", "-J", "-c", target,
                                     "-t", str(seconds), "-C", "cubic", *options], capture_output=True, text=True)
            if client.returncode == 0:
                return json.loads(client.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9
    finally:
        server.terminate()
        server.wait()
    raise SystemExit(f"iperf3: {client.stdout}")


def main():
    words = argparse.ArgumentParser()
    words.add_argument("names", nargs="*")
    words.add_argument("--repeat", type=int, default=5)
    words.add_argument("--seconds", type=int, default=4)
    words.add_argument("--raw", type=pathlib.Path)
    asked = words.parse_args()
    chosen = {name: made for name, made in contestants.items() if not asked.names or name in asked.names}
    figures = {name: {direction: [] for direction in directions} for name in chosen}
    with world(), tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.repeat):
            for name, made in chosen.items():
                with made(pathlib.Path(folder)) as target:
                    for direction, options in directions.items():
                        before = processor_times()
                        figure = gbits(target, options, asked.seconds)
                        if stolen_share(before, processor_times()) > 0.05:
                            print(f"dropped: {name}, {direction}: processor time was stolen")
                            continue
                        figures[name][direction].append(figure)
    if asked.raw:
        asked.raw.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{'TCP, cubic, Gbit/s':28}" + "".join(f"{each:>10}" for each in directions) + f"{'/ vxlan':>10}")
    medians = {name: {direction: statistics.median(each or [0]) for direction, each in kinds.items()}
               for name, kinds in figures.items()}
    for name, kinds in medians.items():
        ratio = kinds["there"] / medians["vxlan"]["there"] if "vxlan" in medians else 0
        print(f"{name:28}" + "".join(f"{each:10.2f}" for each in kinds.values()) + f"{ratio:10.2f}")


main()
