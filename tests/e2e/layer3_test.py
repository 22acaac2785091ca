#!/usr/bin/env python3
"""Routed networks: `wireguard` links as the GOST guide, dtun and myvpn use their tunnels.

An Internet of one router, with a server beyond it; a hub; spokes with LANs of their own. Clients that
never saw our program join by the real `wg` and `wg-quick`. Judges: real TCP between machines on the
LANs, the source address that the other end sees, `ip route`, `wg show`.
"""

import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from network import Capture, batch, handshake, tcp_each_way   # noqa: E402
from story import main, overlayctl, run, story, wait_until   # noqa: E402

hub_at = "203.0.113.1"
server_at = "198.18.0.2"
uplinks = {"hub": hub_at, "east": "198.51.100.1", "west": "192.0.2.1", "south": "192.0.2.65",
           "north": "192.0.2.129", "client": "198.51.100.129"}
lans = {"east": "192.168.1", "west": "192.168.2", "south": "192.168.3", "north": "192.168.4",
        "site": "10.50.7"}


class World:
    """The Internet, the hub, and whatever nodes a story asks for; the file as it grows."""

    def __init__(self, s, **hub_more):
        self.s, self.nodes, self.public = s, {}, {}
        self.internet = s.namespace("internet")
        self.internet.sysctl("net.ipv4.ip_forward", 1)
        self.server = s.namespace("server")
        s.veth(self.internet, "server", self.server, "eth0")
        batch(self.internet, "address add 198.18.0.1/24 dev server\n")
        batch(self.server, f"address add {server_at}/24 dev eth0\nroute add default via 198.18.0.1\n")
        self.online("hub")
        self.content = {
            "version": 1, "network": "l3",
            "hub": {"name": "hub", "underlay": {"interface": "eth0", "addresses": [hub_at]},
                    "forwarding": ["ipv4"],
                    "wireguard": {"interface": "wg-hub", "listen_port": 8421, "address": "10.9.0.1/24",
                                  **self.key("hub")}, **hub_more},
            "spokes": {}}

    def key(self, name):
        private = run("wg", "genkey").out
        self.s.file(f"{name}.key", private).chmod(0o600)
        self.public[name] = run("wg", "pubkey", input=private).out.strip()
        return {"private_key_file": f"{name}.key", "public_key": self.public[name]}

    def online(self, name):
        """A namespace with a public address of its own behind the router."""
        node = self.nodes[name] = self.s.namespace(name)
        self.s.veth(self.internet, name, node, "eth0")
        address = uplinks[name]
        gateway = address.rsplit(".", 1)[0] + "." + str(int(address.rsplit(".", 1)[1]) + 1)
        batch(self.internet, f"address add {gateway}/26 dev {name}\n")
        batch(node, f"address add {address}/26 dev eth0\nroute add default via {gateway}\n")
        return node

    def lan_host(self, name, route="default"):
        """A machine behind eth1 of a spoke; `route`: what it sends there, None: nothing."""
        node, network = self.nodes[name], lans[name]
        host = self.s.namespace("lan-" + name)
        self.s.veth(node, "eth1", host, "eth0")
        batch(node, f"address add {network}.1/24 dev eth1\n")
        batch(host, f"address add {network}.10/24 dev eth0\n" +
              (f"route add {route} via {network}.1\n" if route else ""))
        return host

    def spoke(self, name, number, link=(), **more):
        """A spoke of one `wireguard` link, 10.9.0.NUMBER."""
        self.content["spokes"][name] = {
            "underlay": {"interface": "eth0"},
            "link": {"type": "wireguard", "interface": "wg-l3", "address": f"10.9.0.{number}/24",
                     **self.key(name), **dict(link)}, **more}

    def routed_spoke(self, name, number, **more):
        self.online(name)
        host = self.lan_host(name)
        self.spoke(name, number, lan=f"{lans[name]}.0/24", forwarding=["ipv4"], **more)
        return host

    def file(self):
        return self.s.file("l3.json", self.content)

    def on(self, verb, node, *words, code=0):
        directory = self.s.folder / ("of-" + node)
        return self.nodes[node].run(overlayctl, verb, *words, "--state-dir", directory, "--run-dir",
                                    directory, code=code)

    def apply(self, *names):
        file = self.file()
        for name in names or ["hub", *self.content["spokes"]]:
            self.on("apply", name, file, "--node", name)

    def settled(self):
        for name in ["hub", *self.content["spokes"]]:
            again = self.on("apply", name, self.file(), "--node", name)
            self.s.contains(again.out, "0 writes", f"a second apply of {name}")


