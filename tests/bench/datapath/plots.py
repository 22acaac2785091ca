#!/usr/bin/python3
"""Draws what measure.py --raw has kept, for docs/benchmarks.md.

    plots.py RAW.json FOLDER      FOLDER/throughput.svg, packets.svg, round-trips.svg, cost.svg

Bars are medians, whiskers the least and the greatest of the run. Needs Debian's python3-matplotlib.
"""

import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "overlay"   # the same figures make the same file
matplotlib.rcParams["svg.fonttype"] = "none"      # text stays text
from matplotlib import pyplot   # noqa: E402

pictures = {
    "throughput": ("TCP (cubic), Gbit/s", ["TCP there, Gbit/s", "TCP four there, Gbit/s"], ["one flow", "four flows"],
                   "log"),
    "packets": ("UDP packets a second that arrive", ["UDP 64 bytes, packets/s", "UDP 1400 bytes, packets/s"],
                ["64 bytes", "1400 bytes"], "linear"),
    "round-trips": ("Round trip, median, microseconds",
                    ["round trip idle, p50 us", "round trip under wireguard-go's load, p50 us",
                     "round trip loaded, p50 us"],
                    ["idle", "under wireguard-go's greatest load", "under its own greatest load"], "log"),
    "cost": ("Processor seconds per GB, one TCP flow", ["CPU s/GB, machine", "CPU s/GB, processes"],
             ["whole machine, iperf3 included", "carrying processes"], "log"),
}


def draw(raw, picture, path):
    title, keys, labels, scale = pictures[picture]
    names = [name for name, runs in raw["figures"].items() if any(keys[0] in run for run in runs)]
    figure, axes = pyplot.subplots(figsize=(8, 0.35 + 0.42 * len(names)), layout="constrained")
    height = 0.8 / len(keys)
    for number, (key, label) in enumerate(zip(keys, labels)):
        places, medians, errors = [], [], [[], []]
        for row, name in enumerate(names):
            values = [run[key] for run in raw["figures"][name] if key in run]
            if not values:
                continue
            median = statistics.median(values)
            places.append(row + number * height)
            medians.append(median)
            errors[0].append(median - min(values))
            errors[1].append(max(values) - median)
        bars = axes.barh(places, medians, height, xerr=errors, label=label, error_kw={"elinewidth": 0.7})
        axes.bar_label(bars, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in medians], fontsize=7,
                       padding=2)
    axes.set_yticks([row + height * (len(keys) - 1) / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xscale(scale)
    axes.margins(x=0.12)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(keys))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main():
    raw = json.loads(pathlib.Path(sys.argv[1]).read_text())
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        draw(raw, picture, folder / f"{picture}.svg")


main()
