"""What a namespace holds, told by the usual tools and never by us: the judge of "identical".

view(namespace) is a dictionary of parts, each a dictionary or a sorted list that JSON can say, without
what moves by itself: indices and handles, timers, counters, learned neighbours, whether there is a carrier.
"""

import json
import re
import time

from story import Failure

# One shell for all: under emulation, starting a program is what takes time.
script = r"""
ip -j -d -batch - 2>/dev/null <<END || :
address show
fou show
route show table all
rule show
END
echo @six
ip -6 -j -d -batch - 2>/dev/null <<END || :
route show table all
rule show
END
echo @bridge
bridge -j -batch - <<END || :
fdb show
vlan show
END
echo @wireguard; wg show all dump 2>/dev/null || :
echo @queues; tc -j qdisc show
echo @neighbours; ip -j neigh show nud permanent
echo @nft; [ ! -e /sys/module/nf_tables ] || nft -j list ruleset
echo @offloads; ethtool -k '*' 2>/dev/null || :
echo @files; grep -s . /proc/net/udp /proc/net/udp6 SYSCTLS || :
"""

managed_sysctls = " ".join(
    f"/proc/sys/net/{family}/conf/*/{name}"
    for family, names in (("ipv4", ("forwarding", "rp_filter", "promote_secondaries")),
                          ("ipv6", ("forwarding", "accept_ra", "disable_ipv6")))
    for name in names) + " /proc/sys/net/bridge/*"
every_sysctl = "-r /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward " \
               "/proc/sys/net/bridge"

for_ever = 4294967295
# They come with a module, not with anybody's wish.
fallback_devices = {"gre0", "gretap0", "erspan0", "ip6gre0", "ip6tnl0", "tunl0", "sit0"}
moving = re.compile(r"_timer$|^(ifindex|operstate|link_index|topology_change(_ack|_detected)?|"
                    r"config_pending|stats|forwarding_state|handle|dynamic)$")
moving_flags = {"LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown", "dead"}


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


def entries(values):
    """Lists of objects from a batch of `ip`, sorted into links (by name), ports, routes and rules."""
    links, addresses, routes, rules, ports = {}, [], [], [], []
    for listing in values:
        for each in filter(None, listing):
            if "ifname" in each:
                own = each.pop("addr_info", [])
                links[each["ifname"]] = steady(each)
                addresses += [{"dev": links[each["ifname"]]["ifname"], **steady(a)} for a in own]
            elif "dst" in each:
                routes.append(steady(each))
            elif "priority" in each:
                rules.append(steady(each))
            elif "port" in each:
                ports.append(each)
    return links, addresses, routes, rules, ports


def peers(text):
    """`wg show all dump` without handshakes and counters."""
    out = []
    for line in text.splitlines():
        words = line.split("\t")
        if len(words) == 9:
            words = words[:4] + [",".join(sorted(words[4].split(",")))] + words[8:]
        out.append(words)
    return sorted(out)


def nft_objects(text):
    out = [steady(each) for each in json.loads(text)["nftables"] if "metainfo" not in each] \
        if text.strip() else []
    chains = {}
    for each in out:   # the order of rules counts, that of anything else does not
        if "rule" in each:
            rule = each["rule"]
            chains.setdefault(f"{rule['family']} {rule['table']} {rule['chain']}", []).append(rule)
    return {"objects": in_order([each for each in out if "rule" not in each]), "rules": chains}


def offloads(text):
    """What was requested. What is on follows from that, and not at once: changing a gretap turns TSO on
    even where checksums are off (Linux 6.1 net/ipv4/ip_gre.c, ipgre_link_update)."""
    out, device = {}, ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Features for"):
            device = name.split()[-1]
        elif value.strip() and name != "tcp-segmentation-offload":
            requested = value.strip().replace("off [requested on]", "on")
            out.setdefault(device, {})[name.strip()] = requested.replace("on [requested off]", "off")
    return out


