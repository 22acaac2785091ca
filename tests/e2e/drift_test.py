"""Drift: whatever somebody changes by hand on an object of ours is found by
`diff` and mended by `apply`, and nothing else moves; what the kernel does by itself is no drift.

Every second change of the table, by the seed; all of them with OVERLAY_LONG=1. The judges are ip, bridge, wg, nft, ethtool and /proc: what is there before the change and after the repair.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import drift_changes
from drift_network import Network
from kernel_view import view
from story import Failure, main, sample, story


# ---- one change by hand -----------------------------------------------------------------------------


def check_found(s, network, site, expected):
    """That diff names these objects with these attributes, and no others."""
    diff = site.ctl("diff", "--json", code=2).json()
    found = {each["object"]: {a["name"] for a in each["attributes"]} for each in diff["changes"]}
    wanted = {network.named(name, site): attributes
              for name, attributes in expected.items()}
    s.equal(sorted(found), sorted(wanted), "what diff names")
    for name, attributes in wanted.items():
        if attributes is not drift_changes.ANY:
            s.equal(sorted(found[name]), sorted(attributes), f"the attributes of {name} in diff")


def change_and_repair(s, network, site, row, before):
    """Tells what went wrong with one row of the table, or None."""
    title, command, expected = row
    try:
        site.sh(network.named(command, site))
        check_found(s, network, site, expected)
        site.ctl("apply")
        s.equal(view(site), before, "the kernel after the repair, against before the change,")
    except Failure as failure:
        site.ctl("apply", code=None)
        return f"{site.name}: {title}: {failure}"
    return None


def tell_table(s, site, network, table):
    rows = sample(table)
    site.ctl("diff", code=0)   # a view that equals this one is free of drift, too
    before = view(site)
    failures = []
    for row in rows:
        failure = change_and_repair(s, network, site, row, before)
        if failure:
            failures.append(failure)
            before = view(site)
    if failures:
        raise Failure(f"{len(failures)} of {len(rows)} changes\n" + "\n".join(failures))
    s.note(f"{len(rows)} changes by hand (of {len(table)}) found, {len(rows)} repaired, nothing else moved")


for part in ("tunnels", "links", "addresses", "wireguard", "host"):
    @story(f"hub: {part}: a single change by hand is found, repaired, and nothing else moves")
    def _(s, part=part):
        network = Network(s)
        hub = network.site("hub")
        # A bridge without MAC and ports would take both from a port that comes and goes.
        hub.sh("ip link add br-other address 02:00:00:00:0f:02 type bridge\n"
               "ip link add dum-other type dummy; ip link set dum-other master br-other\n"
               "ip link add vrf-other type vrf table 77; ip link set vrf-other up")
        hub.ctl("apply")
        tell_table(s, hub, network, getattr(drift_changes, part))


for name in ("site", "office"):
    @story(f"{name}: a single change by hand is found, repaired, and nothing else moves")
    def _(s, name=name):
        network = Network(s)
        tell_table(s, network.up(name), network, getattr(drift_changes, name))


main()
