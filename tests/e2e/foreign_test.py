"""Nothing foreign is touched: in a namespace crowded with other people's things, everything that is not ours is
the same after apply, after an apply that fails at any of its requests, and after down; what we borrowed has its
former values back; a name or port that somebody else holds is refused by name.

The judge is kernel_view.py: the usual tools, before and after. Failures are real ones, or the kernel's answers
as strace forges them (`-e inject`).
"""

import copy
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import kernel_writes
from crowd import crowd, foreign, udp_socket
from drift_network import Network
from kernel_view import view
from site_of_node import Site, load
from story import long_run, main, root, run, story, wait_until

our_ports = (5555, 23450)


def everything(site):
    return view(site, every=True)


def theirs(site, network="drift", ports=our_ports, borrowed=("eth0",)):
    return foreign(everything(site), network, ports, ports, borrowed)


def traced(site, *options, code=0, verb="apply", inject=None):
    """Runs overlayctl under strace; the trace."""
    log = site.folder / "trace"
    argv = kernel_writes.traced(log, *site.argv(verb, *options))
    if inject:
        argv[1:1] = ["-e", f"inject={inject}"]
        # A signal passed on at a seccomp stop is lost (Linux kernel/seccomp.c, __seccomp_filter).
        argv.remove("--seccomp-bpf")
    site.sh(shlex.join(map(str, argv)), code=code)
    return log.read_text(errors="replace")


def changing_calls(trace):
    """(system call, its number among its kind) of each call that changes the kernel."""
    families = kernel_writes.generic_families(run("genl", "ctrl", "list").out)
    counts, out = {}, []
    for line, data in kernel_writes.calls_in(trace):
        name = re.match(r"\d+\s+(\w+)\(", line)
        if not name:
            continue
        counts[name[1]] = counts.get(name[1], 0) + 1
        if kernel_writes.change_of_call(line, data, families):
            out.append((name[1], counts[name[1]]))
    return out


def calls_of_apply(site):
    """changing_calls() of an apply on a machine whose modules are loaded, as they will be from now on."""
    site.ctl("apply")
    site.ctl("down")
    return changing_calls(traced(site))


def spread(values, count):
    """`count` of the values, the first and the last among them; in a long run all."""
    if long_run:
        return values
    step = (len(values) - 1) / (count - 1)
    return [values[round(each * step)] for each in range(count)]


def key_of(site, tunnel):
    """The GRE key that it will have."""
    changes = site.ctl("diff", "--json", code=2).json()["changes"]
    link = next(each for each in changes if each["object"] == f"link {tunnel}")
    return next(each["new"] for each in link["attributes"] if each["name"] == "ikey")


# ---- must be first: on a freshly booted machine -----------------------------------------------------


@story("diff on a fresh machine loads no module and changes nothing")
def _(s):
    site = Network(s).site("hub")
    modules = run("lsmod").out
    site.ctl("diff", code=2)
    s.equal(run("lsmod").out.split(), modules.split(), "lsmod")
    trace = traced(site, code=2, verb="diff")   # strace itself loads netlink_diag
    s.equal(kernel_writes.changes(trace, kernel_writes.generic_families(
        run("genl", "ctrl", "list").out))[0], [], "what diff changes")


# ---- a crowd around us ------------------------------------------------------------------------------


@story("a crowd of foreign things is the same after apply, and all is the same after down")
def _(s):
    site = Network(s).site("hub")
    crowd(s, site)
    before, before_theirs = everything(site), theirs(site)
    site.ctl("apply")
    s.equal(theirs(site), before_theirs, "what is foreign, after apply,")
    site.ctl("diff", code=0)
    site.ctl("down")
    s.equal(everything(site), before, "everything, after down,")
    site.ctl("down")
    s.equal(everything(site), before, "everything, after a second down,")
    site.ctl("down", "unheard-of")
    s.equal(everything(site), before, "everything, after down of an unknown network,")
    theirs_count = sum(len(before[part]) for part in ("links", "addresses", "routes", "fou", "sysctls"))
    s.note(f"{theirs_count} links, addresses, routes, ports and sysctls compared")


