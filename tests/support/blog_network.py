"""The network of the blog post "GRE, WireGuard, bridge and IPv6": what surrounds it, and its nodes, each
built either by the post's own commands or by `overlayctl apply`.

        internet ── 1.2.3.4 hub (linode)
           │
           ├── 2.3.4.5 home's NAT, UDP 5555 forwarded ── 192.168.88.1 ─┐ br-lan of home (192.168.88.6)
           │                                             pc ───────────┘
           └── 3.4.5.6 office's NAT ── office, macbook, yichen (10.0.0.2 … 4)

The Internet is one namespace, which is also the host beyond the hub's uplink (5.6.7.8, 2001:db8:2::8). Like
the post's provider, it routes 2001:db8::/64 to the hub. The post's private keys are its author's: the commands
get those of tests/support/keys instead.

Only for the kernel lab: keys are put where a spoke's file looks for them, below /etc.
"""

import pathlib
import subprocess

from network import Capture, batch, set_sysctls, translate
from story import Skip, overlayctl, root, wait_until

outside4, outside6 = "5.6.7.8", "2001:db8:2::8"
hub4, home4, pc4 = "192.168.0.1", "192.168.88.6", "192.168.88.20"
hub6 = "2001:db8::1"
machines = {"office": "2", "macbook": "3", "yichen": "4"}   # last byte of their three addresses
nodes = ["hub", "home", *machines]
name_in_file = {"hub": "linode"}

radvd_conf = """
interface taps_bridge
{
AdvSendAdvert on;
prefix 2001:db8::/64
{
AdvOnLink on;
AdvAutonomous on;
AdvRouterAddr on;
};
RDNSS 2001:4860:4860:0:0:0:0:8888
{
};
};
"""

# The post's commands for the hub, in its order. The second and third machine in WireGuard follow the
# first, as it says ("has to be done several times, for each host").
hub_commands = """
SERVER_IP=1.2.3.4
SERVER_IP6=2001:db8::1
SERVER_LOCAL_IP=192.168.0.1
sysctl -w net.ipv4.conf.all.forwarding=1
sysctl -w net.ipv6.conf.all.forwarding=1
iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
iptables -t mangle -A POSTROUTING -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
ip6tables -t mangle -A POSTROUTING -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
ip link add taps_bridge type bridge
ip link set taps_bridge up
ip address add $SERVER_IP6/64 dev taps_bridge
ip address add $SERVER_LOCAL_IP/16 dev taps_bridge

FOU_PORT=5555
REMOTE_PUBLIC_IP=2.3.4.5
REMOTE_PUBLIC_PORT=5555
modprobe fou
ip fou add port $FOU_PORT gue
ip link add name gretap_over_gue type gretap \
remote $REMOTE_PUBLIC_IP local $SERVER_IP \
ttl 225 encap gue encap-sport $FOU_PORT encap-dport $REMOTE_PUBLIC_PORT
ip link set gretap_over_gue up
ip link set gretap_over_gue master taps_bridge

ip link add dev wg_vpns type wireguard
wg setconf wg_vpns wireguard.conf
ip link set up dev wg_vpns
ip addr add 172.16.0.1/24 dev wg_vpns

for MACHINE in office:172.16.0.2 macbook:172.16.0.3 yichen:172.16.0.4; do
ip link add name gretap_${MACHINE%%:*} type gretap \
remote ${MACHINE##*:} local 172.16.0.1 ttl 225
ip link set gretap_${MACHINE%%:*} up
ip link set gretap_${MACHINE%%:*} master taps_bridge
done
"""

hub_wireguard = """
[Interface]
PrivateKey = {linode}
ListenPort = 23450
[Peer]
# office desktop
PublicKey = {office}
AllowedIPs = 172.16.0.2/32
[Peer]
# Macbook Pro
PublicKey = {macbook}
AllowedIPs = 172.16.0.3/32
[Peer]
# Yichen
PublicKey = {yichen}
AllowedIPs = 172.16.0.4/32
"""

