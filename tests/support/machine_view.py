"""What of this machine a lab must leave as it was: namespaces, links, daemons."""

from kernel_view import fallback_devices
from story import run


def machine():
    links = [link["ifname"] for link in run("ip", "-j", "link").json()]
    return {
        "namespaces": sorted(run("ip", "netns", "list").out.splitlines()),
        "links": sorted(name for name in links if name not in fallback_devices),
        "daemons": run("pgrep", "-r", "D,R,S", "-a", "^(radvd|overlayd)$", code=None).out,
    }