@story("an apply that fails at any request leaves everything as it was", timeout=3000 if long_run else 600)
def _(s):
    site = Network(s).site("hub")
    crowd(s, site)
    calls = calls_of_apply(site)
    site.ctl("down")
    before = everything(site)
    points = spread(calls, 3)
    for call, number in points:
        traced(site, code=4, inject=f"{call}:error=ENOBUFS:when={number}")
        s.equal(everything(site), before, f"everything, after {call} number {number} failed,")
    s.note(f"{len(points)} of {len(calls)} requests made to fail")


@story("an apply that the kernel refuses late leaves everything as it was")
def _(s):
    site = Network(s).site("hub")
    crowd(s, site)
    elsewhere = s.namespace("elsewhere")   # out of sight, but the kernel still counts the tunnel as ours
    site.sh(f"ip link add gre-same type gretap local 203.0.113.1 remote 198.51.100.30 "
            f"key {key_of(site, 'gt-site')}\nip link set gre-same netns {elsewhere.name}")
    before = everything(site)
    s.contains(site.ctl("apply", code=4).err, "another network namespace", "the failure of gt-site")
    s.equal(everything(site), before, "everything, after the failed apply,")


def changed(network):
    """Another version of the network: a spoke less, one more, one renamed interface, another MTU."""
    other = copy.deepcopy(network.topology)
    del other["spokes"]["six"]
    other["spokes"]["site"]["link"]["hub_interface"] = "gt-renamed"
    other["spokes"]["new"] = {"link": {"type": "gretap-gue", "local": "198.51.100.77"},
                              "addresses": ["192.168.9.1/16"]}
    other["hub"]["bridge"]["mtu"] = 1390
    other["hub"]["wireguard"]["listen_port"] = 23451
    return other


@story("an apply of a changed file that fails leaves the old network up", timeout=3000 if long_run else 600)
def _(s):
    network = Network(s)
    site = network.site("hub")
    crowd(s, site)
    site.ctl("apply")
    old = everything(site)
    old_file, new_file = site.path, site.write(changed(network), "changed.json")
    site.path = new_file
    calls = changing_calls(traced(site))
    site.path = old_file
    site.ctl("apply")
    s.equal(everything(site), old, "everything, after the way there and back,")
    site.path = new_file
    points = spread(calls, 3)
    for call, number in points:
        traced(site, code=4, inject=f"{call}:error=ENOBUFS:when={number}")
        s.equal(everything(site), old, f"everything, after {call} number {number} failed,")
    s.note(f"{len(points)} of {len(calls)} requests made to fail")


@story("a changed file removes exactly what is no longer in it")
def _(s):
    network = Network(s)
    site = network.site("hub")
    crowd(s, site)
    site.ctl("apply")
    before, before_theirs = everything(site), theirs(site)
    site.path = site.write(changed(network), "changed.json")
    plan = site.ctl("diff", "--json", code=2).json()
    removed = sorted(each["object"] for each in plan["changes"] if each["action"] == "remove")
    s.equal(removed, ["fou port 5555/ipv6", "link gt-six"], "what goes; gt-site gets another name")
    site.ctl("apply")
    site.ctl("diff", code=0)
    after = everything(site)
    s.equal(sorted(set(before["links"]) - set(after["links"])), ["gt-site", "gt-six"], "links that went")
    s.equal(sorted(set(after["links"]) - set(before["links"])), ["gt-new", "gt-renamed"],
            "links that came")
    s.equal(after["links"]["gt-office"], before["links"]["gt-office"], "an untouched spoke's link")
    s.equal(foreign(after, "drift", (*our_ports, 23451), (*our_ports, 23451), ("eth0",)),
            foreign(before, "drift", (*our_ports, 23451), (*our_ports, 23451), ("eth0",)),
            "what is foreign")
    s.check(before_theirs, "nothing foreign was there")