home_commands = """
SERVER_IP=1.2.3.4
LOCAL_IP=192.168.88.6
FOU_PORT=5555
modprobe fou
ip fou add port $FOU_PORT gue
ip link add name gretap_over_gue type gretap \
remote $SERVER_IP local $LOCAL_IP \
ttl 225 encap gue encap-sport $FOU_PORT encap-dport $FOU_PORT
ip link set gretap_over_gue up
ip link set gretap_over_gue master br-lan
"""

machine_wireguard = """
[Interface]
PrivateKey = {private}
ListenPort = 3243
[Peer]
PublicKey = {hub}
AllowedIPs = 0.0.0.0/0
EndPoint = 1.2.3.4:23450
"""

# The last line is ours: the post leaves a machine's own IPv4 address to its reader. Its fixed MAC and
# its switched off offload are the office's only.
machine_commands = """
ip link add dev wg_linode type wireguard
wg setconf wg_linode wireguard.conf
ip link set up dev wg_linode
ip addr add 172.16.0.{last}/24 dev wg_linode
ip link add name gretap_linode {mac}type gretap \
remote 172.16.0.1 local 172.16.0.{last} ttl 225
ip link set gretap_linode up
{offload}
ip addr add 192.168.1.{last}/16 dev gretap_linode
"""


