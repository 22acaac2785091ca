"""A node's network as its kernel shows it to iproute2, wg, ethtool and sysctl, as flat values that two nodes
can be compared by. What is left out, and why, stands here and nowhere else."""

import re

from network import run_inside

# Different on two machines that were set up alike.
left_out = {
    # numbers that count objects or time
    "ifindex", "link_index", "iflink", "link_netnsid", "id", "no", "designated_port", "gc_timer", "hello_timer", "tcn_timer",
    "topology_change_timer", "hold_timer", "message_age_timer", "forward_delay_timer",
    "valid_life_time", "preferred_life_time", "expires",
    # our marks
    "ifalias", "protocol_mark",
}
fallback_devices = {"gre0", "gretap0", "erspan0"}   # made by the module in every namespace
our_route_protocol = "79"                           # a mark, too; the post's routes say "boot"
sysctls = r"^net\.(ipv4\.(ip_forward$|conf|neigh)|ipv6\.(conf|neigh)|bridge)"
nat_of_callers = "3.4.5.6:"   # three machines call from port 3243 through one address
# Secrets of each namespace; and what the kernel takes from the MTU, which is compared as such.
left_out_sysctls = re.compile(r"stable_secret|\.neigh\..*(base_reachable|retrans_time|gc_)")


def flat(value, path=""):
    """Nested JSON as {"linkinfo.info_data.ttl": 225}."""
    if isinstance(value, dict):
        parts = [flat(each, f"{path}.{key}" if path else key)
                 for key, each in value.items() if key not in left_out]
    elif isinstance(value, list) and any(isinstance(each, (dict, list)) for each in value):
        parts = [flat(each, f"{path}[{index}]") for index, each in enumerate(value)]
    else:
        return {path: value}
    return {key: each for part in parts for key, each in part.items()}


