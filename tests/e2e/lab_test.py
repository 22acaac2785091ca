#!/usr/bin/env python3
"""The lab as its user meets it: up, ping, exec, down, and nothing left behind.

The stories about the underlay need namespaces, veth, bridge and nft only and run on any kernel;
those with the overlay need GRE, FOU and WireGuard, and are skipped where `lab up` says that these
are missing.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from machine_view import machine   # noqa: E402
from story import Skip, main, overlayctl, root, run, story   # noqa: E402

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


@story("what the kernel lacks is named, with the way to a kernel that has it")
def _(s):
    result = lab(s, "up", home, code=None)
    s.at_end(lambda: lab(s, "down", home, code=None))
    if result.code == 0:
        raise Skip("this kernel has everything")
    s.equal(result.code, 6, f"exit code of\n{result}\n")
    for feature in ("FOU ports over ipv4: ", "gretap with GUE encapsulation: ", "wireguard: "):
        s.contains(result.err, feature, "what up says")
    s.contains(result.err, "tests/kernel/run.sh", "the hint")


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


main()