class BlogNetwork:
    """Everything but the overlay; then `by_hand(node)` or `by_file(node)` for each node."""

    def __init__(self, story, prefix, file="home-verbatim"):
        if not pathlib.Path("/run/lab").is_dir():
            raise Skip("runs in the kernel lab only (tests/kernel/run.sh)")
        self.story, self.prefix, self.name = story, prefix, file
        self.keys = root / "tests/support/keys" / file
        self.folder = story.folder / prefix
        self.folder.mkdir()
        self.file = self.folder / f"{file}.json"
        self.file.write_text((root / f"examples/{file}.json").read_text())
        self.put_key(self.folder / "linode.key", "linode")
        hosts = ["internet", *nodes, "pc", "home-nat", "office-nat"]
        self.hosts = {host: story.namespace(f"{prefix}-{host}") for host in hosts}
        self.underlay()

    def __getitem__(self, host):
        return self.hosts[host]

    def put_key(self, path, node):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((self.keys / f"{node}.key").read_text())
        path.chmod(0o600)

    def underlay(self):
        at = self.hosts
        batch(at["internet"], f"""
            link add hub type veth peer name eth0 netns {at["hub"].name}
            link add home type veth peer name wan netns {at["home-nat"].name}
            link add office type veth peer name wan netns {at["office-nat"].name}
            link set hub up
            link set home up
            link set office up
            addr add {outside4}/32 dev lo
            addr add {outside6}/128 dev lo nodad
            addr add 1.2.3.1/24 dev hub
            addr add 2001:db8:1::1/64 dev hub nodad
            addr add 2.3.4.1/24 dev home
            addr add 3.4.5.1/24 dev office
            route add 2001:db8::/64 via 2001:db8:1::4""")
        set_sysctls(at["internet"], net__ipv4__ip_forward="1",
                    net__ipv6__conf__all__forwarding="1")
        batch(at["hub"], """
            link set eth0 up
            addr add 1.2.3.4/24 dev eth0
            addr add 2001:db8:1::4/64 dev eth0 nodad
            route add default via 1.2.3.1
            route add default via 2001:db8:1::1""")
        self.home_site()
        self.office_site()

    def home_site(self):
        at = self.hosts
        batch(at["home"], f"""
            link add br-lan type bridge
            link add eth0 type veth peer name lan netns {at["home-nat"].name}
            link add eth1 type veth peer name eth0 netns {at["pc"].name}
            link set eth0 up master br-lan
            link set eth1 up master br-lan
            link set br-lan up
            addr add {home4}/16 dev br-lan
            route add default via 192.168.88.1""")
        batch(at["home-nat"], """
            link set wan up
            link set lan up
            addr add 2.3.4.5/24 dev wan
            addr add 192.168.88.1/24 dev lan
            route add default via 2.3.4.1""")
        translate(at["home-nat"], "wan", [(5555, home4)])
        batch(at["pc"], f"""
            link set eth0 up
            addr add {pc4}/16 dev eth0
            route add default via 192.168.88.1
            route add {outside4} via {hub4}""")

    def office_site(self):
        at = self.hosts
        nat = "link add lan type bridge\nlink set lan up\nlink set wan up\n"
        for machine in machines:
            nat += (f"link add {machine} type veth peer name eth0 netns {at[machine].name}\n"
                    f"link set {machine} up master lan\n")
        batch(at["office-nat"], nat + """
            addr add 3.4.5.6/24 dev wan
            addr add 10.0.0.1/24 dev lan
            route add default via 3.4.5.1""")
        translate(at["office-nat"], "wan")
        for machine, last in machines.items():
            batch(at[machine], f"link set eth0 up\naddr add 10.0.0.{last}/24 dev eth0\n"
                               "route add default via 10.0.0.1")

    # ---- the nodes -------------------------------------------------------------------------------

    def by_hand(self, node):
        """The post's commands, by a shell that stops at the first that fails."""
        private = {name: (self.keys / f"{name}.key").read_text().strip()
                   for name in ("linode", *machines)}
        public = {name: subprocess.run(["wg", "pubkey"], input=key, text=True, check=True,
                                       capture_output=True).stdout.strip()
                  for name, key in private.items()}
        configuration, commands = "", home_commands
        if node == "hub":
            configuration = hub_wireguard.format(**{**public, "linode": private["linode"]})
            commands = hub_commands
        elif node in machines:
            configuration = machine_wireguard.format(private=private[node], hub=public["linode"])
            fixed = node == "office"
            commands = machine_commands.format(
                last=machines[node], mac="address 12:ab:34:cd:56:ef " if fixed else "",
                offload="ethtool --offload gretap_linode tx off" if fixed else "")
        folder = self.folder / f"hand-{node}"
        folder.mkdir()
        (folder / "wireguard.conf").write_text(configuration)
        self.hosts[node].run("sh", "-e", "-c", commands, cwd=folder)

    def by_file(self, node):
        """overlayctl apply; returns its Result."""
        if node in machines:   # `ip netns exec` binds what is below over /etc: a disk per spoke
            pathlib.Path("/etc/overlay").mkdir(exist_ok=True)
            folder = pathlib.Path("/etc/netns") / self.hosts[node].name / "overlay"
            self.put_key(folder / "home.key", node)
        return self.hosts[node].run(overlayctl, "apply", self.file, *self.options(node))

    def options(self, node):
        return ["--node", name_in_file.get(node, node), "--state-dir", self.folder / f"state-{node}",
                "--run-dir", self.folder / f"run-{node}"]

    def build(self, ours):
        """Every node, those of `ours` by the file, then the advertisements, as the post has it."""
        for node in nodes:
            (self.by_file if node in ours else self.by_hand)(node)
        configuration = radvd_conf
        if "hub" in ours:
            configuration = self.hosts["hub"].run(overlayctl, "render", self.file, "--node", "linode",
                                                  "--format", "radvd").out
        path = self.folder / "radvd.conf"
        path.write_text(configuration)
        with Capture(self.hosts["pc"], "eth0") as at_pc:
            self.hosts["hub"].start("radvd", "-n", "-m", "stderr", "-C", path,
                                    "-p", self.folder / "radvd.pid")
            self.advertisement = at_pc.wait(lambda p: p.protocol == 58 and p.payload[0] == 134,
                                            "a Router Advertisement", 40).payload
        for host in ("home", "pc", *machines):
            self.global_address(host)
        return self

    def global_address(self, host):
        """The host's address by advertisement, past duplicate detection."""
        def found():
            for link in self.hosts[host].ip_json("-6", "address", "show", "scope", "global"):
                for address in link["addr_info"]:
                    usable = not address.get("tentative") and address.get("dynamic")
                    if usable and address["local"].startswith("2001:db8::"):
                        return address["local"]
            return None
        return wait_until(found, f"an address of 2001:db8::/64 at {self.prefix}'s {host}", 40, 0.5)
