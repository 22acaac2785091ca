#!/usr/bin/env python3
"""The blog post's network, twice: by its own commands and by overlayctl, judged by iproute2, wg, ethtool,
sysctl and by what packets look like on the way. Then crosswise, one side by hand and the other by us.

support/blog_network.py has the picture and the commands, support/node_view.py what is compared.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from blog_differences import (advertisement_differences, effects_of_iptables_only,   # noqa: E402
                              explained_attributes, listed_differences)
from blog_network import BlogNetwork, hub4, hub6, machines, nodes, pc4   # noqa: E402
from blog_packets import expected_effects, firewall_effects   # noqa: E402
from node_view import NodeView, differences   # noqa: E402
from network import run_inside, tcp_each_way   # noqa: E402
from story import main, story, wait_until   # noqa: E402

names_by_default = {   # of home.json's interfaces: what the post calls them
    "hub": {"gt-home": "gretap_over_gue",
            **{f"gt-{machine}": f"gretap_{machine}" for machine in machines}},
    "home": {"gt-linode": "gretap_over_gue"},
    **{machine: {"gt-linode": "gretap_linode", "wg-linode": "wg_linode"} for machine in machines}}


def compare(hand, ours, names, macs="all"):
    """Differences of all nodes, and how many values were compared."""
    found, values = [], 0
    for node in nodes:
        one, other = NodeView(hand[node], macs=macs), NodeView(ours[node], names.get(node), macs)
        values += sum(len(each) for each in one.objects.values())
        found += [f"{node}: {each}" for each in differences(one, other)]
    return found, values


def shortened(difference):
    """Without values that are hashes of names or chosen by chance: only that there is one."""
    difference = re.sub("address: random -> ([0-9a-f]{2}:){5}[0-9a-f]{2}$",
                        "address: random -> fixed", difference)
    difference = re.sub(r"key: - -> [0-9.]+$", "key: - -> a key of its own", difference)
    difference = re.sub(r"ListenPort: 3243 -> \d+$", "ListenPort: 3243 -> any", difference)
    return re.sub("peer [A-Za-z0-9+/=]{44}:", "peer linode:", difference)


def advertisement_parts(message):
    """A Router Advertisement (RFC 4861 §4.2) as hex: the header without checksum, each option but the
    sender's MAC (1)."""
    header, options = message[:2] + message[4:16], message[16:]
    parts = [header.hex()]
    while len(options) >= 8:
        size = options[1] * 8
        if options[0] != 1:
            parts.append(options[:size].hex())
        options = options[size:]
    return sorted(parts)


@story("home-verbatim.json equals the post's commands: objects, sysctls, advertisement, packets")
def _(s):
    hand = BlogNetwork(s, "hand").build(ours=[])
    ours = BlogNetwork(s, "ours").build(ours=nodes)

    found, values = compare(hand, ours, {})

    s.equal(found, [], "the nodes by overlayctl against the nodes by hand")
    s.check(values > 5000, f"only {values} values were compared")
    s.equal(advertisement_parts(ours.advertisement), advertisement_parts(hand.advertisement),
            "the Router Advertisement")
    by_hand, by_us = (firewall_effects(network) for network in (hand, ours))
    s.equal(by_us, expected_effects(1382), "what our firewall does to packets")
    s.equal(by_hand, {**by_us, **effects_of_iptables_only}, "what the post's firewall does to packets")
    s.equal(hand.global_address("office"), "2001:db8::10ab:34ff:fecd:56ef",
            "the office's address, made of the MAC that it was given")
    s.note(f"{values} values on {len(nodes)} nodes, 0 differences")


@story("home.json differs from the post by the documented list")
def _(s):
    hand = BlogNetwork(s, "hand", "home").build(ours=[])
    ours = BlogNetwork(s, "ours", "home").build(ours=nodes)

    found, values = compare(hand, ours, names_by_default, macs="own")

    found = [shortened(each) for each in found]
    s.equal("\n".join(found), listed_differences(), "home.json against the post")
    s.equal(sorted({each.split(": ")[2] for each in found}), sorted(explained_attributes()),
            "the attributes with a reason on the page")
    parts = [advertisement_parts(each.advertisement) for each in (hand, ours)]
    s.equal(sorted(set(parts[1]) ^ set(parts[0])), advertisement_differences, "the advertisement")
    s.equal(firewall_effects(ours), expected_effects(1398, guarded=(1446, 1398)), "packets")
    s.note(f"{values} values, {len(found)} differences, all of them documented")


def answers(s, network):
    """Ping and 10 MB of TCP each way between the hub and one spoke of each kind."""
    hub = network["hub"]
    took = []
    for host, address4 in (("pc", pc4), ("office", "192.168.1.2")):
        address6 = network.global_address(host)
        for one, target in ((network[host], hub4), (network[host], hub6),
                            (hub, address4), (hub, address6)):
            wait_until(lambda: run_inside(one, "ping", "-n", "-c", "1", "-W", "2", target,
                                          code=None).code == 0,
                       f"{one.name} pings {target}", 30)
        for address in (hub4, hub6):
            seconds = tcp_each_way(network[host], hub, address)
            took.append(f"{host} and hub {seconds:.1f} s")
    seconds = tcp_each_way(network["pc"], network["office"], "192.168.1.2")
    s.note(f"10 MB each way: {', '.join(took)}, pc and office {seconds:.1f} s")


@story("our hub and hand-made spokes: ping and 10 MB each way, by GUE behind NAT and by WireGuard")
def _(s):
    answers(s, BlogNetwork(s, "hub").build(ours=["hub"]))


@story("a hand-made hub and our spokes: the same")
def _(s):
    answers(s, BlogNetwork(s, "spokes").build(ours=["home", *machines]))


main()