def address(host):
    return next(each["local"] for link in host.ip_json("address", "show", "dev", "eth0")
                for each in link["addr_info"] if each["family"] == "inet")


def tcp_both_ways(one, other, megabytes=1):
    """Connections opened from either side, bytes in both directions."""
    for client, server in ((one, other), (other, one)):
        tcp_each_way(client, server, address(server), megabytes)


@story("LANs behind two wireguard spokes reach each other, over a link with a preshared key")
def _(s):
    world = World(s)
    s.file("east.psk", run("wg", "genpsk").out).chmod(0o600)
    east = world.routed_spoke("east", 2)
    world.content["spokes"]["east"]["link"]["preshared_key_file"] = "east.psk"
    west = world.routed_spoke("west", 3)
    world.apply()
    tcp_both_ways(east, west)
    seen = handshake(east, "eth0", west, "eth0", address(west))
    s.equal(seen["source"], "192.168.1.10", "the source that a host of the west sees")
    psk = (s.folder / "east.psk").read_text().strip()
    shown = dict(line.split("\t") for line in
                 world.nodes["hub"].run("wg", "show", "wg-hub", "preshared-keys").out.splitlines())
    s.equal(shown, {world.public["east"]: psk, world.public["west"]: "(none)"}, "the hub's PSKs")

    s.file("east.psk", run("wg", "genpsk").out).chmod(0o600)   # only one end knows the new one
    world.on("apply", "hub", world.file(), "--node", "hub")
    world.nodes["hub"].ip("link", "set", "wg-hub", "down")     # forget the session
    world.nodes["hub"].ip("link", "set", "wg-hub", "up")
    world.on("apply", "hub", world.file(), "--node", "hub")
    lost = west.run("ping", "-n", "-c", "2", "-W", "1", address(east), code=None)
    s.check(lost.code == 1, f"with two different preshared keys nothing passes\n{lost}")
    world.on("apply", "east", world.file(), "--node", "east")
    wait_until(lambda: west.run("ping", "-n", "-c", "1", "-W", "2", address(east),
                                code=None).code == 0, "the new key on both ends passes", 30)


@story("a spoke masquerades out of its LAN: hosts there need no route; another into the tunnel")
def _(s):
    world = World(s)
    east = world.routed_spoke("east", 2)
    world.online("south")
    south = world.lan_host("south", route=None)
    world.spoke("south", 4, lan=f"{lans['south']}.0/24", forwarding=["ipv4"],
                masquerade={"out": "eth1", "sources": ["10.9.0.0/24", "192.168.0.0/16"]})
    world.online("north")
    north = world.lan_host("north")
    world.spoke("north", 5, forwarding=["ipv4"], masquerade={"out": "wg-l3"})   # no "lan"
    world.apply()
    tcp_each_way(east, south, address(south), 1)
    seen = handshake(east, "eth0", south, "eth0", address(south))
    s.equal(seen["source"], "192.168.3.1", "the source that a host of the south sees")
    tcp_each_way(north, east, address(east), 1)
    seen = handshake(north, "eth0", east, "eth0", address(east))
    s.equal(seen["source"], "10.9.0.5", "the source that a host of the east sees from the north")
    back = east.run("ping", "-n", "-c", "1", "-W", "1", address(north), code=None)
    s.check(back.code != 0, "the hidden LAN of the north cannot be called")


def stock_client(s, world, by):
    """Joins with the real tools and what `render` wrote; the private key never was in the file."""
    client = world.nodes["client"]
    text = run(overlayctl, "render", world.file(), "--node", "client", "--format", by).out
    private = (s.folder / "client.key").read_text().strip()
    s.check(private not in text, "no private key in what render writes")
    text = text.replace("[Interface]\n", f"[Interface]\nPrivateKey = {private}\n", 1)
    file = s.file("wgc.conf", text)
    file.chmod(0o600)
    if by == "wg-quick":
        client.run("wg-quick", "up", file)
        return lambda: client.run("wg-quick", "down", file)
    client.ip("link", "add", "wgc", "type", "wireguard")
    client.run("wg", "setconf", "wgc", file)
    batch(client, "address add 10.9.0.9/24 dev wgc\nlink set wgc mtu 1440 up\n"
                  "route add 192.168.1.0/24 dev wgc\n")
    return lambda: client.ip("link", "delete", "wgc")


