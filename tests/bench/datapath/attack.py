#!/usr/bin/python3
"""What a WireGuard tunnel still carries while strangers send handshakes, ours beside wireguard-go, alternating.

    attack.py [--repeat 3] [--seconds 60] [--rate 100000] [--raw FILE] [NAME…]

As root; needs the built `carry` and `packets` (ninja -C .build/release carry packets). Through an established tunnel go
1,000 packets a second of 1,400 bytes and come back; meanwhile the far end is sent so many initiations a second, all
with a wrong MAC1 ("strangers") or all with the right one ("who know the key"). Everything shares the machine's
processors. Prints what share of the packets came back and how late, how many answers strangers got, and how much the
attacked process has grown.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from contestants import World, available, binaries, outer

packets = binaries / "packets"
packet_bytes, packets_per_second, port = 1400, 1000, 51820


def resident_mib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the attacked process is gone")


def establish(world, target):
    """Returns once a second of packets has come back whole: an end that was called before it listened is called again
    after five seconds only, and a tunnel without a session is not what is attacked here."""
    for _ in range(30):
        trips = json.loads(world.at(0, packets, "ping", target, 9001, packet_bytes, 100, 1))
        if trips["received"] == trips["sent"]:
            return
    raise SystemExit("no session within 30 seconds")


def attack(world, contestant, seconds, rate, knows_key):
    with contestant(world) as (target, processes):
        attacked = processes[1]
        echo = subprocess.Popen(world.argv(1, packets, "echo", 9001, 3600))
        try:
            establish(world, target)
            before = resident_mib(attacked)
            words = [outer[1], port, seconds, rate] + ([world.public_keys[1]] if knows_key else [])
            attacker = subprocess.Popen(world.argv(0, packets, "initiations", *words), stdout=subprocess.PIPE,
                                        text=True)
            time.sleep(0.2)
            trips = json.loads(world.at(0, packets, "ping", target, 9001, packet_bytes, packets_per_second,
                                        seconds - 0.5))
            told = json.loads(attacker.communicate()[0])
            grown = resident_mib(attacked) - before
        finally:
            echo.kill()
            echo.wait()
    return {"delivered, %": 100 * trips["received"] / trips["sent"], "p50 ms": trips["p50_us"] / 1e3,
            "p99 ms": trips["p99_us"] / 1e3, "initiations/s": told["packets"] / seconds,
            "answers": told["answers"], "bytes out per byte in": told["answer_bytes"] / max(told["bytes"], 1),
            "growth, MiB": grown}


def main():
    words = argparse.ArgumentParser()
    words.add_argument("names", nargs="*", default=["wireguard", "wireguard-go"])
    words.add_argument("--repeat", type=int, default=3)
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--rate", type=int, default=100_000)
    words.add_argument("--raw", type=pathlib.Path)
    asked = words.parse_args()
    chosen = {name: made for name, made in available().items() if name in asked.names}
    figures = {f"{name}, {who}": [] for name in chosen for who in ("strangers", "who know the key")}
    with tempfile.TemporaryDirectory() as folder, World(pathlib.Path(folder), "veth") as world:
        for _ in range(asked.repeat):
            for name, contestant in chosen.items():
                for who in ("strangers", "who know the key"):
                    figures[f"{name}, {who}"].append(
                        attack(world, contestant, asked.seconds, asked.rate, who != "strangers"))
    if asked.raw:
        asked.raw.write_text(json.dumps(figures, indent=1) + "\n")
    for name, runs in figures.items():
        print(name + ": " + ", ".join(f"{key} {statistics.median(each[key] for each in runs):.2f}" for key in runs[0]))


main()
