"""A node's network as flat values that two nodes can be compared by: what kernel_view.py reads, and nothing
else. What is left out, and why, stands here and nowhere else."""

import ipaddress
import re

from kernel_view import every_sysctl, read

# Different on two machines that were set up alike.
left_out = {
    # numbers that count objects or time
    "ifindex", "link_index", "iflink", "link_netnsid", "id", "no", "designated_port", "gc_timer",
    "hello_timer", "tcn_timer", "topology_change_timer", "hold_timer", "message_age_timer",
    "forward_delay_timer", "valid_life_time", "preferred_life_time", "expires",
    # our marks
    "ifalias",
}
our_route_protocol = "79"     # a mark, too; the post's routes say "boot"
nat_of_callers = "3.4.5.6:"   # three machines call from port 3243 through one address
# Secrets of each namespace; and what the kernel draws by lot or counts.
left_out_sysctls = re.compile(r"stable_secret$|/neigh/.*(base_reachable|retrans_time|gc_)")
sysctls = f"{every_sysctl} /proc/sys/net/ipv4/neigh /proc/sys/net/ipv6/neigh"


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


class NodeView:
    """{object: {attribute: value}}.

    `names`: interfaces to be called otherwise, {found: called}. `macs`: "all" compares what is made of
    a chosen MAC as it is; "own" only the MAC itself, so that a changed one is one difference. `reading`:
    kernel_view.py's read, or its read_settled where nobody has waited yet."""

    def __init__(self, host, names=None, macs="all", reading=read):
        self.names, self.macs, self.objects = names or {}, macs, {}
        self.found = reading(host, sysctls)
        self.links = self.found["links"]
        self._links()
        self._bridges()
        self._addresses()
        self._routes()
        for port in self.found["fou"]:
            self._add(f"fou {port['port']}", port)
        self._wireguard()
        for name, features in self.found["offloads"].items():
            self._add(f"offload {self.called(name)}", features)
        self._sysctls()

    def called(self, name):
        return self.names.get(name, name)

    def _add(self, kind, value, without=()):
        value = {key: self._named(each) for key, each in flat(value).items() if key not in without}
        self.objects[kind] = {key: each for key, each in value.items() if each not in ([], "")}

    def _named(self, value):
        return self.called(value) if isinstance(value, str) else value

    # A MAC that nobody chose, and all that is made of it (EUI-64, bridge identifiers), is "random".
    # The kernel says who chose; a bridge that was given none takes a port's.
    def _random(self, key, text):
        for link in self.links:
            is_chosen = link["ifname"] in self.found["chosen_macs"]
            if is_chosen and (self.macs == "all" or key == "address"):
                continue
            mac = link.get("address", "")
            if re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
                text = text.replace(mac, "random")
                # iproute2 drops leading zeros in bridge identifiers
                short = ":".join(each.lstrip("0") or "0" for each in mac.split(":"))
                text = text.replace(short, "random")
        return text

    def _links(self):
        for link in self.links:
            value = {key: self._random(key, each) if isinstance(each, str) else each
                     for key, each in flat(link).items()}
            # A bridge may have taken this very MAC without having chosen it.
            if link["ifname"] in self.found["chosen_macs"]:
                value["address"] = link["address"]
            self._add(f"link {self.called(link['ifname'])}", value, ("ifname", "link"))

    def _bridges(self):
        for port in self.found["ports"]:
            self._add(f"port {self.called(port['ifname'])}", port, ("ifname", "link"))
        for entry in self.found["fdb"]:
            if entry.get("state") != "permanent":   # learned
                continue
            words = [f"{key} {self._named(entry[key])}" for key in ("master", "vlan") if key in entry]
            entries = self.objects.setdefault(f"fdb of {self.called(entry['ifname'])}", {})
            entries.setdefault(self._forwarded(entry), set()).add(" ".join(words + entry["flags"]))
        for entry in self.found["vlans"]:
            self._add(f"vlans {self.called(entry['ifname'])}", entry, ("ifname",))

    def _forwarded(self, entry):
        """The MAC of an fdb entry. The solicited-node group of an address ends like the address
        (RFC 4291 §2.7.1), which may have been made of the MAC of a port that a bridge had before."""
        if not entry["mac"].startswith("33:33:ff:"):
            return self._random("fdb", entry["mac"])
        for address in self.found["addresses"]:
            local = address["local"]
            packed = ipaddress.ip_address(local).packed
            if address["dev"] == entry["ifname"] and packed.hex(":").endswith(entry["mac"][9:]) and \
                    self._without_eui64(local) == local:
                return entry["mac"]
        return "solicited-node group"

    def _addresses(self):
        for address in self.found["addresses"]:
            local = self._without_eui64(address["local"])
            limited = address["valid_life_time"] != 2 ** 32 - 1
            name = f"address {local}/{address['prefixlen']} of {self.called(address['dev'])}"
            self._add(name, {**address, "lifetime": "limited" if limited else "forever"},
                      ("local", "label", "dev"))

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
            link["ifname"] in self.found["chosen_macs"] and link.get("address") == mac.hex(":")
            for link in self.links)
        return address if chosen else f"{found.group(1)}:random"

    def _routes(self):
        for route in self.found["routes"]:
            target = self._without_eui64(route["dst"])
            value = {key: self._without_eui64(each) if isinstance(each, str) else each
                     for key, each in flat(route).items()}
            if value.get("protocol") == our_route_protocol:
                value["protocol"] = "boot"
            name = f"route -{route['family']} {route.get('type', 'unicast')} {target}"
            self._add(f"{name} of {self.called(route['dev'])}", value, ("dst", "dev", "family"))
        for rule in self.found["rules"]:
            self._add(f"rule -{rule['family']} {rule['priority']}", rule)

    def _wireguard(self):
        for name, device in self.found["wireguard"].items():
            section = f"wireguard {self.called(name)}"
            self._add(section, device["device"])
            for key, peer in device["peers"].items():
                if peer.get("Endpoint", "").startswith(nat_of_callers):
                    peer = {**peer, "Endpoint": "a port of the NAT's choice"}
                self._add(f"{section} peer {key}", peer)

    def _sysctls(self):
        for key, value in self.found["sysctls"].items():
            if left_out_sysctls.search(key):
                continue
            # net/ipv4/conf/eth0/forwarding, net/ipv4/ip_forward, net/bridge/bridge-nf-call-iptables
            _, family, *group, attribute = key.split("/")
            name = " ".join([f"sysctl {'.'.join([family, *group[:1]])}", *map(self.called, group[1:])])
            self.objects.setdefault(name, {})[attribute] = value


def differences(one, other):
    """Each as "object: attribute: value in one -> value in the other"; sorted."""
    found = []
    for name in sorted(one.objects.keys() | other.objects.keys()):
        a, b = one.objects.get(name), other.objects.get(name)
        if a is None or b is None:
            found.append(f"{name}: {'only there' if a is None else 'only here'}")
            continue
        found += [f"{name}: {key}: {shown(a.get(key, '-'))} -> {shown(b.get(key, '-'))}"
                  for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    return found


def shown(value):
    return ", ".join(sorted(value)) if isinstance(value, set) else value