@story("a stock client joins: by wg setconf and hand-made routes, and by wg-quick")
def _(s):
    world = World(s)
    east = world.routed_spoke("east", 2)
    client = world.online("client")
    world.spoke("client", 9)
    world.apply("hub", "east")
    for by in ("wg", "wg-quick"):
        leave = stock_client(s, world, by)
        tcp_each_way(client, east, address(east), 1)
        seen = handshake(client, "wgc", east, "eth0", address(east))
        s.equal(seen["source"], "10.9.0.9", f"{by}: the source that a host of the east sees")
        tcp_each_way(east, client, "10.9.0.9", 1)
        leave()


@story("exit through the hub: half-default routes, the hub pinned, the foreign default untouched")
def _(s):
    world = World(s, masquerade={"out": "eth0"}, mss_clamp="pmtu")
    east = world.routed_spoke("east", 2, exit="hub")
    node = world.nodes["east"]
    before = node.ip_json("route")
    direct = handshake(node, "eth0", world.server, "eth0", server_at)
    s.equal(direct["source"], uplinks["east"], "before: the source that the server sees")
    world.apply()
    routes = {each["dst"]: each for each in node.ip_json("route")}
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        s.equal(routes[half]["dev"], "wg-l3", half)
    s.equal((routes[hub_at]["gateway"], routes[hub_at]["dev"]), ("198.51.100.2", "eth0"), "the pin")
    s.equal(routes["default"], next(each for each in before if each["dst"] == "default"),
            "the foreign default route")
    tcp_each_way(east, world.server, server_at, 1)
    for client, end in ((east, "eth0"), (node, "wg-l3")):
        seen = handshake(client, end, world.server, "eth0", server_at)
        s.equal(seen["source"], hub_at, f"the source that the server sees of {client.name}")
        s.check(seen["mss"] <= 1400, f"MSS {seen['mss']} fits WireGuard's 1440")
    endpoint = world.nodes["hub"].run("wg", "show", "wg-hub", "endpoints").out
    s.contains(endpoint, uplinks["east"] + ":", "the tunnel stays on its own uplink")
    world.settled()
    world.on("down", "east")
    s.equal(node.ip_json("route"), before, "the routes after down")
    direct = handshake(node, "eth0", world.server, "eth0", server_at)
    s.equal(direct["source"], uplinks["east"], "after down: the source that the server sees")


def inside_wireguard(s, world):
    """A bridged spoke and a routed one call each other by their addresses there, and the bridged one by its own
    in the Ethernet; neither can say that it is the other."""
    hub, west, east = (world.nodes[name] for name in ("hub", "west", "east"))
    tcp_each_way(west, east, "10.9.0.2", 1)
    tcp_each_way(east, west, "10.9.0.7", 1)
    tcp_each_way(east, west, "10.50.7.1", 1)
    seen = handshake(west, "wg-hub", east, "wg-l3", "10.9.0.2")
    s.equal(seen["source"], "10.9.0.7", "the source that the east sees of the west")
    allowed = dict(line.split("\t") for line in
                   hub.run("wg", "show", "wg-hub", "allowed-ips").out.splitlines())
    s.equal({name: set(allowed[world.public[name]].split()) for name in ("west", "east", "south")},
            {"west": {"10.9.0.7/32", "10.50.7.1/32"}, "east": {"10.9.0.2/32", "192.168.1.0/24"},
             "south": {"10.9.0.8/32", "10.50.8.1/32", "192.168.3.0/24"}}, "whom the hub believes to be what")

    dropped = int(hub.run("cat", "/sys/class/net/wg-hub/statistics/rx_frame_errors").out)
    east.ip("address", "add", "10.9.0.7/32", "dev", "wg-l3")
    with Capture(hub, "wg-hub") as at_hub:
        east.run("ping", "-n", "-c", "2", "-W", "1", "-I", "10.9.0.7", "10.9.0.1", code=1)
        east.run("ping", "-n", "-c", "1", "-W", "5", "-I", "10.9.0.2", "10.9.0.1")
        sources = {packet.source for packet in at_hub.seen()
                   if packet.target == "10.9.0.1" and packet.protocol == socket.IPPROTO_ICMP
                   and packet.payload[:1] == b"\x08"}   # an echo request; the west may have to say others
    east.ip("address", "delete", "10.9.0.7/32", "dev", "wg-l3")
    s.equal(sources, {"10.9.0.2"}, "the sources that the hub sees of the east")
    now = int(hub.run("cat", "/sys/class/net/wg-hub/statistics/rx_frame_errors").out)
    s.equal(now - dropped, 2, "packets that the hub dropped, since the east is not the west,")