@story("killed at any request, apply ends in the new state when run again", timeout=3000 if long_run else 600)
def _(s):
    network = Network(s)
    site = network.site("hub")
    crowd(s, site)
    bare = everything(site)
    calls = calls_of_apply(site)
    wanted = everything(site)
    site.ctl("down")
    s.equal(everything(site), bare, "everything, after down,")
    ends = []
    for call, number in spread(calls, 3):
        traced(site, code=137, inject=f"{call}:signal=KILL:when={number}")
        again = site.ctl("apply", code=None)
        same = again.code == 0 and everything(site) == wanted
        down = site.ctl("down", code=None)
        clean = down.code == 0 and everything(site) == bare
        ends.append((call, number, again.code, same, down.code, clean))
        if not same or not clean:
            break
    s.equal([end for end in ends if not (end[3] and end[5])], [],
            "kills after which apply or down did not end well "
            "(call, number, apply's code, as wanted, down's code, all gone):")
    s.note(f"{len(ends)} of {len(calls)} requests died at")


# ---- what we borrow ---------------------------------------------------------------------------------


@story("a borrowed bridge has its former values back after down")
def _(s):
    site = Network(s).site("site")
    site.sh("ip link set br-lan mtu 1500 address 02:00:00:00:0a:01\n"
            "ip addr add 192.168.88.7/16 dev br-lan; ip route add 10.30.0.0/16 via 192.168.88.9")
    before = everything(site)
    site.ctl("apply")
    after = everything(site)
    s.check(after["links"]["br-lan"] != before["links"]["br-lan"], "apply left br-lan's MTU alone")
    s.equal(foreign(after, "drift", our_ports, our_ports, ("br-lan", "wan"))["routes"],
            foreign(before, "drift", our_ports, our_ports, ("br-lan", "wan"))["routes"],
            "foreign routes after apply")
    site.ctl("down")
    s.equal(everything(site), before, "everything, after down,")


@story("a borrowed bridge without an IPv4 address keeps its neighbours and routes when ours goes")
def _(s):
    site = Network(s).site("site")
    site.sh("ip addr flush dev br-lan\nip route add 10.30.0.0/16 dev br-lan\n"
            "ip route add 10.31.0.0/16 via 10.30.0.9 dev br-lan metric 7\n"
            "ip neigh add 10.30.0.9 lladdr 02:00:00:00:0a:09 dev br-lan nud permanent\n"
            "ip neigh add proxy 10.30.0.10 dev br-lan")
    before = everything(site)
    calls = calls_of_apply(site)
    site.ctl("down")
    s.equal(everything(site), before, "everything, after apply and down,")
    for call, number in spread(calls, 3)[1:]:
        traced(site, code=137, inject=f"{call}:signal=KILL:when={number}")
        site.ctl("apply")
        site.ctl("diff", code=0)
        s.equal([each for each in before["routes"] if each not in everything(site)["routes"]], [],
                f"what is lost by an apply that is killed at {call} number {number}")
        traced(site, code=137, verb="down", inject=f"{call}:signal=KILL:when={number}")
        site.ctl("down")
        s.equal(everything(site), before, f"everything, after down that is killed at {call} number {number},")


@story("an address that somebody adds beside ours outlives it")
def _(s):
    site = Network(s).site("site")
    site.ctl("apply")
    # Ours is the subnet's first one, and the kernel takes the others along with the first.
    site.sh("ip addr add 192.168.88.8/16 dev br-lan; ip route add 10.31.0.0/16 via 192.168.88.9\n"
            "ip addr change 192.168.88.1/16 dev br-lan valid_lft 900 preferred_lft 800")
    site.ctl("apply")
    routes = [each["dst"] for each in everything(site)["routes"]]
    s.check("10.31.0.0/16" in routes, "a foreign route went when our address was mended")
    site.ctl("down")
    left = [each["local"] for each in everything(site)["addresses"] if each["dev"] == "br-lan"]
    s.check("192.168.88.8" in left, f"the foreign address went with ours: {left}")
    s.check("192.168.88.1" not in left, f"ours is still there: {left}")


