"""What a namespace holds, told by the usual tools and never by us.

read(site) is what they say, sorted into parts. view(site) is the judge of "identical" before and after: the
same without what moves by itself (indices and handles, timers, counters, learned neighbours, whether there
is a carrier), each part a dictionary or a sorted list that JSON can say. node_view.py compares two machines.
"""

import json
import pathlib
import re
import socket
import struct
import time

from network import inside
from story import Failure

# One shell for all: under emulation, starting a program is what takes time.
script = r"""
ip -j -d -batch - 2>/dev/null <<END || :
address show
fou show
END
echo @four
ip -4 -j -d -batch - 2>/dev/null <<END || :
route show table all
rule show
END
echo @six
ip -6 -j -d -batch - 2>/dev/null <<END || :
route show table all
rule show
END
echo @bridge
bridge -j -d -batch - <<END || :
link show
fdb show
END
bridge -j vlan show   # with -d it fails where no bridge module is loaded yet
echo @wireguard
for device in $(wg show interfaces 2>/dev/null || :); do echo "[$device]"; wg showconf $device; done
echo @queues; tc -j qdisc show
echo @neighbours; ip -j neigh show nud permanent
echo @proxies; ip -j neigh show proxy
echo @nft; [ ! -e /sys/module/nf_tables ] || nft -j list ruleset
echo @offloads; ethtool -k '*' 2>/dev/null || :
echo @files; grep -s . /proc/net/udp /proc/net/udp6 /sys/class/net/*/addr_assign_type SYSCTLS || :
"""

managed_sysctls = " ".join(
    f"/proc/sys/net/{family}/conf/*/{name}"
    for family, names in (("ipv4", ("forwarding", "rp_filter", "promote_secondaries")),
                          ("ipv6", ("forwarding", "accept_ra", "disable_ipv6")))
    for name in names) + " /proc/sys/net/bridge/*"
every_sysctl = "-r /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward " \
               "/proc/sys/net/bridge"
shared_sysctls = managed_sysctls + " -r /proc/sys/net/ipv4/conf/all /proc/sys/net/ipv4/conf/default " \
    "/proc/sys/net/ipv6/conf/all /proc/sys/net/ipv6/conf/default /proc/sys/net/ipv4/ip_forward"

for_ever = 4294967295
# They come with a module, not with anybody's wish.
fallback_devices = {"gre0", "gretap0", "erspan0", "ip6gre0", "ip6tnl0", "tunl0", "sit0"}
moving = re.compile(r"_timer$|^(ifindex|operstate|link_index|topology_change(_ack|_detected)?|"
                    r"config_pending|stats|forwarding_state|handle|dynamic)$")
moving_flags = {"LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown", "dead"}
chosen_by_somebody = "3"   # addr_assign_type, NET_ADDR_SET of Linux include/uapi/linux/netdevice.h


# ---- what the tools say --------------------------------------------------------------------------


def read(site, sysctls=managed_sysctls, devices=False):
    """`site`: what has a shell in the namespace. `sysctls`: what grep is to look at; `devices`: all of
    net.ipv4.conf and net.ipv6.conf, too."""
    text = site.sh(script.replace("SYSCTLS", sysctls)).out
    parts = dict(part.partition("\n")[::2] for part in ("any\n" + text).split("\n@"))
    found = {"links": [], "addresses": [], "routes": [], "rules": [], "fou": [], "ports": [], "fdb": [],
             "vlans": []}
    for family in ("any", "four", "six"):
        for listing in json_values(parts[family]):
            sort_objects(filter(None, listing), family == "six", found)
    for listing in json_values(parts["bridge"]):
        for each in listing:
            found["fdb" if "mac" in each else "vlans" if "vlans" in each else "ports"].append(each)
    found.update(files(parts["files"]), wireguard=wireguard(parts["wireguard"]),
                 offloads=offloads(parts["offloads"]),
                 queues=json.loads(parts["queues"] or "[]"),
                 neighbours=[each for part in ("neighbours", "proxies") for listing in json_values(parts[part])
                             for each in listing],
                 nft=json.loads(parts["nft"])["nftables"] if parts["nft"].strip() else [])
    if devices:
        found["sysctls"].update(device_sysctls(site.namespace))
    return without_fallbacks(found)


def json_values(text):
    """The JSON values that follow each other in a text."""
    decoder, values, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
        values.append(value)
    return values


