#!/usr/bin/env python3
"""What `render --format ip` writes, typed into a shell, makes the machine that `apply` makes: each node of each
example twice, judged by ip, bridge, wg, nft, ethtool and /proc. Then `diff` finds all of it in place and ours, but
for FOU ports, which have no place for a mark.

The hub and every second spoke, by the seed, of the company's one of each kind; all of them with OVERLAY_LONG=1.
"""

from concurrent.futures import ThreadPoolExecutor
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from kernel_view import in_order, nft_objects, read_settled, shared_sysctls, steady, view   # noqa: E402
from node_view import NodeView, differences   # noqa: E402
from site_of_node import Site, links_of, load, nodes   # noqa: E402
from story import Failure, long_run, main, overlayctl, root, run, sample, story   # noqa: E402

keys = root / "tests/support/keys"
# The hub; Ethernet in WireGuard with a LAN and without; by GUE, from a port of its own; routed with a LAN,
# behind a masquerade, and alone.
kinds_of_company = ["headquarters", "berlin", "admin", "plant-b", "vienna", "contractor", "phone-anna"]
processors = 2   # of the lab


def machine(s, example, node, apart):
    """With nothing of ours, and its keys where the file says that they are."""
    site = Site(s, load(root / "examples" / example), node, apart=apart)
    site.place_keys(keys / example.removesuffix(".json"))
    if site.node.get("underlay", {}).get("in_bridge"):   # a gateway that answers no ARP, and addresses routed to us
        uplink = site.node["underlay"]["interface"]
        site.sh(f"ip neigh add 203.0.113.9 lladdr 02:00:00:00:0f:09 dev {uplink} nud permanent proto static\n"
                f"ip neigh add fe80::f9 lladdr 02:00:00:00:0f:09 dev {uplink} nud permanent router extern_learn\n"
                f"ip neigh add proxy 203.0.113.70 dev {uplink}; ip neigh add proxy 2001:db8:7::70 dev {uplink}")
    return site


def type_by_hand(site):
    """As somebody would who has no overlayctl there."""
    script = run(overlayctl, "render", site.path, "--node", site.name, "--format", "ip").out
    (site.folder / "script").write_text(script)
    site.sh(f"KEY_DIR={site.folder} sh <{site.folder}/script")


class Seen(NodeView):
    """A node with its marks, its firewall, and what else is not an attribute of an object."""

    def __init__(self, site):
        super().__init__(site, reading=lambda host, _: read_settled(host, shared_sysctls, devices=True))
        self.aliases = {link["ifname"]: link.get("ifalias", "") for link in self.links}
        self.protocols = sorted(f"{each['family']} {each['dst']} proto {each['protocol']}"
                                for each in self.found["routes"] if each["protocol"] != "kernel")
        self.firewall = nft_objects(self.found["nft"])
        self.rest = {part: in_order(steady(self.found[part])) for part in ("queues", "neighbours")}


def compare(s, typed, applied, node):
    """How many values were compared."""
    found = differences(applied, typed)
    if not states_ports(node):   # then the kernel draws one
        found = [each for each in found if not re.fullmatch(r"wireguard \S+: ListenPort: \d+ -> \d+", each)]
    s.equal("\n".join(found), "", "the machine by hand, against the one by apply,")
    for part in ("aliases", "protocols", "firewall", "rest"):
        s.equal(getattr(typed, part), getattr(applied, part), f"{part} by hand, against those by apply,")
    return sum(len(each) for each in typed.objects.values())


def states_ports(node):
    return "wireguard" in node or any("listen_port" in link for link in links_of(node).values())


def take_over(s, site, ports):
    """What diff says of the machine by hand: all there, all ours. FOU ports can be anybody's: they are refused
    until they are removed, and are then the only thing to do."""
    objects = sorted(f"fou port {each['port']}/{'ipv6' if each['family'] == 'inet6' else 'ipv4'}"
                     for each in ports)
    diff = site.ctl("diff", "--json", code=6 if ports else 0).json()
    s.equal(diff["changes"], [], "what diff would change")
    s.equal(sorted(each["object"] for each in diff["refusals"]), objects, "what diff refuses")
    if not ports:
        return
    listed = site.sh("ip -j fou show").out
    for each in ports:
        six = " -6" if each["family"] == "inet6" else ""
        site.sh(f"ip fou del port {each['port']}{six}")
    diff = site.ctl("diff", "--json", code=2).json()
    s.equal(sorted(each["object"] for each in diff["changes"]), objects, "what diff would change")
    site.ctl("apply")
    s.equal(site.sh("ip -j fou show").out.split(), listed.split(), "the FOU ports that apply made")


class Node:
    """Its two machines. All of an example come up before the first is looked at: meanwhile they settle."""

    def __init__(self, s, example, name):
        self.s, self.name = s, name
        self.typed = machine(s, example, name, "by-hand")
        self.applied = machine(s, example, name, "by-apply")
        with ThreadPoolExecutor() as pool:
            by_hand = pool.submit(type_by_hand, self.typed)
            self.applied.ctl("apply")
            by_hand.result()

    def judge(self):
        """How many values were compared, and what is wrong."""
        try:
            seen = Seen(self.typed)
            values = compare(self.s, seen, Seen(self.applied), self.typed.node)
            take_over(self.s, self.typed, seen.found["fou"])
            return values, None
        except Failure as failure:
            return 0, f"{self.name}: {failure}"


def tell(s, example):
    names = list(nodes(load(root / "examples" / example)))
    if example == "company.json" and not long_run:
        names = kinds_of_company
    names = names[:1] + sample(names[1:])
    up = [Node(s, example, name) for name in names]
    with ThreadPoolExecutor(processors) as pool:
        verdicts = list(pool.map(Node.judge, up))
    failures = [failure for _, failure in verdicts if failure]
    if failures:
        raise Failure(f"{len(failures)} of {len(names)} nodes\n" + "\n".join(failures))
    s.note(f"{len(names)} nodes, {sum(values for values, _ in verdicts)} values")


for each in sorted(path.name for path in (root / "examples").glob("*.json")):
    @story(f"{each}: what render writes, typed by hand, is what apply makes", timeout=1800 if long_run else 600)
    def _(s, example=each):
        tell(s, example)


@story("a server set up by hand, its uplink a port of the bridge, has all of it back after apply and down")
def _(s):
    site = machine(s, "vultr.json", "vultr", "for-a-while")
    before = view(site)
    type_by_hand(site)
    s.contains(site.ctl("apply").out, "0 changes, 0 writes", "apply")
    site.ctl("down")
    s.equal(view(site), before, "the machine, against what it was before the script,")


main()
