"""What of this machine a lab must leave as it was: namespaces, links, daemons."""

import os
import re

from kernel_view import fallback_devices
from story import run

beside = "recovery"   # the network of native/recovery, which may be up at the same time


def is_of_others(text):
    """Whether a story of another process, beside this one, has made it: folders and namespaces say whose they are."""
    folder = re.search(r"overlay-story\.(\d+)\.", text)
    namespace = re.fullmatch(r"[\w-]+\.(\d+)(?: \(id: \d+\))?", text)
    return any(found and int(found[1]) != os.getpid() for found in (folder, namespace)) or \
        text.startswith(beside + ".")


def is_ending(text):
    """A process that has given back its memory has no command line any more, and does not tell whose it was: it may be
    of a story beside this one."""
    return re.fullmatch(r"\d+ \[\w+\]", text)


def machine():
    links = [link["ifname"] for link in run("ip", "-j", "link").json()]
    daemons = run("pgrep", "-r", "D,R,S", "-a", "^(radvd|overlayd)$", code=None).out.splitlines()
    return {
        "namespaces": sorted(name for name in run("ip", "netns", "list").out.splitlines() if not is_of_others(name)),
        "links": sorted(name for name in links if name not in fallback_devices),
        "daemons": "\n".join(each for each in daemons if not is_of_others(each) and not is_ending(each)),
    }