class View:
    """{object: {attribute: value}}.

    `names`: interfaces to be called otherwise, {found: called}. `macs`: "all" compares what is made of
    a chosen MAC as it is; "own" only the MAC itself, so that a changed one is one difference."""

    def __init__(self, host, names=None, macs="all"):
        self.host, self.names, self.macs, self.objects = host, names or {}, macs, {}
        self.links = [link for link in host.ip_json("link") if link["ifname"] not in fallback_devices]
        self._links()
        self._bridge_ports()
        self._addresses()
        self._routes()
        self._fou()
        self._wireguard()
        self._offloads()
        self._sysctls()

    def called(self, name):
        return self.names.get(name, name)

    def _add(self, kind, value):
        value = {key: self._named(each) for key, each in flat(value).items()}
        self.objects[kind] = {key: each for key, each in value.items() if each not in ([], "")}

    def _named(self, value):
        return self.called(value) if isinstance(value, str) else value

    # A MAC that nobody chose, and all that is made of it (EUI-64, bridge identifiers), is "random".
    # The kernel says who chose: 1 random, 3 set; a bridge that was given none takes a port's.
    def _random(self, key, text):
        for link in self.links:
            if link["ifname"] in self.chosen and (self.macs == "all" or key == "address"):
                continue
            mac = link.get("address", "")
            if re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
                text = text.replace(mac, "random")
                # iproute2 drops leading zeros in bridge identifiers
                short = ":".join(each.lstrip("0") or "0" for each in mac.split(":"))
                text = text.replace(short, "random")
        return text

    def _links(self):
        types = self.host.run("sh", "-c", "grep . /sys/class/net/*/addr_assign_type").out
        self.chosen = {line.split("/")[4] for line in types.splitlines() if line.endswith(":3")}
        for link in self.links:
            value = {key: each for key, each in link.items() if key not in ("ifname", "link")}
            value = {key: self._random(key, each) if isinstance(each, str) else each
                     for key, each in flat(value).items()}
            self._add(f"link {self.called(link['ifname'])}", value)

    def _bridge_ports(self):
        for port in run_inside(self.host, "bridge", "-j", "-d", "link").json():
            value = {key: each for key, each in port.items() if key not in ("ifname", "link")}
            self._add(f"port {self.called(port['ifname'])}", value)

    def _addresses(self):
        for link in self.host.ip_json("address"):
            if link.get("ifname") in fallback_devices:
                continue
            for address in link["addr_info"]:
                local = self._without_eui64(address["local"])
                limited = address["valid_life_time"] != 2 ** 32 - 1
                value = {key: each for key, each in address.items() if key not in ("local", "label")}
                value["lifetime"] = "limited" if limited else "forever"
                self._add(f"address {local}/{address['prefixlen']} of {self.called(link['ifname'])}",
                          value)

    def _without_eui64(self, address):
        """The last half of an address that is made of a MAC nobody chose."""
        found = re.search(r"([0-9a-f:]+?):?([0-9a-f]{1,4}):([0-9a-f]{0,2})ff:fe([0-9a-f]{2}):"
                          r"([0-9a-f]{1,4})$", address)
        if not found:
            return address
        digits = "".join(f"{int(each or '0', 16):0{width}x}" for each, width in
                         zip(found.groups()[1:], (4, 2, 2, 4)))
        mac = bytes([int(digits[:2], 16) ^ 2]) + bytes.fromhex(digits[2:])
        chosen = self.macs == "all" and any(
            link["ifname"] in self.chosen and link.get("address") == mac.hex(":")
            for link in self.links)
        return address if chosen else f"{found.group(1)}:random"

    def _routes(self):
        for family in ("-4", "-6"):
            for route in self.host.ip_json(family, "route", "show", "table", "all"):
                if route.get("dev") in fallback_devices:
                    continue
                target = self._without_eui64(route["dst"])
                value = {key: self._without_eui64(each) if isinstance(each, str) else each
                         for key, each in flat(route).items() if key not in ("dst", "dev")}
                if value.get("protocol") == our_route_protocol:
                    value["protocol"] = "boot"
                kind = route.get("type", "unicast")
                self._add(f"route {family} {kind} {target} of {self.called(route['dev'])}", value)

    def _fou(self):
        for port in run_inside(self.host, "ip", "-j", "fou", "show").json():
            self._add(f"fou {port['port']}", port)

    def _wireguard(self):
        """As `wg showconf` has it: the private key is compared, too."""
        for name in run_inside(self.host, "wg", "show", "interfaces").out.split():
            section = f"wireguard {self.called(name)}"
            parts = run_inside(self.host, "wg", "showconf", name).out.split("[Peer]")
            for part in parts:
                value = dict(line.split(" = ", 1) for line in part.splitlines() if " = " in line)
                peer = value.pop("PublicKey", None)
                if value.get("Endpoint", "").startswith(nat_of_callers):
                    value["Endpoint"] = "a port of the NAT's choice"
                self._add(f"{section} peer {peer}" if peer else section, value)

    def _offloads(self):
        for link in self.links:
            text = run_inside(self.host, "ethtool", "-k", link["ifname"]).out
            self._add(f"offload {self.called(link['ifname'])}",
                      dict(line.strip().split(": ", 1) for line in text.splitlines()[1:]))

    def _sysctls(self):
        text = run_inside(self.host, "sysctl", "-a", "-r", sysctls).out
        for line in text.splitlines():
            key, _, value = line.partition(" = ")
            if left_out_sysctls.search(key) or any(f".{name}." in key for name in fallback_devices):
                continue
            family, group, name, attribute = key.split(".")[1:5] if key.count(".") >= 4 else \
                [*key.split(".")[1:2], "all", "all", key]
            self.objects.setdefault(f"sysctl {family}.{group} {self.called(name)}", {})[attribute] = value


def differences(one, other):
    """Each as "object: attribute: value in one -> value in the other"; sorted."""
    found = []
    for name in sorted(one.objects.keys() | other.objects.keys()):
        a, b = one.objects.get(name), other.objects.get(name)
        if a is None or b is None:
            found.append(f"{name}: {'only there' if a is None else 'only here'}")
            continue
        found += [f"{name}: {key}: {a.get(key, '-')} -> {b.get(key, '-')}"
                  for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    return found