@story("a spoke with an Ethernet and a routed link, both in WireGuard, is reached at every address")
def _(s):
    world = World(s, bridge={"name": "br-hub", "addresses": ["10.50.0.1/16"]})
    east = world.routed_spoke("east", 2)
    south = world.online("south")
    behind = world.lan_host("south")
    world.content["spokes"]["south"] = {
        "underlay": {"interface": "eth0"}, "addresses": ["10.50.8.1/16"],
        "lan": "192.168.3.0/24", "forwarding": ["ipv4"], "links": {
            "ethernet": {"type": "gretap-wireguard", "address": "10.9.0.7/24",
                         **world.key("ethernet")},
            "routed": {"type": "wireguard", "interface": "wg-l3", "address": "10.9.0.8/24",
                       **world.key("routed")}}}
    world.apply()
    hub, node_of_east = world.nodes["hub"], world.nodes["east"]
    for one, target, source in (
            (hub, "10.50.8.1", None), (hub, "10.9.0.8", None), (hub, address(behind), None),
            (hub, address(behind), "10.50.0.1"), (south, "10.9.0.1", None), (south, "10.9.0.1", "10.9.0.8"),
            (behind, "10.9.0.1", None), (behind, "10.50.0.1", None), (behind, address(east), None),
            (east, address(behind), None), (node_of_east, "10.50.8.1", None), (east, "10.50.8.1", None)):
        words = ["-I", source] if source else []
        wait_until(lambda: one.run("ping", "-n", "-c", "1", "-W", "2", *words, target, code=None).code == 0,
                   f"{one.name} {' '.join(words)} pings {target}", 20)
    tcp_each_way(hub, south, "10.50.8.1", 1)   # by the Ethernet tunnel, bound to its own device
    world.settled()


@story("a mixed network: bridged and routed spokes reach each other, one spoke has a link of each")
def _(s):
    world = World(s, bridge={"name": "br-hub", "addresses": ["10.50.0.1/16"]}, gue={})
    east = world.routed_spoke("east", 2)

    def bridged(name, number, links):
        node = world.online(name)
        host = s.namespace("ethernet-" + name)
        s.veth(node, "eth2", host, "eth0")
        batch(node, "link add br-lan type bridge\nlink set br-lan up\nlink set eth2 master br-lan\n")
        batch(host, f"address add 10.50.{number}.10/16 dev eth0\n"
                    "route add default via 10.50.0.1\n")
        world.content["spokes"][name] = {
            "underlay": {"interface": "eth0"},
            "bridge": {"name": "br-lan", "existing": True, "addresses": [f"10.50.{number}.1/16"]},
            **links}
        return host

    west = bridged("west", 7, {"link": {"type": "gretap-wireguard", "address": "10.9.0.7/24",
                                        **world.key("west")}})
    south = bridged("south", 8, {"lan": "192.168.3.0/24", "forwarding": ["ipv4"], "links": {
        "ethernet": {"type": "gretap-gue", "local": uplinks["south"]},
        "routed": {"type": "wireguard", "interface": "wg-l3", "address": "10.9.0.8/24",
                   **world.key("south")}}})
    behind_south = world.lan_host("south")   # on eth1, routed, beside the bridge
    world.apply()
    tcp_both_ways(east, west)                # routed and bridged
    tcp_both_ways(west, south)               # bridged by WireGuard, and by GUE
    tcp_both_ways(east, south)
    tcp_both_ways(behind_south, east)        # the second link of the south
    tcp_both_ways(behind_south, west)
    node = world.nodes["south"]              # its own connections
    tcp_each_way(node, east, address(east), 1)
    tcp_each_way(node, west, address(west), 1)
    inside_wireguard(s, world)
    world.settled()
    for name in ("south", "west", "east", "hub"):
        world.on("down", name)
    left = {name: sorted({link["ifname"] for link in world.nodes[name].ip_json("link")} -
                         {"lo", "eth0", "eth1", "eth2", "br-lan"}) for name in ("hub", "east", "west", "south")}
    fallbacks = {"gre0", "gretap0", "erspan0"}   # made by the module itself
    s.equal({name: [link for link in links if link not in fallbacks]
             for name, links in left.items()},
            {name: [] for name in left}, "links left after down")


main()
