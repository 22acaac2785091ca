#!/usr/bin/python3
"""How fast Ethernet and packets are carried, ours beside others, in one run and alternating.

    measure.py [--repeat 5] [--seconds 3] [--cable veth|nic] [--tcp] [--raw FILE] [--list] [NAME…]

As root; needs iperf3 and the built `carry` and `packets` (ninja -C .build/release carry packets). In each repetition
every contestant is set up anew and measured: TCP (cubic) with one flow and with four, there and back; UDP packets of
64 and 1400 bytes that arrive each second of as many as the sender can send; round trips, idle, under wireguard-go's
greatest TCP load and under its own; processor seconds per GB of the one flow, of the whole machine (with iperf3 at both
ends) and of the carrying processes alone; and their largest resident memory. Prints medians and their ratios; --raw
keeps every figure (plots.py draws it). A measurement during which the hypervisor took more than 5 % of the processors'
time is dropped, and said so. --tcp measures nothing else.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

from contestants import World, available, binaries, contestants

packets = binaries / "packets"
clock_ticks = os.sysconf("SC_CLK_TCK")


# ---- what the machine says ----------------------------------------------------------------------------


def processor_seconds():
    """(busy, stolen, all) of the whole machine."""
    words = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle, stolen = words[3] + words[4], words[7]
    return [part / clock_ticks for part in (sum(words) - idle - stolen, stolen, sum(words))]


def process_seconds(processes):
    total = 0
    for process in processes:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / clock_ticks


def resident_mib(processes):
    """The largest of them at its largest."""
    kib = [int(line.split()[1]) for process in processes
           for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return max(kib) / 1024


class Stolen(Exception):
    """The hypervisor was busy with others."""


class Watch:
    """What a block took of the machine and of the processes."""

    def __init__(self, processes=()):
        self.processes = processes

    def __enter__(self):
        self.before = processor_seconds(), process_seconds(self.processes)
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        busy, stolen, everything = (late - early for late, early in zip(processor_seconds(), self.before[0]))
        if stolen > 0.05 * everything:
            raise Stolen
        self.machine, self.own = busy, process_seconds(self.processes) - self.before[1]


# ---- loads --------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, world, seconds, tcp_only):
        self.world, self.seconds, self.tcp_only, self.load_gbits = world, seconds, tcp_only, None

    def meet(self, target):
        for _ in range(100):
            if subprocess.run(self.world.argv(0, "ping", "-n", "-c", "1", "-W", "1", target),
                              capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"{target} does not answer")

    def iperf(self, target, *options, seconds=None):
        """Started; finish with gbits_of()."""
        server = subprocess.Popen(self.world.argv(1, "iperf3", "-s", "-1", "--forceflush"), stdout=subprocess.PIPE,
                                  text=True)
        while "listening" not in server.stdout.readline():
            pass
        client = subprocess.Popen(
            self.world.argv(0, "iperf3", "-J", "-c", target, "-t", seconds or self.seconds, "-C", "cubic", *options),
            stdout=subprocess.PIPE, text=True)
        return server, client

    def gbits_of(self, pair):
        server, client = pair
        try:
            told = json.loads(client.communicate(timeout=60)[0])
            return told["end"]["sum_received"]["bits_per_second"] / 1e9
        finally:
            server.terminate()
            server.communicate()

    def tcp(self, target, processes, figures):
        for name, options in (("there", ()), ("back", ("-R",)), ("four there", ("-P", "4")),
                              ("four back", ("-P", "4", "-R"))):
            with keeping(figures, name) as keep, Watch(processes) as watch:
                gbits = self.gbits_of(self.iperf(target, *options))
                keep(f"TCP {name}, Gbit/s", gbits)
            if name == "there" and f"TCP {name}, Gbit/s" in figures:
                gigabytes = gbits * self.seconds / 8
                figures["CPU s/GB, machine"] = watch.machine / gigabytes
                if processes:
                    figures["CPU s/GB, processes"] = watch.own / gigabytes

    def udp(self, target, figures):
        for size in (64, 1400):
            with keeping(figures, f"UDP {size}") as keep, Watch():
                counter = subprocess.Popen(self.world.argv(1, packets, "receive", 9000, self.seconds),
                                           stdout=subprocess.PIPE, text=True)
                time.sleep(0.1)
                sender = subprocess.Popen(self.world.argv(0, packets, "send", target, 9000, size, self.seconds),
                                          stdout=subprocess.DEVNULL)
                arrived = json.loads(counter.communicate()[0])["packets"]
                sender.wait()
                keep(f"UDP {size} bytes, packets/s", arrived / self.seconds)

    def round_trips(self, target, figures):
        echo = subprocess.Popen(self.world.argv(1, packets, "echo", 9001, 60))
        loads = {"idle": None, "loaded": ()}
        if self.load_gbits:
            loads["under wireguard-go's load"] = ("-b", f"{self.load_gbits * 1e9:.0f}")
        try:
            for name, options in loads.items():
                with keeping(figures, name) as keep, Watch():
                    load = self.iperf(target, *options, seconds=self.seconds + 1) if options is not None else None
                    time.sleep(0.3)
                    trips = json.loads(self.world.at(0, packets, "ping", target, 9001, 64, 200, self.seconds))
                    if load:
                        self.gbits_of(load)
                    keep(f"round trip {name}, p50 us", trips["p50_us"])
                    keep(f"round trip {name}, p99 us", trips["p99_us"])
        finally:
            echo.kill()
            echo.wait()

    def measure(self, name, contestant):
        figures = {}
        with contestant(self.world) as (target, processes):
            self.meet(target)
            self.tcp(target, processes, figures)
            if name == "wireguard-go" and "TCP there, Gbit/s" in figures:
                self.load_gbits = figures["TCP there, Gbit/s"]
            if not self.tcp_only:
                self.udp(target, figures)
                self.round_trips(target, figures)
            if processes:
                figures["RSS, MiB"] = resident_mib(processes)
        return figures


class keeping:
    """Keeps figures unless the block ends in Stolen."""

    def __init__(self, figures, what):
        self.figures, self.what, self.new = figures, what, {}

    def __enter__(self):
        return self.new.__setitem__

    def __exit__(self, kind, *_):
        if kind is Stolen:
            print(f"dropped: {self.what}: processor time was stolen", flush=True)
            return True
        self.figures.update(self.new)
        return None


# ---- what is printed ------------------------------------------------------------------------------------


def medians_of(runs):
    return {key: statistics.median(each[key] for each in runs if key in each)
            for key in dict.fromkeys(key for each in runs for key in each)}


def table(raw):
    medians = {name: medians_of(runs) for name, runs in raw["figures"].items()}
    keys = list(dict.fromkeys(key for each in medians.values() for key in each))
    width = max(map(len, keys))
    for key in keys:
        print(key)
        for name, each in medians.items():
            if key not in each:
                continue
            ratios = [f"{each[key] / medians[base][key]:8.2f} x {base}" for base in ("vxlan", "wireguard-go")
                      if medians.get(base, {}).get(key) and base != name]
            print(f"    {name:{width}} {each[key]:12.2f}" + "".join(ratios))


def main():
    words = argparse.ArgumentParser()
    words.add_argument("names", nargs="*")
    words.add_argument("--repeat", type=int, default=5)
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--cable", choices=("veth", "nic"), default="veth")
    words.add_argument("--tcp", action="store_true")
    words.add_argument("--raw", type=pathlib.Path)
    words.add_argument("--list", action="store_true")
    asked = words.parse_args()
    every = available()
    chosen = {name: made for name, made in every.items() if name in (asked.names or contestants)}
    if asked.list:
        print("\n".join(chosen))
        return
    raw = {"kernel": platform.release(), "processors": os.cpu_count(), "cable": asked.cable,
           "congestion control": "cubic", "seconds": asked.seconds, "figures": {name: [] for name in chosen}}
    with tempfile.TemporaryDirectory() as folder, World(pathlib.Path(folder), asked.cable) as world:
        bench = Bench(world, asked.seconds, asked.tcp)
        for repetition in range(asked.repeat):
            for name, contestant in chosen.items():
                raw["figures"][name].append(bench.measure(name, contestant))
                if asked.raw:
                    asked.raw.write_text(json.dumps(raw, indent=1) + "\n")
            print(f"repetition {repetition + 1} of {asked.repeat} done", flush=True)
    table(raw)


main()
