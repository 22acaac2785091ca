"""What of this machine a lab must leave as it was: namespaces, links, daemons."""

from kernel_view import fallback_devices
from story import run

beside = "recovery"   # the network of native/recovery, which may be up at the same time


def machine():
    links = [link["ifname"] for link in run("ip", "-j", "link").json()]
    daemons = run("pgrep", "-r", "D,R,S", "-a", "^(radvd|overlayd)$", code=None).out.splitlines()
    return {
        "namespaces": sorted(name for name in run("ip", "netns", "list").out.splitlines()
                             if not name.startswith(beside + ".")),
        "links": sorted(name for name in links if name not in fallback_devices),
        "daemons": "\n".join(each for each in daemons if f"/labs/{beside}/" not in each),
    }
