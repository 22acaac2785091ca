#!/usr/bin/env python3
"""The lab as its user meets it: up, ping, exec, down, and nothing left behind.

The stories about the underlay need namespaces, veth, bridge and nft only and run on any kernel;
those with the overlay need GRE, FOU and WireGuard, and are skipped where `lab up` says that these
are missing.
"""

import json
import os
import pathlib
import shutil
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from kernel_view import fallback_devices   # noqa: E402
from machine_view import machine   # noqa: E402
from story import Skip, main, overlayctl, root, run, story, wait_until   # noqa: E402

home = root / "examples/home.json"
patience = 240   # seconds; an emulated processor, a sanitized program, a loaded machine


def lab(s, verb, file, *words, code=0):
    # What stands behind -- is not ours: the option goes before it.
    state = ["--state", s.folder / "labs"]
    return run(overlayctl, "lab", verb, file, *words[:1], *state, *words[1:], code=code,
               timeout=patience)


def up(s, file, *words):
    """Brings it up, and down at the story's end; skips where the kernel cannot."""
    s.at_end(lambda: lab(s, "down", file, code=None))
    result = lab(s, "up", file, *words, code=None)
    if result.code == 6:
        raise Skip(result.err.strip().splitlines()[-2].strip())
    s.equal(result.code, 0, f"exit code of\n{result}\n")
    return result


def answers(s, file):
    """lab ping's JSON: {(from, to, family): pair}."""
    result = lab(s, "ping", file, "--json", "--timeout", "90", code=None)
    pairs = result.json()["pairs"]
    return result, {(each["from"], each["to"], each["family"]): each for each in pairs}


@story("before any overlay, every pair of the underlay answers with full MTU")
def _(s):
    up(s, home, "--underlay-only")
    result, pairs = answers(s, home)
    expected = sorted(f"{a} {b} {f}" for (a, b, f), each in pairs.items() if each["expected"])
    s.equal(expected, sorted([
        "home home.lan ipv4", "home host ipv4", "home linode ipv4", "home.lan home ipv4",
        "home.lan host ipv4", "home.lan linode ipv4", "host linode ipv4", "linode host ipv4",
        "macbook host ipv4", "macbook linode ipv4", "office host ipv4", "office linode ipv4",
        "yichen host ipv4", "yichen linode ipv4"]), "the pairs that should answer")
    s.equal(result.code, 0, f"exit code of\n{result}\n")
    s.check(all(each["full_mtu_answers"] and each["mtu"] == 1500
                for each in pairs.values() if each["expected"]), f"1500 bytes pass: {result}")


@story("the router forwards the GUE port to the spoke and hides the spoke's own address")
def _(s):
    up(s, home, "--underlay-only")
    rules = lab(s, "exec", home, "home.nat", "--", "nft", "list", "ruleset").out
    s.contains(rules, 'iifname "wan" udp dport 5555 dnat to 192.168.88.6:5555', "the forward")
    s.contains(rules, 'oifname "wan" masquerade', "the translation")


@story("up and down leave nothing behind, and both can be said twice")
def _(s):
    before = machine()
    up(s, home, "--underlay-only")
    again = lab(s, "up", home, "--underlay-only")
    s.equal(again.out, "the lab of home is up already\n", "what a second up says")
    s.equal(lab(s, "down", home).out, "the lab of home is gone\n", "what down says")
    s.equal(machine(), before, "namespaces, links and daemons")
    s.equal(list((s.folder / "labs").iterdir()), [], "records")
    s.equal(lab(s, "down", home).out, "no lab of home is up\n", "what a second down says")


@story("a lab of another content is not touched by up")
def _(s):
    up(s, home, "--underlay-only")
    other = s.file("other.json", home.read_text().replace("1.2.3.4", "1.2.3.5"))
    refused = lab(s, "up", other, "--underlay-only", code=1)
    s.contains(refused.err, "from a file with other content", "what up says")
    s.equal(lab(s, "ping", home).code, 0, "the lab that was up")