@story("an address that somebody adds on a bridge of ours does not stop down")
def _(s):
    site = Network(s).site("hub")
    before = everything(site)
    site.ctl("apply")
    site.sh("ip addr add 192.168.0.5/16 dev br-hub")
    site.ctl("down")
    s.equal(everything(site), before, "everything, after down,")


def vultr(s):
    file = s.file("vultr.json", (root / "examples/vultr.json").read_text())
    site = Site(s, load(file), "vultr", file)
    site.place_keys(root / "tests/support/keys/vultr")
    return site


@story("an uplink in the bridge has its MAC, addresses and default route back after down")
def _(s):
    site = vultr(s)
    site.sh("ip addr add 203.0.113.21/24 dev enp1s0\n"
            "ip route add 10.40.0.0/16 via 203.0.113.99 metric 5\n"
            "ip route append 10.40.0.0/16 via 203.0.113.98 metric 5\n"
            "ip route add 172.31.0.0/16 dev enp1s0; ip route add 10.41.1.0/24 via 172.31.1.1\n"
            "ip neigh add 203.0.113.9 lladdr 02:00:00:00:0f:09 dev enp1s0 nud permanent\n"
            "ip neigh add fe80::f9 lladdr 02:00:00:00:0f:09 dev enp1s0 nud permanent router\n"
            "ip neigh add proxy 203.0.113.70 dev enp1s0; ip neigh add proxy 2001:db8:7::70 dev enp1s0")
    before = everything(site)
    site.ctl("apply")
    up = everything(site)
    s.equal(up["links"]["enp1s0"].get("master"), "br-uplink", "the uplink's bridge")
    s.equal(up["links"]["br-uplink"]["address"], before["links"]["enp1s0"]["address"], "the bridge's MAC")
    moved = sorted(each["local"] for each in up["addresses"]
                   if each["dev"] == "br-uplink" and each["family"] == "inet")
    s.equal(moved, ["203.0.113.20", "203.0.113.21"], "addresses on the bridge")
    s.equal(sorted(each["dst"] for each in up["routes"] if each.get("dev") == "br-uplink"
                   and "gateway" in each and "." in each["gateway"]),
            ["10.40.0.0/16", "10.40.0.0/16", "10.41.1.0/24", "default"], "routes by the bridge")
    s.equal(up["neighbours"], [{**each, "dev": "br-uplink"} for each in before["neighbours"]],
            "what is written about neighbours, by the bridge")
    site.ctl("diff", code=0)
    site.ctl("down")
    s.equal(everything(site), before, "everything, after down,")


@story("an uplink with IPv6 by router advertisement has it so again after down, and after an apply that fails")
def _(s):
    site = vultr(s)
    provider = s.namespace("provider")
    site.sh(f"ip link set far-end netns {provider.name}; ip -n {provider.name} link set far-end up")
    conf = s.file("radvd.conf", "interface far-end { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; "
                                "prefix 2001:db8:7::/64 { }; };\n")
    provider.start("radvd", "-n", "-m", "stderr", "-C", conf, "-p", s.folder / "radvd.pid")

    def wait_for_advertised(link, when):   # what advertisements bring has a lifetime, and what we write has none
        found = f"ip -6 address show dev {link} dynamic scope global; ip -6 route show default dev {link}"
        learnt = r"(?s)valid_lft \d+sec.*default.* expires \d+sec"
        wait_until(lambda: re.search(learnt, site.sh(found).out), f"address and default route of {link} {when}")

    wait_for_advertised("enp1s0", "at first")
    call, number = changing_calls(traced(site))[-1]
    wait_for_advertised("br-uplink", "after apply")
    site.ctl("down")
    wait_for_advertised("enp1s0", "after down")
    traced(site, code=4, inject=f"{call}:error=ENOBUFS:when={number}")
    wait_for_advertised("enp1s0", "after an apply that failed")


# ---- taken ------------------------------------------------------------------------------------------

