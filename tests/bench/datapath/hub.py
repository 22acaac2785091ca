#!/usr/bin/python3
"""What a hub with many spokes pays for each of their frames: processor time of the carrying process by the number of links
at one GUE port or one WireGuard device.

    hub.py [--links 1,10,100,1000] [--seconds 2] [--rate 20000]

As root; needs the built `carry` (ninja -C .build/release carry). Every link is a TAP at both ends of a cable, told
from the others by its key, in WireGuard by its addresses, too. Frames of 60 bytes enter the far ends in turn, so that no two that follow each other are of
one link; that none came out of another device is checked. Microseconds of both processes, user and system, for a frame
that came.
"""

import argparse
import ctypes
import json
import os
import pathlib
import socket
import tempfile
import time

from contestants import World, binaries, key_pairs, outer, run

frame = bytes.fromhex("02000000000202000000000188b5") + bytes(46)   # an EtherType for experiments


def gue(_world, count):
    return [{"local": outer[side], "port": 5555, "links": [
        {"device": f"link{number}", "remote": outer[1 - side], "remote_port": 5555, "key": number}
        for number in range(count)]} for side in (0, 1)]


def wireguard(world, count):
    keys, hub = key_pairs(world), "10.7.0.1"
    spokes = [f"10.8.{number // 256}.{number % 256}" for number in range(count)]
    ends = [[(spoke, hub) for spoke in spokes], [(hub, spoke) for spoke in spokes]]
    return [{"private_key": keys[side], "port": 51820, "mtu": 1440,
             "peers": [{"public_key": world.public_keys[1 - side], "endpoint": f"{outer[1 - side]}:51820",
                        "allowed_ips": ["10.0.0.0/8"]}],
             "links": [{"device": f"link{number}", "local": local, "remote": remote, "key": number}
                       for number, (local, remote) in enumerate(ends[side])]} for side in (0, 1)]


def make_devices(world, side, count):
    world.at(side, "sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")
    commands = "".join(f"tuntap add link{number} mode tap vnet_hdr\nlink set link{number} up\n"
                       for number in range(count))
    run("ip", "-n", world.names[side], "-batch", "-", input=commands)


def processor_seconds(process):
    words = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def frames_received(world, side):
    shown = json.loads(run("ip", "-n", world.names[side], "-s", "-json", "link", "show"))
    return {link["ifname"]: link["stats64"]["rx"]["packets"] for link in shown if link["ifname"].startswith("link")}


def send_in_turn(name, count, rate, seconds):
    """From within the namespace; returns how many for each link."""
    sockets, libc = [], ctypes.CDLL(None)
    with open(f"/run/netns/{name}") as namespace, open("/proc/self/ns/net") as ours:
        libc.setns(namespace.fileno(), 0)
        for number in range(count):
            sockets.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sockets[-1].bind((f"link{number}", 0))
        libc.setns(ours.fileno(), 0)
    sent, begun = [0] * count, time.monotonic()
    while (due := int((time.monotonic() - begun) * rate)) < rate * seconds:
        for number in range(sum(sent), due):
            sockets[number % count].send(frame)
            sent[number % count] += 1
        time.sleep(0.001)
    for each in sockets:
        each.close()
    return sent


def measure(endpoints, count, rate, seconds):
    with tempfile.TemporaryDirectory() as folder, World(pathlib.Path(folder), "veth") as world:
        processes = []
        try:
            for side, endpoint in enumerate(endpoints(world, count)):
                make_devices(world, side, count)
                config = world.folder / f"{side}.json"
                config.write_text(json.dumps({"endpoints": [endpoint]}))
                processes.append(world.start(side, binaries / "carry", config))
            time.sleep(1 + count / 500)
            send_in_turn(world.names[0], count, 1000, 1)   # until there is a session, and warm
            time.sleep(0.5)
            seen, used = frames_received(world, 1), [processor_seconds(each) for each in processes]
            sent = send_in_turn(world.names[0], count, rate, seconds)
            time.sleep(0.5)
            used = [processor_seconds(each) - before for each, before in zip(processes, used)]
            came = {name: packets - seen[name] for name, packets in frames_received(world, 1).items()}
            for name, packets in came.items():
                if packets > sent[int(name.removeprefix("link"))]:
                    raise SystemExit(f"{name}: more frames came than were sent")
        finally:
            for process in processes:
                process.kill()
                process.wait()
    total = sum(came.values())
    return [each / total * 1e6 for each in used], 100 * total / sum(sent)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--links", default="1,10,100,1000")
    words.add_argument("--seconds", type=float, default=2)
    words.add_argument("--rate", type=int, default=20_000)
    asked = words.parse_args()
    for mode, endpoints in (("gretap over GUE", gue), ("gretap in WireGuard", wireguard)):
        for count in map(int, asked.links.split(",")):
            (spoke, hub), share = measure(endpoints, count, asked.rate, asked.seconds)
            print(f"{mode}, {count} links: {hub:.1f} us per frame to receive, {spoke:.1f} to send; {share:.1f} % came",
                  flush=True)


main()