@story("a namespace of somebody else is in the way: nothing is made, it stays")
def _(s):
    run("ip", "netns", "add", "home.linode")
    s.at_end(lambda: run("ip", "netns", "delete", "home.linode", code=None))
    before = machine()
    refused = lab(s, "up", home, "--underlay-only", code=1)
    s.contains(refused.err, "a network namespace home.linode exists already", "what up says")
    s.equal(machine(), before, "namespaces, links and daemons")
    lab(s, "down", home)
    s.equal(machine(), before, "namespaces, links and daemons after down")


@story("exec runs in the host: its links in /sys, its exit code; unknown hosts are told the names")
def _(s):
    up(s, home, "--underlay-only")
    links = lab(s, "exec", home, "home", "--", "ls", "/sys/class/net").out.split()
    s.check({"br-lan", "eth0", "lan0"} <= set(links), f"links of home: {links}")
    lab(s, "exec", home, "home.lan", "--", "sh", "-c", "exit 7", code=7)
    lab(s, "exec", home, "home.lan", "--", "no-such-program", code=127)
    unknown = lab(s, "exec", home, "homes", "--", "true", code=1)
    s.equal(unknown.err.splitlines()[-1],
            'overlayctl: "homes" is no host of this lab, did you mean "home"?; its hosts are: '
            "internet host linode home home.nat home.lan macbook macbook.nat office office.nat yichen "
            "yichen.nat", "what exec says")


def without_modules(s, *names):
    """For the rest of the story, this kernel neither has these nor can load any."""
    def is_gone():
        run("modprobe", "-r", "-q", "-a", *names, code=None)
        return not any(pathlib.Path("/sys/module", name, "initstate").exists() for name in names)
    wait_until(is_gone, f"{' '.join(names)} are unloaded", 30, 0.5)   # a lab's last devices go late
    run("modprobe", "-q", "-a", "veth", "bridge", "nft_masq", "nft_nat", "nft_chain_nat", code=None)
    modules = pathlib.Path("/lib/modules", os.uname().release)
    if modules.exists():
        empty = s.folder / "no-modules"
        empty.mkdir()
        run("mount", "--bind", empty, modules)
        s.at_end(lambda: run("umount", modules))


@story("what the kernel lacks is named, with the way to a kernel that has it")
def _(s):
    without_modules(s, "wireguard", "ip_gre", "ip6_gre", "gre", "fou6", "fou", "tun")
    before = machine()
    result = lab(s, "up", home, code=6)
    for feature in ("tap: ", "tun: ", "this kernel has no fou, ip_gre\n", "this kernel has no ip_gre, wireguard\n"):
        s.contains(result.err, feature, "what up says")
    kernels = s.folder / "kernels.json"
    kernels.write_text(home.read_text().replace(
        '"gue": { "port": 5555 }', '"gue": { "port": 5555, "datapath": "kernel" }').replace(
        '"wireguard": {', '"wireguard": { "datapath": "kernel",', 1))
    result = lab(s, "up", kernels, code=6)
    for feature in ("FOU ports over ipv4: ", "gretap with GUE encapsulation: ", "wireguard: "):
        s.contains(result.err, feature, "what up says")
    s.contains(result.err, "tests/kernel/run.sh", "the hint")
    s.equal(machine(), before, "namespaces, links and daemons")


@story("the blog's network: every pair that should answers, IPv4, IPv6 and full MTU")
def _(s):
    before = machine()
    up(s, home)
    result, pairs = answers(s, home)
    for a, b, family in [("linode", "home", "ipv4"), ("linode", "home.lan", "ipv4"),
                         ("home.lan", "linode", "ipv4"), ("office", "linode", "ipv4"),
                         ("office", "home.lan", "ipv6"), ("home.lan", "office", "ipv6"),
                         ("host", "home.lan", "ipv6"), ("home.lan", "host", "ipv6"),
                         ("host", "office", "ipv6"), ("home", "linode", "ipv6")]:
        s.check(pairs[a, b, family]["expected"], f"{a} {b} {family} should be expected to answer")
    failed = [each for each in pairs.values() if each["expected"]
              and not (each["answers"] and each["full_mtu_answers"])]
    s.equal(json.dumps(failed, indent=2), "[]", "the pairs that do not answer")
    s.equal(result.code, 0, "exit code")
    lab(s, "down", home)
    s.equal(machine(), before, "namespaces, links and daemons")