taken = [   # what a foreigner does, and what the refusal says
    ("a bridge's name", "ip link add br-hub type bridge", ["br-hub", "is not ours"]),
    ("a tunnel's name, dummy", "ip link add gt-site type dummy", ["gt-site", "is not ours"]),
    ("a tunnel's name, gretap", "ip link add gt-site type gretap local 10.1.1.1 remote 10.1.1.2",
     ["gt-site", "is not ours"]),
    ("a WireGuard device's name", "ip link add wg-drift type wireguard", ["wg-drift", "is not ours"]),
    ("a link of another network of ours",
     "ip link add br-hub type bridge; ip link set br-hub alias overlay:drifting:.bridge",
     ["br-hub", "of network drifting", "is not ours"]),
    ("a tunnel with the same local, remote and key",
     "ip link add gre-same type gretap local 203.0.113.1 remote 198.51.100.30 key KEY",
     ["gre-same", "same local, remote and key"]),
    ("the FOU port", "modprobe fou; ip fou add port 5555 gue", ["5555", "is not ours"]),
    ("the nft table", "nft add table inet overlay_drift", ["overlay_drift", "is not ours"]),
    ("the nft table of the bridge", "nft add table bridge overlay_drift; "
     "nft add chain bridge overlay_drift own", ["bridge overlay_drift", "is not ours"]),
    ("WireGuard's UDP port, by another device",
     "ip link add wg-x type wireguard; ip link set wg-x up; wg set wg-x listen-port 23450",
     ["23450", "already bound"]),
    ("a route", "ip route add 172.20.0.0/24 via 203.0.113.77", ["172.20.0.0/24", "is not ours"]),
]


@story("a name or port that somebody else holds is exit code 6 and named, and nothing changes")
def _(s):
    network = Network(s)
    site = network.site("hub")
    key = key_of(site, "gt-site")
    bare = view(site)
    for title, command, words in taken:
        site.sh(command.replace("KEY", key))
        before = everything(site)
        result = site.ctl("apply", code=6)
        for word in words:
            s.contains(result.out + result.err, word, f"the refusal of {title}")
        s.equal(everything(site), before, f"everything, after the refusal of {title},")
        give_back(site, bare)
    for port, address in ((5555, "0.0.0.0"), (5555, "::"), (23450, "0.0.0.0"), (23450, "::")):
        holder = udp_socket(s, site.namespace, port, address)
        before = everything(site)
        result = site.ctl("apply", code=6)
        for word in (str(port), f"pid {holder.pid}", "python3"):
            s.contains(result.out + result.err, word, f"the refusal of port {port} at {address}")
        s.equal(everything(site), before, f"everything, after the refusal of port {port},")
        holder.stop()
    s.note(f"{len(taken) + 4} of them")


def give_back(site, bare):
    """Removes what a row of the table has made."""
    now = view(site)
    mine = set(now["links"]) - set(bare["links"]) - {"gre0", "gretap0", "erspan0"}
    site.sh("\n".join([f"ip link del {name}" for name in mine] + ["nft flush ruleset"] +
                      [f"ip fou del port {each['port']}" for each in now["fou"]] +
                      ["ip route del 172.20.0.0/24 2>/dev/null || :"]))


@story("an interface that the file borrows and is not there is exit code 6, and named")
def _(s):
    site = Network(s).site("site")
    site.sh("ip link del br-lan")
    before = everything(site)
    s.contains(site.ctl("apply", code=6).out, "br-lan", "the refusal")
    s.equal(everything(site), before, "everything")