def sort_objects(listing, is_ipv6, found):
    """The objects of one listing of `ip` to their kind."""
    for each in listing:
        if "ifname" in each:
            found["addresses"] += [{"dev": each["ifname"], **own} for own in each.pop("addr_info", [])]
            found["links"].append(each)
        elif "dst" in each:
            found["routes"].append({"family": 6 if is_ipv6 else 4, **each})
        elif "priority" in each:
            found["rules"].append({"family": 6 if is_ipv6 else 4, **each})
        elif "port" in each:
            found["fou"].append(each)


def wireguard(text):
    """{device: {"device": {key: value}, "peers": {public key: {key: value}}}}, as `wg showconf` has it:
    private and preshared keys are compared, too."""
    out, settings = {}, {}
    for line in text.splitlines():
        key, _, value = line.partition(" = ")
        if line == "[Peer]" or line == "[Interface]":
            settings = {}
        elif line.startswith("["):
            device = out[line.strip("[]")] = {"device": {}, "peers": {}}
            continue
        elif key == "AllowedIPs":
            settings[key] = ", ".join(sorted(value.split(", ")))
        elif key == "PublicKey":
            device["peers"][value] = settings
        elif value:
            settings[key] = value
        if line == "[Interface]":
            device["device"] = settings
    return out


def offloads(text):
    """{device: {feature: "on", "off [fixed]" or "off [requested on]"}}"""
    out, device = {}, ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Features for"):
            device = name.split()[-1]
        elif value.strip():
            out.setdefault(device, {})[name.strip()] = value.strip()
    return out


def files(text):
    """Local addresses of UDP sockets; who chose a link's MAC; sysctls: key → value."""
    out = {"udp": set(), "chosen_macs": set(), "sysctls": {}}
    for line in text.splitlines():
        path, _, value = line.partition(":")
        if path.startswith("/sys/class/net/"):
            if value == chosen_by_somebody:
                out["chosen_macs"].add(path.split("/")[4])
        elif not path.startswith("/proc/net/"):
            out["sysctls"][path.removeprefix("/proc/sys/")] = value
        elif value.split()[0] != "sl":
            out["udp"].add(f"{path.removeprefix('/proc/net/')} {value.split()[1]}")
    return out