class User:
    """Somebody who is not root, with a folder, our program, and the examples."""

    def __init__(self, s):
        self.folder = s.folder / "home"
        self.folder.mkdir()
        s.folder.chmod(0o755)
        os.chown(self.folder, 1000, 1000)
        overlayd = pathlib.Path(overlayctl).with_name("overlayd")
        for file in (overlayctl, overlayd, *(root / "examples").glob("*.json")):
            shutil.copy(file, s.folder)   # readable, wherever ours are
        self.program, self.files = s.folder / pathlib.Path(overlayctl).name, s.folder
        s.at_end(lambda: run("pkill", "-KILL", "-U", "1000", code=None))

    def lab(self, verb, example, *words, code=0):
        return run("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", self.program, "lab",
                   verb, self.files / example, *words, code=code, timeout=patience, cwd="/",
                   env={"HOME": str(self.folder), "XDG_RUNTIME_DIR": ""})

    def processes(self):
        return run("pgrep", "-l", "-U", "1000", code=None).out


@story("somebody who is not root has labs in namespaces of their own, with WireGuard, gretap, NAT")
def _(s):
    def seen_by_root():
        return {what: value for what, value in machine().items() if what != "daemons"}
    before, user = seen_by_root(), User(s)
    for example in ("layer3.json", "vultr.json"):
        made = user.lab("up", example, code=None)
        if made.code == 6 and "user namespace" in made.err:
            raise Skip(made.err.strip())
        s.equal(made.code, 0, f"exit code of\n{made}\n")
        s.contains(user.lab("up", example).out, "is up already", "what a second up says")
        s.equal(seen_by_root(), before, "what root sees of it")
        result = user.lab("ping", example, "--timeout", "90", code=None)
        s.equal(result.code, 0, f"exit code of\n{result}\n")
    told = user.lab("exec", "layer3.json", "workshop", "--", "sh", "-c", "id -u; ls /sys/class/net")
    s.equal([word for word in told.out.split() if word not in fallback_devices],
            ["0", "br-lan", "eth0", "lo", "wg-server"], "root there, and its links")
    for example in ("layer3.json", "vultr.json"):
        s.contains(user.lab("down", example).out, "is gone", "what down says")
    s.equal(user.processes(), "", "processes after down")
    s.equal(list(user.folder.glob(".local/state/overlay/lab/*")), [], "records")


@story("FOU ports are root's: for others overlayd carries GUE, and a kernel's port is refused by name")
def _(s):
    user = User(s)
    user.lab("up", "home.json")
    result = user.lab("ping", "home.json", "--timeout", "90", code=None)
    s.equal(result.code, 0, f"exit code of\n{result}\n")
    user.lab("down", "home.json")
    s.equal(user.processes(), "", "processes after down")
    by_kernel = home.read_text().replace('"gue": {', '"gue": { "datapath": "kernel",')
    s.file("by-kernel.json", by_kernel)
    refused = user.lab("up", "by-kernel.json", code=6)
    s.contains(refused.err, "FOU ports over ipv4: ", "what up says")
    s.contains(refused.err, "sudo overlayctl lab up", "the hint")
    s.equal(user.processes(), "", "processes after it")


@story("a lab of somebody else than root that died is cleared away")
def _(s):
    user = User(s)
    user.lab("up", "vultr.json", "--underlay-only")
    record = json.loads((user.folder / ".local/state/overlay/lab/vultr/lab.json").read_text())
    os.kill(record["holder"]["pid"], signal.SIGKILL)
    wait_until(lambda: "overlay-lab" not in user.processes(), "the holder is gone")
    s.contains(user.lab("ping", "vultr.json", code=1).err, "has ended", "what ping says")
    s.contains(user.lab("up", "vultr.json", "--underlay-only").out, "clearing away", "what up says")
    user.lab("down", "vultr.json")
    s.equal(user.processes(), "", "processes after down")


main()