@story("an interface in somebody's bridge or VRF is exit code 6, named, and stays there as it is")
def _(s):
    network = Network(s)
    network.topology["hub"]["bridge"]["ports"] = ["lan0"]
    site = network.site("hub")
    site.sh("ip link add br-lab type bridge vlan_filtering 1; ip link add vrf-lab type vrf table 77\n"
            "ip link set br-lab up; ip link set vrf-lab up; ip link set lan0 up")
    for master, more in (("br-lab", "bridge vlan add dev lan0 vid 10 pvid untagged; "
                                    "bridge link set dev lan0 isolated on"),
                         ("vrf-lab", "ip addr add fd07::1/64 dev lan0 nodad")):
        site.sh(f"ip link set lan0 nomaster; ip link set lan0 master {master}; {more}")
        before = everything(site)
        s.contains(site.ctl("apply", code=6).out, f"lan0 is in {master} already", "the refusal")
        s.equal(everything(site), before, f"everything, after the refusal of lan0 in {master},")


# ---- plans and neighbours ---------------------------------------------------------------------------


@story("two networks on one node live side by side; each goes alone")
def _(s):
    network = Network(s)
    site = network.site("hub")
    text = site.path.read_text()
    for old, new in (("drift", "second"), ("br-hub", "br-two"), ("192.168.", "10.168."),
                     ("5555", "5556"), ("23450", "23460"), ("10.9.0", "10.19.0"),
                     ("172.20.", "172.29."), ("2001:db8:1:", "2001:db8:2:"), ("hub.key", "hub.key")):
        text = text.replace(f'{old}', new)
    first_file, second_file = site.path, site.folder / "second.json"
    second = second_file
    second.write_text(re.sub(r'"(site|six|office|branch)": \{', r'"\1-two": {', text))
    before = everything(site)
    site.ctl("apply")
    alone = everything(site)
    site.path = second_file
    site.ctl("apply")
    both = everything(site)
    site.ctl("diff", code=0)
    site.path = first_file
    site.ctl("diff", code=0)
    site.ctl("down", "second")
    s.equal(everything(site), alone, "everything, after the second went,")
    site.path = second_file
    site.ctl("apply")
    s.equal(everything(site), both, "everything, after the second came again,")
    site.ctl("down", "drift")
    site.ctl("diff", code=0)
    site.ctl("down", "second")
    s.equal(everything(site), before, "everything, after both went,")


@story("a stale plan and a disruption that was not wanted are exit code 6, and nothing changes")
def _(s):
    network = Network(s)
    site = network.site("hub")
    plan = site.folder / "plan"
    site.ctl("diff", "--out", plan, code=2)
    site.sh("ip link add gt-site type gretap local 10.1.1.1 remote 10.1.1.2\n"
            "ip link set gt-site alias overlay:drift:site")   # the world has moved
    before = everything(site)
    s.contains(site.ctl("apply", "--plan", plan, code=6).err, "stale", "the refusal")
    s.equal(everything(site), before, "everything, after the stale plan,")
    site.sh("ip link del gt-site")
    site.ctl("apply", "--plan", plan)
    site.ctl("diff", code=0)

    site.sh("ip link set gt-site address 02:00:00:00:00:77")
    before = everything(site)
    s.contains(site.ctl("apply", "--no-disrupt", code=6).err, "gt-site", "the refusal")
    s.equal(everything(site), before, "everything, after --no-disrupt,")
    site.ctl("apply")
    site.sh(f"wg set wg-drift peer {network.public['office']} remove")
    site.ctl("apply", "--no-disrupt")
    site.ctl("diff", code=0)


@story("another's WireGuard under the name of ours is refused, and is there after down")
def _(s):
    network = Network(s)
    site = network.site("hub")
    site.ctl("apply")
    site.sh("ip link del wg-drift; ip link add wg-drift type wireguard\n"
            "ip link set wg-drift alias 'their office VPN' up\n"
            "wg genkey >/tmp/their.key; wg set wg-drift listen-port 51820 private-key /tmp/their.key\n"
            "ip addr add 10.44.0.1/24 dev wg-drift")
    theirs_before = site.sh("ip addr show dev wg-drift; wg show wg-drift").out
    s.contains(site.ctl("apply", code=6).out, "wg-drift", "the refusal")
    site.ctl("down")
    s.equal(site.sh("ip addr show dev wg-drift; wg show wg-drift").out, theirs_before, "theirs")


main()