def device_sysctls(namespace):
    """What /proc/sys/net/ipv4/conf and ipv6/conf say of each device, off one answer of rtnetlink: reading
    thousands of files takes seconds under emulation. Key → value, in the kernel's own units."""
    request = struct.pack("=IHHII16x", 32, 18, 0x301, 1, 0)   # RTM_GETLINK; NLM_F_REQUEST | NLM_F_DUMP
    with inside(namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(request)
        out, more = {}, True
        while more:
            data = kernel.recv(1 << 20)
            while data and more:
                length, kind = struct.unpack_from("=IH", data)
                if kind == 16:   # RTM_NEWLINK
                    out.update(settings_of(dict(attributes(data[32:length]))))
                more = kind != 3   # NLMSG_DONE
                data = data[(length + 3) & ~3:]
    return out


def settings_of(link):
    name = link[3][:-1].decode()   # IFLA_IFNAME
    families = dict(attributes(link.get(26, b"")))   # IFLA_AF_SPEC
    out = {}
    for family, attribute, names, label in ((socket.AF_INET, 1, ipv4_settings, "ipv4"),
                                            (socket.AF_INET6, 2, ipv6_settings, "ipv6")):
        values = dict(attributes(families.get(family, b""))).get(attribute, b"")   # IFLA_INET(6)_CONF
        for (value,), setting in zip(struct.iter_unpack("=i", values), names):
            out[f"net/{label}/conf/{name}/{setting}"] = value
    return out


def attributes(data):
    """(type, payload) of each netlink attribute."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]


def settings_in(header, prefix):
    """The enumerators of a kernel's header, as sysctls spell them."""
    text = pathlib.Path("/usr/include/linux", header).read_text()
    return [name.lower() for name in re.findall(rf"^\s+{prefix}_(\w+)(?: *= *\d+)?,", text, re.M)]


ipv4_settings = settings_in("ip.h", "IPV4_DEVCONF")
ipv6_settings = settings_in("ipv6.h", "DEVCONF")


def without_fallbacks(found):
    for part, key in (("links", "ifname"), ("addresses", "dev"), ("routes", "dev"), ("fdb", "ifname"),
                      ("vlans", "ifname"), ("queues", "dev"), ("neighbours", "dev")):
        found[part] = [each for each in found[part] if each.get(key) not in fallback_devices]
    found["offloads"] = {name: each for name, each in found["offloads"].items()
                         if name not in fallback_devices}
    found["sysctls"] = {key: value for key, value in found["sysctls"].items()
                        if not fallback_devices & set(key.split("/"))}
    return found


def read_settled(site, sysctls, deadline=10.0, devices=False):
    """read(), once addresses have stopped coming by themselves."""
    end = time.monotonic() + deadline
    while True:
        found = read(site, sysctls, devices)
        late = unsettled(found)
        if not late:
            return found
        if time.monotonic() >= end:
            raise Failure(f"no link-local address within {deadline:g} s: {' '.join(late)}")
        time.sleep(0.1)


def unsettled(found):
    """Links that are not up yet: the kernel looks at a carrier once a second (Linux
    net/core/link_watch.c), opens a bridge's port and makes the link-local address then; the address is
    "tentative" for a while."""
    links = found["links"]
    carried = {link.get("master") for link in links if {"UP", "LOWER_UP"} <= set(link["flags"])}
    out = [link["ifname"] for link in links
           if link["ifname"] in carried and "NO-CARRIER" in link["flags"]]
    for link in links:
        own = [each for each in found["addresses"]
               if each["dev"] == link["ifname"] and each["family"] == "inet6"]
        speaks = found["sysctls"].get(f"net/ipv6/conf/{link['ifname']}/disable_ipv6") == "0" and \
            link["link_type"] == "ether" and link.get("inet6_addr_gen_mode") == "eui64" and \
            "LOWER_UP" in link["flags"]
        if any(each.get("tentative") for each in own) or \
                speaks and not any(each["scope"] == "link" for each in own):
            out.append(link["ifname"])
    return out


# ---- one machine, before and after ---------------------------------------------------------------


def view(site, every=False):
    """`every`: all sysctls of interfaces, not ours alone."""
    found = read_settled(site, shared_sysctls if every else managed_sysctls, devices=every)
    return {
        "links": {each["ifname"]: steady(each) for each in found["links"]},
        **{part: in_order(steady(found[part])) for part in ("addresses", "routes", "rules", "vlans",
                                                             "queues", "neighbours")},
        "fou": in_order(found["fou"]),
        "fdb": in_order(steady([each for each in found["fdb"] if is_configured(each)])),
        "wireguard": found["wireguard"],
        "nft": nft_objects(found["nft"]),
        "offloads": {name: requested(each) for name, each in found["offloads"].items()},
        "udp": sorted(found["udp"]),
        "sysctls": found["sysctls"],
    }


def steady(value):
    """Without what moves by itself."""
    if isinstance(value, list):
        return [steady(each) for each in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, member in value.items():
        if moving.search(key) or key in ("tentative", "optimistic"):
            continue
        if key == "flags" and isinstance(member, list):
            member = sorted(set(member) - moving_flags)
        elif key == "expires" or key.endswith("_life_time") and member != for_ever:
            member = "limited"
        elif key == "counter":
            member = None
        out[key] = steady(member)
    return out


def in_order(values):
    return sorted(values, key=lambda value: json.dumps(value, sort_keys=True))


def is_configured(entry):
    """Not a multicast address that the IP stack itself listens to."""
    return entry.get("state") == "permanent" and not entry["mac"].startswith(("33:33:", "01:00:5e:"))


def requested(features):
    """What is on follows from what was requested, and not at once: changing a gretap turns TSO on even where
    checksums are off (Linux 6.1 net/ipv4/ip_gre.c, ipgre_link_update)."""
    return {name: value.replace("off [requested on]", "on").replace("on [requested off]", "off")
            for name, value in features.items() if name != "tcp-segmentation-offload"}


def nft_objects(listing):
    objects = [steady(each) for each in listing if "metainfo" not in each]
    chains = {}
    for each in objects:   # the order of rules counts, that of anything else does not
        if "rule" in each:
            rule = each["rule"]
            chains.setdefault(f"{rule['family']} {rule['table']} {rule['chain']}", []).append(rule)
    return {"objects": in_order([each for each in objects if "rule" not in each]), "rules": chains}