def files(text):
    """Local addresses of UDP sockets, and sysctls: key → value."""
    sockets, sysctls = set(), {}
    for line in text.splitlines():
        path, _, value = line.partition(":")
        if not path.startswith("/proc/net/"):
            sysctls[path.removeprefix("/proc/sys/")] = value
        elif value.split()[0] != "sl":
            sockets.add(f"{path.removeprefix('/proc/net/')} {value.split()[1]}")
    return sorted(sockets), sysctls


def is_configured(entry):
    """Not a multicast address that the IP stack itself listens to."""
    return entry.get("state") == "permanent" and not entry["mac"].startswith(("33:33:", "01:00:5e:"))


def unsettled(links, sysctls):
    """Links that are not up yet: the kernel looks at a carrier once a second (Linux
    net/core/link_watch.c), opens a bridge's port and makes the link-local address then; the address is
    "tentative" for a while."""
    carried = {link.get("master") for link in links if {"UP", "LOWER_UP"} <= set(link["flags"])}
    out = [link["ifname"] for link in links
           if link["ifname"] in carried and "NO-CARRIER" in link["flags"]]
    for link in links:
        own = [each for each in link.get("addr_info", []) if each["family"] == "inet6"]
        speaks = sysctls.get(f"net/ipv6/conf/{link['ifname']}/disable_ipv6") == "0" and \
            link["link_type"] == "ether" and link.get("inet6_addr_gen_mode") == "eui64" and \
            "LOWER_UP" in link["flags"]
        if any(each.get("tentative") for each in own) or \
                speaks and not any(each["scope"] == "link" for each in own):
            out.append(link["ifname"])
    return out


def parts_of(site, sysctls_wanted):
    text = site.sh(script.replace("SYSCTLS", sysctls_wanted)).out
    parts = dict(part.partition("\n")[::2] for part in ("four\n" + text).split("\n@"))
    parts["four"] = json_values(parts["four"])
    return parts


def settled_parts(site, sysctls_wanted, deadline=10.0):
    """What the tools say once addresses have stopped coming by themselves."""
    end = time.monotonic() + deadline
    while True:
        parts = parts_of(site, sysctls_wanted)
        links = [each for listing in parts["four"] for each in listing if "ifname" in each]
        late = unsettled(links, files(parts["files"])[1])
        if not late:
            return parts
        if time.monotonic() >= end:
            raise Failure(f"no link-local address within {deadline:g} s: {' '.join(late)}")
        time.sleep(0.1)


def view(site, every=False):
    """`site`: what has a shell in the namespace. `every`: all sysctls of interfaces, not ours alone."""
    parts = settled_parts(site, every_sysctl if every else managed_sysctls)
    links, addresses, routes, rules, ports = entries(parts["four"])
    _, _, routes6, rules6, _ = entries(json_values(parts["six"]))
    of_bridges = [each for value in json_values(parts["bridge"]) for each in value]
    sockets, sysctls = files(parts["files"])
    return without_fallbacks({
        "links": links,
        "addresses": in_order(addresses),
        "routes": in_order(routes + routes6),
        "rules": in_order(rules + rules6),
        "fou": in_order(ports),
        "fdb": in_order(steady([e for e in of_bridges if "mac" in e and is_configured(e)])),
        "vlans": in_order(steady([e for e in of_bridges if "vlans" in e])),
        "wireguard": peers(parts["wireguard"]),
        "queues": in_order(steady([each for each in json.loads(parts["queues"] or "[]")])),
        "neighbours": in_order(steady(json.loads(parts["neighbours"] or "[]"))),
        "nft": nft_objects(parts["nft"]),
        "offloads": offloads(parts["offloads"]),
        "udp": sockets,
        "sysctls": sysctls,
    })


def without_fallbacks(found):
    for part in ("links", "offloads"):
        found[part] = {name: each for name, each in found[part].items()
                       if name not in fallback_devices}
    for part, key in (("queues", "dev"), ("neighbours", "dev"), ("addresses", "dev"),
                      ("routes", "dev"), ("fdb", "ifname"), ("vlans", "ifname")):
        found[part] = [each for each in found[part] if each.get(key) not in fallback_devices]
    found["sysctls"] = {key: value for key, value in found["sysctls"].items()
                        if not fallback_devices & set(key.split("/"))}
    return found
